package authapi

import (
	"encoding/json"
	"strings"

	"teleport/fault"
	"teleport/predicate"
	"teleport/types"
)

// Bounds of a listing's filters.
const (
	maxFilterTerms = 32
	maxFilterText  = 4096
)

// newFilter compiles the filters of a listing; all must hold. They only narrow
// what the caller sees anyway.
func newFilter(labels map[string]string, search []string, query string) (func(types.Resource) (bool, error), error) {
	if len(labels) > maxFilterTerms || len(search) > maxFilterTerms || len(query) > maxFilterText {
		return nil, fault.New(fault.Limit, "the filter is too long")
	}
	var program *predicate.Program
	if query != "" {
		var err error
		if program, err = predicate.Compile(predicate.Query(), query); err != nil {
			return nil, err
		}
	}
	return func(r types.Resource) (bool, error) {
		env := newQueryEnv(r)
		for k, v := range labels {
			if got, ok := env.labels[k]; !ok || got != v && v != "*" {
				return false, nil
			}
		}
		if len(search) > 0 && !env.Search(search) {
			return false, nil
		}
		if program == nil {
			return true, nil
		}
		ok, err := program.Eval(env)
		if err != nil {
			return false, fault.Wrap(err, fault.Invalid, "the query %v", err)
		}
		return ok, nil
	}, nil
}

// queryEnv is what a query and a search see of a document.
type queryEnv struct {
	predicate.Vars
	labels map[string]string
	words  []string
}

func newQueryEnv(r types.Resource) *queryEnv {
	h := r.Head()
	name, labels := h.Metadata.Name, h.Metadata.Labels
	words := []string{shownName(h.Kind, h.Metadata.Name), h.Metadata.Description}
	switch d := r.(type) {
	case *types.Node:
		name, labels = d.Spec.Hostname, d.AllLabels()
		words = append(append(words, d.Spec.Hostname, d.Spec.Addr), d.Spec.PublicAddrs...)
	case *types.Database:
		labels = d.AllLabels()
		words = append(words, d.Spec.Protocol, d.Spec.URI)
	case *types.DatabaseServer:
		db := &d.Spec.Database
		name, labels = db.Metadata.Name, db.AllLabels()
		words = append(words, name, db.Metadata.Description, db.Spec.Protocol, db.Spec.URI, d.Spec.Hostname)
	case *types.App:
		labels = d.AllLabels()
		words = append(words, d.Spec.PublicAddr, d.Spec.URI)
	case *types.AppServer:
		app := &d.Spec.App
		name, labels = app.Metadata.Name, app.AllLabels()
		words = append(words, name, app.Metadata.Description, app.Spec.PublicAddr, app.Spec.URI, d.Spec.Hostname)
	case *types.Proxy:
		name = d.Spec.Hostname
		words = append(append(words, d.Spec.Hostname, d.Spec.Addr), d.Spec.PublicAddrs...)
	case *types.SessionTracker:
		words = append(words, d.Spec.User, d.Spec.Login, d.Spec.Hostname, d.Spec.Kind, d.Spec.Reason)
	case *types.Instance:
		name = d.Spec.Hostname
		words = append(words, d.Spec.Hostname, d.Spec.Version)
	}
	for k, v := range labels {
		words = append(words, k, v)
	}
	return &queryEnv{Vars: predicate.Vars{"name": name, "labels": labels, "resource": asMap(r)}, labels: labels, words: words}
}

// Search implements predicate.Searcher: every word appears in some field.
func (e *queryEnv) Search(words []string) bool {
	for _, w := range words {
		hit := false
		for _, f := range e.words {
			if strings.Contains(strings.ToLower(f), strings.ToLower(w)) {
				hit = true
				break
			}
		}
		if !hit {
			return false
		}
	}
	return true
}

// Labels implements predicate.Labeler.
func (e *queryEnv) Labels() map[string]string { return e.labels }

// asMap is the document as its JSON reads.
func asMap(r types.Resource) map[string]any {
	b, err := json.Marshal(r)
	if err != nil {
		return nil
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return nil
	}
	return m
}

package store

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"sort"
	"sync/atomic"
	"time"

	"teleport/access"
	"teleport/cert"
	"teleport/types"
)

// snapshot is what a replica's readers see: never changed once published. A
// batch makes a new one that shares the tables it did not touch.
type snapshot struct {
	revision uint64
	complete bool // a whole snapshot of the source stands behind it
	tables   map[string]*table
	// Views that decisions read, made anew when their tables change.
	settings access.Settings
	trust    *cert.Trust
	cluster  string
}

// table holds one kind, sorted by sub kind and name: cheap to copy, and found
// in without a key being built.
type table struct {
	docs        []*doc
	firstExpiry time.Time    // earliest of all; zero: none
	list        atomic.Value // []T of docs, made by the first who asks
}

// doc is one decoded document.
type doc struct {
	sub, name string
	rev       uint64
	res       types.Resource // nil: cannot be read by this version
	newer     string         // what this version does not understand
	expires   time.Time
}

func emptySnapshot() *snapshot {
	return &snapshot{tables: map[string]*table{}, trust: &cert.Trust{}}
}

func (d *doc) liveAt(now func() time.Time) bool {
	return d.expires.IsZero() || now().Before(d.expires)
}

// search returns the place of a document and whether it is there.
func (t *table) search(sub, name string) (int, bool) {
	i := sort.Search(len(t.docs), func(i int) bool {
		d := t.docs[i]
		return cmp.Or(cmp.Compare(d.sub, sub), cmp.Compare(d.name, name)) >= 0
	})
	return i, i < len(t.docs) && t.docs[i].sub == sub && t.docs[i].name == name
}

// find returns a document or nil, of a table or of none.
func (t *table) find(sub, name string) *doc {
	if t == nil {
		return nil
	}
	if i, ok := t.search(sub, name); ok {
		return t.docs[i]
	}
	return nil
}

// at is the same snapshot at a later revision.
func (s *snapshot) at(rev uint64) *snapshot {
	next := *s
	next.revision = rev
	return &next
}

// replaced is the snapshot that holds exactly these documents.
func (s *snapshot) replaced(changes []Change, rev uint64, log *slog.Logger) *snapshot {
	next := &snapshot{revision: rev, complete: true, tables: map[string]*table{}, trust: s.trust}
	touched := map[string]bool{types.KindCertAuthority: true} // trust alone is carried over
	for _, c := range changes {
		t := next.tables[c.Kind]
		if t == nil {
			t = &table{}
			next.tables[c.Kind] = t
		}
		t.apply(c, log)
		touched[c.Kind] = true
	}
	next.refresh(touched, log)
	return next
}

// changed is the snapshot after some changes.
func (s *snapshot) changed(changes []Change, rev uint64, log *slog.Logger) *snapshot {
	next := *s
	next.revision = max(rev, s.revision)
	next.tables = maps.Clone(s.tables)
	touched := map[string]bool{}
	for _, c := range changes {
		t := next.tables[c.Kind]
		if !touched[c.Kind] { // copy once a batch
			fresh := &table{}
			if t != nil {
				fresh.docs = slices.Clone(t.docs)
			}
			t, touched[c.Kind] = fresh, true
			next.tables[c.Kind] = t
		}
		t.apply(c, log)
	}
	next.refresh(touched, log)
	return &next
}

// apply does one change to a table that nobody else sees yet. What is older
// than what the table holds is left out.
func (t *table) apply(c Change, log *slog.Logger) {
	i, ok := t.search(c.SubKind, c.Name)
	switch {
	case ok && c.Revision <= t.docs[i].rev:
	case len(c.Document) == 0 && ok:
		t.docs = slices.Delete(t.docs, i, i+1)
	case len(c.Document) == 0:
	case ok:
		t.docs[i] = newDoc(c, log)
	default:
		t.docs = slices.Insert(t.docs, i, newDoc(c, log))
	}
}

func newDoc(c Change, log *slog.Logger) *doc {
	d := &doc{sub: c.SubKind, name: c.Name, rev: c.Revision}
	d.res, d.newer = decodeStored(c.Document, c.Kind, c.Name, c.Revision)
	if d.newer != "" {
		log.Warn("a document is not fully understood by this version", "kind", c.Kind, "name", c.Name, "reason", d.newer)
	}
	if c.Kind == types.KindRole && d.newer != "" {
		d.res = denyAll(c.Name, d.rev, d.newer)
	}
	if d.res != nil {
		d.expires = expiry(d.res)
	}
	return d
}

// refresh makes the views of the tables that changed.
func (s *snapshot) refresh(touched map[string]bool, log *slog.Logger) {
	for kind := range touched {
		t := s.tables[kind]
		if t == nil {
			t = &table{}
			s.tables[kind] = t
		}
		for _, d := range t.docs {
			if !d.expires.IsZero() && (t.firstExpiry.IsZero() || d.expires.Before(t.firstExpiry)) {
				t.firstExpiry = d.expires
			}
		}
		switch kind {
		case types.KindAuthPreference, types.KindNetworkingConfig, types.KindRecordingConfig:
			s.settings = s.readSettings()
		case types.KindClusterName:
			s.cluster = ""
			if c, ok := first[*types.ClusterName](t); ok {
				s.cluster = c.Spec.ClusterName
			}
		case types.KindCertAuthority:
			s.readTrust(t, log)
		}
	}
}

// first returns the only document of a singleton's table.
func first[T types.Resource](t *table) (T, bool) {
	var none T
	if t == nil || len(t.docs) == 0 {
		return none, false
	}
	doc, ok := t.docs[0].res.(T)
	return doc, ok
}

func (s *snapshot) readSettings() (set access.Settings) {
	if d, ok := first[*types.AuthPreference](s.tables[types.KindAuthPreference]); ok {
		set.Auth = d.Spec
	}
	if d, ok := first[*types.NetworkingConfig](s.tables[types.KindNetworkingConfig]); ok {
		set.Networking = d.Spec
	}
	if d, ok := first[*types.RecordingConfig](s.tables[types.KindRecordingConfig]); ok {
		set.Recording = d.Spec
	}
	return set
}

func (s *snapshot) readTrust(t *table, log *slog.Logger) {
	var cas []*types.CertAuthority
	for _, d := range t.docs {
		if ca, ok := d.res.(*types.CertAuthority); ok {
			cas = append(cas, ca)
		}
	}
	trust, err := cert.NewTrust(cas)
	if err != nil {
		log.Error("the authorities of the cluster do not stand together; the last sound set stays in use", "error", err)
		return
	}
	s.trust = trust
}

// denyAll stands in for a role that this version does not fully understand.
func denyAll(name string, rev uint64, why string) *types.Role {
	all := func() types.Labels { return types.Labels{"*": {"*"}} }
	r := &types.Role{Header: types.Header{Kind: types.KindRole, Version: types.V8, Metadata: types.Metadata{
		Name: name, Revision: FormatRevision(rev), Description: "not usable by this version: " + why,
	}}}
	r.Spec.Deny = types.RoleConditions{
		NodeLabels: all(), KubernetesLabels: all(), DBLabels: all(), DBServiceLabels: all(), AppLabels: all(),
		WindowsDesktopLabels: all(), LinuxDesktopLabels: all(), ClusterLabels: all(), GroupLabels: all(), WorkloadIdentityLabels: all(),
		Logins: []string{"*"},
		Rules:  []types.Rule{{Resources: []string{"*"}, Verbs: []string{"*"}}},
	}
	return r
}

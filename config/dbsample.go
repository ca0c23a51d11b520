package config

import (
	"maps"
	"slices"

	"github.com/goccy/go-yaml"
)

// SampleDB is what teleport db knows of what its agent fronts: one database, and
// which registered ones.
type SampleDB struct {
	Name          string // "": none
	Description   string
	Protocol      string
	URI           string
	CACertFile    string
	AWSRegion     string
	GCPProjectID  string
	GCPInstanceID string
	Labels        map[string]string
	// Dynamic are the labels of registered databases, each set selecting some.
	Dynamic []map[string]string
}

// section is the service's part of the file. Where nothing is said of what it fronts,
// it is all databases that are registered in the cluster.
func (d SampleDB) section() yaml.MapSlice {
	out := yaml.MapSlice{enabled(true)}
	if d.Name == "" && len(d.Dynamic) == 0 {
		d.Dynamic = everything
	}
	if d.Name != "" {
		out = append(out, yaml.MapItem{Key: "databases", Value: []yaml.MapSlice{d.entry()}})
	}
	return append(out, selectors(d.Dynamic)...)
}

func (d SampleDB) entry() yaml.MapSlice {
	e := filled(yaml.MapSlice{{Key: "name", Value: d.Name}, {Key: "description", Value: d.Description}, {Key: "protocol", Value: d.Protocol}, {Key: "uri", Value: d.URI}})
	for _, part := range []struct {
		key  string
		keys yaml.MapSlice
	}{
		{"tls", yaml.MapSlice{{Key: "ca_cert_file", Value: d.CACertFile}}},
		{"aws", yaml.MapSlice{{Key: "region", Value: d.AWSRegion}}},
		{"gcp", yaml.MapSlice{{Key: "project_id", Value: d.GCPProjectID}, {Key: "instance_id", Value: d.GCPInstanceID}}},
	} {
		if keys := filled(part.keys); len(keys) > 0 {
			e = append(e, yaml.MapItem{Key: part.key, Value: keys})
		}
	}
	if len(d.Labels) > 0 {
		e = append(e, yaml.MapItem{Key: "static_labels", Value: sorted(d.Labels)})
	}
	return e
}

// filled leaves out the keys that have no text.
func filled(m yaml.MapSlice) (out yaml.MapSlice) {
	for _, kv := range m {
		if kv.Value != "" {
			out = append(out, kv)
		}
	}
	return out
}

func sorted(labels map[string]string) (out yaml.MapSlice) {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, yaml.MapItem{Key: k, Value: labels[k]})
	}
	return out
}

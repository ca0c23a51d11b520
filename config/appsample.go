package config

import (
	"github.com/goccy/go-yaml"

	"teleport/types"
)

// SampleApp is what teleport app knows of what its agent fronts: one app, and which
// registered ones.
type SampleApp struct {
	Name        string // "": none
	Description string
	URI         string
	PublicAddr  string
	Cloud       string
	Labels      map[string]string
	// Dynamic are the labels of registered apps, each set selecting some.
	Dynamic []map[string]string
}

// section is the service's part of the file. Where nothing is said of what it fronts,
// it is all apps that are registered in the cluster.
func (a SampleApp) section() yaml.MapSlice {
	out := yaml.MapSlice{enabled(true)}
	if a.Name == "" && len(a.Dynamic) == 0 {
		a.Dynamic = everything
	}
	if a.Name != "" {
		e := filled(yaml.MapSlice{{Key: "name", Value: a.Name}, {Key: "description", Value: a.Description}, {Key: "uri", Value: a.URI},
			{Key: "public_addr", Value: a.PublicAddr}, {Key: "cloud", Value: a.Cloud}})
		if len(a.Labels) > 0 {
			e = append(e, yaml.MapItem{Key: "labels", Value: sorted(a.Labels)})
		}
		out = append(out, yaml.MapItem{Key: "apps", Value: []yaml.MapSlice{e}})
	}
	return append(out, selectors(a.Dynamic)...)
}

// everything selects all registered resources.
var everything = []map[string]string{{types.Wildcard: types.Wildcard}}

// selectors are the labels of registered resources that a service fronts.
func selectors(dynamic []map[string]string) yaml.MapSlice {
	var resources []yaml.MapSlice
	for _, labels := range dynamic {
		resources = append(resources, yaml.MapSlice{{Key: "labels", Value: sorted(labels)}})
	}
	if len(resources) == 0 {
		return nil
	}
	return yaml.MapSlice{{Key: "resources", Value: resources}}
}

package ca

import (
	"maps"
	"slices"

	"teleport/cert"
	"teleport/fault"
	"teleport/types"
)

func cloneIdentity(id *types.Identity) *types.Identity { return cert.Canonical(id) }

func cloneTraits(t map[string][]string) map[string][]string {
	out := make(map[string][]string, len(t))
	for k, v := range t {
		out[k] = slices.Clone(v)
	}
	return out
}

// intersect keeps what of a is also in b, in the order of a.
func intersect(a, b []string) []string {
	var out []string
	for _, x := range a {
		if slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	return out
}

func sameRoute(a, b *types.Route) bool {
	return a.Cluster == b.Cluster && a.Kind == b.Kind && a.Name == b.Name && maps.Equal(a.Params, b.Params)
}

// checkNarrower is the last word on a derived certificate: whatever the profile
// decided, it may not exceed its parent.
func checkNarrower(child, parent *types.Identity) error {
	if err := child.Narrows(parent); err != nil {
		return fault.Wrap(err, fault.Denied, "the certificate would allow more than the one it derives from")
	}
	return nil
}

// checkWithin holds what a route leads to against the certificate of that route.
// Such a certificate has no children; this one is none, as it carries no
// identity. In all else it is held against it as a child would be.
func checkWithin(child, parent *types.Identity) error {
	c, p := *child, *parent
	c.Kind, p.Kind = types.IdentityUser, types.IdentityUser
	p.Authority.Route, p.Authority.DisallowReissue = nil, false
	return checkNarrower(&c, &p)
}

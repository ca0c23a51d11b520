package authapi

import (
	"github.com/google/uuid"

	"teleport/fault"
	"teleport/types"
)

// maxRouteText bounds the names of a cloud in a route.
const maxRouteText = 512

// appRoute is a route to an app as a certificate may have it: what the client asks
// for, of which only names are taken that a decision looks at, and a session of its
// own.
func appRoute(r *types.Route) (*types.Route, error) {
	a := types.AppRouteOf(r)
	for _, text := range []string{a.AWSRoleARN, a.AzureIdentity, a.GCPServiceAccount} {
		if len(text) > maxRouteText {
			return nil, fault.New(fault.Invalid, "a role or identity in the route is longer than %d bytes", maxRouteText)
		}
	}
	if a.TargetPort < 0 {
		return nil, fault.New(fault.Invalid, "the route names no port that there can be")
	}
	if a.PublicAddr != "" {
		if err := types.CheckDNSName(a.PublicAddr); err != nil {
			return nil, err
		}
	}
	a.SessionID = uuid.NewString()
	out := a.Route(r.Name)
	out.Cluster = r.Cluster
	return out, nil
}

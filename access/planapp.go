package access

import (
	"slices"

	"teleport/predicate"
	"teleport/types"
)

// useOfApp is the grant of an app that is used as oneself.
const useOfApp = "use"

// shapeOfApp is what decisions about an app look at beside its labels' selectors.
func shapeOfApp(a *types.App) string {
	return keyOf([]any{a.Spec.Cloud, a.AllLabels()[labelAccountID]})
}

// principalsIn collects what roles name of all clouds, and "*" for whatever else there
// may be.
func principalsIn(cache *predicate.Cache, traits predicate.Traits, roles []*types.Role) names {
	out := names{users: []string{types.Wildcard}}
	for _, role := range roles {
		for _, c := range []*types.RoleConditions{&role.Spec.Allow, &role.Spec.Deny} {
			for i := range cloudPrincipals {
				for _, l := range cloudPrincipals[i].list(c) {
					out.users = predicate.AppendExpanded(out.users, cache, l, traits)
				}
			}
		}
	}
	out.users = tidy(out.users)
	return out
}

// inApp returns as what the bearer may use an app.
func inApp(r Request, app *types.App, named names) []grant {
	r.Action = ActionApp
	p := principalOf(app)
	if p == nil {
		if !Decide(r).Allow {
			return nil
		}
		return []grant{{login: useOfApp}}
	}
	var out []grant
	for _, name := range named.users {
		if r.App = app.Spec.RouteAs(name); Decide(r).Allow {
			out = append(out, grant{login: name})
		}
	}
	return slices.Clip(out)
}

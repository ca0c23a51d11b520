package access

import (
	"slices"
	"strings"

	"teleport/predicate"
	"teleport/types"
)

// shapeOf is what decisions about a database look at beside its labels.
func shapeOf(d *types.Database) string {
	return keyOf([]any{d.Spec.Protocol, d.Spec.Hosting(), d.Spec.AWS, d.Spec.AdminUser})
}

// names are the users and databases that roles name for somebody, and "*" for
// whatever else there may be.
type names struct{ users, databases []string }

// named collects them from the roles of both policies: what only one of them names
// is for the other part of "*".
func (p *planner) named(u *types.User, sides ...[]*types.Role) names {
	if p.kind == types.KindApp {
		return principalsIn(p.cache, predicate.Traits{Internal: u.Spec.Traits, External: u.Spec.Traits}, slices.Concat(sides...))
	}
	if p.kind != types.KindDatabase {
		return names{users: []string{types.Wildcard}, databases: []string{types.Wildcard}}
	}
	return namesIn(p.cache, predicate.Traits{Internal: u.Spec.Traits, External: u.Spec.Traits}, slices.Concat(sides...))
}

// namesIn collects the names from roles.
func namesIn(cache *predicate.Cache, traits predicate.Traits, roles []*types.Role) names {
	out := names{users: []string{types.Wildcard}, databases: []string{types.Wildcard}}
	for _, role := range roles {
		for _, c := range []*types.RoleConditions{&role.Spec.Allow, &role.Spec.Deny} {
			for _, l := range c.DBUsers {
				out.users = predicate.AppendExpanded(out.users, cache, l, traits)
			}
			for _, l := range c.DBNames {
				out.databases = predicate.AppendExpanded(out.databases, cache, l, traits)
			}
		}
	}
	out.users, out.databases = tidy(out.users), tidy(out.databases)
	return out
}

func tidy(list []string) []string {
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(s string) bool { return s == "" })
}

// inDatabase returns who the bearer may be in a database, and where within it.
// Where names are not asked for, one is looked at only because a deny may hit it.
func inDatabase(r Request, d *types.Database, named names) []grant {
	if r.Action = ActionDial; !Decide(r).Allow {
		return nil
	}
	users, databases := named.users, named.databases
	if d.Spec.AdminUser != nil { // theirs may be made
		users = tidy(append(slices.Clone(users), r.Identity.Name))
	}
	if !d.Spec.ChecksNames() {
		databases = append([]string{""}, slices.DeleteFunc(slices.Clone(databases), func(n string) bool { return n == types.Wildcard })...)
	}
	r.Action = ActionDatabase
	var out []grant
	for _, r.Login = range users {
		for _, r.DBName = range databases {
			dec := Decide(r)
			if !dec.Allow {
				continue
			}
			g := grant{login: r.Login, name: r.DBName}
			if l := dec.Limits.Database; l != nil && l.Automatic != "" {
				g.roles = " (made without roles)"
				if len(l.Roles) > 0 {
					g.roles = " (made with " + strings.Join(l.Roles, ", ") + ")"
				}
			}
			out = append(out, g)
		}
	}
	return out
}

// DatabaseUsers returns as whom the bearer may enter a database, sorted, as far as
// their roles name somebody; "*" is whoever else there is. Action, Login and DBName
// of the request are ignored.
func DatabaseUsers(r Request) []string {
	d, ok := r.Resource.(*types.Database)
	if !ok {
		return nil
	}
	var users []string
	for _, g := range inDatabase(r, d, namesIn(r.Cache, newDecider(&r).traits, r.Roles)) {
		users = append(users, g.login)
	}
	return tidy(users)
}

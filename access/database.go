package access

import (
	"slices"

	"teleport/predicate"
	"teleport/types"
)

// Codes of reasons about databases.
const (
	CodeDBUserUnknown    = "db_user_unknown"
	CodeDBUserDenied     = "db_user_denied"
	CodeDBUserNotAllowed = "db_user_not_allowed"
	CodeDBNameDenied     = "db_name_denied"
	CodeDBNameNotAllowed = "db_name_not_allowed"
	CodeDBRoleDenied     = "db_role_denied"
	CodeDBRoleNotAllowed = "db_role_not_allowed"
	CodeRoleDBField      = "role_lacks_db_field" // detail: labels match, db_users or db_names lacks the value
	CodeDBUserAutomatic  = "db_user_automatic"
	CodeDBUserAdmin      = "db_user_admin"
)

// DatabaseLimits are what a decision about a database says of its user.
type DatabaseLimits struct {
	// Automatic is set where the agent makes the user: types.DBUserKeep or
	// types.DBUserDrop. The user then has Roles and no others.
	Automatic types.DBUserMode `json:"automatic,omitempty"`
	Roles     []string         `json:"roles,omitempty"`
}

// principal is one name within a database that roles list.
type principal struct {
	field   string // of roles
	what    string
	list    func(*types.RoleConditions) []string
	denied  string // codes
	refused string
}

var (
	dbUsers = principal{"db_users", "database user", func(c *types.RoleConditions) []string { return c.DBUsers }, CodeDBUserDenied, CodeDBUserNotAllowed}
	dbNames = principal{"db_names", "database name", func(c *types.RoleConditions) []string { return c.DBNames }, CodeDBNameDenied, CodeDBNameNotAllowed}
)

// decideDatabase decides the use of a database: as which user (Login), on which
// of its databases (DBName, where the protocol has them), with which roles. User
// and name must come from one role, whose labels match too.
func (d *decider) decideDatabase() Decision {
	db := databaseOf(d.r.Resource)
	if db == nil || d.r.Action != ActionDial && d.r.Action != ActionDatabase {
		return d.refuse(reason(CodeKindNotSupported, "", "%s cannot be used in this way", d.r.Resource.Head().Kind))
	}
	if d.r.Action == ActionDatabase && d.r.Login == "" {
		return d.refuse(reason(CodeDBUserUnknown, "", "no database user is named"))
	}
	if why := d.deniesDatabase(db); why != nil {
		return d.refuse(why)
	}
	d.matchRoles()
	if len(d.matched) == 0 {
		return d.refuse(d.noRole(), d.explainLabels()...)
	}
	if why := d.checkProofs(); why != nil {
		return d.refuse(why)
	}
	if d.r.Action == ActionDial {
		return d.allow(d.matched[0], "labels")
	}
	return d.grantDatabase(db)
}

func databaseOf(res types.Resource) *types.Database {
	switch t := res.(type) {
	case *types.Database:
		return t
	case *types.DatabaseServer:
		return &t.Spec.Database
	}
	return nil
}

func (d *decider) grantDatabase(db *types.Database) Decision {
	if a := db.Spec.AdminUser; a != nil && d.r.Login == a.Name {
		return d.refuse(reason(CodeDBUserAdmin, "", "%s makes the users of %s, and nobody is let in as that", a.Name, displayName(d.r.Resource)))
	}
	var limits DatabaseLimits
	if limits.Automatic = d.automatic(db); limits.Automatic != "" {
		if d.r.Login != d.r.Identity.Name {
			return d.refuse(reason(CodeDBUserAutomatic, "", "users of %s are made automatically: you are %s there, not %s",
				displayName(d.r.Resource), d.r.Identity.Name, d.r.Login))
		}
		var why *Reason
		if limits.Roles, why = d.databaseRoles(); why != nil {
			return d.refuse(why)
		}
	} else if len(d.r.DBRoles) > 0 {
		return d.refuse(reason(CodeDBRoleNotAllowed, "", "roles are chosen only where the database's users are made automatically (create_db_user_mode)"))
	}
	asked := d.databasePrincipals(db, limits)
	var details []Reason
	for _, role := range d.matched {
		missing := ""
		for _, p := range asked {
			if !d.listsAny(p.list(&role.Spec.Allow), p.forms, false) {
				missing = p.field
				details = append(details, *reason(CodeRoleDBField, role.Metadata.Name, "the role %s matches, and its %s does not list %s", role.Metadata.Name, p.field, p.value))
			}
		}
		if missing == "" {
			dec := d.allow(role, "labels")
			dec.Limits.Database = &limits
			return dec
		}
	}
	return d.refuse(d.lackingField(asked), append(details, d.explainLabels()...)...)
}

// askedPrincipal is a principal with the name that is asked for.
type askedPrincipal struct {
	principal
	value string
	forms []string // all names of the same
}

// databasePrincipals are what one role must list.
func (d *decider) databasePrincipals(db *types.Database, limits DatabaseLimits) []askedPrincipal {
	var asked []askedPrincipal
	if limits.Automatic == "" {
		asked = append(asked, askedPrincipal{dbUsers, d.r.Login, db.Spec.UserForms(d.r.Login, false)})
	}
	if db.Spec.ChecksNames() {
		asked = append(asked, askedPrincipal{dbNames, d.r.DBName, []string{d.r.DBName}})
	}
	return asked
}

// lackingField names the first field that no matching role fills, or says that
// none fills all at once.
func (d *decider) lackingField(asked []askedPrincipal) *Reason {
	for _, p := range asked {
		if !slices.ContainsFunc(d.matched, func(r *types.Role) bool { return d.listsAny(p.list(&r.Spec.Allow), p.forms, false) }) {
			return reason(p.refused, "", "the %s %s is not allowed on %s: no role that matches it has %s in %s",
				p.what, p.value, displayName(d.r.Resource), p.value, p.field)
		}
	}
	return reason(asked[0].refused, "", "no single role allows both the %s %s and the %s %s on %s",
		asked[0].what, asked[0].value, asked[1].what, asked[1].value, displayName(d.r.Resource))
}

// lists reports whether a list of a role holds a name: by itself, by a template,
// or by "*". A "*" out of a trait counts only in a deny, where it denies more.
func (d *decider) lists(list []string, name string, deny bool) bool {
	for _, l := range list {
		if l == name || l == types.Wildcard {
			return true
		}
		if !predicate.IsTemplate(l) {
			continue
		}
		d.buf = predicate.AppendExpanded(d.buf[:0], d.r.Cache, l, d.traits)
		if slices.Contains(d.buf, name) && (deny || name != types.Wildcard) || deny && slices.Contains(d.buf, types.Wildcard) {
			return true
		}
	}
	return false
}

// listsAny reports whether a list holds one of the names of the same.
func (d *decider) listsAny(list, forms []string, deny bool) bool {
	return slices.ContainsFunc(forms, func(name string) bool { return d.lists(list, name, deny) })
}

// deniesDatabase looks for a deny in any role: labels first, then each name.
func (d *decider) deniesDatabase(db *types.Database) *Reason {
	asked := []askedPrincipal{{dbUsers, d.r.Login, db.Spec.UserForms(d.r.Login, true)}, {dbNames, d.r.DBName, []string{d.r.DBName}}}
	for _, role := range d.roles {
		name := role.Metadata.Name
		if d.deniesLabels(role) {
			return reason(CodeDeniedByRole, name, "the role %s denies access to %s", name, displayName(d.r.Resource))
		}
		for _, p := range asked {
			if p.value != "" && d.listsAny(p.list(&role.Spec.Deny), p.forms, true) {
				return reason(p.denied, name, "the role %s denies the %s %s", name, p.what, p.value)
			}
		}
		for _, asked := range d.r.DBRoles {
			if d.lists(role.Spec.Deny.DBRoles, asked, true) {
				return reason(CodeDBRoleDenied, name, "the role %s denies the database role %s", name, asked)
			}
		}
	}
	return nil
}

// automatic returns how users of the database are made for this bearer, "" where
// they are not.
func (d *decider) automatic(db *types.Database) types.DBUserMode {
	var mode types.DBUserMode
	if db.Spec.AdminUser == nil {
		return mode
	}
	for _, role := range d.matched {
		o := &role.Spec.Options
		switch {
		case o.CreateDBUserMode == types.DBUserDrop:
			return types.DBUserDrop
		case o.CreateDBUserMode == types.DBUserKeep || o.CreateDBUserMode == "" && on(o.CreateDBUser):
			mode = types.DBUserKeep
		}
	}
	return mode
}

// databaseRoles returns the database roles that an automatic user gets: those
// asked for, or all that the matching roles give, and none that a role denies.
func (d *decider) databaseRoles() ([]string, *Reason) {
	var all []string
	for _, role := range d.matched {
		for _, l := range role.Spec.Allow.DBRoles {
			for _, name := range predicate.AppendExpanded(nil, d.r.Cache, l, d.traits) {
				if name != types.Wildcard && !slices.ContainsFunc(d.roles, func(r *types.Role) bool { return d.lists(r.Spec.Deny.DBRoles, name, true) }) {
					all = append(all, name)
				}
			}
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, asked := range d.r.DBRoles {
		if !slices.Contains(all, asked) {
			return nil, reason(CodeDBRoleNotAllowed, "", "the database role %s is not allowed on %s: no role that matches it has %s in db_roles",
				asked, displayName(d.r.Resource), asked)
		}
	}
	if len(d.r.DBRoles) > 0 {
		all = slices.Compact(slices.Sorted(slices.Values(d.r.DBRoles)))
	}
	return all, nil
}

// saysDatabase lists what a role whose labels match lacks of what is asked for.
func (d *decider) saysDatabase(db *types.Database, role *types.Role) []Reason {
	if d.r.Action == ActionDial {
		return nil
	}
	var out []Reason
	for _, p := range d.databasePrincipals(db, DatabaseLimits{Automatic: d.automatic(db)}) {
		if !d.listsAny(p.list(&role.Spec.Allow), p.forms, false) {
			out = append(out, *reason(CodeRoleDBField, role.Metadata.Name, "its labels match, and its %s does not list %s", p.field, p.value))
		}
	}
	return out
}

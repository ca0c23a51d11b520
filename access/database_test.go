package access_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"teleport/access"
	"teleport/types"
)

// dbRole makes a role for databases with env=prod.
func dbRole(name string, edit func(*types.RoleSpec)) *types.Role {
	return role(name, func(s *types.RoleSpec) {
		s.Allow = types.RoleConditions{DBLabels: types.Labels{"env": {"prod"}}, DBUsers: []string{"app", "{{internal.db_users}}"}, DBNames: []string{"orders"}}
		if edit != nil {
			edit(s)
		}
	})
}

func database(protocol string) *types.Database {
	d := &types.Database{Spec: types.DatabaseSpec{Protocol: protocol, URI: "db.example.com"}}
	d.Metadata.Name, d.Metadata.Labels = "shop", map[string]string{"env": "prod"}
	if err := d.Validate(); err != nil {
		panic(err)
	}
	return d
}

func dbRequest() access.Request {
	r := bare()
	r.Identity.Authority.Logins = nil // a user of databases needs no login of hosts
	r.Identity.Authority.Traits["db_users"] = []string{"alice_rw", "*"}
	r.Roles = []*types.Role{dbRole("dev", nil)}
	r.Action, r.Resource, r.Login, r.DBName = access.ActionDatabase, database("postgres"), "app", "orders"
	return r
}

func TestDatabaseDecisions(t *testing.T) {
	with := func(edit func(*types.RoleSpec)) func(*access.Request) {
		return func(r *access.Request) { r.Roles = append(r.Roles, dbRole("extra", edit)) }
	}
	automatic := func(mode types.DBUserMode, then func(*access.Request)) func(*access.Request) {
		return func(r *access.Request) {
			r.Resource.(*types.Database).Spec.AdminUser = &types.DatabaseAdmin{Name: "admin"}
			r.Roles = []*types.Role{dbRole("dev", func(s *types.RoleSpec) {
				s.Options.CreateDBUserMode, s.Allow.DBRoles = mode, []string{"reader", "writer"}
			})}
			r.Login = "alice"
			then(r)
		}
	}
	for _, c := range []struct {
		name, code, says string
		edit             func(*access.Request)
	}{
		{"plain", access.CodeAllowed, "", func(*access.Request) {}},
		{"dial", access.CodeAllowed, "", func(r *access.Request) { r.Action, r.Login, r.DBName = access.ActionDial, "", "" }},
		{"list", access.CodeAllowed, "", func(r *access.Request) { r.Action, r.Login, r.DBName = access.ActionList, "", "" }},
		{"by a trait", access.CodeAllowed, "", func(r *access.Request) { r.Login = "alice_rw" }},
		{"a server of it", access.CodeAllowed, "", func(r *access.Request) {
			s := &types.DatabaseServer{Spec: types.DatabaseServerSpec{Database: *database("postgres")}}
			s.Kind = types.KindDatabaseServer
			r.Resource = s
		}},
		{"a route to it", access.CodeAllowed, "", func(r *access.Request) {
			r.Identity.Authority.Route = &types.Route{Kind: types.KindDatabase, Name: "shop"}
		}},
		{"a route to another", access.CodeRouteMismatch, "", func(r *access.Request) {
			r.Identity.Authority.Route = &types.Route{Kind: types.KindDatabase, Name: "other"}
		}},
		{"a usage for nodes", access.CodeUsageMismatch, "", func(r *access.Request) { r.Identity.Authority.Usage = []string{"ssh"} }},
		{"no user", access.CodeDBUserUnknown, "", func(r *access.Request) { r.Login = "" }},
		{"another user", access.CodeDBUserNotAllowed, "has root in db_users", func(r *access.Request) { r.Login = "root" }},
		{"a star out of a trait", access.CodeDBUserNotAllowed, "", func(r *access.Request) { r.Login = "*" }},
		{"another name", access.CodeDBNameNotAllowed, "has payroll in db_names", func(r *access.Request) { r.DBName = "payroll" }},
		{"no name", access.CodeDBNameNotAllowed, "", func(r *access.Request) { r.DBName = "" }},
		{"any name of MySQL", access.CodeAllowed, "", func(r *access.Request) { r.Resource, r.DBName = database("mysql"), "payroll" }},
		{"user and name of two roles", access.CodeDBUserNotAllowed, "no single role allows both", func(r *access.Request) {
			with(func(s *types.RoleSpec) { s.Allow.DBUsers, s.Allow.DBNames = []string{"root"}, []string{"other"} })(r)
			r.Login = "root"
		}},
		{"wildcards of a role", access.CodeAllowed, "", func(r *access.Request) {
			with(func(s *types.RoleSpec) { s.Allow.DBUsers, s.Allow.DBNames = []string{"*"}, []string{"*"} })(r)
			r.Login, r.DBName = "root", "payroll"
		}},
		{"other labels", access.CodeNoRoleMatches, "", func(r *access.Request) { r.Resource.Head().Metadata.Labels["env"] = "test" }},
		{"labels denied", access.CodeDeniedByRole, "", with(func(s *types.RoleSpec) { s.Deny.DBLabels = types.Labels{"env": {"prod"}} })},
		{"user denied", access.CodeDBUserDenied, "", with(func(s *types.RoleSpec) { s.Deny.DBUsers = []string{"app"} })},
		{"all users denied", access.CodeDBUserDenied, "", with(func(s *types.RoleSpec) { s.Deny.DBUsers = []string{"*"} })},
		{"users denied by a star of a trait", access.CodeDBUserDenied, "", with(func(s *types.RoleSpec) { s.Deny.DBUsers = []string{"{{internal.db_users}}"} })},
		{"name denied", access.CodeDBNameDenied, "", with(func(s *types.RoleSpec) { s.Deny.DBNames = []string{"orders"} })},
		{"locked user", access.CodeLocked, "", func(r *access.Request) {
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.User = "alice" })}
		}},
		{"locked database user", access.CodeLocked, "", func(r *access.Request) {
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.Login = "app" })}
		}},
		{"SSH on a database", access.CodeKindNotSupported, "", func(r *access.Request) { r.Action = access.ActionLogin }},
		{"a database user on a node", access.CodeKindNotSupported, "", func(r *access.Request) { r.Resource = node() }},
		{"roles of a user that is not made", access.CodeDBRoleNotAllowed, "", func(r *access.Request) { r.DBRoles = []string{"reader"} }},
		{"a second factor", access.CodeMFARequired, "", with(func(s *types.RoleSpec) { s.Options.RequireSessionMFA = types.MFASession })},
		{"made", access.CodeAllowed, "", automatic(types.DBUserKeep, func(*access.Request) {})},
		{"made, under another name", access.CodeDBUserAutomatic, "", automatic(types.DBUserKeep, func(r *access.Request) { r.Login = "app" })},
		{"made, in another database", access.CodeDBNameNotAllowed, "", automatic(types.DBUserDrop, func(r *access.Request) { r.DBName = "payroll" })},
		{"made, with a role of none", access.CodeDBRoleNotAllowed, "in db_roles", automatic(types.DBUserKeep, func(r *access.Request) { r.DBRoles = []string{"owner"} })},
		{"made, with a denied role", access.CodeDBRoleDenied, "", automatic(types.DBUserKeep, func(r *access.Request) {
			r.DBRoles = []string{"writer"}
			with(func(s *types.RoleSpec) { s.Deny.DBRoles = []string{"writer"} })(r)
		})},
		{"the one who makes users", access.CodeDBUserAdmin, "nobody is let in", func(r *access.Request) {
			with(func(s *types.RoleSpec) { s.Allow.DBUsers = []string{"*"} })(r)
			r.Resource.(*types.Database).Spec.AdminUser, r.Login = &types.DatabaseAdmin{Name: "admin"}, "admin"
		}},
		{"made, with the name of the one who makes", access.CodeDBUserAdmin, "", automatic(types.DBUserKeep, func(r *access.Request) {
			r.Resource.(*types.Database).Spec.AdminUser.Name = "alice"
		})},
		{"not made by a database without an admin", access.CodeDBUserNotAllowed, "", automatic(types.DBUserKeep, func(r *access.Request) {
			r.Resource.(*types.Database).Spec.AdminUser = nil
		})},
		{"not made by a role that is off", access.CodeDBUserNotAllowed, "", automatic(types.DBUserOff, func(*access.Request) {})},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := dbRequest()
			c.edit(&r)
			d := access.Decide(r)
			if d.Code() != c.code || d.Allow != (c.code == access.CodeAllowed) || !strings.Contains(d.Text(), c.says) {
				t.Errorf("%v, want %s saying %q", d.Reasons, c.code, c.says)
			}
			if r.Action == access.ActionDatabase && r.Login != "" && r.Resource.Head().Kind != types.KindNode {
				replays(t, r, d)
			}
			if e := access.Explain(r); e.Decision.Allow != d.Allow || len(e.Roles) == 0 {
				t.Errorf("explained as %+v", e)
			}
		})
	}
}

func TestAutomaticUsersGetTheRolesOfAll(t *testing.T) {
	r := dbRequest()
	r.Resource.(*types.Database).Spec.AdminUser = &types.DatabaseAdmin{Name: "admin"}
	r.Login = "alice"
	r.Roles = []*types.Role{
		dbRole("dev", func(s *types.RoleSpec) { s.Options.CreateDBUser, s.Allow.DBRoles = yes(), []string{"reader", "writer"} }),
		dbRole("ops", func(s *types.RoleSpec) {
			s.Options.CreateDBUserMode, s.Allow.DBRoles = types.DBUserDrop, []string{"{{external.team}}", "owner", "writer"}
		}),
		role("calm", func(s *types.RoleSpec) { s.Deny.DBRoles = []string{"owner"} }),
	}
	d := access.Decide(r)
	if !d.Allow || d.Limits.Database.Automatic != types.DBUserDrop || !slices.Equal(d.Limits.Database.Roles, []string{"reader", "web", "writer"}) {
		t.Errorf("%+v %+v", d.Reasons, d.Limits.Database)
	}
	r.DBRoles = []string{"writer", "writer"}
	if d := access.Decide(r); !d.Allow || !slices.Equal(d.Limits.Database.Roles, []string{"writer"}) {
		t.Errorf("%+v %+v", d.Reasons, d.Limits.Database)
	}
}

// replays decides again what a record holds.
func replays(t *testing.T, r access.Request, want access.Decision) {
	t.Helper()
	got, err := access.Replay(access.Record(r, want), access.Policy{Roles: func([]string) []*types.Role { return r.Roles }, Locks: r.Locks, Revision: r.Policy})
	if err != nil || got.Code() != want.Code() || got.Role != want.Role || !reflect.DeepEqual(got.Limits, want.Limits) {
		t.Errorf("replayed %+v %v, recorded %+v", got, err, want)
	}
}

// TestRolesOfAWSHaveTwoNames holds that whoever is denied or allowed a role of AWS
// is so by whichever of its names.
func TestRolesOfAWSHaveTwoNames(t *testing.T) {
	const own, other = "arn:aws:iam::123456789012:role/", "arn:aws:iam::210987654321:role/"
	dynamo := &types.Database{Spec: types.DatabaseSpec{Protocol: "dynamodb", AWS: &types.DatabaseAWS{Region: "eu-west-1", AccountID: "123456789012"}}}
	dynamo.Metadata.Name, dynamo.Metadata.Labels = "shop", map[string]string{"env": "prod"}
	if err := dynamo.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		allow, deny, ask string
		code             string
	}{
		{"reader", "", "reader", access.CodeAllowed},
		{"reader", "", own + "reader", access.CodeAllowed},
		{own + "reader", "", "reader", access.CodeAllowed},
		{"reader", "", other + "reader", access.CodeDBUserNotAllowed},
		{other + "reader", "", other + "reader", access.CodeAllowed},
		{other + "reader", "", "reader", access.CodeDBUserNotAllowed},
		{"*", "admin", "admin", access.CodeDBUserDenied},
		{"*", "admin", own + "admin", access.CodeDBUserDenied},
		{"*", "admin", own + "team/admin", access.CodeDBUserDenied},
		{"*", "admin", other + "admin", access.CodeDBUserDenied},
		{"*", own + "admin", "admin", access.CodeDBUserDenied},
		{"*", own + "admin", other + "admin", access.CodeAllowed},
	} {
		r := dbRequest()
		r.Resource, r.Login, r.DBName = dynamo, c.ask, ""
		r.Roles = []*types.Role{dbRole("dev", func(s *types.RoleSpec) {
			s.Allow.DBUsers = []string{c.allow}
			if c.deny != "" {
				s.Deny.DBUsers = []string{c.deny}
			}
		})}
		d := access.Decide(r)
		code := access.CodeAllowed
		if !d.Allow {
			code = d.Reasons[0].Code
		}
		if code != c.code {
			t.Errorf("%+v: %s", c, code)
		}
		replays(t, r, d)
	}
}

package access_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"teleport/access"
	"teleport/types"
)

func planDatabase(name, protocol string, labels map[string]string, admin string) *types.Database {
	d := database(protocol)
	if d.Metadata.Name, d.Metadata.Labels = name, labels; admin != "" {
		d.Spec.AdminUser = &types.DatabaseAdmin{Name: admin}
	}
	return d
}

func TestCompareDatabases(t *testing.T) {
	dev := dbRole("dev", nil) // env=prod: app and one's own db_users in orders
	with := func(edit func(*types.RoleSpec)) *types.Role { return dbRole("dev", edit) }
	makes := func(roles ...string) *types.Role {
		return with(func(s *types.RoleSpec) { s.Options.CreateDBUserMode, s.Allow.DBRoles = types.DBUserKeep, roles })
	}
	prod := map[string]string{"env": "prod"}
	in := access.PlanInput{Cluster: "example.com", Now: now(), Old: roleMap(dev),
		Users: []*types.User{planUser("alice", map[string][]string{"db_users": {"alice_rw"}}, "dev"), planUser("bob", nil, "other")},
		Databases: []*types.Database{planDatabase("shop", "postgres", prod, ""), planDatabase("bills", "postgres", prod, ""), planDatabase("stall", "mysql", prod, ""),
			planDatabase("made", "postgres", map[string]string{"env": "prod", "made": "yes"}, "admin"), planDatabase("lab", "postgres", map[string]string{"env": "dev"}, "")}}
	s := func(logins []string, resources ...string) access.Shift {
		return access.Shift{User: "alice", Kind: "db", Logins: logins, Count: len(resources), Resources: resources}
	}
	both := []string{"alice_rw in orders", "app in orders"}
	for name, c := range map[string]struct {
		dev          *types.Role
		gained, lost []access.Shift
	}{
		"nothing":  {with(nil), nil, nil},
		"it goes":  {nil, nil, []access.Shift{s([]string{"alice_rw", "app"}, "stall"), s(both, "bills", "made", "shop")}},
		"any user": {with(func(s *types.RoleSpec) { s.Allow.DBUsers = []string{"*"} }), []access.Shift{s([]string{"*"}, "stall"), s([]string{"* in orders"}, "bills", "made", "shop")}, nil},
		"any name": {with(func(s *types.RoleSpec) { s.Allow.DBNames = []string{"*"} }), []access.Shift{s([]string{"alice_rw in *", "app in *"}, "bills", "made", "shop")}, nil},
		"a name for another": {with(func(s *types.RoleSpec) { s.Allow.DBNames = []string{"bills"} }),
			[]access.Shift{s([]string{"alice_rw in bills", "app in bills"}, "bills", "made", "shop")}, []access.Shift{s(both, "bills", "made", "shop")}},
		"a deny of a user":  {with(func(s *types.RoleSpec) { s.Deny.DBUsers = []string{"app"} }), nil, []access.Shift{s([]string{"app"}, "stall"), s([]string{"app in orders"}, "bills", "made", "shop")}},
		"a deny of a name":  {with(func(s *types.RoleSpec) { s.Deny.DBNames = []string{"secrets"} }), nil, []access.Shift{s([]string{"alice_rw in secrets", "app in secrets"}, "stall")}},
		"users are made":    {makes("reader", "writer"), []access.Shift{s([]string{"alice (made with reader, writer) in orders"}, "made")}, []access.Shift{s(both, "made")}},
		"made without":      {makes(), []access.Shift{s([]string{"alice (made without roles) in orders"}, "made")}, []access.Shift{s(both, "made")}},
		"by another label":  {with(func(s *types.RoleSpec) { s.Allow.DBLabels = types.Labels{"made": {"yes"}} }), nil, []access.Shift{s([]string{"alice_rw", "app"}, "stall"), s(both, "bills", "shop")}},
		"a key of hardware": {with(func(s *types.RoleSpec) { s.Options.RequireSessionMFA = types.MFAHardwareKey }), nil, []access.Shift{s([]string{"alice_rw", "app"}, "stall"), s(both, "bills", "made", "shop")}},
	} {
		in.New = map[string]*types.Role{}
		if c.dev != nil {
			in.New = roleMap(c.dev)
		}
		p, err := access.Compare(t.Context(), in)
		slices.SortFunc(p.Lost, func(a, b access.Shift) int { return a.Count - b.Count })
		slices.SortFunc(p.Gained, func(a, b access.Shift) int { return a.Count - b.Count })
		if err != nil || !reflect.DeepEqual(append([]access.Shift{}, c.gained...), p.Gained) || !reflect.DeepEqual(append([]access.Shift{}, c.lost...), p.Lost) || p.Databases != 5 {
			t.Errorf("%s: %v\ngained %+v\nlost   %+v", name, err, p.Gained, p.Lost)
		}
	}
}

// TestComparedDatabasesAgreeWithDecide asks the plain question for each user, database,
// user in it and name: what a plan says is so, and what is so is said.
func TestComparedDatabasesAgreeWithDecide(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	some := func(of ...string) (out []string) {
		for _, s := range of {
			if rnd.IntN(3) == 0 {
				out = append(out, s)
			}
		}
		return out
	}
	any := func(name string) *types.Role {
		return dbRole(name, func(s *types.RoleSpec) {
			s.Allow = types.RoleConditions{DBLabels: types.Labels{"env": append(types.StringList{"none"}, some("prod", "dev")...)}, DBUsers: some("app", "root", "*", "{{internal.db_users}}"), DBNames: some("orders", "bills", "*")}
			s.Deny = types.RoleConditions{DBUsers: some("root"), DBNames: some("secrets")}
		})
	}
	names, users := []string{"orders", "bills", "secrets", "unnamed"}, []string{"app", "root", "alice_rw", "unnamed"}
	for range 100 {
		in := access.PlanInput{Cluster: "example.com", Now: now(), Old: roleMap(any("a"), any("b")), New: roleMap(any("a"), any("b")),
			Users: []*types.User{planUser("alice", map[string][]string{"db_users": {"alice_rw"}}, "a", "b")}, Databases: []*types.Database{
				planDatabase("shop", "postgres", map[string]string{"env": "prod"}, ""), planDatabase("lab", "postgres", map[string]string{"env": "dev"}, "")}}
		p, err := access.Compare(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		said := func(list []access.Shift, db, login string) bool {
			return slices.ContainsFunc(list, func(s access.Shift) bool { return slices.Contains(s.Resources, db) && slices.Contains(s.Logins, login) })
		}
		for _, db := range in.Databases {
			for _, user := range users {
				for _, name := range names {
					had, has := mayBe(db, user, name, in.Old), mayBe(db, user, name, in.New)
					for what, x := range map[string]struct {
						is   bool
						list []access.Shift
					}{"gained": {has && !had, p.Gained}, "lost": {had && !has, p.Lost}} {
						exact := strings.ReplaceAll(fmt.Sprintf("%s in %s", user, name), "unnamed", "*")
						is := said(x.list, db.Metadata.Name, exact)
						covered := is || said(x.list, db.Metadata.Name, "* in *") || said(x.list, db.Metadata.Name, "* in "+name) || said(x.list, db.Metadata.Name, user+" in *")
						if is && !x.is || x.is && !covered {
							t.Fatalf("%s of %s on %s: %v, and the plan says %+v", what, exact, db.Metadata.Name, x.is, x.list)
						}
					}
				}
			}
		}
	}
}

func mayBe(db *types.Database, user, name string, all map[string]*types.Role) bool {
	r := dbRequest()
	r.Resource, r.Login, r.DBName, r.Roles = db, user, name, []*types.Role{all["a"], all["b"]}
	r.Identity.Authority.Traits = map[string][]string{"db_users": {"alice_rw"}}
	return access.Decide(r).Allow
}

func TestDatabaseUsers(t *testing.T) {
	prod := map[string]string{"env": "prod"}
	for name, c := range map[string]struct {
		edit func(*types.RoleSpec)
		d    *types.Database
		want []string
	}{
		"named, and by a trait": {nil, planDatabase("shop", "postgres", prod, ""), []string{"alice_rw", "app"}},
		"anybody but":           {func(s *types.RoleSpec) { s.Allow.DBUsers, s.Deny.DBUsers = []string{"*", "app"}, []string{"app"} }, planDatabase("shop", "postgres", prod, ""), []string{"*"}},
		"into no database":      {func(s *types.RoleSpec) { s.Allow.DBNames = nil }, planDatabase("shop", "postgres", prod, ""), nil},
		"where none is named":   {func(s *types.RoleSpec) { s.Allow.DBNames = nil }, planDatabase("stall", "mysql", prod, ""), []string{"alice_rw", "app"}},
		"by another label":      {nil, planDatabase("lab", "postgres", map[string]string{"env": "dev"}, ""), nil},
		"made automatically":    {func(s *types.RoleSpec) { s.Options.CreateDBUserMode = types.DBUserKeep }, planDatabase("made", "postgres", prod, "admin"), []string{"alice"}},
	} {
		id := &types.Identity{Kind: types.IdentityUser, Cluster: "example.com", Name: "alice", Authority: types.Authority{Roles: []string{"dev"},
			Traits: map[string][]string{"db_users": {"alice_rw"}}, Expires: now().Add(time.Hour)}}
		r := access.Request{Identity: id, Roles: []*types.Role{dbRole("dev", c.edit)}, Resource: c.d, Labels: c.d.AllLabels(), Now: now()}
		if got := access.DatabaseUsers(r); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := access.DatabaseUsers(access.Request{Resource: &types.Node{}}); got != nil {
		t.Errorf("%q", got)
	}
}

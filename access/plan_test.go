package access_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"teleport/access"
	"teleport/types"
)

func planUser(name string, traits map[string][]string, roles ...string) *types.User {
	u := &types.User{}
	u.Kind, u.Metadata.Name = types.KindUser, name
	u.Spec.Roles, u.Spec.Traits = roles, traits
	return u
}

func planNode(i int, labels map[string]string) *types.Node {
	n := &types.Node{Spec: types.NodeSpec{Hostname: fmt.Sprintf("n%d", i)}}
	n.Kind, n.Metadata.Name, n.Metadata.Labels = types.KindNode, fmt.Sprintf("00000000-0000-4000-8000-%012d", i), labels
	return n
}

func roleMap(roles ...*types.Role) map[string]*types.Role {
	m := map[string]*types.Role{}
	for _, r := range roles {
		m[r.Metadata.Name] = r
	}
	return m
}

func TestCompare(t *testing.T) {
	web := role("web", nil) // env=prod: own logins and ubuntu
	dev := role("dev", func(s *types.RoleSpec) { s.Allow.NodeLabels = types.Labels{"env": {"dev"}} })
	in := access.PlanInput{Cluster: "example.com", Now: now(), Old: roleMap(web, dev),
		Users: []*types.User{planUser("alice", map[string][]string{"logins": {"alice"}}, "web"), planUser("bob", map[string][]string{"logins": {"bob"}}, "dev"),
			planUser("carol", nil, "soon")},
		Nodes: []*types.Node{planNode(1, map[string]string{"env": "prod"}), planNode(2, map[string]string{"env": "prod", "team": "x"}), planNode(3, map[string]string{"env": "dev"})}}
	type shift = access.Shift
	s := func(user string, logins []string, resources ...string) shift {
		return shift{User: user, Kind: "node", Logins: logins, Count: len(resources), Resources: resources}
	}
	for name, c := range map[string]struct {
		new          map[string]*types.Role
		changes      []access.RoleChange
		gained, lost []shift
	}{
		"nothing":        {roleMap(web, dev), []access.RoleChange{}, []shift{}, []shift{}},
		"the same again": {roleMap(role("web", nil), dev), []access.RoleChange{{"web", "none"}}, []shift{}, []shift{}},
		"a role goes":    {roleMap(dev), []access.RoleChange{{"web", "delete"}}, []shift{}, []shift{s("alice", []string{"alice", "ubuntu"}, "n1", "n2")}},
		"a role comes that somebody has": {roleMap(web, dev, role("soon", func(s *types.RoleSpec) { s.Allow.Logins = []string{"root"} })),
			[]access.RoleChange{{"soon", "create"}}, []shift{s("carol", []string{"root"}, "n1", "n2")}, []shift{}},
		"a login for another": {roleMap(dev, role("web", func(s *types.RoleSpec) { s.Allow.Logins = []string{"ubuntu", "root"} })),
			[]access.RoleChange{{"web", "update"}}, []shift{s("alice", []string{"root"}, "n1", "n2")}, []shift{s("alice", []string{"alice"}, "n1", "n2")}},
		"a deny": {roleMap(dev, role("web", func(s *types.RoleSpec) { s.Deny.NodeLabels = types.Labels{"team": {"x"}} })),
			[]access.RoleChange{{"web", "update"}}, []shift{}, []shift{s("alice", []string{"alice", "ubuntu"}, "n2")}},
		"a hardware key": {roleMap(dev, role("web", func(s *types.RoleSpec) { s.Options.RequireSessionMFA = types.MFAHardwareKey })),
			[]access.RoleChange{{"web", "update"}}, []shift{}, []shift{s("alice", []string{"alice", "ubuntu"}, "n1", "n2")}},
		"a pin takes nothing": {roleMap(dev, role("web", func(s *types.RoleSpec) { s.Options.PinSourceIP = yes() })),
			[]access.RoleChange{{"web", "update"}}, []shift{}, []shift{}},
	} {
		in.New = c.new
		p, err := access.Compare(t.Context(), in)
		if err != nil || !reflect.DeepEqual(p.Roles, c.changes) || !reflect.DeepEqual(p.Gained, c.gained) || !reflect.DeepEqual(p.Lost, c.lost) {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
}

// TestCompareAgreesWithDecide holds the classes of a plan against the plain
// question for each user and node, with roles of every sort.
func TestCompareAgreesWithDecide(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		old, next := useRoles(rnd), useRoles(rnd)
		in := access.PlanInput{Cluster: "example.com", Now: now(), Old: roleMap(old...), New: roleMap(next...)}
		for i := range 5 {
			in.Users = append(in.Users, planUser([]string{"alice", "bob", "u2", "u3", "u4"}[i], map[string][]string{"logins": {"alice", fmt.Sprintf("u%d", i)}, "team": {[]string{"web", "db"}[i%2]}}, "r0", "r1"))
		}
		for i := range 8 {
			in.Nodes = append(in.Nodes, planNode(i, map[string]string{"env": []string{"prod", "dev"}[i%2], "team": []string{"web", "db", "x"}[i%3]}))
		}
		p, err := access.Compare(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		gained, lost := 0, 0
		for _, u := range in.Users {
			for _, n := range in.Nodes {
				had, has := loginsOf(u, n, in.Old), loginsOf(u, n, in.New)
				for _, l := range has {
					if !slices.Contains(had, l) {
						gained++
					}
				}
				for _, l := range had {
					if !slices.Contains(has, l) {
						lost++
					}
				}
			}
		}
		if p.GainedCount != gained || p.LostCount != lost {
			t.Fatalf("the plan counts %d gained and %d lost, Decide %d and %d\n%+v", p.GainedCount, p.LostCount, gained, lost, p)
		}
	}
}

func loginsOf(u *types.User, n *types.Node, all map[string]*types.Role) []string {
	var roles []*types.Role
	for _, name := range u.Spec.Roles {
		if all[name] != nil {
			roles = append(roles, all[name])
		}
	}
	r := bare()
	r.Identity.Name, r.Resource, r.HostID, r.Roles = u.Name(), n, n.Name(), roles
	r.Identity.Authority.Traits, r.Identity.Authority.Roles, r.Identity.Authority.Logins = u.Spec.Traits, u.Spec.Roles, access.RoleLogins(roles, u.Spec.Traits)
	r.Identity.Authority.PinnedIP = r.ClientAddr
	r.Identity.Proofs.MFADevice = "m"
	var out []string
	for _, l := range r.Identity.Authority.Logins {
		r.Action, r.Login = access.ActionLogin, l
		if access.Decide(r).Allow {
			out = append(out, l)
		}
	}
	return out
}

// TestCompareIsBounded: a thousand users with logins of their own and a thousand
// nodes with labels of their own, and a role that looks at who asks.
func TestCompareIsBounded(t *testing.T) {
	in := access.PlanInput{Cluster: "example.com", Now: now()}
	for i := range 1000 {
		in.Users = append(in.Users, planUser(fmt.Sprintf("u%d", i), map[string][]string{"logins": {fmt.Sprintf("l%d", i)}, "team": {fmt.Sprintf("t%d", i%20)}}, "a", "b"))
		in.Nodes = append(in.Nodes, planNode(i, map[string]string{"env": "prod", "host": fmt.Sprint(i), "team": fmt.Sprintf("t%d", i%20)}))
	}
	a := role("a", func(s *types.RoleSpec) { s.Allow.NodeLabels = types.Labels{"*": {"*"}} })
	team := role("b", func(s *types.RoleSpec) {
		s.Allow.Logins, s.Allow.NodeLabels = []string{"root"}, types.Labels{"team": {"{{external.team}}"}}
	})
	in.Old, in.New = roleMap(a), roleMap(a, team)
	start := time.Now()
	p, err := access.Compare(t.Context(), in)
	if err != nil || p.GainedCount != 1000*50 || p.LostCount != 0 || len(p.Gained) != 1000 || p.Gained[0].Count != 50 || len(p.Gained[0].Resources) != 10 {
		t.Fatalf("%v: %d gained, %d lost, %d listed", err, p.GainedCount, p.LostCount, len(p.Gained))
	}
	t.Logf("compared in %s", time.Since(start))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := access.Compare(ctx, in); err == nil {
		t.Error("it goes on after its context ended")
	}
}

package types_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"teleport/types"
	"teleport/types/typestest"
)

func TestEveryFieldDeclaresItsNarrowing(t *testing.T) {
	var check func(reflect.Type)
	check = func(s reflect.Type) {
		for i := range s.NumField() {
			f := s.Field(i)
			switch tag := f.Tag.Get("narrow"); tag {
			case "equal", "set", "min", "restrict", "proof", "free":
			case "struct":
				check(f.Type)
			default:
				t.Errorf("%s.%s has narrow tag %q", s, f.Name, tag)
			}
		}
	}
	check(reflect.TypeFor[types.Identity]())
}

func TestNarrowsChildren(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		kind := types.IdentityUser
		if r.IntN(3) == 0 {
			kind = types.IdentityHost
		}
		p := typestest.Identity(r, kind)
		p.Authority.Route, p.Authority.DisallowReissue = nil, false
		c := typestest.Child(r, p)
		if err := c.Narrows(p); err != nil {
			t.Fatalf("child %+v\nparent %+v\n%v", c, p, err)
		}
		if reflect.DeepEqual(c.Authority, p.Authority) {
			continue
		}
		// A lattice: the parent does not narrow the child unless they are equal in
		// authority, up to fields that a re-issue may leave as they are.
		if err := p.Narrows(c); err == nil && c.Authority.Expires.Before(p.Authority.Expires) {
			t.Fatalf("narrowing goes both ways: %+v %+v", c, p)
		}
	}
}

// TestNarrowsRefusesEachField widens one field after another.
func TestNarrowsRefusesEachField(t *testing.T) {
	parent := func() *types.Identity {
		return &types.Identity{Kind: types.IdentityUser, Cluster: "c", Name: "alice", IssuedAt: typestest.Epoch(),
			Authority: types.Authority{Expires: typestest.Epoch().Add(time.Hour), Roles: []string{"a", "b"}, Logins: []string{"root"},
				Traits: map[string][]string{"team": {"x"}}, Usage: []string{"ssh"}, PinnedIP: netip.MustParseAddr("10.0.0.1"),
				ResourceIDs: []types.ResourceID{{Kind: "node", Name: "n"}}, Scope: &types.JoinScope{Names: []string{"web-*"}, Labels: map[string][]string{"env": {"prod"}}}},
			Proofs: types.Proofs{AccessRequests: []string{"r"}, Impersonator: "bot"}}
	}
	for name, widen := range map[string]func(*types.Identity){
		"kind":      func(i *types.Identity) { i.Kind = types.IdentityHost },
		"cluster":   func(i *types.Identity) { i.Cluster = "d" },
		"name":      func(i *types.Identity) { i.Name = "bob" },
		"expires":   func(i *types.Identity) { i.Authority.Expires = i.Authority.Expires.Add(time.Second) },
		"no expiry": func(i *types.Identity) { i.Authority.Expires = time.Time{} },
		"roles":     func(i *types.Identity) { i.Authority.Roles = []string{"a", "admin"} },
		"system":    func(i *types.Identity) { i.Authority.SystemRoles = []types.SystemRole{types.RoleAdmin} },
		"logins":    func(i *types.Identity) { i.Authority.Logins = []string{"root", "x"} },
		"trait":     func(i *types.Identity) { i.Authority.Traits = map[string][]string{"team": {"x", "y"}} },
		"trait key": func(i *types.Identity) { i.Authority.Traits = map[string][]string{"other": {"x"}} },
		"usage":     func(i *types.Identity) { i.Authority.Usage = []string{"ssh", "db"} },
		"no usage":  func(i *types.Identity) { i.Authority.Usage = nil },
		"resources": func(i *types.Identity) { i.Authority.ResourceIDs = nil },
		"other res": func(i *types.Identity) { i.Authority.ResourceIDs = []types.ResourceID{{Kind: "node", Name: "m"}} },
		"no pin":    func(i *types.Identity) { i.Authority.PinnedIP = netip.Addr{} },
		"other pin": func(i *types.Identity) { i.Authority.PinnedIP = netip.MustParseAddr("10.0.0.2") },
		"renewable": func(i *types.Identity) { i.Authority.Renewable = true },
		"pty":       func(i *types.Identity) { i.Authority.PermitPTY = true },
		"agent":     func(i *types.Identity) { i.Authority.PermitAgent = true },
		"forward":   func(i *types.Identity) { i.Authority.PermitPortForward = true },
		"x11":       func(i *types.Identity) { i.Authority.PermitX11 = true },
		"hostname":  func(i *types.Identity) { i.Authority.Hostname = "h" },
		"principal": func(i *types.Identity) { i.Authority.Principals = []string{"p"} },
		"no scope":  func(i *types.Identity) { i.Authority.Scope = nil },
		"scope":     func(i *types.Identity) { i.Authority.Scope = &types.JoinScope{Names: []string{"web-*"}} },
		"proxy":     func(i *types.Identity) { i.Authority.ProxyUUID = "u" },
		"mfa":       func(i *types.Identity) { i.Proofs.MFADevice = "d" },
		"device":    func(i *types.Identity) { i.Proofs.DeviceID = "d" },
		"requests":  func(i *types.Identity) { i.Proofs.AccessRequests = nil },
		"imperson":  func(i *types.Identity) { i.Proofs.Impersonator = "" },
		"login ip":  func(i *types.Identity) { i.Proofs.LoginIP = netip.MustParseAddr("10.0.0.9") },
		"bridge":    func(i *types.Identity) { i.Kind = types.IdentityBridge },
	} {
		c := parent()
		if err := c.Narrows(parent()); err != nil {
			t.Fatal(err)
		}
		widen(c)
		if c.Narrows(parent()) == nil {
			t.Errorf("%s: a wider child is accepted", name)
		}
	}
}

func TestRouteAndBridgeNeverReissue(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	p := typestest.Identity(r, types.IdentityUser)
	p.Authority.Route, p.Authority.DisallowReissue, p.Authority.Usage = typestest.Route(r), false, nil
	same := *p
	if same.Narrows(p) == nil {
		t.Error("a route certificate re-issues")
	}
	bridge := *p
	bridge.Kind, bridge.Authority.ProxyUUID, bridge.Authority.DisallowReissue = types.IdentityBridge, typestest.UUID(r), true
	if err := bridge.Narrows(p); err != nil {
		t.Errorf("a bridge for the same route: %v", err)
	}
	other := bridge
	other.Authority.Route = &types.Route{Kind: "db", Name: "another"}
	if other.Narrows(p) == nil {
		t.Error("a bridge changes the route")
	}
	if bridge.Narrows(&bridge) == nil {
		t.Error("a bridge re-issues")
	}
	user := *p
	if user.Narrows(&bridge) == nil {
		t.Error("a bridge gives a user certificate")
	}
	host := typestest.Identity(r, types.IdentityHost)
	if bridge.Narrows(host) == nil {
		t.Error("a host gets a bridge of its own")
	}
	late := bridge
	late.Authority.UserExpires = p.Authority.Expires.Add(time.Second)
	if late.Narrows(p) == nil {
		t.Error("a bridge says that the user's certificate lives longer")
	}
	joins := bridge
	joins.Authority.Logins = []string{types.JoinLogin}
	if err := joins.Narrows(p); err != nil {
		t.Errorf("a bridge for joining: %v", err)
	}
	joins.Authority.Logins = []string{types.JoinLogin, "another"}
	if joins.Narrows(p) == nil {
		t.Error("a bridge for joining has a login beside")
	}
	noRoute := bridge
	noRoute.Authority.Route = nil
	if err := noRoute.Narrows(p); err == nil || !strings.Contains(err.Error(), "route") {
		t.Errorf("a bridge without route: %v", err)
	}
}

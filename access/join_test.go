package access_test

import (
	"testing"
	"time"

	"teleport/access"
	"teleport/types"
)

func joinRole(name string, p ...types.JoinSessions) *types.Role {
	r := role(name, func(*types.RoleSpec) {})
	r.Spec.Allow.JoinSessions = p // as an older version may have stored it
	return r
}

func TestJoin(t *testing.T) {
	policy := func(roles, kinds, modes []string) types.JoinSessions {
		return types.JoinSessions{Name: "p", Roles: roles, Kinds: kinds, Modes: modes}
	}
	ssh, dev := []string{"ssh"}, []string{"dev"}
	watch := joinRole("watch", policy(dev, ssh, []string{"observer"}))
	all := joinRole("all", policy([]string{"*"}, []string{"*"}, []string{"*"}))
	deny := func(p types.JoinSessions) *types.Role {
		r := role("no", func(*types.RoleSpec) {})
		r.Spec.Deny.JoinSessions = []types.JoinSessions{p}
		return r
	}
	for _, c := range []struct {
		name  string
		roles []*types.Role
		owner string
		mode  string
		code  string
	}{
		{"nothing", nil, "bob", "observer", access.CodeNoJoin},
		{"observer", []*types.Role{watch}, "bob", "observer", access.CodeAllowed},
		{"not as peer", []*types.Role{watch}, "bob", "peer", access.CodeNoJoin},
		{"not as moderator", []*types.Role{watch}, "bob", "moderator", access.CodeNoJoin},
		{"any mode", []*types.Role{watch}, "bob", "", access.CodeAllowed},
		{"no such mode", []*types.Role{all}, "bob", "owner", access.CodeUnknownAction},
		{"a wildcard is no mode", []*types.Role{all}, "bob", "*", access.CodeUnknownAction},
		{"wildcards", []*types.Role{all}, "bob", "moderator", access.CodeAllowed},
		{"other roles", []*types.Role{joinRole("x", policy([]string{"ops"}, ssh, []string{"*"}))}, "bob", "", access.CodeNoJoin},
		{"a glob", []*types.Role{joinRole("x", policy([]string{"d*"}, ssh, []string{"*"}))}, "bob", "peer", access.CodeAllowed},
		{"a broken pattern", []*types.Role{joinRole("x", policy([]string{"^(dev$"}, ssh, []string{"*"}))}, "bob", "peer", access.CodeNoJoin},
		{"no roles", []*types.Role{joinRole("x", policy(nil, ssh, []string{"*"}))}, "bob", "", access.CodeNoJoin},
		{"other kind", []*types.Role{joinRole("x", policy(dev, []string{"k8s"}, []string{"*"}))}, "bob", "", access.CodeNoJoin},
		{"no kind", []*types.Role{joinRole("x", policy(dev, nil, []string{"*"}))}, "bob", "", access.CodeNoJoin},
		{"own", nil, "alice", "peer", access.CodeAllowed},
		{"deny wins", []*types.Role{all, deny(policy(dev, nil, nil))}, "bob", "observer", access.CodeJoinDenied},
		{"deny of own", []*types.Role{deny(policy(dev, nil, nil))}, "alice", "peer", access.CodeJoinDenied},
		{"deny of one mode", []*types.Role{all, deny(policy(dev, ssh, []string{"peer"}))}, "bob", "observer", access.CodeAllowed},
		{"deny of that mode", []*types.Role{all, deny(policy(dev, ssh, []string{"peer"}))}, "bob", "peer", access.CodeJoinDenied},
		{"one mode is left", []*types.Role{all, deny(policy(dev, ssh, []string{"peer"}))}, "bob", "", access.CodeAllowed},
		{"a broken deny denies", []*types.Role{all, deny(policy([]string{"^(x$"}, nil, nil))}, "bob", "peer", access.CodeJoinDenied},
	} {
		r := join(c.roles, c.owner, c.mode)
		if d := access.Decide(r); d.Code() != c.code || d.Allow != (c.code == access.CodeAllowed) {
			t.Errorf("%s: %v %s, want %s", c.name, d.Allow, d.Code(), c.code)
		}
	}
}

func join(roles []*types.Role, owner, mode string) access.Request {
	r := request()
	r.Roles, r.Action, r.Mode, r.Resource, r.Login = roles, access.ActionJoin, mode, nil, ""
	s := &types.SessionTracker{Spec: types.SessionTrackerSpec{Kind: "ssh", User: owner, Roles: []string{"dev"}, HostID: "h1"}}
	s.Kind, s.Metadata.Name = types.KindSessionTracker, "s1"
	r.Subject = s
	return r
}

// What holds for every use of a certificate holds for joining.
func TestJoinAsksTheBearer(t *testing.T) {
	all := []*types.Role{joinRole("all", types.JoinSessions{Name: "p", Roles: []string{"*"}, Kinds: []string{"*"}, Modes: []string{"*"}})}
	for name, c := range map[string]struct {
		edit func(*access.Request)
		code string
	}{
		"expired":     {func(r *access.Request) { r.Now = r.Now.Add(1000 * time.Hour) }, access.CodeExpired},
		"other usage": {func(r *access.Request) { r.Identity.Authority.Usage = []string{"db"} }, access.CodeUsageMismatch},
		"a route":     {func(r *access.Request) { r.Identity.Authority.Route = &types.Route{Kind: "db", Name: "x"} }, access.CodeRouteMismatch},
		"other resources": {func(r *access.Request) {
			r.Identity.Authority.ResourceIDs = []types.ResourceID{{Kind: "node", Name: "h2"}}
		}, access.CodeNotRequested},
		"second factor":           {func(r *access.Request) { r.Settings.Auth.RequireSessionMFA = types.MFASession }, access.CodeMFARequired},
		"another kind of subject": {func(r *access.Request) { r.Subject = &types.User{} }, access.CodeKindNotSupported},
		"a locked user": {func(r *access.Request) {
			r.Locks = []*types.Lock{{Spec: types.LockSpec{Target: types.LockTarget{User: "alice"}}}}
		}, access.CodeLocked},
	} {
		r := join(all, "bob", "observer")
		id := *r.Identity
		r.Identity = &id
		if c.edit(&r); access.Decide(r).Code() != c.code {
			t.Errorf("%s: %s, want %s", name, access.Decide(r).Code(), c.code)
		}
	}
	r := join(all, "bob", "")
	r.Settings.Auth.RequireSessionMFA = types.MFASession
	if d := access.Decide(r); !d.Allow {
		t.Errorf("a listing asks for a second factor: %s", d.Text())
	}
	r.Subject = nil
	if d := access.Decide(r); d.Code() != access.CodeMFARequired {
		t.Errorf("whoever comes to join is not asked for a second factor: %s", d.Code())
	}
}

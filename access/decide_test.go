package access_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"teleport/access"
	"teleport/predicate"
	"teleport/types"
)

func now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func yes() types.Bool { b := true; return &b }
func no() types.Bool  { b := false; return &b }

// role makes a role that allows logins on nodes with env=prod.
func role(name string, edit func(*types.RoleSpec)) *types.Role {
	r := &types.Role{}
	r.Metadata.Name = name
	r.Spec.Allow = types.RoleConditions{Logins: []string{"{{internal.logins}}", "ubuntu"}, NodeLabels: types.Labels{"env": {"prod"}}}
	if edit != nil {
		edit(&r.Spec)
	}
	if err := r.Validate(); err != nil {
		panic(err)
	}
	if err := access.Validate(r); err != nil {
		panic(err)
	}
	return r
}

func identity() *types.Identity {
	return &types.Identity{Kind: types.IdentityUser, Cluster: "example.com", Name: "alice", IssuedAt: now().Add(-time.Hour),
		Authority: types.Authority{Expires: now().Add(time.Hour), Roles: []string{"dev"}, Logins: []string{"alice", "root", "ubuntu"},
			Traits:    map[string][]string{"logins": {"alice", "root"}, "team": {"web"}, "evil": {"*"}},
			PermitPTY: true, PermitAgent: true, PermitPortForward: true, PermitX11: true}}
}

func node() *types.Node {
	n := &types.Node{Spec: types.NodeSpec{Hostname: "web-1"}}
	n.Kind, n.Version = types.KindNode, "v2"
	n.Metadata.Name = "11111111-2222-4333-8444-555555555555"
	n.Metadata.Labels = map[string]string{"env": "prod", "team": "web"}
	return n
}

func request() access.Request {
	r := bare()
	r.Roles = []*types.Role{role("dev", nil)}
	return r
}

// bare is a request without roles.
func bare() access.Request {
	return access.Request{Identity: identity(), ClientAddr: netip.MustParseAddr("10.0.0.1"),
		Action: access.ActionLogin, Resource: node(), Login: "root", HostID: node().Metadata.Name, Now: now(), Policy: "42"}
}

func lock(edit func(*types.LockSpec)) *types.Lock {
	l := &types.Lock{}
	l.Metadata.Name, l.Spec.Message = "id", "stop"
	edit(&l.Spec)
	return l
}

// TestReasons reaches every code.
func TestReasons(t *testing.T) {
	withRole := func(edit func(*types.RoleSpec)) func(*access.Request) {
		return func(r *access.Request) { r.Roles = append(r.Roles, role("extra", edit)) }
	}
	cases := []struct {
		name, code string
		edit       func(*access.Request)
	}{
		{"plain", access.CodeAllowed, func(*access.Request) {}},
		{"dial", access.CodeAllowed, func(r *access.Request) { r.Action, r.Login = access.ActionDial, "" }},
		{"list", access.CodeAllowed, func(r *access.Request) { r.Action, r.Login = access.ActionList, "" }},
		{"literal login", access.CodeAllowed, func(r *access.Request) { r.Login = "ubuntu" }},
		{"nobody", access.CodeNoIdentity, func(r *access.Request) { r.Identity = nil }},
		{"host", access.CodeNotAUser, func(r *access.Request) { r.Identity.Kind = types.IdentityHost }},
		{"no name", access.CodeNotAUser, func(r *access.Request) { r.Identity.Name = "" }},
		{"expired", access.CodeExpired, func(r *access.Request) { r.Now = r.Identity.Authority.Expires }},
		{"expired, of a live session", access.CodeAllowed, func(r *access.Request) { r.Now, r.Live = r.Identity.Authority.Expires, true }},
		{"expired, a list in between", access.CodeExpired, func(r *access.Request) {
			r.Now, r.Live, r.Action, r.Login = r.Identity.Authority.Expires, true, access.ActionList, ""
		}},
		{"no clock", access.CodeExpired, func(r *access.Request) { r.Now = time.Time{} }},
		{"user lock", access.CodeLocked, func(r *access.Request) {
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.User = "alice" })}
		}},
		{"role lock", access.CodeLocked, func(r *access.Request) {
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.Role = "dev" })}
		}},
		{"login lock", access.CodeLocked, func(r *access.Request) {
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.Login = "root" })}
		}},
		{"server lock", access.CodeLocked, func(r *access.Request) {
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.ServerID = node().Metadata.Name })}
		}},
		{"device lock", access.CodeLocked, func(r *access.Request) {
			r.Identity.Proofs.DeviceID = "d"
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.Device = "d" })}
		}},
		{"mfa lock", access.CodeLocked, func(r *access.Request) {
			r.Identity.Proofs.MFADevice = "m"
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.MFADevice = "m" })}
		}},
		{"request lock", access.CodeLocked, func(r *access.Request) {
			r.Identity.Proofs.AccessRequests = []string{"q"}
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.AccessRequest = "q" })}
		}},
		{"lock of two", access.CodeAllowed, func(r *access.Request) {
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.User, l.Target.Login = "alice", "other" })}
		}},
		{"old lock", access.CodeAllowed, func(r *access.Request) {
			past := now()
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.User, l.Expires = "alice", &past })}
		}},
		{"stale, best effort", access.CodeAllowed, func(r *access.Request) { r.LocksStale = true }},
		{"stale, strict cluster", access.CodeLocksStale, func(r *access.Request) { r.LocksStale, r.Settings.Auth.LockingMode = true, "strict" }},
		{"stale, strict role", access.CodeLocksStale, func(r *access.Request) {
			r.LocksStale = true
			withRole(func(s *types.RoleSpec) { s.Options.Lock = "strict" })(r)
		}},
		{"deleted", access.CodeUserDeleted, func(r *access.Request) { r.Epoch = &types.UserEpochSpec{Deleted: true} }},
		{"reissue", access.CodeReissueRequired, func(r *access.Request) { r.Epoch = &types.UserEpochSpec{NotBefore: now(), Roles: []string{"dev"}} }},
		{"after epoch", access.CodeAllowed, func(r *access.Request) { r.Epoch = &types.UserEpochSpec{NotBefore: r.Identity.IssuedAt} }},
		{"live, role kept", access.CodeAllowed, func(r *access.Request) {
			r.Live, r.Epoch = true, &types.UserEpochSpec{NotBefore: now(), Roles: []string{"dev"}, Traits: r.Identity.Authority.Traits}
		}},
		{"live, role gone", access.CodeNoRoleMatches, func(r *access.Request) {
			r.Live, r.Epoch = true, &types.UserEpochSpec{NotBefore: now(), Roles: []string{"other"}}
		}},
		{"live, trait gone", access.CodeLoginNotAllowed, func(r *access.Request) {
			r.Live, r.Epoch = true, &types.UserEpochSpec{NotBefore: now(), Roles: []string{"dev"}}
		}},
		{"unreadable role", access.CodeRoleUnreadable, func(r *access.Request) { r.Unreadable = []string{"dev"} }},
		{"unreadable other", access.CodeAllowed, func(r *access.Request) { r.Unreadable = []string{"ops"} }},
		{"not pinned", access.CodeIPNotPinned, withRole(func(s *types.RoleSpec) { s.Options.PinSourceIP = yes() })},
		{"pinned elsewhere", access.CodeIPMismatch, func(r *access.Request) { r.Identity.Authority.PinnedIP = netip.MustParseAddr("10.0.0.2") }},
		{"pinned, no address", access.CodeIPMismatch, func(r *access.Request) {
			r.Identity.Authority.PinnedIP, r.ClientAddr = netip.MustParseAddr("10.0.0.2"), netip.Addr{}
		}},
		{"pinned here", access.CodeAllowed, func(r *access.Request) {
			r.Identity.Authority.PinnedIP, r.ClientAddr = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.1")
		}},
		{"usage", access.CodeUsageMismatch, func(r *access.Request) { r.Identity.Authority.Usage = []string{"db"} }},
		{"usage ssh", access.CodeAllowed, func(r *access.Request) { r.Identity.Authority.Usage = []string{"ssh"} }},
		{"route", access.CodeRouteMismatch, func(r *access.Request) { r.Identity.Authority.Route = &types.Route{Kind: "node", Name: "other"} }},
		{"requested", access.CodeNotRequested, func(r *access.Request) {
			r.Identity.Authority.ResourceIDs = []types.ResourceID{{Kind: "node", Name: "other"}}
		}},
		{"requested this", access.CodeAllowed, func(r *access.Request) {
			r.Identity.Authority.ResourceIDs = []types.ResourceID{{Cluster: "example.com", Kind: "node", Name: node().Metadata.Name}}
		}},
		{"requested there", access.CodeNotRequested, func(r *access.Request) {
			r.Identity.Authority.ResourceIDs = []types.ResourceID{{Cluster: "leaf", Kind: "node", Name: node().Metadata.Name}}
		}},
		{"no resource", access.CodeKindNotSupported, func(r *access.Request) { r.Resource = nil }},
		{"other kind", access.CodeKindNotSupported, func(r *access.Request) { r.Resource = role("dev", nil) }},
		{"unknown action", access.CodeUnknownAction, func(r *access.Request) { r.Action = "fly" }},
		{"no action", access.CodeUnknownAction, func(r *access.Request) { r.Action = "" }},
		{"deny label", access.CodeDeniedByRole, withRole(func(s *types.RoleSpec) { s.Deny.NodeLabels = types.Labels{"team": {"w*"}} })},
		{"deny one of two labels", access.CodeDeniedByRole, withRole(func(s *types.RoleSpec) { s.Deny.NodeLabels = types.Labels{"team": {"web"}, "x": {"y"}} })},
		{"deny expression", access.CodeDeniedByRole, withRole(func(s *types.RoleSpec) { s.Deny.NodeLabelsExpression = `labels["env"] == "prod"` })},
		{"deny broken expression", access.CodeDeniedByRole, withRole(func(s *types.RoleSpec) { s.Deny.NodeLabelsExpression = `contains(email.local(labels["env"]), "x")` })},
		{"deny label of another", access.CodeAllowed, withRole(func(s *types.RoleSpec) { s.Deny.NodeLabels = types.Labels{"absent": {"*"}} })},
		{"deny login", access.CodeLoginDenied, withRole(func(s *types.RoleSpec) { s.Deny.Logins = []string{"root"} })},
		{"deny login template", access.CodeLoginDenied, withRole(func(s *types.RoleSpec) { s.Deny.Logins = []string{"{{external.logins}}"} })},
		{"deny all logins", access.CodeLoginDenied, withRole(func(s *types.RoleSpec) { s.Deny.Logins = []string{"*"} })},
		{"no login", access.CodeLoginUnknown, func(r *access.Request) { r.Login = "" }},
		{"login not in certificate", access.CodeLoginNotInCert, func(r *access.Request) { r.Identity.Authority.Logins = []string{"alice"} }},
		{"no logins in certificate", access.CodeLoginNotInCert, func(r *access.Request) { r.Identity.Authority.Logins = nil }},
		{"login of no role", access.CodeLoginNotAllowed, func(r *access.Request) {
			r.Login, r.Identity.Authority.Logins = "postgres", []string{"postgres"}
		}},
		{"login of another role", access.CodeLoginNotAllowed, func(r *access.Request) {
			r.Login, r.Identity.Authority.Logins = "postgres", []string{"postgres"}
			withRole(func(s *types.RoleSpec) {
				s.Allow.Logins, s.Allow.NodeLabels = []string{"postgres"}, types.Labels{"env": {"test"}}
			})(r)
		}},
		{"dial without login", access.CodeLoginNotAllowed, func(r *access.Request) {
			r.Action, r.Login, r.Identity.Authority.Logins = access.ActionDial, "", []string{"nobody"}
		}},
		{"dial, login locked", access.CodeLoginNotAllowed, func(r *access.Request) {
			r.Action, r.Login, r.Identity.Authority.Logins = access.ActionDial, "", []string{"root"}
			r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.Login = "root" })}
		}},
		{"no role", access.CodeNoRoleMatches, func(r *access.Request) { r.Roles = nil }},
		{"labels", access.CodeNoRoleMatches, func(r *access.Request) { r.Labels = map[string]string{"env": "test"} }},
		{"no labels", access.CodeNoRoleMatches, func(r *access.Request) { r.Labels = map[string]string{} }},
		{"list labels", access.CodeNoRoleMatches, func(r *access.Request) { r.Action, r.Labels = access.ActionList, map[string]string{} }},
		{"mfa by cluster", access.CodeMFARequired, func(r *access.Request) { r.Settings.Auth.RequireSessionMFA = types.MFASession }},
		{"mfa by role", access.CodeMFARequired, withRole(func(s *types.RoleSpec) { s.Options.RequireSessionMFA = types.MFASession })},
		{"mfa by role elsewhere", access.CodeAllowed, withRole(func(s *types.RoleSpec) {
			s.Options.RequireSessionMFA, s.Allow.NodeLabels = types.MFASession, types.Labels{"env": {"test"}}
		})},
		{"mfa shown", access.CodeAllowed, func(r *access.Request) {
			r.Settings.Auth.RequireSessionMFA, r.Identity.Proofs.MFADevice = types.MFASession, "d"
		}},
		{"hardware key", access.CodeHardwareKeyRequired, func(r *access.Request) {
			r.Settings.Auth.RequireSessionMFA, r.Identity.Proofs.MFADevice = types.MFAHardwareKey, "d"
		}},
		{"device by role", access.CodeDeviceRequired, withRole(func(s *types.RoleSpec) { s.Options.DeviceTrustMode = "required" })},
		{"device by cluster", access.CodeDeviceRequired, func(r *access.Request) {
			r.Settings.Auth.DeviceTrust = &types.DeviceTrust{Mode: "required"}
		}},
		{"forward", access.CodeAllowed, func(r *access.Request) { r.Action = access.ActionForwardLocal }},
		{"forward off", access.CodePortForwardingOff, func(r *access.Request) {
			r.Action = access.ActionForwardLocal
			withRole(func(s *types.RoleSpec) {
				s.Options.SSHPortForwarding = &types.SSHPortForwarding{Local: &types.Switch{Enabled: no()}}
			})(r)
		}},
		{"forward other way", access.CodeAllowed, func(r *access.Request) {
			r.Action = access.ActionForwardRemote
			withRole(func(s *types.RoleSpec) {
				s.Options.SSHPortForwarding = &types.SSHPortForwarding{Local: &types.Switch{Enabled: no()}}
			})(r)
		}},
		{"forward not in certificate", access.CodePortForwardingOff, func(r *access.Request) {
			r.Action, r.Identity.Authority.PermitPortForward = access.ActionForwardRemote, false
		}},
		{"forward without login", access.CodeLoginUnknown, func(r *access.Request) { r.Action, r.Login = access.ActionForwardLocal, "" }},
		{"forward as a wrong login", access.CodeLoginNotInCert, func(r *access.Request) { r.Action, r.Login = access.ActionForwardLocal, "postgres" }},
		{"agent", access.CodeAgentForwardingOff, func(r *access.Request) { r.Action = access.ActionForwardAgent }},
		{"agent on", access.CodeAllowed, func(r *access.Request) {
			r.Action = access.ActionForwardAgent
			withRole(func(s *types.RoleSpec) { s.Options.ForwardAgent = yes() })(r)
		}},
		{"copy", access.CodeAllowed, func(r *access.Request) { r.Action = access.ActionFileCopy }},
		{"copy off", access.CodeFileCopyOff, func(r *access.Request) {
			r.Action = access.ActionFileCopy
			withRole(func(s *types.RoleSpec) { s.Options.SSHFileCopy = no() })(r)
		}},
		{"x11", access.CodeX11Off, func(r *access.Request) { r.Action = access.ActionX11 }},
	}
	seen := map[string]bool{access.CodeRuleDenied: true, access.CodeNoRule: true, access.CodeRoleLabels: true, access.CodeRoleLogin: true}
	for _, c := range cases {
		for _, cache := range []*predicate.Cache{nil, predicate.NewCache()} {
			r := request()
			r.Cache = cache
			c.edit(&r)
			d := access.Decide(r)
			if d.Code() != c.code || d.Allow != (c.code == access.CodeAllowed) || d.Text() == "" || d.Policy != "42" {
				t.Errorf("%s: %v %s %q, want %s", c.name, d.Allow, d.Code(), d.Text(), c.code)
			}
			seen[c.code] = true
		}
	}
	for _, code := range codes() {
		if !seen[code] {
			t.Errorf("no case reaches %s", code)
		}
	}
}

func codes() []string {
	return []string{access.CodeAllowed, access.CodeNoIdentity, access.CodeNotAUser, access.CodeExpired, access.CodeLocked, access.CodeLocksStale,
		access.CodeUserDeleted, access.CodeReissueRequired, access.CodeRoleUnreadable, access.CodeIPNotPinned, access.CodeIPMismatch, access.CodeUsageMismatch,
		access.CodeRouteMismatch, access.CodeNotRequested, access.CodeKindNotSupported, access.CodeUnknownAction, access.CodeDeniedByRole, access.CodeLoginDenied,
		access.CodeLoginUnknown, access.CodeLoginNotInCert, access.CodeLoginNotAllowed, access.CodeNoRoleMatches, access.CodeRoleLabels, access.CodeRoleLogin,
		access.CodeMFARequired, access.CodeHardwareKeyRequired, access.CodeDeviceRequired, access.CodePortForwardingOff, access.CodeAgentForwardingOff,
		access.CodeFileCopyOff, access.CodeX11Off, access.CodeRuleDenied, access.CodeNoRule}
}

func TestDetailsExplain(t *testing.T) {
	r := request()
	r.Login, r.Identity.Authority.Logins = "postgres", []string{"postgres"}
	r.Roles = append(r.Roles, role("other", func(s *types.RoleSpec) { s.Allow.NodeLabels = types.Labels{"env": {"test"}} }))
	d := access.Decide(r)
	var got []string
	for _, why := range d.Reasons {
		got = append(got, why.Code+" "+why.Role)
	}
	want := []string{"login_not_allowed ", "role_lacks_login dev", "role_labels_do_not_match other"}
	if !slices.Equal(got, want) {
		t.Errorf("reasons are %q, want %q", got, want)
	}
	r = request()
	if d := access.Decide(r); d.Role != "dev" || d.Rule != "labels" {
		t.Errorf("allowed by %q %q", d.Role, d.Rule)
	}
}

func TestSelectors(t *testing.T) {
	for name, c := range map[string]struct {
		sel  types.Labels
		expr string
		want bool
	}{
		"wildcard": {types.Labels{"*": {"*"}}, "", true}, "glob": {types.Labels{"env": {"pr*"}}, "", true}, "list": {types.Labels{"env": {"test", "prod"}}, "", true},
		"regex": {types.Labels{"env": {"^(prod|dev)$"}}, "", true}, "and": {types.Labels{"env": {"prod"}, "team": {"db"}}, "", false},
		"and both": {types.Labels{"env": {"prod"}, "team": {"web"}}, "", true}, "missing key": {types.Labels{"x": {"*"}}, "", false},
		"star and key": {types.Labels{"*": {"*"}, "team": {"db"}}, "", false}, "template": {types.Labels{"team": {"{{external.team}}"}}, "", true},
		"template missing": {types.Labels{"team": {"{{external.nope}}"}}, "", false}, "trait cannot be a wildcard": {types.Labels{"team": {"{{external.evil}}"}}, "", false},
		"template and glob": {types.Labels{"team": {"{{external.team}}*"}}, "", true}, "evil glob": {types.Labels{"team": {"x{{external.evil}}*"}}, "", false},
		"expression": {nil, `labels["env"] == "prod" && contains(user.spec.traits["team"], labels["team"])`, true}, "expression only false": {nil, `labels["env"] == "test"`, false},
		"both": {types.Labels{"env": {"prod"}}, `labels["team"] == "web"`, true}, "both, one false": {types.Labels{"env": {"prod"}}, `labels["team"] == "db"`, false},
		"expression with an error": {nil, `!contains(email.local(labels["env"]), "x")`, false}, "roles": {nil, `contains(user.spec.roles, "dev")`, true}, "none": {nil, "", false},
		"empty values": {types.Labels{"env": {}}, "", false},
	} {
		r := request()
		r.Roles = []*types.Role{role("dev", func(s *types.RoleSpec) { s.Allow.NodeLabels, s.Allow.NodeLabelsExpression = c.sel, c.expr })}
		if d := access.Decide(r); d.Allow != c.want {
			t.Errorf("%s: %v %s", name, d.Allow, d.Text())
		}
	}
}

func TestCommandLabelsCount(t *testing.T) {
	r, n := request(), node()
	delete(n.Metadata.Labels, "env")
	n.Spec.CmdLabels = map[string]types.CommandLabel{"env": {Result: "prod"}}
	r.Resource = n
	if d := access.Decide(r); !d.Allow {
		t.Error(d.Text())
	}
}

func TestLogins(t *testing.T) {
	r := request()
	if got := access.Logins(r); !slices.Equal(got, []string{"alice", "root", "ubuntu"}) {
		t.Errorf("logins are %q", got)
	}
	r.Roles = append(r.Roles, role("noroot", func(s *types.RoleSpec) { s.Deny.Logins = []string{"root"} }))
	r.Locks = []*types.Lock{lock(func(l *types.LockSpec) { l.Target.Login = "alice" })}
	if got := access.Logins(r); !slices.Equal(got, []string{"ubuntu"}) {
		t.Errorf("logins are %q", got)
	}
	r.Identity.Authority.Expires = now()
	if got := access.Logins(r); got != nil {
		t.Errorf("an expired certificate has logins %q", got)
	}
	got := access.RoleLogins([]*types.Role{role("dev", nil), role("noroot", func(s *types.RoleSpec) { s.Deny.Logins = []string{"root"} })},
		map[string][]string{"logins": {"alice", "root", "-oProxyCommand=x", "a b"}})
	if !slices.Equal(got, []string{"alice", "ubuntu"}) {
		t.Errorf("principals are %q", got)
	}
}

func TestMergeOptions(t *testing.T) {
	pf := func(b types.Bool) *types.Role {
		return role("x", func(s *types.RoleSpec) { s.Options.PortForwarding = b })
	}
	split := func(local, remote types.Bool) *types.Role {
		return role("x", func(s *types.RoleSpec) {
			s.Options.SSHPortForwarding = &types.SSHPortForwarding{Local: &types.Switch{Enabled: local}, Remote: &types.Switch{Enabled: remote}}
		})
	}
	for name, c := range map[string]struct {
		roles         []*types.Role
		local, remote bool
	}{
		"nothing": {nil, false, false}, "default": {[]*types.Role{pf(nil)}, true, true}, "old off": {[]*types.Role{pf(no())}, false, false},
		"old off and on": {[]*types.Role{pf(no()), pf(yes())}, true, true}, "old off and default": {[]*types.Role{pf(no()), pf(nil)}, true, true},
		"new off": {[]*types.Role{split(no(), nil)}, false, true}, "new off and on": {[]*types.Role{split(no(), nil), split(yes(), yes())}, false, true},
		"new off, old on": {[]*types.Role{split(no(), no()), pf(yes())}, true, true},
	} {
		o := access.MergeOptions(c.roles, access.Settings{})
		if o.PortForwardLocal != c.local || o.PortForwardRemote != c.remote {
			t.Errorf("%s: %v %v", name, o.PortForwardLocal, o.PortForwardRemote)
		}
	}
	o := access.MergeOptions([]*types.Role{
		role("a", func(s *types.RoleSpec) {
			s.Options.MaxSessionTTL, s.Options.MaxSessions, s.Options.ClientIdleTimeout = types.Duration(8*time.Hour), 5, types.Duration(time.Hour)
			s.Options.RecordSession = &types.RecordSession{Default: "strict"}
		}),
		role("b", func(s *types.RoleSpec) {
			s.Options.MaxSessionTTL, s.Options.MaxSessions, s.Options.DisconnectExpiredCert = types.Duration(4*time.Hour), 0, yes()
			s.Options.RecordSession = &types.RecordSession{Default: "strict", SSH: "best_effort"}
		}),
	}, access.Settings{Networking: types.NetworkingConfigSpec{ClientIdleTimeout: types.Duration(10 * time.Minute)}})
	if o.MaxSessionTTL != 4*time.Hour || o.MaxSessions != 5 || o.ClientIdleTimeout != 10*time.Minute || !o.DisconnectExpiredCert || !o.StrictRecording || !o.FileCopy || o.ForwardAgent {
		t.Errorf("%+v", o)
	}
	r := request()
	r.Roles[0].Spec.Options.DisconnectExpiredCert = yes()
	if d := access.Decide(r); !d.Limits.Deadline.Equal(r.Identity.Authority.Expires) || !d.Limits.PTY {
		t.Errorf("limits are %+v", d.Limits)
	}
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*types.RoleSpec)
		path string
	}{
		"template":       {func(s *types.RoleSpec) { s.Allow.Logins = []string{"{{internal.nope}}"} }, "spec.allow.logins[0]"},
		"deny template":  {func(s *types.RoleSpec) { s.Deny.Logins = []string{"{{"} }, "spec.deny.logins[0]"},
		"label regex":    {func(s *types.RoleSpec) { s.Allow.NodeLabels = types.Labels{"a": {"^("}} }, "spec.allow.node_labels.a[0]"},
		"regex template": {func(s *types.RoleSpec) { s.Allow.NodeLabels = types.Labels{"a": {"^{{external.x}}$"}} }, "spec.allow.node_labels.a[0]"},
		"expression":     {func(s *types.RoleSpec) { s.Deny.NodeLabelsExpression = "labels" + `["a"] = "b"` }, "spec.deny.node_labels_expression"},
		"where": {func(s *types.RoleSpec) {
			s.Allow.Rules = []types.Rule{{Resources: []string{"user"}, Verbs: []string{"read"}, Where: "nope()"}}
		}, "spec.allow.rules[0].where"},
		"filter": {func(s *types.RoleSpec) {
			s.Allow.RequireSessionJoin = []types.RequireSessionJoin{{Name: "x", Filter: "x"}}
		}, "spec.allow.require_session_join[0].filter"},
		"request role": {func(s *types.RoleSpec) {
			s.Allow.Request = &types.RequestConditions{Roles: []string{"{{internal.logins}}"}}
		}, "spec.allow.request.roles[0]"},
		"kube name": {func(s *types.RoleSpec) {
			s.Allow.KubernetesResources = []types.KubernetesResource{{Kind: "pods", Name: "^x", Namespace: "*"}}
		}, "spec.allow.kubernetes_resources[0].name"},
	} {
		r := &types.Role{}
		r.Metadata.Name = "x"
		c.edit(&r.Spec)
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := access.Validate(r); err == nil || !strings.HasPrefix(err.Error(), c.path+": ") {
			t.Errorf("%s: %v, want %s", name, err, c.path)
		}
	}
}

func TestPresetsAreValid(t *testing.T) {
	for _, r := range access.Presets() {
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
		if err := access.Validate(r); err != nil {
			t.Error(err)
		}
		b, err := types.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := types.Decode(b); err != nil {
			t.Errorf("%s: %v", r.Metadata.Name, err)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, cache := range []*predicate.Cache{nil, predicate.NewCache()} {
		r := request()
		r.Cache = cache
		for i := range 4 {
			r.Roles = append(r.Roles, role(fmt.Sprintf("r%d", i), func(s *types.RoleSpec) {
				s.Allow.NodeLabels = types.Labels{"env": {"test", "stage-*"}, "team": {"{{external.team}}"}}
				s.Deny.Logins = []string{"postgres"}
				s.Deny.NodeLabels = types.Labels{"frozen": {"yes"}}
			}))
		}
		b.Run(fmt.Sprintf("cache=%v", cache != nil), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !access.Decide(r).Allow {
					b.Fatal("refused")
				}
			}
		})
	}
}

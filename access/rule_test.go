package access_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"teleport/access"
	"teleport/predicate"
	"teleport/types"
)

func rules(r access.Request, kind, verb string, subject types.Resource) access.Decision {
	r.Action, r.Kind, r.Verb, r.Subject, r.Resource, r.Login = access.ActionRule, kind, verb, subject, nil, ""
	return access.Decide(r)
}

func named(name string, labels map[string]string) types.Resource {
	u := &types.User{}
	u.Kind, u.Metadata.Name, u.Metadata.Labels = types.KindUser, name, labels
	return u
}

func TestRules(t *testing.T) {
	allow := func(rs ...types.Rule) *types.Role {
		return role("dev", func(s *types.RoleSpec) { s.Allow.Rules = rs })
	}
	deny := func(rs ...types.Rule) *types.Role {
		return role("no", func(s *types.RoleSpec) { s.Deny.Rules = rs })
	}
	one := func(kind, verb, where string) types.Rule {
		return types.Rule{Resources: []string{kind}, Verbs: []string{verb}, Where: where}
	}
	for _, c := range []struct {
		name       string
		roles      []*types.Role
		kind, verb string
		subject    types.Resource
		code       string
	}{
		{"nothing", nil, "user", "read", nil, access.CodeNoRule},
		{"allow", []*types.Role{allow(one("user", "read", ""))}, "user", "read", nil, access.CodeAllowed},
		{"other verb", []*types.Role{allow(one("user", "read", ""))}, "user", "update", nil, access.CodeNoRule},
		{"other kind", []*types.Role{allow(one("user", "read", ""))}, "role", "read", nil, access.CodeNoRule},
		{"read without secrets", []*types.Role{allow(one("user", "read", ""))}, "user", "readnosecrets", nil, access.CodeAllowed},
		{"not the other way", []*types.Role{allow(one("user", "readnosecrets", ""))}, "user", "read", nil, access.CodeNoRule},
		{"wildcards", []*types.Role{allow(one("*", "*", ""))}, "lock", "delete", nil, access.CodeAllowed},
		{"connectors", []*types.Role{allow(one("auth_connector", "read", ""))}, "oidc", "read", nil, access.CodeAllowed},
		{"deny wins", []*types.Role{allow(one("*", "*", "")), deny(one("user", "delete", ""))}, "user", "delete", nil, access.CodeRuleDenied},
		{"deny of read denies both", []*types.Role{allow(one("*", "*", "")), deny(one("user", "read", ""))}, "user", "readnosecrets", nil, access.CodeRuleDenied},
		{"deny of the secret-free read denies both", []*types.Role{allow(one("*", "*", "")), deny(one("user", "readnosecrets", ""))}, "user", "read", nil, access.CodeRuleDenied},
		{"where", []*types.Role{allow(one("user", "read", `equals(resource.metadata.name, "bob")`))}, "user", "read", named("bob", nil), access.CodeAllowed},
		{"where not", []*types.Role{allow(one("user", "read", `equals(resource.metadata.name, "bob")`))}, "user", "read", named("eve", nil), access.CodeNoRule},
		{"where without subject", []*types.Role{allow(one("user", "read", `!equals(resource.metadata.name, "bob")`))}, "user", "read", nil, access.CodeNoRule},
		{"deny where", []*types.Role{allow(one("*", "*", "")), deny(one("user", "*", `equals(resource.metadata.labels["vip"], "yes")`))}, "user", "update", named("a", map[string]string{"vip": "yes"}), access.CodeRuleDenied},
		{"deny where not", []*types.Role{allow(one("*", "*", "")), deny(one("user", "*", `equals(resource.metadata.labels["vip"], "yes")`))}, "user", "update", named("a", nil), access.CodeAllowed},
		{"deny where with an error", []*types.Role{allow(one("*", "*", "")), deny(one("user", "*", `equals(resource.nope, "x")`))}, "user", "update", named("a", nil), access.CodeRuleDenied},
		{"no verb", []*types.Role{allow(one("*", "*", ""))}, "user", "", nil, access.CodeUnknownAction},
		{"verb wildcard", []*types.Role{allow(one("*", "*", ""))}, "user", "*", nil, access.CodeUnknownAction},
	} {
		r := request()
		r.Roles = c.roles
		if d := rules(r, c.kind, c.verb, c.subject); d.Code() != c.code || d.Allow != (c.code == access.CodeAllowed) {
			t.Errorf("%s: %v %s, want %s", c.name, d.Allow, d.Code(), c.code)
		}
	}
	r := request()
	r.Roles = []*types.Role{allow(one("*", "*", ""))}
	if d := rules(r, "user", "read", nil); d.Rule != "rules[0]" || d.Role != "dev" {
		t.Errorf("allowed by %q %q", d.Role, d.Rule)
	}
	r.Identity.Authority.Route = &types.Route{Kind: "db", Name: "x"}
	if d := rules(r, "user", "read", nil); d.Code() != access.CodeRouteMismatch {
		t.Errorf("a route certificate edits documents: %s", d.Code())
	}
	r = request()
	r.Roles = []*types.Role{allow(one("*", "*", ""))}
	r.Identity.Authority.Usage = []string{"ssh"}
	if d := rules(r, "user", "read", nil); d.Code() != access.CodeUsageMismatch {
		t.Errorf("an ssh certificate edits documents: %s", d.Code())
	}
	r.Identity.Authority.Usage, r.Identity.Kind = nil, types.IdentityBridge
	if d := rules(r, "user", "read", nil); d.Allow {
		t.Error("a bridge edits documents")
	}
}

func TestSessionRules(t *testing.T) {
	r := request()
	r.Roles = access.Presets()[:1]
	r.Vars = map[string]any{"session": map[string]any{"participants": []string{"alice"}}}
	if d := rules(r, "session", "read", nil); !d.Allow {
		t.Error("own recording:", d.Text())
	}
	r.Vars = map[string]any{"session": map[string]any{"participants": []string{"bob"}}}
	if d := rules(r, "session", "read", nil); d.Allow {
		t.Error("a recording of others is readable")
	}
	tr := &types.SessionTracker{Spec: types.SessionTrackerSpec{Participants: []types.Participant{{User: "alice"}}}}
	tr.Kind = types.KindSessionTracker
	if d := rules(r, "session_tracker", "read", tr); !d.Allow {
		t.Error("own live session:", d.Text())
	}
	// A name that is not there cannot be evaluated, so that a deny with a typo denies.
	typo := types.Rule{Resources: []string{"session_tracker"}, Verbs: []string{"read"}, Where: `contains(session_tracker.participant, "mallory")`}
	r.Roles = append(access.Presets()[:1], role("typo", func(s *types.RoleSpec) { s.Deny.Rules = []types.Rule{typo} }))
	if d := rules(r, "session_tracker", "read", tr); d.Allow {
		t.Error("a deny with a typo is passed over")
	}
	r.Roles = []*types.Role{role("typo", func(s *types.RoleSpec) { s.Allow.Rules = []types.Rule{typo} })}
	if d := rules(r, "session_tracker", "read", tr); d.Allow {
		t.Error("an allow with a typo allows")
	}
}

func TestListing(t *testing.T) {
	r := request()
	r.Action, r.Login = access.ActionList, ""
	r.Settings.Auth.RequireSessionMFA = types.MFASession
	if d := access.Decide(r); !d.Allow {
		t.Error("labels permit, listing asks for a second factor:", d.Text())
	}
	r.Roles = []*types.Role{role("admin", func(s *types.RoleSpec) {
		s.Allow.NodeLabels = nil
		s.Allow.Rules = []types.Rule{{Resources: []string{"node"}, Verbs: []string{"list"}}}
	})}
	if d := access.Decide(r); !d.Allow || d.Rule != "rules[0]" {
		t.Error("a rule permits listing:", d.Text())
	}
	r.Roles = append(r.Roles, role("x", func(s *types.RoleSpec) {
		s.Deny.Rules = []types.Rule{{Resources: []string{"node"}, Verbs: []string{"list"}}}
	}))
	if d := access.Decide(r); d.Code() != access.CodeRuleDenied {
		t.Error("a deny rule is passed over:", d.Text())
	}
}

// randomRole draws from few values, so that they meet each other often.
func randomRole(r *rand.Rand, name string) *types.Role {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	sel := func() types.Labels {
		switch r.IntN(4) {
		case 0:
			return nil
		case 1:
			return types.Labels{"*": {"*"}}
		}
		return types.Labels{pick("env", "team", "x"): {pick("prod", "web", "p*", "^w.*$", "{{external.team}}", "*")}}
	}
	conditions := func() types.RoleConditions {
		c := types.RoleConditions{NodeLabels: sel(), NodeLabelsExpression: pick("", "", `labels["env"] == "prod"`, `!contains(email.local(labels["env"]), "x")`)}
		for range r.IntN(3) {
			c.Logins = append(c.Logins, pick("root", "ubuntu", "{{internal.logins}}", "{{external.team}}"))
		}
		for range r.IntN(3) {
			c.Rules = append(c.Rules, types.Rule{Resources: []string{pick("user", "node", "*")}, Verbs: []string{pick("read", "list", "readnosecrets", "*")}, Where: pick("", `resource.metadata.name == "bob"`, `!(resource.nope == "a")`)})
		}
		return c
	}
	out := &types.Role{}
	out.Metadata.Name = name
	out.Spec.Allow = conditions()
	if r.IntN(3) == 0 {
		out.Spec.Deny = conditions()
	}
	return out
}

func randomRequest(r *rand.Rand, c *predicate.Cache) access.Request {
	req := bare()
	req.Cache = c
	for range r.IntN(4) {
		req.Roles = append(req.Roles, randomRole(r, "dev"))
	}
	req.Action = []access.Action{access.ActionDial, access.ActionLogin, access.ActionFileCopy, access.ActionForwardLocal, access.ActionList, access.ActionRule}[r.IntN(6)]
	req.Login = []string{"", "root", "ubuntu", "alice"}[r.IntN(4)]
	req.Kind, req.Verb, req.Subject = "user", []string{"read", "list"}[r.IntN(2)], named([]string{"bob", "eve"}[r.IntN(2)], nil)
	return req
}

// TestDenyNeverAllows: adding a role that only denies never turns a refusal into
// an allow, and adding a deny to a role neither.
func TestDenyNeverAllows(t *testing.T) {
	r, cache := rand.New(rand.NewPCG(5, 6)), predicate.NewCache()
	allowed := 0
	for range 10000 {
		req := randomRequest(r, cache)
		before := access.Decide(req)
		if before.Allow {
			allowed++
			continue
		}
		denier := randomRole(r, "deny")
		denier.Spec.Deny, denier.Spec.Allow = denier.Spec.Allow, types.RoleConditions{}
		with := req
		with.Roles = append([]*types.Role{denier}, req.Roles...)
		if after := access.Decide(with); after.Allow {
			t.Fatalf("a deny turned %s into an allow by %s", before.Code(), after.Role)
		}
		if len(req.Roles) > 0 {
			changed := *req.Roles[0]
			changed.Spec.Deny = denier.Spec.Deny
			if len(req.Roles[0].Spec.Deny.Rules)+len(req.Roles[0].Spec.Deny.Logins)+len(req.Roles[0].Spec.Deny.NodeLabels) > 0 || req.Roles[0].Spec.Deny.NodeLabelsExpression != "" {
				continue // that would take a deny away
			}
			with.Roles = append([]*types.Role{&changed}, req.Roles[1:]...)
			if access.Decide(with).Allow {
				t.Fatalf("a deny in the same role turned %s into an allow", before.Code())
			}
		}
	}
	if allowed < 500 {
		t.Fatalf("only %d of the requests were allowed: the test says little", allowed)
	}
}

// TestPinsNeverWiden: each restricting option refuses more, never less.
func TestPinsNeverWiden(t *testing.T) {
	r, cache := rand.New(rand.NewPCG(7, 8)), predicate.NewCache()
	pins := []func(*types.RoleOptions){
		func(o *types.RoleOptions) { o.PinSourceIP = yes() },
		func(o *types.RoleOptions) { o.Lock = "strict" },
		func(o *types.RoleOptions) { o.SSHFileCopy = no() },
		func(o *types.RoleOptions) { o.PermitPTY = no() },
		func(o *types.RoleOptions) { o.MaxSessions = 1 },
		func(o *types.RoleOptions) { o.RequireSessionMFA = types.MFASession },
		func(o *types.RoleOptions) { o.DeviceTrustMode = "required" },
		func(o *types.RoleOptions) { o.DisconnectExpiredCert = yes() },
		func(o *types.RoleOptions) { o.ClientIdleTimeout = types.Duration(time.Minute) },
		func(o *types.RoleOptions) {
			o.SSHPortForwarding = &types.SSHPortForwarding{Local: &types.Switch{Enabled: no()}, Remote: &types.Switch{Enabled: no()}}
		},
	}
	for range 10000 {
		req := randomRequest(r, cache)
		if len(req.Roles) == 0 {
			continue
		}
		req.LocksStale = r.IntN(2) == 0
		before := access.Decide(req)
		changed := *req.Roles[0]
		pins[r.IntN(len(pins))](&changed.Spec.Options)
		with := req
		with.Roles = append([]*types.Role{&changed}, req.Roles[1:]...)
		after := access.Decide(with)
		if after.Allow && !before.Allow {
			t.Fatalf("an option turned %s into an allow", before.Code())
		}
		if after.Allow && wider(after.Limits, before.Limits) {
			t.Fatalf("limits widened from %+v to %+v", before.Limits, after.Limits)
		}
	}
}

func wider(a, b access.Limits) bool {
	more := func(x, y bool) bool { return x && !y }
	return more(a.PortForwardLocal, b.PortForwardLocal) || more(a.PortForwardRemote, b.PortForwardRemote) || more(a.AgentForward, b.AgentForward) ||
		more(a.FileCopy, b.FileCopy) || more(a.X11, b.X11) || more(a.PTY, b.PTY) || more(b.StrictLock, a.StrictLock) ||
		b.MaxSessions > 0 && (a.MaxSessions == 0 || a.MaxSessions > b.MaxSessions) || b.IdleTimeout > 0 && (a.IdleTimeout == 0 || a.IdleTimeout > b.IdleTimeout) ||
		!b.Deadline.IsZero() && (a.Deadline.IsZero() || a.Deadline.After(b.Deadline))
}

// TestLoginsAgreesWithDecide: a login is offered exactly when it would work.
func TestLoginsAgreesWithDecide(t *testing.T) {
	r, cache := rand.New(rand.NewPCG(9, 10)), predicate.NewCache()
	for range 5000 {
		req := randomRequest(r, cache)
		offered := map[string]bool{}
		for _, l := range access.Logins(req) {
			offered[l] = true
		}
		req.Action = access.ActionLogin
		for _, l := range []string{"root", "ubuntu", "alice", "web"} {
			req.Login = l
			if d := access.Decide(req); d.Allow != offered[l] {
				t.Fatalf("%s: offered %v, decided %s", l, offered[l], d.Text())
			}
		}
		req.Action, req.Login = access.ActionDial, ""
		if d := access.Decide(req); d.Allow != (len(offered) > 0) {
			t.Fatalf("dial: offered %v, decided %s", offered, d.Text())
		}
	}
}

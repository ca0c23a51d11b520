package access_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"teleport/access"
	"teleport/types"
)

// TestExplain: the decision is Decide's own, and each role speaks for itself.
func TestExplain(t *testing.T) {
	r := request()
	r.Identity.Authority.Roles = []string{"dev", "ops", "strict", "gone", "broken"}
	r.Roles = []*types.Role{role("dev", nil),
		role("ops", func(s *types.RoleSpec) { s.Allow.NodeLabels = types.Labels{"env": {"staging"}} }),
		role("strict", func(s *types.RoleSpec) {
			s.Allow = types.RoleConditions{}
			s.Deny.Logins = []string{"root"}
			s.Options.MaxSessionTTL, s.Options.ClientIdleTimeout = types.Duration(time.Hour), types.Duration(5*time.Minute)
		}),
		role("broken", func(s *types.RoleSpec) {
			s.Allow.NodeLabels, s.Allow.NodeLabelsExpression = nil, `email.local(labels["env"]) == "x"`
		})}
	e := access.Explain(r)
	if d := access.Decide(r); e.Decision.Allow || e.Decision.Code() != access.CodeLoginDenied || e.Decision.Code() != d.Code() {
		t.Fatalf("%+v", e.Decision)
	}
	says := func(e access.Explanation, name string) access.RoleSay {
		i := slices.IndexFunc(e.Roles, func(s access.RoleSay) bool { return s.Role == name })
		if i < 0 || len(e.Roles[i].Reasons) == 0 {
			t.Fatalf("%s says nothing: %+v", name, e.Roles)
		}
		return e.Roles[i]
	}
	for _, c := range []struct {
		role, code, text string
		allows, denies   bool
	}{
		{"dev", access.CodeAllowed, "allows it", true, false},
		{"ops", access.CodeRoleLabels, "env in [staging]", false, false},
		{"strict", access.CodeLoginDenied, "denies the login root", false, true},
		{"gone", access.CodeRoleMissing, "no role gone", false, false},
		{"broken", access.CodeRoleLabels, "cannot be evaluated", false, false},
	} {
		s := says(e, c.role)
		if s.Allows != c.allows || s.Denies != c.denies || s.Reasons[0].Code != c.code || !strings.Contains(s.Reasons[0].Text, c.text) {
			t.Errorf("%s says %+v", c.role, s)
		}
	}
	if !slices.Equal(e.Logins, []string{"alice", "ubuntu"}) {
		t.Errorf("logins %v", e.Logins)
	}
	r.Roles[1].Spec.Allow.NodeLabels, r.Roles[1].Spec.Allow.NodeLabelsExpression = nil, `contains(user.spec.roles, "dev")`
	if s := says(access.Explain(r), "ops"); !s.Allows { // a role speaks for itself, and sees all roles of the user
		t.Errorf("%+v", s)
	}
	r.Login = "alice"
	if e = access.Explain(r); !e.Decision.Allow || e.Decision.Role != "dev" || e.Decision.Rule != "labels" || e.Decision.Policy != "42" {
		t.Errorf("%+v", e.Decision)
	}
}

// TestExplainRules: verbs on kinds, with the clause that failed told apart from
// the rule that is missing.
func TestExplainRules(t *testing.T) {
	r := bare()
	r.Action, r.Resource, r.Login, r.Kind, r.Verb = access.ActionRule, nil, "", "session", "list"
	r.Vars = map[string]any{"session": map[string]any{"participants": []string{"bob"}}}
	r.Identity.Authority.Roles = []string{"own", "none", "no"}
	r.Roles = []*types.Role{
		role("own", func(s *types.RoleSpec) {
			s.Allow = types.RoleConditions{Rules: []types.Rule{{Resources: []string{"session"}, Verbs: []string{"list"}, Where: "contains(session.participants, user.metadata.name)"}}}
		}),
		role("none", func(s *types.RoleSpec) { s.Allow = types.RoleConditions{} }),
		role("no", func(s *types.RoleSpec) {
			s.Allow = types.RoleConditions{}
			s.Deny.Rules = []types.Rule{{Resources: []string{"session"}, Verbs: []string{"*"}, Where: "email.local(session.participants) == session.participants"}}
		}),
	}
	e := access.Explain(r)
	if e.Decision.Allow || e.Decision.Code() != access.CodeRuleDenied { // the clause cannot be evaluated: that denies
		t.Fatalf("%+v", e.Decision)
	}
	for i, want := range []string{"where clause does not hold", "no rule of it covers", "a deny rule covers it"} {
		if len(e.Roles[i].Reasons) == 0 || !strings.Contains(e.Roles[i].Reasons[0].Text, want) {
			t.Errorf("%+v, want %q", e.Roles[i], want)
		}
	}
}

// TestOrigins: each limit names who set it.
func TestOrigins(t *testing.T) {
	roles := []*types.Role{
		role("a", func(s *types.RoleSpec) {
			s.Options.MaxSessionTTL = types.Duration(2 * time.Hour)
			s.Options.SSHFileCopy = no()
		}),
		role("b", func(s *types.RoleSpec) {
			s.Options.MaxSessionTTL = types.Duration(time.Hour)
			s.Options.ForwardAgent = yes()
		}),
		role("c", func(s *types.RoleSpec) {
			s.Options.MaxSessionTTL = types.Duration(time.Hour)
			s.Options.MaxSessions = 3
		}),
	}
	var s access.Settings
	s.Networking.ClientIdleTimeout = types.Duration(time.Minute)
	s.Auth.LockingMode = "strict"
	got := map[string]string{}
	for _, o := range access.Origins(roles, s) {
		got[o.Name] = o.Value + " " + o.From + " " + strings.Join(o.Roles, ",")
	}
	for name, want := range map[string]string{
		"max_session_ttl": "1h0m0s role b,c", "ssh_file_copy": "off role a", "forward_agent": "on role b", "max_sessions": "3 role c",
		"client_idle_timeout": "1m0s " + types.KindNetworkingConfig + " ", "lock": "strict " + types.KindAuthPreference + " ",
		"permit_pty": "on default ", "max_connections": "unlimited default ", "pin_source_ip": "off default ",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
}

package authapi_test

import (
	"crypto/tls"
	"testing"
	"time"

	"teleport/api/gen/issuev1"
	"teleport/cert/jwtcert"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// serves stores an app as an agent with that UUID announces it.
func (w *world) serves(name, host string, spec types.AppSpec) {
	w.t.Helper()
	a := types.App{Spec: spec}
	a.Metadata.Name = name
	s := &types.AppServer{Spec: types.AppServerSpec{HostID: host, Hostname: "agent-1", App: a}}
	s.Metadata.Name = types.ServerName(name, host)
	must(w.t, s.Validate())
	_, err := w.store().Put(w.t.Context(), store.Upsert, s)
	must(w.t, err)
}

// TestAppToken: an agent tells an app that it fronts who a user is who has a
// certificate for it, and says it of nobody else and to nobody else.
func TestAppToken(t *testing.T) {
	w := newWorld(t)
	uuid, own := w.host("app1", types.RoleApp)
	otherID, other := w.host("app2", types.RoleApp)
	_, node := w.host("node1", types.RoleNode)
	w.addRole("visitor", "dev", func(s *types.RoleSpec) { s.Allow = types.RoleConditions{AppLabels: types.Labels{"*": {"*"}}} })
	w.addRole("none", "dev", func(s *types.RoleSpec) { s.Allow = types.RoleConditions{AppLabels: types.Labels{"a": {"b"}}} })
	w.user("alice", "visitor")
	w.user("bob", "none")
	off := false
	w.serves("wiki", uuid, types.AppSpec{URI: "http://localhost:1"})
	w.serves("quiet", uuid, types.AppSpec{URI: "http://localhost:2", Rewrite: &types.AppRewrite{JWT: &off}})
	w.serves("payroll", otherID, types.AppSpec{URI: "http://localhost:3"})
	w.settle()
	ask := func(person, role, app, route string) *issuev1.AppTokenRequest {
		id := userIdentity(person, func(id *types.Identity) {
			id.Authority.Usage, id.Authority.Roles = []string{"app"}, []string{role}
			if route != "" {
				id.Authority.Route = types.AppRoute{}.Route(route)
			}
		})
		return &issuev1.AppTokenRequest{UserCert: w.forge(id, types.CAUser, id.IssuedAt).Certificate[0], App: app, ClientAddr: "192.0.2.9:4000"}
	}
	agent := w.client(own)
	resp, err := agent.AppToken(t.Context(), ask("alice", "visitor", "wiki", "wiki"))
	must(t, err)
	c, err := jwtcert.Verify(resp.Token, w.server.Trust(), "example", "http://localhost:1", time.Now())
	if err != nil || c.Subject != "alice" || c.Expires.Unix() != resp.ExpiresUnix {
		t.Errorf("%+v %v", c, err)
	}
	for name, r := range map[string]*issuev1.AppTokenRequest{
		"who may not use it":          ask("bob", "none", "wiki", "wiki"),
		"by a certificate of another": ask("alice", "visitor", "wiki", "quiet"),
		"by one of a log-in":          ask("alice", "visitor", "wiki", ""),
		"to an app that wants none":   ask("alice", "visitor", "quiet", "quiet"),
		"to another agent's app":      ask("alice", "visitor", "payroll", "payroll"),
		"of a host":                   {UserCert: own.Certificate[0], App: "wiki", ClientAddr: "192.0.2.9:4000"},
	} {
		before := len(w.events.Events(event.TypeAccessDenied))
		if _, err := agent.AppToken(t.Context(), r); err == nil {
			t.Errorf("%s: it is issued", name)
		}
		if told := w.events.Events(event.TypeAccessDenied)[before:]; len(told) != 1 || told[0].(*event.AccessDenied).Procedure != "AppToken" {
			t.Errorf("%s: the log has %+v", name, told)
		}
	}
	for _, as := range []*tls.Certificate{other, node} {
		if _, err := w.client(as).AppToken(t.Context(), ask("alice", "visitor", "wiki", "wiki")); err == nil {
			t.Error("whoever does not front it speaks for alice there")
		}
	}
}

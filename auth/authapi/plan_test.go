package authapi_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"teleport/access"
	"teleport/api/authclient"
	"teleport/api/gen/accessv1"
	"teleport/audit"
	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

// past is an audit log that holds these sessions, in pages of one.
type past struct {
	fakeLog
	events []audit.Found
}

func (p *past) Search(_ context.Context, q audit.Query) (audit.Result, error) {
	i := len(q.Page)
	if i >= len(p.events) || !slices.Equal(q.Types, []string{event.TypeSessionStart, event.TypeDBStart, event.TypeAppStart}) || q.From.IsZero() {
		return audit.Result{}, nil
	}
	r := audit.Result{Events: p.events[i : i+1]}
	if i+1 < len(p.events) {
		r.Next = q.Page + "x"
	}
	return r, nil
}

func (p *past) add(t *testing.T, sid, user string, roles []string, labels map[string]string, edit func(*event.Decision)) {
	t.Helper()
	id := &types.Identity{Kind: types.IdentityUser, Cluster: "example", Name: user, IssuedAt: time.Now().Add(-time.Hour)}
	id.Authority = types.Authority{Expires: time.Now().Add(time.Hour), Roles: roles, Logins: []string{user}, Traits: map[string][]string{"logins": {user}}}
	n := &types.Node{Header: types.Header{Kind: types.KindNode, Metadata: types.Metadata{Name: "n-" + sid, Labels: labels}}}
	e := event.SessionStart{Session: event.Session{SessionID: sid}, Server: event.Server{ServerHostname: "host-" + sid}}
	e.Time = time.Now()
	e.Decision = access.Record(access.Request{Identity: id, Action: access.ActionLogin, Resource: n, Login: user, Now: time.Now()}, access.Decision{Allow: true})
	if edit != nil {
		edit(&e.Decision)
	}
	b, err := json.Marshal(e)
	must(t, err)
	p.events = append(p.events, audit.Found{JSON: b})
}

func TestPlan(t *testing.T) {
	log := &past{}
	w := newWorldWithLog(t, log)
	w.addRole("dev", "dev", nil)
	w.addRole("prod", "prod", nil)
	w.addNode("web-1", map[string]string{"env": "dev"})
	w.addNode("db-1", map[string]string{"env": "prod"})
	w.user("alice", "dev")
	ed, audra, both := w.user("ed", "editor"), w.user("audra", "auditor"), w.user("both", "editor", "auditor")
	w.settle()
	dev, prod := map[string]string{"env": "dev"}, map[string]string{"env": "prod"}
	log.add(t, "refused", "alice", []string{"dev"}, dev, nil)
	log.add(t, "goes-on", "alice", []string{"prod"}, prod, nil)
	log.add(t, "already", "alice", []string{"dev"}, prod, nil)
	log.add(t, "redacted", "alice", []string{"dev"}, dev, func(d *event.Decision) { d.User, d.Login = "", "" })

	r := &types.Role{Header: types.Header{Kind: types.KindRole, Version: types.V8, Metadata: types.Metadata{Name: "dev"}}}
	r.Spec.Allow = types.RoleConditions{Logins: []string{"{{internal.logins}}"}, NodeLabels: types.Labels{"env": {"prod"}}}
	raw, err := json.Marshal(r)
	must(t, err)
	before, err := w.admin().GetDocument(t.Context(), authclient.Ref{Kind: types.KindRole, Name: "dev"}, false)
	must(t, err)
	p, err := w.client(both).PlanAccess(t.Context(), &accessv1.PlanRequest{Roles: [][]byte{raw}, Days: 7})
	must(t, err)
	if len(p.Roles) != 1 || p.Roles[0] != (access.RoleChange{Role: "dev", Change: "update"}) || p.GainedCount != 1 || p.LostCount != 1 ||
		p.Lost[0].User != "alice" || p.Lost[0].Resources[0] != "web-1" || p.Gained[0].Resources[0] != "db-1" || p.Policy == "" {
		t.Errorf("%+v", p)
	}
	if q := p.Past; q == nil || q.Sessions != 4 || q.Refused != 1 || q.Already != 0 || q.Unreadable != 1 || q.List[0].SessionID != "refused" ||
		q.List[0].Host != "host-refused" || q.List[0].Reason.Code != access.CodeNoRoleMatches {
		t.Errorf("%+v", p.Past) // "already" is refused by dev as it is and allowed by dev as it will be
	}
	if p, err = w.client(ed).PlanAccess(t.Context(), &accessv1.PlanRequest{Delete: []string{"dev"}}); err != nil || p.Past != nil || p.LostCount != 1 {
		t.Errorf("%+v %v", p, err)
	}
	if p, err = w.client(both).PlanAccess(t.Context(), &accessv1.PlanRequest{Delete: []string{"dev"}, Days: 1}); err != nil || p.Past.Already != 1 || p.Past.Refused != 1 {
		t.Errorf("%+v %v", p, err)
	}
	after, err := w.admin().GetDocument(t.Context(), authclient.Ref{Kind: types.KindRole, Name: "dev"}, false)
	must(t, err)
	if string(before) != string(after) {
		t.Error("a plan wrote something")
	}
	bad := []byte(strings.Replace(string(raw), `"env"`, `"env":["^(("],"e"`, 1))
	for name, c := range map[string]struct {
		as   *authclient.Client
		req  *accessv1.PlanRequest
		kind fault.Kind
	}{
		"no rights":     {w.client(w.sign("alice")), &accessv1.PlanRequest{Roles: [][]byte{raw}}, fault.Denied},
		"auditor":       {w.client(audra), &accessv1.PlanRequest{Roles: [][]byte{raw}}, fault.Denied},
		"too many days": {w.client(ed), &accessv1.PlanRequest{Roles: [][]byte{raw}, Days: 400}, fault.Invalid},
		"nothing":       {w.client(ed), &accessv1.PlanRequest{}, fault.Invalid},
		"unknown role":  {w.client(ed), &accessv1.PlanRequest{Delete: []string{"dew"}}, fault.NotFound},
		"both":          {w.client(ed), &accessv1.PlanRequest{Roles: [][]byte{raw}, Delete: []string{"dev"}}, fault.Invalid},
		"twice":         {w.client(ed), &accessv1.PlanRequest{Roles: [][]byte{raw, raw}}, fault.Invalid},
		"a bad pattern": {w.client(ed), &accessv1.PlanRequest{Roles: [][]byte{bad}}, fault.Invalid},
		"no document":   {w.client(ed), &accessv1.PlanRequest{Roles: [][]byte{[]byte("{}")}}, fault.Invalid},
	} {
		if _, err := c.as.PlanAccess(t.Context(), c.req); fault.KindOf(err) != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package authapi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"teleport/access"
	"teleport/api/gen/accessv1"
	"teleport/audit"
	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

const readerARN = "arn:aws:iam::123456789012:role/reader"

// TestExplainApps: whoever asks hears why somebody may use an app, and of none that
// they may not see.
func TestExplainApps(t *testing.T) {
	w := newWorld(t)
	w.addRole("dev", "dev", func(s *types.RoleSpec) {
		s.Allow = types.RoleConditions{AppLabels: types.Labels{"*": {"*"}}, AWSRoleARNs: []string{readerARN}}
		s.Deny = types.RoleConditions{AppLabels: types.Labels{"secret": {"yes"}}}
	})
	w.serves("wiki", uuid.NewString(), types.AppSpec{URI: "http://localhost:1"})
	w.serves("console", uuid.NewString(), types.AppSpec{Cloud: types.CloudAWS})
	alice, ed := w.user("alice", "dev"), w.user("ed", "editor")
	w.settle()
	ask := func(name, as string) *accessv1.ExplainRequest {
		return &accessv1.ExplainRequest{User: "alice", Kind: "app", Name: name, Login: as}
	}
	for _, c := range []struct {
		name  string
		req   *accessv1.ExplainRequest
		allow bool
		code  string
	}{
		{"a web app", ask("wiki", ""), true, access.CodeAllowed},
		{"a role of a cloud", ask("console", readerARN), true, access.CodeAllowed},
		{"another role", ask("console", "arn:aws:iam::123456789012:role/admin"), false, access.CodeAppPrincipalNotAllowed},
		{"no role", ask("console", ""), false, access.CodeAppPrincipalUnknown},
		{"the dial", &accessv1.ExplainRequest{User: "alice", Kind: "app", Name: "console", Action: "dial"}, true, access.CodeAllowed},
	} {
		for _, as := range []struct {
			who  string
			cert int
		}{{"oneself", 0}, {"another", 1}} {
			client := w.client(alice)
			if as.cert == 1 {
				client = w.client(ed)
			}
			e, err := client.Explain(t.Context(), c.req)
			if err != nil {
				t.Errorf("%s, %s: %v", c.name, as.who, err)
				continue
			}
			if e.Decision.Allow != c.allow || e.Decision.Code() != c.code || e.Login != c.req.Login || len(e.Roles) != 1 || c.req.Name == "console" && !slices.Equal(e.Logins, []string{readerARN}) {
				t.Errorf("%s, %s: %+v", c.name, as.who, e)
			}
		}
	}
	for name, c := range map[string]struct {
		req  *accessv1.ExplainRequest
		kind fault.Kind
		text string
	}{
		"one that there is not":    {ask("nothing", ""), fault.NotFound, "that you may see"},
		"as somebody in a web app": {ask("wiki", "root"), fault.Invalid, "is of no cloud"},
		"a use of a node":          {&accessv1.ExplainRequest{User: "alice", Kind: "app", Name: "wiki", Action: "file_copy"}, fault.Invalid, "no action"},
		"no name":                  {ask("", ""), fault.Invalid, "name the app"},
	} {
		if _, err := w.client(alice).Explain(t.Context(), c.req); fault.KindOf(err) != c.kind || !strings.Contains(fault.Message(err), c.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// addApp puts a session with an app of a cloud into the log.
func (p *past) addApp(t *testing.T, sid, as, code string) {
	t.Helper()
	id := &types.Identity{Kind: types.IdentityUser, Cluster: "example", Name: "alice", IssuedAt: time.Now().Add(-time.Hour)}
	id.Authority = types.Authority{Expires: time.Now().Add(time.Hour), Roles: []string{"dev"}}
	a := &types.App{Header: types.Header{Kind: types.KindApp}, Spec: types.AppSpec{Cloud: types.CloudAWS, URI: "cloud://AWS"}}
	a.Metadata.Name, a.Metadata.Labels = "console", map[string]string{"env": "dev"}
	var e event.AppStart
	user, session, _, app := e.OfApp()
	user.User, session.SessionID, app.AppName = "alice", sid, "console"
	e.Time, e.Code = time.Now(), code
	e.Decision = access.Record(access.Request{Identity: id, Action: access.ActionApp, Resource: a, App: a.Spec.RouteAs(as), Now: time.Now()}, access.Decision{Allow: true})
	b, err := json.Marshal(&e)
	must(t, err)
	p.events = append(p.events, audit.Found{JSON: b})
}

// TestPlanOfApps: a plan tells what becomes of apps, and of sessions with them.
func TestPlanOfApps(t *testing.T) {
	log := &past{}
	w := newWorldWithLog(t, log)
	dev := func(arns ...string) func(*types.RoleSpec) {
		return func(s *types.RoleSpec) {
			s.Allow = types.RoleConditions{AppLabels: types.Labels{"*": {"*"}}, AWSRoleARNs: arns}
		}
	}
	writer := "arn:aws:iam::123456789012:role/writer"
	w.addRole("dev", "dev", dev(readerARN))
	w.serves("wiki", uuid.NewString(), types.AppSpec{URI: "http://localhost:1"})
	w.serves("console", uuid.NewString(), types.AppSpec{Cloud: types.CloudAWS})
	w.serves("console", uuid.NewString(), types.AppSpec{Cloud: types.CloudAWS}) // of another agent
	w.user("alice", "dev")
	both := w.user("both", "editor", "auditor")
	w.settle()
	log.addApp(t, "goes-on", writer, event.CodeAppStart)
	log.addApp(t, "refused", readerARN, event.CodeAppStart)
	log.addApp(t, "was-refused", readerARN, event.CodeAppStartFail)
	r := &types.Role{Header: types.Header{Kind: types.KindRole, Version: types.V8, Metadata: types.Metadata{Name: "dev"}}}
	dev(writer)(&r.Spec)
	raw, err := json.Marshal(r)
	must(t, err)
	p, err := w.client(both).PlanAccess(t.Context(), &accessv1.PlanRequest{Roles: [][]byte{raw}, Days: 7})
	must(t, err)
	shift := func(list []access.Shift, as string) bool {
		return len(list) == 1 && list[0].User == "alice" && list[0].Kind == types.KindApp && slices.Equal(list[0].Logins, []string{as}) && slices.Equal(list[0].Resources, []string{"console"})
	}
	if p.Apps != 2 || !shift(p.Gained, writer) || !shift(p.Lost, readerARN) {
		t.Errorf("%+v", p)
	}
	if q := p.Past; q == nil || q.Sessions != 2 || q.Refused != 1 || q.List[0].SessionID != "refused" || q.List[0].Login != readerARN || q.List[0].Host != "console" ||
		q.List[0].Reason.Code != access.CodeAppPrincipalNotAllowed {
		t.Errorf("%+v", p.Past)
	}
}

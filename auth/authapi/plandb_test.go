package authapi_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"teleport/access"
	"teleport/api/gen/accessv1"
	"teleport/audit"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// addDB puts a session with a database into the log, as one of the role shop.
func (p *past) addDB(t *testing.T, sid, name, code string) {
	t.Helper()
	id := &types.Identity{Kind: types.IdentityUser, Cluster: "example", Name: "alice", IssuedAt: time.Now().Add(-time.Hour)}
	id.Authority = types.Authority{Expires: time.Now().Add(time.Hour), Roles: []string{"shop"}}
	d := &types.Database{Header: types.Header{Kind: types.KindDatabase}, Spec: types.DatabaseSpec{Protocol: "postgres", URI: "db.example.com"}}
	d.Metadata.Name, d.Metadata.Labels = "shop-db", map[string]string{"env": "dev"}
	var e event.DBStart
	e.Time, e.Code, e.SessionID, e.Service = time.Now(), code, sid, "shop-db"
	e.Decision = access.Record(access.Request{Identity: id, Action: access.ActionDatabase, Resource: d, Login: "app", DBName: name, Now: time.Now()}, access.Decision{Allow: true})
	b, err := json.Marshal(e)
	must(t, err)
	p.events = append(p.events, audit.Found{JSON: b})
}

func TestPlanOfDatabases(t *testing.T) {
	log := &past{}
	w := newWorldWithLog(t, log)
	shop := func(names ...string) func(*types.RoleSpec) {
		return func(s *types.RoleSpec) {
			s.Allow = types.RoleConditions{DBLabels: types.Labels{"env": {"dev"}}, DBUsers: []string{"app"}, DBNames: names}
		}
	}
	w.addRole("shop", "dev", shop("orders"))
	rules := func(kinds ...string) func(*types.RoleSpec) {
		return func(s *types.RoleSpec) {
			s.Allow = types.RoleConditions{Rules: []types.Rule{{Resources: kinds, Verbs: []string{types.VerbList, types.VerbRead}}}}
		}
	}
	w.addRole("half", "dev", rules("role", "user", "node", "db"))
	w.addDatabase("shop-db", "dev")
	w.addDatabase("shop-db", "dev") // of another agent
	w.addDatabase("payroll", "prod")
	registered := &types.Database{Spec: types.DatabaseSpec{Protocol: "postgres", URI: "db2.example.com"}}
	registered.Metadata.Name, registered.Metadata.Labels = "second", map[string]string{"env": "dev"}
	must(t, registered.Validate())
	_, err := w.store().Put(t.Context(), store.Create, registered)
	must(t, err)
	w.user("alice", "shop")
	both, half := w.user("both", "editor", "auditor"), w.user("half", "half")
	w.settle()
	log.addDB(t, "goes-on", "bills", event.CodeDBStart)
	log.addDB(t, "refused", "orders", event.CodeDBStart)
	log.addDB(t, "was-refused", "orders", event.CodeDBStartFail)

	r := &types.Role{Header: types.Header{Kind: types.KindRole, Version: types.V8, Metadata: types.Metadata{Name: "shop"}}}
	shop("bills")(&r.Spec)
	raw, err := json.Marshal(r)
	must(t, err)
	req := &accessv1.PlanRequest{Roles: [][]byte{raw}, Days: 7}
	p, err := w.client(both).PlanAccess(t.Context(), req)
	must(t, err)
	shift := func(list []access.Shift, login string) bool {
		return len(list) == 1 && list[0].User == "alice" && list[0].Kind == types.KindDatabase && slices.Equal(list[0].Logins, []string{login}) &&
			slices.Equal(list[0].Resources, []string{"second", "shop-db"})
	}
	if p.Databases != 3 || p.GainedCount != 2 || p.LostCount != 2 || !shift(p.Gained, "app in bills") || !shift(p.Lost, "app in orders") {
		t.Errorf("%+v", p)
	}
	if q := p.Past; q == nil || q.Sessions != 2 || q.Refused != 1 || q.List[0].SessionID != "refused" || q.List[0].Login != "app in orders" ||
		q.List[0].Host != "shop-db" || q.List[0].Reason.Code != access.CodeDBNameNotAllowed {
		t.Errorf("%+v", p.Past)
	}
	req.Days = 0
	if _, err := w.client(half).PlanAccess(t.Context(), req); fault.KindOf(err) != fault.Denied {
		t.Errorf("a plan from half a view: %v", err)
	}
}

package authapi_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"teleport/access"
	"teleport/api/authclient"
	"teleport/api/gen/accessv1"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// addDatabase stores a database as an agent announces one of its own file.
func (w *world) addDatabase(name, env string) {
	w.t.Helper()
	d := types.Database{Spec: types.DatabaseSpec{Protocol: "postgres", URI: "db.example.com"}}
	d.Metadata.Name, d.Metadata.Labels = name, map[string]string{"env": env}
	s := &types.DatabaseServer{Spec: types.DatabaseServerSpec{HostID: uuid.NewString(), Hostname: "agent-1", Database: d}}
	s.Metadata.Name = types.ServerName(name, s.Spec.HostID)
	must(w.t, s.Validate())
	_, err := w.store().Put(w.t.Context(), store.Create, s)
	must(w.t, err)
}

func TestExplainDatabases(t *testing.T) {
	w := newWorld(t)
	w.addRole("shop", "dev", func(s *types.RoleSpec) {
		s.Allow = types.RoleConditions{DBLabels: types.Labels{"env": {"dev"}}, DBUsers: []string{"app"}, DBNames: []string{"orders"}}
	})
	w.addDatabase("shop-db", "dev")
	w.addDatabase("payroll", "prod")
	registered := &types.Database{Spec: types.DatabaseSpec{Protocol: "postgres", URI: "db2.example.com"}}
	registered.Metadata.Name, registered.Metadata.Labels = "second", map[string]string{"env": "dev"}
	must(t, registered.Validate())
	_, err := w.store().Put(t.Context(), store.Create, registered)
	must(t, err)
	alice, ed := w.user("alice", "shop"), w.user("ed", "editor")
	w.settle()
	ask := func(name, user, database string) *accessv1.ExplainRequest {
		return &accessv1.ExplainRequest{User: "alice", Kind: "db", Name: name, Login: user, DbName: database}
	}
	for _, c := range []struct {
		name  string
		as    *authclient.Client
		req   *accessv1.ExplainRequest
		allow bool
		code  string
	}{
		{"an agent's", w.client(ed), ask("shop-db", "app", "orders"), true, access.CodeAllowed},
		{"oneself", w.client(alice), ask("shop-db", "app", "orders"), true, access.CodeAllowed},
		{"a registered one", w.client(alice), ask("second", "app", "orders"), true, access.CodeAllowed},
		{"no user: dial", w.client(alice), ask("shop-db", "", ""), true, access.CodeAllowed},
		{"another user", w.client(alice), ask("shop-db", "root", "orders"), false, access.CodeDBUserNotAllowed},
		{"another name", w.client(alice), ask("shop-db", "app", "template1"), false, access.CodeDBNameNotAllowed},
		{"another's", w.client(ed), ask("payroll", "app", "orders"), false, access.CodeNoRoleMatches},
	} {
		e, err := c.as.Explain(t.Context(), c.req)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if e.Decision.Allow != c.allow || e.Decision.Code() != c.code || e.DBName != c.req.DbName || len(e.Roles) != 1 {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
	for _, c := range []struct {
		name string
		req  *accessv1.ExplainRequest
		kind fault.Kind
		text string
	}{
		{"one that oneself cannot see", ask("payroll", "app", "orders"), fault.NotFound, "that you may see"},
		{"nor hear the name of", ask("payrol", "app", "orders"), fault.NotFound, "that you may see"},
		{"a login on a node with a database", &accessv1.ExplainRequest{User: "alice", Kind: "node", Name: "x", DbName: "orders"}, fault.Invalid, "holds no databases"},
		{"a database without a name", ask("", "app", "orders"), fault.Invalid, "name the db"},
		{"a database as a node is used", &accessv1.ExplainRequest{User: "alice", Kind: "db", Name: "shop-db", Login: "app", Action: "file_copy"}, fault.Invalid, "no action"},
	} {
		_, err := w.client(alice).Explain(t.Context(), c.req)
		if fault.KindOf(err) != c.kind || !strings.Contains(fault.Message(err), c.text) || strings.Contains(fault.Hint(err), "payroll") {
			t.Errorf("%s: %v, %s", c.name, err, fault.Hint(err))
		}
	}
}

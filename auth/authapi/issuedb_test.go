package authapi_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"teleport/api/gen/issuev1"
	"teleport/store"
	"teleport/types"
)

// fronts stores a database as an agent with that UUID announces it.
func (w *world) fronts(name, host, admin string) {
	w.t.Helper()
	d := types.Database{Spec: types.DatabaseSpec{Protocol: "postgres", URI: "db.example.com"}}
	if d.Metadata.Name = name; admin != "" {
		d.Spec.AdminUser = &types.DatabaseAdmin{Name: admin}
	}
	s := &types.DatabaseServer{Spec: types.DatabaseServerSpec{HostID: host, Hostname: "agent-1", Database: d}}
	s.Metadata.Name = types.ServerName(name, host)
	must(w.t, s.Validate())
	_, err := w.store().Put(w.t.Context(), store.Upsert, s)
	must(w.t, err)
}

// TestWhoMakesUsersOfADatabase: an agent is the admin user of a database that it
// fronts, for a person whose user it makes there, and for nobody and nothing else.
func TestWhoMakesUsersOfADatabase(t *testing.T) {
	w := newWorld(t)
	uuid, own := w.host("db1", types.RoleDb)
	otherID, other := w.host("db2", types.RoleDb)
	_, node := w.host("node1", types.RoleNode)
	w.addRole("maker", "dev", func(s *types.RoleSpec) {
		s.Allow = types.RoleConditions{DBLabels: types.Labels{"*": {"*"}}, DBNames: []string{"orders"}, DBRoles: []string{"reader"}}
		s.Options.CreateDBUserMode = types.DBUserKeep
	})
	w.addRole("any", "dev", func(s *types.RoleSpec) {
		s.Allow = types.RoleConditions{DBLabels: types.Labels{"*": {"*"}}, DBNames: []string{"*"}, DBUsers: []string{"*"}}
	})
	w.user("alice", "maker")
	w.user("bob", "any")
	w.user("admin", "maker")
	w.fronts("shop", uuid, "admin")
	w.fronts("plain", uuid, "")
	w.fronts("payroll", otherID, "admin")
	w.fronts("archive", uuid, "root") // while it is registered with another
	doc := &types.Database{Spec: types.DatabaseSpec{Protocol: "postgres", URI: "db.example.com", AdminUser: &types.DatabaseAdmin{Name: "admin"}}}
	doc.Metadata.Name = "archive"
	must(t, doc.Validate())
	_, err := w.store().Put(t.Context(), store.Create, doc)
	must(t, err)
	w.settle()
	_, public := w.key()
	ask := func(person, role, database string, edit func(*issuev1.DatabaseRequest)) *issuev1.DatabaseRequest {
		id := userIdentity(person, func(id *types.Identity) {
			id.Authority.Route, id.Authority.Usage, id.Authority.Roles = types.DatabaseRoute{}.Route(database), []string{"db"}, []string{role}
		})
		r := &issuev1.DatabaseRequest{UserCert: w.forge(id, types.CAUser, id.IssuedAt).Certificate[0], TlsPublic: public, Database: database,
			DbUser: person, DbName: "orders", ClientAddr: "192.0.2.9:4000", AsAdmin: true}
		if edit != nil {
			edit(r)
		}
		return r
	}
	agent := w.client(own)
	for want, admin := range map[string]bool{"admin": true, "alice": false} {
		resp, err := agent.DatabaseCert(t.Context(), ask("alice", "maker", "shop", func(r *issuev1.DatabaseRequest) { r.AsAdmin = admin }))
		must(t, err)
		block, _ := pem.Decode(resp.TlsCert)
		leaf, err := x509.ParseCertificate(block.Bytes)
		must(t, err)
		if leaf.Subject.CommonName != want || time.Until(leaf.NotAfter) > 11*time.Minute {
			t.Errorf("%s until %s", leaf.Subject, leaf.NotAfter)
		}
	}
	host := w.forge(userIdentity("alice", nil), types.CAUser, time.Now())
	for name, r := range map[string]*issuev1.DatabaseRequest{
		"by roles that make none":        ask("bob", "any", "shop", nil),
		"as an ordinary user":            ask("bob", "any", "shop", func(r *issuev1.DatabaseRequest) { r.DbUser, r.AsAdmin = "admin", false }),
		"for a person of that name":      ask("admin", "maker", "shop", nil),
		"for another's user":             ask("alice", "maker", "shop", func(r *issuev1.DatabaseRequest) { r.DbUser = "bob" }),
		"for the admin's own":            ask("alice", "maker", "shop", func(r *issuev1.DatabaseRequest) { r.DbUser = "admin" }),
		"in another database of it":      ask("alice", "maker", "shop", func(r *issuev1.DatabaseRequest) { r.DbName = "payroll" }),
		"of a database without an admin": ask("alice", "maker", "plain", nil),
		"of another agent's database":    ask("alice", "maker", "payroll", nil),
		"not the registered one":         ask("alice", "maker", "archive", nil),
		"without a person":               ask("alice", "maker", "shop", func(r *issuev1.DatabaseRequest) { r.UserCert = own.Certificate[0] }),
		"without a way there":            ask("alice", "maker", "shop", func(r *issuev1.DatabaseRequest) { r.UserCert = host.Certificate[0] }),
	} {
		if _, err := agent.DatabaseCert(t.Context(), r); err == nil {
			t.Errorf("%s: it is issued", name)
		}
	}
	for _, as := range []*tls.Certificate{other, node} {
		if _, err := w.client(as).DatabaseCert(t.Context(), ask("alice", "maker", "shop", nil)); err == nil {
			t.Error("whoever does not front it is the admin there")
		}
	}
}

package ca

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"teleport/cert/certtest"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// database is the request of an agent for the user app in the database shop.
func database(agent []*x509.Certificate) Request {
	key, err := newDatabaseKey()
	if err != nil {
		panic(err)
	}
	return Request{Profile: ProfileDatabase, Caller: agent, Route: &types.Route{Kind: types.KindDatabase, Name: "shop"}, Login: "app", Keys: Keys{TLS: key}}
}

// parsed reads a certificate that databases see.
func (w *world) parsed(c Certs) *x509.Certificate {
	w.t.Helper()
	block, _ := pem.Decode(c.TLS)
	if block == nil {
		w.t.Fatal("no certificate")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	w.must(err)
	return leaf
}

// authority is what databases are told to trust.
func (w *world) authority(ca types.CAType) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, doc := range w.trust.Authorities() {
		if doc.Spec.Type == ca {
			pool.AppendCertsFromPEM([]byte(doc.Spec.Active.TLSCert))
		}
	}
	return pool
}

func TestADatabaseCertificateIsOneUserForMinutes(t *testing.T) {
	w := newWorld(t)
	user, agent := w.login("alice"), w.host(types.RoleDb)
	way := w.issued(Request{Profile: ProfileReissue, Subject: w.of(user), Route: types.DatabaseRoute{User: "app", Name: "orders"}.Route("shop")})
	r := database(w.chain(agent))
	r.Subject, r.TTL = w.of(way), 10*time.Hour
	c, err := w.issue(r)
	w.must(err)
	leaf := w.parsed(c)
	if leaf.Subject.String() != "CN=app" || leaf.NotAfter.Sub(w.now) != DatabaseTTL || len(leaf.DNSNames) > 0 || c.SSH != "" {
		t.Errorf("%s until %s, names %v", leaf.Subject, leaf.NotAfter, leaf.DNSNames)
	}
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: w.authority(types.CADBClient), KeyUsages: client, CurrentTime: w.now}); err != nil {
		t.Errorf("the db_client authority did not sign it for clients: %v", err)
	}
	for _, kind := range []types.IdentityKind{types.IdentityUser, types.IdentityHost, types.IdentityBridge} {
		if _, err := tlscert.Verify([]*x509.Certificate{leaf}, w.trust, w.now, kind); err == nil {
			t.Errorf("it passes as a %s of the cluster", kind)
		}
	}
}

// Who makes a person's user is certified for that person's way alone.
func TestAnAdminOfADatabaseIsForThePersonsOwnUser(t *testing.T) {
	w := newWorld(t)
	user, agent := w.login("alice"), w.host(types.RoleDb)
	way := w.issued(Request{Profile: ProfileReissue, Subject: w.of(user), Route: types.DatabaseRoute{User: "alice"}.Route("shop")})
	r := database(w.chain(agent))
	r.Subject, r.Login, r.AdminUser = w.of(way), "alice", "admin"
	c, err := w.issue(r)
	w.must(err)
	if leaf := w.parsed(c); leaf.Subject.String() != "CN=admin" || leaf.NotAfter.Sub(w.now) != DatabaseTTL {
		t.Errorf("%s until %s", leaf.Subject, leaf.NotAfter)
	}
	for name, edit := range map[string]func(*Request){
		"for another's user": func(r *Request) { r.Login = "bob" },
		"for the admin":      func(r *Request) { r.Login = "admin" },
		"for nobody":         func(r *Request) { r.Login = "" },
		"line break":         func(r *Request) { r.AdminUser = "admin\n" },
	} {
		r := r
		edit(&r)
		if _, err := w.issue(r); err == nil {
			t.Errorf("%s: a certificate", name)
		}
	}
}

func TestWhoGetsNoDatabaseCertificate(t *testing.T) {
	w := newWorld(t)
	user, agent := w.login("alice"), w.host(types.RoleDb)
	way := w.issued(Request{Profile: ProfileReissue, Subject: w.of(user), Route: types.DatabaseRoute{User: "app"}.Route("shop")})
	other := w.issued(Request{Profile: ProfileReissue, Subject: w.of(user), Route: types.DatabaseRoute{User: "app"}.Route("payroll")})
	for name, edit := range map[string]func(*Request){
		"nobody asks":                  func(r *Request) { r.Caller = nil },
		"a node asks":                  func(r *Request) { r.Caller = w.chain(w.host(types.RoleNode)) },
		"a proxy asks":                 func(r *Request) { r.Caller = w.chain(w.host(types.RoleProxy)) },
		"the user asks":                func(r *Request) { r.Caller = w.chain(way) },
		"another user in the database": func(r *Request) { r.Login = "root" },
		"no user":                      func(r *Request) { r.Login = "" },
		"a way to another database":    func(r *Request) { r.Subject = w.of(other) },
		"a certificate without a way":  func(r *Request) { r.Subject = w.of(user) },
		"no database":                  func(r *Request) { r.Route = nil },
		"a node of that name":          func(r *Request) { r.Route = &types.Route{Kind: types.KindNode, Name: "shop"} },
		"an SSH key too":               func(r *Request) { r.Keys.SSH = certtest.SSHKey(t) },
		"a name with a line break":     func(r *Request) { r.Login = "app\n" },
	} {
		r := database(w.chain(agent))
		r.Subject = w.of(way)
		edit(&r)
		if _, err := w.issue(r); err == nil {
			t.Errorf("%s: a certificate", name)
		}
	}
	w.policy.locked[agent.Identity.Name] = true
	r := database(w.chain(agent))
	r.Subject = w.of(way)
	if _, err := w.issue(r); !errors.Is(err, fault.Denied) {
		t.Errorf("a locked agent: %v", err)
	}
}

// What a database server shows is signed by an authority of its own.
func TestADatabaseServersCertificateIsNoHosts(t *testing.T) {
	w := newWorld(t)
	admin := w.issued(Request{Profile: ProfileAdmin, Subject: Process{}, Host: Host{UUID: certtest.HostUUID}})
	key, err := newDatabaseKey()
	w.must(err)
	c, err := w.issue(Request{Profile: ProfileSignDB, Subject: w.of(admin), Keys: Keys{TLS: key}, TTL: 90 * 24 * time.Hour,
		Host: Host{Hostname: "db.example.com", Principals: []string{"10.0.0.7"}}})
	w.must(err)
	leaf := w.parsed(c)
	if !slices.Equal(leaf.DNSNames, []string{"db.example.com"}) || len(leaf.IPAddresses) != 1 || !leaf.IPAddresses[0].Equal(net.IPv4(10, 0, 0, 7)) {
		t.Errorf("for %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: w.authority(types.CADB), DNSName: "db.example.com", CurrentTime: w.now}); err != nil {
		t.Errorf("the db authority did not sign it for servers: %v", err)
	}
	if _, err := tlscert.Verify([]*x509.Certificate{leaf}, w.trust, w.now, types.IdentityHost); err == nil {
		t.Error("it passes as a host of the cluster")
	}
}

func newDatabaseKey() (crypto.PublicKey, error) {
	key, err := keys.Generate(keys.ECDSAP256)
	if err != nil {
		return nil, err
	}
	return key.Public(), nil
}

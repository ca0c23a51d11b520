package tlscert_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/types"
)

var (
	now      = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	allKinds = []types.IdentityKind{types.IdentityUser, types.IdentityHost, types.IdentityBridge}
)

func caOf(kind types.IdentityKind) types.CAType {
	if kind == types.IdentityUser {
		return types.CAUser
	}
	return types.CAHost
}

func sign(t testing.TB, w *certtest.World, id *types.Identity, at time.Time) *x509.Certificate {
	t.Helper()
	ca := caOf(id.Kind)
	der, err := tlscert.Sign(id, certtest.Key(t).Public(), w.Certs[ca], w.TLS[ca], at)
	if err != nil {
		t.Fatalf("%v (%v)", err, errors.Unwrap(err))
	}
	return parse(t, der)
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func chain(cs ...*x509.Certificate) []*x509.Certificate { return cs }

// Every field of every identity survives, of all three kinds.
func TestRoundTrip(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	seen := map[string]bool{}
	for i := range 400 {
		kind := allKinds[i%3]
		id := certtest.Random(uint64(i), kind, "example.com", now)
		got, err := tlscert.Verify(chain(sign(t, w, id, now)), w.Trust, now, allKinds...)
		if err != nil {
			t.Fatalf("verify %d: %v", i, err)
		}
		if want := cert.Canonical(id); !reflect.DeepEqual(got, want) {
			t.Fatalf("identity %d changed:\n got %+v\nwant %+v", i, got, want)
		}
		certtest.Note(seen, id)
	}
	certtest.AllSeen(t, seen)
}

// Every sort of certificate against every acceptor.
func TestVerifyMatrix(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	other := certtest.New(t, "example.com", now)
	alice := certtest.User("alice", "example.com", now)
	routed := certtest.User("alice", "example.com", now)
	routed.Authority.Route = &types.Route{Kind: "db", Name: "pg"}
	bridge := certtest.Random(3, types.IdentityBridge, "example.com", now)
	user, host := sign(t, w, alice, now), sign(t, w, certtest.Host("example.com", now, types.RoleProxy), now)
	rows := []struct {
		name                     string
		chain                    []*x509.Certificate
		asUser, asHost, asBridge bool
	}{
		{"user", chain(user), true, false, false},
		{"host", chain(host), false, true, false},
		{"route", chain(sign(t, w, routed, now)), true, false, false},
		{"bridge", chain(sign(t, w, bridge, now)), false, false, true},
		{"db_client", chain(dbClient(t, w)), false, false, false},
		{"another CA", chain(sign(t, other, alice, now)), false, false, false},
		{"expired", chain(sign(t, w, certtest.User("alice", "example.com", now.Add(-13*time.Hour)), now.Add(-13*time.Hour))), false, false, false},
		{"not yet valid", chain(sign(t, w, certtest.User("alice", "example.com", now.Add(time.Hour)), now.Add(time.Hour))), false, false, false},
		{"self-signed", chain(crossSigned(t, w, user, user, nil)), false, false, false},
		{"a user's signed by the host CA", chain(crossSigned(t, w, user, nil, ptr(types.CAHost))), false, false, false},
		{"a host's signed by the user CA", chain(crossSigned(t, w, host, nil, ptr(types.CAUser))), false, false, false},
		{"a user's signed by the db_client CA", chain(crossSigned(t, w, user, nil, ptr(types.CADBClient))), false, false, false},
		{"the CA itself", chain(w.Certs[types.CAUser]), false, false, false},
		{"leaf with its CA", chain(user, w.Certs[types.CAUser]), false, false, false},
		{"nothing", nil, false, false, false},
		{"nil", chain(nil), false, false, false},
	}
	for _, r := range rows {
		for kind, want := range map[types.IdentityKind]bool{types.IdentityUser: r.asUser, types.IdentityHost: r.asHost, types.IdentityBridge: r.asBridge} {
			id, err := tlscert.Verify(r.chain, w.Trust, now, kind)
			if (err == nil) != want || (err != nil) != (id == nil) {
				t.Errorf("%s as %s: %v, %v", r.name, kind, id, err)
			}
		}
	}
	if _, err := tlscert.Verify(chain(user), w.Trust, now); err == nil {
		t.Error("accepted where no kind is")
	}
	if _, err := tlscert.Verify(chain(user), nil, now, types.IdentityUser); !errors.Is(err, fault.Untrusted) {
		t.Errorf("no trust at all: %v", err)
	}
	if _, err := tlscert.Verify(rows[6].chain, w.Trust, now, types.IdentityUser); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("expired is %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

// dbClient is a certificate as the db_client authority will sign them.
func dbClient(t *testing.T, w *certtest.World) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "alice"}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, w.Certs[types.CADBClient], certtest.Key(t).Public(), w.TLS[types.CADBClient])
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, der)
}

// crossSigned signs the content of a certificate with another authority, or with
// its own new key.
func crossSigned(t *testing.T, w *certtest.World, c, self *x509.Certificate, ca *types.CAType) *x509.Certificate {
	t.Helper()
	tmpl := *c
	tmpl.ExtraExtensions = keep(c.Extensions)
	tmpl.RawSubject = c.RawSubject
	if self != nil {
		key := certtest.Key(t)
		parent := tmpl
		parent.PublicKey = key.Public()
		der, err := x509.CreateCertificate(rand.Reader, &tmpl, &parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, der)
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, w.Certs[*ca], certtest.Key(t).Public(), w.TLS[*ca])
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, der)
}

func keep(exts []pkix.Extension) []pkix.Extension {
	for _, e := range exts {
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 9999, 4, 1}) {
			return []pkix.Extension{e}
		}
	}
	return nil
}

// What the right authority would never sign is refused all the same.
func TestVerifyRefusesForms(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	mark := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 3, 9999, 5, n} }
	base := func() *x509.Certificate {
		c := *sign(t, w, certtest.User("alice", "example.com", now), now)
		c.ExtraExtensions = keep(c.Extensions)
		return &c
	}
	cases := map[string]func(*x509.Certificate){
		"no kind":      func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil },
		"two kinds":    func(c *x509.Certificate) { c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, mark(2)) },
		"unknown kind": func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{mark(9)} },
		"marked as a CA": func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
		},
		"valid for years":      func(c *x509.Certificate) { c.NotAfter = now.Add(3 * 366 * 24 * time.Hour) },
		"no identity":          func(c *x509.Certificate) { c.ExtraExtensions = nil },
		"two names":            func(c *x509.Certificate) { addName(t, c, asn1.ObjectIdentifier{2, 5, 4, 3}, "root") },
		"two clusters":         func(c *x509.Certificate) { addName(t, c, asn1.ObjectIdentifier{1, 3, 9999, 1, 7}, "example.com") },
		"unknown attribute":    func(c *x509.Certificate) { addName(t, c, asn1.ObjectIdentifier{1, 3, 9999, 8, 8}, "x") },
		"unknown usage":        func(c *x509.Certificate) { addName(t, c, asn1.ObjectIdentifier{2, 5, 4, 11}, "people") },
		"route to no resource": func(c *x509.Certificate) { addName(t, c, asn1.ObjectIdentifier{2, 5, 4, 9}, "leaf") },
		"critical extension": func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		},
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			c := base()
			f(c)
			der, err := x509.CreateCertificate(rand.Reader, c, w.Certs[types.CAUser], certtest.Key(t).Public(), w.TLS[types.CAUser])
			if err != nil {
				t.Fatal(err)
			}
			if id, err := tlscert.Verify(chain(parse(t, der)), w.Trust, now, types.IdentityUser); err == nil {
				t.Fatalf("accepted as %v", id)
			}
		})
	}
	der, err := x509.CreateCertificate(rand.Reader, base(), w.Certs[types.CAUser], certtest.Key(t).Public(), w.TLS[types.CAUser])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tlscert.Verify(chain(parse(t, der)), w.Trust, now, types.IdentityUser); err != nil {
		t.Fatalf("the unchanged copy: %v", err)
	}
}

func addName(t *testing.T, c *x509.Certificate, oid asn1.ObjectIdentifier, v string) {
	t.Helper()
	var rdn pkix.RDNSequence
	if _, err := asn1.Unmarshal(c.RawSubject, &rdn); err != nil {
		t.Fatal(err)
	}
	raw, err := asn1.Marshal(append(rdn, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: v}}))
	if err != nil {
		t.Fatal(err)
	}
	c.RawSubject = raw
}

func TestSignRefuses(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	cases := map[string]struct {
		kind types.IdentityKind
		f    func(*types.Identity)
	}{
		"no name":                   {types.IdentityUser, func(id *types.Identity) { id.Name = "" }},
		"no cluster":                {types.IdentityUser, func(id *types.Identity) { id.Cluster = "" }},
		"a line break":              {types.IdentityUser, func(id *types.Identity) { id.Name = "a\nb" }},
		"bad UTF-8":                 {types.IdentityUser, func(id *types.Identity) { id.Authority.Traits = map[string][]string{"a": {"\xff"}} }},
		"an empty role":             {types.IdentityUser, func(id *types.Identity) { id.Authority.Roles = []string{""} }},
		"expired":                   {types.IdentityUser, func(id *types.Identity) { id.Authority.Expires = now }},
		"too long":                  {types.IdentityUser, func(id *types.Identity) { id.Authority.Expires = now.Add(400 * 24 * time.Hour) }},
		"issued tomorrow":           {types.IdentityUser, func(id *types.Identity) { id.IssuedAt = now.Add(24 * time.Hour) }},
		"issued yesterday":          {types.IdentityUser, func(id *types.Identity) { id.IssuedAt = now.Add(-24 * time.Hour) }},
		"a user with a system role": {types.IdentityUser, func(id *types.Identity) { id.Authority.SystemRoles = []types.SystemRole{"Proxy"} }},
		"a user with a proxy":       {types.IdentityUser, func(id *types.Identity) { id.Authority.ProxyUUID = "x" }},
		"a host with a user role":   {types.IdentityHost, func(id *types.Identity) { id.Authority.Roles = []string{"editor"} }},
		"a host with logins":        {types.IdentityHost, func(id *types.Identity) { id.Authority.Logins = []string{"root"} }},
		"a host with proofs":        {types.IdentityHost, func(id *types.Identity) { id.Proofs.MFADevice = "x" }},
		"a host as auth":            {types.IdentityHost, func(id *types.Identity) { id.Authority.Principals = []string{"auth.example.com"} }},
		"a host as another": {types.IdentityHost, func(id *types.Identity) {
			id.Authority.Principals = []string{"11111111-2222-3333-4444-555555555555.example.com"}
		}},
		"a host with a wildcard":   {types.IdentityHost, func(id *types.Identity) { id.Authority.Principals = []string{"*.example.com"} }},
		"a host with a port":       {types.IdentityHost, func(id *types.Identity) { id.Authority.Principals = []string{"a.example.com:22"} }},
		"a bridge without a proxy": {types.IdentityBridge, func(id *types.Identity) { id.Authority.ProxyUUID = "" }},
		"a bridge without a route": {types.IdentityBridge, func(id *types.Identity) { id.Authority.Route = nil }},
		"a bridge that re-issues":  {types.IdentityBridge, func(id *types.Identity) { id.Authority.DisallowReissue = false }},
		"a bridge for an hour":     {types.IdentityBridge, func(id *types.Identity) { id.Authority.Expires = now.Add(time.Hour) }},
		"an unknown kind":          {types.IdentityUser, func(id *types.Identity) { id.Kind = "robot" }},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var id *types.Identity
			switch c.kind {
			case types.IdentityHost:
				id = certtest.Host("example.com", now, types.RoleNode)
			case types.IdentityBridge:
				id = certtest.Random(3, c.kind, "example.com", now)
			default:
				id = certtest.User("alice", "example.com", now)
			}
			c.f(id)
			ca := caOf(c.kind)
			if _, err := tlscert.Sign(id, certtest.Key(t).Public(), w.Certs[ca], w.TLS[ca], now); err == nil {
				t.Fatal("signed")
			}
		})
	}
	id := certtest.User("alice", "example.com", now)
	if _, err := tlscert.Sign(id, certtest.Key(t).Public(), w.Certs[types.CAUser], w.TLS[types.CAHost], now); err == nil {
		t.Error("signed with a key that is not the certificate's")
	}
}

// A machine may be called like a service; it does not get the service's name.
func TestHostNamedLikeAService(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	for hostname, bad := range map[string]string{"auth": "auth.example.com", "proxy.example.com": "proxy.example.com", "AUTH": "auth.example.com"} {
		id := certtest.Host("example.com", now, types.RoleNode)
		id.Authority.Hostname = hostname
		if c := sign(t, w, id, now); c.VerifyHostname(bad) == nil {
			t.Errorf("host %q is valid for %s: %v", hostname, bad, c.DNSNames)
		}
	}
	id := certtest.Host("example.com", now, types.RoleAuth, types.RoleProxy)
	c := sign(t, w, id, now)
	for _, name := range []string{"auth.example.com", "proxy.example.com", id.Name, id.Name + ".example.com", "web-1", "web-1.example.com"} {
		if err := c.VerifyHostname(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFrozen(t *testing.T) {
	trust := certtest.FrozenTrust(t)
	for _, kind := range allKinds {
		path := filepath.Join("testdata", "v1", string(kind)+".pem")
		id := certtest.FrozenIdentity(kind)
		if certtest.Update() {
			w := certtest.FrozenWorld(t)
			der, err := tlscert.Sign(id, certtest.FrozenTLSKey(t), w.Certs[caOf(kind)], w.TLS[caOf(kind)], certtest.FrozenTime)
			if err != nil {
				t.Fatal(err)
			}
			certtest.WriteFile(t, path, tlscert.PEM(der))
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		leaf := parse(t, block.Bytes)
		got, err := tlscert.Verify(chain(leaf), trust, certtest.FrozenTime, kind)
		if err != nil {
			t.Fatal(err)
		}
		if want := cert.Canonical(id); !reflect.DeepEqual(got, want) {
			t.Errorf("%s reads differently:\n got %+v\nwant %+v", path, got, want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	w := certtest.New(f, "example.com", now)
	want := cert.Canonical(certtest.User("alice", "example.com", now))
	f.Add(sign(f, w, want, now).Raw)
	f.Add(sign(f, w, certtest.Random(5, types.IdentityBridge, "example.com", now), now).Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		id, err := tlscert.Verify(chain(c), w.Trust, now, types.IdentityUser)
		if err == nil && !reflect.DeepEqual(id, want) {
			t.Fatalf("a changed certificate verifies: %+v", id)
		}
	})
}

func TestAuthorityIsParsedStrictly(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	ca := tlscert.PEM(w.Certs[types.CAHost].Raw)
	leaf := tlscert.PEM(sign(t, w, certtest.Host("example.com", now, types.RoleNode), now).Raw)
	for name, b := range map[string][]byte{"a leaf": leaf, "two": append(bytes.Clone(ca), ca...), "junk": []byte("x"), "huge": make([]byte, 1<<20)} {
		if _, err := cert.ParseAuthority(b); err == nil {
			t.Errorf("%s passes as an authority", name)
		}
	}
}

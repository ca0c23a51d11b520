package postgres_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"

	"teleport/cert/certtest"
	"teleport/dbaccess"
	"teleport/test/pgserver"
	"teleport/types"
)

// pki is the authorities of a test: one signs the server, one the users in it.
type pki struct {
	server, client *authority
	shows          string // the user in certificates, where it is not the one asked for
	run            *pgserver.Server
}

// sleeping counts the statements that sleep in the server.
func (p *pki) sleeping(t testing.TB) string {
	return p.run.SQL(t, "postgres", "select count(*) from pg_stat_activity where wait_event = 'PgSleep'")
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &authority{c, key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) issue(name string, usage x509.ExtKeyUsage) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// byCertificate logs in with a certificate of the client authority.
type byCertificate struct{ pki *pki }

func (b byCertificate) Certificate(_ context.Context, l dbaccess.Login) (*tls.Certificate, error) {
	name := l.User
	if b.pki.shows != "" {
		name = b.pki.shows
	}
	return b.pki.client.issue(name, x509.ExtKeyUsageClientAuth)
}
func (byCertificate) Password(context.Context, dbaccess.Login) (string, error) { return "", nil }
func (b byCertificate) Authorities() []byte                                    { return b.pki.server.pem() }

func (p *pki) credentials(*certtest.World) dbaccess.Credentials { return byCertificate{p} }

// startServer runs a PostgreSQL of its own for the test, which lets in whoever
// has a certificate of the client authority.
func startServer(t testing.TB) (*pki, types.DatabaseSpec) {
	t.Helper()
	p := &pki{server: newAuthority(t, "servers"), client: newAuthority(t, "users")}
	own, err := p.server.issue("db.test", x509.ExtKeyUsageServerAuth)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	s := pgserver.Start(t)
	p.run = s
	s.SQL(t, "postgres", "create role alice login; create role mallory login; create table t (id int primary key, name text);"+
		"insert into t select i, 'row '||i from generate_series(1,100) i; grant all on t to alice;")
	s.Kill()
	s.Configure(t, "hostssl all all 127.0.0.1/32 cert", fmt.Sprintf("ssl = on\nssl_cert_file = '%s'\nssl_key_file = '%s'\nssl_ca_file = '%s'",
		s.File(t, "server.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}))),
		s.File(t, "server.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))), s.File(t, "users.crt", string(p.client.pem()))))
	s.Run(t)
	return p, types.DatabaseSpec{Protocol: "postgres", URI: "127.0.0.1:" + s.Port, TLS: types.DatabaseTLS{ServerName: "db.test"}}
}

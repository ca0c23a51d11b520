package dbtest

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"teleport/cert/certtest"
	"teleport/dbaccess"
)

// PKI is the authorities of a database that a test runs: one signs its server,
// the other the users in it. As dbaccess.Credentials it logs in by certificate.
type PKI struct {
	Servers, Users *Authority
	Shows          string // the user in certificates, where it is not the one asked for
}

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewPKI makes both authorities.
func NewPKI(t testing.TB) *PKI {
	return &PKI{Servers: NewAuthority(t, "servers"), Users: NewAuthority(t, "users")}
}

// NewAuthority makes one.
func NewAuthority(t testing.TB, name string) *Authority {
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
	return &Authority{c, key}
}

// PEM is the authority's own certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Issue makes a certificate for a name and a new key.
func (a *Authority) Issue(name string, usage x509.ExtKeyUsage) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// Certificate implements dbaccess.Credentials.
func (p *PKI) Certificate(_ context.Context, l dbaccess.Login) (*tls.Certificate, error) {
	return p.Users.Issue(cmp.Or(p.Shows, l.User), x509.ExtKeyUsageClientAuth)
}

// Password implements dbaccess.Credentials.
func (p *PKI) Password(context.Context, dbaccess.Login) (string, error) { return "", nil }

// Authorities implements dbaccess.Credentials.
func (p *PKI) Authorities() []byte { return p.Servers.PEM() }

// Credentials gives New the PKI.
func (p *PKI) Credentials(*certtest.World) dbaccess.Credentials { return p }

// ServerName is in the certificates of PKI.Server.
const ServerName = "db.test"

// Server makes the certificate of the database and its key, as PEM.
func (p *PKI) Server(t testing.TB) (crt, key string) {
	t.Helper()
	own, err := p.Servers.Issue(ServerName, x509.ExtKeyUsageServerAuth)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

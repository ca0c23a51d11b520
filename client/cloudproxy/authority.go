package cloudproxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"sync"
	"time"

	"teleport/fault"
)

const (
	// authorityLife is longer than any local proxy runs.
	authorityLife = 30 * 24 * time.Hour
	clockSkew     = time.Hour
	// maxHosts bounds how many certificates are kept.
	maxHosts = 1024
	// maxBundle bounds the file of the machine's own authorities, in bytes.
	maxBundle = 8 << 20
)

// Authority is a certificate authority of one local proxy. Its key is in memory
// alone, and it can only speak for domains of the cloud, so that who takes its
// certificate for trusted has little to lose by it. Safe for concurrent use.
type Authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	mu    sync.Mutex
	hosts map[string]*tls.Certificate
}

// NewAuthority makes one for hosts below some domains.
func NewAuthority(domains []string) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "tsh local proxy"}, NotBefore: now.Add(-clockSkew),
		NotAfter: now.Add(authorityLife), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, PermittedDNSDomainsCritical: true, PermittedDNSDomains: domains}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{cert: cert, key: key, hosts: map[string]*tls.Certificate{}}, nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

// Certificate returns one for a host.
func (a *Authority) Certificate(host string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.hosts[host]; c != nil {
		return c, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	// Its subject is another than the issuer's: OpenSSL takes what is alike for signed by itself.
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "a cloud, by tsh"},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter, DNSNames: []string{host}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	if len(a.hosts) >= maxHosts {
		clear(a.hosts)
	}
	c := &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}
	a.hosts[host] = c
	return c, nil
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// bundles is where systems keep the authorities that they trust.
var bundles = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}

// Bundle is PEM of the authority and of those that the machine trusts: tools that are
// given a bundle take it in place of those. named is a file that they were told
// to trust before, "" is none.
func (a *Authority) Bundle(named string) ([]byte, error) {
	out := bytes.NewBuffer(a.PEM())
	places := bundles
	if named != "" {
		places = []string{named}
	}
	for _, place := range places {
		info, err := os.Stat(place)
		if err != nil && named != "" {
			return nil, fault.Unreadable(err, named)
		}
		if err != nil || info.Size() > maxBundle {
			continue
		}
		own, err := os.ReadFile(place)
		if err != nil {
			return nil, fault.Unreadable(err, place)
		}
		out.WriteByte('\n')
		out.Write(own)
		break
	}
	return out.Bytes(), nil
}

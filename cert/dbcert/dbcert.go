// Package dbcert makes the X.509 certificates that databases understand: of
// users, whose only name is that of the user in the database, and of servers.
// They carry no identity of the cluster and are signed by authorities of their
// own (db_client and db), so that none passes for a user or a host of it, nor
// the other way round.
package dbcert

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"time"

	"teleport/fault"
)

// backdate lets a database whose clock is a little behind take a new certificate.
const backdate = time.Minute

// maxUser is the longest user name in a certificate (ub-common-name of RFC 5280).
const maxUser = 64

// SignClient certifies the key of an agent as a user in databases. It returns
// DER; fault.Invalid for a name that no certificate can carry.
func SignClient(user string, pub crypto.PublicKey, ca *x509.Certificate, key crypto.Signer, now, expires time.Time) ([]byte, error) {
	if user == "" || len(user) > maxUser {
		return nil, fault.New(fault.Invalid, "a database user in a certificate has 1 to %d bytes", maxUser)
	}
	for _, c := range user {
		if c < ' ' || c == 0x7f || c == 0xfffd {
			return nil, fault.New(fault.Invalid, "the database user %q holds a character that a certificate cannot carry", user)
		}
	}
	return sign(&x509.Certificate{Subject: pkix.Name{CommonName: user}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, pub, ca, key, now, expires)
}

// SignServer certifies the key of a database server for host names and
// addresses, the first of which is the subject. It returns DER.
func SignServer(hosts []string, pub crypto.PublicKey, ca *x509.Certificate, key crypto.Signer, now, expires time.Time) ([]byte, error) {
	if len(hosts) == 0 {
		return nil, fault.New(fault.Invalid, "a server's certificate names at least one host")
	}
	c := &x509.Certificate{Subject: pkix.Name{CommonName: hosts[0][:min(len(hosts[0]), maxUser)]},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
			continue
		}
		c.DNSNames = append(c.DNSNames, h)
	}
	return sign(c, pub, ca, key, now, expires)
}

func sign(c *x509.Certificate, pub crypto.PublicKey, ca *x509.Certificate, key crypto.Signer, now, expires time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = serial, now.Add(-backdate), expires
	c.KeyUsage = x509.KeyUsageDigitalSignature
	c.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, c, ca, pub, key)
	return der, fault.Wrap(err, fault.Internal, "the certificate for the database cannot be signed")
}

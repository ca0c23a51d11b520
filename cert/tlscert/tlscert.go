// Package tlscert turns identities into X.509 certificates and verified
// certificates back into identities, and builds the TLS configurations that every
// listener and dialer of the system uses. It is the only place that reads an
// identity out of an X.509 certificate. Which attribute carries what stands in
// table.go. Time is passed in; nothing is kept.
//
// The kind of an identity is an extended key usage of its own: a user's
// certificate carries it beside clientAuth, a host's beside serverAuth and
// clientAuth, and a bridge certificate carries it alone, so that no standard
// verifier takes one for anything.
package tlscert

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"reflect"
	"slices"
	"time"

	"teleport/cert"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// maxLeaf bounds a certificate that Verify looks at, in bytes.
const maxLeaf = 64 << 10

// authorityValidity is how long a CA certificate claims to be valid. Our own
// verification asks the list of authorities instead; others look at the date.
const authorityValidity = 10 * 366 * 24 * time.Hour

// NewAuthority makes the self-signed certificate of a CA key, in PEM.
func NewAuthority(ca crypto.Signer, caType types.CAType, cluster string, now time.Time) ([]byte, error) {
	if err := keys.CheckPublic(ca.Public()); err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: string(caType) + " CA of " + cluster, Organization: []string{cluster}, SerialNumber: serial.String()},
		NotBefore:             now.Add(-cert.ClockSkew),
		NotAfter:              now.Add(authorityValidity),
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, ca.Public(), ca)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the CA certificate could not be made")
	}
	return PEM(der), nil
}

// PEM writes a certificate's DER as PEM.
func PEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Sign makes the certificate of an identity for a public key. The identity is
// linted first, and the certificate is read back and compared with it before it is
// returned, so that nothing leaves that Verify would understand otherwise. The
// template is linted before the key signs.
func Sign(id *types.Identity, pub crypto.PublicKey, caCert *x509.Certificate, ca crypto.Signer, now time.Time) ([]byte, error) {
	if id == nil || caCert == nil || ca == nil {
		return nil, fault.New(fault.Invalid, "nothing to sign or nobody to sign it")
	}
	if err := keys.CheckPublic(pub); err != nil {
		return nil, err
	}
	if !keys.Equal(caCert.PublicKey, ca.Public()) {
		return nil, fault.New(fault.Internal, "the CA certificate and the CA key do not belong together")
	}
	id = cert.Canonical(id)
	if err := cert.Lint(id, now); err != nil {
		return nil, err
	}
	t, err := template(id)
	if err != nil {
		return nil, err
	}
	if err := lintTemplate(t, id); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, caCert, pub, ca)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the CA key did not sign")
	}
	if len(der) > maxLeaf {
		return nil, fault.New(fault.Limit, "the certificate would be larger than %d bytes", maxLeaf).
			WithHint("the user has too many roles, logins or traits")
	}
	return der, nil
}

func newSerial() (*big.Int, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x3f | 0x40 // positive, never short
	return new(big.Int).SetBytes(b), nil
}

// template writes a canonical identity into an unsigned certificate.
func template(id *types.Identity) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	subject, rest, err := layout(id)
	if err != nil {
		return nil, err
	}
	ext, err := asn1.Marshal(rest)
	if err != nil {
		return nil, err
	}
	mark, ok := markOf(id.Kind)
	if !ok {
		return nil, fault.New(fault.Invalid, "unknown identity kind %q", id.Kind)
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{ExtraNames: subject},
		NotBefore:             id.IssuedAt.Add(-cert.ClockSkew).Truncate(time.Second),
		NotAfter:              id.Authority.Expires,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage:    []asn1.ObjectIdentifier{mark},
		ExtraExtensions:       []pkix.Extension{{Id: oidIdentity, Value: ext}},
	}
	switch id.Kind {
	case types.IdentityUser:
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	case types.IdentityHost:
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		for _, n := range cert.HostNames(id) {
			if ip := net.ParseIP(n); ip != nil {
				t.IPAddresses = append(t.IPAddresses, ip)
			} else {
				t.DNSNames = append(t.DNSNames, n)
			}
		}
	}
	return t, nil
}

// lintTemplate reads the template as Verify would read the certificate.
func lintTemplate(t *x509.Certificate, id *types.Identity) error {
	back, err := read(t.Subject.ExtraNames, t.ExtraExtensions, id.Kind)
	if err != nil {
		return err
	}
	back.Authority.Expires = t.NotAfter
	if !reflect.DeepEqual(back, id) {
		return fault.New(fault.Internal, "the certificate would not say what the identity says")
	}
	return nil
}

// Verify checks a peer's chain, which must be exactly one leaf, against the closed
// set of authorities and returns the identity that it carries. The leaf must be of
// one of the kinds, and be signed by the authority of its own kind. Whether the
// peer holds the private key is for the TLS handshake to show. Errors are
// fault.Untrusted, or fault.Unauthenticated for a certificate out of its time.
func Verify(chain []*x509.Certificate, trust *cert.Trust, now time.Time, kinds ...types.IdentityKind) (*types.Identity, error) {
	if len(chain) != 1 || chain[0] == nil {
		return nil, fault.New(fault.Untrusted, "a peer presents exactly one certificate, this one presented %d", len(chain))
	}
	leaf := chain[0]
	kind, err := checkForm(leaf)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(kinds, kind) {
		return nil, fault.New(fault.Untrusted, "a %s certificate is not accepted here", kind)
	}
	caType, err := cert.AuthorityFor(kind)
	if err != nil {
		return nil, err
	}
	cluster, err := signedBy(leaf, trust, caType)
	if err != nil {
		return nil, err
	}
	if err := checkTimes(leaf, kind, now); err != nil {
		return nil, err
	}
	id, err := read(leaf.Subject.Names, leaf.Extensions, kind)
	if err != nil {
		return nil, err
	}
	id.Authority.Expires = leaf.NotAfter.UTC()
	if id.Kind != kind || id.Cluster != cluster {
		return nil, fault.New(fault.Untrusted, "the certificate speaks for %s, its authority for cluster %q", id, cluster)
	}
	return id, nil
}

// checkForm refuses what no signature can make right, and finds the kind.
func checkForm(leaf *x509.Certificate) (types.IdentityKind, error) {
	switch {
	case len(leaf.Raw) == 0 || len(leaf.Raw) > maxLeaf:
		return "", fault.New(fault.Limit, "the certificate is larger than %d bytes", maxLeaf)
	case leaf.IsCA || leaf.KeyUsage&x509.KeyUsageCertSign != 0:
		return "", fault.New(fault.Untrusted, "a CA certificate stands in the place of an identity")
	case len(leaf.UnhandledCriticalExtensions) > 0:
		return "", fault.New(fault.Untrusted, "the certificate has a critical extension that is not known here")
	}
	if err := keys.CheckPublic(leaf.PublicKey); err != nil {
		return "", fault.Wrap(err, fault.Untrusted, "the certificate has no acceptable key: %s", fault.Message(err))
	}
	kind, ok := kindOf(leaf.UnknownExtKeyUsage)
	if !ok {
		return "", fault.New(fault.Untrusted, "the certificate is not one of a user or a host of a cluster")
	}
	return kind, nil
}

// signedBy finds the authority whose key signed the leaf. The authorities are a
// closed list; no path is built and nothing that the peer sent is one of them.
func signedBy(leaf *x509.Certificate, trust *cert.Trust, caType types.CAType) (cluster string, err error) {
	for _, ca := range trust.Certificates(caType) {
		if leaf.CheckSignatureFrom(ca) != nil {
			continue
		}
		if cluster, ok := trust.TLSCluster(caType, ca); ok {
			return cluster, nil
		}
	}
	return "", fault.New(fault.Untrusted, "the certificate is signed by no %s authority that this cluster trusts", caType).
		WithHint("it belongs to another cluster, or the cluster's CA was replaced: log in again, or join the host again")
}

func checkTimes(leaf *x509.Certificate, kind types.IdentityKind, now time.Time) error {
	if leaf.NotAfter.Sub(leaf.NotBefore) > cert.MaxValidity(kind)+cert.ClockSkew+time.Second {
		return fault.New(fault.Untrusted, "the certificate is valid for longer than any that a cluster issues")
	}
	return cert.CheckTime(leaf.NotBefore, leaf.NotAfter, now)
}

// Package cert holds what a cluster trusts: the closed sets of CA keys, per
// purpose, that certificates are checked against. How identities stand in
// certificates is the matter of its sub-packages sshcert, tlscert and jwtcert.
package cert

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// Trust is an immutable set of authorities, parsed once and checked. A CA is a
// bare key (SSH, JWT) or a self-signed certificate compared byte for byte (TLS),
// always together with the type it serves and the cluster it speaks for: a key
// that appears under two types or clusters is refused, so that no authority can
// stand in for another. Safe for concurrent use; the zero value trusts nobody.
type Trust struct {
	authorities []*types.CertAuthority
	claims      map[string]anchor // every key by its PKIX form: one key, one purpose
	ssh         map[string]anchor // by wire form of the bare key
	certs       []tlsAnchor
	jwt         []jwtAnchor
	fingerprint string
}

type anchor struct {
	caType  types.CAType
	cluster string
}

type tlsAnchor struct {
	anchor
	cert *x509.Certificate
}

type jwtAnchor struct {
	anchor
	key crypto.PublicKey
}

// NewTrust parses authorities. It fails as a whole when any key is weak, is a
// certificate where a bare key must be, or is shared between purposes.
func NewTrust(authorities []*types.CertAuthority) (*Trust, error) {
	t := &Trust{
		authorities: slices.Clone(authorities),
		claims:      map[string]anchor{},
		ssh:         map[string]anchor{},
	}
	var lines []string
	for _, ca := range authorities {
		if ca == nil || ca.Spec.Type == "" || ca.Spec.Cluster == "" {
			return nil, fault.New(fault.Invalid, "an authority without type or cluster")
		}
		at := anchor{caType: ca.Spec.Type, cluster: ca.Spec.Cluster}
		for _, k := range append([]types.CAKeys{ca.Spec.Active}, ca.Spec.Additional...) {
			if err := t.add(at, k); err != nil {
				return nil, fault.Wrap(err, fault.KindOf(err), "the %s authority of cluster %q: %s", at.caType, at.cluster, fault.Message(err))
			}
			lines = append(lines, strings.Join([]string{string(at.caType), at.cluster, k.SSHPublic, k.TLSCert, k.JWTPublic}, "\x00"))
		}
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\x01")))
	t.fingerprint = hex.EncodeToString(sum[:])
	return t, nil
}

func (t *Trust) add(at anchor, k types.CAKeys) error {
	if k.SSHPublic != "" {
		key, err := keys.ParseSSHPublic(k.SSHPublic)
		if err != nil {
			return err
		}
		ck, ok := key.(ssh.CryptoPublicKey)
		if !ok {
			return fault.New(fault.Invalid, "an SSH key of type %q is not accepted", key.Type())
		}
		if err := t.claim(ck.CryptoPublicKey(), at); err != nil {
			return err
		}
		t.ssh[string(key.Marshal())] = at
	}
	if k.TLSCert != "" {
		c, err := ParseAuthority([]byte(k.TLSCert))
		if err != nil {
			return err
		}
		if err := t.claim(c.PublicKey, at); err != nil {
			return err
		}
		t.certs = append(t.certs, tlsAnchor{at, c})
	}
	if k.JWTPublic != "" {
		pub, err := keys.ParsePublic([]byte(k.JWTPublic))
		if err != nil {
			return err
		}
		if err := t.claim(pub, at); err != nil {
			return err
		}
		t.jwt = append(t.jwt, jwtAnchor{at, pub})
	}
	return nil
}

// claim files a key under its purpose; a second purpose is refused.
func (t *Trust) claim(pub crypto.PublicKey, at anchor) error {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return fault.New(fault.Invalid, "a CA key of type %T is not accepted", pub)
	}
	if old, taken := t.claims[string(der)]; taken && old != at {
		return fault.New(fault.Untrusted, "its key is also the %s authority's of cluster %q; one key serves one purpose", old.caType, old.cluster)
	}
	t.claims[string(der)] = at
	return nil
}

// maxAuthorityPEM bounds a CA certificate, in bytes.
const maxAuthorityPEM = 16 << 10

// ParseAuthority reads a CA certificate: one PEM block, self-signed, marked as a
// CA, with a key that is not weak. Its own validity dates are not looked at: an
// authority is trusted while it is listed.
func ParseAuthority(b []byte) (*x509.Certificate, error) {
	if len(b) > maxAuthorityPEM {
		return nil, fault.New(fault.Limit, "the CA certificate is larger than %d bytes", maxAuthorityPEM)
	}
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return nil, fault.New(fault.Invalid, "not exactly one PEM block of type CERTIFICATE")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the CA certificate does not parse")
	}
	if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fault.New(fault.Untrusted, "the certificate in a CA's place is not a CA certificate")
	}
	if err := keys.CheckPublic(c.PublicKey); err != nil {
		return nil, err
	}
	if err := c.CheckSignatureFrom(c); err != nil {
		return nil, fault.New(fault.Untrusted, "the CA certificate is not signed by its own key")
	}
	return c, nil
}

// SSHKeys returns the bare keys of all authorities of a type, in a stable order.
func (t *Trust) SSHKeys(ca types.CAType) []ssh.PublicKey {
	if t == nil {
		return nil
	}
	var wire []string
	for k, at := range t.ssh {
		if at.caType == ca {
			wire = append(wire, k)
		}
	}
	slices.Sort(wire)
	out := make([]ssh.PublicKey, 0, len(wire))
	for _, w := range wire {
		if key, err := ssh.ParsePublicKey([]byte(w)); err == nil {
			out = append(out, key)
		}
	}
	return out
}

// SSHCluster tells for which cluster a bare key speaks as an authority of the
// given type. The key is compared by its bytes; a certificate is never found.
func (t *Trust) SSHCluster(ca types.CAType, key ssh.PublicKey) (cluster string, ok bool) {
	if t == nil || key == nil {
		return "", false
	}
	at, ok := t.ssh[string(key.Marshal())]
	return at.cluster, ok && at.caType == ca
}

// Pool returns a certificate pool of all authorities of the given types.
func (t *Trust) Pool(cas ...types.CAType) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range t.Certificates(cas...) {
		pool.AddCert(c)
	}
	return pool
}

// Certificates returns the CA certificates of the given types.
func (t *Trust) Certificates(cas ...types.CAType) []*x509.Certificate {
	if t == nil {
		return nil
	}
	var out []*x509.Certificate
	for _, a := range t.certs {
		if slices.Contains(cas, a.caType) {
			out = append(out, a.cert)
		}
	}
	return out
}

// TLSCluster tells for which cluster a CA certificate speaks as an authority of
// the given type. It is compared byte for byte.
func (t *Trust) TLSCluster(ca types.CAType, c *x509.Certificate) (cluster string, ok bool) {
	if t == nil || c == nil {
		return "", false
	}
	for _, a := range t.certs {
		if a.caType == ca && a.cert.Equal(c) {
			return a.cluster, true
		}
	}
	return "", false
}

// JWTKeys returns the keys that verify a cluster's tokens.
func (t *Trust) JWTKeys(cluster string) []crypto.PublicKey {
	if t == nil {
		return nil
	}
	var out []crypto.PublicKey
	for _, a := range t.jwt {
		if a.caType == types.CAJWT && a.cluster == cluster {
			out = append(out, a.key)
		}
	}
	return out
}

// Pins returns the CA pins of a cluster's host authority: one, or two while it
// rotates.
func (t *Trust) Pins(cluster string) []string {
	if t == nil {
		return nil
	}
	var out []string
	for _, a := range t.certs {
		if a.caType == types.CAHost && a.cluster == cluster {
			out = append(out, keys.Pin(a.cert))
		}
	}
	return out
}

// Authorities returns the documents that the set was made from. They are shared:
// do not change them.
func (t *Trust) Authorities() []*types.CertAuthority {
	if t == nil {
		return nil
	}
	return slices.Clone(t.authorities)
}

// Fingerprint changes whenever what is trusted changes, and only then.
func (t *Trust) Fingerprint() string {
	if t == nil {
		return ""
	}
	return t.fingerprint
}

// Package sshcert turns identities into OpenSSH certificates and verified
// certificates back into identities. It is the only place that reads an identity
// out of an SSH certificate. Time is passed in; nothing is kept.
//
// A user certificate carries the user name as key id, the logins as principals,
// a pinned address as critical option source-address (which stock OpenSSH
// servers enforce too), the permit-* extensions, and extensions of ours:
//
//	teleport-roles             JSON list of role names
//	teleport-traits            JSON object of string lists
//	teleport-route-to-cluster  cluster of the route, where there is one
//	teleport-identity          JSON of whatever has no place of its own
//
// A host certificate carries UUID.cluster as key id, the names of cert.HostNames
// as principals, and as extensions:
//
//	teleport-system-roles  comma-separated
//	teleport-host-uuid, teleport-cluster, teleport-hostname
//	teleport-generation    decimal renewal counter, absent when 0
//	teleport-scope         JSON of what the host may register, where it is limited
//	teleport-identity      JSON of whatever has no place of its own
//
// An identity of kind bridge has the form of a user's, signed by the host
// authority: whoever does not ask for a bridge takes it for nothing.
package sshcert

import (
	"crypto/rand"
	"encoding/binary"
	"reflect"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// signatureAlgorithms lists how a CA may have signed: no SHA-1, no DSA, no
// security keys.
var signatureAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512,
}

// maxWire bounds a certificate that Verify looks at, in bytes.
const maxWire = 64 << 10

// Sign makes the certificate of an identity for a bare public key. The identity
// is linted first, and what would be signed is read back and compared with it, so
// that nothing is signed that Verify would understand otherwise. A user without
// logins has no SSH certificate: fault.Invalid.
func Sign(id *types.Identity, key ssh.PublicKey, ca ssh.Signer, now time.Time) (*ssh.Certificate, error) {
	if id == nil || ca == nil {
		return nil, fault.New(fault.Invalid, "nothing to sign or nobody to sign it")
	}
	if err := keys.CheckSSHPublic(key); err != nil {
		return nil, err
	}
	if err := keys.CheckSSHPublic(ca.PublicKey()); err != nil {
		return nil, err
	}
	id = cert.Canonical(id)
	if err := cert.Lint(id, now); err != nil {
		return nil, err
	}
	c, err := layout(id)
	if err != nil {
		return nil, err
	}
	back, err := read(c)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(back, id) {
		return nil, fault.New(fault.Internal, "the certificate would not say what the identity says")
	}
	c.Key = key
	c.ValidAfter = uint64(id.IssuedAt.Add(-cert.ClockSkew).Unix())
	var serial [8]byte
	if _, err := rand.Read(serial[:]); err != nil {
		return nil, err
	}
	c.Serial = binary.BigEndian.Uint64(serial[:])
	if err := c.SignCert(rand.Reader, strongSigner(ca)); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the CA key did not sign")
	}
	if !slices.Contains(signatureAlgorithms, c.Signature.Format) {
		return nil, fault.New(fault.Internal, "the CA key signs with %s, which nobody accepts", c.Signature.Format)
	}
	return c, nil
}

// strongSigner makes RSA keys sign with SHA-512, never with SHA-1.
func strongSigner(ca ssh.Signer) ssh.Signer {
	as, ok := ca.(ssh.AlgorithmSigner)
	if !ok || ca.PublicKey().Type() != ssh.KeyAlgoRSA {
		return ca
	}
	multi, err := ssh.NewSignerWithAlgorithms(as, []string{ssh.KeyAlgoRSASHA512})
	if err != nil {
		return ca
	}
	return multi
}

// Verify checks a certificate against the closed set of authorities for a kind
// and returns the identity that it carries. The kind asked for decides which
// authority may have signed: a host's certificate never passes as a user's.
// Whether the bearer holds the private key is for the SSH handshake to show, and
// whether the client's address is the pinned one for the decision. Errors are
// fault.Untrusted, or fault.Unauthenticated for a certificate out of its time.
func Verify(c *ssh.Certificate, trust *cert.Trust, kind types.IdentityKind, now time.Time) (*types.Identity, error) {
	if err := checkForm(c, kind); err != nil {
		return nil, err
	}
	caType, err := cert.AuthorityFor(kind)
	if err != nil {
		return nil, err
	}
	cluster, ok := trust.SSHCluster(caType, c.SignatureKey)
	if !ok {
		return nil, fault.New(fault.Untrusted, "the SSH certificate is signed by an authority that this cluster does not trust for %ss", kind)
	}
	if err := checkTimes(c, kind, now); err != nil {
		return nil, err
	}
	if err := checkSignature(c, now); err != nil {
		return nil, err
	}
	id, err := read(c)
	if err != nil {
		return nil, err
	}
	if id.Kind != kind || id.Cluster != cluster {
		return nil, fault.New(fault.Untrusted, "the SSH certificate speaks for %s, its authority for cluster %q", id, cluster)
	}
	return id, nil
}

// checkForm refuses what no signature can make right. Empty principals come
// first: OpenSSH and Go's checker take them as "any principal".
func checkForm(c *ssh.Certificate, kind types.IdentityKind) error {
	if c == nil || c.Key == nil || c.SignatureKey == nil || c.Signature == nil {
		return fault.New(fault.Untrusted, "not a complete SSH certificate")
	}
	if len(c.ValidPrincipals) == 0 || slices.Contains(c.ValidPrincipals, "") {
		return fault.New(fault.Untrusted, "an SSH certificate without principals is not accepted")
	}
	want := uint32(ssh.UserCert)
	switch kind {
	case types.IdentityUser, types.IdentityBridge:
	case types.IdentityHost:
		want = ssh.HostCert
	default:
		return fault.New(fault.Untrusted, "an identity of kind %q has no SSH certificate", kind)
	}
	if c.CertType != want {
		return fault.New(fault.Untrusted, "the SSH certificate is not one of a %s", kind)
	}
	if err := keys.CheckSSHPublic(c.SignatureKey); err != nil {
		return fault.Wrap(err, fault.Untrusted, "the SSH certificate has no acceptable authority: %s", fault.Message(err))
	}
	if err := keys.CheckSSHPublic(c.Key); err != nil {
		return fault.Wrap(err, fault.Untrusted, "the SSH certificate has no acceptable key: %s", fault.Message(err))
	}
	if !slices.Contains(signatureAlgorithms, c.Signature.Format) {
		return fault.New(fault.Untrusted, "SSH certificates signed with %.60q are not accepted", c.Signature.Format)
	}
	if len(c.Marshal()) > maxWire {
		return fault.New(fault.Limit, "the SSH certificate is larger than %d bytes", maxWire)
	}
	for name := range c.CriticalOptions {
		if kind == types.IdentityHost || name != optSourceAddress {
			return fault.New(fault.Untrusted, "the SSH certificate has the critical option %.60q, which is not known here", name)
		}
	}
	return nil
}

func checkTimes(c *ssh.Certificate, kind types.IdentityKind, now time.Time) error {
	const farthest = 1 << 40 // beyond this a time is no time
	if c.ValidAfter >= farthest || c.ValidBefore >= farthest || c.ValidBefore <= c.ValidAfter {
		return fault.New(fault.Untrusted, "the SSH certificate has no bounded validity")
	}
	from, to := time.Unix(int64(c.ValidAfter), 0), time.Unix(int64(c.ValidBefore), 0)
	if to.Sub(from) > cert.MaxValidity(kind)+cert.ClockSkew+time.Second {
		return fault.New(fault.Untrusted, "the SSH certificate is valid for longer than any that a cluster issues")
	}
	return cert.CheckTime(from, to, now)
}

// checkSignature lets x/crypto verify the signature over the certificate. The
// clock and the authority were checked before; asking again costs nothing.
func checkSignature(c *ssh.Certificate, now time.Time) error {
	checker := ssh.CertChecker{
		SupportedCriticalOptions: []string{optSourceAddress},
		Clock:                    func() time.Time { return now },
	}
	if err := checker.CheckCert(c.ValidPrincipals[0], c); err != nil {
		return fault.Wrap(err, fault.Untrusted, "the SSH certificate does not verify")
	}
	return nil
}

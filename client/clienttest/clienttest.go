// Package clienttest makes real credentials for tests of client programs: a
// cluster's authorities in memory, and users and hosts that they certify.
package clienttest

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert"
	"teleport/cert/sshcert"
	"teleport/cert/tlscert"
	"teleport/client/identityfile"
	"teleport/keys"
	"teleport/types"
)

// CA is a cluster's user and host authorities.
type CA struct {
	Cluster string
	user    authority
	host    authority
}

type authority struct {
	key     crypto.Signer // TLS
	ssh     ssh.Signer
	tlsCert *x509.Certificate
	doc     *types.CertAuthority
}

// User says what a credential is to hold. Without logins it has no SSH certificate.
type User struct {
	Name      string
	Logins    []string
	Roles     []string
	SingleKey bool
	TTL       time.Duration // from now; 0 is an hour, below zero has ended
}

// NewCA makes fresh authorities.
func NewCA(t testing.TB, cluster string) *CA {
	t.Helper()
	return &CA{cluster, newAuthority(t, cluster, types.CAUser), newAuthority(t, cluster, types.CAHost)}
}

func newAuthority(t testing.TB, cluster string, kind types.CAType) authority {
	t.Helper()
	key := must[crypto.Signer](t)(keys.Generate(keys.ECDSAP256))
	sshSigner := must[ssh.Signer](t)(ssh.NewSignerFromSigner(must[crypto.Signer](t)(keys.Generate(keys.Ed25519))))
	text := must[[]byte](t)(tlscert.NewAuthority(key, kind, cluster, time.Now()))
	doc := &types.CertAuthority{Header: types.Header{Kind: types.KindCertAuthority, SubKind: string(kind), Version: "v2",
		Metadata: types.Metadata{Name: cluster}}}
	doc.Spec = types.CertAuthoritySpec{Type: kind, Cluster: cluster, Phase: "standby",
		Active: types.CAKeys{SSHPublic: keys.SSHLine(sshSigner.PublicKey()), TLSCert: string(text), CreatedAt: time.Now().UTC()}}
	block, _ := pem.Decode(text)
	return authority{key, sshSigner, must[*x509.Certificate](t)(x509.ParseCertificate(block.Bytes)), doc}
}

// Documents returns the authorities as the cluster would give them out.
func (ca *CA) Documents() []*types.CertAuthority {
	return []*types.CertAuthority{ca.user.doc, ca.host.doc}
}

// Trust returns what members of the cluster trust.
func (ca *CA) Trust(t testing.TB) *cert.Trust {
	t.Helper()
	return must[*cert.Trust](t)(cert.NewTrust(ca.Documents()))
}

// Authority returns the host authority as clients keep it.
func (ca *CA) Authority() identityfile.Authority {
	return identityfile.Authority{Cluster: ca.Cluster, SSHKeys: []ssh.PublicKey{ca.host.ssh.PublicKey()}, TLSCerts: []*x509.Certificate{ca.host.tlsCert}}
}

// Credential certifies a user with fresh keys.
func (ca *CA) Credential(t testing.TB, u User) *identityfile.Credential {
	t.Helper()
	tlsKey := must[crypto.Signer](t)(keys.Generate(keys.ECDSAP256))
	sshKey := tlsKey
	if !u.SingleKey {
		sshKey = must[crypto.Signer](t)(keys.Generate(keys.Ed25519))
	}
	sshLine, tlsPEM := ca.Certify(t, u, sshKey.Public(), tlsKey.Public())
	c, err := identityfile.Assemble(sshKey, tlsKey, []byte(sshLine), tlsPEM, []identityfile.Authority{ca.Authority()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Certify issues certificates for the public keys of a user: an
// authorized_keys line, empty for a user without logins, and PEM.
func (ca *CA) Certify(t testing.TB, u User, sshPub, tlsPub crypto.PublicKey) (sshLine string, tlsPEM []byte) {
	t.Helper()
	ttl := u.TTL
	if ttl == 0 {
		ttl = time.Hour
	}
	issued := time.Now()
	if ttl < 0 {
		issued = issued.Add(2 * ttl)
	}
	roles := u.Roles
	if roles == nil {
		roles = []string{"access"}
	}
	id := &types.Identity{Kind: types.IdentityUser, Cluster: ca.Cluster, Name: u.Name, IssuedAt: issued}
	id.Authority = types.Authority{Expires: time.Now().Add(ttl), Roles: roles, Logins: u.Logins, PermitPTY: true, PermitPortForward: true, PermitAgent: true}
	der := must[[]byte](t)(tlscert.Sign(id, tlsPub, ca.user.tlsCert, ca.user.key, issued))
	if len(u.Logins) > 0 {
		pub := must[ssh.PublicKey](t)(keys.NewSSHPublic(sshPub))
		sshLine = keys.SSHLine(must[*ssh.Certificate](t)(sshcert.Sign(id, pub, ca.user.ssh, issued)))
	}
	return sshLine, tlscert.PEM(der)
}

// Host certifies a process of the cluster: for TLS and for SSH.
func (ca *CA) Host(t testing.TB, uuid, hostname string, roles ...types.SystemRole) (*tls.Certificate, ssh.Signer) {
	t.Helper()
	key := must[crypto.Signer](t)(keys.Generate(keys.ECDSAP256))
	id := &types.Identity{Kind: types.IdentityHost, Cluster: ca.Cluster, Name: uuid, IssuedAt: time.Now()}
	id.Authority = types.Authority{Expires: time.Now().Add(time.Hour), SystemRoles: roles, Hostname: hostname}
	der := must[[]byte](t)(tlscert.Sign(id, key.Public(), ca.host.tlsCert, ca.host.key, time.Now()))
	pub := must[ssh.PublicKey](t)(keys.NewSSHPublic(key.Public()))
	crt := must[*ssh.Certificate](t)(sshcert.Sign(id, pub, ca.host.ssh, time.Now()))
	signer := must[ssh.Signer](t)(ssh.NewCertSigner(crt, must[ssh.Signer](t)(ssh.NewSignerFromSigner(key))))
	leaf := must[*x509.Certificate](t)(x509.ParseCertificate(der))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, signer
}

// must ends the test on an error; it takes a call's two results.
func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

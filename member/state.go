package member

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/api/gen/joinv1"
	"teleport/cert"
	"teleport/cert/sshcert"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// stateVersion is the form of identity.json. 1: 2026, the first.
const stateVersion = 1

// state is identity.json.
type state struct {
	Version     int                    `json:"version"`
	Cluster     string                 `json:"cluster"`
	HostUUID    string                 `json:"host_uuid"`
	Generation  uint64                 `json:"generation"`
	IssuedAt    time.Time              `json:"issued_at"`
	SSHKey      string                 `json:"ssh_key"`
	TLSKey      string                 `json:"tls_key"`
	SSHCert     string                 `json:"ssh_cert"`
	TLSCert     string                 `json:"tls_cert"`
	Authorities []*types.CertAuthority `json:"authorities"`
}

// newer reports whether st was issued after old.
func (st state) newer(old state) bool {
	return st.Generation > old.Generation || st.IssuedAt.After(old.IssuedAt)
}

// withAuthorities returns a copy with other authorities.
func (st state) withAuthorities(cas []*types.CertAuthority) (state, error) {
	if len(cas) == 0 || len(cas) > maxAuthorities {
		return st, fault.New(fault.Invalid, "a cluster has between 1 and %d authorities", maxAuthorities)
	}
	st.Authorities = cas
	return st, nil
}

// maxAuthorities bounds the authority documents of an answer.
const maxAuthorities = 256

// pair are a host's two keys, with their public halves as they are sent.
type pair struct {
	ssh, tls       crypto.Signer
	sshPEM, tlsPEM []byte
	public         *joinv1.HostKeys
}

// NewKeys are fresh keys of a process that is certified without a join.
type NewKeys struct{ pair pair }

// Format prints no key whatever the verb.
func (NewKeys) Format(w fmt.State, _ rune) { io.WriteString(w, "host keys") }

// Public returns the public halves.
func (k *NewKeys) Public() (sshKey ssh.PublicKey, tlsKey crypto.PublicKey, err error) {
	sshKey, err = keys.NewSSHPublic(k.pair.ssh.Public())
	return sshKey, k.pair.tls.Public(), err
}

// GenerateKeys makes keys for Adopt.
func (m *Member) GenerateKeys() (*NewKeys, error) {
	p, err := newPair(m.c.Suite)
	if err != nil {
		return nil, err
	}
	return &NewKeys{pair: *p}, nil
}

func newPair(suite keys.Suite) (*pair, error) {
	p := &pair{}
	for _, k := range []struct {
		purpose keys.Purpose
		key     *crypto.Signer
	}{{keys.HostSSH, &p.ssh}, {keys.HostTLS, &p.tls}} {
		alg, err := keys.AlgorithmFor(suite, k.purpose)
		if err != nil {
			return nil, err
		}
		if *k.key, err = keys.Generate(alg); err != nil {
			return nil, err
		}
	}
	return p, p.fill()
}

// parsePair reads keys that were stored.
func parsePair(sshPEM, tlsPEM string) (*pair, error) {
	p := &pair{}
	var err error
	if p.ssh, err = keys.ParsePrivate([]byte(sshPEM)); err != nil {
		return nil, err
	}
	if p.tls, err = keys.ParsePrivate([]byte(tlsPEM)); err != nil {
		return nil, err
	}
	return p, p.fill()
}

func (p *pair) fill() error {
	line, err := keys.MarshalSSHPublic(p.ssh.Public())
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(p.tls.Public())
	if err != nil {
		return err
	}
	p.public = &joinv1.HostKeys{SshPublic: line, TlsPublic: der}
	if p.sshPEM, err = keys.MarshalPrivate(p.ssh); err != nil {
		return err
	}
	p.tlsPEM, err = keys.MarshalPrivate(p.tls)
	return err
}

// newState puts an answer together with the keys that it is for.
func newState(resp *joinv1.JoinResponse, p *pair) (state, error) {
	st := state{
		Version: stateVersion, Cluster: resp.Cluster, HostUUID: resp.HostUuid,
		SSHKey: string(p.sshPEM), TLSKey: string(p.tlsPEM), SSHCert: resp.SshCert, TLSCert: string(resp.TlsCert),
	}
	if len(resp.Authorities) == 0 || len(resp.Authorities) > maxAuthorities {
		return st, fault.New(fault.Untrusted, "the answer of the cluster holds %d authorities", len(resp.Authorities))
	}
	for _, raw := range resp.Authorities {
		doc := new(types.CertAuthority)
		if err := types.DecodeInto(raw, doc); err != nil {
			return st, fault.Wrap(err, fault.Untrusted, "an authority in the answer of the cluster does not parse")
		}
		st.Authorities = append(st.Authorities, doc)
	}
	id, err := peek(st)
	if err != nil {
		return st, err
	}
	st.Generation, st.IssuedAt = id.Generation, id.IssuedAt
	return st, nil
}

// peek reads the identity of a state without holding it against the clock, to note
// which of two states is the newer one.
func peek(st state) (*types.Identity, error) {
	leaf, err := parseLeaf(st.TLSCert)
	if err != nil {
		return nil, err
	}
	trust, err := cert.NewTrust(st.Authorities)
	if err != nil {
		return nil, err
	}
	return tlscert.Verify([]*x509.Certificate{leaf}, trust, leaf.NotBefore, types.IdentityHost)
}

func parseLeaf(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fault.New(fault.Invalid, "there is no X.509 certificate")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the X.509 certificate does not parse")
	}
	return leaf, nil
}

// parse verifies a state as a peer would, and makes it usable: both certificates
// must be of the stored keys and say the same identity.
func (st state) parse(now time.Time) (*held, error) {
	p, err := parsePair(st.SSHKey, st.TLSKey)
	if err != nil {
		return nil, err
	}
	trust, err := cert.NewTrust(st.Authorities)
	if err != nil {
		return nil, err
	}
	leaf, err := parseLeaf(st.TLSCert)
	if err != nil {
		return nil, err
	}
	id, err := tlscert.Verify([]*x509.Certificate{leaf}, trust, now, types.IdentityHost)
	if err != nil {
		return nil, err
	}
	sc, err := keys.ParseSSHCert(st.SSHCert)
	if err != nil {
		return nil, err
	}
	twin, err := sshcert.Verify(sc, trust, types.IdentityHost, now)
	if err != nil {
		return nil, err
	}
	if twin.Name != id.Name || twin.Cluster != id.Cluster || twin.Generation != id.Generation || !keys.Equal(leaf.PublicKey, p.tls.Public()) {
		return nil, fault.New(fault.Invalid, "keys and certificates do not belong together")
	}
	signer, err := ssh.NewSignerFromSigner(p.ssh)
	if err != nil {
		return nil, err
	}
	certSigner, err := ssh.NewCertSigner(sc, signer)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the SSH key and its certificate do not belong together")
	}
	return &held{
		state: st, identity: id, trust: trust, ssh: certSigner,
		tls: &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: p.tls, Leaf: leaf},
	}, nil
}

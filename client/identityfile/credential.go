// Package identityfile is the form in which a client's credential lies in a
// file: who one is (keys and certificates) and whom one trusts (the host
// authorities of the clusters one may reach).
//
// # Grammar
//
// An identity file is one text that tools pass around as a unit. It is read
// from top to bottom; blank lines and lines that start with # are skipped.
//
//	file      = key [ key ] [ ssh-cert ] tls-cert *authority
//	key       = PEM block "PRIVATE KEY" (PKCS #8); the first serves SSH, the
//	            second TLS; one alone serves both
//	ssh-cert  = one line in authorized_keys form holding a certificate
//	tls-cert  = PEM block "CERTIFICATE"
//	authority = 1*( "@cert-authority" line, sshd(8) known_hosts form )
//	            *( PEM block "CERTIFICATE", the same cluster's TLS CA )
//
// The first host pattern of an @cert-authority line without a wildcard names
// the cluster. The openssh form is a pair of files (key, key-cert.pub) and the
// tls form three (.key, .crt, .cas); both are written, not read back.
package identityfile

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// skew is how far two clocks may differ before it is worth telling: a
// certificate that starts later than this in the future names the clock.
const skew = 2 * time.Minute

// Credential is all that a client needs to be somebody. It is not changed
// after it was made, so it may be shared by goroutines.
type Credential struct {
	SSHKey      crypto.Signer
	TLSKey      crypto.Signer    // may be the same as SSHKey
	SSHCert     *ssh.Certificate // nil for a user whose roles allow no login
	TLSCert     *x509.Certificate
	Authorities []Authority // host authorities, the own cluster's first
}

// Authority is a cluster's host authority, in the two forms that clients check.
type Authority struct {
	Cluster  string
	SSHKeys  []ssh.PublicKey
	TLSCerts []*x509.Certificate
}

// User returns the name in the certificates.
func (c *Credential) User() string { return c.TLSCert.Subject.CommonName }

// Roles returns the role names in the TLS certificate, for display.
func (c *Credential) Roles() []string { return c.TLSCert.Subject.Organization }

// Logins returns the OS logins that the SSH certificate lists.
func (c *Credential) Logins() []string {
	if c.SSHCert == nil {
		return nil
	}
	if slices.Equal(c.SSHCert.ValidPrincipals, []string{types.JoinLogin}) {
		return nil // good for joining sessions, and for no account
	}
	return c.SSHCert.ValidPrincipals
}

// Cluster returns the cluster of the first authority, or "".
func (c *Credential) Cluster() string {
	if len(c.Authorities) == 0 {
		return ""
	}
	return c.Authorities[0].Cluster
}

// Expires returns when the first of the two certificates ends.
func (c *Credential) Expires() time.Time {
	end := c.TLSCert.NotAfter
	if c.SSHCert == nil {
		return end
	}
	if b := c.SSHCert.ValidBefore; b != ssh.CertTimeInfinity {
		if t := time.Unix(int64(b), 0); t.Before(end) {
			end = t
		}
	}
	return end
}

// Check tells whether the credential can be used at now: fault.Unauthenticated
// with advice when it ended or, by this machine's clock, has not begun.
func (c *Credential) Check(now time.Time) error {
	if end := c.Expires(); !now.Before(end) {
		return fault.New(fault.Unauthenticated, "your certificate expired %s ago", now.Sub(end).Round(time.Second)).
			WithHint("log in again: tsh login")
	}
	if begin := c.TLSCert.NotBefore; now.Add(skew).Before(begin) {
		return fault.New(fault.Unauthenticated, "your certificate is valid only from %s, and this machine's clock says %s",
			begin.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)).
			WithHint("set this machine's clock (NTP), then try again")
	}
	return nil
}

// TLSCertificate returns key and certificate for crypto/tls.
func (c *Credential) TLSCertificate() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{c.TLSCert.Raw}, PrivateKey: c.TLSKey, Leaf: c.TLSCert}
}

// SSHSigner returns the signer that shows the certificate: fault.Denied when
// there is none to show.
func (c *Credential) SSHSigner() (ssh.Signer, error) {
	if c.SSHCert == nil {
		return nil, fault.New(fault.Denied, "your roles allow no login on any server").
			WithHint("ask for a role with logins, then log in again")
	}
	key, err := ssh.NewSignerFromSigner(c.SSHKey)
	if err != nil {
		return nil, err
	}
	return ssh.NewCertSigner(c.SSHCert, key)
}

// HostAuthorities returns the authorities as documents, for cert.NewTrust.
func (c *Credential) HostAuthorities() []*types.CertAuthority {
	docs := make([]*types.CertAuthority, 0, len(c.Authorities))
	for _, a := range c.Authorities {
		docs = append(docs, a.document())
	}
	return docs
}

// document writes each trusted key as one generation: trust is their union.
func (a Authority) document() *types.CertAuthority {
	var gens []types.CAKeys
	for _, k := range a.SSHKeys {
		gens = append(gens, types.CAKeys{SSHPublic: keys.SSHLine(k)})
	}
	for i, crt := range a.TLSCerts {
		if i >= len(gens) {
			gens = append(gens, types.CAKeys{})
		}
		gens[i].TLSCert = string(pemBlock(blockCert, crt.Raw))
	}
	doc := &types.CertAuthority{Header: types.Header{Kind: types.KindCertAuthority, SubKind: string(types.CAHost), Version: "v2",
		Metadata: types.Metadata{Name: a.Cluster}}}
	doc.Spec = types.CertAuthoritySpec{Type: types.CAHost, Cluster: a.Cluster, Phase: "standby"}
	if len(gens) > 0 {
		doc.Spec.Active, doc.Spec.Additional = gens[0], gens[1:]
	}
	return doc
}

// FromDocuments picks the host authorities out of CA documents; own is the
// cluster that comes first. Keys that do not parse are refused.
func FromDocuments(docs []*types.CertAuthority, own string) ([]Authority, error) {
	var list []Authority
	for _, d := range docs {
		if d.Spec.Type != types.CAHost {
			continue
		}
		a, err := fromDocument(d)
		if err != nil {
			return nil, err
		}
		if a.Cluster == own {
			list = append([]Authority{a}, list...)
		} else {
			list = append(list, a)
		}
	}
	return list, nil
}

func fromDocument(d *types.CertAuthority) (Authority, error) {
	a := Authority{Cluster: d.Spec.Cluster}
	if a.Cluster == "" {
		a.Cluster = d.Metadata.Name
	}
	for _, g := range append([]types.CAKeys{d.Spec.Active}, d.Spec.Additional...) {
		if g.SSHPublic != "" {
			k, err := keys.ParseSSHPublic(g.SSHPublic)
			if err != nil {
				return a, err
			}
			a.SSHKeys = append(a.SSHKeys, k)
		}
		certs, err := ParseCerts([]byte(g.TLSCert))
		if err != nil {
			return a, err
		}
		a.TLSCerts = append(a.TLSCerts, certs...)
	}
	return a, nil
}

// consistent checks that keys and certificates belong together, so that a
// mixed-up directory is found before a peer refuses it.
func (c *Credential) consistent() error {
	if c.SSHCert != nil {
		if err := c.consistentSSH(); err != nil {
			return err
		}
	}
	if !keys.Equal(c.TLSKey.Public(), c.TLSCert.PublicKey) {
		return fault.New(fault.Invalid, "the TLS certificate is for another key")
	}
	return nil
}

func (c *Credential) consistentSSH() error {
	if c.SSHCert.CertType != ssh.UserCert || c.SSHCert.KeyId != c.User() {
		return fault.New(fault.Invalid, "the SSH certificate is not this user's")
	}
	sshPub, err := keys.NewSSHPublic(c.SSHKey.Public())
	if err != nil {
		return err
	}
	if !bytes.Equal(sshPub.Marshal(), c.SSHCert.Key.Marshal()) {
		return fault.New(fault.Invalid, "the SSH certificate is for another key")
	}
	return nil
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

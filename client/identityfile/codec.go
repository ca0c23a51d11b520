package identityfile

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"strings"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/keys"
)

const (
	blockKey  = "PRIVATE KEY"
	blockCert = "CERTIFICATE"

	// MaxSize bounds what is read as an identity file, in bytes.
	MaxSize = 1 << 20
)

// Encode writes the credential as one text. It holds private keys: the caller
// writes it with mode 0600.
func (c *Credential) Encode() ([]byte, error) {
	if err := c.consistent(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	key, err := keys.MarshalPrivate(c.SSHKey)
	if err != nil {
		return nil, err
	}
	b.Write(key)
	if !keys.Equal(c.SSHKey.Public(), c.TLSKey.Public()) {
		if key, err = keys.MarshalPrivate(c.TLSKey); err != nil {
			return nil, err
		}
		b.Write(key)
	}
	if c.SSHCert != nil {
		b.Write(ssh.MarshalAuthorizedKey(c.SSHCert))
	}
	b.Write(pemBlock(blockCert, c.TLSCert.Raw))
	for _, a := range c.Authorities {
		for _, k := range a.SSHKeys {
			b.WriteString(a.hostLine(k))
		}
		b.Write(EncodeCerts(a.TLSCerts))
	}
	return b.Bytes(), nil
}

// Decode reads an identity file. What it cannot place is refused: a file that
// was cut or mixed up must not pass as a smaller one.
func Decode(data []byte) (*Credential, error) {
	if len(data) > MaxSize {
		return nil, fault.New(fault.Limit, "the identity file is larger than %d bytes", MaxSize)
	}
	d := decoder{cred: &Credential{}}
	for rest := data; len(rest) > 0; {
		var err error
		if rest, err = d.next(rest); err != nil {
			return nil, err
		}
	}
	return d.finish()
}

type decoder struct {
	cred *Credential
	keys []crypto.Signer
}

// next takes one element off the front of data.
func (d *decoder) next(data []byte) ([]byte, error) {
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	text := strings.TrimSpace(string(line))
	switch {
	case text == "" || strings.HasPrefix(text, "#"):
		return rest, nil
	case strings.HasPrefix(text, "-----BEGIN "):
		block, rest := pem.Decode(data)
		if block == nil || !bytes.HasPrefix(data, line) || !startsBlock(text, block.Type) {
			return nil, fault.New(fault.Invalid, "the identity file holds a broken PEM block")
		}
		return rest, d.block(block)
	case strings.HasPrefix(text, "@cert-authority "):
		return rest, d.authority(text)
	}
	return rest, d.sshCert(text)
}

// startsBlock guards against pem.Decode skipping a damaged block silently.
func startsBlock(line, kind string) bool { return line == "-----BEGIN "+kind+"-----" }

func (d *decoder) block(b *pem.Block) error {
	switch {
	case b.Type == blockCert:
		crt, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "the identity file holds a TLS certificate that does not parse")
		}
		if d.cred.TLSCert == nil {
			d.cred.TLSCert = crt
			return nil
		}
		n := len(d.cred.Authorities)
		if n == 0 {
			return fault.New(fault.Invalid, "the identity file holds a TLS authority of no cluster")
		}
		d.cred.Authorities[n-1].TLSCerts = append(d.cred.Authorities[n-1].TLSCerts, crt)
		return nil
	case strings.HasSuffix(b.Type, blockKey) && len(d.keys) < 2:
		key, err := keys.ParsePrivate(pem.EncodeToMemory(b))
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "the identity file holds a private key that cannot be used")
		}
		d.keys = append(d.keys, key)
		return nil
	}
	return fault.New(fault.Invalid, "the identity file holds an unexpected PEM block %q", b.Type)
}

func (d *decoder) authority(line string) error {
	h, err := parseHostLine([]byte(line))
	if err != nil {
		return err
	}
	list := d.cred.Authorities
	if n := len(list); n > 0 && list[n-1].Cluster == h.cluster && len(list[n-1].TLSCerts) == 0 {
		list[n-1].SSHKeys = append(list[n-1].SSHKeys, h.key)
		return nil
	}
	d.cred.Authorities = append(list, Authority{Cluster: h.cluster, SSHKeys: []ssh.PublicKey{h.key}})
	return nil
}

func (d *decoder) sshCert(line string) error {
	if d.cred.SSHCert != nil {
		return fault.New(fault.Invalid, "the identity file holds a line that is neither key, certificate nor authority")
	}
	crt, err := ParseSSHCert([]byte(line))
	d.cred.SSHCert = crt
	return err
}

func (d *decoder) finish() (*Credential, error) {
	c := d.cred
	switch {
	case len(d.keys) == 0:
		return nil, fault.New(fault.Invalid, "the identity file holds no private key")
	case c.TLSCert == nil:
		return nil, fault.New(fault.Invalid, "the identity file holds no TLS certificate")
	case len(c.Authorities) == 0:
		return nil, fault.New(fault.Invalid, "the identity file names no authority to trust")
	}
	c.SSHKey, c.TLSKey = d.keys[0], d.keys[len(d.keys)-1]
	return c, c.consistent()
}

// ParseSSHCert reads one certificate in authorized_keys form. Bare keys are refused.
func ParseSSHCert(line []byte) (*ssh.Certificate, error) {
	return keys.ParseSSHCert(string(line))
}

// ParseCerts reads a sequence of PEM certificates; an empty text is none.
func ParseCerts(data []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != blockCert {
			return nil, fault.New(fault.Invalid, "a certificate in PEM form is expected")
		}
		crt, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "a TLS certificate does not parse")
		}
		list, rest = append(list, crt), after
	}
	return list, nil
}

// EncodeCerts writes certificates as PEM, one after the other.
func EncodeCerts(list []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, crt := range list {
		b.Write(pemBlock(blockCert, crt.Raw))
	}
	return b.Bytes()
}

// FromParts builds a credential from the files of a profile: the SSH key and
// the TLS key in any form that OpenSSH or PKCS #8 writes, the certificates as
// in the identity file.
func FromParts(sshKey, sshCert, tlsKey, tlsCert []byte, trusted []Authority) (*Credential, error) {
	forSSH, err := parseKey(sshKey)
	if err != nil {
		return nil, err
	}
	forTLS, err := parseKey(tlsKey)
	if err != nil {
		return nil, err
	}
	return Assemble(forSSH, forTLS, sshCert, tlsCert, trusted)
}

// Assemble builds a credential from keys and the certificates issued for them:
// an authorized_keys line (empty for a user without logins) and one PEM block. It refuses certificates of other keys.
func Assemble(sshKey, tlsKey crypto.Signer, sshCert, tlsCert []byte, trusted []Authority) (*Credential, error) {
	c := &Credential{SSHKey: sshKey, TLSKey: tlsKey, Authorities: trusted}
	var err error
	if len(bytes.TrimSpace(sshCert)) > 0 {
		if c.SSHCert, err = ParseSSHCert(sshCert); err != nil {
			return nil, err
		}
	}
	list, err := ParseCerts(tlsCert)
	if err != nil {
		return nil, err
	}
	if len(list) != 1 {
		return nil, fault.New(fault.Invalid, "one TLS certificate is expected, not %d", len(list))
	}
	c.TLSCert = list[0]
	return c, c.consistent()
}

// parseKey reads a private key without a passphrase.
func parseKey(data []byte) (crypto.Signer, error) {
	raw, err := ssh.ParseRawPrivateKey(data)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "a private key does not parse")
	}
	if p, ok := raw.(*ed25519.PrivateKey); ok {
		return *p, nil
	}
	signer, ok := raw.(crypto.Signer)
	if !ok {
		return nil, fault.New(fault.Invalid, "a private key is of an unknown kind")
	}
	return signer, keys.CheckPublic(signer.Public())
}

package identityfile

import (
	"encoding/pem"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/keys"
)

// Format names a form in which a credential is written for other programs.
type Format string

// The forms.
const (
	FormatFile    Format = "file"    // one identity file, for tsh and tctl -i
	FormatOpenSSH Format = "openssh" // NAME and NAME-cert.pub, for ssh -i
	FormatTLS     Format = "tls"     // NAME.key, NAME.crt, NAME.cas
)

// File is one file to be written: its whole name and bytes. Private ones hold
// a key.
type File struct {
	Name    string
	Data    []byte
	Private bool
}

// Files renders the credential in a form under the given base name.
func (c *Credential) Files(format Format, name string) ([]File, error) {
	if err := c.consistent(); err != nil {
		return nil, err
	}
	switch format {
	case FormatFile:
		data, err := c.Encode()
		return []File{{name, data, true}}, err
	case FormatOpenSSH:
		if _, err := c.SSHSigner(); err != nil {
			return nil, err
		}
		key, err := MarshalOpenSSHKey(c.SSHKey)
		return []File{{name, key, true}, {name + "-cert.pub", ssh.MarshalAuthorizedKey(c.SSHCert), false}}, err
	case FormatTLS:
		key, err := keys.MarshalPrivate(c.TLSKey)
		if err != nil {
			return nil, err
		}
		files := []File{{name + ".key", key, true}, {name + ".crt", pemBlock(blockCert, c.TLSCert.Raw), false}}
		if len(c.Authorities) > 0 {
			files = append(files, File{name + ".cas", EncodeCerts(c.Authorities[0].TLSCerts), false})
		}
		return files, nil
	}
	return nil, fault.New(fault.Invalid, "%q is not an output format", format).WithHint("formats: file, openssh, tls")
}

// MarshalOpenSSHKey writes a private key as OpenSSH itself does: older
// releases of ssh do not read Ed25519 keys in PKCS #8.
func MarshalOpenSSHKey(key any) ([]byte, error) {
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the private key cannot be written in OpenSSH form")
	}
	return pem.EncodeToMemory(block), nil
}

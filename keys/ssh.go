package keys

import (
	"bytes"
	"crypto"
	"strings"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
)

// maxSSHLine bounds an authorized_keys line, in bytes. RSA-4096 needs about 750.
const maxSSHLine = 4 << 10

// MarshalSSHPublic writes a bare key as an authorized_keys line without comment
// and without line end.
func MarshalSSHPublic(pub crypto.PublicKey) (string, error) {
	key, err := NewSSHPublic(pub)
	if err != nil {
		return "", err
	}
	return SSHLine(key), nil
}

// SSHLine writes a key or a certificate as an authorized_keys line without
// comment and without line end.
func SSHLine(key ssh.PublicKey) string {
	return strings.TrimRight(string(ssh.MarshalAuthorizedKey(key)), "\n")
}

// NewSSHPublic turns a public key into its SSH form. Weak keys are refused.
func NewSSHPublic(pub crypto.PublicKey) (ssh.PublicKey, error) {
	if err := CheckPublic(pub); err != nil {
		return nil, err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the public key has no SSH form")
	}
	return key, nil
}

// ParseSSHPublic reads one authorized_keys line with a bare key. Certificates,
// options, further lines, security keys and weak keys are refused: where a bare
// key is meant, nothing else may stand.
func ParseSSHPublic(line string) (ssh.PublicKey, error) {
	key, err := parseLine(line)
	if err != nil {
		return nil, err
	}
	if err := CheckSSHPublic(key); err != nil {
		return nil, err
	}
	return key, nil
}

// ParseSSHCert reads one authorized_keys line with a certificate. Nothing in it
// is verified.
func ParseSSHCert(line string) (*ssh.Certificate, error) {
	if len(line) > 64<<10 {
		return nil, fault.New(fault.Limit, "the SSH certificate is larger than 64 KiB")
	}
	key, err := authorizedKey(line)
	if err != nil {
		return nil, err
	}
	c, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, fault.New(fault.Invalid, "the line holds an SSH key, not a certificate")
	}
	return c, nil
}

// CheckSSHPublic refuses certificates in a key's place, security keys, weak keys
// and keys whose bytes are not the one canonical form.
func CheckSSHPublic(key ssh.PublicKey) error {
	if key == nil {
		return fault.New(fault.Invalid, "no SSH public key")
	}
	if _, isCert := key.(*ssh.Certificate); isCert || strings.Contains(key.Type(), "-cert-") {
		return fault.New(fault.Invalid, "an SSH certificate stands where a bare public key must")
	}
	ck, ok := key.(ssh.CryptoPublicKey)
	if !ok || strings.HasPrefix(key.Type(), "sk-") {
		return fault.New(fault.Invalid, "SSH keys of type %.60q are not accepted", key.Type()).
			WithHint("use Ed25519 or ECDSA P-256")
	}
	again, err := NewSSHPublic(ck.CryptoPublicKey())
	if err != nil {
		return err
	}
	if !bytes.Equal(again.Marshal(), key.Marshal()) {
		return fault.New(fault.Invalid, "the SSH public key is not in its canonical form")
	}
	return nil
}

func parseLine(line string) (ssh.PublicKey, error) {
	if len(line) > maxSSHLine {
		return nil, fault.New(fault.Limit, "the SSH public key line is larger than %d bytes", maxSSHLine)
	}
	return authorizedKey(line)
}

func authorizedKey(line string) (ssh.PublicKey, error) {
	if strings.ContainsAny(strings.TrimRight(line, "\r\n"), "\r\n") {
		return nil, fault.New(fault.Invalid, "more than one line where one SSH public key is expected")
	}
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return nil, fault.New(fault.Invalid, "not an SSH public key line")
	}
	if len(options) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fault.New(fault.Invalid, "options or further text stand beside the SSH public key")
	}
	return key, nil
}

package join

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/types"
)

// SSHD is what a stock SSH server says of itself when it joins. Its host key signs
// that: to certify a key, or to move the node that bears its name, takes the key.
type SSHD struct {
	Method   string
	Token    types.Secret
	Hostname string
	Addr     string // host:port at which proxies dial it
	Labels   map[string]string
}

// sshdSpace is the name space of the UUIDs of host keys.
var sshdSpace = uuid.MustParse("5d6a4a38-5f0e-4d5c-8f1e-6a1b2c9d7e40")

// SSHDUUID is the UUID of the SSH server with this host key.
func SSHDUUID(key ssh.PublicKey) string {
	return uuid.NewHash(sha256.New(), sshdSpace, key.Marshal(), 8).String()
}

// sshdPurpose begins what is signed, which so can be nothing of the SSH protocol:
// there, host keys sign hashes.
const sshdPurpose = "join an SSH server, version 1\n"

// signed is what the host key signs. The token is in it by its hash.
func (s SSHD) signed() ([]byte, error) {
	hash := sha256.Sum256([]byte(s.Token.Reveal()))
	b, err := json.Marshal(struct { // keys of a map are sorted
		Method, Hostname, Addr string
		Token                  []byte
		Labels                 map[string]string
	}{s.Method, s.Hostname, s.Addr, hash[:], s.Labels})
	return append([]byte(sshdPurpose), b...), err
}

// Sign signs the request with the host key. The result is in SSH wire form.
func (s SSHD) Sign(key ssh.Signer) ([]byte, error) {
	b, err := s.signed()
	if err != nil {
		return nil, err
	}
	var sig *ssh.Signature
	if rsa, ok := key.(ssh.AlgorithmSigner); ok && key.PublicKey().Type() == ssh.KeyAlgoRSA {
		sig, err = rsa.SignWithAlgorithm(rand.Reader, b, ssh.KeyAlgoRSASHA512)
	} else {
		sig, err = key.Sign(rand.Reader, b)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the host key does not sign")
	}
	return ssh.Marshal(sig), nil
}

// Verify checks that the host key signed the request.
func (s SSHD) Verify(key ssh.PublicKey, signature []byte) error {
	b, err := s.signed()
	if err != nil {
		return err
	}
	var sig ssh.Signature
	if ssh.Unmarshal(signature, &sig) != nil || sig.Format == ssh.KeyAlgoRSA || key.Verify(b, &sig) != nil {
		return fault.New(fault.Denied, "the request is not signed by the host key that it names")
	}
	return nil
}

package resume

import (
	"crypto/ed25519"
	"crypto/rand"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/ssh"

	"teleport/fault"
)

// Subject is the stream that a signature speaks of. Both sides know it from the
// dial; so a signature is good for no other stream, agent or bearer.
type Subject struct {
	Stream string // the dial's id
	Agent  string // UUID of the agent
	// User and Cluster are who the bearer is, as its certificate says.
	User, Cluster string
}

// The labels keep the two statements, and all other uses of the keys, apart.
const (
	openLabel   = "teleport resume open v1"
	attachLabel = "teleport resume attach v1"
)

func statement(label string, s Subject, more func(*cryptobyte.Builder)) []byte {
	b := cryptobyte.NewBuilder(nil)
	for _, text := range []string{label, s.Stream, s.Agent, s.User, s.Cluster} {
		addBytes(b, []byte(text))
	}
	more(b)
	return b.BytesOrPanic() // no field of a dial is longer than 64 KiB
}

// openStatement binds a fresh key to a certificate's key.
func openStatement(s Subject, key [32]byte) []byte {
	return statement(openLabel, s, func(b *cryptobyte.Builder) { b.AddBytes(key[:]) })
}

// attachStatement is what the fresh key signs for each further carrier.
func attachStatement(s Subject, nonce [32]byte, m *attachment) []byte {
	return statement(attachLabel, s, func(b *cryptobyte.Builder) {
		b.AddBytes(nonce[:])
		for _, n := range []uint64{m.generation, m.received, m.base, m.next} {
			b.AddUint64(n)
		}
	})
}

// bind makes a fresh key and its open message. The signer's public key is the
// certificate.
func bind(signer ssh.Signer, s Subject) (ed25519.PrivateKey, *opening, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	m := &opening{key: [32]byte(public), certificate: signer.PublicKey().Marshal()}
	sig, err := sign(signer, openStatement(s, m.key))
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Internal, "the key of the certificate does not sign")
	}
	m.signature = ssh.Marshal(sig)
	return private, m, nil
}

// sign signs with SHA-512 where the key is one of RSA, whose default is SHA-1.
func sign(signer ssh.Signer, data []byte) (*ssh.Signature, error) {
	cert, ok := signer.PublicKey().(*ssh.Certificate)
	if a, can := signer.(ssh.AlgorithmSigner); ok && can && cert.Key.Type() == ssh.KeyAlgoRSA {
		return a.SignWithAlgorithm(rand.Reader, data, ssh.KeyAlgoRSASHA512)
	}
	return signer.Sign(rand.Reader, data)
}

// bound checks that the key of the certificate in m has signed m's fresh key for
// this subject, and returns the certificate, of which nothing else was verified.
func (m *opening) bound(s Subject) (*ssh.Certificate, error) {
	key, err := ssh.ParsePublicKey(m.certificate)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the certificate of a resumable stream is malformed")
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return nil, fault.New(fault.Unauthenticated, "a resumable stream was opened with a bare key, not with a certificate")
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(m.signature, &sig); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the signature of a resumable stream is malformed")
	}
	if err := cert.Key.Verify(openStatement(s, m.key), &sig); err != nil || sig.Format == ssh.KeyAlgoRSA {
		return nil, fault.New(fault.Untrusted, "the key of a resumable stream is not signed by its certificate")
	}
	return cert, nil
}

// signAttachment fills the signature.
func (m *attachment) sign(key ed25519.PrivateKey, s Subject, nonce [32]byte) {
	m.signature = [64]byte(ed25519.Sign(key, attachStatement(s, nonce, m)))
}

func (m *attachment) signed(key [32]byte, s Subject, nonce [32]byte) bool {
	return ed25519.Verify(key[:], attachStatement(s, nonce, m), m.signature[:])
}

package resume

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"

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

// bind makes a fresh key and its open message, for the bearer of a certificate.
func bind(own *tls.Certificate, s Subject) (ed25519.PrivateKey, *opening, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	m := &opening{key: [32]byte(public), certificate: own.Certificate[0]}
	sig, err := sign(own.PrivateKey, openStatement(s, m.key))
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Internal, "the key of the certificate does not sign")
	}
	m.signature = ssh.Marshal(sig)
	return private, m, nil
}

// sign signs as SSH does, which says for each sort of key how: with SHA-512 where
// it is one of RSA, whose default is SHA-1.
func sign(key any, data []byte) (*ssh.Signature, error) {
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, err
	}
	if a, can := signer.(ssh.AlgorithmSigner); can && signer.PublicKey().Type() == ssh.KeyAlgoRSA {
		return a.SignWithAlgorithm(rand.Reader, data, ssh.KeyAlgoRSASHA512)
	}
	return signer.Sign(rand.Reader, data)
}

// bound checks that the key of the certificate in m has signed m's fresh key for
// this subject, and returns the certificate, of which nothing else was verified.
func (m *opening) bound(s Subject) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(m.certificate)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the certificate of a resumable stream is malformed")
	}
	key, err := ssh.NewPublicKey(cert.PublicKey)
	if err != nil {
		return nil, fault.Wrap(err, fault.Untrusted, "the certificate of a resumable stream has no key that signs")
	}
	var sig ssh.Signature
	if err := ssh.Unmarshal(m.signature, &sig); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the signature of a resumable stream is malformed")
	}
	if err := key.Verify(openStatement(s, m.key), &sig); err != nil || sig.Format == ssh.KeyAlgoRSA {
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

// Package keys makes, reads and writes key pairs: which algorithm serves which
// purpose under a suite, PEM and authorized_keys forms, and the refusal of keys
// that are weak or are not what their place asks for. It is pure: no files, no
// sockets, no clock. Private keys are handled as crypto.Signer and printed
// nowhere.
package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"strings"

	"teleport/fault"
)

// Algorithm names a key type with its size.
type Algorithm string

// The algorithms that the suites choose from.
const (
	RSA2048   Algorithm = "rsa-2048"
	ECDSAP256 Algorithm = "ecdsa-p256"
	Ed25519   Algorithm = "ed25519"
)

// RSA sizes accepted from outside, in bits. The upper bound keeps the cost of a
// verification before authentication small.
const (
	minRSABits = 2048
	maxRSABits = 4096
)

// maxPrivatePEM bounds what ParsePrivate reads, in bytes.
const maxPrivatePEM = 16 << 10

// Generate makes a new private key from the system's random source.
func Generate(a Algorithm) (crypto.Signer, error) {
	switch a {
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case ECDSAP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fault.New(fault.Invalid, "unknown key algorithm %q", a)
}

// CheckPublic refuses what is too weak, too costly to verify with, or no public
// key that we use: accepted are Ed25519, ECDSA on P-256 and P-384, and RSA of
// 2048 to 4096 bits with exponent 65537.
func CheckPublic(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return fault.New(fault.Invalid, "the Ed25519 key has %d bytes, not %d", len(k), ed25519.PublicKeySize)
		}
		return nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return fault.New(fault.Invalid, "ECDSA keys on this curve are not accepted").
				WithHint("use Ed25519 or ECDSA P-256")
		}
		if _, err := k.ECDH(); err != nil {
			return fault.New(fault.Invalid, "the ECDSA key is not a point of its curve")
		}
		return nil
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		if bits < minRSABits || bits > maxRSABits {
			return fault.New(fault.Invalid, "an RSA key of %d bits is not accepted, only %d to %d", bits, minRSABits, maxRSABits).
				WithHint("use Ed25519 or ECDSA P-256")
		}
		if k.E != 65537 {
			return fault.New(fault.Invalid, "an RSA key with exponent %d is not accepted, only 65537", k.E)
		}
		return nil
	}
	return fault.New(fault.Invalid, "a public key of type %T is not accepted", pub).
		WithHint("use Ed25519 or ECDSA P-256")
}

// Equal reports whether two public keys are the same key.
func Equal(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// MarshalPrivate writes a software key as PEM (PKCS #8). The result is secret:
// store it 0600 or sealed, and log it nowhere. Keys that live in hardware have
// no such form and give fault.Invalid.
func MarshalPrivate(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the private key has no portable form")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParsePrivate reads one PEM block (PKCS #8) and refuses weak keys and anything
// before or behind the block. Errors never quote the input.
func ParsePrivate(b []byte) (crypto.Signer, error) {
	if len(b) > maxPrivatePEM {
		return nil, fault.New(fault.Limit, "the private key is larger than %d bytes", maxPrivatePEM)
	}
	block, err := onlyBlock(b, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the private key is not valid PKCS #8")
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fault.New(fault.Invalid, "the private key cannot sign")
	}
	if err := CheckPublic(key.Public()); err != nil {
		return nil, err
	}
	return key, nil
}

// MarshalPublic writes a public key as PEM (PKIX).
func MarshalPublic(pub crypto.PublicKey) ([]byte, error) {
	if err := CheckPublic(pub); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the public key has no portable form")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// ParsePublic reads one PEM block (PKIX) and refuses weak keys.
func ParsePublic(b []byte) (crypto.PublicKey, error) {
	if len(b) > maxPrivatePEM {
		return nil, fault.New(fault.Limit, "the public key is larger than %d bytes", maxPrivatePEM)
	}
	block, err := onlyBlock(b, "PUBLIC KEY")
	if err != nil {
		return nil, err
	}
	return ParsePublicDER(block.Bytes)
}

// ParsePublicDER reads a public key in PKIX DER and refuses weak keys.
func ParsePublicDER(der []byte) (crypto.PublicKey, error) {
	if len(der) > maxPrivatePEM {
		return nil, fault.New(fault.Limit, "the public key is larger than %d bytes", maxPrivatePEM)
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the public key is not valid PKIX")
	}
	if err := CheckPublic(pub); err != nil {
		return nil, err
	}
	return pub, nil
}

func onlyBlock(b []byte, kind string) (*pem.Block, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != kind {
		return nil, fault.New(fault.Invalid, "no PEM block of type %s", kind)
	}
	if !strings.HasPrefix(strings.TrimLeft(string(b), " \t\r\n"), "-----BEGIN") || strings.TrimSpace(string(rest)) != "" {
		return nil, fault.New(fault.Invalid, "something stands before or behind the PEM block of type %s", kind)
	}
	return block, nil
}

// pinPrefix opens every pin and names its hash.
const pinPrefix = "sha256:"

// Pin returns what people compare and configure as a CA pin: "sha256:" and the
// hex SHA-256 of the certificate's SubjectPublicKeyInfo.
func Pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return pinPrefix + hex.EncodeToString(sum[:])
}

// CheckPin refuses a text that cannot be a pin, so that a typing mistake is found
// before a connection is made.
func CheckPin(pin string) error {
	raw, err := hex.DecodeString(strings.TrimPrefix(pin, pinPrefix))
	if err != nil || !strings.HasPrefix(pin, pinPrefix) || len(raw) != sha256.Size {
		return fault.New(fault.Invalid, "%.100q is not a CA pin", pin).
			WithHint("a pin is sha256: and 64 hex digits, as tctl status prints it")
	}
	return nil
}

// MatchPin reports whether the certificate has one of the pins.
func MatchPin(c *x509.Certificate, pins []string) bool {
	have, found := []byte(Pin(c)), 0
	for _, p := range pins {
		found |= subtle.ConstantTimeCompare(have, []byte(strings.ToLower(p)))
	}
	return found == 1
}

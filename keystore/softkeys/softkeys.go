// Package softkeys keeps CA keys in the cluster's own backend under /keys/. Given
// a key of the auth host, it seals them (AES-256-GCM, the id bound in) so that a
// copy of the backend alone signs nothing.
package softkeys

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync"

	"teleport/backend"
	"teleport/fault"
	"teleport/keys"
	"teleport/keystore"
)

// prefix is where keys live in the backend.
const prefix = "/keys/"

// KEKSize is the length of a sealing key in bytes.
const KEKSize = 32

// First byte of a stored value: how the rest is to be read.
const (
	formPlain  = 'p'
	formSealed = 's'
)

// Keys is a Keystore over a backend. Safe for concurrent use.
type Keys struct {
	b    backend.Backend
	seal cipher.AEAD // nil: stored as they are

	mu    sync.Mutex
	cache map[string]crypto.Signer // by id; keys never change under their id
}

var (
	_ keystore.Keystore = (*Keys)(nil)
	_ keystore.Sealer   = (*Keys)(nil)
)

// New returns a Keystore over b. A kek of KEKSize bytes seals new keys and opens
// sealed ones; nil stores keys unsealed and cannot open sealed ones.
func New(b backend.Backend, kek []byte) (*Keys, error) {
	k := &Keys{b: b, cache: map[string]crypto.Signer{}}
	if kek == nil {
		return k, nil
	}
	if len(kek) != KEKSize {
		return nil, fault.New(fault.Invalid, "the key that seals CA keys must have %d bytes", KEKSize)
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	if k.seal, err = cipher.NewGCM(block); err != nil {
		return nil, err
	}
	return k, nil
}

// Generate implements keystore.Keystore.
func (k *Keys) Generate(ctx context.Context, a keys.Algorithm) (string, crypto.Signer, error) {
	key, err := keys.Generate(a)
	if err != nil {
		return "", nil, err
	}
	plain, err := keys.MarshalPrivate(key)
	if err != nil {
		return "", nil, err
	}
	raw := make([]byte, 16)
	if _, err := rand.Read(raw); err != nil {
		return "", nil, err
	}
	id := hex.EncodeToString(raw)
	value, err := k.wrap(id, plain)
	if err != nil {
		return "", nil, err
	}
	op := backend.Op{Type: backend.OpCreate, Item: backend.Item{Key: prefix + id, Value: value}}
	if _, err := k.b.Apply(ctx, op); err != nil {
		return "", nil, err
	}
	return id, k.remember(id, key), nil
}

// Signer implements keystore.Keystore.
func (k *Keys) Signer(ctx context.Context, id string) (crypto.Signer, error) {
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != 16 || strings.ToLower(id) != id {
		return nil, fault.New(fault.Invalid, "%.60q is not the id of a CA key", id)
	}
	k.mu.Lock()
	key := k.cache[id]
	k.mu.Unlock()
	if key != nil {
		return key, nil
	}
	item, err := k.b.Get(ctx, prefix+id)
	if err != nil {
		return nil, err
	}
	plain, err := k.unwrap(id, "CA key "+id, item.Value)
	if err != nil {
		return nil, err
	}
	if key, err = keys.ParsePrivate(plain); err != nil {
		return nil, fault.Wrap(err, fault.Internal, "CA key %s is damaged in the backend", id)
	}
	return k.remember(id, key), nil
}

func (k *Keys) remember(id string, key crypto.Signer) crypto.Signer {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := &held{id: id, signer: key}
	k.cache[id] = h
	return h
}

// Format prints the store's name whatever the verb: formatting must never reach
// the keys behind it.
func (k *Keys) Format(w fmt.State, _ rune) { io.WriteString(w, "softkeys") }

// held is a key that signs and does not print.
type held struct {
	id     string
	signer crypto.Signer
}

// Public implements crypto.Signer.
func (h *held) Public() crypto.PublicKey { return h.signer.Public() }

// Sign implements crypto.Signer.
func (h *held) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return h.signer.Sign(random, digest, opts)
}

// Format prints the key's id whatever the verb.
func (h *held) Format(w fmt.State, _ rune) { io.WriteString(w, "CA key "+h.id) }

// sealedName keeps sealed secrets and CA keys apart: neither opens as the other.
const sealedName = "sealed secret "

// Seal implements keystore.Sealer.
func (k *Keys) Seal(_ context.Context, name string, secret []byte) ([]byte, error) {
	return k.wrap(sealedName+name, secret)
}

// Unseal implements keystore.Sealer.
func (k *Keys) Unseal(_ context.Context, name string, sealed []byte) ([]byte, error) {
	return k.unwrap(sealedName+name, "the sealed secret "+name, sealed)
}

func (k *Keys) wrap(bound string, plain []byte) ([]byte, error) {
	if k.seal == nil {
		return append([]byte{formPlain}, plain...), nil
	}
	nonce := make([]byte, k.seal.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	out := append([]byte{formSealed}, nonce...)
	return k.seal.Seal(out, nonce, plain, []byte(bound)), nil
}

// unwrap opens a stored value. bound is what it was sealed with, what is its name
// for people.
func (k *Keys) unwrap(bound, what string, value []byte) ([]byte, error) {
	switch {
	case len(value) > 1 && value[0] == formPlain:
		return value[1:], nil
	case len(value) > 1 && value[0] == formSealed && k.seal == nil:
		return nil, fault.New(fault.Unavailable, "%s is sealed and this auth service has no sealing key", what).
			WithHint("give the auth service the sealing key that this cluster was started with")
	case len(value) > 1 && value[0] == formSealed && len(value) > 1+k.seal.NonceSize():
		n := 1 + k.seal.NonceSize()
		plain, err := k.seal.Open(nil, value[1:n], value[n:], []byte(bound))
		if err != nil {
			return nil, fault.New(fault.Untrusted, "%s does not open with this sealing key", what).
				WithHint("the sealing key is not the one the cluster was started with, or the backend was changed")
		}
		return plain, nil
	}
	return nil, fault.New(fault.Internal, "%s is damaged in the backend", what)
}

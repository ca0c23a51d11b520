// Package keystore is the custody of CA private keys: they are made in a store,
// named by an id, and used through crypto.Signer only. Whoever holds a Keystore
// can sign and can never read a key. Custodians are leaf packages (softkeys now;
// hardware and cloud key services take the same place).
package keystore

import (
	"context"
	"crypto"

	"teleport/keys"
)

// Keystore makes and finds CA keys. Methods may be called concurrently.
type Keystore interface {
	// Generate makes a key and stores it durably before it returns. The id is
	// unique and holds no secret.
	Generate(ctx context.Context, a keys.Algorithm) (id string, key crypto.Signer, err error)
	// Signer returns the key of an id, fault.NotFound when there is none. The
	// signer stays valid until the store is closed.
	Signer(ctx context.Context, id string) (crypto.Signer, error)
}

// Sealer puts other secrets of the cluster under the same custody: what it
// sealed may lie in the backend. Methods may be called concurrently.
type Sealer interface {
	// Seal encrypts a secret for its name: under another name it does not open.
	Seal(ctx context.Context, name string, secret []byte) ([]byte, error)
	// Unseal returns the secret, fault.Untrusted when it was not sealed here under
	// that name.
	Unseal(ctx context.Context, name string, sealed []byte) ([]byte, error)
}

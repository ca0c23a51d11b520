package recordings

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"filippo.io/age"
)

// OwnKeys seal what the auth service alone makes and reads: the indexes of
// recordings. Everybody knows the published key, so whoever writes into the
// storage could make an index to it, with screens that nobody saw; these keys are
// derived from the secret halves, follow their rotation, and what opens with them
// was made here. Safe for concurrent use; it does not print.
type OwnKeys struct {
	keys *Keys

	mu   sync.Mutex
	of   []*age.HybridIdentity // what made was made from, the oldest first
	made []ownKey
}

const (
	ownInfo   = "teleport recording index v1"
	ownStanza = "teleport-own"
)

// Own derives the keys for what the auth service keeps to itself.
func (k *Keys) Own() *OwnKeys { return &OwnKeys{keys: k} }

func (o *OwnKeys) list() []ownKey {
	all := o.keys.list()
	o.mu.Lock()
	defer o.mu.Unlock()
	if slices.Equal(o.of, all) {
		return o.made
	}
	o.of, o.made = all, nil
	for _, id := range all {
		if k, err := deriveOwn(id); err == nil { // which is refused by no key that we make
			o.made = append(o.made, k)
		}
	}
	return o.made
}

func deriveOwn(id *age.HybridIdentity) (ownKey, error) {
	key, err := hkdf.Key(sha256.New, []byte(id.String()), nil, ownInfo, 32)
	if err != nil {
		return ownKey{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return ownKey{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return ownKey{aead}, err
}

// Recipients is the newest key.
func (o *OwnKeys) Recipients() []age.Recipient {
	all := o.list()
	if len(all) == 0 {
		return nil
	}
	return []age.Recipient{all[len(all)-1]}
}

// Identities are all keys, the newest first.
func (o *OwnKeys) Identities() []age.Identity {
	var out []age.Identity
	for _, k := range slices.Backward(o.list()) {
		out = append(out, k)
	}
	return out
}

// Format prints how many keys there are, whatever the verb.
func (o *OwnKeys) Format(w fmt.State, _ rune) { fmt.Fprintf(w, "%d keys", len(o.list())) }

var _ fmt.Formatter = (*OwnKeys)(nil)

// ownKey wraps file keys of age with a secret key, for whoever has it.
type ownKey struct{ aead cipher.AEAD }

// Wrap implements age.Recipient.
func (k ownKey) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	return []*age.Stanza{{Type: ownStanza, Body: k.aead.Seal(nil, nil, fileKey, []byte(ownStanza))}}, nil
}

// Unwrap implements age.Identity.
func (k ownKey) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		if s.Type != ownStanza || len(s.Args) != 0 {
			continue
		}
		if fileKey, err := k.aead.Open(nil, nil, s.Body, []byte(ownStanza)); err == nil && len(fileKey) == 16 {
			return fileKey, nil
		}
	}
	return nil, age.ErrIncorrectIdentity
}

package recordings

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"filippo.io/age"
)

// OwnKeys seal what the auth service alone makes and reads: the indexes of
// recordings. Everybody knows the published key, so whoever writes into the
// storage could make an index to it, with screens that nobody saw; these keys are
// derived from the secret halves, and what opens with them was made here.
// Immutable; it does not print.
type OwnKeys struct{ all []cipher.AEAD } // the oldest first

const (
	ownInfo   = "teleport recording index v1"
	ownStanza = "teleport-own"
)

// Own derives the keys for what the auth service keeps to itself.
func (k *Keys) Own() (*OwnKeys, error) {
	o := &OwnKeys{}
	for _, id := range k.all {
		key, err := hkdf.Key(sha256.New, []byte(id.String()), nil, ownInfo, 32)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		o.all = append(o.all, aead)
	}
	return o, nil
}

// Recipients is the newest key.
func (o *OwnKeys) Recipients() []age.Recipient {
	if len(o.all) == 0 {
		return nil
	}
	return []age.Recipient{ownKey{o.all[len(o.all)-1]}}
}

// Identities are all keys, the newest first.
func (o *OwnKeys) Identities() []age.Identity {
	var out []age.Identity
	for i := len(o.all) - 1; i >= 0; i-- {
		out = append(out, ownKey{o.all[i]})
	}
	return out
}

// Format prints how many keys there are, whatever the verb.
func (o *OwnKeys) Format(w fmt.State, _ rune) { fmt.Fprintf(w, "%d keys", len(o.all)) }

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

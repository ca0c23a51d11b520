package recordings

import (
	"context"
	"errors"
	"fmt"

	"filippo.io/age"

	"teleport/backend"
	"teleport/fault"
	"teleport/keystore"
	"teleport/types"
)

// keyPrefix is where the recording keys live in the backend, sealed, the oldest
// first.
const keyPrefix = "/recording_keys/"

// maxKeys bounds how many generations of keys a cluster keeps open.
const maxKeys = 1000

// Keys are the cluster's recording keys: hybrid post-quantum age identities, as a
// recording is to stay secret for longer than a certificate. All of them open
// recordings; the newest is published for those who record. Immutable; it does
// not print.
type Keys struct {
	all []*age.HybridIdentity // the oldest first
}

// keyName is the place of a key, so that their order is that of their making.
func keyName(number int) string { return fmt.Sprintf("%s%08d", keyPrefix, number) }

// AddKey makes a new key, which services publish from their next start on. The
// keys before it stay, as they open what was recorded before.
func AddKey(ctx context.Context, b backend.Backend, s keystore.Sealer) error {
	k, err := openKeys(ctx, b, s)
	if err != nil {
		return err
	}
	if len(k.all) >= maxKeys {
		return fault.New(fault.Limit, "a cluster has at most %d recording keys", maxKeys)
	}
	return addKey(ctx, b, s, keyName(len(k.all)+1))
}

// EnsureKeys opens the cluster's recording keys, and makes the first where there
// is none. It may run at several auth services at once.
func EnsureKeys(ctx context.Context, b backend.Backend, s keystore.Sealer) (*Keys, error) {
	k, err := openKeys(ctx, b, s)
	if err != nil || len(k.all) > 0 {
		return k, err
	}
	// The one that everybody makes first has one name, so that there is one of it.
	err = addKey(ctx, b, s, keyName(1))
	if err != nil && !errors.Is(err, fault.AlreadyExists) {
		return nil, err
	}
	return openKeys(ctx, b, s)
}

func addKey(ctx context.Context, b backend.Backend, s keystore.Sealer, name string) error {
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		return err
	}
	sealed, err := s.Seal(ctx, name, []byte(id.String()))
	if err != nil {
		return err
	}
	_, err = b.Apply(ctx, backend.Op{Type: backend.OpCreate, Item: backend.Item{Key: name, Value: sealed}})
	return err
}

func openKeys(ctx context.Context, b backend.Backend, s keystore.Sealer) (*Keys, error) {
	items, err := b.Range(ctx, keyPrefix, backend.PrefixEnd(keyPrefix), maxKeys)
	if err != nil {
		return nil, err
	}
	k := &Keys{}
	for _, item := range items {
		plain, err := s.Unseal(ctx, item.Key, item.Value)
		if err != nil {
			return nil, err
		}
		id, err := age.ParseHybridIdentity(string(plain))
		if err != nil {
			return nil, fault.New(fault.Internal, "the recording key %s is damaged in the backend", item.Key)
		}
		k.all = append(k.all, id)
	}
	return k, nil
}

// Published is what those who record encrypt to: the newest key.
func (k *Keys) Published() []types.RecordingPublicKey {
	if len(k.all) == 0 {
		return nil
	}
	return []types.RecordingPublicKey{{PublicKey: k.all[len(k.all)-1].Recipient().String()}}
}

// Recipients is the published key, for what the auth service itself encrypts.
func (k *Keys) Recipients() []age.Recipient {
	if len(k.all) == 0 {
		return nil
	}
	return []age.Recipient{k.all[len(k.all)-1].Recipient()}
}

// Identities open recordings. The newest comes first, as most were made to it.
func (k *Keys) Identities() []age.Identity {
	out := make([]age.Identity, 0, len(k.all))
	for i := len(k.all) - 1; i >= 0; i-- {
		out = append(out, k.all[i])
	}
	return out
}

// Format prints how many keys there are, whatever the verb.
func (k *Keys) Format(w fmt.State, _ rune) { fmt.Fprintf(w, "%d recording keys", len(k.all)) }

var _ fmt.Formatter = (*Keys)(nil)

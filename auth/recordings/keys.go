package recordings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"filippo.io/age"

	"teleport/backend"
	"teleport/fault"
	"teleport/keystore"
	"teleport/lifecycle"
	"teleport/types"
)

// keyPrefix is where the recording keys live in the backend, sealed, the oldest
// first.
const keyPrefix = "/recording_keys/"

// maxKeys bounds how many generations of keys a cluster keeps open.
const maxKeys = 1000

// Keys are the cluster's recording keys: hybrid post-quantum age identities, as a
// recording is to stay secret for longer than a certificate. All of them open
// recordings; the newest is published for those who record. The zero value has
// none, and so has nil. Safe for concurrent use; it does not print.
type Keys struct {
	backend backend.Backend
	sealer  keystore.Sealer

	reading sync.Mutex                            // one reload at a time, so that none goes back
	all     atomic.Pointer[[]*age.HybridIdentity] // the oldest first
}

// keyName is the place of a key, so that their order is that of their making.
func keyName(number int) string { return fmt.Sprintf("%s%08d", keyPrefix, number) }

// EnsureKeys opens the cluster's recording keys, and makes the first where there
// is none. It may run at several auth services at once.
func EnsureKeys(ctx context.Context, b backend.Backend, s keystore.Sealer) (*Keys, error) {
	k := &Keys{backend: b, sealer: s}
	if err := k.reload(ctx); err != nil || len(k.list()) > 0 {
		return k, err
	}
	// The one that everybody makes first has one name, so that there is one of it.
	if err := addKey(ctx, b, s, keyName(1)); err != nil && !errors.Is(err, fault.AlreadyExists) {
		return nil, err
	}
	return k, k.reload(ctx)
}

// Rotate makes a new key, which is the published one from now on. The keys before
// it stay, as they open what was recorded before. It is fault.Conflict where
// another auth service rotates at the same time.
func (k *Keys) Rotate(ctx context.Context) error {
	if err := k.reload(ctx); err != nil {
		return err
	}
	n := len(k.list())
	if n >= maxKeys {
		return fault.New(fault.Limit, "a cluster has at most %d recording keys", maxKeys)
	}
	err := addKey(ctx, k.backend, k.sealer, keyName(n+1))
	if errors.Is(err, fault.AlreadyExists) {
		return fault.New(fault.Conflict, "somebody else rotates the recording keys just now")
	}
	if err != nil {
		return err
	}
	return k.reload(ctx)
}

// Serve follows what other auth services do with the keys, until ctx ends. changed
// is called after each time that they may have changed.
func (k *Keys) Serve(ctx context.Context, changed func(context.Context) error) error {
	for ctx.Err() == nil {
		if err := k.follow(ctx, changed); err != nil && lifecycle.Sleep(ctx, time.Second) != nil {
			break
		}
	}
	return nil
}

func (k *Keys) follow(ctx context.Context, changed func(context.Context) error) error {
	w, err := k.backend.Watch(ctx, 0, keyPrefix)
	if err != nil {
		return err
	}
	defer w.Close()
	for { // what came before the watch is read first
		if err := k.reload(ctx); err != nil {
			return err
		}
		if err := changed(ctx); err != nil {
			return err
		}
		for named := false; !named; {
			changes, err := w.Next(ctx)
			if err != nil {
				return err
			}
			named = slices.ContainsFunc(changes, func(c backend.Change) bool { return c.Key != "" }) // the rest are heartbeats
		}
	}
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

func (k *Keys) reload(ctx context.Context) error {
	k.reading.Lock()
	defer k.reading.Unlock()
	items, err := k.backend.Range(ctx, keyPrefix, backend.PrefixEnd(keyPrefix), maxKeys)
	if err != nil {
		return err
	}
	var all []*age.HybridIdentity
	for _, item := range items {
		plain, err := k.sealer.Unseal(ctx, item.Key, item.Value)
		if err != nil {
			return err
		}
		id, err := age.ParseHybridIdentity(string(plain))
		if err != nil {
			return fault.New(fault.Internal, "the recording key %s is damaged in the backend", item.Key)
		}
		all = append(all, id)
	}
	k.all.Store(&all)
	return nil
}

func (k *Keys) list() []*age.HybridIdentity {
	if k == nil {
		return nil
	}
	if all := k.all.Load(); all != nil {
		return *all
	}
	return nil
}

// Published is what those who record encrypt to: the newest key.
func (k *Keys) Published() []types.RecordingPublicKey {
	all := k.Public()
	return all[:min(len(all), 1)]
}

// Public is the public half of each key, the newest first.
func (k *Keys) Public() []types.RecordingPublicKey {
	var out []types.RecordingPublicKey
	for _, id := range slices.Backward(k.list()) {
		out = append(out, types.RecordingPublicKey{PublicKey: id.Recipient().String()})
	}
	return out
}

// Recipients is the published key, for what the auth service itself encrypts.
func (k *Keys) Recipients() []age.Recipient {
	all := k.list()
	if len(all) == 0 {
		return nil
	}
	return []age.Recipient{all[len(all)-1].Recipient()}
}

// Identities open recordings. The newest comes first, as most were made to it.
func (k *Keys) Identities() []age.Identity {
	all := k.list()
	out := make([]age.Identity, 0, len(all))
	for _, id := range slices.Backward(all) {
		out = append(out, id)
	}
	return out
}

// Format prints how many keys there are, whatever the verb.
func (k *Keys) Format(w fmt.State, _ rune) { fmt.Fprintf(w, "%d recording keys", len(k.list())) }

var _ fmt.Formatter = (*Keys)(nil)

// Package memkv is the backend in memory: for tests, demos and state that may
// go with its process. Keys are kept in one sorted slice, so a write of a new
// key moves memory in proportion to the number of keys: right for up to some
// hundred thousand of them.
package memkv

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"teleport/backend"
	"teleport/fault"
)

// Options configure a store; the zero value is fit for use.
type Options struct {
	Now     func() time.Time // nil: time.Now
	History int              // changes kept for watches; 0: 8,192
}

// sweepEvery is how long an expired item may stay before watches learn of it.
const sweepEvery = time.Second

// KV is the store.
type KV struct {
	now  func() time.Time
	feed *backend.Feed

	mu     sync.RWMutex
	keys   []string // sorted
	items  map[string]item
	rev    backend.Revision
	closed bool
}

type item struct {
	value   []byte
	expires int64
	rev     backend.Revision
}

var _ backend.Backend = (*KV)(nil)

// New makes an empty store.
func New(o Options) *KV {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &KV{
		now:   o.Now,
		items: map[string]item{},
		feed:  backend.NewFeed(0, backend.FeedOptions{Changes: o.History}),
	}
}

// Get implements backend.Backend.
func (k *KV) Get(ctx context.Context, key string) (backend.Item, error) {
	if err := backend.CheckKey(key); err != nil {
		return backend.Item{}, err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if err := k.usable(ctx); err != nil {
		return backend.Item{}, err
	}
	it, ok := k.items[key]
	if !ok || !backend.Live(it.expires, k.now()) {
		return backend.Item{}, fault.New(fault.NotFound, "%q does not exist", key)
	}
	return it.export(key), nil
}

// Range implements backend.Backend.
func (k *KV) Range(ctx context.Context, from, to string, limit int) ([]backend.Item, error) {
	if limit <= 0 || limit > backend.MaxRange {
		limit = backend.MaxRange
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if err := k.usable(ctx); err != nil {
		return nil, err
	}
	now := k.now()
	var got []backend.Item
	i, _ := slices.BinarySearch(k.keys, from)
	for ; i < len(k.keys) && len(got) < limit; i++ {
		key := k.keys[i]
		if to != "" && key >= to {
			break
		}
		if it := k.items[key]; backend.Live(it.expires, now) {
			got = append(got, it.export(key))
		}
	}
	return got, nil
}

// Apply implements backend.Backend.
func (k *KV) Apply(ctx context.Context, ops ...backend.Op) (backend.Revision, error) {
	if err := backend.CheckOps(ops); err != nil {
		return 0, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.usable(ctx); err != nil {
		return 0, err
	}
	now := k.now()
	for _, op := range ops {
		var current backend.Revision
		if it, ok := k.items[op.Item.Key]; ok && backend.Live(it.expires, now) {
			current = it.rev
		}
		if err := op.Refuse(current); err != nil {
			return 0, err
		}
	}
	return k.commit(ops), nil
}

// commit does ops whose conditions hold. The caller holds the lock.
func (k *KV) commit(ops []backend.Op) backend.Revision {
	k.rev++
	var changes []backend.Change
	for _, op := range ops {
		key := op.Item.Key
		if op.Deletes() {
			if k.remove(key) {
				changes = append(changes, backend.Change{Revision: k.rev, Key: key, Deleted: true})
			}
			continue
		}
		it := item{value: append([]byte{}, op.Item.Value...), expires: backend.Millis(op.Item.Expires), rev: k.rev}
		if _, ok := k.items[key]; !ok {
			i, _ := slices.BinarySearch(k.keys, key)
			k.keys = slices.Insert(k.keys, i, key)
		}
		k.items[key] = it
		changes = append(changes, backend.Change{
			Revision: k.rev, Key: key, Value: it.value, Expires: backend.FromMillis(it.expires),
		})
	}
	k.feed.Publish(k.rev, changes)
	return k.rev
}

func (k *KV) remove(key string) bool {
	if _, ok := k.items[key]; !ok {
		return false
	}
	delete(k.items, key)
	if i, ok := slices.BinarySearch(k.keys, key); ok {
		k.keys = slices.Delete(k.keys, i, i+1)
	}
	return true
}

// Watch implements backend.Backend.
func (k *KV) Watch(ctx context.Context, after backend.Revision, prefixes ...string) (backend.Watcher, error) {
	return k.feed.Watch(ctx, after, prefixes...)
}

// Revision implements backend.Backend.
func (k *KV) Revision(ctx context.Context) (backend.Revision, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.rev, k.usable(ctx)
}

// Serve implements backend.Backend.
func (k *KV) Serve(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			k.sweep()
		}
	}
}

func (k *KV) sweep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	var ops []backend.Op
	for key, it := range k.items {
		if !backend.Live(it.expires, now) {
			ops = append(ops, backend.Op{Type: backend.OpDelete, Item: backend.Item{Key: key}})
		}
	}
	if len(ops) > 0 && !k.closed {
		k.commit(ops)
	}
}

// Close implements backend.Backend.
func (k *KV) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.feed.Close()
	return nil
}

// usable is checked under the lock.
func (k *KV) usable(ctx context.Context) error {
	if k.closed {
		return backend.Closed()
	}
	if err := ctx.Err(); err != nil {
		return fault.Wrap(err, fault.KindOf(err), "the store was not asked: the caller went away")
	}
	return nil
}

func (it item) export(key string) backend.Item {
	return backend.Item{Key: key, Value: bytes.Clone(it.value), Expires: backend.FromMillis(it.expires), Revision: it.rev}
}

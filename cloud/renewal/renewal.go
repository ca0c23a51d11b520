// Package renewal keeps what a cloud gives for a limited time, and gets it anew
// before it ends: nobody who uses it waits for that.
package renewal

import (
	"context"
	"sync"
	"time"
)

const (
	// margin is the shortest life that is handed out.
	margin = time.Minute
	// pause is the least time between two attempts to renew what still lives.
	pause = 30 * time.Second
	// makeTimeout bounds one making.
	makeTimeout = 30 * time.Second
	// sweepAt is how many keys are kept before those whose life is over are looked for.
	sweepAt = 1024
)

// Cache keeps values by key. The zero value is empty. Safe for concurrent use.
type Cache[K comparable, V any] struct {
	mu      sync.Mutex
	entries map[K]*entry[V]
	work    sync.WaitGroup
}

type entry[V any] struct {
	value          V
	renew, expires time.Time
	making         chan struct{} // nil while nobody makes it
	err            error         // of the last making
}

// Make makes a value and says when its life ends.
type Make[V any] func(ctx context.Context) (value V, expires time.Time, err error)

// Get returns the value of a key. The first caller makes it, and those who come
// meanwhile wait; past half its life it is made anew while the old one is still
// served. A making outlives the caller who began it.
func (c *Cache[K, V]) Get(ctx context.Context, key K, mk Make[V]) (V, error) {
	c.mu.Lock()
	now := time.Now()
	e := c.entries[key]
	if e == nil {
		e = c.add(key, now)
	}
	fresh := e.fresh(now)
	if e.making == nil && (!fresh || !now.Before(e.renew)) {
		e.making = make(chan struct{})
		c.work.Go(func() { c.make(context.WithoutCancel(ctx), e, mk) })
	}
	value, making := e.value, e.making
	c.mu.Unlock()
	if fresh {
		return value, nil
	}
	var none V
	select {
	case <-making:
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.err != nil {
		return none, e.err
	}
	return e.value, nil
}

func (e *entry[V]) fresh(now time.Time) bool { return now.Before(e.expires.Add(-margin)) }

// add makes room for a key. The caller holds c.mu.
func (c *Cache[K, V]) add(key K, now time.Time) *entry[V] {
	if c.entries == nil {
		c.entries = map[K]*entry[V]{}
	}
	if len(c.entries) >= sweepAt {
		for k, e := range c.entries {
			if e.making == nil && !e.fresh(now) {
				delete(c.entries, k)
			}
		}
	}
	e := &entry[V]{}
	c.entries[key] = e
	return e
}

func (c *Cache[K, V]) make(ctx context.Context, e *entry[V], mk Make[V]) {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	value, expires, err := mk(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if e.err = err; err == nil {
		e.value, e.expires = value, expires
	}
	e.renew = now.Add(max(e.expires.Sub(now)/2, pause))
	if err != nil {
		e.renew = now.Add(pause)
	}
	close(e.making)
	e.making = nil
}

// Wait returns when nothing is being made.
func (c *Cache[K, V]) Wait() { c.work.Wait() }

package store

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"teleport/fault"
	"teleport/lifecycle"
)

// ReplicaOptions configure a Replica.
type ReplicaOptions struct {
	Log *slog.Logger     // nil discards
	Now func() time.Time // nil is time.Now
}

// Replica is a watched copy of some kinds. Reads take no lock, never block and
// share what they return: callers must not change it.
type Replica struct {
	src   Source
	kinds []string
	log   *slog.Logger
	now   func() time.Time

	current atomic.Pointer[snapshot]
	heard   atomic.Pointer[time.Time] // when the source last confirmed that current is complete
	ready   chan struct{}

	mu   sync.Mutex
	subs map[chan struct{}]struct{}
}

// NewReplica makes a replica of the kinds. Serve fills it.
func NewReplica(src Source, kinds []string, o ReplicaOptions) *Replica {
	r := &Replica{src: src, kinds: slices.Clone(kinds), log: o.Log, now: o.Now,
		ready: make(chan struct{}), subs: map[chan struct{}]struct{}{}}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.now == nil {
		r.now = time.Now
	}
	r.current.Store(emptySnapshot())
	return r
}

// Serve keeps the replica current until ctx ends: it reconnects with backoff,
// resumes by revision and reads anew where the source no longer knows.
func (r *Replica) Serve(ctx context.Context) error {
	failures := 0
	backoff := lifecycle.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second} // short: decisions go stale meanwhile
	for ctx.Err() == nil {
		progress, err := r.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		if progress {
			failures = 0
		}
		if progress && errors.Is(err, ErrReopen) {
			continue
		}
		failures++
		level := slog.LevelDebug
		if failures == 1 {
			level = slog.LevelWarn
		}
		r.log.Log(ctx, level, "the copy of the cluster's state lost its source and will come back",
			"error", err, "revision", r.Revision())
		if lifecycle.Sleep(ctx, backoff.Delay(failures)) != nil {
			break
		}
	}
	return nil
}

// follow reads one stream to its end, and reports whether it brought anything.
func (r *Replica) follow(ctx context.Context) (progress bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A source that takes the call and never answers must not hold us.
	watchdog := time.AfterFunc(StaleAfter, cancel)
	st, err := r.src.Watch(ctx, r.kinds, r.Revision())
	if !watchdog.Stop() && err == nil {
		st.Close() //nolint:errcheck // given up already
		return false, fault.New(fault.Timeout, "the source did not answer")
	}
	if err != nil {
		return false, err
	}
	defer st.Close() //nolint:errcheck // read only
	var f filling
	for {
		next, stop := context.WithTimeout(ctx, StaleAfter)
		b, err := st.Next(next)
		stop()
		if err != nil {
			return progress, err
		}
		progress = true
		r.take(&f, b)
	}
}

// filling is a snapshot under way, invisible until it is whole.
type filling struct {
	active  bool
	changes []Change
}

// take applies one batch of a stream.
func (r *Replica) take(f *filling, b Batch) {
	switch {
	case b.SnapshotEnd:
		r.publish(r.current.Load().replaced(append(f.changes, b.Changes...), b.Revision, r.log))
		*f = filling{}
	case b.Revision == 0 && (len(b.Changes) > 0 || f.active):
		f.active = true
		f.changes = append(f.changes, b.Changes...)
		return
	case len(b.Changes) > 0:
		r.publish(r.current.Load().changed(b.Changes, b.Revision, r.log))
	case b.Revision > r.Revision():
		r.current.Store(r.current.Load().at(b.Revision))
	case b.Revision < r.Revision():
		return // an empty page of a snapshot: it confirms nothing
	}
	if r.current.Load().complete {
		now := r.now()
		r.heard.Store(&now)
	}
}

// publish makes a snapshot the current one and tells subscribers.
func (r *Replica) publish(s *snapshot) {
	first := s.complete && !r.current.Load().complete
	r.current.Store(s)
	if first {
		now := r.now()
		r.heard.Store(&now) // whoever wakes up finds it fresh
		close(r.ready)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for ch := range r.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// Ready is closed once the first snapshot is complete.
func (r *Replica) Ready() <-chan struct{} { return r.ready }

// Fresh reports whether the source was heard within StaleAfter of now.
func (r *Replica) Fresh(now time.Time) bool {
	heard := r.heard.Load()
	return heard != nil && now.Sub(*heard) < StaleAfter
}

// Revision is the revision of the snapshot that reads see.
func (r *Replica) Revision() uint64 { return r.current.Load().revision }

// Subscribe returns a channel that gets a tick after each applied batch (ticks
// coalesce) and a function that ends the subscription.
func (r *Replica) Subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subs[ch] = struct{}{}
	return ch, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.subs, ch)
	}
}

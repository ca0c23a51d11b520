package backend

import (
	"context"
	"sort"
	"strings"
	"sync"

	"teleport/fault"
)

// A watcher takes at most this many changes at a time, so that one far behind
// does not hold the feed for long.
const feedBatch = 1024

// FeedOptions bound what a Feed keeps of the past.
type FeedOptions struct {
	Changes int // how many changes stay in memory; 0: 8,192
	Bytes   int // how many bytes of keys and values; 0: 32 MiB
	// Backfill reads what happened after a revision that is no longer in memory,
	// in order and in complete revisions, and says up to which one. It returns
	// fault.Conflict when the past is gone. Nil: memory is all there is.
	Backfill func(ctx context.Context, after Revision, prefixes []string) ([]Change, Revision, error)
}

// Feed hands committed changes to watchers. Drivers hold one and publish to
// it in revision order. All watchers read one bounded history, each from its own
// place: a watcher costs no buffer, and one that falls off the end was too
// slow.
type Feed struct {
	opts FeedOptions

	mu      sync.RWMutex
	past    []Change      // ascending; every revision after floor is complete in it
	bytes   int           // of past
	floor   Revision      // newest revision no longer in past
	last    Revision      // newest published
	changed chan struct{} // closed and replaced by each publication
	closed  bool
}

// NewFeed makes a feed whose past ends at last, the store's present revision.
func NewFeed(last Revision, opts FeedOptions) *Feed {
	if opts.Changes == 0 {
		opts.Changes = 8192
	}
	if opts.Bytes == 0 {
		opts.Bytes = 32 << 20
	}
	return &Feed{opts: opts, floor: last, last: last, changed: make(chan struct{})}
}

// Publish tells watchers of the changes of one revision (perhaps none). The feed
// keeps the values.
func (f *Feed) Publish(rev Revision, changes []Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = rev
	f.past = append(f.past, changes...)
	for _, c := range changes {
		f.bytes += c.size()
	}
	f.trim()
	close(f.changed)
	f.changed = make(chan struct{})
}

// trim forgets the oldest revisions beyond the bounds, whole ones only.
func (f *Feed) trim() {
	n := 0
	for n < len(f.past) && (len(f.past)-n > f.opts.Changes || f.bytes > f.opts.Bytes) {
		f.floor = f.past[n].Revision
		for n < len(f.past) && f.past[n].Revision == f.floor {
			f.bytes -= f.past[n].size()
			f.past[n] = Change{} // the array outlives the slice; let the value go
			n++
		}
	}
	f.past = f.past[n:]
}

func (c *Change) size() int { return len(c.Key) + len(c.Value) }

// Last returns the newest published revision.
func (f *Feed) Last() Revision {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.last
}

// Close ends every watcher with fault.Unavailable.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.changed)
	}
}

// Watch is Backend.Watch.
func (f *Feed) Watch(ctx context.Context, after Revision, prefixes ...string) (Watcher, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if f.closed {
		return nil, Closed()
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &feedWatcher{f: f, ctx: ctx, cancel: cancel, at: after, prefixes: prefixes}
	switch {
	case after == 0:
		w.at, w.attached = f.last, true
	case after > f.last:
		w.gone = true
	}
	return w, nil
}

// Closed is the error of calls to a store that is closed.
func Closed() error { return fault.New(fault.Unavailable, "the store is closed") }

type feedWatcher struct {
	f        *Feed
	ctx      context.Context
	cancel   context.CancelFunc
	prefixes []string
	at       Revision // complete up to here
	attached bool     // has been within the feed's memory
	gone     bool     // asked for a revision that the store never had
}

// Close ends the watcher.
func (w *feedWatcher) Close() error {
	w.cancel()
	return nil
}

// Next implements Watcher.
func (w *feedWatcher) Next(ctx context.Context) ([]Change, error) {
	for {
		if err := w.ctx.Err(); err != nil {
			return nil, fault.Wrap(err, fault.KindOf(err), "the watch has ended")
		}
		got, wait, err := w.take(ctx)
		if err != nil || len(got) > 0 {
			return got, err
		}
		select {
		case <-wait:
		case <-w.ctx.Done():
		case <-ctx.Done():
			return nil, fault.Wrap(ctx.Err(), fault.KindOf(ctx.Err()), "nothing changed in time")
		}
	}
}

// take returns what is there, or a channel that is closed when there is more.
func (w *feedWatcher) take(ctx context.Context) ([]Change, <-chan struct{}, error) {
	f := w.f
	f.mu.RLock()
	switch {
	case f.closed:
		f.mu.RUnlock()
		return nil, nil, Closed()
	case w.gone || w.at < f.floor:
		f.mu.RUnlock()
		return w.behind(ctx)
	}
	defer f.mu.RUnlock()
	w.attached = true
	if w.at == f.last {
		return nil, f.changed, nil
	}
	got, upTo := w.collect()
	return w.upTo(got, upTo), nil, nil
}

// collect filters the past after w.at, in complete revisions. The caller holds
// the lock.
func (w *feedWatcher) collect() ([]Change, Revision) {
	past := w.f.past
	i := sort.Search(len(past), func(i int) bool { return past[i].Revision > w.at })
	var got []Change
	for ; i < len(past); i++ {
		if len(got) >= feedBatch && past[i].Revision != past[i-1].Revision {
			return got, past[i-1].Revision
		}
		if matches(past[i].Key, w.prefixes) {
			got = append(got, past[i])
		}
	}
	return got, w.f.last
}

// behind serves a watcher whose place is no longer in memory.
func (w *feedWatcher) behind(ctx context.Context) ([]Change, <-chan struct{}, error) {
	if w.attached {
		return nil, nil, fault.New(fault.Limit, "the watcher fell more than %d changes behind", w.f.opts.Changes)
	}
	if w.gone || w.f.opts.Backfill == nil {
		return nil, nil, Gone(w.at)
	}
	got, upTo, err := w.f.opts.Backfill(ctx, w.at, w.prefixes)
	if err != nil {
		return nil, nil, err
	}
	return w.upTo(got, upTo), nil, nil
}

// upTo moves the watcher on, and adds a heartbeat where its last change does not
// tell how far it is.
func (w *feedWatcher) upTo(got []Change, rev Revision) []Change {
	w.at = rev
	if len(got) == 0 || got[len(got)-1].Revision < rev {
		got = append(got, Change{Revision: rev})
	}
	return got
}

// Gone is the error of a watch that starts after a revision of which the store
// knows nothing any more.
func Gone(after Revision) error {
	return fault.New(fault.Conflict, "changes since revision %d are no longer known", after)
}

// matches reports whether a key is under one of the prefixes; none is all.
func matches(key string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return len(prefixes) == 0
}

// Select filters changes by prefixes, for a driver's Backfill.
func Select(changes []Change, prefixes []string) []Change {
	var got []Change
	for _, c := range changes {
		if matches(c.Key, prefixes) {
			got = append(got, c)
		}
	}
	return got
}

// Package backend is the contract of the ordered key-value store beneath the
// auth service: revisions that only grow, compare-and-swap, expiry, ranges and
// a watch that can resume. Drivers are leaf packages (memkv, sqlitekv, …) and
// pass the suite of backendtest. Only store and the auth service's own columns
// use it; authorisation happens above it.
package backend

import (
	"context"
	"time"
)

// Revision counts every change of a store. It grows by at least one with each
// write and is never used twice, also after a restart. Zero means "none".
type Revision uint64

// Item is one key with its value. Keys are slash-separated printable ASCII,
// at most 512 bytes; values at most 1 MiB. A zero Expires never expires; times
// are kept to the millisecond, rounded up.
type Item struct {
	Key      string
	Value    []byte
	Expires  time.Time
	Revision Revision // set by the store on reads; the expected one in CompareAndSwap
}

// Op is one change inside Apply.
type Op struct {
	Type OpType
	Item Item // for Delete only Key (and Revision where it is conditional) matter
}

// OpType says what an Op does and on which condition.
type OpType int

const (
	OpPut      OpType = iota // unconditional write
	OpCreate                 // fails with fault.AlreadyExists if the key lives
	OpSwap                   // fails with fault.Conflict unless Item.Revision is current
	OpDelete                 // succeeds also when the key is gone
	OpDeleteIf               // fails with fault.Conflict unless Item.Revision is current
)

// Change is one thing a watch saw. A Change with an empty Key is a heartbeat
// that carries only the revision up to which the watcher is complete: it comes
// when revisions went by that hold nothing under the watched prefixes.
type Change struct {
	Revision Revision
	Key      string
	Value    []byte // nil when Deleted
	Expires  time.Time
	Deleted  bool
}

// Backend is the store. All methods may be called concurrently. Errors are
// faults: NotFound, AlreadyExists, Conflict, Invalid (key or value out of
// bounds), Unavailable (store closed, disk full, corrupt), Canceled, Timeout.
// A caller owns the values it passed in and those of the Items it got; the values
// of Changes are shared between watchers and must not be written to.
type Backend interface {
	// Get returns a live item or fault.NotFound. Expired items are not live.
	Get(ctx context.Context, key string) (Item, error)
	// Range returns live items with from <= key < to in key order, at most
	// limit of them (0: 10,000). To page, call again from the last key + "\x00".
	// An empty to is the end of the key space.
	Range(ctx context.Context, from, to string, limit int) ([]Item, error)
	// Apply does all ops or none, atomically, under one revision, which it
	// returns. Keys within one Apply are distinct; 1 to 1,000 ops. When it
	// returned without error the change survives the process and, as far as the
	// driver says so, the machine. A canceled Apply may still take place.
	Apply(ctx context.Context, ops ...Op) (Revision, error)
	// Watch reports changes with a key under one of the prefixes (none: every
	// key), in revision order, starting after the given revision (0: from now on,
	// which is before Watch returns). It reports fault.Conflict from Next when
	// that revision (of Revision, Apply or an earlier watch) is no longer
	// retained, or is one that this store never had:
	// the caller reads the range again. A resumed watch may leave out a change
	// whose key has changed again since.
	Watch(ctx context.Context, after Revision, prefixes ...string) (Watcher, error)
	// Revision returns the newest revision.
	Revision(ctx context.Context) (Revision, error)
	// Serve removes expired items, which watches then see as deleted, until ctx
	// ends. Reads do not depend on it: an expired item is gone at its time.
	Serve(ctx context.Context) error
	// Close releases files. Calls after it fail with fault.Unavailable.
	Close() error
}

// Watcher yields changes; not for concurrent use.
type Watcher interface {
	// Next blocks for the next batch, at least one change, all of complete
	// revisions. It returns an error when ctx of Watch ends, the watcher was too
	// slow (fault.Limit) or the start revision is gone (fault.Conflict). When
	// only its own ctx ends, the watcher stays as it was and Next may be called
	// again.
	Next(ctx context.Context) ([]Change, error)
	Close() error
}

// PrefixEnd returns the smallest key greater than every key with the prefix,
// for use as the end of a Range.
func PrefixEnd(prefix string) string {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}

package store

import (
	"context"
	"errors"

	"teleport/backend"
	"teleport/fault"
)

// snapshotPage is how many documents a batch of a snapshot holds at most.
const snapshotPage = 200

// Watch implements Source over this store.
func (s *Store) Watch(ctx context.Context, kinds []string, after uint64) (Stream, error) {
	if len(kinds) == 0 {
		return nil, fault.New(fault.Invalid, "a watch names at least one kind")
	}
	st := &stream{b: s.b, at: after}
	for _, k := range kinds {
		if _, err := s.info(k); err != nil {
			return nil, err
		}
		st.prefixes = append(st.prefixes, "/"+escape(k)+"/")
	}
	st.ctx, st.cancel = context.WithCancel(ctx)
	if err := st.begin(); err != nil {
		st.cancel()
		return nil, err
	}
	return st, nil
}

// stream reads a snapshot, where it needs one, and then follows the backend.
type stream struct {
	b        backend.Backend
	ctx      context.Context
	cancel   context.CancelFunc
	prefixes []string
	w        backend.Watcher
	at       uint64 // the reader is complete up to here
	// Of a snapshot under way: the prefixes still to read, and where in the first.
	pending []string
	from    string
}

// begin registers the watch, and plans a snapshot where there is nothing to
// resume from. The watch comes first, so that nothing falls between the two.
func (st *stream) begin() (err error) {
	if st.w, err = st.b.Watch(st.ctx, backend.Revision(st.at), st.prefixes...); err != nil || st.at != 0 {
		return err
	}
	rev, err := st.b.Revision(st.ctx)
	if err != nil {
		return err
	}
	// What the snapshot reads holds at least every change up to now.
	st.at, st.pending, st.from = uint64(rev), st.prefixes, st.prefixes[0]
	return nil
}

// Next implements Stream.
func (st *stream) Next(ctx context.Context) (Batch, error) {
	if len(st.pending) > 0 {
		return st.snapshot(ctx)
	}
	beat, cancel := context.WithTimeout(ctx, HeartbeatInterval)
	defer cancel()
	for {
		changes, err := st.w.Next(beat)
		switch {
		case errors.Is(err, fault.Timeout) && ctx.Err() == nil && st.ctx.Err() == nil:
			return Batch{Revision: st.at}, nil
		case errors.Is(err, fault.Conflict):
			st.w.Close() //nolint:errcheck // it holds nothing but a context
			st.at = 0
			if err := st.begin(); err != nil {
				return Batch{}, err
			}
			return st.snapshot(ctx)
		case err != nil:
			return Batch{}, err
		}
		if b := st.batch(changes); len(b.Changes) > 0 {
			return b, nil
		}
	}
}

// batch translates changes of the backend, without those that the snapshot had.
func (st *stream) batch(changes []backend.Change) Batch {
	var b Batch
	seen := st.at
	for _, c := range changes {
		st.at = max(st.at, uint64(c.Revision))
		kind, sub, name, ok := parseKey(c.Key)
		if !ok || uint64(c.Revision) <= seen {
			continue
		}
		b.Changes = append(b.Changes, Change{Kind: kind, SubKind: sub, Name: name, Revision: uint64(c.Revision), Document: c.Value})
	}
	b.Revision = st.at
	return b
}

// snapshot reads the next page of documents.
func (st *stream) snapshot(ctx context.Context) (Batch, error) {
	prefix := st.pending[0]
	items, err := st.b.Range(ctx, st.from, backend.PrefixEnd(prefix), snapshotPage)
	if err != nil {
		return Batch{}, err
	}
	var b Batch
	for _, it := range items {
		if kind, sub, name, ok := parseKey(it.Key); ok {
			b.Changes = append(b.Changes, Change{Kind: kind, SubKind: sub, Name: name, Revision: uint64(it.Revision), Document: it.Value})
		}
	}
	if len(items) == snapshotPage {
		st.from = items[len(items)-1].Key + "\x00"
		return b, nil
	}
	if st.pending = st.pending[1:]; len(st.pending) > 0 {
		st.from = st.pending[0]
		return b, nil
	}
	b.Revision, b.SnapshotEnd = st.at, true
	return b, nil
}

// Close implements Stream.
func (st *stream) Close() error {
	st.cancel()
	return nil
}

var _ Source = (*Store)(nil)
var _ Stream = (*stream)(nil)

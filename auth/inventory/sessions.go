package inventory

import (
	"bytes"
	"context"
	"errors"
	"time"

	"teleport/api/gen/presencev1"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// Bounds of what one process may tell of sessions.
const (
	maxSessions  = 10_000 // live at once
	maxTold      = 256    // in one message
	maxTracker   = 64 << 10
	trackerWrite = 64 // documents in one write
)

// sessionSet are the sessions of one stream, as they stand in the store.
type sessionSet struct {
	written map[string][]byte // id → document as told; nil while the write is under way
	whole   bool              // the whole list was heard
}

// sessions takes one message about live sessions. A document that the process
// may not register is refused on the stream and recorded; the rest is taken.
func (c *control) sessions(ctx context.Context, m *presencev1.Sessions) error {
	if len(m.Trackers) > maxTold || len(m.Ended) > maxTold {
		return fault.New(fault.Limit, "at most %d sessions can be told of in one message", maxTold)
	}
	var writes []store.Write
	told := map[string][]byte{}
	for _, raw := range m.Trackers {
		doc, err := c.tracker(ctx, raw)
		switch {
		case err != nil && fault.KindOf(err) == fault.Limit:
			return err
		case err != nil:
			if err := c.refuse(ctx, documentHead(raw), err); err != nil {
				return err
			}
		case doc != nil && told[doc.Metadata.Name] == nil:
			told[doc.Metadata.Name] = raw
			writes = append(writes, store.Write{Mode: store.Upsert, Doc: doc})
		}
	}
	for _, id := range m.Ended {
		if c.forget(id) && told[id] == nil {
			writes = append(writes, store.Write{Doc: trackerNamed(id)})
		}
	}
	for len(writes) > 0 {
		n := min(trackerWrite, len(writes))
		if err := c.inv.d.Store.Apply(ctx, writes[:n]...); err != nil {
			return err
		}
		writes = writes[n:]
	}
	c.inv.mu.Lock()
	defer c.inv.mu.Unlock()
	for id, raw := range told {
		c.live.written[id] = raw
	}
	if m.Last {
		c.live.whole, c.inv.unsettled = true, true
	}
	return nil
}

// tracker reads and admits one document. It returns nil for what is in the
// store already.
func (c *control) tracker(ctx context.Context, raw []byte) (*types.SessionTracker, error) {
	if len(raw) > maxTracker {
		return nil, fault.New(fault.Limit, "a session is told of in at most %d bytes", maxTracker)
	}
	decoded, err := c.inv.d.Store.Decode(ctx, raw)
	if err != nil {
		return nil, err
	}
	doc, ok := decoded.(*types.SessionTracker)
	if !ok || doc.Spec.HostID != c.id.Name || !c.carries(doc) {
		return nil, fault.New(fault.Denied, "it may tell only of sessions that it carries itself")
	}
	id := doc.Metadata.Name
	doc.Metadata.Revision, doc.Metadata.Expires = "", nil
	doc.Spec.Generation, doc.Spec.AuthServer = c.hello.Generation, c.inv.self
	c.inv.mu.Lock()
	before, known := c.live.written[id]
	full := !known && len(c.live.written) >= maxSessions
	c.inv.mu.Unlock()
	switch {
	case full:
		return nil, fault.New(fault.Limit, "at most %d sessions of one process can be told of", maxSessions)
	case known && bytes.Equal(before, raw):
		return nil, nil
	case !known:
		if same, err := c.claim(ctx, doc); same || err != nil {
			if same {
				c.file(id, raw)
			}
			return nil, err
		}
		c.file(id, nil) // before it is in the store, where a sweep may look for its owner
	}
	return doc, nil
}

// carries reports whether the process carries sessions of that sort: a node its
// own, a proxy those that it ends for servers without an agent.
func (c *control) carries(doc *types.SessionTracker) bool {
	if doc.Spec.SubKind == types.SubKindOpenSSH {
		return c.id.HasSystemRole(types.RoleProxy)
	}
	return doc.Spec.SubKind == "" && c.id.HasSystemRole(types.RoleNode)
}

// claim looks at what the store holds under the id of a session that is new to
// this stream: nothing, what this process said before, or another host's.
func (c *control) claim(ctx context.Context, doc *types.SessionTracker) (same bool, err error) {
	held, err := c.inv.trackers.Get(ctx, doc.Metadata.Name)
	if errors.Is(err, fault.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if held.Spec.HostID != c.id.Name {
		return false, fault.New(fault.Denied, "the session is another host's")
	}
	held.Metadata.Revision = ""
	a, errA := types.Encode(held)
	b, errB := types.Encode(doc)
	return bytes.Equal(a, b), errors.Join(errA, errB)
}

func (c *control) file(id string, raw []byte) {
	c.inv.mu.Lock()
	defer c.inv.mu.Unlock()
	c.live.written[id] = raw
}

func (c *control) forget(id string) bool {
	c.inv.mu.Lock()
	defer c.inv.mu.Unlock()
	_, known := c.live.written[id]
	delete(c.live.written, id)
	return known
}

// endSessions removes what the stream told of: its process said goodbye, or is gone.
func (c *control) endSessions(ctx context.Context) error {
	c.inv.mu.Lock()
	written := c.live.written
	c.live.written = map[string][]byte{}
	c.inv.mu.Unlock()
	var writes []store.Write
	for id := range written {
		writes = append(writes, store.Write{Doc: trackerNamed(id)})
	}
	for len(writes) > 0 {
		n := min(trackerWrite, len(writes))
		if err := c.inv.d.Store.Apply(ctx, writes[:n]...); err != nil {
			return err
		}
		writes = writes[n:]
	}
	return nil
}

func trackerNamed(id string) *types.SessionTracker {
	return &types.SessionTracker{Header: types.Header{Kind: types.KindSessionTracker, Version: "v1", Metadata: types.Metadata{Name: id}}}
}

// sweepSessions removes sessions that nobody carries: those that their process
// does not list any more, and those whose process has been away for the lease.
// It reads them all, so it runs when something has come or gone, and else once
// in a lease.
func (i *Inventory) sweepSessions(ctx context.Context, alive map[string]bool) error {
	i.mu.Lock()
	due := i.unsettled || i.d.Now().Sub(i.settled) >= i.d.Lease
	i.unsettled = false
	i.mu.Unlock()
	if !due {
		return nil
	}
	all, err := i.trackers.All(ctx)
	if err != nil {
		return err
	}
	for _, doc := range i.stray(all, alive) {
		err := i.trackers.Delete(ctx, doc.Metadata.Name, doc.Metadata.Revision)
		if err != nil && !errors.Is(err, fault.NotFound) && !errors.Is(err, fault.Conflict) {
			return err
		}
	}
	return nil
}

// stray picks the sessions to remove, and remembers since when others are
// without their process.
func (i *Inventory) stray(all []*types.SessionTracker, alive map[string]bool) []*types.SessionTracker {
	now := i.d.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.settled = now
	var out []*types.SessionTracker
	seen := map[streamKey]time.Time{}
	for _, doc := range all {
		key := streamKey{doc.Spec.HostID, doc.Spec.Generation}
		if c := i.streams[key]; c != nil {
			if _, listed := c.live.written[doc.Metadata.Name]; c.live.whole && !listed {
				out = append(out, doc)
			}
			continue
		}
		if alive[doc.Spec.AuthServer] && doc.Spec.AuthServer != i.self {
			continue
		}
		since, known := i.strays[key]
		if !known {
			since = now
		}
		seen[key] = since
		if now.Sub(since) >= i.d.Lease {
			out = append(out, doc)
		}
	}
	i.strays = seen
	i.unsettled = i.unsettled || len(seen) > 0
	return out
}

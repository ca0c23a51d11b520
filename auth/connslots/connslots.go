// Package connslots counts the connections that users with max_connections have
// open, over all hosts of the cluster. Each connection takes a slot in one
// document of its user, written by compare-and-swap, so that any number of auth
// services count as one. The host that carries the connection renews the slot;
// the slots of a host that died run out, and the next change sweeps them. Users
// without a limit have no document, and cost nothing.
package connslots

import (
	"context"
	"errors"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"teleport/fault"
	"teleport/lifecycle"
	"teleport/store"
	"teleport/types"
)

// DefaultLease is how long a slot lives that nobody renews, where the cluster
// does not say (session_control_timeout).
const DefaultLease = 2 * time.Minute

// MinLease is the shortest lease: hosts renew three times in it.
const MinLease = 6 * time.Second

// Slots keeps the count. Safe for concurrent use. It starts nothing.
type Slots struct {
	docs  store.Collection[*types.ConnectionSlots]
	lease func() time.Duration
	now   func() time.Time

	seed  maphash.Seed
	users [64]sync.Mutex // by user: those who write here need not conflict
}

// New returns the count that is kept in s. lease says how long a slot lives
// without renewal; 0 is DefaultLease.
func New(s *store.Store, lease func() time.Duration, now func() time.Time) *Slots {
	return &Slots{docs: store.Of[*types.ConnectionSlots](s), lease: lease, now: now, seed: maphash.MakeSeed()}
}

// Lease is how long a slot lives that is not renewed.
func (s *Slots) Lease() time.Duration {
	if l := s.lease(); l > 0 {
		return max(l, MinLease)
	}
	return DefaultLease
}

// Hold takes slots for connections of a user on a host, or renews those that
// they have. It returns the ids for which there is no room: most counts all
// slots of the user, of which the oldest stay where the limit was lowered.
// Holding what is held is harmless. An error says that nothing was counted.
func (s *Slots) Hold(ctx context.Context, host, user string, ids []string, most int) (refused []string, err error) {
	most = min(most, types.MaxConnectionSlots)
	err = s.change(ctx, user, func(slots []types.ConnectionSlot, now time.Time) []types.ConnectionSlot {
		refused = nil
		expires := now.Add(s.Lease())
		held := map[string]bool{}
		kept := slots[:0]
		for rank, slot := range slots {
			if slot.HostID == host && slices.Contains(ids, slot.ID) {
				held[slot.ID] = true
				if rank >= most {
					refused = append(refused, slot.ID)
					continue
				}
				slot.Expires = expires
			}
			kept = append(kept, slot)
		}
		for _, id := range ids {
			switch {
			case held[id]:
			case len(kept) >= most:
				refused = append(refused, id)
			default:
				kept, held[id] = append(kept, types.ConnectionSlot{ID: id, HostID: host, Since: now, Expires: expires}), true
			}
		}
		return kept
	})
	return refused, err
}

// Release gives back slots that a host holds for a user. What it does not hold
// stays as it is.
func (s *Slots) Release(ctx context.Context, host, user string, ids []string) error {
	return s.change(ctx, user, func(slots []types.ConnectionSlot, _ time.Time) []types.ConnectionSlot {
		return slices.DeleteFunc(slots, func(slot types.ConnectionSlot) bool {
			return slot.HostID == host && slices.Contains(ids, slot.ID)
		})
	})
}

// tries is how often a writer of a document starts again when others got between.
const tries = 24

// change reads, edits and writes the slots of a user, again while others get in
// between. edit sees no slot that has run out, and may keep its argument.
func (s *Slots) change(ctx context.Context, user string, edit func([]types.ConnectionSlot, time.Time) []types.ConnectionSlot) error {
	pause := lifecycle.Backoff{Min: 5 * time.Millisecond, Max: 100 * time.Millisecond}
	own := &s.users[maphash.String(s.seed, user)%uint64(len(s.users))]
	own.Lock()
	defer own.Unlock()
	for try := 1; ; try++ {
		err := s.once(ctx, user, edit)
		if try == tries || !errors.Is(err, fault.Conflict) && !errors.Is(err, fault.AlreadyExists) && !errors.Is(err, fault.NotFound) {
			return err
		}
		if err := lifecycle.Sleep(ctx, pause.Delay(try)); err != nil {
			return err
		}
	}
}

func (s *Slots) once(ctx context.Context, user string, edit func([]types.ConnectionSlot, time.Time) []types.ConnectionSlot) error {
	doc, err := s.docs.Get(ctx, user)
	fresh := errors.Is(err, fault.NotFound)
	if err != nil && !fresh {
		return err
	}
	if fresh {
		doc = &types.ConnectionSlots{Header: types.Header{Kind: types.KindConnectionSlots, Version: "v1", Metadata: types.Metadata{Name: user}}}
	}
	now := s.now()
	before := slices.Clone(doc.Spec.Slots)
	live := slices.DeleteFunc(slices.Clone(before), func(slot types.ConnectionSlot) bool { return !now.Before(slot.Expires) })
	after := edit(live, now)
	switch {
	case slices.Equal(before, after):
		return nil
	case len(after) == 0:
		return s.docs.Delete(ctx, user, doc.Metadata.Revision)
	}
	last := after[0].Expires
	for _, slot := range after {
		if slot.Expires.After(last) {
			last = slot.Expires
		}
	}
	doc.Spec.Slots, doc.Metadata.Expires = after, &last
	if fresh {
		_, err = s.docs.Create(ctx, doc)
	} else {
		_, err = s.docs.Update(ctx, doc)
	}
	return err
}

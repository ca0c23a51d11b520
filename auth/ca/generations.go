package ca

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"teleport/backend"
	"teleport/fault"
)

// Cloned says that a host certificate was renewed with a generation that is no
// longer current: its key lives in two places. The auth service locks the host and
// records it; both holders are out until an administrator looks.
type Cloned struct {
	HostUUID            string
	Expected, Presented uint64
}

// Error implements error, for logs.
func (c *Cloned) Error() string {
	return fmt.Sprintf("host %s renewed with generation %d, current is %d", c.HostUUID, c.Presented, c.Expected)
}

// fault makes it the fault that the host is shown, with itself as the cause.
func (c *Cloned) fault() error {
	return fault.Wrap(c, fault.Denied, "the identity of host %s is used by two machines, so it is not renewed", c.HostUUID)
}

// generationPrefix is where the counters live in the backend.
const generationPrefix = "/host_generations/"

// generationTries bounds compare-and-swap rounds.
const generationTries = 8

// BackendGenerations keeps the counters in the cluster's backend. Safe for
// concurrent use, also by several auth processes.
type BackendGenerations struct{ b backend.Backend }

var _ Generations = (*BackendGenerations)(nil)

// NewBackendGenerations returns counters over b.
func NewBackendGenerations(b backend.Backend) *BackendGenerations { return &BackendGenerations{b: b} }

type generationRecord struct {
	Generation uint64    `json:"generation"`
	KeyHash    []byte    `json:"key_hash"`
	Expires    time.Time `json:"expires"`
}

// Start implements Generations. The counter goes on from what was there, so that
// certificates from before the new admission are old ones.
func (g *BackendGenerations) Start(ctx context.Context, h Holder, now time.Time, proven bool) (uint64, error) {
	return g.change(ctx, h.HostUUID, func(rec generationRecord, found bool) (generationRecord, error) {
		again := bytes.Equal(h.KeyHash, rec.KeyHash)
		if found && !proven && !again && now.Before(rec.Expires) {
			return rec, fault.New(fault.Denied, "host %s is a member of the cluster already, with other keys", h.HostUUID).
				WithHint("to join as a new host, remove host_uuid from the data directory; to keep the UUID, wait until the old certificate has expired")
		}
		if found && again {
			return generationRecord{Generation: rec.Generation, KeyHash: rec.KeyHash, Expires: h.Expires}, nil
		}
		return generationRecord{Generation: rec.Generation + 1, KeyHash: h.KeyHash, Expires: h.Expires}, nil
	})
}

// Advance implements Generations.
func (g *BackendGenerations) Advance(ctx context.Context, h Holder, presented uint64) (uint64, error) {
	return g.change(ctx, h.HostUUID, func(rec generationRecord, found bool) (generationRecord, error) {
		switch {
		case !found:
			return rec, fault.New(fault.Unauthenticated, "host %s is not known to this cluster", h.HostUUID).WithHint("join again")
		case presented == rec.Generation:
			return generationRecord{Generation: presented + 1, KeyHash: h.KeyHash, Expires: h.Expires}, nil
		case presented+1 == rec.Generation && bytes.Equal(h.KeyHash, rec.KeyHash):
			return rec, nil // the same renewal again: its answer was lost
		}
		return rec, (&Cloned{HostUUID: h.HostUUID, Expected: rec.Generation, Presented: presented}).fault()
	})
}

func (g *BackendGenerations) change(ctx context.Context, hostUUID string, next func(generationRecord, bool) (generationRecord, error)) (uint64, error) {
	key := generationPrefix + hostUUID
	for range generationTries {
		var rec generationRecord
		item, err := g.b.Get(ctx, key)
		found := err == nil
		switch {
		case errors.Is(err, fault.NotFound):
		case err != nil:
			return 0, err
		default:
			if err := json.Unmarshal(item.Value, &rec); err != nil {
				return 0, fault.Wrap(err, fault.Internal, "the generation record of host %s is damaged", hostUUID)
			}
		}
		want, err := next(rec, found)
		if err != nil {
			return 0, err
		}
		value, err := json.Marshal(want)
		if err != nil {
			return 0, err
		}
		op := backend.Op{Type: backend.OpCreate, Item: backend.Item{Key: key, Value: value}}
		if found {
			op.Type, op.Item.Revision = backend.OpSwap, item.Revision
		}
		_, err = g.b.Apply(ctx, op)
		if err == nil {
			return want.Generation, nil
		}
		if !errors.Is(err, fault.Conflict) && !errors.Is(err, fault.AlreadyExists) {
			return 0, err
		}
	}
	return 0, fault.New(fault.Unavailable, "the generation record of host %s is busy", hostUUID)
}

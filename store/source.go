package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Timing of the replica protocol. A stream sends something at least every
// HeartbeatInterval; a replica that heard nothing for StaleAfter no longer
// calls itself fresh.
const (
	HeartbeatInterval = 2 * time.Second
	StaleAfter        = 10 * time.Second
)

// Change is one document of a stream: its raw stored bytes as the writer left
// them (a reader may be older than the writer), or nil when it is gone.
type Change struct {
	Kind     string
	SubKind  string
	Name     string
	Revision uint64
	Document json.RawMessage
}

// Batch is what a stream yields at a time. One with SnapshotEnd, and one with
// a zero Revision before it, is a part of a snapshot; of the others, one
// without changes is a heartbeat.
type Batch struct {
	Changes []Change
	// Revision is the one up to which the reader is complete. It is zero within a
	// snapshot, from which a reader cannot resume before its end, and in
	// heartbeats of a store that was never written.
	Revision uint64
	// SnapshotEnd marks the last batch of a snapshot: what the reader held of
	// these kinds from before and did not see in the snapshot is gone.
	SnapshotEnd bool
}

// ErrReopen ends a stream that nothing is wrong with, because the connection
// under it was replaced: it is opened again at once.
var ErrReopen = errors.New("the stream moves to another connection")

// Source is where a Replica reads from: the Store itself in the auth service,
// a client of its API everywhere else.
type Source interface {
	// Watch streams documents of the kinds. With after zero, or when the store no
	// longer knows what happened since, the stream starts with a snapshot that
	// ends with SnapshotEnd; otherwise with the changes since that revision and
	// no snapshot. A snapshot may also come later. The stream ends with ctx. It returns once the stream is registered: no later change is
	// missed.
	Watch(ctx context.Context, kinds []string, after uint64) (Stream, error)
}

// Stream yields batches in order; not for concurrent use, except Close.
type Stream interface {
	// Next blocks for the next batch. An error ends the stream: fault.Limit when
	// the reader was too slow, fault.Conflict when the resume revision is gone,
	// fault.Unavailable, Canceled or Timeout when the other side went away, ErrReopen when the
	// stream only moves. The reader comes back with its last revision.
	Next(ctx context.Context) (Batch, error)
	// Close releases the stream. It may be called twice.
	Close() error
}

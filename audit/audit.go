// Package audit keeps the log of who did what. A Writer in every process turns
// events into a hash chain in a spool on disk; a Shipper sends the spool to the
// auth service and deletes what was acknowledged; the Log of the auth service
// checks each writer's chain, stores compressed blocks, and signs checkpoints
// over all of it, so that a change, a removal, a reordering or a cut shows.
// The forms and the verification are in audit/chain; why it is built so is in
// DESIGN.md.
package audit

import (
	"context"

	"teleport/types/event"
)

// Emitter takes events. Emit returns when they will survive the death of this
// process (kill -9, not loss of power): all of them in the order given, or none;
// the caller refuses the actions behind events that could not be emitted. Type may be left empty, Code too
// where the type has only one; UID, Time and Cluster are set when empty,
// ForwardedBy when the event is about another host. Events are filled in place and
// not kept. Safe for concurrent use.
type Emitter interface {
	Emit(ctx context.Context, events ...event.Event) error
}

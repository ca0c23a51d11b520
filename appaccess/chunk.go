package appaccess

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"teleport/fault"
	"teleport/recorder"
	"teleport/types/event"
)

// chunkLife is how long a recording is that requests go into.
const chunkLife = 5 * time.Minute

// chunk is the recording of some minutes of a session. A next one begins with the
// first request after that; the audit log names each.
type chunk struct {
	x    *Session
	info recorder.Info

	mu    sync.Mutex
	rec   recorder.Recording
	until time.Time
}

// begin starts a recording where there is none, or where it is over.
func (c *chunk) begin(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current(ctx)
}

// current makes sure of a recording. c.mu is held.
func (c *chunk) current(ctx context.Context) error {
	now := time.Now()
	if c.rec != nil && now.Before(c.until) {
		return nil
	}
	info := c.info
	info.SessionID, info.Start = uuid.NewString(), now
	next, err := c.x.svc.cfg.Recorder.Start(ctx, info)
	if err != nil {
		return err
	}
	if next.Mode() != (recorder.Off{}).Mode() {
		err = c.x.emit(ctx, &event.AppChunk{ChunkID: info.SessionID, Recording: next.Mode()}, event.TypeAppChunk, event.CodeAppChunk)
	}
	if c.rec != nil {
		if err := c.rec.Close(); err != nil {
			c.x.svc.cfg.Log.Error("a recording could not be closed", "session", c.x.id, "error", err)
		}
	}
	c.rec, c.until = next, now.Add(chunkLife)
	return err
}

func (c *chunk) mode() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Mode()
}

// add puts an event into the recording.
func (c *chunk) add(ctx context.Context, e event.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.current(ctx); err != nil {
		return err
	}
	if c.rec.Mode() == (recorder.Off{}).Mode() {
		return nil
	}
	encoded, err := c.x.svc.codec.Encode(e)
	if err != nil {
		return err
	}
	text, err := encoded.JSON()
	if err != nil {
		return err
	}
	return fault.Wrap(c.rec.Event(text), fault.Unavailable, "the session cannot be recorded, so nothing may happen in it")
}

func (c *chunk) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rec == nil {
		return nil
	}
	err := c.rec.Close()
	c.rec = nil
	return err
}

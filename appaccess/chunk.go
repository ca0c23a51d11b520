package appaccess

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"teleport/fault"
	"teleport/recorder"
	"teleport/types/event"
)

// chunkLife is how long a recording is that requests go into.
const chunkLife = 5 * time.Minute

const (
	// behind is how far the recording may be behind the log.
	behind = 250 * time.Millisecond
	// mostLogged are recorded at once.
	mostLogged = 256
)

// chunk is the recording of some minutes of a session. A next one begins with the
// first request after that; the audit log names each. It takes what the log has,
// some at a time.
type chunk struct {
	x    *Session
	info recorder.Info

	writing    sync.Mutex // one write at a time: the recording has the order of the log
	introduced bool       // the recording says whose session it is; the events after that do not

	mu     sync.Mutex // taken after writing
	rec    recorder.Recording
	until  time.Time
	logged []event.Event // that the recording does not have yet
	failed error         // of the last write
	timer  *time.Timer
	armed  bool
}

// begin starts a recording where there is none, or where it is over.
func (c *chunk) begin(ctx context.Context) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.current(ctx)
}

// current makes sure of a recording. c.writing is held.
func (c *chunk) current(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, emitWithin)
	defer cancel()
	now := time.Now()
	c.mu.Lock()
	before, until := c.rec, c.until
	c.mu.Unlock()
	if before != nil && now.Before(until) {
		return nil
	}
	info := c.info
	info.SessionID, info.Start = uuid.NewString(), now
	next, err := c.x.svc.cfg.Recorder.Start(ctx, info)
	if err != nil {
		return err
	}
	if !off(next) {
		err = c.x.emit(ctx, &event.AppChunk{ChunkID: info.SessionID, Recording: next.Mode()}, event.TypeAppChunk, event.CodeAppChunk)
	}
	c.end(before)
	c.introduced = false
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rec, c.until, c.failed = next, now.Add(chunkLife), nil
	return err
}

func off(r recorder.Recording) bool { return r.Mode() == (recorder.Off{}).Mode() }

// end closes a recording, once it has what the log has. c.writing is held.
func (c *chunk) end(rec recorder.Recording) {
	if rec == nil {
		return
	}
	if err := errors.Join(c.record(), rec.Close()); err != nil {
		c.x.svc.cfg.Log.Error("a recording could not be closed", "session", c.x.id, "error", err)
	}
}

func (c *chunk) mode() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Mode()
}

// add puts an event, which the log has, into the recording: soon, or before it
// returns where the recording must have reached the auth service before anything
// happens, or where it could not be written last.
func (c *chunk) add(ctx context.Context, e event.Event) error {
	if c.queued(e) {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.current(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	if !off(c.rec) {
		c.logged = append(c.logged, e)
	}
	c.mu.Unlock()
	return c.record()
}

// queued leaves an event for later, where it may.
func (c *chunk) queued(e event.Event) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.rec == nil, c.failed != nil, len(c.logged) >= mostLogged-1, recorder.Waits(c.rec.Mode()), !time.Now().Before(c.until):
		return false
	case off(c.rec):
		return true
	}
	c.logged = append(c.logged, e)
	if c.armed {
		return true
	}
	if c.armed = true; c.timer == nil {
		c.timer = time.AfterFunc(behind, c.recordLater)
	} else {
		c.timer.Reset(behind)
	}
	return true
}

// recordLater brings the recording to where the log is. Where it cannot, the next
// request is told.
func (c *chunk) recordLater() {
	c.mu.Lock()
	c.armed = false
	c.mu.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.record(); err != nil {
		c.x.svc.cfg.Log.Error("requests could not be recorded", "session", c.x.id, "error", err)
	}
}

// record writes what waits. c.writing is held.
func (c *chunk) record() error {
	c.mu.Lock()
	list, rec := c.logged, c.rec
	c.logged = nil
	c.mu.Unlock()
	if len(list) == 0 || rec == nil {
		return nil
	}
	err := c.write(rec, list)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = err
	return err
}

// write puts events into the recording; the first says what all have in common.
// c.writing is held.
func (c *chunk) write(rec recorder.Recording, list []event.Event) error {
	texts := event.NewTexts()
	defer texts.Free()
	for i, e := range list {
		if err := texts.Add(c.x.svc.codec, e, i == 0 && !c.introduced); err != nil {
			return err
		}
	}
	if err := rec.Event(texts.List()...); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the session cannot be recorded, so nothing may happen in it")
	}
	c.introduced = true
	return nil
}

func (c *chunk) close() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	rec := c.rec
	if c.timer != nil {
		c.timer.Stop()
	}
	c.armed = false
	c.mu.Unlock()
	if rec == nil {
		return nil
	}
	err := errors.Join(c.record(), rec.Close())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rec = nil
	return err
}

package dbaccess

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"teleport/fault"
	"teleport/types/event"
)

// line is the events of a session that wait to be written: what one read of a
// client brought is one write, and what the database answered goes with the next
// statement.
type line struct {
	writing sync.Mutex // one write at a time: the log has the order of the line

	mu      sync.Mutex
	waiting []event.Event
	timer   *time.Timer
	armed   bool
}

const (
	// soon is how long an answer waits for a statement to be written with.
	soon = 20 * time.Millisecond
	// mostWaiting are written at once.
	mostWaiting = 256
)

// Tell puts an event of the session in line. It is written by Commit, or soon
// after CommitSoon.
func (s *Session) Tell(e event.Event, typ, code string) {
	m := e.EventMeta()
	m.Type, m.Code = typ, code
	if of, ok := e.(event.OfDatabase); ok {
		u, x, srv, db := of.OfDatabase()
		s.mu.Lock()
		*u, *x, *srv, *db = s.common.user, s.common.session, s.common.server, s.common.database
		s.mu.Unlock()
	}
	s.line.mu.Lock()
	defer s.line.mu.Unlock()
	s.line.waiting = append(s.line.waiting, e)
}

// Commit puts what was told into the audit log's spool, and into the recording.
// What was told must not happen when it fails.
func (s *Session) Commit(ctx context.Context) error {
	s.line.writing.Lock()
	defer s.line.writing.Unlock()
	s.line.mu.Lock()
	list := s.line.waiting
	s.line.waiting = nil
	s.line.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	if err := s.svc.cfg.Audit.Emit(ctx, list...); err != nil {
		s.svc.cfg.Log.Error("audit events could not be kept", "event", list[0].EventMeta().Type, "count", len(list), "error", err)
		return fault.Wrap(err, fault.Unavailable, "the audit log cannot be written, so nothing may happen here")
	}
	if s.rec == nil {
		return nil
	}
	texts := make([][]byte, len(list))
	for i, e := range list {
		var err error
		if texts[i], err = json.Marshal(e); err != nil {
			return err
		}
	}
	return fault.Wrap(s.rec.Event(texts...), fault.Unavailable, "the session cannot be recorded, so nothing may happen in it")
}

// CommitSoon sees to it that what was told is written within 20 ms: for what has
// happened already, such as the result of a statement. A write that fails then
// ends the session.
func (s *Session) CommitSoon(ctx context.Context) error {
	l := &s.line
	l.mu.Lock()
	n := len(l.waiting)
	if n > 0 && n < mostWaiting && !l.armed {
		l.armed = true
		if l.timer == nil {
			l.timer = time.AfterFunc(soon, s.commitLater)
		} else {
			l.timer.Reset(soon)
		}
	}
	l.mu.Unlock()
	if n >= mostWaiting {
		return s.Commit(ctx)
	}
	return nil
}

func (s *Session) commitLater() {
	s.line.mu.Lock()
	s.line.armed = false
	s.line.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), emitWithin)
	defer cancel()
	if err := s.Commit(ctx); err != nil {
		s.cancel(err)
	}
}

// Emit is Tell and Commit.
func (s *Session) Emit(ctx context.Context, e event.Event, typ, code string) error {
	s.Tell(e, typ, code)
	return s.Commit(ctx)
}

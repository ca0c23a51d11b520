package dbaccess

import (
	"context"
	"sync"
	"time"

	"teleport/fault"
	"teleport/recorder"
	"teleport/types/event"
)

// line is the events of a session that wait to be written. What one read of a
// client brought is one write into the audit log's spool, and what the database
// answered goes with the next statement. The recording, which tells the same once
// more, takes what the log has, some at a time.
type line struct {
	writing sync.Mutex // one write at a time: the log and the recording have the order of the line

	mu      sync.Mutex
	waiting []event.Event
	since   time.Time // when the first of waiting was told
	logged  []event.Event
	commit  later
	record  later
}

// later is a call that is to come. A timer that runs already is left to run: to
// move it with each event would wake up a thread with each.
type later struct {
	timer *time.Timer
	armed bool
}

// in has f called within d. The line's mu is held.
func (l *later) in(d time.Duration, f func()) {
	switch {
	case l.armed:
		return
	case l.timer == nil:
		l.timer = time.AfterFunc(d, f)
	default:
		l.timer.Reset(d)
	}
	l.armed = true
}

const (
	// soon is how long an answer waits for a statement to be written with.
	soon = 50 * time.Millisecond
	// behind is how far the recording may be behind the log.
	behind = 250 * time.Millisecond
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
	if len(s.line.waiting) == 0 {
		s.line.since = time.Now()
	}
	s.line.waiting = append(s.line.waiting, e)
}

// Commit puts what was told into the audit log's spool. What was told must not
// happen when it fails. The recording follows, unless it is one that must have
// reached the auth service before anything happens.
func (s *Session) Commit(ctx context.Context) error {
	s.line.writing.Lock()
	defer s.line.writing.Unlock()
	list := s.line.take(&s.line.waiting)
	if len(list) == 0 {
		return nil
	}
	if err := s.svc.cfg.Audit.Emit(ctx, list...); err != nil {
		s.svc.cfg.Log.Error("audit events could not be kept", "event", list[0].EventMeta().Type, "count", len(list), "error", err)
		return fault.Wrap(err, fault.Unavailable, "the audit log cannot be written, so nothing may happen here")
	}
	if s.rec == nil || s.rec.Mode() == (recorder.Off{}).Mode() {
		return nil
	}
	s.line.mu.Lock()
	s.line.logged = append(s.line.logged, list...)
	n := len(s.line.logged)
	s.line.record.in(behind, s.recordLater)
	s.line.mu.Unlock()
	if n >= mostWaiting || recorder.Waits(s.rec.Mode()) {
		return s.record()
	}
	return nil
}

// take empties a list of the line.
func (l *line) take(list *[]event.Event) []event.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := *list
	*list = nil
	return taken
}

// record puts what the log has into the recording. line.writing is held.
func (s *Session) record() error {
	list := s.line.take(&s.line.logged)
	if len(list) == 0 {
		return nil
	}
	texts := event.NewTexts()
	defer texts.Free()
	for _, e := range list {
		if err := texts.Add(s.svc.codec, e, introduces(e)); err != nil {
			return err
		}
	}
	return fault.Wrap(s.rec.Event(texts.List()...), fault.Unavailable, "the session cannot be recorded, so nothing may happen in it")
}

// introduces reports whether an event says in a recording what every event of its
// session does. The others leave it out there.
func introduces(e event.Event) bool {
	switch e.(type) {
	case *event.DBStart, *event.DBEnd:
		return true
	}
	return false
}

// CommitSoon sees to it that what was told is written within 50 ms: for what has
// happened already, such as the result of a statement. A write that fails then
// ends the session.
func (s *Session) CommitSoon(ctx context.Context) error {
	s.line.mu.Lock()
	n := len(s.line.waiting)
	if n > 0 && n < mostWaiting {
		s.line.commit.in(soon, s.commitLater)
	}
	s.line.mu.Unlock()
	if n >= mostWaiting {
		return s.Commit(ctx)
	}
	return nil
}

// commitLater writes what has waited for long enough.
func (s *Session) commitLater() {
	s.line.mu.Lock()
	s.line.commit.armed = false
	left := soon - time.Since(s.line.since)
	if len(s.line.waiting) > 0 && left > 0 {
		s.line.commit.in(left, s.commitLater)
	}
	s.line.mu.Unlock()
	if left > 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), emitWithin)
	defer cancel()
	if err := s.Commit(ctx); err != nil {
		s.cancel(err)
	}
}

// recordLater brings the recording to where the log is. Where it cannot, the
// session ends.
func (s *Session) recordLater() {
	s.line.mu.Lock()
	s.line.record.armed = false
	s.line.mu.Unlock()
	if err := s.catchUp(); err != nil {
		s.cancel(err)
	}
}

// catchUp brings the recording to where the log is.
func (s *Session) catchUp() error {
	s.line.writing.Lock()
	defer s.line.writing.Unlock()
	return s.record()
}

// Emit is Tell and Commit.
func (s *Session) Emit(ctx context.Context, e event.Event, typ, code string) error {
	s.Tell(e, typ, code)
	return s.Commit(ctx)
}

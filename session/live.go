package session

import (
	"errors"
	"time"

	"teleport/access"
)

// Info returns what was filed.
func (l *Live) Info() Info { return l.info }

// Touch notes that bytes moved. It is cheap enough for every read and write.
func (l *Live) Touch() { l.last.Store(int64(time.Since(l.reg.epoch))) }

// active is when it was touched.
func (l *Live) active() time.Time { return l.reg.epoch.Add(time.Duration(l.last.Load())) }

// Cut ends the stream for a reason, once.
func (l *Live) Cut(reason error) {
	l.once.Do(func() {
		l.stop()
		l.cancel(reason)
	})
}

// Close takes the stream out of the registry; its cancel will not be called any
// more, unless it is running already. Closing twice is fine.
func (l *Live) Close() {
	l.once.Do(l.stop)
	l.reg.remove(l)
}

func (l *Live) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, t := range []*time.Timer{l.idle, l.expiry} {
		if t != nil {
			t.Stop()
		}
	}
}

// decide asks the policy again; a no comes back as a CutError. New limits that
// are tighter take effect at once.
func (l *Live) decide(now time.Time) error {
	if at := l.Limits().Deadline; !at.IsZero() && !now.Before(at) {
		return errExpired() // its timer does not know of a clock that was set ahead
	}
	if l.info.Decide == nil {
		return nil
	}
	d := l.info.Decide(now)
	if !d.Allow {
		code, text := CutPolicy, "access to this session was withdrawn"
		for _, r := range d.Reasons {
			if r.Code == "locked" {
				code = CutLocked
			}
			if r.Text != "" {
				text = r.Text
			}
		}
		return cut(code, "%s", text)
	}
	l.mu.Lock()
	before := l.limits
	l.limits = d.Limits
	l.mu.Unlock()
	if d.Limits.Deadline != before.Deadline || d.Limits.IdleTimeout != before.IdleTimeout {
		l.arm(now)
	}
	if d.Limits != before && l.info.LimitsChanged != nil {
		l.info.LimitsChanged()
	}
	return nil
}

// arm sets both timers from the limits.
func (l *Live) arm(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.expiry = rearm(l.expiry, l.limits.Deadline, now, l.expired)
	l.idle = rearm(l.idle, l.idleAt(), time.Now(), l.idleCheck)
}

// idleAt is when the stream will have been idle for too long; zero is never.
func (l *Live) idleAt() time.Time {
	if l.limits.IdleTimeout <= 0 {
		return time.Time{}
	}
	return l.active().Add(l.limits.IdleTimeout)
}

func rearm(t *time.Timer, at, now time.Time, fire func()) *time.Timer {
	if t != nil {
		t.Stop()
	}
	if at.IsZero() {
		return nil
	}
	return time.AfterFunc(max(at.Sub(now), 0), fire)
}

func (l *Live) expired() {
	l.Cut(errExpired())
}

func errExpired() *CutError {
	return cut(CutExpired, "the certificate of this session has expired")
}

// idleCheck runs when the stream would be idle if nobody had touched it since
// the timer was set. Touch itself sets no timer.
func (l *Live) idleCheck() {
	now := time.Now()
	l.mu.Lock()
	at, limit := l.idleAt(), l.limits.IdleTimeout
	if l.closed || at.IsZero() {
		l.mu.Unlock()
		return
	}
	if at.After(now) {
		l.idle = rearm(l.idle, at, now, l.idleCheck)
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	msg := l.info.IdleMessage
	if msg == "" {
		msg = "the session was idle for " + limit.String()
	}
	l.Cut(cut(CutIdle, "%s", msg))
}

// Limits returns the limits that hold now.
func (l *Live) Limits() access.Limits {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limits
}

// CutReason returns the code of a cut, or "" for any other error.
func CutReason(err error) string {
	var c *CutError
	if errors.As(err, &c) {
		return c.Code
	}
	return ""
}

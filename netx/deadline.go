package netx

import (
	"sync"
	"time"
)

// Deadline is a time that a waiter can wait for, for connections that are not of
// the system. Safe for concurrent use.
type Deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{}
	fire   func()
}

// NewDeadline returns one that is not set. fire is called each time it passes, to
// wake whoever cannot wait for a channel.
func NewDeadline(fire func()) *Deadline {
	return &Deadline{passed: make(chan struct{}), fire: fire}
}

// Set changes the deadline; the zero time is none.
func (d *Deadline) Set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	select {
	case <-d.passed:
		d.passed = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	passed := d.passed
	end := func() {
		d.mu.Lock()
		if d.passed == passed {
			select {
			case <-passed:
			default:
				close(passed)
			}
		}
		d.mu.Unlock()
		d.fire()
	}
	if left := time.Until(t); left > 0 {
		d.timer = time.AfterFunc(left, end)
		return
	}
	close(passed)
	go d.fire() // our caller may hold what fire needs
}

// Wait returns a channel that is closed once the deadline has passed.
func (d *Deadline) Wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

// Over reports whether it has passed.
func (d *Deadline) Over() bool {
	select {
	case <-d.Wait():
		return true
	default:
		return false
	}
}

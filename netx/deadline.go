package netx

import (
	"sync"
	"time"
)

// Deadline is a time that a waiter can wait for, for connections that are not of
// the system. Safe for concurrent use.
type Deadline struct {
	mu     sync.Mutex
	timer  *time.Timer // nil: none runs
	sets   uint64      // counts timers
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
	if left := time.Until(t); left > 0 {
		d.sets++
		set := d.sets
		d.timer = time.AfterFunc(left, func() { d.end(set) })
		return
	}
	close(d.passed)
	go d.fire() // our caller may hold what fire needs
}

// end is that of a timer, which may have gone off while the deadline was moved.
func (d *Deadline) end(set uint64) {
	d.mu.Lock()
	mine := d.timer != nil && d.sets == set
	if mine {
		d.timer = nil
		close(d.passed)
	}
	d.mu.Unlock()
	if mine {
		d.fire()
	}
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

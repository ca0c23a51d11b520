package resume

import (
	"sync"
	"time"
)

// deadline is a time that a waiter can wait for. fire is called when it passes,
// to wake whoever cannot wait for a channel.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	passed chan struct{}
	fire   func()
}

func newDeadline(fire func()) *deadline { return &deadline{passed: make(chan struct{}), fire: fire} }

// set changes the deadline; the zero time is none.
func (d *deadline) set(t time.Time) {
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

// wait returns a channel that is closed once the deadline has passed.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.passed
}

func (d *deadline) over() bool {
	select {
	case <-d.wait():
		return true
	default:
		return false
	}
}

// Package steady is a clock for everything that has an end: certificates, locks,
// leases. It is the machine's own, but never goes back: what has ended once in a
// process stays ended when somebody, or a bad time server, sets the clock back.
// While the machine's clock is behind, time goes on from the latest that was
// seen. A process that starts anew believes the clock that it finds.
package steady

import (
	"sync"
	"time"
)

// Clock is such a clock. Safe for concurrent use.
type Clock struct {
	wall    func() time.Time
	elapsed func() time.Duration
	setBack func(by time.Duration)

	mu     sync.Mutex
	latest time.Time     // that was seen
	at     time.Duration // when
	behind time.Duration // as it was told
}

// notable is by how much a clock must be set back to be told of: time servers
// correct by less.
const notable = 5 * time.Second

// New returns a clock that follows this machine's. setBack is called, once for
// each time, when that was set back by more than seconds; nil: nobody is told.
func New(setBack func(by time.Duration)) *Clock {
	start := time.Now()
	return Of(func() time.Time { return time.Now().Round(0) }, func() time.Duration { return time.Since(start) }, setBack)
}

// Of returns a clock over another source of time: wall may go back, elapsed
// never does.
func Of(wall func() time.Time, elapsed func() time.Duration, setBack func(by time.Duration)) *Clock {
	return &Clock{wall: wall, elapsed: elapsed, setBack: setBack, latest: wall(), at: elapsed()}
}

// Now is the time, never before one that it has been. It carries no monotonic
// reading.
func (c *Clock) Now() time.Time {
	now, by := c.read()
	if by > 0 && c.setBack != nil {
		c.setBack(by)
	}
	return now
}

func (c *Clock) read() (now time.Time, tell time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall, elapsed := c.wall(), c.elapsed()
	due := c.latest.Add(elapsed - c.at)
	if !wall.Before(due) {
		c.latest, c.at, c.behind = wall, elapsed, 0
		return wall, 0
	}
	by := due.Sub(wall)
	if by-c.behind < notable {
		return due, 0
	}
	c.behind = by
	return due, by
}

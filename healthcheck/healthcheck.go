// Package healthcheck watches whether what an agent fronts is there, for services
// of every family: it asks each target at an interval, and keeps the outcome as
// the health that the agent announces. A health changes only when enough checks in
// a row say so, and nothing is told while nothing changes: announcements are
// writes to the cluster's store.
package healthcheck

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"teleport/lifecycle"
	"teleport/types"
)

// Plan is how a target is checked; see types.HealthCheckSpec.
type Plan struct {
	Interval, Timeout  time.Duration
	Healthy, Unhealthy int // checks in a row
}

// Target is a resource to check.
type Target struct {
	Name string // unique among the targets of a Checker
	Addr string // as its health tells it
	Plan Plan   // the zero plan: it is not checked
	// Check asks the resource once, within the plan's timeout.
	Check func(ctx context.Context) error
}

// Checker checks targets. Safe for concurrent use.
type Checker struct {
	log     *slog.Logger
	changed chan struct{} // capacity 1
	wake    chan struct{} // capacity 1
	turns   chan struct{} // checks at the same moment

	mu      sync.Mutex
	watched map[string]*watch
}

// watch is one target and what is known of it. Its fields are guarded by
// Checker.mu.
type watch struct {
	target Target
	health types.TargetHealth
	run    int                // checks in a row with the same outcome
	ok     bool               // that outcome
	cancel context.CancelFunc // nil: nobody checks it yet
	gone   bool
}

// mostAtOnce is how many checks go on at the same moment, so that an agent that
// fronts thousands does not open as many connections.
const mostAtOnce = 32

// New makes a checker without targets. Serve checks them.
func New(log *slog.Logger) *Checker {
	return &Checker{log: log, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1), turns: make(chan struct{}, mostAtOnce), watched: map[string]*watch{}}
}

// Changed ticks when some health has changed; ticks coalesce. There is one, for
// one reader.
func (c *Checker) Changed() <-chan struct{} { return c.changed }

// Health is what is known of a target; the zero value for one that is not
// watched.
func (c *Checker) Health(name string) types.TargetHealth {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.watched[name]; w != nil {
		return w.health
	}
	return types.TargetHealth{}
}

// Set replaces the targets. What is known of one stays while its address does.
func (c *Checker) Set(targets []Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.watched
	c.watched = make(map[string]*watch, len(targets))
	for _, t := range targets {
		w := old[t.Name]
		switch {
		case w == nil || w.target.Addr != t.Addr || (w.target.Plan == Plan{}) != (t.Plan == Plan{}):
			w = begin(t)
		case w.target.Plan != t.Plan:
			w = &watch{target: t, health: w.health, run: w.run, ok: w.ok}
		default:
			w.target = t
		}
		c.watched[t.Name] = w
	}
	for name, w := range old {
		if c.watched[name] != w {
			w.end()
		}
	}
	signal(c.wake)
}

// begin is the watch of a target of which nothing is known.
func begin(t Target) *watch {
	w := &watch{target: t, health: types.TargetHealth{Addr: t.Addr, Protocol: "TCP", Since: time.Now().UTC().Round(0)}}
	if t.Plan == (Plan{}) {
		w.health.Status, w.health.Reason, w.health.Message = types.HealthDisabled, types.HealthReasonDisabled, "no health_check_config matches"
	} else {
		w.health.Status, w.health.Reason = types.HealthInitialized, types.HealthReasonInitialized
	}
	return w
}

// end stops a watch that is no more. The caller holds the lock.
func (w *watch) end() {
	w.gone = true
	if w.cancel != nil {
		w.cancel()
	}
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Serve checks the targets until ctx ends.
func (c *Checker) Serve(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for {
		for _, w := range c.idle(ctx) {
			work.Go(func() { c.follow(w.ctx, w.watch) })
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// started is a watch with the life that it was given.
type started struct {
	*watch
	ctx context.Context
}

// idle returns the watches that have a plan, and that nobody checks yet.
func (c *Checker) idle(ctx context.Context) []started {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []started
	for _, w := range c.watched {
		if w.cancel != nil || w.target.Plan == (Plan{}) {
			continue
		}
		s := started{watch: w}
		s.ctx, w.cancel = context.WithCancel(ctx)
		out = append(out, s)
	}
	return out
}

// follow checks one target at once, then at some moment of the first interval's
// second half, so that targets which came together are not always asked together,
// and from there on at each interval.
func (c *Checker) follow(ctx context.Context, w *watch) {
	for n := 0; ; n++ {
		c.mu.Lock()
		t := w.target
		c.mu.Unlock()
		err := c.once(ctx, t)
		if ctx.Err() != nil {
			return
		}
		c.note(w, err)
		pause := t.Plan.Interval
		if n == 0 {
			pause = lifecycle.Backoff{Min: pause, Max: pause}.Delay(1)
		}
		if lifecycle.Sleep(ctx, pause) != nil {
			return
		}
	}
}

// once asks a target. The wait for a turn is not the target's.
func (c *Checker) once(ctx context.Context, t Target) error {
	select {
	case c.turns <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turns }()
	ctx, cancel := context.WithTimeout(ctx, t.Plan.Timeout)
	defer cancel()
	return t.Check(ctx)
}

// note counts an outcome. The first of all decides at once, later ones when there
// are enough in a row.
func (c *Checker) note(w *watch, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.gone {
		return
	}
	if ok := err == nil; w.run == 0 || w.ok != ok {
		w.run, w.ok = 0, ok
	}
	w.run++
	status, need := types.HealthHealthy, w.target.Plan.Healthy
	if !w.ok {
		status, need = types.HealthUnhealthy, w.target.Plan.Unhealthy
	}
	h := &w.health
	if h.Status == status || h.Status != types.HealthInitialized && w.run < need {
		return
	}
	h.Status, h.Reason, h.Since = status, types.HealthReasonThreshold, time.Now().UTC().Round(0)
	h.LastError, h.Message = why(err, w.target.Plan.Timeout), message(w.run, w.ok)
	level := slog.LevelInfo
	if !w.ok {
		level = slog.LevelWarn
	}
	c.log.Log(context.Background(), level, "the health of a resource has changed", "resource", w.target.Name, "addr", h.Addr, "status", status, "error", err)
	signal(c.changed)
}

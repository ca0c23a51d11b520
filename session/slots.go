package session

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"teleport/fault"
	"teleport/lifecycle"
)

// Held is a connection of a user who may have only so many (max_connections).
type Held struct {
	ID   string // of the connection; a UUID
	User string
	// Credential is the certificate that the user showed for it.
	Credential string
}

// Counter counts the connections of the whole cluster: the auth service does.
type Counter interface {
	// Hold takes slots, or renews those that are held. It returns what is wrong with
	// each connection, in their order and empty where nothing is, and how long a slot
	// lives that is not renewed.
	Hold(ctx context.Context, connections []Held) (refusals []string, lease time.Duration, err error)
	// Release gives slots back. Giving back what is not held is harmless.
	Release(ctx context.Context, connections []Held) error
}

// Slots holds the slots of this process's connections. A new connection of a
// user with a limit begins with a slot or not at all; without an answer there is
// none. What is live goes on while the auth service is away, and is cut when its
// slot has run out meanwhile and was taken by another connection. Users without a
// limit cost nothing. Safe for concurrent use.
type Slots struct {
	counter Counter
	log     *slog.Logger
	poke    chan struct{} // capacity 1

	mu    sync.Mutex
	held  map[string]*slot
	owed  map[string]owed // not given back yet
	lease time.Duration
}

// slot is one connection of this process.
type slot struct {
	Held
	live *Live // nil until it is followed
	told int   // the limit under which it was counted; 0: it is not counted
}

// owed is a slot that the auth service may still count.
type owed struct {
	Held
	until time.Time // then it has run out
}

const (
	holdMost     = 64 // connections in one call
	holdWithin   = 5 * time.Second
	giveWithin   = 2 * time.Second
	holdAgain    = 10 * time.Second // after a call that failed
	assumedLease = 2 * time.Minute  // before the auth service has said
)

// takePauses come before each attempt to take a slot: the connection that a
// person has just left may still hold one.
var takePauses = [...]time.Duration{0, 300 * time.Millisecond, 900 * time.Millisecond}

// NewSlots returns slots without connections. It starts nothing.
func NewSlots(counter Counter, log *slog.Logger) *Slots {
	return &Slots{counter: counter, log: log, poke: make(chan struct{}, 1), held: map[string]*slot{}, owed: map[string]owed{}, lease: assumedLease}
}

// Take takes the slot of a new connection, where most says that there is a limit.
// The error is fault.Limit where there is no room, and fault.Unavailable where
// nobody could be asked. Whoever took a slot gives it back with Give.
func (s *Slots) Take(ctx context.Context, h Held, most int) error {
	if most <= 0 {
		return nil
	}
	if s == nil {
		return fault.New(fault.Unavailable, "your connections are limited (max_connections), and nobody here can count them")
	}
	ctx, cancel := context.WithTimeout(ctx, holdWithin)
	defer cancel()
	refusal := ""
	for _, pause := range takePauses {
		if err := lifecycle.Sleep(ctx, pause); err != nil {
			break
		}
		refusals, lease, err := s.counter.Hold(ctx, []Held{h})
		if err != nil {
			s.owe(h) // it may have been counted
			return fault.Wrap(err, fault.Unavailable, "your connections are limited (max_connections), and the auth service, which counts them, does not answer: try again later")
		}
		if refusal = refusals[0]; refusal == "" {
			s.mu.Lock()
			shorter := lease < s.lease
			s.held[h.ID], s.lease = &slot{Held: h, told: most}, lease
			s.mu.Unlock()
			if shorter {
				s.Changed() // its renewal may be due before the next one
			}
			return nil
		}
	}
	return fault.New(fault.Limit, "%s", refusal)
}

// Follow holds a live connection to its limit from now on: as roles change it is
// counted, or not any more, and cut where there is no room.
func (s *Slots) Follow(h Held, l *Live) {
	if s == nil {
		return
	}
	s.mu.Lock()
	c := s.held[h.ID]
	if c == nil {
		c = &slot{Held: h}
		s.held[h.ID] = c
	}
	c.live = l
	changed := l.Limits().MaxConnections != c.told
	s.mu.Unlock()
	if changed {
		s.Changed()
	}
}

// Changed says that limits of live connections may have changed.
func (s *Slots) Changed() {
	if s == nil {
		return
	}
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// Give ends the count of a connection. It waits for a moment, so that the next
// one finds room; what cannot be given back now is given later, or runs out.
func (s *Slots) Give(id string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	c := s.held[id]
	delete(s.held, id)
	s.mu.Unlock()
	if c == nil || c.told == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), giveWithin)
	defer cancel()
	if err := s.counter.Release(ctx, []Held{c.Held}); err != nil {
		s.owe(c.Held)
	}
}

func (s *Slots) owe(h Held) {
	s.mu.Lock()
	s.owed[h.ID] = owed{h, time.Now().Add(s.lease)}
	s.mu.Unlock()
	s.Changed()
}

// Serve renews the slots until ctx ends.
func (s *Slots) Serve(ctx context.Context) error {
	due := time.Now().Add(s.third())
	next := time.NewTimer(time.Until(due))
	defer next.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return nil
		case <-s.poke:
		case <-next.C:
			all = true
		}
		err := s.settle(ctx)
		if err == nil {
			err = s.renew(ctx, all)
		}
		pause := s.third()
		if err != nil && ctx.Err() == nil {
			s.log.Warn("connections of users with a limit could not be counted; they go on", "error", err)
			pause = min(pause, holdAgain)
		}
		if at := time.Now().Add(pause); all || at.Before(due) {
			due = at
			next.Reset(pause)
		}
	}
}

func (s *Slots) third() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lease / 3
}

// settle gives back what is owed, and forgets what has run out.
func (s *Slots) settle(ctx context.Context) error {
	s.mu.Lock()
	var list []Held
	for id, o := range s.owed {
		if _, back := s.held[id]; back || !time.Now().Before(o.until) {
			delete(s.owed, id)
		} else {
			list = append(list, o.Held)
		}
	}
	s.mu.Unlock()
	for len(list) > 0 {
		part := list[:min(holdMost, len(list))]
		list = list[len(part):]
		within, cancel := context.WithTimeout(ctx, holdWithin)
		err := s.counter.Release(within, part)
		cancel()
		if err != nil {
			return err
		}
		s.mu.Lock()
		for _, h := range part {
			delete(s.owed, h.ID)
		}
		s.mu.Unlock()
	}
	return nil
}

// renew counts the connections whose limit has changed, or all that have one.
func (s *Slots) renew(ctx context.Context, all bool) error {
	list, limits := s.due(all)
	for len(list) > 0 {
		n := min(holdMost, len(list))
		within, cancel := context.WithTimeout(ctx, holdWithin)
		refusals, lease, err := s.counter.Hold(within, list[:n])
		cancel()
		if err != nil {
			return err
		}
		cutAll(s.counted(list[:n], limits[:n], refusals, lease))
		list, limits = list[n:], limits[n:]
	}
	return nil
}

// due picks the connections to count, with their limits.
func (s *Slots) due(all bool) (list []Held, limits []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.held {
		if c.live == nil {
			continue // it has just been taken
		}
		most := c.live.Limits().MaxConnections
		switch {
		case most == 0 && c.told != 0:
			c.told = 0 // its slot runs out
		case most != 0 && (all || most != c.told):
			list, limits = append(list, c.Held), append(limits, most)
		}
	}
	return list, limits
}

// counted takes note of an answer, and returns the connections that must end.
func (s *Slots) counted(list []Held, limits []int, refusals []string, lease time.Duration) (ends []ending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lease = lease
	for i, h := range list {
		c := s.held[h.ID]
		switch {
		case c == nil: // it ended meanwhile, perhaps before it was counted once more
			s.owed[h.ID] = owed{h, time.Now().Add(lease)}
			s.Changed()
		case refusals[i] != "":
			c.told = limits[i]
			ends = append(ends, ending{c.live, cut(CutConnections, "%s", refusals[i])})
		default:
			c.told = limits[i]
		}
	}
	return ends
}

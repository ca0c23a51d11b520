package session

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/predicate"
	"teleport/types"
)

// States of a shared session, as trackers name them.
const (
	StatePending    = "pending" // nothing runs yet: who must be present is not
	StateRunning    = "running"
	StatePaused     = "paused" // it ran, and somebody who must be present left, or a moderator paused it
	StateTerminated = "terminated"
)

// Bounds of what is kept for those who watch.
const (
	recentMost  = 64 << 10  // of output, for whoever joins
	behindMost  = 256 << 10 // waiting for one party; who falls behind further is dropped
	partiesMost = 64
	// behindFor is how long a session that somebody must watch waits for those who
	// are behind, before they are dropped too.
	behindFor = 5 * time.Second
	// pressEvery is how soon a moderator's key counts again: everybody is told of it.
	pressEvery = time.Second / 2
)

// SharedConfig is what a shared session is made from.
type SharedConfig struct {
	Owner string // user
	// Present is the owner as trackers show it.
	Present  types.Participant
	Required access.Attendance
	Cache    *predicate.Cache // may be nil
	// Notice takes a line that everybody present is told, for the owner. Changed
	// takes the state and who is present after each change. Both are called in
	// order, with the session held: they must neither block nor call it.
	Notice  func(line string)
	Changed func(state string, present []types.Participant)
	// Terminate ends what the session runs. It is called at most once, and may block.
	Terminate func(reason error)
}

// Shared is a live session with everybody in it: it shows output to the parties
// beside its owner, and waits for those who must be present. Nobody who reads
// slowly delays the others, unless the session needs somebody to watch it. Safe
// for concurrent use.
type Shared struct {
	c SharedConfig

	mu      sync.Mutex
	state   string
	why     error         // of the end
	turned  chan struct{} // closed and made anew when the state changes
	parties []*Party
	holder  *Party    // the moderator whose pause it is, nil where none is
	pressed time.Time // when a moderator last paused or went on
	recent  []byte
	cut     bool // recent does not begin where the output began
	size    Size
}

// Size is that of a terminal; zero without one.
type Size struct{ Columns, Rows int }

// NewShared returns a session that runs, or waits where somebody must be present.
func NewShared(c SharedConfig) *Shared {
	s := &Shared{c: c, state: StateRunning, turned: make(chan struct{})}
	if missing := s.missing(); missing != "" {
		s.state = StatePending
		c.Notice("This session waits for " + missing + ". Ctrl-C cancels it.")
	}
	return s
}

// State returns the state of now.
func (s *Shared) State() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Running reports whether input may pass.
func (s *Shared) Running() bool { return s.State() == StateRunning }

// Why returns the reason of the session's end, nil before it.
func (s *Shared) Why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// Await blocks while the session waits or pauses. It returns nil when it runs,
// and otherwise why it never will.
func (s *Shared) Await(ctx context.Context) error {
	for {
		s.mu.Lock()
		state, why, turned := s.state, s.why, s.turned
		s.mu.Unlock()
		switch state {
		case StateRunning:
			return nil
		case StateTerminated:
			return why
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return fault.Wrap(context.Cause(ctx), fault.Canceled, "the session ended while it waited")
		}
	}
}

// Show gives output to the parties beside the owner. It does not keep p. Where
// somebody must be present, it may wait for those who are behind.
func (s *Shared) Show(p []byte) {
	s.mu.Lock()
	s.keep(p)
	var behind []*Party
	for _, party := range s.parties {
		if !party.put(p) {
			behind = append(behind, party)
		}
	}
	s.mu.Unlock()
	if len(behind) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), behindFor)
	defer cancel()
	for _, party := range behind {
		if !s.c.Required.Any() || !party.await(ctx, p) {
			party.fall()
			s.Leave(party) // who sees nothing counts for nobody
		}
	}
}

// keep remembers the end of the output.
func (s *Shared) keep(p []byte) {
	if len(p) >= recentMost {
		s.recent, s.cut = append(s.recent[:0], p[len(p)-recentMost:]...), true
		return
	}
	// Twice the bound before anything moves: each byte is moved once at most.
	if len(s.recent)+len(p) > 2*recentMost {
		s.recent = append(s.recent[:0], s.recent[len(s.recent)-recentMost+len(p):]...)
		s.cut = true
	}
	s.recent = append(s.recent, p...)
}

// Resize tells the parties of the owner's terminal.
func (s *Shared) Resize(size Size) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size = size
	for _, p := range s.parties {
		p.resize(size)
	}
}

// Terminate ends the session for everybody, once.
func (s *Shared) Terminate(reason error) {
	if s.end(reason) && s.c.Terminate != nil {
		s.c.Terminate(reason)
	}
}

// Close says that what ran has ended: the parties are told, and nobody joins
// any more.
func (s *Shared) Close() { s.end(fault.New(fault.Unavailable, "the session has ended")) }

func (s *Shared) end(reason error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == StateTerminated {
		return false
	}
	s.why = reason
	s.turn(StateTerminated)
	for _, p := range s.parties {
		p.end(reason)
	}
	return true
}

// turn changes the state. The caller holds s.mu.
func (s *Shared) turn(state string) {
	s.state = state
	close(s.turned)
	s.turned = make(chan struct{})
}

// Join adds a party, which is first shown what the owner sees now. It refuses
// once the session has ended.
func (s *Shared) Join(who Attendant) (*Party, error) {
	s.mu.Lock()
	if s.state == StateTerminated {
		defer s.mu.Unlock()
		return nil, s.why
	}
	if len(s.parties) >= partiesMost {
		defer s.mu.Unlock()
		return nil, fault.New(fault.Limit, "at most %d people can join a session", partiesMost)
	}
	p := newParty(who)
	p.resize(s.size)
	p.put(s.screen())
	s.parties = append(s.parties, p)
	s.announce(who.User + " joined as " + who.Mode)
	reason := s.settle()
	s.mu.Unlock()
	if reason != nil {
		s.Terminate(reason)
	}
	return p, nil
}

var errGone = fault.New(fault.Canceled, "the seat was given up")

// Press is a moderator's key that pauses the session, and lets it go on again,
// where who must be present is. It does nothing for anybody else, nor for the
// owner, who may have joined as a moderator too, nor within half a second; counted
// is false then.
func (s *Shared) Press(p *Party) (paused, counted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != StateRunning && s.state != StatePaused || p.who.Mode != access.ModeModerator || p.who.User == s.c.Owner ||
		!slices.Contains(s.parties, p) || time.Since(s.pressed) < pressEvery {
		return false, false
	}
	s.pressed = time.Now()
	if s.holder == nil {
		s.holder = p
		if s.state == StateRunning {
			s.turn(StatePaused)
		}
		s.announce("the moderator " + p.who.User + " pauses the session; until a moderator lets it go on nothing is shown, and what is typed goes nowhere")
		s.changed()
		return true, true
	}
	s.holder = nil
	if missing := s.missing(); missing != "" {
		s.announce("the moderator " + p.who.User + " ends the pause; the session waits for " + missing)
		return false, true
	}
	s.turn(StateRunning)
	s.announce("the moderator " + p.who.User + " lets the session go on")
	s.changed()
	return false, true
}

// Leave takes a party out. The pause of a moderator ends when they leave: what
// follows is what the session's own policy says of that.
func (s *Shared) Leave(p *Party) {
	s.mu.Lock()
	i := slices.Index(s.parties, p)
	if i < 0 {
		s.mu.Unlock()
		return
	}
	s.parties = slices.Delete(s.parties, i, i+1)
	p.end(errGone)
	if s.holder == p {
		s.holder = nil
		s.announce(p.who.User + " left, which ends their pause")
	} else {
		s.announce(p.who.User + " left")
	}
	reason := s.settle()
	s.mu.Unlock()
	if reason != nil {
		s.Terminate(reason)
	}
}

// settle holds who is present against who must be, and returns the reason where
// the session must end. The caller holds s.mu.
func (s *Shared) settle() error {
	if s.state == StateTerminated {
		return nil
	}
	missing := s.missing()
	switch {
	case missing == "" && s.holder != nil:
		// A moderator has paused it, whoever comes and goes.
	case missing == "" && s.state != StateRunning:
		s.turn(StateRunning)
		s.announce("everybody who must be present is: the session goes on")
	case missing != "" && s.state == StateRunning && s.c.Required.Pauses():
		s.turn(StatePaused)
		s.announce("the session pauses and waits for " + missing + "; until then nothing is shown, and what is typed goes nowhere")
	case missing != "" && s.state != StatePending && !s.c.Required.Pauses():
		return cut(CutAttendance, "the session ends, as somebody who must be present left: it needs %s", missing)
	case missing != "":
		s.announce("the session waits for " + missing)
	}
	s.changed()
	return nil
}

// missing says who must be present and is not. The owner counts for nobody,
// joined a second time either.
func (s *Shared) missing() string {
	if !s.c.Required.Any() {
		return ""
	}
	var present []access.Attendee
	for _, p := range s.parties {
		if p.who.User != s.c.Owner {
			present = append(present, access.Attendee{User: p.who.User, Roles: p.who.Roles, Mode: p.who.Mode})
		}
	}
	return s.c.Required.Missing(s.c.Cache, present)
}

// changed tells of the state and the people. The caller holds s.mu.
func (s *Shared) changed() {
	if s.c.Changed == nil {
		return
	}
	list := []types.Participant{s.c.Present}
	for _, p := range s.parties {
		list = append(list, types.Participant{ID: p.who.ID, User: p.who.User, Mode: p.who.Mode, LastActive: p.who.Joined})
	}
	s.c.Changed(s.state, list)
}

// announce tells everybody a line with the time. The caller holds s.mu.
func (s *Shared) announce(what string) {
	line := "[" + time.Now().Format(time.TimeOnly) + "] " + what
	s.c.Notice(line)
	for _, p := range s.parties {
		p.tell(line)
	}
}

// screen is the end of the output on a cleared screen, from the beginning of a
// line where its own beginning is lost.
func (s *Shared) screen() []byte {
	out := s.recent[max(0, len(s.recent)-recentMost):]
	if s.cut || len(out) < len(s.recent) {
		if i := bytes.IndexByte(out, '\n'); i >= 0 {
			out = out[i+1:]
		}
	}
	return append([]byte("\x1b[2J\x1b[H"), out...)
}

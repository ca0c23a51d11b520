package session

import (
	"context"
	"sync"
	"time"

	"teleport/fault"
)

// Attendant is somebody who joins a session.
type Attendant struct {
	ID     string
	User   string
	Roles  []string
	Mode   string // access.ModeObserver, ModePeer or ModeModerator
	Joined time.Time
}

// Party is somebody's seat in a session: what is shown waits here until its owner
// takes it. One reader at a time.
type Party struct {
	who Attendant

	mu      sync.Mutex
	waiting []byte
	size    *Size // not taken yet
	why     error // of the end
	wake    chan struct{}
	taken   chan struct{} // closed and made anew when what waits was taken, or nobody will
}

func newParty(who Attendant) *Party {
	return &Party{who: who, wake: make(chan struct{}, 1), taken: make(chan struct{})}
}

var errBehind = fault.New(fault.Limit, "you were taken out of the session, as your connection is too slow for it")

// Who says who holds the seat.
func (p *Party) Who() Attendant { return p.who }

// put adds output. It reports whether the party follows: one that has more
// waiting than it may takes nothing.
func (p *Party) put(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == nil && len(p.waiting) > 0 && len(p.waiting)+len(b) > behindMost {
		return false
	}
	p.add(b)
	return true
}

// tell adds a line that everybody is told, however far behind.
func (p *Party) tell(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add([]byte("\r\n" + line + "\r\n"))
}

// add needs p.mu.
func (p *Party) add(b []byte) {
	if p.why == nil {
		p.waiting = append(p.waiting, b...)
		p.tick()
	}
}

// await puts b as soon as there is room, and reports whether that came in time.
func (p *Party) await(ctx context.Context, b []byte) bool {
	for {
		p.mu.Lock()
		taken := p.taken
		p.mu.Unlock()
		if p.put(b) {
			return true
		}
		select {
		case <-taken:
		case <-ctx.Done():
			return false
		}
	}
}

// fall ends a party that is too far behind: it loses its seat instead of parts
// of a screen.
func (p *Party) fall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == nil {
		p.waiting, p.why = nil, errBehind
	}
	p.over()
}

func (p *Party) resize(size Size) {
	if size == (Size{}) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size = &size
	p.tick()
}

// end lets the party take what waits, and then the reason.
func (p *Party) end(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why == nil {
		p.why = why
	}
	p.over()
}

// over wakes all who wait for the party. It needs p.mu.
func (p *Party) over() {
	p.freed()
	p.tick()
}

// freed needs p.mu.
func (p *Party) freed() {
	close(p.taken)
	p.taken = make(chan struct{})
}

func (p *Party) tick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Next waits for what is to be shown: output, or a new size of the terminal, of
// which a nil is none. When nothing more will come it returns why.
func (p *Party) Next(ctx context.Context) ([]byte, *Size, error) {
	for {
		p.mu.Lock()
		out, size, why := p.waiting, p.size, p.why
		p.waiting, p.size = nil, nil
		if len(out) > 0 {
			p.freed()
		}
		p.mu.Unlock()
		switch {
		case len(out) > 0 || size != nil:
			return out, size, nil
		case why != nil:
			return nil, nil, why
		}
		select {
		case <-p.wake:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

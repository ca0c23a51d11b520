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
}

var errBehind = fault.New(fault.Limit, "you were taken out of the session, as your connection is too slow for it")

// Who says who holds the seat.
func (p *Party) Who() Attendant { return p.who }

// put adds output, and reports whether the party still follows: one that is too
// far behind loses its seat instead of parts of a screen.
func (p *Party) put(b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why != nil {
		return p.why != errBehind //nolint:errorlint // set here alone
	}
	if len(p.waiting)+len(b) > behindMost {
		p.waiting, p.why = nil, errBehind
	} else {
		p.waiting = append(p.waiting, b...)
	}
	p.tick()
	return p.why == nil
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
	p.tick()
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

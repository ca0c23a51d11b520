package sshaccess

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"

	"teleport/session"
)

// heldMost is how much of each stream waits for the end of a pause, or one piece
// of it where that is larger. Behind that the program waits.
const heldMost = 256 << 10

// stage shows one stream of a program to its owner and to those who joined.
// While the session pauses, it keeps what is to be shown.
type stage struct {
	ctx context.Context
	s   *channel
	w   io.Writer

	mu   sync.Mutex    // held by who shows: the order is that of the program
	held []byte        // for the end of the pause
	wait chan struct{} // closed when held was shown or given up; nil while nothing is held
	err  error         // nothing is shown any more
}

// Write implements io.Writer. It is for one writer.
func (g *stage) Write(p []byte) (int, error) {
	for {
		g.mu.Lock()
		wait := g.wait
		switch {
		case g.err != nil:
			defer g.mu.Unlock()
			return 0, g.err
		case wait == nil && g.s.shared.Running():
			defer g.mu.Unlock()
			return len(p), g.pass(p)
		case wait == nil || len(g.held)+len(p) <= heldMost:
			defer g.mu.Unlock()
			g.hold(p)
			return len(p), nil
		}
		g.mu.Unlock()
		<-wait
	}
}

// pass shows p. g.mu is held.
func (g *stage) pass(p []byte) error {
	g.s.broadcast(p)
	g.s.sent.Add(uint64(len(p)))
	_, err := g.w.Write(p)
	return err
}

// hold keeps p until the session goes on. g.mu is held.
func (g *stage) hold(p []byte) {
	g.held = append(g.held, p...)
	if g.wait == nil {
		g.wait = make(chan struct{})
		go g.resume(g.wait)
	}
}

// resume shows what was held once the session goes on, if it does.
func (g *stage) resume(wait chan struct{}) {
	defer close(wait)
	for {
		err := g.s.shared.Await(g.ctx)
		g.mu.Lock()
		if err == nil && !g.s.shared.Running() {
			g.mu.Unlock() // and it pauses again
			continue
		}
		if err == nil {
			err = g.pass(g.held)
		}
		g.held, g.wait, g.err = nil, nil, err
		g.mu.Unlock()
		return
	}
}

// drain returns when all was shown, or nothing will be.
func (g *stage) drain() {
	g.mu.Lock()
	wait := g.wait
	g.mu.Unlock()
	if wait != nil {
		<-wait
	}
}

// outlive tells the owner, where the program has ended in a pause, what is left
// to wait for.
func (s *channel) outlive() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	if s.shared.State() != session.StatePaused {
		return
	}
	line := "what ran has ended; the rest of its output waits for the end of the pause"
	if s.ask != nil {
		line += " (Ctrl-C gives it up)"
	}
	s.notice(line)
}

// keyboard is the input of a terminal that may wait for others: while it does,
// what is typed goes nowhere. Ctrl-C gives up what has not begun, and the rest
// of what has ended.
type keyboard struct {
	s *channel
	w io.Writer
}

const interrupt = 0x03 // Ctrl-C

// Write implements io.Writer.
func (k keyboard) Write(p []byte) (int, error) {
	state := k.s.shared.State()
	if state == session.StateRunning {
		return k.w.Write(p)
	}
	if !slices.Contains(p, interrupt) {
		return len(p), nil
	}
	k.s.mu.Lock()
	ended := k.s.ended
	k.s.mu.Unlock()
	switch {
	case state == session.StatePending:
		k.s.shared.Terminate(errCanceled)
	case state == session.StatePaused && ended:
		k.s.shared.Close()
	}
	return len(p), nil
}

// gate is the input of a command without a terminal: while its session pauses,
// input waits.
type gate struct {
	ctx context.Context
	s   *channel
	w   io.Writer
}

// Write implements io.Writer.
func (g gate) Write(p []byte) (int, error) {
	if err := g.s.shared.Await(g.ctx); err != nil {
		return 0, err
	}
	return g.w.Write(p)
}

// broadcast shows output to those who joined. Without a terminal of the owner's
// nothing has made it fit theirs.
func (s *channel) broadcast(p []byte) {
	if s.ask == nil {
		p = bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))
	}
	s.shared.Show(p)
}

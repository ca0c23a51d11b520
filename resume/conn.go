package resume

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"teleport/fault"
	"teleport/netx"
)

// Conn is one end of a resumable stream. It is a net.Conn with CloseWrite; its
// addresses are those of the first carrier. While there is no carrier, reads
// wait, and so do writes once the window is full.
type Conn struct {
	id            string
	local, remote net.Addr
	client        bool
	dead          time.Duration           // silence after which a carrier is left
	lost          func(*carrier, error)   // told that a carrier is gone
	finished      func(err error)         // told once that the stream is over
	work          *sync.WaitGroup         // the stream's own goroutines
	life          context.Context         // ends with the stream
	end           context.CancelCauseFunc // its cause is what failed
	kick          chan struct{}           // something is due to be sent

	writing sync.Mutex    // one Write at a time
	sending sync.Mutex    // whoever writes frames to the carrier
	token   chan struct{} // held by whoever reads frames from the carrier
	early   []byte        // read by a writer, not yet by a reader; of whoever holds the token
	rd, wd  *netx.Deadline

	mu         sync.Mutex
	out        outbox
	recv       uint64 // received so far
	acked      uint64 // what the other side was told of it
	in         time.Time
	k          *carrier // nil while detached
	changed    chan struct{}
	ended      bool // we write no more
	parted     bool // our close is among what is sent
	peerEnded  bool // the peer writes no more, and we have read all
	peerClosed bool // nor does it read
	closed     bool // Close was called
	err        error
	duePong    bool
	duePing    bool
	dueAck     bool
	hold       *time.Timer
	holding    bool // hold runs
	attending  bool
}

var _ net.Conn = (*Conn)(nil)

func newConn(id string, nc net.Conn, dead time.Duration, budget *Budget, work *sync.WaitGroup) *Conn {
	c := &Conn{id: id, work: work, local: nc.LocalAddr(), remote: nc.RemoteAddr(), dead: dead, kick: make(chan struct{}, 1),
		token: make(chan struct{}, 1), in: time.Now()}
	c.out.budget = budget
	c.life, c.end = context.WithCancelCause(context.Background())
	c.rd, c.wd = netx.NewDeadline(c.poke), netx.NewDeadline(c.poke)
	return c
}

// LocalAddr returns the local address of the first carrier.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the remote address of the first carrier.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Attached reports whether the stream has a carrier at present.
func (c *Conn) Attached() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.k != nil
}

// leave gives up a carrier that broke. The stream lives on without one.
func (c *Conn) leave(k *carrier, why error) {
	c.mu.Lock()
	mine := c.k == k
	if mine {
		c.k = nil
		c.change()
	}
	c.mu.Unlock()
	if k.watch != nil {
		k.watch.Stop()
	}
	k.stop()
	if mine && c.lost != nil {
		c.lost(k, why)
	}
}

// install makes k the carrier, from the position that the other side told.
// sending and the token are held.
func (c *Conn) install(k *carrier, from uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if err := c.out.rewind(from); err != nil {
		return err
	}
	c.k, c.acked, c.dueAck, c.duePing, c.duePong = k, c.recv, false, false, false
	k.hear()
	k.watch = time.AfterFunc(c.dead, func() { c.listen(k) })
	c.change()
	c.stir()
	return nil
}

// listen leaves a carrier that has been silent for too long while somebody
// read from it.
func (c *Conn) listen(k *carrier) {
	left := c.dead - k.silent()
	if left <= 0 && k.waiting.Load() {
		c.leave(k, fault.New(fault.Timeout, "nothing was heard for %s", c.dead))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.k == k {
		k.watch.Reset(max(left, time.Second))
	}
}

// fail ends the stream at once and for good.
func (c *Conn) fail(why error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = why
	k := c.k
	c.k = nil
	if c.hold != nil {
		c.hold.Stop()
	}
	c.change()
	c.mu.Unlock()
	c.end(why)
	if k != nil {
		if k.watch != nil {
			k.watch.Stop()
		}
		k.stop()
	}
	c.rd.Set(time.Time{})
	c.wd.Set(time.Time{})
	c.sending.Lock()
	c.mu.Lock()
	c.out.drop()
	c.mu.Unlock()
	c.sending.Unlock()
	if c.finished != nil {
		c.finished(why)
	}
}

// CloseWrite ends our direction; the peer reads what was written and then EOF.
func (c *Conn) CloseWrite() error {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	err := c.writable()
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) { // an end needs no room
		c.ended, err = true, nil
		c.out.finish(kindEnd, c.recv)
	}
	c.mu.Unlock()
	c.flush()
	return err
}

// Close ends both directions. At an agent it returns at once, and the stream
// lives on until its client has what was written, or may not come any more. At
// a client it waits a moment until the agent knows, two where the connection is lost,
// and then for the stream's goroutines.
func (c *Conn) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.change()
	c.attend()
	c.stir()
	c.mu.Unlock()
	if again {
		return nil
	}
	c.poke()
	if !c.client {
		return nil
	}
	c.depart()
	c.fail(net.ErrClosed)
	c.work.Wait()
	return nil
}

// depart waits a moment until the agent knows that its client leaves: over the next
// connection, where this one is lost. A stream that waits for nobody takes a place.
func (c *Conn) depart() {
	begun := time.Now()
	for _, wait := range []time.Duration{farewellFor, farewellLost} {
		t := time.NewTimer(wait - time.Since(begun))
		defer t.Stop()
		select {
		case <-c.life.Done():
			return
		case <-t.C:
		}
		if c.Attached() { // by an agent that does not listen
			return
		}
	}
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { c.rd.Set(t); return nil }

// SetWriteDeadline implements net.Conn. It bounds the wait for room; bytes that
// were taken are not given back.
func (c *Conn) SetWriteDeadline(t time.Time) error { c.wd.Set(t); return nil }

// poke wakes a reader that waits on the carrier.
func (c *Conn) poke() {
	c.mu.Lock()
	k := c.k
	c.mu.Unlock()
	if k != nil {
		_ = k.SetReadDeadline(time.Unix(1, 0)) // one that is closed wakes its reader by itself
	}
}

// waitChange returns a channel that is closed at the next change. mu is held.
func (c *Conn) waitChange() <-chan struct{} {
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}

// change wakes all who wait. mu is held.
func (c *Conn) change() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// stir lets serve look at what is due.
func (c *Conn) stir() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

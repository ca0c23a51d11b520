package resume

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"teleport/fault"
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
	rd, wd  *deadline

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
	attending  bool
}

var _ net.Conn = (*Conn)(nil)

// ackEvery is after how many bytes the other side is told, should nothing that
// is sent tell it.
const ackEvery = 256 << 10

func newConn(id string, nc net.Conn, dead time.Duration, budget *Budget, work *sync.WaitGroup) *Conn {
	c := &Conn{id: id, work: work, local: nc.LocalAddr(), remote: nc.RemoteAddr(), dead: dead, kick: make(chan struct{}, 1),
		token: make(chan struct{}, 1), in: time.Now()}
	c.out.budget = budget
	c.life, c.end = context.WithCancelCause(context.Background())
	c.rd, c.wd = newDeadline(c.poke), newDeadline(c.poke)
	return c
}

// LocalAddr returns the local address of the first carrier.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the remote address of the first carrier.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Read implements net.Conn. It reads from the carrier itself: no other goroutine
// stands between.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		select {
		case c.token <- struct{}{}:
		case <-c.rd.wait():
			return 0, os.ErrDeadlineExceeded
		}
		if n := c.heard(p); n > 0 {
			<-c.token
			return n, nil
		}
		k, changed, err := c.readable()
		if err == nil && k != nil {
			var n int
			n, err = c.receive(k, p, false)
			if n > 0 {
				<-c.token
				return n, nil
			}
		}
		<-c.token
		switch {
		case err != nil:
			return 0, err
		case k == nil:
			select {
			case <-changed:
			case <-c.rd.wait():
			}
		}
	}
}

// readable returns the carrier to read from, or what to wait for.
func (c *Conn) readable() (*carrier, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, nil, net.ErrClosed
	case c.rd.over():
		return nil, nil, os.ErrDeadlineExceeded
	case c.peerEnded:
		return nil, nil, io.EOF
	case c.err != nil:
		return nil, nil, c.err
	case c.k == nil:
		return nil, c.waitChange(), nil
	}
	return c.k, nil, nil
}

// heard returns what a waiting writer has read before. The token is held.
func (c *Conn) heard(p []byte) int {
	if len(c.early) == 0 || c.rd.over() {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0
	}
	n := copy(p, c.early)
	if c.early = c.early[n:]; len(c.early) == 0 {
		c.early = nil
	}
	c.change()
	return n
}

// maxEarly bounds what a writer that waits for room reads, so that it hears of
// the room: as much of the other direction as a TCP connection would hold.
const maxEarly = 256 << 10

// overhear reads one frame for a writer that waits for room while nobody else
// reads. It reports false when there is nothing to hear.
func (c *Conn) overhear(changed <-chan struct{}) bool {
	select {
	case <-changed:
		return true
	default:
	}
	c.mu.Lock()
	k, room := c.k, maxEarly-len(c.early)
	c.mu.Unlock()
	if k == nil || room <= 0 {
		return false
	}
	b := make([]byte, min(room, 16<<10))
	n, _ := c.receive(k, b, true) // the end is told by whatever comes next
	c.early = append(c.early, b[:n]...)
	return true
}

// receive reads frames until data was read, a waiter must look again, or the
// carrier breaks; with single set, one frame's head or data. The token is held.
func (c *Conn) receive(k *carrier, p []byte, single bool) (int, error) {
	k.waiting.Store(true)
	defer k.waiting.Store(false)
	for k.left == 0 {
		f, err := readFrame(k.r)
		if err == nil {
			k.hear()
			err = c.take(k, f)
		}
		if again, end := c.afterRead(k, err); end != nil || again || single {
			return 0, end
		}
	}
	n, err := k.r.Read(p[:min(len(p), k.left)])
	if n > 0 {
		k.hear()
		k.left -= n
		c.received(n)
		return n, nil
	}
	_, end := c.afterRead(k, err)
	return 0, end
}

// afterRead sorts the errors of a read: a deadline of ours, a deadline that was
// moved meanwhile, a broken carrier. again says that the state has to be looked
// at before the next read.
func (c *Conn) afterRead(k *carrier, err error) (again bool, end error) {
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.peerEnded || c.k != k, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if c.rd.over() {
			return true, os.ErrDeadlineExceeded
		}
		if k.SetReadDeadline(time.Time{}) == nil {
			if c.rd.over() { // it passed in between, and its poke was undone
				c.poke()
			}
			return true, nil
		}
	}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		c.fail(refusal)
		return true, nil
	}
	c.leave(k, err)
	return true, nil
}

// take acts on a frame's head.
func (c *Conn) take(k *carrier, f frame) error {
	if f.kind == kindRefused && c.client {
		payload, err := k.payload(f)
		if err != nil {
			return err
		}
		return refusal(payload)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.kind >= kindOpen:
		return fault.New(fault.Invalid, "a message of kind %d in the middle of a resumable stream", f.kind)
	case f.seq != c.recv:
		return fault.New(fault.Invalid, "a frame at position %d of a resumable stream, where %d was expected", f.seq, c.recv)
	case f.width() > 0 && (c.peerClosed || c.peerEnded && f.kind != kindClose):
		return fault.New(fault.Invalid, "a resumable stream goes on behind its end")
	}
	before := c.out.base
	if err := c.out.acknowledge(f.ack); err != nil {
		return err
	}
	if c.out.base != before {
		c.change()
	}
	switch f.kind {
	case kindData:
		k.left = f.length
	case kindPing:
		c.duePong = true
		c.stir()
	case kindEnd, kindClose:
		c.recv++
		c.peerEnded, c.peerClosed = true, f.kind == kindClose
		c.dueAck = true
		c.change()
		c.stir()
		c.attend()
	}
	return nil
}

// received counts bytes that have reached the reader.
func (c *Conn) received(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recv += uint64(n)
	c.in = time.Now()
	if c.recv-c.acked >= ackEvery && !c.dueAck {
		c.dueAck = true
		c.stir()
	}
}

// attend reads on where nobody reads any more, so that acknowledgements and the
// end are still heard. mu is held.
func (c *Conn) attend() {
	if c.attending || c.err != nil {
		return
	}
	c.attending = true
	c.work.Go(func() {
		scrap := make([]byte, 4<<10)
		for {
			c.token <- struct{}{}
			c.mu.Lock()
			k, changed := c.k, c.waitChange()
			over := c.parted && (c.peerClosed || c.out.base == c.out.next)
			dead := c.err != nil
			c.mu.Unlock()
			if !over && !dead && k != nil {
				// What still comes is for nobody, and a broken carrier was noted.
				if _, err := c.receive(k, scrap, false); err != nil {
					_ = k.SetReadDeadline(time.Time{})
				}
			}
			<-c.token
			switch {
			case dead:
				return
			case over:
				c.fail(net.ErrClosed)
				return
			case k == nil:
				<-changed
			}
		}
	})
}

// Write implements net.Conn. It returns once all of p is kept for the other
// side and, where there is a carrier, was given to it.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	total := 0
	for first := true; len(p) > 0; first = false {
		n, changed, err := c.push(p, first)
		if err != nil {
			return total, err
		}
		total += n
		p = p[n:]
		if n > 0 {
			continue
		}
		if err := c.awaitRoom(changed); err != nil {
			return total, err
		}
	}
	return total, nil
}

// awaitRoom waits for a change, and listens for it where nobody reads.
func (c *Conn) awaitRoom(changed <-chan struct{}) error {
	select {
	case <-changed:
		return nil
	case <-c.wd.wait():
		return os.ErrDeadlineExceeded
	case c.token <- struct{}{}:
	}
	heard := c.overhear(changed)
	<-c.token
	if heard {
		return nil
	}
	select {
	case <-changed:
		return nil
	case <-c.wd.wait():
		return os.ErrDeadlineExceeded
	}
}

// x/crypto/ssh writes a packet in two pieces, the first of just the size of its
// buffer: that one waits a moment for the other.
const (
	firstPiece = 4096
	moment     = time.Millisecond
)

// push takes what finds room of p and sends it; with no room it returns what to
// wait for.
func (c *Conn) push(p []byte, first bool) (int, <-chan struct{}, error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	if err := c.writable(); err != nil {
		c.mu.Unlock()
		return 0, nil, err
	}
	n := c.out.put(p, c.recv)
	if n == 0 {
		changed := c.waitChange()
		c.mu.Unlock()
		return 0, changed, nil
	}
	c.acked, c.dueAck = c.recv, false
	wait := first && len(p) == firstPiece && n == firstPiece && c.k != nil
	if wait {
		c.later()
	} else if c.hold != nil {
		c.hold.Stop()
	}
	c.mu.Unlock()
	if !wait {
		c.flush()
	}
	return n, nil, nil
}

func (c *Conn) writable() error {
	switch {
	case c.closed:
		return net.ErrClosed
	case c.err != nil:
		return c.err
	case c.ended || c.peerClosed:
		return syscall.EPIPE
	case c.wd.over():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// later sends what waits after a moment. mu is held.
func (c *Conn) later() {
	if c.hold == nil {
		c.hold = time.AfterFunc(moment, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.stir()
		})
		return
	}
	c.hold.Reset(moment)
}

// flush gives the carrier all that it has not had. sending is held.
func (c *Conn) flush() {
	for {
		c.mu.Lock()
		k := c.k
		var run []byte
		if k != nil {
			run = c.out.unsent()
		}
		c.mu.Unlock()
		if run == nil {
			return
		}
		_, err := k.Write(run)
		c.mu.Lock()
		c.out.wrote()
		c.mu.Unlock()
		if err != nil {
			c.leave(k, err)
			return
		}
	}
}

// serve sends what is due, until the stream is over.
func (c *Conn) serve() {
	for {
		select {
		case <-c.kick:
			c.sendDue()
		case <-c.life.Done():
			return
		}
	}
}

// sendDue sends what waited, and a frame without bytes where one is due.
func (c *Conn) sendDue() {
	c.sending.Lock()
	defer c.sending.Unlock()
	c.mu.Lock()
	if c.closed && !c.parted && c.err == nil {
		c.ended, c.parted = true, true
		c.out.finish(kindClose, c.recv)
		c.change()
	}
	c.mu.Unlock()
	c.flush()
	c.mu.Lock()
	k := c.k
	f := frame{kind: kindAck, seq: c.out.next, ack: c.recv}
	switch {
	case c.duePing:
		f.kind = kindPing
	case c.duePong:
		f.kind = kindPong
	}
	due := k != nil && (c.duePing || c.duePong || c.dueAck)
	if due {
		c.acked, c.duePing, c.duePong, c.dueAck = c.recv, false, c.duePing && c.duePong, false
		if c.duePong {
			c.stir()
		}
	}
	c.mu.Unlock()
	if due {
		var b [headerLen]byte
		f.put(b[:])
		if _, err := k.Write(b[:]); err != nil {
			c.leave(k, err)
		}
	}
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
	c.rd.set(time.Time{})
	c.wd.set(time.Time{})
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
// a client it waits a moment until the agent knows, and then for the stream's
// goroutines.
func (c *Conn) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	attached := c.k != nil
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
	if attached {
		t := time.NewTimer(farewellFor)
		defer t.Stop()
		select {
		case <-c.life.Done():
		case <-t.C:
		}
	}
	c.fail(net.ErrClosed)
	c.work.Wait()
	return nil
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { c.rd.set(t); return nil }

// SetWriteDeadline implements net.Conn. It bounds the wait for room; bytes that
// were taken are not given back.
func (c *Conn) SetWriteDeadline(t time.Time) error { c.wd.set(t); return nil }

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

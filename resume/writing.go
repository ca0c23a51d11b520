package resume

import (
	"net"
	"os"
	"syscall"
	"time"
)

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
	case <-c.wd.Wait():
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
	case <-c.wd.Wait():
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
	case c.wd.Over():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// later sends what waits within a moment. A timer that runs already is left to
// run: to move it with each packet would wake up the poller with each. mu is held.
func (c *Conn) later() {
	switch {
	case c.holding:
		return
	case c.hold == nil:
		c.hold = time.AfterFunc(moment, c.held)
	default:
		c.hold.Reset(moment)
	}
	c.holding = true
}

func (c *Conn) held() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding = false
	if c.out.waits() {
		c.stir()
	}
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

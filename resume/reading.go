package resume

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"teleport/fault"
)

// ackEvery is after how many bytes the other side is told, should nothing that
// is sent tell it. SSH moves its window at least every 256 KiB that a program has
// read, and that word tells it as well.
const ackEvery = 512 << 10

// Read implements net.Conn. It reads from the carrier itself: no other goroutine
// stands between.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		select {
		case c.token <- struct{}{}:
		case <-c.rd.Wait():
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
			case <-c.rd.Wait():
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
	case c.rd.Over():
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
	if len(c.early) == 0 || c.rd.Over() {
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
		if c.rd.Over() {
			return true, os.ErrDeadlineExceeded
		}
		if k.SetReadDeadline(time.Time{}) == nil {
			if c.rd.Over() { // it passed in between, and its poke was undone
				c.poke()
			}
			return true, nil
		}
	}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		c.fail(refusal.why)
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
			// A client also waits until the agent has its close: whoever closes a TCP
			// connection with bytes left unread takes back what is under way.
			over := c.parted && (c.out.base == c.out.next || c.peerClosed && !c.client)
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

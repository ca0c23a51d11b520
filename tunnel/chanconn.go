package tunnel

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// channelConn makes a net.Conn of an SSH channel. Reads go straight to the
// channel until the first read deadline is set; from then on a helper goroutine
// does them, so that a deadline can pass without harm, as with TCP. A write
// that misses its deadline ends the connection.
type channelConn struct {
	ch            ssh.Channel
	local, remote net.Addr

	readMu   sync.Mutex // one reader at a time
	rd       deadline
	results  chan readResult // of the helper's one outstanding read
	waiting  bool            // a read is outstanding
	buf      []byte
	leftover []byte

	wd deadline

	closeOnce sync.Once
	closeErr  error
}

type readResult struct {
	n   int
	err error
}

func newChannelConn(ch ssh.Channel, reqs <-chan *ssh.Request, local, remote net.Addr) *channelConn {
	go ssh.DiscardRequests(reqs) // ends with the channel; a full queue would stop the whole tunnel
	return &channelConn{ch: ch, local: local, remote: remote}
}

// Read implements net.Conn.
func (c *channelConn) Read(p []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(c.leftover) > 0 {
		n := copy(p, c.leftover)
		c.leftover = c.leftover[n:]
		return n, nil
	}
	expired, used := c.rd.channel()
	if !used && !c.waiting {
		return c.ch.Read(p)
	}
	return c.readHelped(p, expired)
}

// readHelped lets the helper read and waits for it, the deadline permitting.
func (c *channelConn) readHelped(p []byte, expired <-chan struct{}) (int, error) {
	select {
	case <-expired:
		return 0, os.ErrDeadlineExceeded
	default:
	}
	if !c.waiting {
		if c.results == nil {
			c.results = make(chan readResult, 1)
		}
		if size := min(max(len(p), 512), 32<<10); len(c.buf) < size {
			c.buf = make([]byte, size)
		}
		c.waiting = true
		go func() {
			n, err := c.ch.Read(c.buf)
			c.results <- readResult{n, err}
		}()
	}
	select {
	case r := <-c.results:
		c.waiting = false
		n := copy(p, c.buf[:r.n])
		c.leftover = c.buf[n:r.n]
		if n > 0 {
			return n, nil // an error comes again with the next read
		}
		return 0, r.err
	case <-expired:
		return 0, os.ErrDeadlineExceeded
	}
}

// Write implements net.Conn.
func (c *channelConn) Write(p []byte) (int, error) {
	expired, used := c.wd.channel()
	if !used {
		return c.ch.Write(p)
	}
	select {
	case <-expired:
		return 0, os.ErrDeadlineExceeded
	default:
	}
	written := make(chan struct{})
	watch := make(chan bool, 1)
	go func() {
		select {
		case <-expired:
			c.Close()
			watch <- true
		case <-written:
			watch <- false
		}
	}()
	n, err := c.ch.Write(p)
	close(written)
	if <-watch && err != nil {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// CloseWrite ends the outgoing direction alone.
func (c *channelConn) CloseWrite() error { return c.ch.CloseWrite() }

// Close implements net.Conn. A read that is blocked returns.
func (c *channelConn) Close() error {
	c.closeOnce.Do(func() {
		c.closeErr = c.ch.Close()
		if c.closeErr == io.EOF {
			c.closeErr = nil // the peer has closed already
		}
		c.rd.expire()
	})
	return c.closeErr
}

func (c *channelConn) LocalAddr() net.Addr  { return c.local }
func (c *channelConn) RemoteAddr() net.Addr { return c.remote }

func (c *channelConn) SetDeadline(t time.Time) error {
	c.rd.set(t)
	c.wd.set(t)
	return nil
}

func (c *channelConn) SetReadDeadline(t time.Time) error  { c.rd.set(t); return nil }
func (c *channelConn) SetWriteDeadline(t time.Time) error { c.wd.set(t); return nil }

// deadline is a channel that closes when a time has passed and is renewed when
// the time is moved.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{}
}

// channel returns what closes at expiry, and whether a deadline was ever set.
func (d *deadline) channel() (<-chan struct{}, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.expired, d.expired != nil
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.expired == nil && t.IsZero() {
		return
	}
	stopped := d.timer == nil || d.timer.Stop()
	d.timer = nil
	if d.expired == nil || !stopped || closed(d.expired) {
		d.expired = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	if wait := time.Until(t); wait > 0 {
		c := d.expired
		d.timer = time.AfterFunc(wait, func() { close(c) })
		return
	}
	close(d.expired)
}

// expire closes the channel that readers wait on, for good.
func (d *deadline) expire() {
	d.set(time.Unix(1, 0))
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

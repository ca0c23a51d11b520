package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// window is how many bytes a direction holds before its writer waits.
const window = 256 << 10

// Pipe returns the two ends of a connection between two addresses of loopback.
func Pipe() (a, b net.Conn) {
	loop := net.IPv4(127, 0, 0, 1)
	return PipeAddr(&net.TCPAddr{IP: loop, Port: 1}, &net.TCPAddr{IP: loop, Port: 2})
}

// PipeAddr returns the two ends of a connection between the given addresses.
func PipeAddr(at, bt net.Addr) (a, b net.Conn) {
	ab, ba := newHalf(), newHalf()
	return &conn{in: ba, out: ab, local: at, remote: bt}, &conn{in: ab, out: ba, local: bt, remote: at}
}

// half is one direction.
type half struct {
	mu       sync.Mutex
	changed  *sync.Cond
	data     []byte
	start    int   // data[start:] is unread
	ended    bool  // the writer has finished: EOF after the data
	broken   bool  // the reader is gone: writes fail
	closed   bool  // the reader closed its own end: reads fail
	writeEnd error // what further writes return
	rd, wd   limit
}

// limit is a deadline that wakes whoever waits when it passes.
type limit struct {
	at    time.Time
	timer *time.Timer
}

func newHalf() *half {
	h := new(half)
	h.changed = sync.NewCond(&h.mu)
	return h
}

func (h *half) setLimit(l *limit, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.at = t
	if !t.IsZero() {
		if wait := time.Until(t); wait > 0 {
			l.timer = time.AfterFunc(wait, func() {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.changed.Broadcast()
			})
		}
	}
	h.changed.Broadcast()
}

func (l *limit) passed() bool { return !l.at.IsZero() && !time.Now().Before(l.at) }

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.closed:
			return 0, net.ErrClosed
		case h.rd.passed():
			return 0, os.ErrDeadlineExceeded
		case h.start < len(h.data):
			n := copy(p, h.data[h.start:])
			h.start += n
			if h.start == len(h.data) {
				h.data, h.start = h.data[:0], 0
				if cap(h.data) > 16<<10 {
					h.data = nil
				}
			}
			h.changed.Broadcast()
			return n, nil
		case h.ended:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		h.changed.Wait()
	}
}

func (h *half) quiet() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.start == len(h.data) && !h.ended && !h.closed
}

func (h *half) write(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.writeEnd != nil:
			return n, h.writeEnd
		case h.broken:
			return n, io.ErrClosedPipe
		case h.wd.passed():
			return n, os.ErrDeadlineExceeded
		case len(p) == 0:
			return n, nil
		}
		if room := window - (len(h.data) - h.start); room > 0 {
			k := min(room, len(p))
			if h.start > 0 && len(h.data)+k > cap(h.data) {
				h.data = append(h.data[:0], h.data[h.start:]...)
				h.start = 0
			}
			h.data = append(h.data, p[:k]...)
			p, n = p[k:], n+k
			h.changed.Broadcast()
			continue
		}
		h.changed.Wait()
	}
}

// end finishes the direction from the writer's side.
func (h *half) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	if h.writeEnd == nil {
		h.writeEnd = err
	}
	h.stop(&h.wd)
	h.changed.Broadcast()
}

// leave finishes the direction from the reader's side.
func (h *half) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken, h.closed, h.data, h.start = true, true, nil, 0
	h.stop(&h.rd)
	h.changed.Broadcast()
}

func (h *half) stop(l *limit) {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

type conn struct {
	in, out       *half
	local, remote net.Addr
}

func (c *conn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }

// Quiet is for netx.Quiet.
func (c *conn) Quiet() bool { return c.in.quiet() }

// CloseWrite ends the outgoing direction; the peer reads EOF after the data.
func (c *conn) CloseWrite() error { c.out.end(io.ErrClosedPipe); return nil }

func (c *conn) Close() error {
	c.out.end(net.ErrClosed)
	c.in.leave()
	return nil
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	c.in.setLimit(&c.in.rd, t)
	c.out.setLimit(&c.out.wd, t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error  { c.in.setLimit(&c.in.rd, t); return nil }
func (c *conn) SetWriteDeadline(t time.Time) error { c.out.setLimit(&c.out.wd, t); return nil }

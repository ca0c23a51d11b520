package mux

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"teleport/fault"
	"teleport/netx"
)

// Stream is one of the streams of a connection. It is a net.Conn with CloseWrite;
// its addresses are the connection's.
type Stream struct {
	c      *conn
	id     uint32
	rd, wd *netx.Deadline

	writing sync.Mutex  // one Write at a time
	left    atomic.Bool // closed, for whoever must not take mu

	mu      sync.Mutex
	changed sync.Cond
	in      ring // received, not read yet
	window  int  // the most that may be unread
	spent   int  // of the window: unread, or read and not yet given back
	credit  int  // what may be sent
	full    bool // the peer used all of the window
	gone    bool // the peer reads no more
	eof     bool // nor does it write
	endSent bool // we write no more
	closed  bool // nor do we read
	err     error
}

func newStream(c *conn, id uint32) *Stream {
	s := &Stream{c: c, id: id, window: Window, credit: Window}
	s.changed.L = &s.mu
	s.rd, s.wd = netx.NewDeadline(s.wake), netx.NewDeadline(s.wake)
	return s
}

// wake has whoever waits look again.
func (s *Stream) wake() {
	s.mu.Lock()
	s.changed.Broadcast()
	s.mu.Unlock()
	s.c.mu.Lock()
	s.c.room.Broadcast()
	s.c.mu.Unlock()
}

func (s *Stream) fail(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = why
	s.changed.Broadcast()
}

// Read implements net.Conn.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.mu.Lock()
	for {
		switch {
		case s.closed:
			s.mu.Unlock()
			return 0, net.ErrClosed
		case s.rd.Over():
			s.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case s.in.n > 0:
			n := s.in.read(p)
			back := s.giveBack()
			s.mu.Unlock()
			if back > 0 {
				s.c.say(s, kindCredit, binary.BigEndian.AppendUint32(nil, uint32(back)))
			}
			return n, nil
		case s.eof:
			s.mu.Unlock()
			return 0, io.EOF
		case s.err != nil:
			err := s.err
			s.mu.Unlock()
			return 0, err
		}
		s.in.release()
		s.changed.Wait()
	}
}

// giveBack is how much credit the peer gets again for what was read: half a
// window at a time, and more than that where the window held it up. mu is held.
func (s *Stream) giveBack() int {
	back := s.spent - s.in.n
	if s.eof || back < s.window/2 {
		return 0
	}
	s.spent -= back
	if s.full && s.window < MaxWindow && s.c.grow(s.window) {
		back += s.window
		s.window *= 2
	}
	s.full = false
	return back
}

// growth is what the window has grown by.
func (s *Stream) growth() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window - Window
}

// receive takes the bytes of a data frame from r. A nil stream is one that was
// left, whose bytes are for nobody.
func (s *Stream) receive(r *bufio.Reader, length int) error {
	if s == nil {
		_, err := r.Discard(length)
		return err
	}
	s.mu.Lock()
	s.spent += length
	over := s.spent > s.window || s.eof
	s.full = s.full || s.spent == s.window
	s.mu.Unlock()
	if over {
		return fault.New(fault.Invalid, "stream %d brings more than its window, or goes on behind its end", s.id)
	}
	for length > 0 {
		b, err := r.Peek(min(length, max(r.Buffered(), 1)))
		if err != nil {
			return err
		}
		s.mu.Lock()
		if !s.closed {
			s.in.write(b)
			s.changed.Broadcast()
		}
		s.mu.Unlock()
		length -= len(b)
		if _, err := r.Discard(len(b)); err != nil {
			return err
		}
	}
	return nil
}

// credited lets so many more bytes be sent.
func (s *Stream) credited(n uint32) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == 0 || uint64(s.credit)+uint64(n) > MaxWindow {
		return fault.New(fault.Invalid, "stream %d gets a credit of %d bytes", s.id, n)
	}
	s.credit += int(n)
	s.changed.Broadcast()
	return nil
}

// ended takes the peer's end, or its leave.
func (s *Stream) ended(gone bool) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	s.eof, s.gone = true, s.gone || gone
	both := s.closed
	s.changed.Broadcast()
	s.mu.Unlock()
	if both {
		s.c.forget(s)
	}
	return nil
}

// Write implements net.Conn. It returns once p is on its way or waits behind what
// is.
func (s *Stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	total := 0
	for len(p) > 0 {
		n, err := s.spend(min(len(p), MaxPayload))
		if err != nil {
			return total, err
		}
		if err := s.c.send(s, frame{kind: kindData, length: n, stream: s.id}, p[:n]); err != nil {
			s.mu.Lock()
			s.credit += n
			s.mu.Unlock()
			return total, err
		}
		total += n
		p = p[n:]
	}
	return total, nil
}

// spend waits for credit and takes up to n bytes of it.
func (s *Stream) spend(n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.writable(); err != nil {
			return 0, err
		}
		if s.credit > 0 {
			n = min(n, s.credit)
			s.credit -= n
			return n, nil
		}
		s.changed.Wait()
	}
}

// writable is nil where a write may go on. mu is held.
func (s *Stream) writable() error {
	switch {
	case s.closed:
		return net.ErrClosed
	case s.err != nil:
		return s.err
	case s.endSent || s.gone:
		return syscall.EPIPE
	case s.wd.Over():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// late is what ends a write that waits for room. It does not take mu.
func (s *Stream) late() error {
	switch {
	case s.left.Load():
		return net.ErrClosed
	case s.wd.Over():
		return os.ErrDeadlineExceeded
	}
	return nil
}

// CloseWrite ends our direction; the peer reads what was written and then EOF.
func (s *Stream) CloseWrite() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	again := s.endSent || s.closed
	s.endSent = true
	s.mu.Unlock()
	if !again {
		s.c.say(s, kindEnd, nil)
	}
	return nil
}

// Close ends both directions. The peer still reads what was written.
func (s *Stream) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed, s.endSent = true, true
	s.left.Store(true)
	both := s.eof
	s.in.release()
	s.changed.Broadcast()
	s.mu.Unlock()
	if again {
		return nil
	}
	s.rd.Set(time.Time{}) // a timer would hold the stream for as long as it runs
	s.wd.Set(time.Time{})
	s.wake()
	s.c.stuck(s)
	s.c.say(s, kindClose, nil)
	if both {
		s.c.forget(s)
	}
	return nil
}

// LocalAddr returns the connection's own address.
func (s *Stream) LocalAddr() net.Addr { return s.c.nc.LocalAddr() }

// RemoteAddr returns the address of the connection's peer.
func (s *Stream) RemoteAddr() net.Addr { return s.c.nc.RemoteAddr() }

// Quiet reports whether the peer has neither said anything that was not read nor left;
// see netx.Quiet.
func (s *Stream) Quiet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in.n == 0 && s.err == nil && !s.eof && !s.gone && !s.closed
}

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

// SetReadDeadline implements net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.set(s.rd, t) }

// SetWriteDeadline implements net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.set(s.wd, t) }

func (s *Stream) set(d *netx.Deadline, t time.Time) error {
	if s.left.Load() {
		return net.ErrClosed
	}
	d.Set(t)
	return nil
}

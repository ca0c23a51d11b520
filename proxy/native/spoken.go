package native

import (
	"errors"
	"net"
	"time"

	"teleport/session"
)

// spoken is what an agent says in a session. Where the stream is cut between two
// of its messages, or not begun, it ends with the reason, in the client's own form.
// It is for one reader.
type spoken struct {
	net.Conn
	look    func(p []byte) // may be nil
	bounds  bounds
	refusal func(why error) []byte
	untaken func(why error) error // of the first that is read; may be nil
	cut     error
	last    []byte // of what the client hears of that
}

// Read implements net.Conn.
func (w *spoken) Read(p []byte) (int, error) {
	if w.cut != nil {
		n := copy(p, w.last)
		if w.last = w.last[n:]; n > 0 {
			return n, nil
		}
		return 0, w.cut
	}
	n, err := w.Conn.Read(p)
	if n == 0 && w.untaken != nil && alerted(err) {
		w.cut = w.untaken(err)
		w.last = w.refusal(w.cut)
		return w.Read(p)
	}
	w.untaken = nil
	w.bounds.pass(p[:n])
	if w.look != nil {
		w.look(p[:n])
	}
	var cut *session.CutError
	if n == 0 && errors.As(err, &cut) {
		if w.cut = err; w.bounds.between() {
			w.last = w.refusal(err)
		}
		return w.Read(p)
	}
	return n, err
}

// Write implements net.Conn. Where nothing can be said to the agent any more, what
// it said last is still to be read: its end is found there, not here.
func (w *spoken) Write(p []byte) (int, error) {
	if _, err := w.Conn.Write(p); err != nil {
		return len(p), w.SetReadDeadline(time.Now().Add(startTimeout))
	}
	return len(p), nil
}

// CloseWrite passes the end of one direction on.
func (w *spoken) CloseWrite() error {
	if c, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return w.Close()
}

// NetConn is what it wraps: the splice asks for whole records there.
func (w *spoken) NetConn() net.Conn { return w.Conn }

// bounds finds where messages end in a stream: words put into the middle of one
// would be taken for what the database says. size is how long the message is that
// b begins with: zero asks for more of it, and what is negative is none.
type bounds struct {
	size func(b []byte) int64
	head []byte // of a message of which the size is not known yet
	left int64  // of one that is
	lost bool
}

// mostHead bounds what it takes to know the size of a message.
const mostHead = 64 << 10

func (m *bounds) pass(p []byte) {
	for len(p) > 0 && !m.lost {
		if m.left == 0 {
			b := p
			if len(m.head) > 0 {
				b = append(m.head, p[:min(len(p), mostHead)]...)
			}
			size := m.size(b)
			if size == 0 && len(b) < mostHead {
				m.head = append(m.head[:0], b...)
				return
			}
			if m.lost = size < int64(len(m.head)) || size == 0; m.lost {
				m.head = nil
				return
			}
			m.left = size - int64(len(m.head))
			m.head = m.head[:0]
		}
		n := min(m.left, int64(len(p)))
		m.left -= n
		p = p[n:]
	}
}

// between reports whether the stream is at the end of a message.
func (m *bounds) between() bool { return !m.lost && m.left == 0 && len(m.head) == 0 }

package tunnel

import (
	"net"
	"sync/atomic"
	"time"
)

// writeLimit is how long one write on a tunnel may be stuck before the tunnel
// counts as dead.
const writeLimit = 30 * time.Second

// liveConn remembers when the peer was last heard of: any byte counts, so
// neither side waits for answers to pings.
type liveConn struct {
	net.Conn
	heard   atomic.Int64 // nanoseconds since 1970
	limited atomic.Bool  // writes have a deadline; off during the handshake, which has one of its own
}

func newLiveConn(c net.Conn) *liveConn {
	l := &liveConn{Conn: c}
	l.heard.Store(time.Now().UnixNano())
	return l
}

func (l *liveConn) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

func (l *liveConn) Write(p []byte) (int, error) {
	if l.limited.Load() {
		if err := l.Conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
			return 0, err
		}
	}
	return l.Conn.Write(p)
}

// handshakeDone lifts the handshake's deadline.
func (l *liveConn) handshakeDone() error {
	if err := l.Conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	l.limited.Store(true)
	return nil
}

func (l *liveConn) lastHeard() time.Time { return time.Unix(0, l.heard.Load()) }

// stream is a dialled connection that tells its tunnel when it ends.
type stream struct {
	net.Conn
	release func() // called once
	closed  atomic.Bool
}

// NetConn returns the carrier.
func (s *stream) NetConn() net.Conn { return s.Conn }

func (s *stream) Close() error {
	err := s.Conn.Close()
	if s.closed.CompareAndSwap(false, true) {
		s.release()
	}
	return err
}

// CloseWrite ends the outgoing direction alone; all carriers know it.
func (s *stream) CloseWrite() error {
	if cw, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return cw.CloseWrite()
	}
	return s.Close()
}

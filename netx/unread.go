package netx

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
)

// Unread notices requests that an HTTP server refuses before any handler hears of
// them: what cannot be read, or could be read in two ways. Of HTTP/2 it notices
// none, whose frames leave no doubt where a request ends.
type Unread struct {
	// Told is called with the connection and the status line of the server's own
	// answer. It is called before that is sent.
	Told func(c *tls.Conn, answer string)
}

// Serve has a server serve a listener of *tls.Conn whose handshake is done. The
// server's own ConnState and ConnContext are kept, and its handlers see what they
// would without this; only that the connections are not *tls.Conn themselves.
func (u *Unread) Serve(s *http.Server, ln net.Listener) error {
	inner, state, of := s.Handler, s.ConnState, s.ConnContext
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(unreadKey{}).(*unreadConn); ok {
			c.heard.Store(true)
		}
		inner.ServeHTTP(w, r)
	})
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if of != nil {
			ctx = of(ctx, c)
		}
		return context.WithValue(ctx, unreadKey{}, c)
	}
	s.ConnState = func(c net.Conn, to http.ConnState) {
		if own, ok := c.(*unreadConn); ok && to == http.StateIdle {
			own.heard.Store(false)
		}
		if state != nil {
			state(c, to)
		}
	}
	return s.Serve(unreadListener{ln, u})
}

type unreadKey struct{}

type unreadListener struct {
	net.Listener
	u *Unread
}

// Accept implements net.Listener.
func (l unreadListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if t, ok := c.(*tls.Conn); ok && err == nil && t.ConnectionState().NegotiatedProtocol != "h2" {
		return &unreadConn{Conn: t, u: l.u}, nil
	}
	return c, err
}

// unreadConn is a connection whose server writes only what handlers have heard of.
type unreadConn struct {
	*tls.Conn
	u     *Unread
	heard atomic.Bool // a handler has the present request
}

// Write implements net.Conn.
func (c *unreadConn) Write(p []byte) (int, error) {
	if !c.heard.Load() {
		line, _, _ := bytes.Cut(p, []byte("\r\n"))
		c.u.Told(c.Conn, string(bytes.TrimPrefix(line, []byte("HTTP/1.1 "))))
	}
	return c.Conn.Write(p)
}

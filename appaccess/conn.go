package appaccess

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"teleport/netx"
	"teleport/session"
)

var _ netx.CloseWriter = (*carried)(nil)

// carried is the connection under a client's TLS: it tells that the client is
// alive, and when it has ended.
type carried struct {
	net.Conn
	live  atomic.Pointer[session.Live]
	visit *visit // set before the server gets it
	// elsewhere is that of the visit.
	elsewhere func()
	// ctx ends with the connection.
	ctx context.Context
	end context.CancelFunc
}

func newCarried(ctx context.Context, conn net.Conn) *carried {
	c := &carried{Conn: conn}
	c.ctx, c.end = context.WithCancel(ctx)
	return c
}

// Read implements net.Conn.
func (c *carried) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.touch()
	return n, err
}

// Write implements net.Conn. A long download is no idle client.
func (c *carried) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.touch()
	return n, err
}

// CloseWrite ends the writing direction, where the connection has one: whoever has said
// everything may go on to listen.
func (c *carried) CloseWrite() error {
	if w, ok := c.Conn.(netx.CloseWriter); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// NetConn returns the connection below.
func (c *carried) NetConn() net.Conn { return c.Conn }

func (c *carried) touch() {
	if l := c.live.Load(); l != nil {
		l.Touch()
	}
}

// Close implements net.Conn.
func (c *carried) Close() error {
	defer c.end()
	return c.Conn.Close()
}

// reason is why a connection was ended from outside; the first one counts.
type reason struct {
	mu  sync.Mutex
	err error
}

func (r *reason) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *reason) get() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

type visitKey struct{}

// connContext tells requests whose connection they came by.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // a *tls.Conn, or around one
		if under, ok := t.NetConn().(*carried); ok {
			return context.WithValue(ctx, visitKey{}, under.visit)
		}
	}
	return ctx
}

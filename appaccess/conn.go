package appaccess

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"

	"teleport/session"
)

// carried is the connection under a client's TLS: it tells that the client is
// alive, and when it has ended.
type carried struct {
	net.Conn
	live  atomic.Pointer[session.Live]
	visit *visit // set before the server gets it
	once  sync.Once
	done  chan struct{}
}

func newCarried(c net.Conn) *carried { return &carried{Conn: c, done: make(chan struct{})} }

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

func (c *carried) touch() {
	if l := c.live.Load(); l != nil {
		l.Touch()
	}
}

// Close implements net.Conn.
func (c *carried) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.done) })
	return err
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

// feed is the listener of connections that come through dials.
type feed struct {
	conns  chan *tls.Conn
	closed chan struct{}
	once   sync.Once
}

func newFeed() *feed { return &feed{conns: make(chan *tls.Conn), closed: make(chan struct{})} }

func (f *feed) put(ctx context.Context, c *tls.Conn) error {
	select {
	case f.conns <- c:
		return nil
	case <-f.closed:
		return net.ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Accept implements net.Listener.
func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *feed) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// Addr implements net.Listener.
func (f *feed) Addr() net.Addr { return &net.UnixAddr{Name: "dials", Net: "dials"} }

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

package netx

import (
	"context"
	"net"
	"sync"
)

// Feed is a listener of connections that are handed in, such as those that another
// listener has sorted out. Safe for concurrent use.
type Feed struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewFeed makes a feed.
func NewFeed() *Feed { return &Feed{conns: make(chan net.Conn), closed: make(chan struct{})} }

// Put waits until somebody accepts c. An error means that nobody did: net.ErrClosed,
// or the cause of ctx; c is then the caller's still.
func (f *Feed) Put(ctx context.Context, c net.Conn) error {
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
func (f *Feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (f *Feed) Close() error {
	f.once.Do(func() { close(f.closed) })
	return nil
}

// Addr implements net.Listener.
func (f *Feed) Addr() net.Addr { return &net.UnixAddr{Name: "feed", Net: "feed"} }

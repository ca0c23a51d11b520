package assembly

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"teleport/fault"
)

// dialFunc yields a connection to the auth service, without TLS.
type dialFunc func(ctx context.Context) (net.Conn, error)

// route is how this process reaches the auth service. It may be told of a
// better way while it is in use: an agent begins with a connection of its own
// through the proxy's port, and goes through its tunnels once they stand.
type route struct{ dial atomic.Pointer[dialFunc] }

func newRoute(f dialFunc) *route {
	r := &route{}
	r.use(f)
	return r
}

func (r *route) use(f dialFunc) { r.dial.Store(&f) }

// Dial is an authclient.DialFunc.
func (r *route) Dial(ctx context.Context) (net.Conn, error) { return (*r.dial.Load())(ctx) }

// directRoute dials an address.
func directRoute(addr string) *route {
	return newRoute(func(ctx context.Context) (net.Conn, error) {
		d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
		conn, err := d.DialContext(ctx, "tcp", addr)
		return conn, fault.Wrap(err, fault.Unavailable, "the auth service at %s does not answer", addr)
	})
}

// localAddr is how a process reaches its own listener.
func localAddr(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	switch ip := net.ParseIP(host); {
	case ip == nil, !ip.IsUnspecified():
		return a.String()
	case ip.To4() == nil:
		return net.JoinHostPort("::1", port)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// shareListener returns a second handle of a listening socket, which may be
// closed without closing the first.
func shareListener(ln net.Listener) (net.Listener, error) {
	tl, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, fault.New(fault.Internal, "%T cannot be shared", ln)
	}
	f, err := tl.File()
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the listener %s cannot be shared", ln.Addr())
	}
	defer f.Close()
	return net.FileListener(f)
}

// runAll runs functions until ctx ends or one of them fails, which ends the others.
func runAll(ctx context.Context, fs ...func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, f := range fs {
		g.Go(func() error { return f(ctx) })
	}
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

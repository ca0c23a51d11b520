// Package localproxy lets native clients of protocols reach a resource: it
// listens on this machine and gives each connection a way through the proxy,
// with the person's certificate around it.
package localproxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"teleport/fault"
	"teleport/netx"
)

// Dialer opens a connection to the resource.
type Dialer func(ctx context.Context) (net.Conn, error)

// Options configure a Proxy.
type Options struct {
	Dial Dialer
	// HTTP2 opens one for a client that begins with HTTP/2 and has asked nobody, as
	// gRPC without TLS does. With it, nothing is dialled before the client has spoken.
	// Nil: no client is looked at.
	HTTP2 Dialer
	// Failed is told of each connection or request that found no way. Optional.
	Failed func(err error)
	// Cut is told of each connection that was open and may not go on. Optional.
	Cut func(why error)
	Log *slog.Logger // nil discards
}

// Proxy serves one listener.
type Proxy struct{ o Options }

// New makes a proxy. It starts nothing.
func New(o Options) *Proxy { return &Proxy{o.filled()} }

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	if o.Cut == nil {
		o.Cut = func(error) {}
	}
	return o
}

// Listen opens a port on this machine; "0" is any. Whoever can connect to it has
// the person's access: it is never on another address than the loopback's.
func Listen(ctx context.Context, port string) (net.Listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	return ln, fault.Wrap(err, fault.Unavailable, "port %s of this machine cannot be listened on", port)
}

// Serve takes connections until ctx ends, and returns when the last is closed.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener) error {
	var open sync.WaitGroup
	defer open.Wait()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	err := netx.Accept(ctx, ln, p.o.Log, func(c net.Conn) {
		open.Go(func() {
			defer c.Close()
			if err := p.carry(ctx, c); err != nil && ctx.Err() == nil {
				p.o.Failed(err)
			}
		})
	})
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (p *Proxy) carry(ctx context.Context, c net.Conn) error {
	dial, begun := p.o.Dial, []byte(nil)
	if p.o.HTTP2 != nil {
		stop := context.AfterFunc(ctx, func() { c.Close() })
		known, err := readPreface(c)
		if !stop() || err != nil && len(known) == 0 {
			return nil // it has said nothing
		}
		if begun = known; string(begun) == preface {
			dial = p.o.HTTP2
		}
	}
	up, err := dial(ctx)
	if err != nil {
		return err
	}
	if len(begun) > 0 {
		if _, err := up.Write(begun); err != nil {
			return errors.Join(fault.Wrap(err, fault.Unavailable, "the connection to the resource was lost"), up.Close())
		}
	}
	// How it ends is between the client and the resource, as long as the way stands.
	if why := (*fault.Error)(nil); errors.As(netx.Splice(ctx, c, up, netx.SpliceOptions{}), &why) {
		p.o.Cut(why)
	}
	return nil
}

// preface is how a client begins that speaks HTTP/2 (RFC 9113, section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// readPreface reads as long as what comes is the preface, and returns what it has
// read: no client of HTTP/1.1 waits in the middle of that.
func readPreface(c net.Conn) ([]byte, error) {
	b := make([]byte, 0, len(preface))
	for len(b) < len(preface) && string(b) == preface[:len(b)] {
		n, err := c.Read(b[len(b):cap(b)])
		if b = b[:len(b)+n]; err != nil {
			return b, err
		}
	}
	return b, nil
}

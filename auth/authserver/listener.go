package authserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"teleport/api/rpc"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx"
	"teleport/types"
)

// ALPN names of the auth service's port.
const (
	ALPNAPI     = "h2"
	ALPNForward = "teleport-forward" // from a proxy: host mTLS, forward header, then the client's own TLS
)

// Bounds of what a peer may cost before it is known. Clients that a proxy passes
// on are many, and anybody can be one: they have a budget of their own, of which
// one client network takes a share, so that strangers at a proxy's door keep
// neither each other nor the processes of the cluster out.
const (
	handshakeTimeout = 15 * time.Second
	maxHandshakes    = 128
	maxForwarded     = 512
	maxPerClient     = 32
	drainTimeout     = 5 * time.Second
)

// Handler is the API: Drain ends the streams that would hold up a shutdown.
type Handler interface {
	http.Handler
	Drain()
}

// Listener serves the API on TLS listeners: clients that come directly, and
// those that a proxy passes on, whose address then is the client's own.
type Listener struct {
	source tlscert.Source
	log    *slog.Logger
	outer  *tls.Config // direct clients and proxies that forward
	inner  *tls.Config // the client's own TLS within a forwarded connection
	http   *http.Server
	budget chan struct{}
	passed share // of forwarded clients whose handshake is under way

	strangers share // of connections without a client certificate
}

// NewListener returns a listener for the handler. source gives the auth
// service's host certificate and the cluster's trust.
func NewListener(source tlscert.Source, handler Handler, log *slog.Logger) *Listener {
	options := func(alpn ...string) tlscert.ServerOptions {
		return tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityUser, types.IdentityHost},
			Anonymous: true, ShowAuthority: true, ALPN: alpn}
	}
	l := &Listener{
		source: source, log: log,
		outer:  tlscert.ServerConfig(source, options(ALPNAPI, ALPNForward)),
		inner:  tlscert.ServerConfig(source, options(ALPNAPI)),
		budget: make(chan struct{}, maxHandshakes),
		passed: share{most: maxForwarded, each: maxPerClient},

		strangers: share{most: maxStrangers, each: maxStrangersEach},
		http: &http.Server{
			Handler: handler, ConnContext: rpc.ConnContext, ConnState: state,
			ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 32 << 10,
			HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 128, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
	l.http.RegisterOnShutdown(handler.Drain)
	return l
}

// Serve accepts on the listeners until ctx ends or one of them fails, then lets
// calls under way finish for a moment. It closes the listeners. Call it once.
func (l *Listener) Serve(ctx context.Context, listeners ...net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conns := &connQueue{conns: make(chan net.Conn), done: ctx.Done()}
	var wg sync.WaitGroup
	failed := make(chan error, len(listeners)+1)
	for _, ln := range listeners {
		wg.Go(func() { failed <- l.accept(ctx, ln, conns, &wg) })
	}
	wg.Go(func() {
		if err := l.http.Serve(conns); !errors.Is(err, http.ErrServerClosed) && ctx.Err() == nil {
			failed <- err
		}
	})
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	for _, ln := range listeners {
		_ = ln.Close() // ends its accept loop
	}
	drain, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer stop()
	if shutdownErr := l.http.Shutdown(drain); shutdownErr != nil {
		_ = l.http.Close() // streams that outlived the drain
	}
	cancel()
	wg.Wait()
	return err
}

// accept hands each connection to a goroutine of its own; it never waits on a
// peer. Beyond the budget of handshakes, connections are closed.
func (l *Listener) accept(ctx context.Context, ln net.Listener, out *connQueue, wg *sync.WaitGroup) error {
	err := netx.Accept(ctx, ln, l.log, func(conn net.Conn) {
		select {
		case l.budget <- struct{}{}:
		default:
			l.log.WarnContext(ctx, "too many connections at once, one was closed", "addr", conn.RemoteAddr().String())
			_ = conn.Close() // refused
			return
		}
		wg.Go(func() {
			free := sync.OnceFunc(func() { <-l.budget })
			defer free()
			ready, err := l.handshake(ctx, &client{Conn: conn}, free)
			if err != nil {
				l.log.DebugContext(ctx, "a connection was refused", "addr", conn.RemoteAddr().String(), "error", err)
				return
			}
			out.push(ready)
		})
	})
	return fault.Wrap(err, fault.Unavailable, "the auth service no longer accepts connections")
}

// handshake brings a connection to the point where the API can be spoken, or
// closes it. known is called when the peer itself has shown who it is.
func (l *Listener) handshake(ctx context.Context, conn *client, known func()) (_ net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	ready := conn
	defer func() {
		if err != nil {
			_ = ready.Close() // refused; what it lies on is closed with it
		}
	}()
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends a read that knows no context
	defer stop()
	secure, err := l.meet(ctx, conn, l.outer)
	if err != nil {
		return nil, err
	}
	if secure.ConnectionState().NegotiatedProtocol == ALPNForward {
		if ready, err = l.forwarded(secure, conn); err != nil {
			return nil, err
		}
		from := netx.AddrPort(ready.RemoteAddr()).Addr()
		if !l.passed.take(from) {
			return nil, fault.New(fault.Limit, "too many clients at once from the network of %s", from)
		}
		defer l.passed.give(from)
		known()
		if secure, err = l.meet(ctx, ready, l.inner); err != nil {
			return nil, err
		}
	}
	if secure.ConnectionState().NegotiatedProtocol != ALPNAPI {
		return nil, fault.New(fault.Invalid, "the client offered no protocol that the auth service speaks")
	}
	if !stop() {
		return nil, ctx.Err()
	}
	return secure, conn.SetDeadline(time.Time{})
}

// forwarded unwraps the connection of a client from that of a proxy. Only then
// is the client's address believed. After an error, the result is conn itself.
func (l *Listener) forwarded(outer *tls.Conn, conn *client) (*client, error) {
	proxy, err := tlscert.Peer(outer.ConnectionState(), l.source.Trust(), l.source.Now(), types.IdentityHost)
	if err != nil {
		return conn, err
	}
	passed, _, err := dial.ReadForward(outer, proxy)
	if err != nil {
		return conn, err
	}
	return &client{Conn: passed, proxy: proxy.Name}, nil
}

// connQueue is the net.Listener of connections whose handshake is done.
type connQueue struct {
	conns chan net.Conn
	done  <-chan struct{}
}

func (q *connQueue) push(c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.done:
		_ = c.Close() // nobody serves it any more
	}
}

// Accept implements net.Listener.
func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *connQueue) Close() error { return nil }

// Addr implements net.Listener.
func (q *connQueue) Addr() net.Addr { return &net.TCPAddr{} }

// Package tlsroute serves many protocols on one port: it looks at the first
// bytes of each connection and at the ALPN and SNI of its TLS hello, and hands
// the connection to one of several plain net.Listeners. Accept loops never wait
// for a client: the work before authentication has a pool of its own with a
// size, a share per client address and a deadline.
package tlsroute

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teleport/fault"
	"teleport/lifecycle"
	"teleport/netx"
	"teleport/netx/proxyproto"
	"teleport/telemetry"
)

// Options configure a Router. Zero values mean the defaults named.
type Options struct {
	PreAuth       int             // connections that have not finished their handshake; 2048
	PerIP         int             // of them from one address (IPv6: one /64); 256
	Timeout       time.Duration   // from accept to the end of the handshake; 10 s
	Grace         time.Duration   // for handshakes under way when Serve is told to stop; 1 s
	Silence       time.Duration   // after which a client that says nothing is one of SSH; 0: never. PROXY headers are refused then
	ProxyProtocol proxyproto.Mode // PROXY headers: on, off, or unset
	Balancers     netx.Networks   // whose PROXY headers are believed, and whose connections are many clients'
	Log           *slog.Logger
	Metrics       prometheus.Registerer // may be nil
}

// ConfigFunc returns the TLS configuration for a hello. It is asked for each
// connection, so certificates and CAs may change while the router runs. Its
// NextProtos are replaced by the name that was chosen, unless they are just that.
type ConfigFunc func(*tls.ClientHelloInfo) (*tls.Config, error)

// Preamble is how a client without ALPN begins.
type Preamble string

// The preambles that the port knows.
const (
	SSH      Preamble = "ssh"      // "SSH-2.0-" in plain text: ssh -J to the proxy
	Postgres Preamble = "postgres" // an SSLRequest, a GSSENCRequest or a CancelRequest
)

// Router routes connections. Add all routes first, then call Serve.
type Router struct {
	o       Options
	results *prometheus.CounterVec

	exact     map[string]*route
	prefixes  []*route // name ends in "@"
	bySNI     []*route
	fallback  *route
	preambles map[Preamble]*route

	injected chan net.Conn
	done     chan struct{}
	work     sync.WaitGroup

	mu    sync.Mutex
	count int
	perIP map[netip.Prefix]int
}

// route is one destination.
type route struct {
	*queue
	name   string
	names  []string // the ALPN names that it answers with, in the server's order
	match  func(serverName string) bool
	config ConfigFunc
}

// New makes a router without routes.
func New(o Options) (*Router, error) {
	if !o.ProxyProtocol.Valid() {
		return nil, fault.New(fault.Invalid, "proxy_protocol %q is neither on nor off", o.ProxyProtocol)
	}
	if o.Silence != 0 && o.ProxyProtocol != proxyproto.Off {
		return nil, fault.New(fault.Internal, "a port that greets silent clients takes no PROXY headers")
	}
	o.PreAuth = cmp.Or(o.PreAuth, 2048)
	o.PerIP = cmp.Or(o.PerIP, 256)
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.Grace = cmp.Or(o.Grace, time.Second)
	if o.Log == nil {
		o.Log = telemetry.Discard()
	}
	r := &Router{o: o, exact: map[string]*route{}, preambles: map[Preamble]*route{}, perIP: map[netip.Prefix]int{},
		injected: make(chan net.Conn), done: make(chan struct{})}
	r.results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "teleport_tls_connections_total", Help: "Connections to the TLS port, by route and result."}, []string{"route", "result"})
	if o.Metrics != nil {
		if err := o.Metrics.Register(r.results); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// ALPN routes the given names; one that ends in "@" stands for all names that
// begin with it. What the listener accepts are *tls.Conn whose handshake is
// complete; their ConnectionState tells the name.
func (r *Router) ALPN(config ConfigFunc, names ...string) net.Listener {
	rt := &route{queue: newQueue(), name: names[0], config: config}
	for _, n := range names {
		if strings.HasSuffix(n, "@") {
			r.prefixes = append(r.prefixes, &route{queue: rt.queue, name: n, config: config})
		} else {
			r.exact[n] = rt
		}
	}
	return rt
}

// SNI routes web clients (h2, http/1.1 or no ALPN) whose server name matches.
func (r *Router) SNI(match func(serverName string) bool, config ConfigFunc, names ...string) net.Listener {
	rt := &route{queue: newQueue(), name: "sni", names: names, match: match, config: config}
	r.bySNI = append(r.bySNI, rt)
	return rt
}

// Web takes every TLS client that no other route wants: browsers and API
// clients. A client whose ALPN names are all unknown fails its handshake with
// "no application protocol".
func (r *Router) Web(config ConfigFunc) net.Listener {
	r.fallback = &route{queue: newQueue(), name: "web", names: []string{"h2", "http/1.1"}, config: config}
	return r.fallback
}

// Preamble routes clients that do not begin with TLS. The connections still
// hold every byte of the preamble.
func (r *Router) Preamble(p Preamble) net.Listener {
	rt := &route{queue: newQueue(), name: string(p)}
	r.preambles[p] = rt
	return rt
}

// Inject hands in a connection that came by another way, such as a WebSocket:
// it begins with TLS, and its RemoteAddr is the client's.
func (r *Router) Inject(c net.Conn) error {
	select {
	case r.injected <- c:
		return nil
	case <-r.done:
		c.Close()
		return net.ErrClosed
	}
}

// Serve accepts on all listeners until ctx is cancelled; then it closes them,
// gives handshakes under way a moment, closes the routes' listeners and returns
// nil. It may be called once.
func (r *Router) Serve(ctx context.Context, listeners ...net.Listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		for _, ln := range listeners {
			ln.Close()
		}
	})
	defer stop()
	life, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var loops sync.WaitGroup
	for _, ln := range listeners {
		loops.Go(func() {
			if err := r.accept(ctx, life, ln); err != nil {
				cancel(err)
			}
		})
	}
	loops.Go(func() { r.takeInjected(ctx, life) })
	loops.Wait()
	close(r.done)
	moment := time.AfterFunc(r.o.Grace, cut)
	defer moment.Stop()
	r.work.Wait()
	for _, rt := range r.routes() {
		rt.Close()
	}
	if err := context.Cause(ctx); fault.KindOf(err) != fault.Canceled {
		return err
	}
	return nil
}

func (r *Router) routes() []*route {
	list := append(append([]*route(nil), r.prefixes...), r.bySNI...)
	for _, rt := range r.exact {
		list = append(list, rt)
	}
	for _, rt := range r.preambles {
		list = append(list, rt)
	}
	if r.fallback != nil {
		list = append(list, r.fallback)
	}
	return list
}

// accept starts work for each connection and never waits for it.
func (r *Router) accept(ctx, life context.Context, ln net.Listener) error {
	err := netx.Accept(ctx, ln, r.o.Log, func(c net.Conn) { r.begin(life, c, r.serve) })
	return fault.Wrap(err, fault.Internal, "the proxy no longer accepts connections")
}

func (r *Router) takeInjected(ctx, life context.Context) {
	for {
		select {
		case c := <-r.injected:
			r.begin(life, c, r.serveTLS)
		case <-ctx.Done():
			return
		}
	}
}

// begin admits a connection to the pool, or closes it at once.
func (r *Router) begin(ctx context.Context, c net.Conn, serve func(context.Context, net.Conn) error) {
	addr := netx.AddrPort(c.RemoteAddr()).Addr()
	from := netx.ClientNetwork(addr)
	if !r.admit(from, r.o.Balancers.Contain(addr)) {
		c.Close()
		r.results.WithLabelValues("", "refused").Inc()
		return
	}
	r.work.Go(func() {
		defer r.leave(from)
		ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
		defer cancel()
		stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
		err := lifecycle.Guard(ctx, func(ctx context.Context) error { return serve(ctx, c) })
		if !stop() && err == nil {
			c.Close() // the time ran out while it was handed over: its deadlines are spoilt
		}
		if err != nil {
			c.Close()
			r.results.WithLabelValues("", "failed").Inc()
			r.o.Log.Debug("connection refused", telemetry.KeyAddr, c.RemoteAddr().String(), telemetry.KeyErr, err)
		}
	})
}

// admit takes a place. Behind a balancer all clients come from its address: the
// share per address cannot hold there.
func (r *Router) admit(from netip.Prefix, balancer bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count >= r.o.PreAuth || r.perIP[from] >= r.o.PerIP && !balancer {
		return false
	}
	r.count++
	r.perIP[from]++
	return true
}

func (r *Router) leave(from netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count--
	if r.perIP[from]--; r.perIP[from] == 0 {
		delete(r.perIP, from)
	}
}

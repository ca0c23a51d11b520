// Package cloudproxy is what the tools of clouds go through on a person's machine: an
// HTTP proxy that ends TLS for the hosts of the cloud's APIs, with certificates of an
// authority that only those tools are told of, verifies that each request comes from
// a tool that tsh gave credentials to, and takes it to the app. Those credentials are
// made for the life of the proxy and are good for nothing else: another program of
// the machine that finds the port gets nothing. Hosts that are not the cloud's pass
// through untouched.
package cloudproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"teleport/client/localproxy"
	"teleport/cloudhost"
	"teleport/fault"
	"teleport/netx"
	"teleport/netx/alpndial"
)

// Cloud is what the tools of one cloud want.
type Cloud interface {
	// Takes reports whether requests to a host, which has no port, go to the app.
	Takes(host string) bool
	// Answer answers what the proxy itself is asked for, and reports whether it did.
	Answer(w http.ResponseWriter, r *http.Request) bool
	// Admit verifies that a tool of the person's sent a request. It may change the
	// headers and the body to those that go on.
	Admit(r *http.Request) error
	// Wire is the form in which the tool reads errors.
	Wire(r *http.Request) cloudhost.Wire
}

// Options configure a Proxy. Fields without a remark are required.
type Options struct {
	Cloud     Cloud
	Authority *Authority
	// Dial opens a connection to the app's agent.
	Dial localproxy.Dialer
	// Direct opens connections to all other hosts; nil goes through the environment's
	// HTTP proxy.
	Direct func(ctx context.Context, addr string) (net.Conn, error)
	// Failed is told of each request that found no way. Optional.
	Failed func(error)
	Log    *slog.Logger // nil discards
}

// Proxy serves one listener.
type Proxy struct {
	o     Options
	inner *queue
}

const (
	headerTimeout = 20 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHead       = 64 << 10
	// shutdownTimeout is how long requests have to end when the proxy does.
	shutdownTimeout = 5 * time.Second
)

// New makes a proxy. It starts nothing.
func New(o Options) *Proxy {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	if o.Direct == nil {
		o.Direct = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&alpndial.Dialer{ProxyAddr: addr}).Raw(ctx)
		}
	}
	return &Proxy{o: o, inner: newQueue()}
}

// Serve takes connections until ctx ends, and returns when the last is closed.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener) error {
	way := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.o.Dial(ctx) }, DisableCompression: true,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxHead}
	defer way.CloseIdleConnections()
	var tunnels sync.WaitGroup
	defer tunnels.Wait()
	given := ctx
	ctx, end := context.WithCancel(ctx)
	defer end()
	outer := p.server(func(w http.ResponseWriter, r *http.Request) { p.connect(ctx, w, r, &tunnels) })
	inside := p.server(p.forward(way).ServeHTTP)
	served := make(chan error, 2)
	go func() { served <- inside.Serve(p.inner) }()
	go func() { served <- outer.Serve(ln) }()
	err := error(nil)
	select {
	case <-ctx.Done():
	case err = <-served:
		served <- nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	for _, s := range []*http.Server{outer, inside} {
		if s.Shutdown(last) != nil {
			s.Close()
		}
	}
	p.inner.Close()
	<-served
	<-served
	if given.Err() != nil || errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (p *Proxy) server(h http.HandlerFunc) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHead,
		ErrorLog: slog.NewLogLogger(p.o.Log.Handler(), slog.LevelDebug)}
}

// connect answers CONNECT: the cloud's hosts end here, others are passed through.
func (p *Proxy) connect(ctx context.Context, w http.ResponseWriter, r *http.Request, tunnels *sync.WaitGroup) {
	host, port, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil {
		http.Error(w, "this is a proxy for HTTPS alone, by CONNECT", http.StatusMethodNotAllowed)
		return
	}
	ours := port == "443" && p.o.Cloud.Takes(host)
	var up net.Conn
	if !ours {
		if up, err = p.o.Direct(r.Context(), r.Host); err != nil {
			http.Error(w, fault.Message(err), http.StatusBadGateway)
			return
		}
	}
	c, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		closeAll(up)
		return
	}
	tunnels.Go(func() {
		early, perr := buffered.Peek(buffered.Reader.Buffered())
		if _, err := c.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil || perr != nil {
			closeAll(c, up)
			return
		}
		c = netx.WithPrefix(c, append([]byte(nil), early...))
		if !ours {
			defer closeAll(c)
			_ = netx.Splice(ctx, c, up, netx.SpliceOptions{}) // how it ends is between the two
			return
		}
		p.inner.put(ctx, tls.Server(c, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.o.Authority.Certificate(host) }}))
	})
}

func closeAll(conns ...net.Conn) {
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

// forward takes what is admitted to the app.
func (p *Proxy) forward(way http.RoundTripper) http.Handler {
	pass := &httputil.ReverseProxy{Transport: way, FlushInterval: -1, ErrorLog: slog.NewLogLogger(p.o.Log.Handler(), slog.LevelDebug),
		Rewrite: func(out *httputil.ProxyRequest) {
			out.Out.URL.Scheme, out.Out.URL.Host = "http", "app"
			out.Out.Host = out.In.Host
			out.Out.Header.Del("Expect")
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				p.o.Failed(err)
			}
			var f *fault.Error
			if !errors.As(err, &f) {
				err = fault.Wrap(err, fault.Unavailable, "the connection to the app was lost")
			}
			p.refuse(w, r, err)
		}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch host := (&url.URL{Host: r.Host}).Hostname(); {
		case !p.o.Cloud.Takes(host):
			p.refuse(w, r, fault.New(fault.Denied, "%.200q is no host of the cloud's APIs", host))
			return
		case p.o.Cloud.Answer(w, r):
			return
		}
		if err := p.o.Cloud.Admit(r); err != nil {
			p.refuse(w, r, err)
			return
		}
		pass.ServeHTTP(w, r)
	})
}

// refuse answers in the cloud's form.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, why error) {
	a := cloudhost.Refuse(p.o.Cloud.Wire(r), why, "")
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	w.Header().Set("Connection", "close") // what is left of the body is not read
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // it may be gone
}

// queue is a listener of connections that came in another way.
type queue struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newQueue() *queue { return &queue{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (q *queue) put(ctx context.Context, c net.Conn) {
	select {
	case q.conns <- c:
	case <-q.closed:
		c.Close()
	case <-ctx.Done():
		c.Close()
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }

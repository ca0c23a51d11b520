package appproxy_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/api/gen/loginv1"
	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx"
	"teleport/netx/memnet"
	"teleport/netx/mux"
	"teleport/proxy/appproxy"
	"teleport/proxy/proxyd"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

const (
	clusterName = "example.test"
	proxyID     = "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0002"
	wiki        = "https://wiki.proxy.test:3080"
)

// world is a proxy with apps, an auth service of one page, and an agent that is
// the app.
type world struct {
	t     testing.TB
	ca    *certtest.World
	srv   *appproxy.Server
	apps  *appproxy.Hosts
	net   memnet.Network // where the proxy listens
	app   http.Handler   // what the agent does with requests
	speak func(net.Conn) // if set, what it does with streams
	work  sync.WaitGroup
	feeds map[string]chan net.Conn // what is dialled, by agent
	over  <-chan struct{}

	mu       sync.Mutex
	servers  []*types.AppServer
	sessions map[string]*types.AppSession
	secrets  map[string]string // of sessions that auth knows
	subs     map[chan struct{}]struct{}
	uses     int // calls of UseAppSession
	opens    int
	ends     int
	crowd    int // how many requests are still to come before auth answers
	gate     chan struct{}
	away     error         // what auth says instead
	first    string        // the agent that dials come to
	slow     time.Duration // how long each dial takes, by the clocks of the proxy and the agents
	late     time.Duration // how far those are ahead therefore
	deny     error         // what Dial says instead
	dials    int
	carriers []*mux.Acceptor // of the agent
	conns    []net.Conn      // to the agent
	failed   []appproxy.Failure
}

func app(name string, edit func(*types.AppSpec)) *types.AppServer {
	a := types.App{Header: types.Header{Kind: types.KindApp, Version: "v3", Metadata: types.Metadata{Name: name}}, Spec: types.AppSpec{URI: "http://127.0.0.1:1"}}
	if edit != nil {
		edit(&a.Spec)
	}
	return &types.AppServer{Spec: types.AppServerSpec{HostID: certtest.HostUUID, App: a}}
}

func newWorld(t testing.TB, servers ...*types.AppServer) *world {
	w := &world{t: t, ca: certtest.New(t, clusterName, time.Now()), sessions: map[string]*types.AppSession{}, secrets: map[string]string{},
		subs: map[chan struct{}]struct{}{}, servers: servers}
	if len(servers) == 0 {
		w.servers = []*types.AppServer{app("wiki", nil), app("vault", nil)}
	}
	w.app = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(rw, "hello "+r.URL.RequestURI()) })
	w.apps = appproxy.NewHosts(w, "proxy.test:3080", func(h string) bool { return h == "proxy.test" })
	w.srv = appproxy.New(appproxy.Options{PublicAddr: "proxy.test:3080", Hosts: w.apps, Sessions: w, Auth: w, Trust: func() *cert.Trust { return w.ca.Trust },
		Dial: w.dial, Now: w.now, Log: slog.New(slog.DiscardHandler), Bridge: w.bridge,
		Agent: func(uuid string, own *tls.Certificate, alpn ...string) (*tls.Config, error) {
			src := tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: func() *cert.Trust { return w.ca.Trust }, Now: time.Now}
			return tlscert.ClientConfig(src, tlscert.Server{Cluster: clusterName, UUID: uuid}, alpn...)
		},
		Peer: func(cs tls.ConnectionState) (*types.Identity, error) {
			return tlscert.Peer(cs, w.ca.Trust, time.Now(), types.IdentityUser)
		},
		ClientAddr: func(r *http.Request) (netip.AddrPort, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.crowd--; w.crowd == 0 {
				close(w.gate)
			}
			return netip.ParseAddrPort(r.RemoteAddr)
		},
		Failed: func(_ context.Context, f appproxy.Failure) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.failed = append(w.failed, f)
		}})
	ctx, cancel := context.WithCancel(context.Background())
	w.feeds, w.first, w.over = map[string]chan net.Conn{}, certtest.HostUUID, ctx.Done()
	w.work.Go(func() { _ = w.srv.Serve(ctx) })
	t.Cleanup(func() { cancel(); w.work.Wait() })
	w.agent(ctx, certtest.HostUUID, func(rw http.ResponseWriter, r *http.Request) { w.app.ServeHTTP(rw, r) })
	w.listen(ctx)
	return w
}

// agent serves the app to those who show a bridge.
func (w *world) agent(ctx context.Context, uuid string, app http.HandlerFunc) {
	id := certtest.Host(clusterName, time.Now(), types.RoleApp)
	id.Name = uuid
	host := w.sign(id, types.CAHost)
	src := tlscert.Source{Certificate: func() *tls.Certificate { return host }, Trust: func() *cert.Trust { return w.ca.Trust }, Now: w.now}
	config := tlscert.ServerConfig(src, tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityBridge}, ALPN: []string{tunframe.ALPNStreams, "http/1.1"}})
	s := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: app}
	dialled := make(chan net.Conn)
	w.mu.Lock()
	w.feeds[uuid] = dialled
	w.mu.Unlock()
	requests := netx.NewFeed()
	w.work.Go(func() { _ = s.Serve(requests) })
	w.work.Go(func() {
		for {
			select {
			case raw := <-dialled:
				w.work.Go(func() { w.take(ctx, tls.Server(raw, config), requests) })
			case <-ctx.Done():
				return
			}
		}
	})
	context.AfterFunc(ctx, func() { s.Close() })
}

// take takes a connection of the proxy, or the streams in it.
func (w *world) take(ctx context.Context, c *tls.Conn, requests *netx.Feed) {
	if c.HandshakeContext(ctx) != nil {
		c.Close()
		return
	}
	if c.ConnectionState().NegotiatedProtocol != tunframe.ALPNStreams {
		_ = requests.Put(ctx, c)
		return
	}
	a := mux.NewAcceptor(c)
	w.mu.Lock()
	w.carriers = append(w.carriers, a)
	w.mu.Unlock()
	defer context.AfterFunc(ctx, a.Close)()
	_ = a.Serve(func(st *mux.Stream) {
		if w.speak != nil {
			w.speak(st)
			return
		}
		over := make(chan struct{})
		if requests.Put(ctx, &stream{Stream: st, over: over}) == nil {
			<-over
		}
	})
}

// stream tells when it is closed.
type stream struct {
	*mux.Stream
	over chan struct{}
	once sync.Once
}

func (s *stream) Close() error {
	defer s.once.Do(func() { close(s.over) })
	return s.Stream.Close()
}

// listen serves the proxy's port.
func (w *world) listen(ctx context.Context) {
	web := w.sign(certtest.Host(clusterName, time.Now(), types.RoleProxy), types.CAHost)
	ln, err := w.net.Listen(ctx, "tcp", "127.0.0.1:3080")
	must(w.t, err)
	ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{*web}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"http/1.1"}})
	s := &http.Server{Handler: w.srv, ReadHeaderTimeout: time.Minute, ReadTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	w.work.Go(func() { _ = s.Serve(ln) })
	context.AfterFunc(ctx, func() { s.Close() })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) sign(id *types.Identity, ca types.CAType) *tls.Certificate {
	key := certtest.Key(w.t)
	der, err := tlscert.Sign(id, key.Public(), w.ca.Certs[ca], w.ca.TLS[ca], id.IssuedAt)
	must(w.t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.late)
}

func (w *world) AppServers() []*types.AppServer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.servers
}

func (w *world) AppSession(id string) (*types.AppSession, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.sessions[id]
	return s, ok
}

func (w *world) Subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subs[ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.subs, ch)
	}
}

// change alters what the proxy's copy and auth know.
func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	for ch := range w.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// start makes a pending session as the launcher does, and returns its bearer.
func (w *world) start(app, user, state string, edit func(*types.AppSession)) string {
	id, secret := hex32(user+app+"id"), hex32(user+app+"secret")
	s := &types.AppSession{}
	s.Metadata.Name = id
	s.Spec = types.AppSessionSpec{User: user, App: app, SecretHash: types.HashAppSecret(types.NewSecret(secret)), Expires: time.Now().Add(time.Hour)}
	if state != "" {
		s.Spec.StateHash = types.HashAppState(types.NewSecret(state))
	}
	if edit != nil {
		edit(s)
	}
	w.change(func() { w.sessions[id], w.secrets[id] = s, secret })
	return id + "." + secret
}

func hex32(of string) string {
	sum := types.HashAppSecret(types.NewSecret(of))
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range sum[:16] {
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func (w *world) session(bearer string) (*types.AppSession, error) {
	id, secret, _ := strings.Cut(bearer, ".")
	if s := w.sessions[id]; s != nil && w.secrets[id] == secret {
		return s, nil
	}
	return nil, fault.New(fault.Unauthenticated, "the session has ended")
}

func (w *world) OpenAppSession(_ context.Context, r *loginv1.OpenAppSessionRequest) (out *loginv1.OpenAppSessionResponse, err error) {
	w.change(func() {
		w.opens++
		var s *types.AppSession
		if s, err = w.session(r.Bearer); err != nil {
			return
		}
		if want := types.HashAppState(types.NewSecret(r.State)); s.Spec.App != r.App || string(want) != string(s.Spec.StateHash) {
			delete(w.sessions, s.Metadata.Name)
			err = fault.New(fault.Denied, "it cannot be taken over")
			return
		}
		opened, id := *s, s.Metadata.Name
		w.secrets[id] = hex32(w.secrets[id] + "opened")
		opened.Spec.StateHash, opened.Spec.SecretHash = nil, types.HashAppSecret(types.NewSecret(w.secrets[id]))
		w.sessions[id] = &opened
		out = &loginv1.OpenAppSessionResponse{ExpiresUnix: s.Spec.Expires.Unix(), Bearer: id + "." + w.secrets[id]}
	})
	return out, err
}

func (w *world) EndAppSession(_ context.Context, r *loginv1.EndAppSessionRequest) error {
	w.change(func() {
		w.ends++
		if s, err := w.session(r.Bearer); err == nil {
			delete(w.sessions, s.Metadata.Name)
		}
	})
	return nil
}

func (w *world) UseAppSession(ctx context.Context, r *loginv1.UseAppSessionRequest) (*loginv1.UseAppSessionResponse, error) {
	w.mu.Lock()
	gate := w.gate
	w.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done(): // one of the crowd never came
			return nil, ctx.Err()
		}
	}
	w.mu.Lock()
	s, err := w.session(r.Bearer)
	w.uses++
	if w.away != nil {
		err = w.away
	}
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKIXPublicKey(r.TlsPublic)
	if err != nil {
		return nil, err
	}
	id := certtest.User(s.Spec.User, clusterName, time.Now())
	id.Authority.Route = &types.Route{Kind: types.KindApp, Name: s.Spec.App}
	text, err := w.carry(id, key)
	return &loginv1.UseAppSessionResponse{TlsCert: text}, err
}

func (w *world) bridge(_ context.Context, user *x509.Certificate, _ netip.AddrPort, key crypto.PublicKey) ([]byte, error) {
	id, err := tlscert.Verify([]*x509.Certificate{user}, w.ca.Trust, time.Now(), types.IdentityUser)
	if err != nil {
		return nil, err
	}
	return w.carry(id, key)
}

func (w *world) carry(id *types.Identity, key crypto.PublicKey) ([]byte, error) {
	b := *id
	b.IssuedAt = time.Now()
	b.Kind, b.Authority.ProxyUUID, b.Authority.UserExpires = types.IdentityBridge, proxyID, id.Authority.Expires
	b.Authority.Expires, b.Authority.DisallowReissue = time.Now().Add(5*time.Minute), true
	if end := id.Authority.Expires; end.Before(b.Authority.Expires) {
		b.Authority.Expires = end
	}
	der, err := tlscert.Sign(&b, key, w.ca.Certs[types.CAHost], w.ca.TLS[types.CAHost], time.Now())
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

// dial leads to an agent that serves the app at once.
func (w *world) dial(_ context.Context, c proxyd.Caller, t dial.Target) (net.Conn, dial.Reply, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials++
	w.late += w.slow
	if w.deny != nil {
		return nil, dial.Reply{}, w.deny
	}
	if t.Kind != types.KindApp || c.Identity.Kind != types.IdentityBridge || c.Identity.Authority.Route.Name != t.Name {
		return nil, dial.Reply{}, fault.New(fault.Denied, "access denied")
	}
	near, far := net.Pipe()
	w.conns = append(w.conns, near)
	feed := w.feeds[w.first]
	w.work.Go(func() {
		select {
		case feed <- far:
		case <-w.over:
			far.Close()
		}
	})
	return near, dial.Reply{AgentUUID: w.first}, nil
}

// browser keeps cookies, follows no redirect, and reaches every name at the proxy.
func (w *world) browser(own ...tls.Certificate) *http.Client {
	jar, err := cookiejar.New(nil)
	must(w.t, err)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: own},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return w.net.DialContext(ctx, "tcp", "127.0.0.1:3080")
		}}
	w.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Jar: jar, Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// raw opens TLS to the proxy.
func (w *world) raw() *tls.Conn {
	w.t.Helper()
	conn, err := w.net.DialContext(w.t.Context(), "tcp", "127.0.0.1:3080")
	must(w.t, err)
	w.t.Cleanup(func() { conn.Close() })
	return tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
}

var pageHeaders = map[string]string{"Accept": "text/html,*/*", "Sec-Fetch-Mode": "navigate"}

// do makes a request and returns its answer with the body read.
func (w *world) do(c *http.Client, method, url, body string, headers map[string]string) (*http.Response, string) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, url, strings.NewReader(body))
	must(w.t, err)
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	if h := headers["Host"]; h != "" {
		r.Host = h
	}
	resp, err := c.Do(r)
	must(w.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(w.t, err)
	return resp, string(b)
}

// begin starts a hand-over in a browser and returns its state.
func (w *world) begin(c *http.Client, at string) string {
	w.t.Helper()
	resp, _ := w.do(c, "GET", at+"/x-teleport-auth?path=%2Fpage", "", pageHeaders)
	u, err := url.Parse(resp.Header.Get("Location"))
	must(w.t, err)
	if u.Host != "proxy.test:3080" || !strings.HasPrefix(u.Path, "/web/launch/") {
		w.t.Fatalf("it leads to %s", u)
	}
	return u.Query().Get("state")
}

func (w *world) finish(c *http.Client, at, body string, more map[string]string) (*http.Response, string) {
	w.t.Helper()
	headers := map[string]string{"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin", "Origin": at}
	maps.Copy(headers, more)
	return w.do(c, "POST", at+"/x-teleport-auth", body, headers)
}

// signedIn is a browser with a session of alice with the wiki.
func (w *world) signedIn() *http.Client {
	w.t.Helper()
	c := w.browser()
	state := w.begin(c, wiki)
	secret, _ := appproxy.StateSecret(state)
	bearer := w.start("wiki", "alice", secret.Reveal(), nil)
	if resp, body := w.finish(c, wiki, `{"state":"`+state+`","session":"`+bearer+`","path":"/page"}`, nil); resp.StatusCode != 200 {
		w.t.Fatalf("the hand-over: %s %s", resp.Status, body)
	}
	return c
}

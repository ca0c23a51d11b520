// Package apptest is the world that tests of the app service run in: an agent with
// one app, users with certificates, and proxies with bridges. The audit log is kept
// in memory, in order.
package apptest

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"teleport/agent/insidetest"
	"teleport/appaccess"
	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/jwtcert"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/netx/memnet"
	"teleport/recorder"
	"teleport/session"
	"teleport/types"
)

// Names of the world.
const (
	Cluster = "example.test"
	HostID  = "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0001"
	ProxyID = "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0002"
	App     = "wiki"
	// SessionID is the visit's, where a route names none.
	SessionID = "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0003"
)

// World is one agent that fronts one app.
type World struct {
	CAs     *certtest.World
	Policy  *insidetest.Policy
	Log     *insidetest.Log
	Service *appaccess.Service
	Tokens  atomic.Int32 // how many were asked for
	t       testing.TB
	doc     atomic.Pointer[types.App]
	live    *session.Registry
	later   atomic.Int64 // how far the agent's clock is ahead, in ns
	pair    func() (near, far net.Conn, err error)
	ctx     context.Context
	work    sync.WaitGroup
}

// New makes a world around an app; edit, which may be nil, changes the service.
func New(t testing.TB, spec types.AppSpec, edit func(*appaccess.Config)) *World {
	t.Helper()
	w := &World{CAs: certtest.New(t, Cluster, time.Now()), Log: &insidetest.Log{}, Policy: insidetest.NewPolicy(), t: t, live: session.NewRegistry(), pair: insidetest.Pair}
	w.Spec(spec)
	host := certtest.Host(Cluster, time.Now(), types.RoleApp)
	host.Name = HostID
	own := w.Certificate(host, types.CAHost)
	cfg := appaccess.Config{HostID: HostID, Hostname: "app-agent", Cluster: Cluster, Apps: func() []*types.App { return []*types.App{w.doc.Load()} },
		TLS:    tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: func() *cert.Trust { return w.CAs.Trust }, Now: w.now},
		Policy: w.Policy, Audit: w.Log, Sessions: w.live, Recorder: recorder.Off{}, Dialer: &net.Dialer{}, Log: slog.New(slog.DiscardHandler)}
	cfg.Token = w.token
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if w.Service, err = appaccess.New(cfg); err != nil {
		t.Fatal(err)
	}
	w.Role(func(*types.RoleSpec) {})
	ctx, cancel := context.WithCancel(context.Background())
	w.ctx = ctx
	w.work.Go(func() { _ = w.live.Serve(ctx, w.Policy) })
	w.work.Go(func() {
		if err := w.Service.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); w.work.Wait() })
	return w
}

// token is what auth would say.
func (w *World) token(_ context.Context, u appaccess.Use) (types.Secret, time.Time, error) {
	w.Tokens.Add(1)
	now := time.Now()
	c := jwtcert.Claims{Issuer: Cluster, Subject: u.Identity.Name, Audience: u.App.Spec.URI, Roles: u.Identity.Authority.Roles,
		Traits: u.Identity.Authority.Traits, IssuedAt: now, Expires: now.Add(time.Hour)}
	token, err := jwtcert.Sign(c, w.CAs.JWT)
	return types.NewSecret(token), c.Expires, err
}

// Spec changes the app's document.
func (w *World) Spec(spec types.AppSpec) {
	w.t.Helper()
	doc := &types.App{Spec: spec}
	doc.Metadata.Name, doc.Metadata.Labels = App, map[string]string{"env": "test"}
	if err := doc.Validate(); err != nil {
		w.t.Fatal(err)
	}
	w.doc.Store(doc)
}

// InMemory has dials come over no network, for tests of time.
func (w *World) InMemory() {
	w.pair = func() (near, far net.Conn, err error) {
		near, far = memnet.Pipe()
		return near, far, nil
	}
}

// Role gives a role to every user of the world, which allows all apps.
func (w *World) Role(edit func(*types.RoleSpec)) {
	w.t.Helper()
	r := &types.Role{}
	r.Metadata.Name = "app"
	r.Spec.Allow = types.RoleConditions{AppLabels: types.Labels{"*": {"*"}}}
	edit(&r.Spec)
	if err := r.Validate(); err != nil {
		w.t.Fatal(err)
	}
	w.Policy.SetRole(r)
}

// Certificate signs an identity.
func (w *World) Certificate(id *types.Identity, ca types.CAType) *tls.Certificate {
	w.t.Helper()
	key := certtest.Key(w.t)
	der, err := tlscert.Sign(id, key.Public(), w.CAs.Certs[ca], w.CAs.TLS[ca], time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (w *World) now() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }

// Later puts the clock forward by which the agent takes certificates.
func (w *World) Later(d time.Duration) { w.later.Add(int64(d)) }

// User is a user's identity with a route to the app.
func User(name string, route types.AppRoute) *types.Identity {
	if route.SessionID == "" {
		route.SessionID = SessionID
	}
	id := certtest.User(name, Cluster, time.Now())
	id.Authority.Roles, id.Authority.Route = []string{"app"}, route.Route(App)
	return id
}

// Bridge is that identity as a proxy carries it.
func Bridge(name string, route types.AppRoute) *types.Identity {
	id := User(name, route)
	id.Kind, id.Authority.ProxyUUID, id.Authority.DisallowReissue = types.IdentityBridge, ProxyID, true
	id.Authority.UserExpires, id.Authority.Expires = id.Authority.Expires, time.Now().Add(5*time.Minute)
	return id
}

// Dial opens TLS to the agent as an identity, with the protocol of alpn.
func (w *World) Dial(ctx context.Context, id *types.Identity, alpn ...string) (*tls.Conn, error) {
	return w.dialer(id, alpn...)(ctx)
}

// dialer makes the identity's certificate.
func (w *World) dialer(id *types.Identity, alpn ...string) func(context.Context) (*tls.Conn, error) {
	w.t.Helper()
	ca := types.CAUser
	if id.Kind == types.IdentityBridge {
		ca = types.CAHost
	}
	own := w.Certificate(id, ca)
	config, err := tlscert.ClientConfig(tlscert.Source{Certificate: func() *tls.Certificate { return own },
		Trust: func() *cert.Trust { return w.CAs.Trust }, Now: time.Now}, tlscert.Server{Cluster: Cluster, UUID: HostID}, alpn...)
	if err != nil {
		w.t.Fatal(err)
	}
	return func(ctx context.Context) (*tls.Conn, error) {
		conn := tls.Client(w.Gate(id.Name), config)
		return conn, conn.HandshakeContext(ctx)
	}
}

// Gate is a dial of the agent, as it comes through the gate for a user.
func (w *World) Gate(user string) net.Conn {
	near, far, err := w.pair()
	if err != nil {
		w.t.Error(err)
		return near
	}
	in := &dial.Inbound{Conn: far, Proxy: &types.Identity{Kind: types.IdentityHost, Cluster: Cluster, Name: ProxyID}}
	in.Header = dial.New(types.KindApp, App)
	in.Header.Gateway = &dial.Gateway{User: user, Cluster: Cluster}
	w.work.Go(func() {
		if err := w.Service.Serve(w.ctx, in); err != nil {
			w.Log.Note(err)
		}
	})
	return near
}

// Client speaks HTTP/1.1 with the agent as an identity. It follows no redirect.
func (w *World) Client(id *types.Identity) *http.Client {
	dial := w.dialer(id, "http/1.1")
	t := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }, DisableCompression: true}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Client2 speaks HTTP/2 with the agent.
func (w *World) Client2(id *types.Identity) *http.Client {
	dial := w.dialer(id, "h2")
	t := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }, ForceAttemptHTTP2: true}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

// Drain has the agent take no new sessions.
func (w *World) Drain() {
	w.work.Go(func() { w.live.Drain(w.ctx) })
}

// Await waits until something is true.
func (w *World) Await(is func() bool) {
	w.t.Helper()
	insidetest.Await(w.t, is)
}

// Package dbtest is the world that tests of database engines run in: a database
// service with one database in front of it, users with certificates, and a
// listener that does what a user's local proxy, the proxy and the tunnel do. The
// audit log is kept in memory, in order.
package dbtest

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"teleport/agent/insidetest"
	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/tlscert"
	"teleport/dbaccess"
	"teleport/dial"
	"teleport/netx"
	"teleport/netx/mux"
	"teleport/recorder"
	"teleport/session"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// Names of the world.
const (
	Cluster  = "example.test"
	HostID   = "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0001"
	ProxyID  = "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0002"
	Database = "shop"
)

// What tests change, and what they read.
type (
	Policy = insidetest.Policy
	Log    = insidetest.Log
)

// World is one agent that fronts one database.
type World struct {
	CAs    *certtest.World
	Policy *Policy
	Log    *Log
	Doc    *types.Database
	t      testing.TB
	svc    *dbaccess.Service
	live   *session.Registry
	later  atomic.Int64 // how far the agent's clock is ahead, in ns
	ctx    context.Context
	work   sync.WaitGroup
}

// New makes a world around an engine and a database; creds says how the agent
// logs in to it.
func New(t testing.TB, engine dbaccess.Engine, spec types.DatabaseSpec, creds func(*certtest.World) dbaccess.Credentials) *World {
	t.Helper()
	w := &World{CAs: certtest.New(t, Cluster, time.Now()), Log: &Log{}, Policy: insidetest.NewPolicy(), t: t}
	w.Doc = &types.Database{Spec: spec}
	w.Doc.Metadata.Name, w.Doc.Metadata.Labels = Database, map[string]string{"env": "test"}
	if err := w.Doc.Validate(); err != nil {
		t.Fatal(err)
	}
	host := certtest.Host(Cluster, time.Now(), types.RoleDb)
	host.Name = HostID
	own := w.certificate(host, types.CAHost)
	registry := session.NewRegistry()
	svc, err := dbaccess.New(dbaccess.Config{HostID: HostID, Hostname: "db-agent", Cluster: Cluster,
		Databases: func() []*types.Database { return []*types.Database{w.Doc} }, Engines: map[string]dbaccess.Engine{spec.Protocol: engine},
		TLS:    tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: func() *cert.Trust { return w.CAs.Trust }, Now: w.now},
		Policy: w.Policy, Credentials: creds(w.CAs), Audit: w.Log, Sessions: registry, Recorder: recorder.Off{}, Dialer: &net.Dialer{},
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.svc, w.live = svc, registry
	ctx, cancel := context.WithCancel(context.Background())
	w.ctx = ctx
	w.work.Go(func() { _ = registry.Serve(ctx, w.Policy) })
	t.Cleanup(func() { cancel(); w.work.Wait() })
	return w
}

// Check asks, as the agent does at intervals, whether the database is there.
func (w *World) Check(ctx context.Context) error { return w.svc.Check(ctx, w.Doc) }

// Role gives a role to every user of the world.
func (w *World) Role(edit func(*types.RoleSpec)) {
	r := &types.Role{}
	r.Metadata.Name = "db"
	r.Spec.Allow = types.RoleConditions{DBLabels: types.Labels{"*": {"*"}}, DBUsers: []string{"alice"}, DBNames: []string{"postgres"}}
	edit(&r.Spec)
	if err := r.Validate(); err != nil {
		w.t.Fatal(err)
	}
	w.Policy.SetRole(r)
}

func (w *World) certificate(id *types.Identity, ca types.CAType) *tls.Certificate {
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

// Drain has the agent take no new sessions.
func (w *World) Drain() {
	w.work.Go(func() { w.live.Drain(w.ctx) })
}

// Listen opens what a user's native client connects to: plain bytes of the
// dialect, which travel in the TLS of the user's certificate.
func (w *World) Listen(user string, route types.DatabaseRoute) net.Addr {
	w.t.Helper()
	config := w.config(user, route)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { ln.Close() })
	w.work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			w.work.Go(func() { w.carry(c, user, config) })
		}
	})
	return ln.Addr()
}

func (w *World) config(user string, route types.DatabaseRoute, alpn ...string) *tls.Config {
	w.t.Helper()
	id := certtest.User(user, Cluster, time.Now())
	id.Authority.Roles, id.Authority.Route = []string{"db"}, route.Route(Database)
	own := w.certificate(id, types.CAUser)
	config, err := tlscert.ClientConfig(tlscert.Source{Certificate: func() *tls.Certificate { return own },
		Trust: func() *cert.Trust { return w.CAs.Trust }, Now: time.Now}, tlscert.Server{Cluster: Cluster, UUID: HostID}, alpn...)
	if err != nil {
		w.t.Fatal(err)
	}
	return config
}

// Streams opens TLS to the agent within which a user's connections share the way.
func (w *World) Streams(user string, route types.DatabaseRoute) *mux.Opener {
	w.t.Helper()
	conn := tls.Client(w.dial(user), w.config(user, route, tunframe.ALPNStreams))
	if err := conn.HandshakeContext(w.ctx); err != nil || conn.ConnectionState().NegotiatedProtocol != tunframe.ALPNStreams {
		w.t.Fatalf("no streams: %v", err)
	}
	o := mux.NewOpener(conn, nil)
	w.t.Cleanup(o.Close)
	return o
}

// carry is the way from a native client to the agent.
func (w *World) carry(c net.Conn, user string, config *tls.Config) {
	defer c.Close()
	_ = netx.Splice(w.ctx, c, tls.Client(w.dial(user), config), netx.SpliceOptions{})
}

// dial is a dial of the agent, as it comes through the gate.
func (w *World) dial(user string) net.Conn {
	near, far, err := insidetest.Pair()
	if err != nil {
		w.t.Error(err)
		return near
	}
	in := &dial.Inbound{Conn: far, Proxy: &types.Identity{Kind: types.IdentityHost, Cluster: Cluster, Name: ProxyID}}
	in.Header = dial.New(types.KindDatabase, Database)
	in.Header.Gateway = &dial.Gateway{User: user, Cluster: Cluster}
	w.work.Go(func() {
		if err := w.svc.Serve(w.ctx, in); err != nil {
			w.Log.Note(err)
		}
	})
	return near
}

// Await waits until something is true.
func (w *World) Await(is func() bool) {
	w.t.Helper()
	insidetest.Await(w.t, is)
}

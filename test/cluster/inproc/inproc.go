// Package inproc is the one-process world of the tests: an auth service, hosts
// that joined it and people's identities, over a network in memory and in the
// virtual time of testing/synctest. It is for everything about clocks; signals,
// terminals and real peers belong to package cluster. The two are never mixed.
//
//	inproc.Run(t, inproc.Opts{}, func(t *testing.T, w *inproc.World) {
//		h := w.AddHost(t, "web-1")
//		s := h.Open(t, w.Person(t, "alice", time.Hour), "root")
//		w.Lock(t, types.LockTarget{User: "alice"})
//		s.CutWithin(t, time.Second)
//	})
//
// A stream stands for what a service carries: it is decided and registered as the
// SSH service does, and moves no bytes. When a world ends, its audit log must
// verify without a gap, and synctest finds any goroutine that stayed.
package inproc

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/pem"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/api/authclient"
	"teleport/audit"
	"teleport/audit/audittest"
	"teleport/audit/chain"
	"teleport/auth/admincert"
	"teleport/auth/authserver"
	"teleport/backend/memkv"
	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/join"
	"teleport/join/tokenjoin"
	"teleport/keystore/softkeys"
	"teleport/netx/memnet"
	"teleport/types"
)

const (
	authUUID = "00000000-0000-4000-8000-00000000000a"
	authAddr = "auth:3025"
	// NodeToken admits hosts of every world.
	NodeToken = "node-token-of-this-world"
)

// Opts say what a world is made of.
type Opts struct {
	// Preference changes the cluster's authentication settings. Optional.
	Preference func(*types.AuthPreference)
	// Networking changes the cluster's network settings. Optional.
	Networking func(*types.NetworkingConfig)
	// HostTTL is the life of hosts' certificates; 0: the product's.
	HostTTL time.Duration
}

// World is a cluster inside of one synctest bubble.
type World struct {
	Net   *memnet.Network
	Auth  *authserver.Server
	Admin *authclient.Client
	Log   *audit.Log

	writer  *audit.Writer
	shipper *audit.Shipper
	group   sync.WaitGroup
}

// Run makes a world, runs the story in it, and judges what it leaves behind.
func Run(t *testing.T, o Opts, story func(*testing.T, *World)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir, o)
		story(t, w)
	})
}

func newWorld(t *testing.T, dir string, o Opts) *World {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &World{Net: new(memnet.Network)}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	w.writer, err = audit.NewWriter(audit.WriterOptions{Dir: dir + "/spool", HostUUID: authUUID, Cluster: "test", Generation: 1})
	check(t, err)
	w.Log, err = audit.OpenLog(audit.LogOptions{Dir: dir + "/blocks", Cluster: "test", Signer: key, Emitter: w.writer, Log: quiet(),
		Publish: func(context.Context, chain.Signed) error { return nil }})
	check(t, err)
	w.shipper = audit.NewShipper(w.writer, func(ctx context.Context, b chain.Batch) (uint64, error) {
		return w.Log.Ingest(ctx, audit.Caller{UUID: authUUID, Auth: true}, b)
	}, audit.ShipperOptions{Log: quiet()})
	kv := memkv.New(memkv.Options{})
	ks, err := softkeys.New(kv, nil)
	check(t, err)
	w.Auth, err = authserver.New(ctx, authserver.Config{ClusterName: "test", HostUUID: authUUID, Hostname: "auth", Addr: authAddr,
		DataDir: dir, Version: types.Release, Storage: "memory", Generation: 1, Backend: kv, Keystore: ks, Audit: w.Log,
		Events: w.writer, Methods: []join.Method{tokenjoin.Method{}}, Log: quiet(), Settings: settings(o), HostTTL: o.HostTTL,
		StaticTokens: []authserver.StaticToken{{Roles: []types.SystemRole{types.RoleNode}, Secret: types.NewSecret(NodeToken)}}})
	check(t, err)
	ln, err := w.Net.Listen(ctx, "tcp", authAddr)
	check(t, err)
	w.serve(ctx, t, "kv", kv.Serve)
	w.serve(ctx, t, "log", w.Log.Serve)
	w.serve(ctx, t, "shipper", w.shipper.Serve)
	w.serve(ctx, t, "auth", func(ctx context.Context) error { return w.Auth.Serve(ctx, ln) })
	w.Admin = w.admin(t, dir)
	t.Cleanup(func() { w.end(t, cancel) })
	<-w.Auth.Replica().Ready()
	return w
}

// settings are the singletons of a configuration, as the options change them.
func settings(o Opts) []types.Resource {
	var list []types.Resource
	if o.Preference != nil {
		p := &types.AuthPreference{Header: header(types.KindAuthPreference, "v2", "cluster-auth-preference")}
		o.Preference(p)
		list = append(list, p)
	}
	if o.Networking != nil {
		n := &types.NetworkingConfig{Header: header(types.KindNetworkingConfig, "v2", "cluster-networking-config")}
		o.Networking(n)
		list = append(list, n)
	}
	return list
}

// end flushes the audit log, stops everything and judges the log.
func (w *World) end(t *testing.T, cancel context.CancelFunc) {
	check(t, w.shipper.Flush(context.Background()))
	audittest.Complete(t, w.Log)
	check(t, w.Admin.Close())
	cancel()
	w.group.Wait()
	check(t, w.writer.Close())
	check(t, w.Log.Close())
}

// serve runs a service until ctx ends; it must not fail.
func (w *World) serve(ctx context.Context, t *testing.T, name string, f func(context.Context) error) {
	w.group.Go(func() {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("%s ended: %v", name, err)
		}
	})
}

// admin is the administrator of the auth host.
func (w *World) admin(t *testing.T, dir string) *authclient.Client {
	t.Helper()
	a, err := admincert.Load(dir)
	check(t, err)
	_, trust, err := a.TLS()
	check(t, err)
	src := w.Auth.Source()
	src.Trust = func() *cert.Trust { return trust }
	// The auth service replaces the file before the certificate in it ends.
	src.Certificate = func() *tls.Certificate {
		a, err := admincert.Load(dir)
		check(t, err)
		pair, _, err := a.TLS()
		check(t, err)
		return pair
	}
	return w.client(t, src, w.Net.DialContext)
}

// client speaks to auth with a certificate.
func (w *World) client(t *testing.T, src tlscert.Source, dial func(context.Context, string, string) (net.Conn, error)) *authclient.Client {
	t.Helper()
	conf, err := tlscert.ClientConfig(src, tlscert.Server{Cluster: "test", Role: types.RoleAuth}, "h2")
	check(t, err)
	c, err := authclient.New(authclient.Config{TLS: conf, Dial: func(ctx context.Context) (net.Conn, error) { return dial(ctx, "tcp", authAddr) }})
	check(t, err)
	return c
}

func header(kind, version, name string) types.Header {
	return types.Header{Kind: kind, Version: version, Metadata: types.Metadata{Name: name}}
}

func quiet() *slog.Logger {
	return slog.New(slog.DiscardHandler)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// der is the one certificate of a PEM text.
func der(t testing.TB, text []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no certificate in %q", text)
	}
	return block.Bytes
}

package stolen

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/assembly"
	"teleport/auth/admincert"
	"teleport/backend/sqlitekv"
	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/sshcert"
	"teleport/cert/tlscert"
	"teleport/config"
	"teleport/generation"
	"teleport/keys"
	"teleport/keystore/softkeys"
	"teleport/store"
	"teleport/test/cluster"
	"teleport/types"
)

const (
	clusterName = "example.test"
	nodeName    = "box"

	databaseName = "shop"
	appName      = "wiki"
	appHost      = "wiki.example"
)

// world is a cluster whose CA keys the test has read from its own disk.
type world struct {
	t         *testing.T
	dir       string
	mode      string // of recording
	auth, web string // addresses
	node      string // address of the agent's own port
	mysql     string // and of the proxy for clients of MySQL
	trust     *cert.Trust
	ssh, tls  map[types.CAType]crypto.Signer
	certs     map[types.CAType]*x509.Certificate
}

// credential is what a thief holds: either half may be missing.
type credential struct {
	name string
	uuid string // of a host
	tls  *tls.Certificate
	ssh  ssh.Signer
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newWorld starts a cluster once, to make its authorities, reads them from the
// disk as a thief of the whole machine would, and starts it again.
func newWorld(t *testing.T, mode string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), mode: mode,
		ssh: map[types.CAType]crypto.Signer{}, tls: map[types.CAType]crypto.Signer{}, certs: map[types.CAType]*x509.Certificate{}}
	w.run()()
	w.read()
	t.Cleanup(w.run())
	return w
}

func (w *world) run() (stop func()) {
	w.t.Helper()
	// A process keeps its listeners for a next generation: each run has its own.
	w.auth, w.web = "127.0.0.1:"+cluster.FreePort(w.t), "127.0.0.1:"+cluster.FreePort(w.t)
	w.node, w.mysql = "127.0.0.1:"+cluster.FreePort(w.t), "127.0.0.1:"+cluster.FreePort(w.t)
	text := fmt.Sprintf("version: v3\nteleport: {nodename: %s, data_dir: %s}\nauth_service: {enabled: yes, cluster_name: %s, listen_addr: %s, session_recording: %s}\n"+
		"proxy_service: {enabled: yes, web_listen_addr: %s, mysql_listen_addr: %s}\nssh_service: {enabled: yes, force_listen: yes, listen_addr: %s}\n"+
		"app_service: {enabled: yes, apps: [{name: "+appName+", uri: 'http://127.0.0.1:1', public_addr: "+appHost+"}]}\n"+
		"db_service: {enabled: yes, databases: [{name: %s, protocol: postgres, uri: '127.0.0.1:1'}]}\n", nodeName, w.dir, clusterName, w.auth, w.mode, w.web, w.mysql, w.node, databaseName)
	file, err := config.Parse("test", []byte(text))
	must(w.t, err)
	cfg, err := config.Build(file, config.Flags{})
	must(w.t, err)
	gen, err := generation.Open()
	must(w.t, err)
	ready := make(chan struct{})
	p, err := assembly.New(assembly.Options{Config: cfg, Generation: gen, Log: slog.New(slog.DiscardHandler), Level: new(slog.LevelVar),
		OnReady: func() { close(ready) }})
	must(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		w.t.Fatalf("the cluster did not start: %v", err)
	}
	return func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			w.t.Errorf("the cluster ended with %v", err)
		}
	}
}

// read takes the CA keys and stores the users that the table speaks of.
func (w *world) read() {
	t, ctx := w.t, w.t.Context()
	t.Helper()
	kv, err := sqlitekv.Open(ctx, sqlitekv.Options{Path: filepath.Join(w.dir, "backend", "teleport.sqlite"), Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	kek, err := os.ReadFile(filepath.Join(w.dir, "proc", "keystore.key"))
	must(t, err)
	ks, err := softkeys.New(kv, kek)
	must(t, err)
	docs := store.New(kv, store.Options{})
	authorities, err := store.Of[*types.CertAuthority](docs).All(ctx)
	must(t, err)
	w.trust, err = cert.NewTrust(authorities)
	must(t, err)
	for _, doc := range authorities {
		a, ca := doc.Spec.Active, doc.Spec.Type
		if a.TLSKeyID != "" {
			w.tls[ca], err = ks.Signer(ctx, a.TLSKeyID)
			must(t, err)
			w.certs[ca], err = cert.ParseAuthority([]byte(a.TLSCert))
			must(t, err)
		}
		if a.SSHKeyID != "" {
			w.ssh[ca], err = ks.Signer(ctx, a.SSHKeyID)
			must(t, err)
		}
	}
	for _, name := range []string{"alice", "bob", "locked"} {
		u := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: name}}}
		u.Spec.Roles, u.Spec.Traits = []string{"access"}, map[string][]string{"logins": {"root"}, "db_users": {"app"}, "db_names": {"orders"}}
		_, err := docs.Put(ctx, store.Create, u)
		must(t, err)
	}
	gone := &types.UserEpoch{Header: types.Header{Kind: types.KindUserEpoch, Version: "v1", Metadata: types.Metadata{Name: "deleted"}}}
	gone.Spec.NotBefore, gone.Spec.Deleted = time.Now().Add(-time.Hour), true
	lock := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: uuid.NewString()}}}
	lock.Spec.Target.User = "locked"
	for _, doc := range []types.Resource{gone, lock} {
		_, err := docs.Put(ctx, store.Create, doc)
		must(t, err)
	}
	must(t, kv.Close())
}

// forge signs an identity with the authorities of any purpose, as no issuer
// would, and both halves where there are such.
func (w *world) forge(name string, id *types.Identity, ca types.CAType) credential {
	return w.forgeWith(name, id, w.tls[ca], w.ssh[ca], w.certs[ca])
}

func (w *world) forgeWith(name string, id *types.Identity, tlsCA, sshCA crypto.Signer, parent *x509.Certificate) credential {
	w.t.Helper()
	c := credential{name: name}
	if id.Kind == types.IdentityHost {
		c.uuid = id.Name
	}
	own := certtest.Key(w.t)
	der, err := tlscert.Sign(id, own.Public(), parent, tlsCA, id.IssuedAt)
	must(w.t, err)
	c.tls = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own}
	if sshCA == nil || id.Kind != types.IdentityHost && len(id.Authority.Logins) == 0 {
		return c
	}
	c.ssh = w.forgeSSH(id, sshCA)
	return c
}

func (w *world) forgeSSH(id *types.Identity, ca crypto.Signer) ssh.Signer {
	w.t.Helper()
	signer, err := ssh.NewSignerFromSigner(ca)
	must(w.t, err)
	key, err := keys.Generate(keys.Ed25519)
	must(w.t, err)
	bare, err := ssh.NewSignerFromSigner(key)
	must(w.t, err)
	sc, err := sshcert.Sign(id, bare.PublicKey(), signer, id.IssuedAt)
	must(w.t, err)
	both, err := ssh.NewCertSigner(sc, bare)
	must(w.t, err)
	return both
}

func user(name string, change func(*types.Identity)) *types.Identity {
	id := &types.Identity{Kind: types.IdentityUser, Cluster: clusterName, Name: name, IssuedAt: time.Now()}
	id.Authority = types.Authority{Expires: time.Now().Add(time.Hour), Roles: []string{"access"}, Logins: []string{"root"},
		Traits: map[string][]string{"logins": {"root"}, "db_users": {"app"}, "db_names": {"orders"}}, PermitPTY: true, PermitPortForward: true}
	if change != nil {
		change(id)
	}
	return id
}

func host(change func(*types.Identity), roles ...types.SystemRole) *types.Identity {
	id := &types.Identity{Kind: types.IdentityHost, Cluster: clusterName, Name: uuid.NewString(), IssuedAt: time.Now()}
	id.Authority = types.Authority{Expires: time.Now().Add(time.Hour), SystemRoles: roles, Hostname: "thief"}
	if change != nil {
		change(id)
	}
	return id
}

func past(id *types.Identity) {
	id.IssuedAt, id.Authority.Expires = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
}

// kit is everybody who may come.
func (w *world) kit() []credential {
	elsewhere := certtest.New(w.t, clusterName, time.Now())
	foreign := func(name string, id *types.Identity, ca types.CAType) credential {
		return w.forgeWith(name, id, elsewhere.TLS[ca], elsewhere.SSH[ca], elsewhere.Certs[ca])
	}
	admin, err := admincert.Load(w.dir)
	must(w.t, err)
	adminTLS, _, err := admin.TLS()
	must(w.t, err)
	bare, err := keys.Generate(keys.Ed25519)
	must(w.t, err)
	bareSigner, err := ssh.NewSignerFromSigner(bare)
	must(w.t, err)
	here, err := os.ReadFile(filepath.Join(w.dir, "host_uuid")) // of all services
	must(w.t, err)
	// bridge is what a proxy gets to speak for alice at this very node, and its key.
	bridge := func(proxy string) *types.Identity {
		return user("alice", func(id *types.Identity) {
			id.Kind, id.Authority.ProxyUUID, id.Authority.DisallowReissue = types.IdentityBridge, proxy, true
			id.Authority.Route = &types.Route{Kind: types.KindNode, Name: strings.TrimSpace(string(here))}
			id.Authority.UserExpires, id.Authority.Expires = id.Authority.Expires, time.Now().Add(5*time.Minute)
		})
	}
	// way is a user's certificate for the database, and the bridge that carries it.
	way := func(name, user string) func(*types.Identity) {
		return func(id *types.Identity) { id.Authority.Route = types.DatabaseRoute{User: user}.Route(name) }
	}
	carried := func(proxy string) *types.Identity {
		id := bridge(proxy)
		way(databaseName, "app")(id)
		return id
	}
	app := func(name string) func(*types.Identity) {
		return func(id *types.Identity) { id.Authority.Route = types.AppRoute{SessionID: "s"}.Route(name) }
	}
	appCarried := func(proxy string) *types.Identity {
		id := bridge(proxy)
		app(appName)(id)
		return id
	}
	route := func(id *types.Identity) { id.Authority.Route = &types.Route{Kind: types.KindNode, Name: "another"} }
	return []credential{
		{name: "nothing"},
		{name: "bare key", ssh: bareSigner},
		w.forge("user", user("alice", nil), types.CAUser),
		w.forge("another user", user("bob", nil), types.CAUser),
		w.forge("user without roles", user("alice", func(id *types.Identity) { id.Authority.Roles = nil }), types.CAUser),
		w.forge("user of another login", user("alice", func(id *types.Identity) { id.Authority.Logins = []string{"nobody"} }), types.CAUser),
		w.forge("locked user", user("locked", nil), types.CAUser),
		w.forge("deleted user", user("deleted", nil), types.CAUser),
		w.forge("expired user", user("alice", past), types.CAUser),
		w.forge("user at another address", user("alice", func(id *types.Identity) { id.Authority.PinnedIP = netip.MustParseAddr("203.0.113.7") }), types.CAUser),
		w.forge("route to another node", user("alice", route), types.CAUser),
		w.forge("usage db", user("alice", func(id *types.Identity) { id.Authority.Usage = []string{"db"} }), types.CAUser),
		w.forge("bridge", user("alice", func(id *types.Identity) {
			route(id)
			id.Kind, id.Authority.ProxyUUID, id.Authority.DisallowReissue = types.IdentityBridge, uuid.NewString(), true
			id.Authority.Logins, id.Authority.Expires = nil, time.Now().Add(5*time.Minute)
		}), types.CAHost),
		w.forge("bridge for SSH, this proxy's", bridge(strings.TrimSpace(string(here))), types.CAHost),
		w.forge("bridge for SSH, another's", bridge(uuid.NewString()), types.CAHost),
		w.forge("route to the database", user("alice", way(databaseName, "app")), types.CAUser),
		w.forge("route to the database, as another", user("alice", way(databaseName, "postgres")), types.CAUser),
		w.forge("route to another database", user("alice", way("payroll", "app")), types.CAUser),
		w.forge("route to the database, of another", user("bob", way(databaseName, "app")), types.CAUser),
		w.forge("bridge to the database, this proxy's", carried(strings.TrimSpace(string(here))), types.CAHost),
		w.forge("bridge to the database, another's", carried(uuid.NewString()), types.CAHost),
		w.forge("route to the app", user("alice", app(appName)), types.CAUser),
		w.forge("route to another app", user("alice", app("vault")), types.CAUser),
		w.forge("route to the app, of another", user("bob", app(appName)), types.CAUser),
		w.forge("bridge to the app, this proxy's", appCarried(strings.TrimSpace(string(here))), types.CAHost),
		w.forge("bridge to the app, another's", appCarried(uuid.NewString()), types.CAHost),
		w.forge("bridge by the user authority", bridge(strings.TrimSpace(string(here))), types.CAUser),
		// What a proxy enters a stock SSH server with opens nothing of the cluster.
		{name: "openssh, for a stock server", ssh: w.forgeSSH(user("alice", func(id *types.Identity) {
			route(id)
			id.Authority.DisallowReissue = true
		}), w.ssh[types.CAOpenSSH])},
		w.forge("user by the host authority", user("alice", nil), types.CAHost),
		w.forge("user by db_client", user("alice", nil), types.CADBClient),
		w.forge("user by db", user("alice", nil), types.CADB),
		foreign("user of another cluster", user("alice", nil), types.CAUser),
		w.forge("proxy", host(nil, types.RoleProxy), types.CAHost),
		w.forge("node", host(nil, types.RoleNode), types.CAHost),
		w.forge("host without role", host(nil), types.CAHost),
		w.forge("expired proxy", host(past, types.RoleProxy), types.CAHost),
		w.forge("proxy by the user authority", host(nil, types.RoleProxy), types.CAUser),
		foreign("proxy of another cluster", host(nil, types.RoleProxy), types.CAHost),
		{name: "local administrator", tls: adminTLS, uuid: "admin"},
	}
}

// tlsTo opens TLS with an ALPN name, showing the credential. Who answers does not
// matter here: it is the answerer that is tested.
func (c credential) tlsTo(addr, alpn string) (*tls.Conn, error) {
	d := &net.Dialer{Timeout: patience}
	return tls.DialWithDialer(d, "tcp", addr, c.tlsConfig(alpn))
}

func (c credential) tlsConfig(alpn string) *tls.Config {
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}}
	if c.tls != nil {
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.tls, nil }
	}
	return conf
}

// patience bounds one attempt.
const patience = 20 * time.Second

package authapi_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"teleport/api/authclient"
	"teleport/api/gen/issuev1"
	"teleport/api/gen/joinv1"
	"teleport/audit"
	"teleport/audit/audittest"
	"teleport/audit/chain"
	"teleport/auth/admincert"
	"teleport/auth/authapi"
	"teleport/auth/authserver"
	"teleport/backend/memkv"
	"teleport/blob/diskblob"
	"teleport/cert/tlscert"
	"teleport/join"
	"teleport/join/tokenjoin"
	"teleport/keys"
	"teleport/keystore/softkeys"
	"teleport/store"
	"teleport/types"
)

// staticSecret admits every role that a test needs.
const staticSecret = "0123456789abcdef0123456789abcdef"

// world is an auth service over a store in memory and real TLS on loopback.
type world struct {
	t      *testing.T
	server *authserver.Server
	addr   string
	dir    string
	events *audittest.Recorder
	log    *fakeLog
	keys   *softkeys.Keys
	blobs  *watchedBlobs
}

// fakeLog is an audit log that takes everything and finds nothing.
type fakeLog struct {
	mu      sync.Mutex
	batches []chain.Batch
}

func (f *fakeLog) Ingest(_ context.Context, _ audit.Caller, b chain.Batch) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.batches = append(f.batches, b)
	return uint64(len(b.Records)), nil
}
func (f *fakeLog) Search(context.Context, audit.Query) (audit.Result, error) {
	return audit.Result{}, nil
}
func (f *fakeLog) Export(_ context.Context, _ audit.ExportOptions, w io.Writer) error {
	_, err := w.Write([]byte("{}\n"))
	return err
}
func (f *fakeLog) Head() chain.Signed { return chain.Signed{} }

func newWorld(t *testing.T) *world {
	t.Helper()
	log := &fakeLog{}
	w := newWorldWithLog(t, log)
	w.log = log
	return w
}

// newWorldWithLog is a world whose audit log the test brings along.
func newWorldWithLog(t *testing.T, log authapi.AuditLog) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), events: audittest.NewRecorder()}
	kv := memkv.New(memkv.Options{})
	ks, err := softkeys.New(kv, nil)
	must(t, err)
	w.keys = ks
	disk, err := diskblob.Open(filepath.Join(w.dir, "records"))
	must(t, err)
	w.blobs = &watchedBlobs{Store: disk, read: map[string]int64{}, changed: make(chan struct{})}
	every := []types.SystemRole{types.RoleProxy, types.RoleNode, types.RoleDb, types.RoleApp, types.RoleAuth}
	w.server, err = authserver.New(t.Context(), authserver.Config{
		ClusterName: "example", HostUUID: uuid.NewString(), Hostname: "auth1", DataDir: w.dir, Version: "1.0.0", Storage: "memory",
		Backend: kv, Keystore: ks, Audit: log, Events: w.events, Blobs: w.blobs, Methods: []join.Method{tokenjoin.Method{}},
		Log:          slog.New(slog.DiscardHandler),
		StaticTokens: []authserver.StaticToken{{Roles: every, Secret: types.NewSecret(staticSecret)}},
		PublicAddr:   func() string { return "proxy.example:3080" },
	})
	must(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	<-w.server.Replica().Ready()
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// dial opens a plain connection to the auth service.
func (w *world) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", w.addr)
}

// client returns a client that shows the certificate, nil for none.
func (w *world) client(own *tls.Certificate) *authclient.Client {
	w.t.Helper()
	cfg, err := tlscert.ClientConfig(tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: w.server.Trust, Now: time.Now},
		tlscert.Server{Cluster: "example", Role: types.RoleAuth})
	must(w.t, err)
	c, err := authclient.New(authclient.Config{Dial: w.dial, TLS: cfg})
	must(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

// admin is the local administrator, by the file that the service wrote.
func (w *world) admin() *authclient.Client { return w.client(w.adminCert()) }

func (w *world) adminCert() *tls.Certificate {
	w.t.Helper()
	a, err := admincert.Load(w.dir)
	must(w.t, err)
	own, _, err := a.TLS()
	must(w.t, err)
	return own
}

// key makes a P-256 key and its public half in PKIX form.
func (w *world) key() (crypto.Signer, []byte) {
	w.t.Helper()
	signer, err := keys.Generate(keys.ECDSAP256)
	must(w.t, err)
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	must(w.t, err)
	return signer, der
}

// host joins a process with the static token and returns its UUID and certificate.
func (w *world) host(hostname string, roles ...types.SystemRole) (string, *tls.Certificate) {
	w.t.Helper()
	signer, der := w.key()
	var names []string
	for _, r := range roles {
		names = append(names, string(r))
	}
	resp, err := w.client(nil).Join(w.t.Context(), &joinv1.JoinRequest{Method: "token", Token: staticSecret,
		Keys: &joinv1.HostKeys{TlsPublic: der}, Hostname: hostname, SystemRoles: names})
	must(w.t, err)
	return resp.HostUuid, pair(w.t, resp.TlsCert, signer)
}

func pair(t *testing.T, certPEM []byte, key crypto.Signer) *tls.Certificate {
	t.Helper()
	block, _ := pem.Decode(certPEM)
	if block == nil {
		t.Fatal("no certificate in the answer")
	}
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}

// user stores a user with roles and returns a certificate for it, as tctl auth
// sign makes one.
func (w *world) user(name string, roles ...string) *tls.Certificate {
	w.t.Helper()
	u := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: name}}}
	u.Spec.Roles = roles
	u.Spec.Traits = map[string][]string{"logins": {name}}
	_, err := authclient.Put(w.t.Context(), w.admin(), authclient.Upsert, u)
	must(w.t, err)
	return w.sign(name)
}

func (w *world) store() *store.Store { return w.server.Store() }

// settle waits until the replica has seen what the store has.
func (w *world) settle() {
	w.t.Helper()
	ticks, stop := w.server.Replica().Subscribe()
	defer stop()
	lock := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: uuid.NewString()}}}
	lock.Spec.Target.User = "nobody-" + lock.Metadata.Name
	_, err := w.store().Put(w.t.Context(), store.Create, lock)
	must(w.t, err)
	for {
		for _, l := range w.server.Replica().Locks() {
			if l.Metadata.Name == lock.Metadata.Name {
				return
			}
		}
		select {
		case <-ticks:
		case <-w.t.Context().Done():
			return
		}
	}
}

// sign issues a certificate for an existing user through the administrator.
func (w *world) sign(name string) *tls.Certificate {
	w.t.Helper()
	signer, der := w.key()
	resp, err := w.admin().SignUser(w.t.Context(), &issuev1.SignUserRequest{User: name, Keys: &issuev1.PublicKeys{TlsPublic: der}})
	must(w.t, err)
	return pair(w.t, resp.TlsCert, signer)
}

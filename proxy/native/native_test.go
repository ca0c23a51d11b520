package native_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx"
	"teleport/netx/memnet"
	"teleport/proxy/native"
	"teleport/proxy/proxyd"
	"teleport/session"
	"teleport/types"
)

const (
	clusterName = "example.test"
	proxyID     = "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0002"
)

// world is a proxy's port, and an agent behind it that speaks a little PostgreSQL.
type world struct {
	t     *testing.T
	ca    *certtest.World
	addr  string
	redis string
	mysql string
	over  <-chan struct{}
	work  sync.WaitGroup
	agent *agent

	mu      sync.Mutex
	late    time.Duration // how far the clocks of the agent and of the way to it are ahead of who looks first
	bridges int
	refuse  error  // of Bridge
	speaks  string // the database
	deny    error  // of Dial
	meant   []string
	errs    []error
	streams []*stream
}

// stream is one to the agent, which can be cut.
type stream struct {
	net.Conn
	mu  sync.Mutex
	why error
}

func (s *stream) cut(why error) {
	s.mu.Lock()
	s.why = why
	s.mu.Unlock()
	s.Close()
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.why != nil {
		err = s.why
	}
	return n, err
}

// agent has statements that run until they are cancelled.
type agent struct {
	w       *world
	config  *tls.Config
	mu      sync.Mutex
	running map[[8]byte]chan struct{}
	seen    []*types.Identity
	next    byte
	asleep  chan struct{} // one for each statement that runs
	mysql   *speaker      // nil: it speaks PostgreSQL
	raw     string        // if set, it says this alone, and waits
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, ca: certtest.New(t, clusterName, time.Now())}
	host := w.sign(certtest.Host(clusterName, time.Now(), types.RoleDb), types.CAHost)
	src := tlscert.Source{Certificate: func() *tls.Certificate { return host }, Trust: func() *cert.Trust { return w.ca.Trust }, Now: w.now}
	w.agent = &agent{w: w, running: map[[8]byte]chan struct{}{}, asleep: make(chan struct{}, 100),
		config: tlscert.ServerConfig(src, tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityUser, types.IdentityBridge}})}
	web := w.sign(certtest.Host(clusterName, time.Now(), types.RoleProxy), types.CAHost)
	s := native.New(native.Options{Now: w.now, Certificate: func() *tls.Certificate { return web },
		Peer: func(cs tls.ConnectionState) (*types.Identity, error) {
			return tlscert.Peer(cs, w.ca.Trust, time.Now(), types.IdentityUser)
		},
		Dial: w.dial, Bridge: w.bridge, Protocol: func(string) string { return w.speaks },
		Agent: func(uuid string, own *tls.Certificate) (*tls.Config, error) {
			return tlscert.ClientConfig(tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: src.Trust, Now: time.Now},
				tlscert.Server{Cluster: clusterName, UUID: uuid})
		}})
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); w.work.Wait() })
	w.over = ctx.Done()
	w.addr, w.redis, w.mysql = w.listen(ctx, s.ServePostgres), w.listen(ctx, s.ServeRedis), w.listen(ctx, s.ServeMySQL)
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.late)
}

// listen serves a port until ctx ends.
func (w *world) listen(ctx context.Context, serve func(context.Context, net.Conn) error) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { ln.Close() })
	w.work.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			w.work.Go(func() {
				defer c.Close()
				err := serve(ctx, c)
				w.mu.Lock()
				defer w.mu.Unlock()
				w.errs = append(w.errs, err)
			})
		}
	})
	return ln.Addr().String()
}

func (w *world) sign(id *types.Identity, ca types.CAType) *tls.Certificate {
	key := certtest.Key(w.t)
	der, err := tlscert.Sign(id, key.Public(), w.ca.Certs[ca], w.ca.TLS[ca], id.IssuedAt)
	if err != nil {
		w.t.Error(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// bridge does what auth does.
func (w *world) bridge(_ context.Context, user *x509.Certificate, _ netip.AddrPort, key crypto.PublicKey) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return nil, w.refuse
	}
	w.bridges++
	id, err := tlscert.Verify([]*x509.Certificate{user}, w.ca.Trust, time.Now(), types.IdentityUser)
	if err != nil {
		return nil, err
	}
	b := *id
	b.Kind, b.Authority.ProxyUUID, b.Authority.UserExpires = types.IdentityBridge, proxyID, id.Authority.Expires
	b.Authority.Expires, b.Authority.DisallowReissue = time.Now().Add(5*time.Minute), true
	der, err := tlscert.Sign(&b, key, w.ca.Certs[types.CAHost], w.ca.TLS[types.CAHost], time.Now())
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

func (w *world) dial(_ context.Context, c proxyd.Caller, t dial.Target) (net.Conn, dial.Reply, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.meant = append(w.meant, t.Agent)
	if w.deny != nil || t.Kind != types.KindDatabase || t.Name != "shop" || c.Identity.Name != "alice" {
		return nil, dial.Reply{}, errors.Join(w.deny, fault.New(fault.Denied, "access denied"))
	}
	near, far := memnet.Pipe() // which holds something, as a tunnel does
	w.work.Go(func() { w.agent.serve(far) })
	x := &stream{Conn: near}
	w.streams = append(w.streams, x)
	return x, dial.Reply{AgentUUID: certtest.HostUUID}, nil
}

func (a *agent) serve(raw net.Conn) {
	defer raw.Close()
	c := tls.Server(raw, a.config)
	if err := c.Handshake(); err != nil {
		return
	}
	id, err := tlscert.Peer(c.ConnectionState(), a.w.ca.Trust, time.Now(), types.IdentityBridge)
	if err != nil {
		a.w.t.Error(err)
		return
	}
	a.mu.Lock()
	a.seen = append(a.seen, id)
	a.next++
	key := [8]byte{0: a.next, 7: 9}
	a.mu.Unlock()
	if a.raw != "" {
		_, _ = io.WriteString(c, a.raw)
		_, _ = c.Read(make([]byte, 1))
		return
	}
	if a.mysql != nil {
		a.mysql.serve(c)
		return
	}
	back := pgproto3.NewBackend(c, c)
	m, err := back.ReceiveStartupMessage()
	if err != nil {
		return
	}
	if stop, ok := m.(*pgproto3.CancelRequest); ok {
		a.cancel([8]byte(append(binary.BigEndian.AppendUint32(nil, stop.ProcessID), stop.SecretKey...)))
		return
	}
	stopped := make(chan struct{})
	a.mu.Lock()
	a.running[key] = stopped
	a.mu.Unlock()
	back.Send(&pgproto3.AuthenticationOk{})
	back.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "15"})
	back.Send(&pgproto3.BackendKeyData{ProcessID: binary.BigEndian.Uint32(key[:4]), SecretKey: key[4:]})
	back.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for back.Flush() == nil {
		q, err := back.Receive()
		if err != nil {
			return
		}
		if x, ok := q.(*pgproto3.Query); ok && x.String == "sleep" {
			a.asleep <- struct{}{}
			select {
			case <-stopped:
			case <-a.w.over:
				return
			}
			back.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "57014", Message: "canceled"})
		} else {
			back.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 0")})
		}
		back.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	}
}

func (a *agent) cancel(key [8]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.running[key]; c != nil {
		close(c)
		delete(a.running, key)
	}
}

// certificate of alice, for one resource.
func (w *world) certificate(route *types.Route) *tls.Certificate {
	id := certtest.User("alice", clusterName, time.Now())
	id.Authority.Route = route
	return w.sign(id, types.CAUser)
}

func (w *world) shop() *tls.Certificate {
	return w.certificate(types.DatabaseRoute{User: "alice", Name: "orders"}.Route("shop"))
}

func (w *world) config(t *testing.T, own *tls.Certificate) *pgconn.Config {
	c, err := pgconn.ParseConfig("host=127.0.0.1 user=alice dbname=orders sslmode=require")
	if err != nil {
		t.Fatal(err)
	}
	c.Fallbacks = nil
	c.Port = netip.MustParseAddrPort(w.addr).Port()
	if own != nil {
		c.TLSConfig.Certificates = []tls.Certificate{*own}
	}
	return c
}

func (w *world) connect(t *testing.T, own *tls.Certificate) (*pgconn.PgConn, error) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return pgconn.ConnectConfig(ctx, w.config(t, own))
}

func (w *world) counts() (bridges int, meant []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bridges, w.meant
}

func TestAClientWithoutTsh(t *testing.T) {
	w := newWorld(t)
	own := w.shop()
	for range 5 {
		c, err := w.connect(t, own)
		if err != nil {
			t.Fatal(err)
		}
		if r := c.Exec(t.Context(), "select"); r.Close() != nil {
			t.Error("no answer")
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if n, _ := w.counts(); n != 1 {
		t.Errorf("%d bridge certificates for one user and one route", n)
	}
	w.agent.mu.Lock()
	defer w.agent.mu.Unlock()
	for _, id := range w.agent.seen {
		if id.Name != "alice" || id.Authority.ProxyUUID != proxyID || id.Authority.Route == nil || id.Authority.Route.Name != "shop" {
			t.Errorf("the agent saw %+v", id)
		}
	}
}

// Clients before PostgreSQL 17 cancel in plain text, later ones within TLS: the
// agent that holds the session is asked.
func TestCancel(t *testing.T) {
	for _, how := range []string{"plain", "TLS"} {
		w := newWorld(t)
		own := w.shop()
		c, err := w.connect(t, own)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { _, err := c.Exec(context.Background(), "sleep").ReadAll(); ended <- err }()
		w.send(t, how, own, binary.BigEndian.AppendUint32(nil, c.PID()), c.SecretKey())
		var pg *pgconn.PgError
		if err := <-ended; !errors.As(err, &pg) || pg.Code != "57014" {
			t.Errorf("%s: %v", how, err)
		}
		if _, meant := w.counts(); meant[len(meant)-1] != certtest.HostUUID {
			t.Errorf("%s: %q was meant", how, meant)
		}
		_ = c.Close(t.Context()) // how it goes is of no interest here
	}
}

// send asks for the end of a statement, and waits for the port to close.
func (w *world) send(t *testing.T, how string, own *tls.Certificate, pid, secret []byte) {
	raw, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c := raw
	if how == "TLS" {
		c = w.overTLS(t, raw, own)
	}
	msg := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 16), 80877102)
	if _, err := c.Write(append(append(msg, pid...), secret...)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, c) // until the port closes
}

func (w *world) overTLS(t *testing.T, raw net.Conn, own *tls.Certificate) net.Conn {
	var yes [1]byte
	if _, err := raw.Write([]byte{0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(raw, yes[:]); err != nil || yes[0] != 'S' {
		t.Fatalf("%q, %v", yes, err)
	}
	return tls.Client(raw, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*own}})
}

func TestWhoIsRefused(t *testing.T) {
	w := newWorld(t)
	other := certtest.User("mallory", clusterName, time.Now())
	other.Authority.Route = types.DatabaseRoute{User: "alice"}.Route("shop")
	expired := certtest.User("alice", clusterName, time.Now())
	expired.Authority.Route, expired.IssuedAt = types.DatabaseRoute{User: "alice"}.Route("shop"), time.Now().Add(-2*time.Hour)
	expired.Authority.Expires = time.Now().Add(-time.Hour)
	stranger := certtest.New(t, clusterName, time.Now())
	key := certtest.Key(t)
	der, err := tlscert.Sign(other, key.Public(), stranger.Certs[types.CAUser], stranger.TLS[types.CAUser], time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		own  *tls.Certificate
		want string
	}{
		"a certificate for everything":    {w.certificate(nil), "not for one database"},
		"a certificate for a node":        {w.certificate(&types.Route{Kind: types.KindNode, Name: "shop"}), "not for one database"},
		"another database":                {w.certificate(types.DatabaseRoute{User: "alice"}.Route("other")), "access denied"},
		"who may not":                     {w.sign(other, types.CAUser), "access denied"},
		"an authority of somebody else's": {&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, ""},
		"an expired certificate":          {w.sign(expired, types.CAUser), ""},
		"a host":                          {w.sign(certtest.Host(clusterName, time.Now(), types.RoleDb), types.CAHost), ""},
	} {
		conn, err := w.connect(t, c.own)
		var pg *pgconn.PgError
		if err == nil {
			t.Errorf("%s was let in", name)
			_ = conn.Close(t.Context())
		} else if !errors.As(err, &pg) || pg.Code != "28000" || !strings.Contains(pg.Message, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.connect(t, nil); err == nil {
		t.Error("nobody was let in")
	}
	w.mu.Lock()
	w.refuse = fault.New(fault.Denied, "locked: left the company")
	w.mu.Unlock()
	if _, err := w.connect(t, w.shop()); err == nil || !strings.Contains(err.Error(), "left the company") {
		t.Errorf("the reason of auth does not reach the client: %v", err)
	}
	if len(w.agent.seen) != 0 {
		t.Error("an agent was reached")
	}
}

// A session that is cut here ends with the reason.
func TestACutSaysWhy(t *testing.T) {
	w := newWorld(t)
	c, err := w.connect(t, w.shop())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { _, err := c.Exec(context.Background(), "sleep").ReadAll(); ended <- err }()
	<-w.agent.asleep
	w.mu.Lock()
	x := w.streams[0]
	w.mu.Unlock()
	x.cut(session.EndedByModerator("eve"))
	var pg *pgconn.PgError
	if err := <-ended; !errors.As(err, &pg) || pg.Severity != "FATAL" || !strings.Contains(pg.Message, "eve") {
		t.Errorf("%v", err)
	}
}

// What does not speak the protocol reaches nobody, and does not wait for long.
func TestRubbishBeforeTLS(t *testing.T) {
	w := newWorld(t)
	start := []byte{0, 0, 0, 8, 0, 3, 0, 0}
	for name, c := range map[string]struct{ send, want string }{
		"a start in plain text": {string(start), "this port is for TLS"},
		"GSSAPI twice":          {"\x00\x00\x00\x08\x04\xd2\x16\x30\x00\x00\x00\x08\x04\xd2\x16\x30", "this port is for TLS"},
		"rubbish":               {"GET / HTTP/1.1\r\n", "this port is for TLS"},
		"a cancel of nothing":   {"\x00\x00\x00\x10\x04\xd2\x16\x2e12345678", ""},
	} {
		conn, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, c.send); err != nil {
			t.Fatal(err)
		}
		_ = conn.(netx.CloseWriter).CloseWrite() // the port may have closed before
		got, _ := io.ReadAll(conn)
		if !strings.Contains(string(got), c.want) || c.want == "" && len(got) > 0 {
			t.Errorf("%s: %q", name, got)
		}
		conn.Close()
	}
	if n, meant := w.counts(); n != 0 || len(meant) != 0 {
		t.Error("somebody was reached")
	}
}

// A certificate that ends between the proxy's look at it and the agent's is
// refused in the words of one that had ended before.
func TestACertificateThatEndsOnTheWay(t *testing.T) {
	w := newWorld(t)
	w.late = time.Hour
	short := certtest.User("alice", clusterName, time.Now())
	short.Authority.Route, short.Authority.Expires = types.DatabaseRoute{User: "alice"}.Route("shop"), time.Now().Add(time.Hour/2)
	own := w.sign(short, types.CAUser)
	var said *pgconn.PgError
	if _, err := w.connect(t, own); !errors.As(err, &said) || said.Code != "28000" || !strings.Contains(said.Message, "the certificate expired at") {
		t.Errorf("psql heard %v", err)
	}
	conn, err := tls.Dial("tcp", w.redis, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{*own}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "*1\r\n$4\r\nPING\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(conn); !strings.HasPrefix(string(got), "-NOPERM the certificate expired at") {
		t.Errorf("redis-cli heard %q", got)
	}
	w.agent.mysql = &speaker{}
	var denied *mysql.MySQLError
	if err := w.pingMySQL(t, own); !errors.As(err, &denied) || denied.Number != 1045 || !strings.Contains(denied.Message, "the certificate expired at") {
		t.Errorf("mariadb heard %v", err)
	}
	if len(w.agent.seen) != 0 {
		t.Error("the agent took it")
	}
}

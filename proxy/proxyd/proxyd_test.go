package proxyd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teleport/access"
	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx/memnet"
	"teleport/session"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

const cluster = "c.example.com"

// policy is a replica with real state that tests change.
type policy struct {
	mu    sync.Mutex
	roles []*types.Role
	locks []*types.Lock
	ticks chan struct{}

	settings access.Settings
}

func (p *policy) Roles([]string) []*types.Role {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.roles
}

func (p *policy) Locks() []*types.Lock {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.locks
}

func (p *policy) lock(t types.LockTarget) {
	p.mu.Lock()
	p.locks = append(p.locks, &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: "l"}},
		Spec: types.LockSpec{Target: t, Message: "laptop stolen"}})
	p.mu.Unlock()
	p.ticks <- struct{}{}
}

func (p *policy) Settings() access.Settings            { return p.settings }
func (*policy) Epoch(string) *types.UserEpochSpec      { return nil }
func (*policy) Fresh(time.Time) bool                   { return true }
func (*policy) Revision() uint64                       { return 7 }
func (p *policy) Subscribe() (<-chan struct{}, func()) { return p.ticks, func() {} }

// agents is a router over nodes whose agent echoes, and that remembers headers.
type agents struct {
	nodes []*types.Node
	mu    sync.Mutex
	seen  []dial.Header
	here  net.Conn // of the last dial to a server whose SSH ends at the proxy
}

func (a *agents) Resolve(kind, name string, visible func(types.Resource) bool) (types.Resource, error) {
	for _, n := range a.nodes {
		if kind == types.KindNode && n.Spec.Hostname == name && visible(n) {
			return n, nil
		}
	}
	return nil, fault.New(fault.NotFound, "there is no %s %q", kind, name)
}

func (a *agents) Dial(_ context.Context, r types.Resource, h dial.Header) (net.Conn, dial.Reply, error) {
	a.mu.Lock()
	a.seen = append(a.seen, h)
	a.mu.Unlock()
	near, far := memnet.Pipe()
	if n, ok := r.(*types.Node); ok && n.Spec.Hostname == "bare" {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.here = far
		return near, dial.Reply{AgentUUID: r.Head().Name(), EndsAt: tunframe.EndsAtProxy}, nil
	}
	go func() {
		defer far.Close()
		_, _ = io.Copy(far, far)
	}()
	return near, dial.Reply{AgentUUID: r.Head().Name(), EndsAt: tunframe.EndsAtAgent}, nil
}

type world struct {
	*certtest.World
	net    memnet.Network
	policy *policy
	agents *agents
	proxy  *Proxy
	auth   net.Listener

	mu      sync.Mutex
	refused []Refusal
}

func node(uuid, hostname, env string) *types.Node {
	return &types.Node{Header: types.Header{Kind: types.KindNode, Version: "v2", Metadata: types.Metadata{Name: uuid, Labels: map[string]string{"env": env}}},
		Spec: types.NodeSpec{Hostname: hostname, UseTunnel: true}}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: certtest.New(t, cluster, time.Now()), policy: &policy{ticks: make(chan struct{}, 4)}}
	w.agents = &agents{nodes: []*types.Node{node("u-dev", "web-1", "dev"), node("u-bare", "bare", "dev"), node("u-prod", "db-1", "prod")}}
	role := &types.Role{Header: types.Header{Kind: types.KindRole, Version: "v7", Metadata: types.Metadata{Name: "access"}}}
	role.Spec.Allow.Logins = types.StringList{"root", "{{internal.logins}}"}
	role.Spec.Allow.NodeLabels = types.Labels{"env": {"dev"}}
	if err := role.Validate(); err != nil {
		t.Fatal(err)
	}
	w.policy.roles = []*types.Role{role}
	var err error
	if w.auth, err = w.net.Listen(t.Context(), "tcp", "auth:1"); err != nil {
		t.Fatal(err)
	}
	sessions := session.NewRegistry()
	w.proxy = New(Options{UUID: certtest.HostUUID, Cluster: cluster, Policy: w.policy, Router: w.agents, Sessions: sessions,
		Peer: func(cs tls.ConnectionState) (*types.Identity, error) {
			return tlscert.Peer(cs, w.Trust, time.Now(), types.IdentityUser)
		},
		Auth: func(ctx context.Context) (net.Conn, error) { return w.net.DialContext(ctx, "tcp", "auth:1") },
		Refused: func(_ context.Context, r Refusal) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refused = append(w.refused, r)
		},
		Log: slog.New(slog.DiscardHandler), Now: time.Now})
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = sessions.Serve(ctx, w.policy) })
	t.Cleanup(func() { stop(); wg.Wait() })
	return w
}

// source is one end of TLS with a fresh certificate of the identity.
func (w *world) source(t *testing.T, id *types.Identity) tlscert.Source {
	t.Helper()
	ca := types.CAUser
	if id.Kind == types.IdentityHost {
		ca = types.CAHost
	}
	key := certtest.Key(t)
	der, err := tlscert.Sign(id, key.Public(), w.Certs[ca], w.TLS[ca], time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return tlscert.Source{Certificate: func() *tls.Certificate { return pair }, Trust: func() *cert.Trust { return w.Trust }, Now: time.Now}
}

// serve runs the dial route over TLS and returns where it listens.
func (w *world) serve(t *testing.T) {
	t.Helper()
	raw, err := w.net.Listen(t.Context(), "tcp", "proxy:1")
	if err != nil {
		t.Fatal(err)
	}
	host := certtest.Host(cluster, time.Now(), types.RoleProxy)
	source := w.source(t, host)
	config := tlscert.ServerConfig(source, tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityUser, types.IdentityHost}})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.proxy.ServeDials(ctx, handshaken{tls.NewListener(raw, config)}) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("the dial route ended with %v", err)
		}
	})
}

// handshaken completes handshakes as TLS routing does.
type handshaken struct{ net.Listener }

func (h handshaken) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	if err != nil {
		return nil, err
	}
	_ = c.(*tls.Conn).HandshakeContext(context.Background())
	return c, nil
}

// dial sends a header as the bearer of an identity.
func (w *world) dial(t *testing.T, id *types.Identity, h dial.Header) (net.Conn, dial.Reply, error) {
	t.Helper()
	config, err := tlscert.ClientConfig(w.source(t, id), tlscert.Server{Cluster: cluster, Role: types.RoleProxy})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := w.net.From("laptop").DialContext(t.Context(), "tcp", "proxy:1")
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(raw, config)
	t.Cleanup(func() { conn.Close() })
	if err := dial.WriteHeader(conn, &h); err != nil {
		return nil, dial.Reply{}, err
	}
	reply, err := dial.ReadReply(t.Context(), conn)
	return conn, reply, err
}

func alice() *types.Identity {
	id := certtest.User("alice", cluster, time.Now())
	id.Authority.Roles, id.Authority.Logins = []string{"access"}, []string{"root"}
	return id
}

func header(name string) dial.Header {
	h := dial.New(types.KindNode, name)
	h.Stream = strings.Repeat("ab", 16)
	return h
}

func TestADialReachesItsAgentAndTheHeaderIsTheProxysOwn(t *testing.T) {
	w := newWorld(t)
	w.serve(t)
	h := header("web-1")
	// What a client claims of itself must not travel on.
	h.Client, h.ProxyUUID, h.AgentUUID = netip.MustParseAddrPort("203.0.113.9:1"), "evil", "evil"
	h.Gateway = &dial.Gateway{Cluster: cluster, User: "root"}
	conn, reply, err := w.dial(t, alice(), h)
	if err != nil {
		t.Fatal(err)
	}
	if reply.AgentUUID != "u-dev" {
		t.Errorf("reply %+v", reply)
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Fatalf("got %q, %v", got, err)
	}
	sent := w.agents.seen[0]
	if sent.Name != "u-dev" || sent.Gateway.User != "alice" || len(sent.Gateway.CertSHA256) != 64 || sent.AgentUUID == "evil" ||
		sent.ProxyUUID == "evil" || sent.Client.Addr() != w.net.Addr("laptop") {
		t.Errorf("the agent was sent %+v with gateway %+v", sent, sent.Gateway)
	}
}

func TestWhatTheGateRefuses(t *testing.T) {
	tests := []struct {
		name string
		id   *types.Identity
		h    dial.Header
		want fault.Kind
	}{
		{"a node that does not exist", alice(), header("web-9"), fault.NotFound},
		{"a node that the caller may not see", alice(), header("db-1"), fault.NotFound},
		{"an address", alice(), header("10.0.0.1:22"), fault.NotFound},
		{"a kind that no agent fronts", alice(), dial.New("db", "web-1"), fault.NotFound},
		{"another cluster", alice(), func() dial.Header { h := header("web-1"); h.Cluster = "other"; return h }(), fault.NotFound},
		{"a host's certificate", certtest.Host(cluster, time.Now(), types.RoleProxy), header("web-1"), fault.Untrusted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.serve(t)
			if _, _, err := w.dial(t, tt.id, tt.h); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if len(w.agents.seen) > 0 {
				t.Errorf("an agent was dialled")
			}
		})
	}
}

// Who may join a session on a node reaches it, and no other node.
func TestWhoMayJoinReachesTheNode(t *testing.T) {
	w := newWorld(t)
	w.serve(t)
	guest := &types.Role{Header: types.Header{Kind: types.KindRole, Version: "v7", Metadata: types.Metadata{Name: "guest"}}}
	guest.Spec.Allow.JoinSessions = []types.JoinSessions{{Name: "ops", Roles: []string{"ops"}, Kinds: []string{"ssh"}, Modes: []string{"observer"}}}
	w.policy.roles = []*types.Role{guest}
	id := alice()
	id.Authority.Roles, id.Authority.Logins = []string{"guest"}, []string{types.JoinLogin}
	var owner atomic.Value // the session that was joined is decided about again while it lives
	owner.Store("ops")
	w.proxy.o.LiveSessions = func(node string) []*types.SessionTracker {
		if node != "u-prod" {
			return nil
		}
		return []*types.SessionTracker{{Spec: types.SessionTrackerSpec{Kind: "ssh", User: "bob", Roles: []string{owner.Load().(string)}, HostID: node}}}
	}
	if _, _, err := w.dial(t, id, header("db-1")); err != nil {
		t.Errorf("a session there may be joined: %v", err)
	}
	if _, _, err := w.dial(t, id, header("web-1")); !errors.Is(err, fault.NotFound) {
		t.Errorf("a node without such a session: %v", err)
	}
	owner.Store("dev")
	if _, _, err := w.dial(t, id, header("db-1")); !errors.Is(err, fault.NotFound) {
		t.Errorf("a session of others: %v", err)
	}
}

// The log learns of a refused dial also where the caller hears that there is no
// such node.
func TestRefusedDialsAreTold(t *testing.T) {
	w := newWorld(t)
	w.serve(t)
	for name, want := range map[string]string{"db-1": "u-prod", "web-9": "", "web-1": ""} {
		w.refused = nil
		_, _, err := w.dial(t, alice(), header(name))
		if (err == nil) != (name == "web-1") {
			t.Errorf("%s: %v", name, err)
		}
		w.mu.Lock()
		got := ""
		for _, r := range w.refused {
			got += r.Resource.Head().Name()
			if r.Caller.Identity.Name != "alice" || r.Decision.Allow || len(r.Decision.Reasons) == 0 || !r.Caller.Addr.IsValid() {
				t.Errorf("%s: told %+v", name, r)
			}
		}
		w.mu.Unlock()
		if got != want {
			t.Errorf("%s: told of %q, want %q", name, got, want)
		}
	}
	w.refused = nil
	if _, _, err := w.dial(t, alice(), dial.New(types.KindApp, "wiki")); err == nil || len(w.refused) != 1 || w.refused[0].Kind != types.KindApp || w.refused[0].Name != "wiki" ||
		!errors.Is(w.refused[0].Err, fault.NotFound) {
		t.Errorf("an app that there is not: %v, told %+v", err, w.refused)
	}
	w.refused = nil
	w.policy.lock(types.LockTarget{User: "alice"})
	if _, _, err := w.dial(t, alice(), header("web-1")); err == nil || len(w.refused) != 1 {
		t.Errorf("a locked caller: %v, told %d times", err, len(w.refused))
	}
}

func TestWhoeverIsLockedOutLearnsThat(t *testing.T) {
	w := newWorld(t)
	w.serve(t)
	w.policy.lock(types.LockTarget{User: "alice"})
	_, _, err := w.dial(t, alice(), header("web-1"))
	if !errors.Is(err, fault.Denied) || !strings.Contains(fault.Message(err), "laptop stolen") {
		t.Errorf("got %v", err)
	}
}

func TestALockCutsAStreamThatPasses(t *testing.T) {
	for _, target := range []types.LockTarget{{User: "alice"}, {Role: "access"}, {ServerID: "u-dev"}} {
		w := newWorld(t)
		w.serve(t)
		conn, _, err := w.dial(t, alice(), header("web-1"))
		if err != nil {
			t.Fatal(err)
		}
		w.policy.lock(target)
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			t.Errorf("lock on %+v: the stream lives (%v)", target, err)
		}
	}
}

// What ends here tells its person of a lock itself: what carries it leaves it the time,
// and no more than that. Whoever comes through the port and whoever comes from within the
// proxy are alike.
func TestACutWaitsForLastWordsOfWhatEndsHere(t *testing.T) {
	const words = "ERROR: laptop stolen"
	for _, say := range []bool{true, false} {
		for name, dialled := range map[string]func(t *testing.T, w *world) net.Conn{
			"by the port": func(t *testing.T, w *world) net.Conn {
				w.serve(t)
				conn, _, err := w.dial(t, alice(), header("bare"))
				if err != nil {
					t.Fatal(err)
				}
				return conn
			},
			"from within": func(t *testing.T, w *world) net.Conn {
				conn, _, err := w.proxy.Dial(t.Context(), Caller{Identity: alice(), Addr: netip.MustParseAddrPort("192.0.2.7:1")}, dial.Target{Kind: types.KindNode, Name: "bare"})
				if err != nil {
					t.Fatal(err)
				}
				return conn
			},
		} {
			t.Run(fmt.Sprintf("%s says %t", name, say), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					conn := dialled(t, w)
					defer conn.Close()
					began := time.Now()
					w.policy.lock(types.LockTarget{User: "alice"})
					synctest.Wait() // the registry has cut it
					if say {
						if _, err := io.WriteString(w.agents.here, words); err != nil {
							t.Error(err)
						}
						w.agents.here.Close()
					}
					got, _ := io.ReadAll(conn)
					if say && string(got) != words {
						t.Errorf("the person reads %q", got)
					}
					if took := time.Since(began); took >= time.Second || say && took > 0 {
						t.Errorf("it was cut after %s", took)
					}
				})
			})
		}
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestAForwardedClientKeepsItsAddress(t *testing.T) {
	w := newWorld(t)
	near, far := memnet.PipeAddr(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	done := make(chan error, 1)
	go func() {
		done <- w.proxy.ForwardAgent(context.Background(), certtest.Host(cluster, time.Now(), types.RoleNode), far)
	}()
	conn, err := w.auth.Accept()
	if err != nil {
		t.Fatal(err)
	}
	proxy := certtest.Host(cluster, time.Now(), types.RoleProxy)
	inner, _, err := dial.ReadForward(conn, proxy)
	if err != nil {
		t.Fatal(err)
	}
	if got := inner.RemoteAddr().String(); got != "192.0.2.7:4711" {
		t.Errorf("auth sees %s", got)
	}
	near.Close()
	inner.Close()
	if err := <-done; err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("the forward ended with %v", err)
	}
}

// A proxy sees cipher text only: what idles there is the agent's to judge.
func TestABusyStreamIsNotIdleForTheProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.policy.settings.Networking.ClientIdleTimeout = types.Duration(5 * time.Minute)
		w.serve(t)
		conn, _, err := w.dial(t, alice(), header("web-1"))
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			time.Sleep(time.Minute)
			if _, err := io.WriteString(conn, "x"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
	})
}

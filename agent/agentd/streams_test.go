package agentd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/access"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx/memnet"
	"teleport/resume"
	"teleport/tunnel"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// host is one agent with two processes, the policy that both decide from, and a
// client of one stream.
type host struct {
	t          *testing.T
	old, young *Agent
	stop       context.CancelFunc
	work       sync.WaitGroup

	mu       sync.Mutex
	listen   map[uint64]*memnet.Network
	identity *types.Identity
	role     types.RoleSpec
	locks    []*types.Lock
	ticks    []chan struct{} // one for each agent
	at       *Agent          // takes the next dial
	header   dial.Header
	notices  []resume.Notice
	carriers []net.Conn
	down     bool
	reply    dial.Reply
}

// meeting is a Handover in memory.
type meeting struct {
	h      *host
	number uint64
}

func (m meeting) Listen(ctx context.Context) (net.Listener, error) {
	n := new(memnet.Network)
	m.h.mu.Lock()
	m.h.listen[m.number] = n
	m.h.mu.Unlock()
	return n.Listen(ctx, "tcp", "localhost:1")
}

func (m meeting) Others(ctx context.Context, try func(net.Conn) bool) error {
	m.h.mu.Lock()
	n := m.h.listen[7-m.number] // generations 3 and 4
	m.h.mu.Unlock()
	if n != nil {
		if c, err := n.DialContext(ctx, "tcp", "localhost:1"); err == nil && try(c) {
			return nil
		}
	}
	return fault.New(fault.NotFound, "no other process has it")
}

func newHost(t *testing.T) *host {
	h := &host{t: t, listen: map[uint64]*memnet.Network{}, header: header(),
		identity: &types.Identity{Kind: types.IdentityUser, Cluster: "c", Name: "alice", Authority: types.Authority{Roles: []string{"dev"},
			Logins: []string{"root"}, Expires: time.Now().Add(12 * time.Hour), PinnedIP: netip.MustParseAddr("192.0.2.1")}},
		role: types.RoleSpec{Allow: types.RoleConditions{Logins: []string{"root"}, NodeLabels: types.Labels{"*": {"*"}}}}}
	h.header.Gateway = &dial.Gateway{Cluster: "c", User: "alice"}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.old, h.young = h.agent(ctx, 3), h.agent(ctx, 4)
	h.at = h.old
	return h
}

func (h *host) agent(ctx context.Context, generation uint64) *Agent {
	ticks := make(chan struct{}, 1)
	h.ticks = append(h.ticks, ticks)
	a, err := New(Options{Cluster: "c", UUID: uuid, Hostname: "web-1", Generation: generation, Services: []Service{echo{types.KindNode, "web-1"}},
		Locks: h.allLocks, Log: slog.New(slog.DiscardHandler), Streams: &Streams{Timeout: 10 * time.Minute,
			Verify: func(*x509.Certificate, time.Time) (*types.Identity, error) { return h.identity, nil },
			Decide: h.decide, Handover: meeting{h, generation},
			Changed: func() (<-chan struct{}, func()) { return ticks, func() {} },
			Observe: func(n resume.Notice) { h.set(func() { h.notices = append(h.notices, n) }) }}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.work.Go(func() {
		if err := a.Serve(ctx); err != nil {
			h.t.Error(err)
		}
	})
	return a
}

func (h *host) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func (h *host) allLocks() []*types.Lock {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.locks
}

func (h *host) decide(id *types.Identity, _ string, from resume.Party, now time.Time) access.Decision {
	role := &types.Role{Spec: h.role}
	role.Metadata.Name = "dev"
	node := &types.Node{Spec: types.NodeSpec{Hostname: "web-1"}}
	node.Kind, node.Version, node.Metadata.Name = types.KindNode, "v2", uuid
	return access.Decide(access.Request{Identity: id, ClientAddr: from.Client.Addr(), Roles: []*types.Role{role}, Locks: h.allLocks(),
		Action: access.ActionDial, Resource: node, HostID: uuid, Live: true, Now: now})
}

// dial sends a header to the agent that takes dials now.
func (h *host) dial(verb tunframe.Verb) (net.Conn, error) {
	near, err := h.send(verb)
	if err != nil {
		return nil, err
	}
	reply, err := dial.ReadReply(context.Background(), near)
	h.set(func() { h.reply = reply })
	return near, err
}

func (h *host) send(verb tunframe.Verb) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.down {
		return nil, errors.New("no way")
	}
	near, far := memnet.Pipe()
	h.carriers = append(h.carriers, near)
	head, at := h.header, h.at
	head.Verb, head.Stream, head.Resume = verb, "feed", resume.Version
	proxy := proxyIdentity()
	proxy.Name = head.ProxyUUID
	h.work.Go(func() {
		at.Handle(context.Background(), tunnel.Incoming{Conn: far, Header: head, Proxy: proxy, Carrier: tunframe.CarrierData})
	})
	return near, nil
}

func (h *host) cut() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.carriers {
		c.Close()
	}
	h.carriers = nil
}

// client opens a stream.
func (h *host) client() *resume.Conn {
	h.t.Helper()
	conn, err := h.dial(tunframe.Open)
	if err != nil || !h.reply.Resume || h.reply.Keep != 600 {
		h.t.Fatalf("%+v, %v", h.reply, err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	crt := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, crt, crt, key.Public(), key)
	if err != nil {
		h.t.Fatal(err)
	}
	own := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	c, err := resume.NewClient(conn, resume.ClientOptions{Subject: resume.Subject{Stream: "feed", Agent: uuid, User: "alice", Cluster: "c"},
		Generation: 3, Limit: 10 * time.Minute, Certificate: own, Redial: func(context.Context) (net.Conn, error) {
			conn, err := h.dial(tunframe.Attach)
			if err != nil && fault.KindOf(err) == fault.Denied {
				err = resume.Final(err)
			}
			return conn, err
		}})
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

func (h *host) seen(what resume.What) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, x := range h.notices {
		if x.What == what {
			n++
		}
	}
	return n
}

func (h *host) end() {
	h.stop()
	h.cut()
	h.old.Cut()
	h.young.Cut()
	h.work.Wait()
}

func say(t *testing.T, c net.Conn, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(line))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != line {
		t.Fatalf("%q: %v", b, err)
	}
}

// TestAStreamIsFoundInTheOldGeneration: dials go to the newest process, and the
// stream lives in the one before, which drains until it is over.
func TestAStreamIsFoundInTheOldGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		c := h.client()
		say(t, c, "hello")
		h.set(func() { h.at = h.young })
		for range 3 {
			h.cut()
			say(t, c, "through the young one")
		}
		synctest.Wait() // it is told in the background
		if h.old.holder.Len() != 1 || h.young.holder.Len() != 0 || h.seen(resume.Attached) != 3 || h.reply.Generation != 3 {
			t.Errorf("%d and %d streams, %d times attached, generation %d", h.old.holder.Len(), h.young.holder.Len(), h.seen(resume.Attached), h.reply.Generation)
		}
		h.stop() // both drain
		synctest.Wait()
		say(t, c, "while they drain")
		c.Close()
		h.cut()
		h.work.Wait()
	})
}

// TestWhatAStreamIsRefusedFor: before a stream goes on, everything is decided
// anew, and each refusal is told to the person and to the log.
func TestWhatAStreamIsRefusedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(h *host)
		want   string
		event  bool // the holder tells; what admit refuses, the log of the agent does
	}{
		"another user":                      {func(h *host) { h.header.Gateway = &dial.Gateway{Cluster: "c", User: "mallory"} }, "somebody else", true},
		"nobody at the gate":                {func(h *host) { h.header.Gateway = nil }, "who came through the gate", false},
		"another address when it is pinned": {func(h *host) { h.header.Client = netip.MustParseAddrPort("192.0.2.9:4000") }, "pinned to another address", true},
		"a certificate that has expired":    {func(h *host) { h.identity.Authority.Expires = time.Now() }, "expired", true},
		"a role that was taken away":        {func(h *host) { h.role.Allow.NodeLabels = nil }, "access denied", true},
		"a locked user": {func(h *host) {
			h.locks = []*types.Lock{{Spec: types.LockSpec{Target: types.LockTarget{User: "alice"}, Message: "left the company"}}}
		}, "left the company", true},
		"a locked proxy": {func(h *host) {
			h.locks = []*types.Lock{{Spec: types.LockSpec{Target: types.LockTarget{ServerID: "p"}, Message: "stolen proxy"}}}
		}, "stolen proxy", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHost(t)
				c := h.client()
				say(t, c, "hello")
				h.set(func() { tc.change(h) })
				h.cut()
				_, err := c.Read(make([]byte, 1))
				if fault.KindOf(err) != fault.Denied || !strings.Contains(fault.Message(err), tc.want) {
					t.Errorf("the person is told %v", err)
				}
				synctest.Wait()
				if n := h.seen(resume.Refused); n > 1 || (n == 1) != tc.event {
					t.Errorf("%d events", n)
				}
				c.Close()
				h.end()
			})
		})
	}
}

// TestALockOnAProxyLeavesIt: the stream goes on through another.
func TestALockOnAProxyLeavesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		c := h.client()
		say(t, c, "hello")
		h.set(func() {
			h.header.ProxyUUID = "q"
			h.locks = []*types.Lock{{Spec: types.LockSpec{Target: types.LockTarget{ServerID: "p"}}}}
		})
		for _, c := range h.ticks {
			c <- struct{}{}
		}
		synctest.Wait()
		if h.seen(resume.Detached) != 1 {
			t.Error("the locked proxy carries on")
		}
		say(t, c, "through the other")
		c.Close()
		h.end()
	})
}

// TestTimeWithoutAConnectionIsIdle: the idle timeout of the roles ends a stream
// before its own time.
func TestTimeWithoutAConnectionIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		h.role.Options.ClientIdleTimeout = types.Duration(3 * time.Minute)
		c := h.client()
		say(t, c, "hello")
		time.Sleep(time.Minute)
		h.set(func() { h.down = true })
		h.cut()
		time.Sleep(2*time.Minute - time.Second)
		if h.old.holder.Len() != 1 {
			t.Error("it ended too early")
		}
		time.Sleep(2 * time.Second)
		if h.old.holder.Len() != 0 || h.seen(resume.Expired) != 1 {
			t.Errorf("%d streams, %d expired", h.old.holder.Len(), h.seen(resume.Expired))
		}
		c.Close()
		h.end()
	})
}

// TestADetachedSessionLivesForItsTime, by default ten minutes, and then ends:
// its service and the log are told, and so is a client that comes back too late.
func TestADetachedSessionLivesForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(t)
		c := h.client()
		say(t, c, "hello")
		h.set(func() { h.down = true })
		h.cut()
		time.Sleep(10*time.Minute - time.Second)
		if h.old.holder.Len() != 1 || h.seen(resume.Detached) != 1 || h.seen(resume.Expired) != 0 {
			t.Errorf("%d streams, %d detached, %d expired before the time", h.old.holder.Len(), h.seen(resume.Detached), h.seen(resume.Expired))
		}
		time.Sleep(2 * time.Second)
		if h.old.holder.Len() != 0 || h.seen(resume.Expired) != 1 {
			t.Errorf("%d streams, %d expired after it", h.old.holder.Len(), h.seen(resume.Expired))
		}
		last := h.notices[len(h.notices)-1]
		if last.What != resume.Expired || last.Gap.Round(time.Second) != 10*time.Minute || last.Stream.Identity.Name != "alice" {
			t.Errorf("the log is told %+v", last)
		}
		h.set(func() { h.down = false })
		conn, err := h.dial(tunframe.Attach)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(b), "the session is gone") {
			t.Errorf("who comes back is told %q (%v)", b, err)
		}
		c.Close()
		h.end()
	})
}

func TestAnOldClientGetsAPlainDial(t *testing.T) {
	conn, err := call(t, header(), proxyIdentity())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
}

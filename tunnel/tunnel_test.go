package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/lifecycle"
	"teleport/netx/memnet"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// virtual runs f in virtual time over a network in memory; at its end every
// goroutine must be gone, or the bubble fails the test.
func virtual(t *testing.T, f func(*testing.T, *world)) {
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t, new(memnet.Network))) })
}

func TestDialByEachCarrier(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		w.agent(w.options("a1", types.RoleNode, to(p)))
		for _, c := range []tunframe.Carrier{tunframe.CarrierChannel, tunframe.CarrierData, tunframe.CarrierAny} {
			conn, reply := w.dial(p, "a1", c)
			want := c
			if c == tunframe.CarrierAny {
				want = tunframe.CarrierData
			}
			if reply.Carrier != want {
				t.Errorf("asked for %q, travelled by %q, want %q", c, reply.Carrier, want)
			}
			talk(t, conn, "hello over "+string(c))
		}
		if n := p.Agents()[0].Streams; n != 0 {
			t.Errorf("%d streams are counted after all have ended", n)
		}
	})
}

func TestWarmConnections(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{Warm: 2, WarmIdle: 3 * time.Minute})
		w.agent(w.options("a1", types.RoleNode, to(p)))
		synctest.Wait()
		if n := p.warmTotal.Load(); n != 0 {
			t.Errorf("%d warm connections before the first dial", n)
		}
		conn, _ := w.dial(p, "a1", "")
		talk(t, conn, "x")
		synctest.Wait()
		if n := p.warmTotal.Load(); n != 2 {
			t.Errorf("%d warm connections after the first dial, want 2", n)
		}
		conn, _ = w.dial(p, "a1", "")
		talk(t, conn, "y")
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n := p.warmTotal.Load(); n != 0 {
			t.Errorf("%d warm connections after the idle time", n)
		}
	})
}

func TestChannelWhenAgentCannotDialBack(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		o := w.options("a1", types.RoleNode, to(p))
		dial := o.Dial
		o.Dial = func(ctx context.Context, t Target) (net.Conn, error) {
			if t.ALPN == tunframe.ALPNData {
				return nil, errors.New("blocked")
			}
			return dial(ctx, t)
		}
		w.agent(o)
		for range 2 {
			conn, reply := w.dial(p, "a1", "")
			if reply.Carrier != tunframe.CarrierChannel {
				t.Errorf("carrier %q", reply.Carrier)
			}
			talk(t, conn, "x")
		}
	})
}

func TestRefusalReachesTheDialler(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		o := w.options("a1", types.RoleNode, to(p))
		o.Handle = func(_ context.Context, in Incoming) {
			r := tunframe.Refusal(fault.New(fault.Denied, "not you").WithHint("ask"))
			tunframe.Write(in.Conn, &r)
		}
		w.agent(o)
		for _, c := range []tunframe.Carrier{tunframe.CarrierChannel, tunframe.CarrierData} {
			_, _, err := p.Dial(t.Context(), "a1", header(c))
			if !errors.Is(err, fault.Denied) || fault.Message(err) != "not you" || fault.Hint(err) != "ask" {
				t.Errorf("%s: %v", c, err)
			}
		}
		_, _, err := p.Dial(t.Context(), "nobody", header(""))
		if !errors.Is(err, fault.Unavailable) {
			t.Errorf("unknown agent: %v", err)
		}
	})
}

func TestDeadlinesOfAChannel(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		w.agent(w.options("a1", types.RoleNode, to(p)))
		conn, _ := w.dial(p, "a1", tunframe.CarrierChannel)
		check(t, conn.SetReadDeadline(time.Now().Add(time.Second)))
		if _, err := conn.Read(make([]byte, 1)); fault.KindOf(err) != fault.Timeout {
			t.Errorf("read past its deadline: %v", err)
		}
		check(t, conn.SetReadDeadline(time.Time{}))
		talk(t, conn, "still alive after a missed deadline")
	})
}

func TestBothEndsVerifyEachOther(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		for name, role := range map[string]types.SystemRole{"proxy": types.RoleProxy, "auth": types.RoleAuth, "bot": types.RoleBot} {
			o := w.options("x-"+name, role, to(p))
			pool, err := NewPool(o)
			check(t, err)
			if err := pool.attempt(t.Context(), t.Context(), Target{ALPN: tunframe.ALPNTunnel}); err == nil {
				t.Errorf("role %s may hold a tunnel", role)
			}
		}
		// An agent that meets something that is no proxy.
		fake := w.ca.host(t, "a9", types.RoleNode)
		o := w.options("a1", types.RoleNode, to(p))
		c := o.Credentials
		if _, err := c.verifyHost(fake.signer.PublicKey(), "test", []types.SystemRole{types.RoleProxy}); !errors.Is(err, fault.Untrusted) {
			t.Errorf("a node passes as a proxy: %v", err)
		}
		if _, err := c.verifyHost(fake.signer.PublicKey(), "other", agentRoles()); !errors.Is(err, fault.Untrusted) {
			t.Errorf("a host of another cluster passes: %v", err)
		}
		bare := fake.signer.PublicKey().(*ssh.Certificate).Key
		if _, err := c.verifyHost(bare, "test", agentRoles()); !errors.Is(err, fault.Untrusted) {
			t.Errorf("a bare key passes: %v", err)
		}
		stranger := newAuthority(t).host(t, "p1", types.RoleProxy)
		if _, err := c.verifyHost(stranger.signer.PublicKey(), "test", []types.SystemRole{types.RoleProxy}); err == nil {
			t.Error("a certificate of another authority passes")
		}
		if n := len(p.Agents()); n != 0 {
			t.Errorf("%d tunnels are filed", n)
		}
	})
}

func TestDataConnectionOfAnotherAgentIsRefused(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{DataWait: 10 * time.Second})
		o := w.options("a1", types.RoleNode, to(p))
		thief := w.options("a2", types.RoleNode, to(p))
		o.Dial = func(ctx context.Context, tg Target) (net.Conn, error) {
			if tg.ALPN == tunframe.ALPNData {
				return thief.Dial(ctx, tg) // the right id under the wrong identity
			}
			return w.options("a1", types.RoleNode, to(p)).Dial(ctx, tg)
		}
		w.agent(o)
		conn, reply := w.dial(p, "a1", "")
		if reply.Carrier != tunframe.CarrierChannel {
			t.Errorf("carrier %q", reply.Carrier)
		}
		talk(t, conn, "x")
	})
}

func TestAgentFindsEveryProxyBehindABalancer(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p1, p2, p3 := w.proxy("p1", RegistryOptions{}), w.proxy("p2", RegistryOptions{}), w.proxy("p3", RegistryOptions{})
		list := []tunframe.Proxy{{UUID: "p1"}, {UUID: "p2"}, {UUID: "p3", Addr: "p3:1"}}
		for _, p := range []*proxy{p1, p2, p3} {
			check(t, p.SetProxies(list))
		}
		var turn atomic.Int32
		pool, _ := w.agent(w.options("a1", types.RoleNode, func(tg Target) *proxy {
			if tg.Addr == "p3:1" {
				return p3
			}
			return []*proxy{p1, p2}[turn.Add(1)/3%2] // the balancer favours one for a while
		}))
		time.Sleep(time.Minute)
		if got := pool.Proxies(); !slices.Equal(got, []string{"p1", "p2", "p3"}) {
			t.Errorf("tunnels to %v", got)
		}
		for _, p := range []*proxy{p1, p2, p3} {
			if n := len(p.Agents()); n != 1 {
				t.Errorf("%d tunnels at a proxy", n)
			}
			conn, _ := w.dial(p, "a1", "")
			talk(t, conn, "x")
		}
		p2.stop()
		time.Sleep(time.Second)
		if got := pool.Proxies(); !slices.Equal(got, []string{"p1", "p3"}) {
			t.Errorf("after the loss of p2: tunnels to %v", got)
		}
	})
}

func TestDrainingProxyKeepsStreams(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		old := w.proxy("p1", RegistryOptions{Drain: time.Hour})
		var current atomic.Pointer[proxy]
		current.Store(old)
		pool, _ := w.agent(w.options("a1", types.RoleNode, func(Target) *proxy { return current.Load() }))
		conn, _ := w.dial(old, "a1", tunframe.CarrierChannel)
		data, _ := w.dial(old, "a1", tunframe.CarrierData)
		current.Store(w.proxy("p1", RegistryOptions{})) // the new process of the same proxy
		go old.stop()
		time.Sleep(10 * time.Second)
		if len(current.Load().Agents()) != 1 || len(pool.Proxies()) != 1 {
			t.Error("the agent holds no tunnel to the new process")
		}
		talk(t, conn, "alive while draining")
		talk(t, data, "alive too")
		time.Sleep(time.Second)
		if len(old.Agents()) != 0 {
			t.Error("the old tunnel stays after its last stream")
		}
	})
}

func TestGenerations(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		o1 := w.options("a1", types.RoleNode, to(p))
		o1.Drain = time.Hour
		_, stop1 := w.agent(o1)
		stream, _ := w.dial(p, "a1", tunframe.CarrierChannel)
		o2 := w.options("a1", types.RoleNode, to(p))
		o2.Hello.Generation = 2
		w.agent(o2)
		go stop1()
		synctest.Wait()
		infos := p.Agents()
		if len(infos) != 2 || infos[0].Generation != 2 || infos[0].Draining || !infos[1].Draining {
			t.Fatalf("tunnels: %+v", infos)
		}
		best, err := p.Agent("a1")
		check(t, err)
		if best.Generation != 2 {
			t.Errorf("dials go to generation %d", best.Generation)
		}
		h := header("")
		h.Generation = 7
		if _, _, err := p.Dial(t.Context(), "a1", h); !errors.Is(err, fault.Unavailable) {
			t.Errorf("a generation that is gone: %v", err)
		}
		// A stream that goes on is led to the process that holds it, else to the
		// newest, which knows others.
		h.Verb, h.Stream = tunframe.Attach, "feed"
		for asked, want := range map[uint64]uint64{1: 1, 2: 2, 7: 2, 0: 2} {
			h.Generation = asked
			if a, err := p.choose(t.Context(), "a1", &h); err != nil || a.generation != want {
				t.Errorf("an attach to generation %d: %v", asked, err)
			}
		}
		talk(t, stream, "the old process still serves")
		time.Sleep(time.Minute)
		if len(p.Agents()) != 1 {
			t.Error("the old generation stays")
		}
	})
}

func TestSilentPeersAreGivenUp(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		pool, _ := w.agent(w.options("a1", types.RoleNode, to(p)))
		time.Sleep(time.Hour)
		if len(p.Agents()) != 1 || len(pool.Proxies()) != 1 {
			t.Error("an idle tunnel did not last an hour")
		}
		// A peer that is connected and says nothing.
		mute := w.options("a2", types.RoleNode, to(p))
		c, err := mute.Dial(t.Context(), Target{ALPN: tunframe.ALPNTunnel})
		check(t, err)
		_ = c.(*tls.Conn)
		time.Sleep(time.Minute)
		if _, err := c.Read(make([]byte, 64)); err != nil {
			t.Errorf("the identification line: %v", err)
		}
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Logf("closed: %v", err)
		}
		c.Close()
	})
}

func TestAuthChannel(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{Auth: func(_ context.Context, a *types.Identity, c net.Conn) error {
			_, err := io.WriteString(c, "for "+a.Name)
			return err
		}})
		pool, _ := w.agent(w.options("a1", types.RoleNode, to(p)))
		c, err := pool.DialAuth(t.Context())
		check(t, err)
		if b, err := io.ReadAll(c); err != nil || string(b) != "for a1" {
			t.Errorf("read %q, %v", b, err)
		}
		c.Close()
		t1 := pool.all()[0]
		if _, err := openChannel(t.Context(), t1.ctx, t1.conn, "session", nil); err == nil {
			t.Error("the proxy opens a channel that is not on the list")
		}
		if _, err := openChannel(t.Context(), t1.ctx, t1.conn, "direct-tcpip", nil); err == nil {
			t.Error("the proxy forwards")
		}
	})
}

func TestDialAuthWaitsForATunnel(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		o := w.options("a1", types.RoleNode, to(nil))
		pool, err := NewPool(o)
		check(t, err)
		w.service(pool.Serve)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := pool.DialAuth(ctx); !errors.Is(err, fault.Unavailable) {
			t.Errorf("without a proxy: %v", err)
		}
	})
}

func TestCloseCutsStreams(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		w.agent(w.options("a1", types.RoleNode, to(p)))
		for _, c := range []tunframe.Carrier{tunframe.CarrierChannel, tunframe.CarrierData} {
			conn, _ := w.dial(p, "a1", c)
			p.Close("a1", "locked")
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Errorf("a stream by %s lives on", c)
			}
			conn.Close()
			time.Sleep(10 * time.Second) // the agent comes back
		}
	})
}

func TestRedialAfterRenewal(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		pool, _ := w.agent(w.options("a1", types.RoleNode, to(p)))
		before := p.Agents()[0].Since
		time.Sleep(time.Minute)
		pool.Redial()
		time.Sleep(10 * time.Second)
		infos := p.Agents()
		if len(infos) != 1 || !infos[0].Since.After(before) {
			t.Errorf("tunnels: %+v", infos)
		}
	})
}

// A renewal must not take an idle agent off: its tunnel goes when the next one
// stands, and stays where none can.
func TestRedialLeavesNoGap(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		o := w.options("a1", types.RoleNode, to(p))
		dial := o.Dial
		var broken atomic.Bool
		o.Dial = func(ctx context.Context, to Target) (net.Conn, error) {
			time.Sleep(2 * time.Second) // a long way
			if broken.Load() {
				return nil, errors.New("no route")
			}
			return dial(ctx, to)
		}
		pool, _ := w.agent(o)
		reachable := func(d time.Duration) {
			t.Helper()
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if _, err := p.Agent("a1"); err != nil {
					t.Fatalf("the agent is off: %v", err)
				}
				if len(pool.Proxies()) != 1 {
					t.Fatal("the agent has no tunnel")
				}
			}
		}
		before := p.Agents()[0].Since
		broken.Store(true)
		pool.Redial()
		reachable(30 * time.Second)
		if got := p.Agents(); len(got) != 1 || !got[0].Since.Equal(before) {
			t.Errorf("while nothing can be dialled: %+v", got)
		}
		broken.Store(false)
		reachable(2 * time.Minute)
		if got := p.Agents(); len(got) != 1 || !got[0].Since.After(before) {
			t.Errorf("afterwards: %+v", got)
		}
	})
}

func TestLockedAgentIsTurnedAway(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{Refuse: func(a *types.Identity) error {
			return fault.New(fault.Denied, "agent %s is locked", a.Name)
		}})
		o := w.options("a1", types.RoleNode, to(p))
		o.Backoff = lifecycle.Backoff{Min: time.Second}
		pool, err := NewPool(o)
		check(t, err)
		if err := pool.attempt(t.Context(), t.Context(), Target{ALPN: tunframe.ALPNTunnel}); !errors.Is(err, fault.Denied) {
			t.Errorf("attempt: %v", err)
		}
	})
}

func TestTunnelsOutliveTheirListener(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		h := w.ca.host(t, "p1", types.RoleProxy)
		r, err := NewRegistry(RegistryOptions{UUID: "p1", Cluster: "test", Credentials: h.credentials()})
		check(t, err)
		ln := w.listen("p1:0", h.server(tunframe.ALPNTunnel))
		p := &proxy{Registry: r, tunnelAddr: ln.Addr().String()}
		w.service(func(ctx context.Context) error { return r.Serve(ctx, ln, nil) })
		w.agent(w.options("a1", types.RoleNode, to(p)))
		ln.Close() // the port stops first when a process drains
		conn, _ := w.dial(p, "a1", tunframe.CarrierChannel)
		talk(t, conn, "still here")
	})
}

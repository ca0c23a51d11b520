package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"teleport/fault"
	"teleport/netx/shaper"
	"teleport/tunnel/tundial"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// shaped makes an agent's options dial through a network with faults.
func (w *world) shaped(o PoolOptions, p *proxy, s *shaper.Shaper) PoolOptions {
	h := w.ca.host(w.t, o.UUID, types.RoleNode)
	d := s.Dialer(w.net)
	o.Dial = func(ctx context.Context, t Target) (net.Conn, error) {
		addr := p.tunnelAddr
		if t.ALPN == tunframe.ALPNData {
			addr = p.dataAddr
		}
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		tc := tls.Client(c, h.client(t.ALPN))
		return tc, tc.HandshakeContext(ctx)
	}
	return o
}

func TestPartitionIsNoticedAndHealed(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		s := shaper.New(shaper.Shape{Delay: 20 * time.Millisecond})
		defer s.Close()
		pool, stop := w.agent(w.shaped(w.options("a1", types.RoleNode, nil), p, s))
		defer stop()
		conn, _ := w.dial(p, "a1", "")
		talk(t, conn, "before")
		s.Partition(true)
		time.Sleep(3 * time.Minute)
		if len(p.Agents()) != 0 || len(pool.Proxies()) != 0 {
			t.Errorf("after 3 minutes of silence: %d tunnels at the proxy, %v at the agent", len(p.Agents()), pool.Proxies())
		}
		if p.LastSeen("a1").IsZero() {
			t.Error("the proxy does not know since when the agent is away")
		}
		s.Partition(false)
		time.Sleep(time.Minute)
		conn, _ = w.dial(p, "a1", "")
		talk(t, conn, "after")
	})
}

func TestCutConnectionsComeBack(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		s := shaper.New(shaper.Shape{})
		defer s.Close()
		_, stop := w.agent(w.shaped(w.options("a1", types.RoleNode, nil), p, s))
		defer stop()
		for range 5 {
			conn, _ := w.dial(p, "a1", "") // leaves a warm connection that the cut kills
			talk(t, conn, "x")
			s.CutAll()
			time.Sleep(5 * time.Second)
			if n := len(p.Agents()); n != 1 {
				t.Fatalf("%d tunnels, five seconds after a cut", n)
			}
		}
	})
}

func TestDataIDGoesOnlyToTheProxyThatAsked(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		other := w.listen("p2:0", w.ca.host(t, "p2", types.RoleProxy).server(tunframe.ALPNData))
		defer other.Close()
		visits := make(chan int, dataAttempts)
		go func() {
			for {
				c, err := other.Accept()
				if err != nil {
					return
				}
				b, _ := io.ReadAll(c)
				visits <- len(b)
				c.Close()
			}
		}()
		astray := &proxy{dataAddr: other.Addr().String()}
		w.agent(w.options("a1", types.RoleNode, func(t Target) *proxy {
			if t.ALPN == tunframe.ALPNData {
				return astray // the balancer leads to the other one
			}
			return p
		}))
		conn, reply := w.dial(p, "a1", "")
		if reply.Carrier != tunframe.CarrierChannel {
			t.Errorf("carrier %q", reply.Carrier)
		}
		talk(t, conn, "x")
		for range dataAttempts {
			if n := <-visits; n != 0 {
				t.Errorf("the other proxy was told %d bytes", n)
			}
		}
	})
}

func TestDialForAnotherAgentIsRefused(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		w.agent(w.options("a1", types.RoleNode, to(p)))
		a, err := p.pick("a1", 0)
		check(t, err)
		h := header(tunframe.CarrierChannel)
		h.AgentUUID = "a2"
		conn, err := a.openDial(t.Context(), &h)
		check(t, err)
		if _, err := tundial.ReadReply(t.Context(), conn); !errors.Is(err, fault.NotFound) {
			t.Errorf("a dial for a2 at a1: %v", err)
		}
		conn.Close()
		h.AgentUUID = "a1"
		body, err := tunframe.Marshal(&h)
		check(t, err)
		if _, err := openChannel(t.Context(), a.ctx, a.conn, "session", body); err == nil {
			t.Error("the agent opens a channel that is not on the list")
		}
	})
}

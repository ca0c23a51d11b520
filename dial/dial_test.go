package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/netx"
	"teleport/netx/memnet"
	"teleport/tunnel"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

func proxyIdentity() *types.Identity {
	return &types.Identity{Kind: types.IdentityHost, Cluster: "test", Name: "p1",
		Authority: types.Authority{SystemRoles: []types.SystemRole{types.RoleProxy}}}
}

// gate is a proxy that answers each dial as its function says.
type gate func(c net.Conn)

func (g gate) Dial(context.Context, string, *tls.Config) (net.Conn, error) {
	a, b := memnet.Pipe()
	go g(b)
	return a, nil
}

func client(g gate) *Client {
	return &Client{Proxy: g, TLS: func(context.Context) (*tls.Config, error) { return &tls.Config{}, nil }}
}

func TestClientAgainstAnAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan *Inbound, 1)
		c := client(func(c net.Conn) {
			h, err := ReadHeader(c)
			if err != nil {
				t.Error(err)
				return
			}
			h.ProxyUUID, h.Client = "p1", netip.MustParseAddrPort("192.0.2.7:4321")
			in, err := FromTunnel(tunnel.Incoming{Conn: c, Header: *h, Proxy: proxyIdentity(), Carrier: tunframe.CarrierData})
			if err != nil {
				t.Error(err)
				return
			}
			if err := in.Accept(Reply{AgentUUID: "a1"}); err != nil {
				t.Error(err)
			}
			io.WriteString(in, "raw bytes")
			got <- in
		})
		conn, reply, err := c.Dial(t.Context(), Target{Kind: "node", Name: "web"})
		if err != nil {
			t.Fatal(err)
		}
		if reply.AgentUUID != "a1" || reply.Carrier != tunframe.CarrierData || reply.EndsAt != tunframe.EndsAtAgent {
			t.Errorf("reply %+v", reply)
		}
		in := <-got
		if a, ok := in.RemoteAddr().(*net.TCPAddr); !ok || a.String() != "192.0.2.7:4321" {
			t.Errorf("the client's address is %v", in.RemoteAddr())
		}
		if len(in.Header.Stream) != 32 || in.Header.Verb != tunframe.Open {
			t.Errorf("header %+v", in.Header)
		}
		b := make([]byte, 9)
		if _, err := io.ReadFull(conn, b); err != nil || string(b) != "raw bytes" {
			t.Errorf("%q, %v", b, err)
		}
		if _, ok := in.Conn.(netx.CloseWriter); !ok {
			t.Error("half-close is lost")
		}
		conn.Close()
		in.Close()
	})
}

func TestClientRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			gate gate
			kind fault.Kind
		}{
			"refused": {func(c net.Conn) {
				ReadHeader(c)
				Refuse(c, fault.New(fault.NotFound, "no node").WithHint("tsh ls"))
			}, fault.NotFound},
			"silent":  {func(c net.Conn) { ReadHeader(c) }, fault.Timeout},
			"closed":  {func(c net.Conn) { c.Close() }, fault.Unavailable},
			"garbage": {func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, fault.Limit},
		} {
			_, _, err := client(c.gate).Dial(t.Context(), Target{Kind: "node", Name: "web"})
			if !errors.Is(err, c.kind) {
				t.Errorf("%s: %v, want %s", name, err, c.kind)
			}
		}
		if _, _, err := client(nil).Dial(t.Context(), Target{Kind: "node", Name: "a\x00"}); !errors.Is(err, fault.Invalid) {
			t.Errorf("a bad name: %v", err)
		}
	})
}

func TestHeaderHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := memnet.Pipe()
		begun := time.Now()
		if _, err := ReadHeader(b); fault.KindOf(err) != fault.Timeout || time.Since(begun) != HeaderTimeout {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

func TestInboundOnlyFromTheProxyItNames(t *testing.T) {
	good := New("node", "web")
	good.ProxyUUID, good.Client = "p1", netip.MustParseAddrPort("192.0.2.7:4321")
	for name, change := range map[string]func(*tunnel.Incoming){
		"another proxy": func(in *tunnel.Incoming) { in.Header.ProxyUUID = "p2" },
		"no client":     func(in *tunnel.Incoming) { in.Header.Client = netip.AddrPort{} },
		"a node":        func(in *tunnel.Incoming) { in.Proxy.Authority.SystemRoles = []types.SystemRole{types.RoleNode} },
		"a user": func(in *tunnel.Incoming) {
			in.Proxy.Kind = types.IdentityUser
		},
		"nobody": func(in *tunnel.Incoming) { in.Proxy = nil },
	} {
		a, _ := memnet.Pipe()
		in := tunnel.Incoming{Conn: a, Header: good, Proxy: proxyIdentity()}
		change(&in)
		if _, err := FromTunnel(in); err == nil {
			t.Errorf("%s may dial", name)
		}
	}
}

func TestForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := memnet.Pipe()
		from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 77}
		go func() {
			if err := WriteForward(a, "p1", from, ""); err != nil {
				t.Error(err)
			}
			io.WriteString(a, "client hello")
		}()
		c, h, err := ReadForward(b, proxyIdentity())
		if err != nil {
			t.Fatal(err)
		}
		if c.RemoteAddr().String() != from.String() || h.ProxyUUID != "p1" {
			t.Errorf("%v, %+v", c.RemoteAddr(), h)
		}
		if got := make([]byte, 12); true {
			if _, err := io.ReadFull(c, got); err != nil || string(got) != "client hello" {
				t.Errorf("%q, %v", got, err)
			}
		}
		if err := WriteForward(a, "p1", &net.UnixAddr{Name: "x"}, ""); err == nil {
			t.Error("a client without an address is forwarded")
		}
		go WriteForward(a, "p2", from, "")
		if _, _, err := ReadForward(b, proxyIdentity()); err == nil {
			t.Error("a header of another proxy passes")
		}
		node := proxyIdentity()
		node.Authority.SystemRoles = []types.SystemRole{types.RoleNode}
		if _, _, err := ReadForward(b, node); !errors.Is(err, fault.Denied) {
			t.Errorf("a node forwards: %v", err)
		}
	})
}

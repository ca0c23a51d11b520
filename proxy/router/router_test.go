package router

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"teleport/fault"
	"teleport/tunnel"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// place is a fake of both the node list and the tunnels, with real state.
type place struct {
	nodes  []*types.Node
	online map[string]bool
	seen   map[string]time.Time
	since  map[string]time.Time
	dialed tunframe.Header
}

func (p *place) Nodes() []*types.Node { return p.nodes }

func (p *place) Agent(uuid string) (tunnel.AgentInfo, error) {
	if !p.online[uuid] {
		return tunnel.AgentInfo{}, fault.New(fault.Unavailable, "no tunnel")
	}
	return tunnel.AgentInfo{UUID: uuid, Since: p.since[uuid]}, nil
}

func (p *place) LastSeen(uuid string) time.Time { return p.seen[uuid] }

func (p *place) Dial(_ context.Context, uuid string, h tunframe.Header) (net.Conn, tunframe.Reply, error) {
	if !p.online[uuid] {
		return nil, tunframe.Reply{}, fault.New(fault.Unavailable, "no tunnel")
	}
	p.dialed = h
	c, _ := net.Pipe()
	return c, tunframe.Reply{AgentUUID: uuid}, nil
}

func node(uuid, host, addr string, labels map[string]string) *types.Node {
	n := &types.Node{}
	n.Metadata = types.Metadata{Name: uuid, Labels: labels}
	n.Spec = types.NodeSpec{Hostname: host, Addr: addr, UseTunnel: addr == ""}
	return n
}

func newPlace() *place {
	return &place{nodes: []*types.Node{
		node("u1", "web", "", map[string]string{"env": "prod", "n": "1"}),
		node("u2", "web", "", map[string]string{"env": "prod", "n": "2"}),
		node("u3", "db", "10.0.0.3:3022", map[string]string{"env": "dev"}),
		node("u4", "u1", "", nil), // a host that calls itself like another's UUID
		node("u5", "secret", "", map[string]string{"env": "dev"}),
		node("u6", "whole.example.com", "", nil),
		node("u7", "whole", "", nil),
	}, online: map[string]bool{"u1": true, "u2": true}, seen: map[string]time.Time{},
		since: map[string]time.Time{"u1": time.Unix(200, 0), "u2": time.Unix(100, 0)}}
}

func visible(n *types.Node) bool { return n.Metadata.Name != "u5" }

func TestResolve(t *testing.T) {
	r := New(newPlace(), newPlace(), nil)
	for _, c := range []struct {
		name     string
		strategy Strategy
		fold     bool
		want     string
		kind     fault.Kind
	}{
		{name: "u1", want: "u1"}, // the UUID wins over u4's host name
		{name: "db", want: "u3"},
		{name: "DB", kind: fault.NotFound},
		{name: "DB", fold: true, want: "u3"},
		{name: "10.0.0.3", want: "u3"},
		{name: "10.0.0.3:3022", want: "u3"},
		{name: "10.0.0.3:22", kind: fault.NotFound},
		{name: "10.0.0.4", kind: fault.NotFound}, // a registered address is a key, never a destination
		{name: "web", kind: fault.Conflict},
		{name: "web", strategy: MostRecent, want: "u1"},
		{name: "env=prod,n=1", want: "u1"},
		{name: "env=prod", kind: fault.Conflict},
		{name: "env=dev", want: "u3"}, // u5 does not exist for this caller
		{name: "secret", kind: fault.NotFound},
		{name: "u5", kind: fault.NotFound},
		{name: "env=", kind: fault.NotFound},
		{name: "db.example.com", want: "u3"},
		{name: "u2.example.com", want: "u2"},
		{name: "web.example.com", kind: fault.Conflict},
		{name: "whole.example.com", want: "u6"}, // its host name as it is wins over the shorter one
		{name: "secret.example.com", kind: fault.NotFound},
		{name: ".example.com", kind: fault.NotFound},
		{name: "db.example.org", kind: fault.NotFound},
		{name: "", kind: fault.Invalid},
	} {
		n, err := r.Resolve(Query{Name: c.name, Strategy: c.strategy, CaseInsensitive: c.fold, Cluster: "example.com", Visible: visible})
		switch {
		case c.kind != "":
			if !errors.Is(err, c.kind) {
				t.Errorf("%q: %v, want %s", c.name, err, c.kind)
			}
		case err != nil:
			t.Errorf("%q: %v", c.name, err)
		case n.Metadata.Name != c.want:
			t.Errorf("%q: %s, want %s", c.name, n.Metadata.Name, c.want)
		}
	}
	_, err := r.Resolve(Query{Name: "web", Visible: visible})
	if m := fault.Message(err); !strings.Contains(m, "u1  web\n  u2  web") {
		t.Errorf("the candidates are not listed in order: %s", m)
	}
	if _, err := r.Resolve(Query{Name: "web"}); !errors.Is(err, fault.Internal) {
		t.Errorf("without a rule of visibility: %v", err)
	}
}

func TestDial(t *testing.T) {
	p := newPlace()
	p.seen["u4"] = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var direct string
	r := New(p, p, func(_ context.Context, n *types.Node, _ tunframe.Header) (net.Conn, tunframe.Reply, error) {
		direct = n.Spec.Addr
		return nil, tunframe.Reply{}, nil
	})
	_, reply, err := r.Dial(t.Context(), Query{Name: "n=2,env=prod", Visible: visible}, tunframe.Header{Verb: tunframe.Open})
	if err != nil || reply.AgentUUID != "u2" || reply.Hostname != "web" || p.dialed.Name != "u2" || p.dialed.Kind != types.KindNode {
		t.Errorf("%+v, %+v, %v", reply, p.dialed, err)
	}
	if _, _, err := r.Dial(t.Context(), Query{Name: "db", Visible: visible}, tunframe.Header{}); err != nil || direct != "10.0.0.3:3022" {
		t.Errorf("direct mode: %q, %v", direct, err)
	}
	_, _, err = r.Dial(t.Context(), Query{Name: "u4", Visible: visible}, tunframe.Header{})
	if !errors.Is(err, fault.Unavailable) || fault.Message(err) != "node u1 is offline since 2026-01-02T03:04:05Z" {
		t.Errorf("offline: %v", err)
	}
}

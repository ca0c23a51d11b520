package agentd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"teleport/dial"
	"teleport/fault"
	"teleport/tunnel"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// echo is a service that fronts one name and sends back what it gets.
type echo struct{ kind, name string }

func (e echo) Kind() string            { return e.kind }
func (e echo) Fronts(name string) bool { return name == e.name }
func (e echo) Serve(_ context.Context, in *dial.Inbound) error {
	defer in.Close()
	_, err := io.Copy(in, in)
	return err
}

const uuid = "11111111-2222-4333-8444-555555555555"

func header() dial.Header {
	h := dial.New(types.KindNode, "web-1")
	h.AgentUUID, h.ProxyUUID, h.Client = uuid, "p", netip.MustParseAddrPort("192.0.2.1:4000")
	return h
}

func proxyIdentity() *types.Identity {
	return &types.Identity{Kind: types.IdentityHost, Cluster: "c", Name: "p",
		Authority: types.Authority{SystemRoles: []types.SystemRole{types.RoleProxy}}}
}

// call sends one dial through an agent and returns the connection and the reply.
func call(t *testing.T, h dial.Header, proxy *types.Identity, locks ...*types.Lock) (net.Conn, error) {
	t.Helper()
	a, err := New(Options{Cluster: "c", UUID: uuid, Hostname: "web-1", Generation: 3,
		Services: []Service{echo{types.KindNode, "web-1"}},
		Locks:    func() []*types.Lock { return locks }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Handle(t.Context(), tunnel.Incoming{Conn: far, Header: h, Proxy: proxy, Carrier: tunframe.CarrierChannel})
	}()
	t.Cleanup(func() { near.Close(); <-done })
	reply, err := dial.ReadReply(t.Context(), near)
	if err == nil && (reply.AgentUUID != uuid || reply.Generation != 3 || reply.EndsAt != tunframe.EndsAtAgent) {
		t.Errorf("reply %+v", reply)
	}
	return near, err
}

func TestADialReachesItsService(t *testing.T) {
	conn, err := call(t, header(), proxyIdentity())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestWhatADialIsRefusedFor(t *testing.T) {
	notProxy := proxyIdentity()
	notProxy.Authority.SystemRoles = []types.SystemRole{types.RoleNode}
	other := proxyIdentity()
	other.Name = "another"
	lock := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{ServerID: uuid}, Message: "stolen"}}
	tests := []struct {
		name   string
		change func(*dial.Header)
		proxy  *types.Identity
		locks  []*types.Lock
		want   fault.Kind
	}{
		{"another cluster", func(h *dial.Header) { h.Cluster = "d" }, proxyIdentity(), nil, fault.Denied},
		{"another agent", func(h *dial.Header) { h.AgentUUID = "x" }, proxyIdentity(), nil, fault.NotFound},
		{"a resource it does not front", func(h *dial.Header) { h.Name = "web-2" }, proxyIdentity(), nil, fault.NotFound},
		{"an address", func(h *dial.Header) { h.Name = "10.0.0.1:22" }, proxyIdentity(), nil, fault.NotFound},
		{"a kind it does not know", func(h *dial.Header) { h.Kind = "db" }, proxyIdentity(), nil, fault.NotFound},
		{"an attach", func(h *dial.Header) { h.Verb, h.Stream = tunframe.Attach, "s" }, proxyIdentity(), nil, fault.Unimplemented},
		{"a peer that is no proxy", func(*dial.Header) {}, notProxy, nil, fault.Denied},
		{"another proxy's header", func(*dial.Header) {}, other, nil, fault.Denied},
		{"no client address", func(h *dial.Header) { h.Client = netip.AddrPort{} }, proxyIdentity(), nil, fault.Invalid},
		{"a lock on this host", func(*dial.Header) {}, proxyIdentity(), []*types.Lock{lock}, fault.Denied},
		{"a lock on the proxy that carries it", func(*dial.Header) {}, proxyIdentity(),
			[]*types.Lock{{Spec: types.LockSpec{Target: types.LockTarget{ServerID: "p"}}}}, fault.Denied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := header()
			tt.change(&h)
			if _, err := call(t, h, tt.proxy, tt.locks...); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestAnExpiredLockIsNone(t *testing.T) {
	past := time.Now().Add(-time.Minute)
	lock := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{ServerID: uuid}, Expires: &past}}
	if _, err := call(t, header(), proxyIdentity(), lock); err != nil {
		t.Error(err)
	}
}

func TestTwoServicesOfOneKind(t *testing.T) {
	if _, err := New(Options{Services: []Service{echo{"node", "a"}, echo{"node", "b"}}}); err == nil {
		t.Error("two services front one kind")
	}
}

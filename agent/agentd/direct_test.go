package agentd

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"

	"teleport/dial"
	"teleport/fault"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// direct sends a dial to an agent's own listener, whose TLS peer is from.
func direct(t *testing.T, h dial.Header, from *types.Identity) (net.Conn, error) {
	t.Helper()
	a, err := New(Options{Cluster: "c", UUID: uuid, Hostname: "web-1", Generation: 3, Services: []Service{echo{types.KindNode, "web-1"}},
		Locks: func() []*types.Lock { return nil }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.HandleDirect(t.Context(), far, from) // what the dialler is told counts
	}()
	t.Cleanup(func() { near.Close(); <-done })
	if err := dial.WriteHeader(near, &h); err != nil {
		t.Fatal(err)
	}
	reply, err := dial.ReadReply(t.Context(), near)
	if err == nil && reply.Carrier != tunframe.CarrierDirect {
		t.Errorf("reply %+v", reply)
	}
	return near, err
}

func TestADirectDialReachesItsService(t *testing.T) {
	conn, err := direct(t, header(), proxyIdentity())
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOnlyAProxyDialsDirectly(t *testing.T) {
	node, other, user := proxyIdentity(), proxyIdentity(), proxyIdentity()
	node.Authority.SystemRoles = []types.SystemRole{types.RoleNode}
	other.Name = "another"
	user.Kind = types.IdentityUser
	for name, from := range map[string]*types.Identity{"a node": node, "a proxy that the header does not name": other, "a user": user} {
		if _, err := direct(t, header(), from); !errors.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h := header()
	h.AgentUUID = "somebody-else"
	if _, err := direct(t, h, proxyIdentity()); !errors.Is(err, fault.NotFound) {
		t.Errorf("a dial that is meant for another agent: %v", err)
	}
}

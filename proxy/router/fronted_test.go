package router

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"teleport/dial"
	"teleport/fault"
	"teleport/tunnel"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// fleet is agents that front databases, with real state.
type fleet struct {
	servers []*types.DatabaseServer
	away    map[string]bool
	seen    map[string]time.Time
	says    map[string]fault.Kind // refusals, by agent
	asked   []string              // agents that were dialled, in order
}

func (f *fleet) DatabaseServers() []*types.DatabaseServer { return f.servers }

func (f *fleet) Dial(_ context.Context, uuid string, _ tunframe.Header) (net.Conn, tunframe.Reply, error) {
	f.asked = append(f.asked, uuid)
	if f.away[uuid] {
		return nil, tunframe.Reply{}, fault.New(fault.Unavailable, "no tunnel")
	}
	if kind := f.says[uuid]; kind != "" {
		return nil, tunframe.Reply{Kind: kind}, fault.New(kind, "refused")
	}
	c, _ := net.Pipe()
	return c, tunframe.Reply{AgentUUID: uuid}, nil
}

func (f *fleet) Agent(uuid string) (tunnel.AgentInfo, error) {
	if f.away[uuid] {
		return tunnel.AgentInfo{}, fault.New(fault.Unavailable, "no tunnel")
	}
	return tunnel.AgentInfo{UUID: uuid}, nil
}

func (f *fleet) LastSeen(uuid string) time.Time { return f.seen[uuid] }

func newFleet(agents int) *fleet {
	f := &fleet{away: map[string]bool{}, seen: map[string]time.Time{}, says: map[string]fault.Kind{}}
	for i := range agents {
		for _, name := range []string{"orders", "payroll"} {
			s := &types.DatabaseServer{Spec: types.DatabaseServerSpec{HostID: fmt.Sprintf("agent-%d", i)}}
			s.Spec.Database.Metadata.Name = name
			s.Metadata.Name = types.ServerName(name, s.Spec.HostID)
			f.servers = append(f.servers, s)
		}
	}
	return f
}

func (f *fleet) dial(t *testing.T, user string) (string, error) {
	t.Helper()
	f.asked = nil
	d := NewFronted(types.KindDatabase, "tsh db ls", f.DatabaseServers, f)
	db, err := d.Resolve("orders", func(types.Resource) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	conn, reply, err := d.Dial(t.Context(), db, tunframe.Header{Gateway: &tunframe.Gateway{User: user, Cluster: "c"}})
	if err == nil {
		_ = conn.Close()
	}
	return reply.AgentUUID, err
}

func TestUsersSpreadOverAgentsAndStay(t *testing.T) {
	f := newFleet(3)
	users := map[string]int{}
	var first string
	for i := range 300 {
		name := fmt.Sprintf("user-%d", i)
		at, err := f.dial(t, name)
		if err != nil {
			t.Fatal(err)
		}
		users[at]++
		if i == 0 {
			first = at
		}
		slices.Reverse(f.servers)
		if again, err := f.dial(t, name); err != nil || again != at {
			t.Fatalf("%s goes to %s, then to %s (%v)", name, at, again, err)
		}
	}
	for at, n := range users {
		if n < 50 {
			t.Errorf("%s has %d of 300 users", at, n)
		}
	}
	f.away[first] = true
	if at, err := f.dial(t, "user-0"); err != nil || at == first || len(f.asked) != 2 {
		t.Errorf("%s %v, asked %v", at, err, f.asked)
	}
}

func TestTheHealthyAreAskedFirst(t *testing.T) {
	f := newFleet(3)
	for _, s := range f.servers {
		switch s.Spec.HostID {
		case "agent-0":
			s.Status.TargetHealth.Status = types.HealthUnhealthy
		case "agent-1":
			s.Status.TargetHealth.Status = types.HealthHealthy
		}
	}
	f.away["agent-0"], f.away["agent-1"], f.away["agent-2"] = true, true, true
	if _, err := f.dial(t, "alice"); !errors.Is(err, fault.Unavailable) || !slices.Equal(f.asked, []string{"agent-1", "agent-2", "agent-0"}) {
		t.Errorf("%v, asked %v", err, f.asked)
	}
}

// What is about the caller is not asked of the next agent.
func TestWhatIsAskedOfTheNextAgent(t *testing.T) {
	for kind, next := range map[fault.Kind]bool{fault.Unavailable: true, fault.NotFound: true, fault.Timeout: true, fault.Limit: true, fault.Internal: true,
		fault.Denied: false, fault.Unauthenticated: false, fault.Invalid: false} {
		f := newFleet(2)
		f.says["agent-0"], f.says["agent-1"] = kind, kind
		if _, err := f.dial(t, "alice"); fault.KindOf(err) != kind || (len(f.asked) == 2) != next {
			t.Errorf("%s: %v, asked %v", kind, err, f.asked)
		}
	}
}

func TestWhoResolvesADatabase(t *testing.T) {
	f := newFleet(1)
	see := func(of string) func(types.Resource) bool {
		return func(d types.Resource) bool { return d.Head().Metadata.Name == of }
	}
	if d, err := NewFronted(types.KindDatabase, "tsh db ls", f.DatabaseServers, f).Resolve("orders", see("orders")); err != nil || d.Head().Metadata.Name != "orders" {
		t.Errorf("%v %v", d, err)
	}
	_, hidden := NewFronted(types.KindDatabase, "tsh db ls", f.DatabaseServers, f).Resolve("orders", see("payroll"))
	_, absent := NewFronted(types.KindDatabase, "tsh db ls", f.DatabaseServers, f).Resolve("archive", see("archive"))
	if !errors.Is(hidden, fault.NotFound) || !errors.Is(absent, fault.NotFound) {
		t.Errorf("%v, %v", hidden, absent)
	}
}

// A dial that is about a session goes to the agent that holds it, whatever else
// speaks for another one.
func TestTheAgentThatIsMeantComesFirst(t *testing.T) {
	f := newFleet(3)
	d := NewFronted(types.KindDatabase, "tsh db ls", f.DatabaseServers, f)
	db, err := d.Resolve("orders", func(types.Resource) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		meant := fmt.Sprintf("agent-%d", i)
		for _, s := range f.servers {
			s.Status.TargetHealth.Status = types.HealthHealthy
			if s.Spec.HostID == meant {
				s.Status.TargetHealth.Status = types.HealthUnhealthy
			}
		}
		h := tunframe.Header{Gateway: &tunframe.Gateway{User: "alice", Cluster: "c"}, AgentUUID: meant}
		if _, reply, err := d.Dial(t.Context(), db, h); err != nil || reply.AgentUUID != meant {
			t.Errorf("%s was meant: %q, %v", meant, reply.AgentUUID, err)
		}
		f.away[meant] = true
		if _, reply, err := d.Dial(t.Context(), db, h); err != nil || reply.AgentUUID == meant {
			t.Errorf("%s is away: %q, %v", meant, reply.AgentUUID, err)
		}
		delete(f.away, meant)
	}
}

// A stream goes on at the agent that holds it and at no other.
func TestAStreamGoesBackToItsAgent(t *testing.T) {
	f := newFleet(2)
	d := NewFronted(types.KindDatabase, "tsh db ls", f.DatabaseServers, f)
	at := types.ServerName("orders", "agent-1")
	s, err := d.ResolveServer(at, func(s types.Resource) bool { return s.(types.FrontedServer).Of().Head().Metadata.Name == "orders" })
	if err != nil || hostOf(s) != "agent-1" {
		t.Fatalf("%v %v", s, err)
	}
	if _, err := d.ResolveServer(at, func(types.Resource) bool { return false }); !errors.Is(err, fault.NotFound) {
		t.Errorf("who may not see it: %v", err)
	}
	conn, reply, err := d.DialServer(t.Context(), s, tunframe.Header{Verb: tunframe.Attach})
	if err != nil || reply.AgentUUID != "agent-1" {
		t.Fatalf("%v %v", reply, err)
	}
	_ = conn.Close()
	f.away["agent-1"], f.asked = true, nil
	if _, _, err := d.DialServer(t.Context(), s, tunframe.Header{Verb: tunframe.Attach}); errors.Is(err, dial.ErrDeparted) || !errors.Is(err, fault.Unavailable) {
		t.Errorf("one that this proxy never saw: %v", err)
	}
	f.seen["agent-1"] = time.Now()
	if _, _, err := d.DialServer(t.Context(), s, tunframe.Header{Verb: tunframe.Attach}); !errors.Is(err, dial.ErrDeparted) || !slices.Equal(f.asked, []string{"agent-1", "agent-1"}) {
		t.Errorf("one that left: %v, asked %v", err, f.asked)
	}
}

package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"teleport/api/gen/presencev1"
	"teleport/audit/audittest"
	"teleport/backend/memkv"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

// world is a store with any number of auth services, in virtual time.
type world struct {
	t      *testing.T
	store  *store.Store
	events *audittest.Recorder
}

func newWorld(t *testing.T) *world {
	return &world{t: t, store: store.New(memkv.New(memkv.Options{}), store.Options{}), events: audittest.NewRecorder()}
}

// auth starts one auth service; the function stops it.
func (w *world) auth(id string) (*Inventory, func()) {
	self := &types.AuthServer{Header: types.Header{Kind: types.KindAuthServer, Version: "v2", Metadata: types.Metadata{Name: id}}}
	self.Spec.Hostname = "auth"
	i := New(Deps{Store: w.store, Events: w.events, Log: slog.New(slog.DiscardHandler), Self: self})
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := i.Serve(ctx); err != nil {
			w.t.Errorf("serve: %v", err)
		}
	}()
	synctest.Wait()
	return i, func() { cancel(); <-done }
}

// agent is the far end of a control stream.
type agent struct {
	t      *testing.T
	out    chan *presencev1.ControlRequest
	in     chan *presencev1.ControlResponse
	hangup context.CancelFunc
	done   chan error
}

type serverEnd struct {
	ctx context.Context
	a   *agent
}

func (s serverEnd) Send(m *presencev1.ControlResponse) error {
	select {
	case s.a.in <- m:
		return nil
	case <-s.ctx.Done():
		return io.EOF
	}
}

func (s serverEnd) Receive() (*presencev1.ControlRequest, error) {
	select {
	case m := <-s.a.out:
		return m, nil
	case <-s.ctx.Done():
		return nil, io.EOF
	}
}

func host(id, hostname string, roles ...types.SystemRole) *types.Identity {
	h := &types.Identity{Kind: types.IdentityHost, Cluster: "example", Name: id}
	h.Authority.Hostname, h.Authority.SystemRoles = hostname, roles
	return h
}

const (
	idA = "00000000-0000-4000-8000-00000000000a"
	idB = "00000000-0000-4000-8000-00000000000b"
)

// connect opens a stream and says hello.
func (w *world) connect(i *Inventory, id *types.Identity, hello *presencev1.Hello) *agent {
	w.t.Helper()
	ctx, hangup := context.WithCancel(w.t.Context())
	a := &agent{t: w.t, out: make(chan *presencev1.ControlRequest), in: make(chan *presencev1.ControlResponse, 64),
		hangup: hangup, done: make(chan error, 1)}
	go func() {
		err := i.Control(ctx, id, netip.MustParseAddrPort("192.0.2.1:1"), serverEnd{ctx, a})
		hangup()
		a.done <- err
	}()
	a.send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Hello{Hello: hello}})
	synctest.Wait()
	return a
}

func hello(generation uint64, services ...string) *presencev1.Hello {
	return &presencev1.Hello{Version: "1.0.0", Services: services, Generation: generation}
}

func (a *agent) send(m *presencev1.ControlRequest) {
	select {
	case a.out <- m:
	case err := <-a.done:
		a.done <- err
	}
}

func (a *agent) ping() {
	a.send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Ping{Ping: &presencev1.Ping{Sequence: 1}}})
}

func (a *agent) announce(docs ...types.Resource) {
	a.t.Helper()
	m := &presencev1.Announce{}
	for _, d := range docs {
		b, err := json.Marshal(d)
		if err != nil {
			a.t.Fatal(err)
		}
		m.Resources = append(m.Resources, b)
	}
	a.send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Announce{Announce: m}})
	synctest.Wait()
}

// refusals drains what the server sent and returns the refusals.
func (a *agent) refusals() []string {
	var out []string
	for {
		select {
		case m := <-a.in:
			if r := m.GetRefused(); r != nil {
				out = append(out, r.Reason)
			}
		default:
			return out
		}
	}
}

func node(id, hostname string, labels map[string]string) *types.Node {
	n := &types.Node{Header: types.Header{Kind: types.KindNode, Version: "v2", Metadata: types.Metadata{Name: id, Labels: labels}}}
	n.Spec.Hostname, n.Spec.UseTunnel = hostname, true
	return n
}

func (w *world) has(kind, name string) bool {
	w.t.Helper()
	_, err := w.store.GetAny(w.t.Context(), kind, "", name)
	if err != nil && !errors.Is(err, fault.NotFound) {
		w.t.Fatal(err)
	}
	return err == nil
}

func (w *world) revision(kind, name string) uint64 {
	w.t.Helper()
	doc, err := w.store.GetAny(w.t.Context(), kind, "", name)
	if err != nil {
		w.t.Fatal(err)
	}
	return doc.Revision
}

// Beats cost no writes: documents change on connect and on change only.
func TestPresenceIsWrittenOnConnectAndChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		a := w.connect(i, host(idA, "node1", types.RoleNode), hello(1, "Node"))
		defer a.hangup()
		a.announce(node(idA, "node1", nil))
		n, inst := w.revision(types.KindNode, idA), w.revision(types.KindInstance, idA)
		for range 20 {
			pass(DefaultPing)
			a.ping()
			a.announce(node(idA, "node1", nil))
		}
		if w.revision(types.KindNode, idA) != n || w.revision(types.KindInstance, idA) != inst {
			t.Error("beats wrote to the store")
		}
		a.announce(node(idA, "node1", map[string]string{"env": "prod"}))
		if w.revision(types.KindNode, idA) == n {
			t.Error("a change was not written")
		}
	})
}

func TestByeRemovesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		a := w.connect(i, host(idA, "node1", types.RoleNode), hello(1, "Node"))
		a.announce(node(idA, "node1", nil))
		a.send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Bye{Bye: &presencev1.Bye{}}})
		if err := <-a.done; err != nil {
			t.Fatal(err)
		}
		if w.has(types.KindNode, idA) || w.has(types.KindInstance, idA) {
			t.Error("documents stayed after goodbye")
		}
	})
}

func TestBrokenStreamHasItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		id := host(idA, "node1", types.RoleNode)
		a := w.connect(i, id, hello(1, "Node"))
		a.announce(node(idA, "node1", nil))
		a.hangup()
		<-a.done
		pass(DefaultLease / 2)
		if !w.has(types.KindNode, idA) {
			t.Fatal("removed before the lease ran out")
		}
		b := w.connect(i, id, hello(1, "Node"))
		b.announce(node(idA, "node1", nil))
		for range 10 {
			pass(DefaultPing)
			b.ping()
		}
		synctest.Wait()
		if !w.has(types.KindNode, idA) {
			t.Fatal("removed although it came back")
		}
		b.hangup()
		<-b.done
		pass(2 * DefaultLease)
		if w.has(types.KindNode, idA) || w.has(types.KindInstance, idA) {
			t.Error("documents stayed after the lease")
		}
	})
}

func TestSilentProcessLosesItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		a := w.connect(i, host(idA, "node1", types.RoleNode), hello(1, "Node"))
		a.announce(node(idA, "node1", nil))
		pass(DefaultLease + time.Second)
		if err := <-a.done; !errors.Is(err, fault.Timeout) {
			t.Fatalf("ended with %v", err)
		}
		if w.has(types.KindNode, idA) {
			t.Error("document stayed")
		}
	})
}

// A newer connection wins, here and at another auth service; the older one's
// clean-up takes nothing from it.
func TestHigherEpochWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i1, stop1 := w.auth("auth-1")
		defer stop1()
		i2, stop2 := w.auth("auth-2")
		defer stop2()
		id := host(idA, "node1", types.RoleNode)
		a := w.connect(i1, id, hello(1, "Node"))
		a.announce(node(idA, "node1", nil))
		b := w.connect(i1, id, hello(1, "Node"))
		if err := <-a.done; !errors.Is(err, fault.Conflict) {
			t.Fatalf("older stream: %v", err)
		}
		b.announce(node(idA, "node1", nil))
		c := w.connect(i2, id, hello(1, "Node"))
		c.announce(node(idA, "node1", nil))
		for range 12 {
			pass(DefaultPing)
			b.ping()
			c.ping()
		}
		if err := <-b.done; !errors.Is(err, fault.Conflict) {
			t.Fatalf("stream at the other auth service: %v", err)
		}
		if !w.has(types.KindNode, idA) || i2.Connected() != 1 || i1.Connected() != 0 {
			t.Errorf("connected: %d and %d", i1.Connected(), i2.Connected())
		}
		c.hangup()
		<-c.done
	})
}

// While an old generation drains, it keeps a stream but not the documents.
func TestDrainingGenerationKeepsItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		id := host(idA, "node1", types.RoleNode)
		old := w.connect(i, id, hello(1, "Node"))
		old.announce(node(idA, "node1", nil))
		young := w.connect(i, id, hello(2, "Node"))
		young.announce(node(idA, "node1", map[string]string{"new": "yes"}))
		if i.Connected() != 2 {
			t.Fatalf("%d streams", i.Connected())
		}
		old.announce(node(idA, "node1", map[string]string{"old": "yes"}))
		old.send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Bye{Bye: &presencev1.Bye{}}})
		<-old.done
		doc, err := w.store.GetAny(t.Context(), types.KindNode, "", idA)
		if err != nil || doc.Resource.Head().Metadata.Labels["new"] != "yes" {
			t.Errorf("the old generation touched the documents: %v %v", doc.Resource, err)
		}
		young.hangup()
		<-young.done
	})
}

// After a break the draining generation may be the first to come back. Neither it
// nor its goodbye takes the documents, whose owner has its lease to come back.
func TestADrainingGenerationComesBackFirst(t *testing.T) {
	for _, returns := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			i, stop := w.auth("auth-1")
			defer stop()
			id := host(idA, "node1", types.RoleNode)
			young := w.connect(i, id, hello(2, "Node"))
			young.announce(node(idA, "node1", map[string]string{"new": "yes"}))
			young.hangup()
			<-young.done
			h := hello(1, "Node")
			h.Draining = true
			old := w.connect(i, id, h)
			old.announce(node(idA, "node1", map[string]string{"old": "yes"}))
			old.send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Bye{Bye: &presencev1.Bye{}}})
			<-old.done
			doc, err := w.store.GetAny(t.Context(), types.KindNode, "", idA)
			if err != nil || doc.Resource.Head().Metadata.Labels["new"] != "yes" {
				t.Fatalf("a generation that drains touched the documents of the next one: %v", err)
			}
			if returns {
				young = w.connect(i, id, hello(2, "Node"))
				young.announce(node(idA, "node1", map[string]string{"new": "yes"}))
			}
			for range 3 {
				pass(DefaultLease / 2)
				if returns {
					young.ping()
				}
			}
			if has := w.has(types.KindNode, idA); has != returns {
				t.Errorf("it came back %v, and the node is listed %v", returns, has)
			}
			if returns {
				young.hangup()
				<-young.done
			}
		})
	}
}

// When an auth service dies, what it held goes after a lease, unless it comes
// back elsewhere.
func TestDeadAuthServiceIsSweptBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i1, stop1 := w.auth("auth-1")
		_, stop2 := w.auth("auth-2")
		defer stop2()
		a := w.connect(i1, host(idA, "node1", types.RoleNode), hello(1, "Node"))
		a.announce(node(idA, "node1", nil))
		stop1()
		pass(3 * DefaultLease)
		if w.has(types.KindNode, idA) {
			t.Error("document of a dead auth service stayed")
		}
		a.hangup()
		<-a.done
	})
}

func TestRegistrationIsHeldToTheCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		scoped := host(idA, "web-1", types.RoleNode)
		scoped.Authority.Scope = &types.JoinScope{Names: []string{"web-*"}, Labels: map[string][]string{"env": {"test"}}}
		a := w.connect(i, scoped, hello(1, "Node"))
		proxy := &types.Proxy{Header: types.Header{Kind: types.KindProxy, Version: "v2", Metadata: types.Metadata{Name: idA}}}
		proxy.Spec.Hostname = "web-1"
		foreign := node(idB, "web-1", map[string]string{"env": "test"})
		openssh := node(idA, "web-1", map[string]string{"env": "test"})
		openssh.SubKind, openssh.Spec.Addr = "openssh", "192.0.2.1:22"
		user := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: "root"}}}
		elsewhere := node(idA, "web-1", map[string]string{"env": "test"})
		elsewhere.Spec.PublicAddrs = []string{"web-1:22", "db-1.example.com:22"}
		for name, doc := range map[string]types.Resource{
			"an address of another's": elsewhere,
			"another UUID":            foreign, "a role it lacks": proxy, "a user": user, "another sub kind": openssh,
			"another host name": node(idA, "db-1", map[string]string{"env": "test"}),
			"a missing label":   node(idA, "web-1", nil),
			"a wrong label":     node(idA, "web-1", map[string]string{"env": "prod"}),
		} {
			a.announce(doc)
			if r := a.refusals(); len(r) != 1 {
				t.Errorf("%s: refusals %q", name, r)
			}
		}
		if w.has(types.KindNode, idA) || w.has(types.KindNode, idB) || w.has(types.KindProxy, idA) || w.has(types.KindUser, "root") {
			t.Error("a refused document was written")
		}
		if n := len(w.events.Events(event.TypeInstanceRefused)); n != 8 {
			t.Errorf("%d refusals were recorded", n)
		}
		a.announce(node(idA, "web-1", map[string]string{"env": "test"}))
		if !w.has(types.KindNode, idA) {
			t.Errorf("a rightful document was refused: %q", a.refusals())
		}
		a.hangup()
		<-a.done
	})
}

func TestHelloIsHeldToTheCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		a := w.connect(i, host(idA, "node1", types.RoleNode), hello(1, "Node", "Proxy"))
		if err := <-a.done; !errors.Is(err, fault.Denied) {
			t.Errorf("a role that the certificate lacks: %v", err)
		}
		user := &types.Identity{Kind: types.IdentityUser, Name: "alice", Cluster: "example"}
		b := w.connect(i, user, hello(1))
		if err := <-b.done; !errors.Is(err, fault.Denied) {
			t.Errorf("a user: %v", err)
		}
	})
}

// A host name belongs to one live process; the next gets it when it is free.
// TestANameClaimedWhileTheNamesAreRead: the store was read before the claimant's
// document was in it.
func TestANameClaimedWhileTheNamesAreRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		a := w.connect(i, host(idA, "node1", types.RoleNode), hello(1, "Node"))
		if err := i.claimNames(t.Context(), idA, []string{"node1"}); err != nil {
			t.Fatal(err)
		}
		if err := i.loadNames(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := i.claimNames(t.Context(), idB, []string{"node1"}); !errors.Is(err, fault.AlreadyExists) {
			t.Errorf("a second host took the name: %v", err)
		}
		a.hangup()
		<-a.done
	})
}

func TestHostNamesAreUnique(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		a := w.connect(i, host(idA, "node1", types.RoleNode), hello(1, "Node"))
		a.announce(node(idA, "node1", nil))
		b := w.connect(i, host(idB, "NODE1", types.RoleNode), hello(1, "Node"))
		b.announce(node(idB, "NODE1", nil))
		if r := b.refusals(); len(r) != 1 || w.has(types.KindNode, idB) {
			t.Fatalf("refusals %q", r)
		}
		a.send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Bye{Bye: &presencev1.Bye{}}})
		<-a.done
		for range 4 {
			pass(DefaultPing)
			b.ping()
		}
		synctest.Wait()
		if !w.has(types.KindNode, idB) {
			t.Error("the name was free and still refused")
		}
		b.hangup()
		<-b.done
	})
}

// A server without an agent has no lease: nobody connects for it, and it stays
// until somebody removes it.
func TestServersWithoutAnAgentStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		n := &types.Node{Header: types.Header{Kind: types.KindNode, SubKind: types.SubKindOpenSSH, Version: "v2", Metadata: types.Metadata{Name: idB}},
			Spec: types.NodeSpec{Hostname: "stock", Addr: "192.0.2.7:22"}}
		if _, err := w.store.Put(t.Context(), store.Create, n); err != nil {
			t.Fatal(err)
		}
		a := w.connect(i, host(idA, "web", types.RoleNode), &presencev1.Hello{Hostname: "web", Services: []string{"Node"}, Generation: 1})
		a.announce(node(idA, "web", nil))
		a.hangup() // one with an agent goes with its lease
		pass(24 * time.Hour)
		if w.has(types.KindNode, idA) || !w.has(types.KindNode, idB) {
			t.Errorf("after a day: the agent's %v, the stock server %v", w.has(types.KindNode, idA), w.has(types.KindNode, idB))
		}
	})
}

package inventory

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"teleport/backend/memkv"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// Two auth services admit one name before either has read what the other wrote:
// the node whose document came first keeps it, the other is withdrawn and told.
func TestOneOfTwoServicesWithdraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one, stopOne := w.auth("auth-1")
		defer stopOne()
		two, stopTwo := w.auth("auth-2")
		defer stopTwo()
		first := w.connect(one, host(idB, "node1", types.RoleNode), hello(1, "Node"))
		second := w.connect(two, host(idA, "node1", types.RoleNode), hello(1, "Node"))
		first.announce(node(idB, "node1", nil))
		second.announce(node(idA, "node1", nil))
		if !w.has(types.KindNode, idA) || !w.has(types.KindNode, idB) {
			t.Fatal("the services knew of each other too early for this test")
		}
		beat := func() {
			pass(DefaultPing)
			first.ping()
			second.ping()
			synctest.Wait()
		}
		for range 6 {
			beat()
		}
		if !w.has(types.KindNode, idB) || w.has(types.KindNode, idA) {
			t.Errorf("first %v, second %v", w.has(types.KindNode, idB), w.has(types.KindNode, idA))
		}
		if r := second.refusals(); len(r) != 1 || len(w.events.Events(event.TypeInstanceRefused)) != 1 || len(first.refusals()) != 0 {
			t.Errorf("refusals: %q", r)
		}
		first.hangup()
		<-first.done
		for range 8 {
			pass(DefaultPing)
			second.ping()
			synctest.Wait()
		}
		if !w.has(types.KindNode, idA) {
			t.Error("the name is free and still refused")
		}
		second.hangup()
		<-second.done
	})
}

// A node is found by its addresses too, so they belong to one node as names do.
func TestAddressesAreNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		victim := node(idA, "db1", nil)
		victim.Spec.PublicAddrs = []string{"DB1.example.com:3022"}
		a := w.connect(i, host(idA, "db1", types.RoleNode), hello(1, "Node"))
		a.announce(victim)
		if r := a.refusals(); len(r) != 0 {
			t.Fatalf("refusals %q", r)
		}
		b := w.connect(i, host(idB, "web1", types.RoleNode), hello(1, "Node"))
		for _, stolen := range []string{"db1:3022", "db1", "db1.example.com", "db1.example.com:22"} {
			thief := node(idB, "web1", map[string]string{"try": strings.ReplaceAll(stolen, ":", ".")})
			thief.Spec.PublicAddrs = []string{"web1.example.com", stolen}
			b.announce(thief)
			if w.has(types.KindNode, idB) {
				t.Fatalf("a node took the address %s of another", stolen)
			}
		}
		if r := b.refusals(); len(r) != 1 || !strings.Contains(r[0], "db1") {
			t.Errorf("refusals %q", r)
		}
		b.announce(node(idB, "web1", nil))
		if !w.has(types.KindNode, idB) {
			t.Error("a rightful document is refused")
		}
		// A refused change leaves what was registered before.
		thief := node(idB, "web1", nil)
		thief.Spec.Addr = "db1:22"
		b.announce(thief)
		for range 5 {
			pass(DefaultPing)
			a.ping()
			b.ping()
			synctest.Wait()
		}
		if !w.has(types.KindNode, idA) || !w.has(types.KindNode, idB) {
			t.Error("a refused change removed a node")
		}
		a.hangup()
		b.hangup()
		<-a.done
		<-b.done
	})
}

func TestClaimsAreWholeAndGivenBack(t *testing.T) {
	n := newNameIndex(0)
	if _, _, ok := n.claim("a", claim{names: []string{"x", "y"}}); !ok {
		t.Fatal("free names are refused")
	}
	if name, holder, ok := n.claim("b", claim{names: []string{"z", "y"}}); ok || name != "y" || holder != "a" || n.owner["z"] != "" {
		t.Errorf("a part was given: %q of %q", name, holder)
	}
	n.claim("a", claim{names: []string{"x"}})
	if _, _, ok := n.claim("b", claim{names: []string{"z", "y"}}); !ok {
		t.Error("a name that was let go is refused")
	}
	n.drop("a")
	n.drop("b")
	if len(n.owner)+len(n.held) != 0 {
		t.Errorf("left: %v %v", n.owner, n.held)
	}
}

func TestRevisionsCompareAsNumbers(t *testing.T) {
	in := []string{"100", "ff", "2", "10", "a"}
	slices.SortFunc(in, byRevision)
	if got := strings.Join(in, " "); got != "2 a 10 ff 100" {
		t.Error(got)
	}
}

// One beat over 10,000 streams; "locked" is its part that holds up everybody.
func BenchmarkBeat(b *testing.B) {
	const size = 10_000
	st := store.New(memkv.New(memkv.Options{}), store.Options{})
	self := &types.AuthServer{Header: types.Header{Kind: types.KindAuthServer, Version: "v2", Metadata: types.Metadata{Name: "auth-1"}}}
	self.Spec.Hostname = "auth"
	i := New(Deps{Store: st, Self: self})
	var instances []*types.Instance
	for n := range size {
		id := fmt.Sprintf("00000000-0000-4000-8000-%012x", n)
		doc := &types.Instance{Header: types.Header{Kind: types.KindInstance, Version: "v1", Metadata: types.Metadata{Name: id}},
			Spec: types.InstanceSpec{Hostname: "host", AuthServer: "auth-1", Epoch: 1}}
		if _, err := i.instances.Create(b.Context(), doc); err != nil {
			b.Fatal(err)
		}
		if _, err := i.nodes.Create(b.Context(), node(id, fmt.Sprintf("host%d", n), nil)); err != nil {
			b.Fatal(err)
		}
		c := &control{inv: i, id: host(id, ""), epoch: 1, again: make(chan struct{}, 1)}
		c.key = streamKey{id, 1}
		i.streams[c.key], i.owners[id] = c, c
		instances = append(instances, doc)
	}
	b.Run("whole", func(b *testing.B) {
		for b.Loop() {
			if err := i.beat(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("locked", func(b *testing.B) {
		for b.Loop() {
			if out := i.overdue(instances, map[string]bool{"auth-1": true}); len(out) != 0 {
				b.Fatal("a living instance is overdue")
			}
			i.retryRefused()
		}
	})
	b.Run("announce", func(b *testing.B) {
		id := fmt.Sprintf("00000000-0000-4000-8000-%012x", 7)
		for b.Loop() {
			if err := i.claimNames(b.Context(), id, []string{"host7"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

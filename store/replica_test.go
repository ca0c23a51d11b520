package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// flaky is a source over a real store whose connection a test breaks.
type flaky struct {
	store.Source
	mu      sync.Mutex
	down    bool // refuses and cuts
	hang    bool // neither answers nor sends
	watches []uint64
	cut     chan struct{}
}

func newFlaky(src store.Source) *flaky { return &flaky{Source: src, cut: make(chan struct{})} }

// set changes the state and cuts what is connected.
func (f *flaky) set(down, hang bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down, f.hang = down, hang
	close(f.cut)
	f.cut = make(chan struct{})
}

func (f *flaky) Watch(ctx context.Context, kinds []string, after uint64) (store.Stream, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, fault.New(fault.Unavailable, "the line is down")
	}
	f.watches = append(f.watches, after)
	st, err := f.Source.Watch(ctx, kinds, after)
	return &flakyStream{Stream: st, f: f, cut: f.cut}, err
}

func (f *flaky) resumes() []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]uint64(nil), f.watches...)
}

type flakyStream struct {
	store.Stream
	f   *flaky
	cut chan struct{}
}

func (s *flakyStream) Next(ctx context.Context) (store.Batch, error) {
	s.f.mu.Lock()
	hang := s.f.hang
	s.f.mu.Unlock()
	if hang { // a half-open connection: silence until somebody gives up
		<-ctx.Done()
		return store.Batch{}, ctx.Err()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-s.cut:
			cancel()
		case <-stop:
		}
	}()
	return s.Stream.Next(ctx)
}

var scope = []string{types.KindRole, types.KindLock, types.KindNode, types.KindProxy, types.KindUserEpoch, types.KindCertAuthority,
	types.KindClusterName, types.KindAuthPreference, types.KindNetworkingConfig, types.KindRecordingConfig}

// serve runs a replica for the time of a test.
func serve(t *testing.T, src store.Source) *store.Replica {
	t.Helper()
	r := store.NewReplica(src, scope, store.ReplicaOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return r
}

func TestReplicaFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, _ := newStore(t)
		roles := store.Of[*types.Role](s)
		must[*types.Role](t)(roles.Create(ctx, role("dev", "root")))
		deaf := store.NewReplica(s, scope, store.ReplicaOptions{})
		if deaf.Fresh(time.Now()) || deaf.Role("dev") != nil || len(deaf.Trust().Authorities()) != 0 {
			t.Error("a replica that heard nothing has something to say")
		}
		r := serve(t, s)
		<-r.Ready()
		if !r.Fresh(time.Now()) || r.Role("dev").Spec.Allow.Logins[0] != "root" || r.Revision() != 1 {
			t.Errorf("after Ready: fresh %v, revision %d", r.Fresh(time.Now()), r.Revision())
		}
		synctest.Wait() // the tick of the first state comes after Ready, and is nobody's here
		ticks, end := r.Subscribe()
		before := r.Role("dev")
		must[*types.Role](t)(roles.Upsert(ctx, role("dev", "ubuntu")))
		<-ticks
		synctest.Wait()
		if before.Spec.Allow.Logins[0] != "root" || r.Role("dev").Spec.Allow.Logins[0] != "ubuntu" || r.Revision() != 2 {
			t.Error("the change did not come as a new document")
		}
		if got := r.Roles([]string{"none", "dev"}); len(got) != 1 || got[0].Name() != "dev" || got[0].Metadata.Revision != "2" {
			t.Errorf("Roles = %+v", got)
		}
		if err := roles.Delete(ctx, "dev", ""); err != nil {
			t.Fatal(err)
		}
		<-ticks
		synctest.Wait()
		if r.Role("dev") != nil {
			t.Error("a deleted role is still there")
		}
		end()
		// A change of a kind out of scope moves the revision, without a tick.
		user := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: "bob"}}}
		must[types.Resource](t)(s.Put(ctx, store.Create, user))
		time.Sleep(2 * store.HeartbeatInterval)
		if r.Revision() != 4 {
			t.Errorf("revision %d after a heartbeat, want 4", r.Revision())
		}
		time.Sleep(time.Hour)
		if !r.Fresh(time.Now()) {
			t.Error("an idle source makes the replica stale")
		}
	})
}

func TestReplicaViews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, _ := newStore(t)
		for _, k := range types.Kinds() {
			doc := k.Example()
			if e := doc.Head().Metadata.Expires; e != nil {
				*e = time.Now().Add(time.Hour)
			}
			must[types.Resource](t)(s.Put(ctx, store.Create, doc))
		}
		until := time.Now().Add(time.Minute)
		lock := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: "22222222-2222-4333-8444-555555555555"}}}
		lock.Spec.Target.User, lock.Spec.Expires = "bob", &until
		must[types.Resource](t)(s.Put(ctx, store.Create, lock))
		r := serve(t, s)
		<-r.Ready()
		if len(r.Nodes()) != 1 || len(r.Proxies()) != 1 || r.ClusterName() == "" {
			t.Errorf("nodes %v, proxies %v, cluster %q", r.Nodes(), r.Proxies(), r.ClusterName())
		}
		if e, ok := store.Find[*types.UserEpoch](r, "", "alice"); !ok || r.Epoch("alice") != &e.Spec || r.Epoch("nobody") != nil {
			t.Errorf("epoch %+v", e)
		}
		if r.Settings().Auth.Type == "" || r.Settings().Recording.Mode == "" {
			t.Errorf("settings %+v", r.Settings())
		}
		if ca, ok := store.Find[*types.CertAuthority](r, "user", "example.com"); !ok || ca.Spec.Type != types.CAUser {
			t.Errorf("authority %+v", ca)
		}
		if n := len(store.Every[*types.Lock](r)); n != 2 || len(r.Locks()) != 2 {
			t.Errorf("%d locks, want 2", n)
		}
		time.Sleep(time.Minute) // nothing sweeps here: the reader itself sees the time
		if got := r.Locks(); len(got) != 1 || got[0].Name() == lock.Name() {
			t.Errorf("locks after expiry: %+v", got)
		}
	})
}

func TestReplicaComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, _ := newStore(t)
		roles := store.Of[*types.Role](s)
		must[*types.Role](t)(roles.Create(ctx, role("a")))
		f := newFlaky(s)
		r := serve(t, f)
		<-r.Ready()

		f.set(true, false)
		synctest.Wait() // until the cut has been felt
		must[*types.Role](t)(roles.Create(ctx, role("b")))
		time.Sleep(9 * time.Second)
		if !r.Fresh(time.Now()) || r.Role("a") == nil || r.Role("b") != nil {
			t.Error("a short outage must leave the last state in use")
		}
		time.Sleep(2 * time.Second)
		if r.Fresh(time.Now()) || r.Role("a") == nil {
			t.Error("stale must show, and still answer")
		}
		f.set(false, false)
		time.Sleep(6 * time.Second)
		if !r.Fresh(time.Now()) || r.Role("b") == nil {
			t.Error("the replica did not come back")
		}
		if got := f.resumes(); len(got) != 2 || got[1] != 1 {
			t.Errorf("watches after %v, want to resume after 1", got)
		}
	})
}

func TestReplicaHalfOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newStore(t)
		roles := store.Of[*types.Role](s)
		f := newFlaky(s)
		r := serve(t, f)
		<-r.Ready()
		time.Sleep(time.Second)
		f.set(false, true)
		time.Sleep(11 * time.Second)
		if r.Fresh(time.Now()) {
			t.Error("silence must make the replica stale")
		}
		f.set(false, false)
		must[*types.Role](t)(roles.Create(t.Context(), role("a")))
		time.Sleep(20 * time.Second)
		if !r.Fresh(time.Now()) || r.Role("a") == nil {
			t.Error("the replica hangs on a dead stream")
		}
	})
}

func TestReplicaResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, _ := newStore(t)
		roles := store.Of[*types.Role](s)
		for _, n := range []string{"kept", "removed"} {
			must[*types.Role](t)(roles.Create(ctx, role(n)))
		}
		f := newFlaky(s)
		r := serve(t, f)
		<-r.Ready()
		f.set(true, false)
		synctest.Wait() // until the cut has been felt
		if err := roles.Delete(ctx, "removed", ""); err != nil {
			t.Fatal(err)
		}
		for i := range 300 { // far beyond the store's history
			must[*types.Role](t)(roles.Upsert(ctx, role("kept", fmt.Sprint("u", i))))
		}
		f.set(false, false)
		time.Sleep(10 * time.Second)
		if r.Role("removed") != nil || r.Role("kept").Spec.Allow.Logins[0] != "u299" || r.Revision() != 303 {
			t.Errorf("after resync: %+v, revision %d", r.Role("kept"), r.Revision())
		}
	})
}

func TestReplicaNewerPolicies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, b := newStore(t)
		dev := role("dev", "root")
		dev.Spec.Allow.NodeLabels = types.Labels{"*": {"*"}}
		must[*types.Role](t)(store.Of[*types.Role](s).Create(t.Context(), dev))
		raw(t, b, "/role/future", newerRole)
		raw(t, b, "/role/alien", alienRole)
		raw(t, b, "/lock/l1", newerLock)
		raw(t, b, "/lock/l2", `not even JSON`)
		r := serve(t, s)
		<-r.Ready()
		for _, name := range []string{"future", "alien"} {
			if got := r.Role(name); got == nil || got.Spec.Deny.NodeLabels["*"] == nil || len(got.Spec.Allow.Logins) != 0 {
				t.Errorf("role %s is %+v, want one that denies everything", name, got)
			}
		}
		if got := r.Role("dev"); got == nil || got.Spec.Deny.NodeLabels != nil {
			t.Errorf("another role was touched: %+v", got)
		}
		if !allowed(r, "dev") || allowed(r, "dev", "future") || allowed(r, "dev", "alien") {
			t.Error("a role that is not understood must refuse its holders, and nobody else")
		}
		if got := r.Locks(); len(got) != 1 || got[0].Spec.Target.User != "bob" {
			t.Errorf("locks %+v, want the one of bob in force", got)
		}
		if got := r.Unusable(); len(got) != 4 {
			t.Errorf("unusable: %+v", got)
		}
	})
}

// allowed decides a login as root by a user who holds the roles.
func allowed(r *store.Replica, roles ...string) bool {
	node := &types.Node{Header: types.Header{Kind: types.KindNode, Version: "v2", Metadata: types.Metadata{Name: "n"}}}
	id := &types.Identity{Kind: types.IdentityUser, Cluster: "c", Name: "alice", Authority: types.Authority{
		Roles: roles, Logins: []string{"root"}, Expires: time.Now().Add(time.Hour)}}
	return access.Decide(access.Request{Identity: id, Roles: r.Roles(roles), Locks: nil, Action: access.ActionLogin,
		Resource: node, HostID: "n", Login: "root", Now: time.Now()}).Allow
}

// TestReplicaUnderWriters compares the copy with the truth after a storm with
// cuts in it. The race detector watches the readers.
func TestReplicaUnderWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, _ := newStore(t)
		roles := store.Of[*types.Role](s)
		f := newFlaky(s)
		r := serve(t, f)
		<-r.Ready()
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for i := range 100 {
					name := fmt.Sprintf("r%d", (w*7+i)%20)
					if i%5 == 4 {
						if err := s.Apply(ctx, store.Write{Doc: role(name)}); err != nil {
							t.Error(err)
						}
					} else if _, err := roles.Upsert(ctx, role(name, fmt.Sprintf("u%d-%d", w, i))); err != nil {
						t.Error(err)
					}
					r.Role(name)
					if w == 0 && i%20 == 0 {
						f.set(false, false)
					}
					time.Sleep(time.Duration(w+1) * 10 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		time.Sleep(10 * time.Second)
		all := must[[]*types.Role](t)(roles.All(ctx))
		if got := store.Every[*types.Role](r); len(got) != len(all) {
			t.Fatalf("%d roles in the copy, %d in the store", len(got), len(all))
		}
		for _, want := range all {
			if got := r.Role(want.Name()); got == nil || got.Metadata.Revision != want.Metadata.Revision {
				t.Errorf("%s differs: %+v", want.Name(), got)
			}
		}
	})
}

// fixed is a source with one snapshot.
type fixed struct{ batches chan store.Batch }

func (f fixed) Watch(context.Context, []string, uint64) (store.Stream, error) { return f, nil }
func (f fixed) Close() error                                                  { return nil }
func (f fixed) Next(ctx context.Context) (store.Batch, error) {
	select {
	case b := <-f.batches:
		return b, nil
	case <-ctx.Done():
		return store.Batch{}, ctx.Err()
	}
}

// TestSnapshotPages: what a snapshot brings is invisible until its end, and an
// empty page of it confirms nothing.
func TestSnapshotPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fixed{make(chan store.Batch)}
		r := serve(t, f)
		change := func(name string, rev uint64) []store.Change {
			doc := fmt.Sprintf(`{"kind":"role","version":"v8","metadata":{"name":%q},"spec":{}}`, name)
			return []store.Change{{Kind: types.KindRole, Name: name, Revision: rev, Document: []byte(doc)}}
		}
		f.batches <- store.Batch{Changes: change("a", 3)}
		f.batches <- store.Batch{}
		synctest.Wait()
		if r.Role("a") != nil || r.Fresh(time.Now()) {
			t.Error("half a snapshot shows")
		}
		f.batches <- store.Batch{Changes: change("b", 4), Revision: 5, SnapshotEnd: true}
		<-r.Ready()
		if r.Role("a") == nil || r.Role("b") == nil || r.Revision() != 5 {
			t.Error("the snapshot is not whole")
		}
		f.batches <- store.Batch{Changes: change("a", 2), Revision: 6} // older than what is held
		synctest.Wait()
		if r.Role("a").Metadata.Revision != "3" {
			t.Error("an older document replaced a newer one")
		}
		time.Sleep(9 * time.Second)
		f.batches <- store.Batch{} // the first, empty, page of a new snapshot
		time.Sleep(2 * time.Second)
		if r.Fresh(time.Now()) {
			t.Error("an empty page made a stale copy fresh")
		}
		f.batches <- store.Batch{Changes: change("b", 4), Revision: 7, SnapshotEnd: true}
		synctest.Wait()
		if r.Role("a") != nil || r.Role("b") == nil || !r.Fresh(time.Now()) {
			t.Error("what a snapshot lacks is not gone")
		}
	})
}

func BenchmarkReplicaRole(b *testing.B) {
	f := fixed{make(chan store.Batch)}
	r := store.NewReplica(f, scope, store.ReplicaOptions{})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error)
	go func() { done <- r.Serve(ctx) }()
	var all store.Batch
	for i := range 1000 {
		name := fmt.Sprintf("role-%d", i)
		doc := fmt.Sprintf(`{"kind":"role","version":"v8","metadata":{"name":%q},"spec":{}}`, name)
		all.Changes = append(all.Changes, store.Change{Kind: types.KindRole, Name: name, Revision: 1, Document: []byte(doc)})
	}
	all.Revision, all.SnapshotEnd = 1, true
	f.batches <- all
	<-r.Ready()
	b.ReportAllocs()
	for b.Loop() {
		if r.Role("role-567") == nil || len(r.Locks()) != 0 {
			b.Fatal("not found")
		}
	}
	cancel()
	<-done
}

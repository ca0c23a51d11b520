package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teleport/backend"
	"teleport/backend/memkv"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

func newStore(t *testing.T) (*store.Store, *memkv.KV) {
	t.Helper()
	b := memkv.New(memkv.Options{History: 256})
	t.Cleanup(func() { b.Close() })
	return store.New(b, store.Options{}), b
}

func role(name string, logins ...string) *types.Role {
	r := &types.Role{Header: types.Header{Kind: types.KindRole, Version: types.V8, Metadata: types.Metadata{Name: name}}}
	r.Spec.Allow.Logins = logins
	return r
}

func want(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v, want %s", err, kind)
	}
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// raw puts stored bytes past the store, as another version would.
func raw(t *testing.T, b backend.Backend, key, document string) {
	t.Helper()
	if _, err := b.Apply(t.Context(), backend.Op{Item: backend.Item{Key: key, Value: []byte(document)}}); err != nil {
		t.Fatal(err)
	}
}

const (
	newerRole = `{"kind":"role","version":"v8","metadata":{"name":"future"},"spec":{"deny":{"quantum_labels":{"*":"*"}}}}`
	alienRole = `{"kind":"role","version":"v99","metadata":{"name":"alien"},"spec":{}}`
	newerLock = `{"kind":"lock","version":"v2","metadata":{"name":"l1"},"spec":{"target":{"user":"bob","planet":"mars"}}}`
)

func TestCollection(t *testing.T) {
	ctx := t.Context()
	s, _ := newStore(t)
	roles := store.Of[*types.Role](s)
	_, err := roles.Get(ctx, "dev")
	want(t, err, fault.NotFound)
	if msg := fault.Message(err); msg != `there is no role named "dev"` {
		t.Errorf("message %q", msg)
	}
	made := must[*types.Role](t)(roles.Create(ctx, role("dev", "root")))
	if made.Metadata.Revision == "" {
		t.Fatal("no revision after create")
	}
	_, err = roles.Create(ctx, role("dev"))
	want(t, err, fault.AlreadyExists)
	got := must[*types.Role](t)(roles.Get(ctx, "dev"))
	if got.Metadata.Revision != made.Metadata.Revision || got.Spec.Allow.Logins[0] != "root" {
		t.Fatalf("got %+v", got)
	}
	got.Spec.Allow.Logins = []string{"ubuntu"}
	must[*types.Role](t)(roles.Update(ctx, got))
	_, err = roles.Update(ctx, made)
	want(t, err, fault.Conflict)
	_, err = roles.Update(ctx, role("dev"))
	want(t, err, fault.Invalid) // no revision
	must[*types.Role](t)(roles.Upsert(ctx, role("dev", "admin")))
	want(t, roles.Delete(ctx, "dev", made.Metadata.Revision), fault.Conflict)
	if err := roles.Delete(ctx, "dev", ""); err != nil {
		t.Fatal(err)
	}
	want(t, roles.Delete(ctx, "dev", ""), fault.NotFound)
	_, err = roles.Update(ctx, got)
	want(t, err, fault.Conflict)
}

func TestStoredForm(t *testing.T) {
	ctx := t.Context()
	s, b := newStore(t)
	must[*types.Role](t)(store.Of[*types.Role](s).Create(ctx, role("first")))
	it := must[backend.Item](t)(b.Get(ctx, "/role/first"))
	if strings.Contains(string(it.Value), "revision") {
		t.Errorf("the revision is stored: %s", it.Value)
	}
	ca := &types.CertAuthority{}
	for _, k := range types.Kinds() {
		doc := k.Example()
		if c, ok := doc.(*types.CertAuthority); ok {
			ca = c
		}
		if e := doc.Head().Metadata.Expires; e != nil {
			*e = time.Now().Add(time.Hour)
		}
		if _, err := s.Put(ctx, store.Create, doc); err != nil {
			t.Errorf("%s: %v", k.Name, err)
			continue
		}
		h := doc.Head()
		if _, err := s.GetAny(ctx, h.Kind, h.SubKind, h.Metadata.Name); err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
	}
	if _, err := b.Get(ctx, "/cert_authority/user/"+ca.Metadata.Name); err != nil {
		t.Error(err)
	}
	creds := must[store.Document](t)(s.GetAny(ctx, types.KindUserCredentials, "", "alice"))
	if strings.Contains(string(creds.Raw), "***") {
		t.Error("secrets are stored as ***")
	}
}

func TestModify(t *testing.T) {
	ctx := t.Context()
	s, _ := newStore(t)
	roles := store.Of[*types.Role](s)
	must[*types.Role](t)(roles.Create(ctx, role("dev")))
	tries := 0
	got := must[*types.Role](t)(roles.Modify(ctx, "dev", func(r *types.Role) error {
		if tries++; tries == 1 {
			must[*types.Role](t)(roles.Upsert(ctx, role("dev", "root")))
		}
		r.Spec.Allow.Logins = append(r.Spec.Allow.Logins, "ubuntu")
		return nil
	}))
	if tries != 2 || len(got.Spec.Allow.Logins) != 2 {
		t.Errorf("%d tries, %v", tries, got.Spec.Allow.Logins)
	}
	stop := errors.New("stop")
	if _, err := roles.Modify(ctx, "dev", func(*types.Role) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
}

func TestApplyIsAtomic(t *testing.T) {
	ctx := t.Context()
	s, _ := newStore(t)
	roles := store.Of[*types.Role](s)
	old := must[*types.Role](t)(roles.Create(ctx, role("old")))
	err := s.Apply(ctx, store.Write{Mode: store.Create, Doc: role("new")}, store.Write{Mode: store.Create, Doc: role("old")})
	want(t, err, fault.AlreadyExists)
	_, err = roles.Get(ctx, "new")
	want(t, err, fault.NotFound)
	if err := s.Apply(ctx, store.Write{Mode: store.Create, Doc: role("new")}, store.Write{Doc: old}); err != nil {
		t.Fatal(err)
	}
	want(t, s.Apply(ctx, store.Write{Doc: old}), fault.Conflict) // its revision is gone
	_, err = roles.Get(ctx, "old")
	want(t, err, fault.NotFound)
}

func TestRefusedDocuments(t *testing.T) {
	ctx := t.Context()
	b := memkv.New(memkv.Options{})
	defer b.Close()
	s := store.New(b, store.Options{Validate: func(_ context.Context, doc types.Resource) error {
		if doc.Head().Metadata.Name == "vetoed" {
			return fault.New(fault.Invalid, "not this one")
		}
		return nil
	}})
	past := time.Now().Add(-time.Hour)
	expired := role("gone")
	expired.Metadata.Expires = &past
	misnamed := &types.ClusterName{Header: types.Header{Kind: types.KindClusterName, Metadata: types.Metadata{Name: "other"}}}
	misnamed.Spec.ClusterName = "example.com"
	wrongKind := role("x")
	wrongKind.Kind = types.KindUser
	badRevision := role("x")
	badRevision.Metadata.Revision = "0X1"
	newVersion := role("x")
	newVersion.Version = "v99"
	for name, c := range map[string]struct {
		mode store.Mode
		doc  types.Resource
		kind fault.Kind
	}{
		"no name":      {store.Create, role(""), fault.Invalid},
		"bad name":     {store.Create, role("a/b"), fault.Invalid},
		"veto":         {store.Create, role("vetoed"), fault.Invalid},
		"expired":      {store.Create, expired, fault.Invalid},
		"singleton":    {store.Create, misnamed, fault.Invalid},
		"wrong kind":   {store.Create, wrongKind, fault.Internal},
		"bad revision": {store.Update, badRevision, fault.Invalid},
		"new version":  {store.Upsert, newVersion, fault.Invalid},
		"no mode":      {0, role("x"), fault.Invalid},
		"other mode":   {7, role("x"), fault.Invalid},
	} {
		if _, err := s.Put(ctx, c.mode, c.doc); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %s", name, err, c.kind)
		}
	}
	_, err := s.Decode(ctx, []byte(`{"kind":"role","version":"v8","metadata":{"name":"x"},"spec":{"allows":{}}}`))
	want(t, err, fault.Invalid)
	_, err = s.Decode(ctx, []byte(`{"kind":"role","version":"v8","metadata":{"name":"vetoed"},"spec":{}}`))
	want(t, err, fault.Invalid)
	_, err = s.GetAny(ctx, "nonsense", "", "x")
	want(t, err, fault.Invalid)
	_, err = s.ListAny(ctx, "role", store.ListOptions{Token: "%zz"})
	want(t, err, fault.Invalid)
}

func TestNewerDocuments(t *testing.T) {
	ctx := t.Context()
	s, b := newStore(t)
	roles := store.Of[*types.Role](s)
	must[*types.Role](t)(roles.Create(ctx, role("dev")))
	raw(t, b, "/role/future", newerRole)
	raw(t, b, "/role/alien", alienRole)
	raw(t, b, "/role/misplaced", newerRole)
	_, err := roles.Get(ctx, "future")
	want(t, err, fault.Unavailable)
	page := must[store.Page[*types.Role]](t)(roles.List(ctx, store.ListOptions{}))
	if len(page.Items) != 1 || len(page.Unusable) != 3 || page.Unusable[1].Name != "future" || !strings.Contains(page.Unusable[1].Reason, "quantum_labels") {
		t.Errorf("page %+v", page)
	}
	doc := must[store.Document](t)(s.GetAny(ctx, types.KindRole, "", "future"))
	if string(doc.Raw) != newerRole || doc.Newer == "" || doc.Resource == nil {
		t.Errorf("document %+v", doc)
	}
	for _, name := range []string{"future", "alien"} {
		_, err = roles.Upsert(ctx, role(name))
		want(t, err, fault.Conflict)
		if err := roles.Delete(ctx, name, ""); err != nil {
			t.Error(err)
		}
	}
}

func TestPages(t *testing.T) {
	ctx := t.Context()
	s, _ := newStore(t)
	roles := store.Of[*types.Role](s)
	for i := range 25 {
		must[*types.Role](t)(roles.Create(ctx, role(fmt.Sprintf("r%02d", i))))
	}
	var names []string
	o := store.ListOptions{PageSize: 10}
	for pages := 1; ; pages++ {
		p := must[store.Page[*types.Role]](t)(roles.List(ctx, o))
		for _, r := range p.Items {
			names = append(names, r.Name())
		}
		if o.Token = p.Next; o.Token == "" {
			if pages != 3 || len(names) != 25 || names[0] != "r00" || names[24] != "r24" {
				t.Errorf("%d pages: %v", pages, names)
			}
			break
		}
	}
	if all := must[[]*types.Role](t)(roles.All(ctx)); len(all) != 25 {
		t.Errorf("All gave %d", len(all))
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, _ := newStore(t)
		lock := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: "11111111-2222-4333-8444-555555555555"}}}
		until := time.Now().Add(time.Minute)
		lock.Spec.Target.User, lock.Spec.Expires = "bob", &until
		locks := store.Of[*types.Lock](s)
		must[*types.Lock](t)(locks.Create(ctx, lock))
		time.Sleep(time.Minute)
		_, err := locks.Get(ctx, lock.Name())
		want(t, err, fault.NotFound)
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, _ := newStore(t)
		roles := store.Of[*types.Role](s)
		for i := range 250 {
			must[*types.Role](t)(roles.Create(ctx, role(fmt.Sprintf("r%03d", i))))
		}
		st := must[store.Stream](t)(s.Watch(ctx, []string{types.KindUser, types.KindRole}, 0))
		defer st.Close()
		must[*types.Role](t)(roles.Create(ctx, role("late")))
		seen := map[string]int{}
		var rev uint64
		for len(seen) < 251 || rev == 0 {
			b := must[store.Batch](t)(st.Next(ctx))
			for _, c := range b.Changes {
				seen[c.Name]++
			}
			rev = b.Revision
		}
		start := time.Now()
		b := must[store.Batch](t)(st.Next(ctx))
		for len(b.Changes) > 0 {
			b = must[store.Batch](t)(st.Next(ctx))
		}
		if d := time.Since(start); d != store.HeartbeatInterval || b.Revision != 251 {
			t.Errorf("heartbeat %+v after %v", b, d)
		}
		if err := roles.Delete(ctx, "late", ""); err != nil {
			t.Fatal(err)
		}
		b = must[store.Batch](t)(st.Next(ctx))
		if len(b.Changes) != 1 || b.Changes[0].Name != "late" || b.Changes[0].Document != nil || b.Revision != 252 {
			t.Errorf("deletion %+v", b)
		}
		again := must[store.Stream](t)(s.Watch(ctx, []string{types.KindRole}, 251))
		b = must[store.Batch](t)(again.Next(ctx))
		if b.SnapshotEnd || len(b.Changes) != 1 || b.Revision != 252 {
			t.Errorf("resumed %+v", b)
		}
		for range 300 { // beyond the history: a snapshot comes instead
			must[*types.Role](t)(roles.Upsert(ctx, role("r000")))
		}
		again = must[store.Stream](t)(s.Watch(ctx, []string{types.KindUser}, 251))
		b = must[store.Batch](t)(again.Next(ctx))
		if !b.SnapshotEnd || b.Revision != 552 {
			t.Errorf("resumed beyond history: %+v", b)
		}
		_, err := s.Watch(ctx, []string{"nonsense"}, 0)
		want(t, err, fault.Invalid)
		_, err = s.Watch(ctx, nil, 0)
		want(t, err, fault.Invalid)
	})
}

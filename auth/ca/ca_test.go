package ca

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/backend"
	"teleport/backend/memkv"
	"teleport/cert"
	"teleport/fault"
	"teleport/keys"
	"teleport/keystore/softkeys"
	"teleport/types"
	"teleport/types/event"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// events keeps what was emitted, or refuses.
type events struct {
	mu   sync.Mutex
	got  []event.Event
	fail error
}

func (e *events) Emit(_ context.Context, evs ...event.Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	e.got = append(e.got, evs...)
	return nil
}

func (e *events) count(typ string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, ev := range e.got {
		if ev.EventMeta().Type == typ {
			n++
		}
	}
	return n
}

// documents is an Authorities with the store's rule: the first Create wins.
type documents struct {
	mu  sync.Mutex
	has map[string]*types.CertAuthority
}

func (d *documents) GetSub(_ context.Context, caType, cluster string) (*types.CertAuthority, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if doc := d.has[caType+"/"+cluster]; doc != nil {
		return doc, nil
	}
	return nil, fault.New(fault.NotFound, "no such authority")
}

func (d *documents) Create(_ context.Context, doc *types.CertAuthority) (*types.CertAuthority, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := doc.SubKind + "/" + doc.Metadata.Name
	if d.has[key] != nil {
		return nil, fault.New(fault.AlreadyExists, "taken")
	}
	d.has[key] = doc
	return doc, nil
}

func newKeys(t testing.TB) (*softkeys.Keys, backend.Backend) {
	t.Helper()
	b := memkv.New(memkv.Options{})
	t.Cleanup(func() { b.Close() })
	k, err := softkeys.New(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k, b
}

func TestEnsureMakesAllOnce(t *testing.T) {
	k, _ := newKeys(t)
	docs, log := &documents{has: map[string]*types.CertAuthority{}}, &events{}
	results := make([][]*types.CertAuthority, 6)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			r, err := Ensure(context.Background(), docs, k, log, "example.com", keys.DefaultSuite, start)
			if err != nil {
				t.Error(err)
			}
			results[i] = r
		})
	}
	wg.Wait()
	for _, r := range results {
		trust, err := cert.NewTrust(r)
		if err != nil {
			t.Fatal(err)
		}
		first, err := cert.NewTrust(results[0])
		if err != nil {
			t.Fatal(err)
		}
		if len(r) != 6 || trust.Fingerprint() != first.Fingerprint() {
			t.Errorf("%d authorities, others than the first caller's", len(r))
		}
	}
	if n := log.count(event.TypeCACreated); n != 6 {
		t.Errorf("%d events for 6 authorities", n)
	}
	for _, ca := range results[0] {
		for _, id := range []string{ca.Spec.Active.SSHKeyID, ca.Spec.Active.TLSKeyID, ca.Spec.Active.JWTKeyID} {
			if id == "" {
				continue
			}
			if _, err := k.Signer(context.Background(), id); err != nil {
				t.Errorf("%s: %v", ca.Spec.Type, err)
			}
		}
		if strings.Contains(fmt.Sprintf("%+v", ca), "PRIVATE") {
			t.Errorf("the document of %s holds a private key", ca.Spec.Type)
		}
	}
}

func TestGenerations(t *testing.T) {
	ctx := context.Background()
	_, b := newKeys(t)
	g := NewBackendGenerations(b)
	at := func(key string) Holder {
		return Holder{HostUUID: "h1", KeyHash: []byte(key), Expires: start.Add(HostTTL)}
	}
	want := func(step string, got uint64, err error, n uint64) {
		t.Helper()
		if err != nil || got != n {
			t.Fatalf("%s: generation %d, %v; want %d", step, got, err, n)
		}
	}
	n, err := g.Start(ctx, at("k1"), start, false)
	want("join", n, err, 1)
	n, err = g.Start(ctx, at("k1"), start, false)
	want("the same join again", n, err, 1)
	if _, err := g.Start(ctx, at("thief"), start, false); !errors.Is(err, fault.Denied) {
		t.Errorf("somebody takes a live host's UUID: %v", err)
	}
	n, err = g.Advance(ctx, at("k2"), 1)
	want("renew", n, err, 2)
	n, err = g.Advance(ctx, at("k2"), 1)
	want("the same renewal again", n, err, 2)
	n, err = g.Advance(ctx, at("k3"), 2)
	want("next", n, err, 3)
	var clone *Cloned
	for _, presented := range []uint64{0, 1, 2, 4} {
		_, err = g.Advance(ctx, at("kx"), presented)
		if !errors.As(err, &clone) || !errors.Is(err, fault.Denied) || clone.Expected != 3 || clone.Presented != presented {
			t.Errorf("generation %d: %v", presented, err)
		}
	}
	if _, err := g.Advance(ctx, Holder{HostUUID: "h9"}, 0); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("an unknown host renews: %v", err)
	}
	n, err = g.Start(ctx, at("k9"), start.Add(2*HostTTL), false)
	want("join after expiry", n, err, 4)
	n, err = g.Start(ctx, at("k10"), start, true)
	want("join with a proven UUID", n, err, 5)
}

// Of many renewals at once with different keys, one wins and the rest are clones.
func TestGenerationsRace(t *testing.T) {
	ctx := context.Background()
	_, b := newKeys(t)
	g := NewBackendGenerations(b)
	if _, err := g.Start(ctx, Holder{HostUUID: "h1", KeyHash: []byte("k")}, start, false); err != nil {
		t.Fatal(err)
	}
	var won sync.Map
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			if n, err := g.Advance(ctx, Holder{HostUUID: "h1", KeyHash: []byte{byte(i)}}, 1); err == nil {
				won.Store(i, n)
			} else if !errors.Is(err, fault.Denied) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n := 0
	won.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d holders of one generation renewed", n)
	}
}

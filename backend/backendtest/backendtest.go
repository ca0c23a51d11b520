// Package backendtest is the conformance suite of backend drivers. A driver's
// test calls Test with a constructor, and TestReopen when its state outlives
// Close.
package backendtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/backend"
	"teleport/fault"
)

// Retain is how much of the past the stores under test are to keep: this many
// changes for watches and as many deletions. The suite goes beyond it.
const Retain = 64

// Test runs the suite. open returns an empty store that keeps Retain changes
// and whose clock is time.Now, which the suite moves by testing/synctest; the
// suite closes it.
func Test(t *testing.T, open func(t *testing.T) backend.Backend) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, b backend.Backend)
	}{
		{"get", testGet},
		{"conditions", testConditions},
		{"apply is all or none", testAtomic},
		{"apply with bad ops", testBadOps},
		{"range", testRange},
		{"bounds", testBounds},
		{"values are copies", testCopies},
		{"expiry", testExpiry},
		{"sweep", testSweep},
		{"watch order", testWatchOrder},
		{"watch now", testWatchNow},
		{"watch resumes", testWatchResume},
		{"watch heartbeat", testWatchHeartbeat},
		{"watch contexts", testWatchContexts},
		{"watch beyond retention", testWatchGone},
		{"slow watcher", testWatchSlow},
		{"close", testClose},
		{"canceled", testCanceled},
		{"concurrent counters", testCounters},
		{"concurrent creates", testCreates},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := open(t)
				defer b.Close()
				c.run(t, b)
			})
		})
	}
}

// TestReopen checks what must outlive Close. open opens the same store each
// time, empty at first.
func TestReopen(t *testing.T, open func(t *testing.T) backend.Backend) {
	ctx := t.Context()
	b := open(t)
	first := put(t, b, "/a", "1")
	removed := put(t, b, "/b", "2")
	last := apply(t, b, backend.Op{Type: backend.OpDelete, Item: backend.Item{Key: "/b"}})
	closeIt(t, b)

	b = open(t)
	defer b.Close()
	if rev, err := b.Revision(ctx); err != nil || rev != last {
		t.Fatalf("Revision after reopening = %d, %v; want %d", rev, err, last)
	}
	if it, err := b.Get(ctx, "/a"); err != nil || it.Revision != first || string(it.Value) != "1" {
		t.Fatalf("Get after reopening = %+v, %v", it, err)
	}
	w := watch(t, b, first)
	if next := put(t, b, "/a", "3"); next <= last {
		t.Fatalf("revision %d was used again after reopening (before: %d)", next, last)
	}
	// The put of /b may be left out, as it was deleted since.
	got := collect(t, w, 2)
	if got[0].Key == "/b" && got[0].Revision == removed && !got[0].Deleted {
		got = append(got[1:], collect(t, w, 1)...)
	}
	if got[0].Key != "/b" || !got[0].Deleted || got[0].Revision != last || got[1].Key != "/a" || string(got[1].Value) != "3" {
		t.Fatalf("resumed watch across reopening saw %+v", got)
	}
}

func op(typ backend.OpType, key, value string, rev backend.Revision) backend.Op {
	return backend.Op{Type: typ, Item: backend.Item{Key: key, Value: []byte(value), Revision: rev}}
}

func put(t *testing.T, b backend.Backend, key, value string) backend.Revision {
	t.Helper()
	return apply(t, b, op(backend.OpPut, key, value, 0))
}

func apply(t *testing.T, b backend.Backend, ops ...backend.Op) backend.Revision {
	t.Helper()
	rev, err := b.Apply(t.Context(), ops...)
	if err != nil {
		t.Fatalf("Apply(%d ops): %v", len(ops), err)
	}
	return rev
}

func closeIt(t *testing.T, b backend.Backend) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func want(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v, want %s", err, kind)
	}
}

func value(t *testing.T, b backend.Backend, key string) string {
	t.Helper()
	it, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	return string(it.Value)
}

func testGet(t *testing.T, b backend.Backend) {
	_, err := b.Get(t.Context(), "/none")
	want(t, err, fault.NotFound)
	rev := put(t, b, "/a", "")
	it, err := b.Get(t.Context(), "/a")
	if err != nil || it.Key != "/a" || len(it.Value) != 0 || it.Revision != rev || !it.Expires.IsZero() {
		t.Fatalf("Get = %+v, %v", it, err)
	}
	if now, err := b.Revision(t.Context()); err != nil || now != rev || rev == 0 {
		t.Fatalf("Revision = %d, %v, want %d", now, err, rev)
	}
	expires := time.Now().Add(time.Hour + 300*time.Microsecond)
	apply(t, b, backend.Op{Item: backend.Item{Key: "/e", Value: []byte{0, 255}, Expires: expires}})
	it, err = b.Get(t.Context(), "/e")
	if d := it.Expires.Sub(expires); err != nil || d < 0 || d >= time.Millisecond || string(it.Value) != "\x00\xff" {
		t.Fatalf("Get = %+v, %v; want expiry %v rounded up", it, err, expires)
	}
	apply(t, b, op(backend.OpDelete, "/a", "", 0))
	_, err = b.Get(t.Context(), "/a")
	want(t, err, fault.NotFound)
}

func testConditions(t *testing.T, b backend.Backend) {
	ctx := t.Context()
	one := apply(t, b, op(backend.OpCreate, "/a", "1", 0))
	for _, c := range []struct {
		op   backend.Op
		kind fault.Kind
	}{
		{op(backend.OpCreate, "/a", "x", 0), fault.AlreadyExists},
		{op(backend.OpSwap, "/a", "x", one+1), fault.Conflict},
		{op(backend.OpSwap, "/a", "x", 0), fault.Conflict},
		{op(backend.OpSwap, "/b", "x", one), fault.Conflict},
		{op(backend.OpSwap, "/b", "x", 0), fault.Conflict},
		{op(backend.OpDeleteIf, "/a", "", one+1), fault.Conflict},
		{op(backend.OpDeleteIf, "/b", "", one), fault.Conflict},
	} {
		_, err := b.Apply(ctx, c.op)
		want(t, err, c.kind)
	}
	if v := value(t, b, "/a"); v != "1" {
		t.Fatalf("a refused op changed the value to %q", v)
	}
	two := apply(t, b, op(backend.OpSwap, "/a", "2", one))
	if two <= one {
		t.Fatalf("revision %d after %d", two, one)
	}
	_, err := b.Apply(ctx, op(backend.OpSwap, "/a", "3", one))
	want(t, err, fault.Conflict)
	apply(t, b, op(backend.OpDeleteIf, "/a", "", two))
	apply(t, b, op(backend.OpDelete, "/a", "", 0)) // gone already
	apply(t, b, op(backend.OpCreate, "/a", "4", 0))
}

func testAtomic(t *testing.T, b backend.Backend) {
	put(t, b, "/taken", "1")
	before, _ := b.Revision(t.Context())
	w := watch(t, b, 0)
	_, err := b.Apply(t.Context(), op(backend.OpPut, "/new", "1", 0), op(backend.OpDelete, "/taken", "", 0), op(backend.OpSwap, "/none", "1", 9))
	want(t, err, fault.Conflict)
	_, err = b.Get(t.Context(), "/new")
	want(t, err, fault.NotFound)
	value(t, b, "/taken")
	if rev, _ := b.Revision(t.Context()); rev != before {
		t.Fatalf("a refused Apply moved the revision from %d to %d", before, rev)
	}
	rev := apply(t, b, op(backend.OpPut, "/new", "1", 0), op(backend.OpDelete, "/taken", "", 0))
	for _, c := range collect(t, w, 2) {
		if c.Revision != rev {
			t.Fatalf("change %+v of one Apply, want revision %d", c, rev)
		}
	}
}

func testBadOps(t *testing.T, b backend.Backend) {
	many := make([]backend.Op, backend.MaxOps+1)
	for i := range many {
		many[i] = op(backend.OpPut, fmt.Sprintf("/%d", i), "", 0)
	}
	for name, ops := range map[string][]backend.Op{
		"none":    nil,
		"twice":   {op(backend.OpPut, "/a", "1", 0), op(backend.OpDelete, "/a", "", 0)},
		"unknown": {op(99, "/a", "", 0)},
		"many":    many,
	} {
		if _, err := b.Apply(t.Context(), ops...); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want %s", name, err, fault.Invalid)
		}
	}
	apply(t, b, many[:backend.MaxOps]...)
}

func keys(items []backend.Item) string {
	var s []string
	for _, it := range items {
		s = append(s, it.Key)
	}
	return strings.Join(s, " ")
}

func testRange(t *testing.T, b backend.Backend) {
	for _, k := range []string{"/b/2", "/a", "/b/1", "/c", "/b/10", "/b", "/b0", "/b/~"} {
		put(t, b, k, k)
	}
	end := backend.PrefixEnd("/b/")
	for _, c := range []struct {
		from, to string
		limit    int
		want     string
	}{
		{"/b/", end, 0, "/b/1 /b/10 /b/2 /b/~"},
		{"/b/", end, 2, "/b/1 /b/10"},
		{"/b/10\x00", end, 2, "/b/2 /b/~"},
		{"/b/~\x00", end, 2, ""},
		{"/b/1", "/b/2", 0, "/b/1 /b/10"},
		{"", "", 3, "/a /b /b/1"},
		{"/b0", "", 0, "/b0 /c"},
		{"/c", "/a", 0, ""},
	} {
		got, err := b.Range(t.Context(), c.from, c.to, c.limit)
		if err != nil || keys(got) != c.want {
			t.Errorf("Range(%q, %q, %d) = %q, %v; want %q", c.from, c.to, c.limit, keys(got), err, c.want)
		}
		for _, it := range got {
			if string(it.Value) != it.Key || it.Revision == 0 {
				t.Errorf("Range gave %+v", it)
			}
		}
	}
}

func testBounds(t *testing.T, b backend.Backend) {
	for _, k := range []string{"", "/" + strings.Repeat("k", backend.MaxKey), "/a\x00", "/a\n", "/ä", "/\x7f"} {
		_, err := b.Apply(t.Context(), op(backend.OpPut, k, "", 0))
		want(t, err, fault.Invalid)
		_, err = b.Get(t.Context(), k)
		want(t, err, fault.Invalid)
	}
	long, big := "/"+strings.Repeat("k", backend.MaxKey-1), strings.Repeat("v", backend.MaxValue)
	put(t, b, long, big)
	if value(t, b, long) != big {
		t.Error("the largest value did not come back")
	}
	_, err := b.Apply(t.Context(), op(backend.OpPut, "/a", big+"v", 0))
	want(t, err, fault.Invalid)
}

func testCopies(t *testing.T, b backend.Backend) {
	v := []byte("abc")
	apply(t, b, backend.Op{Item: backend.Item{Key: "/a", Value: v}})
	v[0] = 'X'
	it, err := b.Get(t.Context(), "/a")
	if err != nil || string(it.Value) != "abc" {
		t.Fatalf("the store kept the writer's slice: %q, %v", it.Value, err)
	}
	it.Value[0] = 'Y'
	if got := value(t, b, "/a"); got != "abc" {
		t.Fatalf("the store gave out its own slice: %q", got)
	}
}

func testExpiry(t *testing.T, b backend.Backend) {
	ctx := t.Context()
	soon := time.Now().Add(time.Minute)
	rev := apply(t, b, backend.Op{Item: backend.Item{Key: "/a", Expires: soon}})
	put(t, b, "/b", "")
	time.Sleep(time.Minute - time.Millisecond)
	value(t, b, "/a")
	time.Sleep(time.Millisecond)
	_, err := b.Get(ctx, "/a")
	want(t, err, fault.NotFound)
	if got, err := b.Range(ctx, "", "", 0); err != nil || keys(got) != "/b" {
		t.Fatalf("Range = %q, %v; want the live item", keys(got), err)
	}
	_, err = b.Apply(ctx, op(backend.OpSwap, "/a", "", rev))
	want(t, err, fault.Conflict)
	_, err = b.Apply(ctx, op(backend.OpDeleteIf, "/a", "", rev))
	want(t, err, fault.Conflict)
	apply(t, b, op(backend.OpCreate, "/a", "again", 0))
	time.Sleep(time.Hour)
	value(t, b, "/a") // no expiry of its own
	apply(t, b, backend.Op{Item: backend.Item{Key: "/a", Expires: time.Now().Add(-time.Hour)}})
	_, err = b.Get(ctx, "/a")
	want(t, err, fault.NotFound)
}

func testSweep(t *testing.T, b backend.Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- b.Serve(ctx) }()
	w := watch(t, b, 0)
	apply(t, b, backend.Op{Item: backend.Item{Key: "/a", Expires: time.Now().Add(time.Minute)}},
		backend.Op{Item: backend.Item{Key: "/renewed", Expires: time.Now().Add(time.Minute)}})
	collect(t, w, 2)
	time.Sleep(30 * time.Second)
	apply(t, b, backend.Op{Item: backend.Item{Key: "/renewed", Expires: time.Now().Add(time.Hour)}})
	collect(t, w, 1)
	time.Sleep(35 * time.Second)
	if got := collect(t, w, 1); got[0].Key != "/a" || !got[0].Deleted || got[0].Value != nil {
		t.Fatalf("the sweep gave %+v, want the deletion of /a", got)
	}
	value(t, b, "/renewed")
	cancel()
	if err := <-served; err != nil {
		t.Fatalf("Serve: %v", err)
	}
}

func testClose(t *testing.T, b backend.Backend) {
	ctx := t.Context()
	put(t, b, "/a", "")
	w := watch(t, b, 0)
	ended := make(chan error, 1)
	go func() { _, err := w.Next(ctx); ended <- err }()
	synctest.Wait()
	closeIt(t, b)
	want(t, <-ended, fault.Unavailable)
	closeIt(t, b) // twice is once
	_, err := b.Get(ctx, "/a")
	want(t, err, fault.Unavailable)
	_, err = b.Range(ctx, "", "", 0)
	want(t, err, fault.Unavailable)
	_, err = b.Apply(ctx, op(backend.OpPut, "/a", "", 0))
	want(t, err, fault.Unavailable)
	_, err = b.Watch(ctx, 0)
	want(t, err, fault.Unavailable)
	_, err = b.Revision(ctx)
	want(t, err, fault.Unavailable)
}

func testCanceled(t *testing.T, b backend.Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Apply(ctx, op(backend.OpPut, "/a", "", 0))
	want(t, err, fault.Canceled)
	_, err = b.Get(ctx, "/a")
	want(t, err, fault.Canceled)
	_, err = b.Range(ctx, "", "", 0)
	want(t, err, fault.Canceled)
	_, err = b.Get(t.Context(), "/a")
	want(t, err, fault.NotFound)
}

// testCounters has writers increment counters by compare-and-swap: a lost
// update, a revision given twice or a watch out of order shows.
func testCounters(t *testing.T, b backend.Backend) {
	const writers, rounds, counters = 8, 25, 3
	for i := range counters {
		put(t, b, fmt.Sprintf("/n/%d", i), "")
	}
	var mu sync.Mutex
	seen := map[backend.Revision]bool{}
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			for i := range rounds {
				rev, err := increment(t.Context(), b, fmt.Sprintf("/n/%d", (n+i)%counters))
				if err != nil {
					t.Errorf("increment: %v", err)
					return
				}
				mu.Lock()
				if seen[rev] {
					t.Errorf("revision %d given twice", rev)
				}
				seen[rev] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	total := 0
	for i := range counters {
		total += len(value(t, b, fmt.Sprintf("/n/%d", i)))
	}
	if total != writers*rounds {
		t.Errorf("%d increments survived of %d", total, writers*rounds)
	}
}

// increment makes the value one byte longer.
func increment(ctx context.Context, b backend.Backend, key string) (backend.Revision, error) {
	for {
		it, err := b.Get(ctx, key)
		if err != nil {
			return 0, err
		}
		rev, err := b.Apply(ctx, op(backend.OpSwap, key, string(it.Value)+"x", it.Revision))
		if !errors.Is(err, fault.Conflict) {
			return rev, err
		}
	}
}

func testCreates(t *testing.T, b backend.Backend) {
	const writers = 16
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for n := range writers {
		wg.Go(func() { _, errs[n] = b.Apply(t.Context(), op(backend.OpCreate, "/one", fmt.Sprint(n), 0)) })
	}
	wg.Wait()
	winner := ""
	for n, err := range errs {
		switch {
		case err == nil && winner != "":
			t.Errorf("both %s and %d created the key", winner, n)
		case err == nil:
			winner = fmt.Sprint(n)
		default:
			want(t, err, fault.AlreadyExists)
		}
	}
	if got := value(t, b, "/one"); got != winner {
		t.Errorf("value %q, want the winner's %q", got, winner)
	}
}

package backendtest

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"teleport/backend"
	"teleport/fault"
)

func watch(t *testing.T, b backend.Backend, after backend.Revision, prefixes ...string) backend.Watcher {
	t.Helper()
	w, err := b.Watch(t.Context(), after, prefixes...)
	if err != nil {
		t.Fatalf("Watch: %v", err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// collect reads n changes, heartbeats left out, and checks their order.
func collect(t *testing.T, w backend.Watcher, n int) []backend.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	var got []backend.Change
	var last backend.Revision
	for len(got) < n {
		batch, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("Next after %d of %d changes: %v", len(got), n, err)
		}
		if len(batch) == 0 {
			t.Fatal("an empty batch")
		}
		for _, c := range batch {
			if c.Revision < last {
				t.Fatalf("revision %d after %d", c.Revision, last)
			}
			last = c.Revision
			if c.Key != "" {
				got = append(got, c)
			}
		}
	}
	if len(got) > n {
		t.Fatalf("%d changes, want %d: %+v", len(got), n, got)
	}
	return got
}

func testWatchOrder(t *testing.T, b backend.Backend) {
	w := watch(t, b, 0, "/a/", "/c/")
	for i := range 20 {
		put(t, b, fmt.Sprintf("/a/%d", i), fmt.Sprint(i))
		put(t, b, fmt.Sprintf("/b/%d", i), "other")
	}
	expires := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	apply(t, b, backend.Op{Item: backend.Item{Key: "/c/x", Expires: expires}})
	apply(t, b, op(backend.OpDelete, "/a/3", "", 0), op(backend.OpDelete, "/a/none", "", 0))
	got := collect(t, w, 22)
	for i, c := range got[:20] {
		if c.Key != fmt.Sprintf("/a/%d", i) || string(c.Value) != fmt.Sprint(i) || c.Deleted {
			t.Fatalf("change %d is %+v", i, c)
		}
	}
	if c := got[20]; c.Key != "/c/x" || !c.Expires.Equal(expires) || c.Value == nil {
		t.Fatalf("change with expiry is %+v", c)
	}
	if c := got[21]; c.Key != "/a/3" || !c.Deleted || c.Value != nil {
		t.Fatalf("deletion is %+v", c)
	}
}

func testWatchNow(t *testing.T, b backend.Backend) {
	put(t, b, "/before", "")
	w := watch(t, b, 0)
	put(t, b, "/after", "")
	if got := collect(t, w, 1); got[0].Key != "/after" {
		t.Fatalf("a watch from now on saw %+v", got)
	}
}

func testWatchResume(t *testing.T, b backend.Backend) {
	put(t, b, "/a", "1")
	mid := put(t, b, "/b", "1")
	put(t, b, "/c", "1")
	put(t, b, "/d", "1")
	w := watch(t, b, mid)
	put(t, b, "/e", "1")
	got := collect(t, w, 3)
	if got[0].Key != "/c" || got[1].Key != "/d" || got[2].Key != "/e" {
		t.Fatalf("resumed after %d: %+v", mid, got)
	}
	w = watch(t, b, got[1].Revision)
	if got := collect(t, w, 1); got[0].Key != "/e" {
		t.Fatalf("resumed again: %+v", got)
	}
	future := watch(t, b, got[2].Revision+100)
	_, err := future.Next(t.Context())
	want(t, err, fault.Conflict)
}

func testWatchHeartbeat(t *testing.T, b backend.Backend) {
	w := watch(t, b, 0, "/mine/")
	rev := put(t, b, "/other", "")
	got, err := w.Next(t.Context())
	if err != nil || len(got) != 1 || got[0].Key != "" || got[0].Revision != rev {
		t.Fatalf("Next = %+v, %v; want a heartbeat at %d", got, err, rev)
	}
}

func testWatchContexts(t *testing.T, b backend.Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	w, err := b.Watch(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	short, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	_, err = w.Next(short)
	want(t, err, fault.Timeout)
	put(t, b, "/a", "")
	collect(t, w, 1) // the end of Next's context did not end the watch

	ended := make(chan error, 1)
	go func() { _, err := w.Next(t.Context()); ended <- err }()
	synctest.Wait()
	cancel()
	want(t, <-ended, fault.Canceled)

	w = watch(t, b, 0)
	go func() { _, err := w.Next(t.Context()); ended <- err }()
	synctest.Wait()
	w.Close()
	want(t, <-ended, fault.Canceled)
}

// churn makes and deletes keys until far beyond what is retained.
func churn(t *testing.T, b backend.Backend) {
	t.Helper()
	for i := range 4 * Retain {
		k := fmt.Sprintf("/churn/%d", i)
		put(t, b, k, "")
		apply(t, b, op(backend.OpDelete, k, "", 0))
	}
}

func testWatchGone(t *testing.T, b backend.Backend) {
	rev := put(t, b, "/a", "")
	churn(t, b)
	_, err := watch(t, b, rev).Next(t.Context())
	want(t, err, fault.Conflict)
}

func testWatchSlow(t *testing.T, b backend.Backend) {
	w := watch(t, b, 0)
	put(t, b, "/a", "")
	collect(t, w, 1)
	churn(t, b)
	_, err := w.Next(t.Context())
	want(t, err, fault.Limit)
}

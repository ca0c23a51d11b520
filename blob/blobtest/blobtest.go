// Package blobtest is the conformance suite of blob drivers. A driver's test
// calls Test with a constructor.
package blobtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"teleport/blob"
	"teleport/fault"
)

// Large is the size of an object that drivers are to store in several parts.
const Large = 18 << 20

// Test runs the suite. open returns an empty store.
func Test(t *testing.T, open func(t *testing.T) blob.Store) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s blob.Store)
	}{
		{"put and get", testPutGet},
		{"ranges", testRanges},
		{"missing", testMissing},
		{"replace", testReplace},
		{"wrong size", testWrongSize},
		{"bad keys", testBadKeys},
		{"list", testList},
		{"delete", testDelete},
		{"large", testLarge},
		{"canceled", testCanceled},
		{"concurrent", testConcurrent},
		{"url", testURL},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

func put(t *testing.T, s blob.Store, key string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func get(t *testing.T, s blob.Store, key string, offset, length int64) []byte {
	t.Helper()
	r, err := s.Get(t.Context(), key, offset, length)
	if err != nil {
		t.Fatalf("get %s from %d: %v", key, offset, err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return b
}

func testPutGet(t *testing.T, s blob.Store) {
	for _, data := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("abc"), 1000)} {
		put(t, s, "a/b.rec", data)
		if got := get(t, s, "a/b.rec", 0, -1); !bytes.Equal(got, data) {
			t.Errorf("%d bytes came back as %d", len(data), len(got))
		}
		info, err := s.Stat(t.Context(), "a/b.rec")
		if err != nil || info.Size != int64(len(data)) || info.Key != "a/b.rec" || info.Modified.IsZero() {
			t.Errorf("stat: %+v, %v", info, err)
		}
	}
}

func testRanges(t *testing.T, s blob.Store) {
	put(t, s, "r", []byte("0123456789"))
	for _, c := range []struct {
		offset, length int64
		want           string
	}{{0, 3, "012"}, {3, 4, "3456"}, {8, 10, "89"}, {10, 5, ""}, {10, -1, ""}, {4, -1, "456789"}, {4, 0, ""}, {0, 10, "0123456789"}} {
		if got := get(t, s, "r", c.offset, c.length); string(got) != c.want {
			t.Errorf("from %d, %d bytes: %q, want %q", c.offset, c.length, got, c.want)
		}
	}
	for _, offset := range []int64{11, -1, 1 << 50} {
		if _, err := s.Get(t.Context(), "r", offset, 1); !errors.Is(err, fault.Invalid) {
			t.Errorf("from %d: %v, want invalid", offset, err)
		}
	}
}

func testMissing(t *testing.T, s blob.Store) {
	put(t, s, "dir/there", []byte("x"))
	for _, key := range []string{"none", "dir", "dir/none", "dir/there/below"} {
		if _, err := s.Get(t.Context(), key, 0, -1); !errors.Is(err, fault.NotFound) {
			t.Errorf("get %s: %v", key, err)
		}
		if _, err := s.Stat(t.Context(), key); !errors.Is(err, fault.NotFound) {
			t.Errorf("stat %s: %v", key, err)
		}
	}
}

func testReplace(t *testing.T, s blob.Store) {
	put(t, s, "k", []byte("a long first value"))
	put(t, s, "k", []byte("second"))
	if got := get(t, s, "k", 0, -1); string(got) != "second" {
		t.Errorf("got %q", got)
	}
}

func testWrongSize(t *testing.T, s blob.Store) {
	put(t, s, "k", []byte("before"))
	for _, size := range []int64{-1, 3, 9} {
		if err := s.Put(t.Context(), "k", strings.NewReader("after"), size); !errors.Is(err, fault.Invalid) {
			t.Errorf("five bytes as %d: %v, want invalid", size, err)
		}
	}
	if got := get(t, s, "k", 0, -1); string(got) != "before" {
		t.Errorf("a put that failed left %q", got)
	}
}

func testBadKeys(t *testing.T, s blob.Store) {
	for _, key := range []string{"", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", ".hidden", "a/.b", "a b", "a\\b", "a\x00", "é",
		strings.Repeat("a", blob.MaxName+1), strings.Repeat("a/", blob.MaxKey)} {
		if err := s.Put(t.Context(), key, strings.NewReader("x"), 1); !errors.Is(err, fault.Invalid) {
			t.Errorf("put %q: %v", key, err)
		}
		if _, err := s.Get(t.Context(), key, 0, -1); !errors.Is(err, fault.Invalid) {
			t.Errorf("get %q: %v", key, err)
		}
		if err := s.Delete(t.Context(), key); !errors.Is(err, fault.Invalid) {
			t.Errorf("delete %q: %v", key, err)
		}
	}
	if _, err := s.List(t.Context(), "../", "", 0); !errors.Is(err, fault.Invalid) {
		t.Errorf("list: %v", err)
	}
}

func testList(t *testing.T, s blob.Store) {
	var want []string
	for i := range 25 {
		want = append(want, fmt.Sprintf("list/%02d/x", i))
		put(t, s, want[i], []byte("x"))
	}
	put(t, s, "list-b", []byte("x"))
	put(t, s, "other", []byte("x"))
	for _, c := range []struct {
		prefix string
		limit  int
		want   []string
	}{{"list/", 7, want}, {"list/", 0, want}, {"list/1", 3, want[10:20]}, {"list/07/", 1, want[7:8]},
		{"", 4, append(append([]string{"list-b"}, want...), "other")}, {"none", 0, nil}} {
		var got []string
		for after := ""; ; {
			page, err := s.List(t.Context(), c.prefix, after, c.limit)
			if err != nil {
				t.Fatalf("list %q: %v", c.prefix, err)
			}
			if len(page) == 0 {
				break
			}
			if c.limit > 0 && len(page) > c.limit {
				t.Fatalf("a page of %d has %d", c.limit, len(page))
			}
			for _, i := range page {
				if i.Size != 1 {
					t.Errorf("%s has the size %d", i.Key, i.Size)
				}
				got = append(got, i.Key)
			}
			after = page[len(page)-1].Key
		}
		if strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("list %q:\n got %v\nwant %v", c.prefix, got, c.want)
		}
	}
}

func testDelete(t *testing.T, s blob.Store) {
	put(t, s, "d/a", []byte("x"))
	put(t, s, "d/b", []byte("x"))
	for range 2 {
		if err := s.Delete(t.Context(), "d/a"); err != nil {
			t.Fatalf("delete: %v", err)
		}
	}
	if _, err := s.Stat(t.Context(), "d/a"); !errors.Is(err, fault.NotFound) {
		t.Errorf("it is still there: %v", err)
	}
	if got := get(t, s, "d/b", 0, -1); string(got) != "x" {
		t.Errorf("its neighbour is %q", got)
	}
}

func testLarge(t *testing.T, s blob.Store) {
	data := make([]byte, Large)
	_, _ = rand.Read(data)
	put(t, s, "large", data)
	if got := get(t, s, "large", 0, -1); !bytes.Equal(got, data) {
		t.Errorf("it came back another")
	}
	if got := get(t, s, "large", Large-100, 50); !bytes.Equal(got, data[Large-100:Large-50]) {
		t.Errorf("its end came back another")
	}
}

func testCanceled(t *testing.T, s blob.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, "c", strings.NewReader("x"), 1); !errors.Is(err, fault.Canceled) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.Stat(t.Context(), "c"); !errors.Is(err, fault.NotFound) {
		t.Errorf("a canceled put left something: %v", err)
	}
	if _, err := s.List(ctx, "", "", 0); !errors.Is(err, fault.Canceled) {
		t.Errorf("list: %v", err)
	}
}

func testConcurrent(t *testing.T, s blob.Store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			data := bytes.Repeat([]byte{byte('a' + i)}, 10000)
			for range 5 {
				if err := s.Put(t.Context(), "same", bytes.NewReader(data), int64(len(data))); err != nil {
					t.Errorf("put: %v", err)
				}
			}
		})
	}
	wg.Wait()
	got := get(t, s, "same", 0, -1)
	if len(got) != 10000 || !bytes.Equal(got, bytes.Repeat(got[:1], 10000)) {
		t.Errorf("two objects were mixed")
	}
}

func testURL(t *testing.T, s blob.Store) {
	if u := s.URL("a/b.rec"); !strings.HasSuffix(u, "a/b.rec") || !strings.Contains(u, "://") {
		t.Errorf("url %q", u)
	}
}

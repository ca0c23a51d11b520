package authapi_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"teleport/blob"
)

// watchedBlobs is a storage that tells what was put into it, and how much of each
// object was read.
type watchedBlobs struct {
	blob.Store
	mu      sync.Mutex
	keys    []string // in the order in which they were put
	read    map[string]int64
	changed chan struct{}
}

func (b *watchedBlobs) Put(ctx context.Context, key string, r io.ReadSeeker, size int64) error {
	if err := b.Store.Put(ctx, key, r, size); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys = append(b.keys, key)
	close(b.changed)
	b.changed = make(chan struct{})
	return nil
}

func (b *watchedBlobs) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	body, err := b.Store.Get(ctx, key, offset, length)
	if err != nil {
		return nil, err
	}
	return &watchedBody{body, b, key}, nil
}

type watchedBody struct {
	io.ReadCloser
	b   *watchedBlobs
	key string
}

func (w *watchedBody) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	w.b.read[w.key] += int64(n)
	return n, err
}

// wait blocks until there is an object whose key ends so, and returns its key.
func (b *watchedBlobs) wait(t *testing.T, suffix string) string {
	t.Helper()
	for {
		b.mu.Lock()
		changed := b.changed
		for _, k := range b.keys {
			if strings.HasSuffix(k, suffix) {
				b.mu.Unlock()
				return k
			}
		}
		b.mu.Unlock()
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("nothing that ends in %s was stored", suffix)
		}
	}
}

// readOf returns how many bytes of an object were read since it was last asked.
func (b *watchedBlobs) readOf(key string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.read[key]
	delete(b.read, key)
	return n
}

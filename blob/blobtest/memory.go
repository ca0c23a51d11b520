package blobtest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"teleport/blob"
	"teleport/fault"
)

// Memory is a Store in memory, for tests of what stands on one. Fail and Corrupt
// make its bad days. Safe for concurrent use.
type Memory struct {
	mu      sync.Mutex
	objects map[string][]byte
	fail    error
	puts    int
}

var _ blob.Store = (*Memory)(nil)

// NewMemory returns an empty one.
func NewMemory() *Memory { return &Memory{objects: map[string][]byte{}} }

// Fail makes everything return err; nil ends that.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

// Corrupt changes one byte of an object.
func (m *Memory) Corrupt(key string, offset int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[key][offset] ^= 0x20
}

// Puts counts the calls of Put that were taken.
func (m *Memory) Puts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.puts
}

func (m *Memory) ready(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap(err, fault.Canceled, "canceled")
	}
	return errors.Join(m.fail, blob.CheckKey(key))
}

// Put implements blob.Store.
func (m *Memory) Put(ctx context.Context, key string, r io.ReadSeeker, size int64) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx, key); err != nil {
		return err
	}
	if int64(len(data)) != size {
		return fault.New(fault.Invalid, "an object of %d bytes was announced with %d", len(data), size)
	}
	m.objects[key] = data
	m.puts++
	return nil
}

// Get implements blob.Store.
func (m *Memory) Get(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx, key); err != nil {
		return nil, err
	}
	data, ok := m.objects[key]
	switch {
	case !ok:
		return nil, fault.New(fault.NotFound, "there is no such object")
	case offset < 0 || offset > int64(len(data)):
		return nil, fault.New(fault.Invalid, "the object has %d bytes", len(data))
	}
	data = data[offset:]
	if length >= 0 {
		data = data[:min(length, int64(len(data)))]
	}
	return io.NopCloser(bytes.NewReader(bytes.Clone(data))), nil
}

// Stat implements blob.Store.
func (m *Memory) Stat(ctx context.Context, key string) (blob.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx, key); err != nil {
		return blob.Info{}, err
	}
	data, ok := m.objects[key]
	if !ok {
		return blob.Info{}, fault.New(fault.NotFound, "there is no such object")
	}
	return blob.Info{Key: key, Size: int64(len(data)), Modified: time.Now()}, nil
}

// List implements blob.Store.
func (m *Memory) List(ctx context.Context, prefix, after string, limit int) ([]blob.Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx, "any"); err != nil {
		return nil, err
	}
	if err := blob.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	var out []blob.Info
	for key, data := range m.objects {
		if strings.HasPrefix(key, prefix) && key > after {
			out = append(out, blob.Info{Key: key, Size: int64(len(data)), Modified: time.Now()})
		}
	}
	slices.SortFunc(out, func(a, b blob.Info) int { return cmp.Compare(a.Key, b.Key) })
	if limit <= 0 || limit > blob.MaxPage {
		limit = blob.MaxPage
	}
	return out[:min(len(out), limit)], nil
}

// Delete implements blob.Store.
func (m *Memory) Delete(ctx context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx, key); err != nil {
		return err
	}
	delete(m.objects, key)
	return nil
}

// URL implements blob.Store.
func (m *Memory) URL(key string) string { return "mem://memory/" + key }

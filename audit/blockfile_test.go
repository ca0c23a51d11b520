package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"teleport/audit/chain"
)

func FuzzBlockFile(f *testing.F) {
	dir := f.TempDir()
	l := openLog(f, dir)
	w := newFakeWriter(hostA, 1)
	ingestOK(f, l, w.batch(f, exec("alice", "one")))
	if _, err := l.Checkpoint(f.Context()); err != nil {
		f.Fatal(err)
	}
	ingestOK(f, l, w.batch(f, exec("alice", "two")))
	seed, err := os.ReadFile(blockPath(dir, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer closeOK(t, file)
		var at int64
		good, torn, err := scanFile(file, true, func(e entry) error {
			body, err := e.readBody(file)
			if err != nil || e.offset != at {
				t.Fatalf("entry at %d: %v", e.offset, err)
			}
			again := appendEntry(nil, e.kind, e.header, body)
			if !bytes.Equal(again, b[e.offset:e.end()]) {
				t.Fatal("an entry has two forms")
			}
			at = e.end()
			if e.kind == kindBlock {
				if raw, err := l.dec.DecodeAll(body, nil); err == nil {
					_, _ = chain.DecodeBlock(raw) // must not panic
				}
			}
			return nil
		})
		if err != nil || good != at || torn != (good != int64(len(b))) {
			t.Fatalf("good %d of %d, torn %v, %v", good, len(b), torn, err)
		}
	})
}

package audit

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"teleport/audit/chain"
	"teleport/fault"
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
		if errors.Is(err, errDamaged) {
			if behind, berr := entryBehind(file, good, int64(len(b))); berr != nil || !behind || torn {
				t.Fatalf("damaged at %d, behind %v, %v, torn %v", good, behind, berr, torn)
			}
			return
		}
		if err != nil || good != at || torn != (good != int64(len(b))) {
			t.Fatalf("good %d of %d, torn %v, %v", good, len(b), torn, err)
		}
	})
}

// Only what lies behind the last whole entry can be a crash's doing. Bytes in the
// middle of the last file were synced and acknowledged: their loss is damage.
func TestDamageInTheLastFile(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	w := newFakeWriter(hostA, 1)
	path := blockPath(dir, 1)
	var ends []int64
	for _, what := range []string{"one", "two", "three"} {
		ingestOK(t, l, w.batch(t, exec("alice", what)))
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, st.Size())
	}
	closeOK(t, l)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change  func(b []byte) []byte
		refused bool
		keeps   int64
	}{
		"a byte of the first body":      {func(b []byte) []byte { b[ends[0]-1] ^= 1; return b }, true, 0},
		"a byte of the second header":   {func(b []byte) []byte { b[ends[0]+entryHead] ^= 1; return b }, true, 0},
		"the second entry's lengths":    {func(b []byte) []byte { copy(b[ends[0]:], bytes.Repeat([]byte{0xff}, entryHead)); return b }, true, 0},
		"the second entry's size grows": {func(b []byte) []byte { b[ends[0]+6] = 1; return b }, true, 0},
		"zeros in the middle":           {func(b []byte) []byte { clear(b[ends[0]:ends[1]]); return b }, true, 0},
		"half of the last":              {func(b []byte) []byte { return b[:ends[2]-9] }, false, ends[1]},
		"zeros for the last":            {func(b []byte) []byte { clear(b[ends[1]:]); return b }, false, ends[1]},
		"rubbish behind":                {func(b []byte) []byte { return append(b, "BCBC rubbish"...) }, false, ends[2]},
		"zeros behind":                  {func(b []byte) []byte { return append(b, make([]byte, 4096)...) }, false, ends[2]},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			at := blockPath(dir, 1)
			if err := os.WriteFile(at, c.change(bytes.Clone(whole)), 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := OpenLog(LogOptions{Dir: dir, Cluster: "test", Signer: testKey()})
			if c.refused {
				if !errors.Is(err, fault.Untrusted) {
					t.Fatalf("opened: %v", err)
				}
				if torn, _ := filepath.Glob(at + ".torn*"); len(torn) > 0 {
					t.Errorf("cut as if torn: %v", torn)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			closeOK(t, l)
			if st, err := os.Stat(at); err != nil || st.Size() != c.keeps {
				t.Errorf("%d bytes are left of %d, %v", st.Size(), c.keeps, err)
			}
		})
	}
}

// A second crash must not overwrite what the first one left.
func TestTornTailsAreAllKept(t *testing.T) {
	dir := t.TempDir()
	closeOK(t, openLog(t, dir))
	path := blockPath(dir, 1)
	for _, tail := range []string{"first", "second", "third"} {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(tail); err != nil {
			t.Fatal(err)
		}
		closeOK(t, f)
		closeOK(t, openLog(t, dir))
	}
	for name, want := range map[string]string{".torn": "first", ".torn.2": "second", ".torn.3": "third"} {
		if got, err := os.ReadFile(path + name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

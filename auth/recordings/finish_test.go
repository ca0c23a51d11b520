package recordings_test

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"teleport/fault"
)

// TestFinish: the last bytes of a recording, which may be the only ones, have it
// stored, and may come again.
func TestFinish(t *testing.T) {
	w := newWorld(t)
	for name, from := range map[string]int{"all at once": 0, "behind others": 2, "the end alone": 3} {
		m := w.record("alice", time.Now(), "one", "two")
		at := m.marks[from]
		w.send(m, 0, at, 1<<20)
		for range 2 {
			if held, err := w.s.Finish(t.Context(), host, m.id, uint64(at), m.data[at:]); err != nil || held != uint64(len(m.data)) {
				t.Errorf("%s: %d, %v", name, held, err)
			}
		}
		if got := w.bytes(m.id); !bytes.Equal(got, m.data) {
			t.Errorf("%s: %d bytes are stored of %d", name, len(got), len(m.data))
		}
	}
	if entries, err := os.ReadDir(w.dir); err != nil || len(entries) != 0 {
		t.Errorf("left in the staging directory: %v, %v", entries, err)
	}
	if n := len(w.uploads()); n != 3 {
		t.Errorf("%d uploads of three recordings", n)
	}
}

// TestFinishWithoutAnEnd: what is not whole is not stored.
func TestFinishWithoutAnEnd(t *testing.T) {
	w := newWorld(t)
	m := w.record("alice", time.Now(), "one", "two")
	if _, err := w.s.Finish(t.Context(), host, m.id, 0, m.data[:m.marks[2]]); !errors.Is(err, fault.Invalid) {
		t.Errorf("without its end: %v", err)
	}
	if _, err := w.s.Finish(t.Context(), host, m.id, uint64(m.marks[3]), m.data[m.marks[3]:]); !errors.Is(err, fault.Conflict) {
		t.Errorf("behind a hole: %v", err)
	}
	if held, stored, err := w.s.Held(t.Context(), host, m.id); err != nil || stored || held != uint64(m.marks[2]) || w.s.Unsettled(m.id) {
		t.Errorf("held: %d %v %v, unsettled: %v", held, stored, err, w.s.Unsettled(m.id))
	}
	bad := bytes.Clone(m.data)
	bad[len(bad)-1] ^= 1
	if _, err := w.s.Finish(t.Context(), host, m.id, 0, bad); !errors.Is(err, fault.Untrusted) {
		t.Errorf("damaged: %v", err)
	}
	if _, err := w.s.Finish(t.Context(), "22222222-2222-4222-8222-222222222222", m.id, 0, m.data); !errors.Is(err, fault.Denied) {
		t.Errorf("another's: %v", err)
	}
	if w.blobs.Puts() != 0 || len(w.uploads()) != 0 {
		t.Errorf("%d objects, %d uploads", w.blobs.Puts(), len(w.uploads()))
	}
}

// TestFinishWhileTheStorageIsAway: what came with the call is as safe then as what
// was appended, over a restart too.
func TestFinishWhileTheStorageIsAway(t *testing.T) {
	w := newWorld(t)
	w.blobs.Fail(fault.New(fault.Unavailable, "away"))
	m := w.record("alice", time.Now(), "one", "two")
	if _, err := w.s.Finish(t.Context(), host, m.id, 0, m.data); !errors.Is(err, fault.Unavailable) {
		t.Fatalf("finish: %v", err)
	}
	if w.s.Unsettled(m.id) {
		t.Error("a loss of power would take what is held")
	}
	w.restart()
	if held, stored, err := w.s.Held(t.Context(), host, m.id); err != nil || stored || held != uint64(len(m.data)) {
		t.Fatalf("held: %d %v %v", held, stored, err)
	}
	w.blobs.Fail(nil)
	must(t, w.complete(m))
	if got := w.bytes(m.id); !bytes.Equal(got, m.data) {
		t.Errorf("%d bytes are stored of %d", len(got), len(m.data))
	}
}

package audit

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/audit/chain"
)

// hauler takes batches from a writer's spool as a shipper does, and checks them.
type hauler struct {
	t          *testing.T
	w          *Writer
	s          spool
	head       chain.Hash
	last       uint64
	fromMemory int
	fails      func() bool // a batch does not arrive
}

func newHauler(t *testing.T, w *Writer) *hauler {
	g := chain.Genesis(w.id)
	return &hauler{t: t, w: w, s: spool{dir: w.dir, id: w.id, head: g}, head: g, fails: func() bool { return false }}
}

// haul takes what there is up to a sequence.
func (h *hauler) haul(limit uint64) {
	h.t.Helper()
	for h.last < limit {
		if len(h.s.ahead) == 0 {
			h.w.lend(&h.s)
		}
		before := h.s
		b, err := h.s.batch(limit)
		if err != nil {
			h.t.Fatal(err)
		}
		if len(b.Records) == 0 {
			return
		}
		if len(before.ahead) > 0 {
			h.fromMemory++
		}
		if _, err := b.Check(); err != nil || b.First() != h.last+1 || b.Previous != h.head || b.Writer != h.w.id {
			h.t.Fatalf("%d to %d of %v after %d: %v", b.First(), b.Last(), b.Writer, h.last, err)
		}
		if h.fails() {
			h.s = before
			return
		}
		h.last, h.head = b.Last(), b.Head()
		if err := h.w.release(h.last); err != nil {
			h.t.Fatal(err)
		}
	}
}

// What is taken from memory is what the files have, however far behind who takes it
// is, and wherever the segments end.
func TestWhatIsTakenFromMemoryIsWhatWasWritten(t *testing.T) {
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWriter(t, t.TempDir(), hostA)
		w.o.SegmentSize = int64(1+r.IntN(40)) * (64 << 10)
		h := newHauler(t, w)
		h.fails = func() bool { return r.IntN(5) == 0 }
		for range 40 {
			for range r.IntN(12) {
				size := r.IntN(300)
				if r.IntN(20) == 0 {
					size = r.IntN(mostRecent + mostRecent/4)
				}
				emit(t, w, exec("alice", strings.Repeat("x", size)), exec("bob", "y"))
			}
			if r.IntN(3) > 0 {
				h.haul(w.committed.sequence - min(w.committed.sequence, r.Uint64N(3)))
			}
		}
		h.fails = func() bool { return false }
		h.haul(noLimit)
		if h.last != w.committed.sequence || h.head != w.head {
			t.Errorf("seed %d: %d of %d events were taken", seed, h.last, w.committed.sequence)
		}
		if h.fromMemory == 0 {
			t.Errorf("seed %d: nothing was taken from memory", seed)
		}
	}
}

// Who keeps up reads no file, and takes up again where the files were read last.
func TestWhoKeepsUpReadsNoFile(t *testing.T) {
	w := newWriter(t, t.TempDir(), hostA)
	h := newHauler(t, w)
	emit(t, w, exec("alice", "1"), exec("alice", "2"))
	h.haul(1)
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(w.dir, away); err != nil {
		t.Fatal(err)
	}
	h.haul(2)
	for range 3 {
		emit(t, w, exec("alice", "next"))
		h.fails = func() bool { return true }
		h.haul(w.committed.sequence)
		h.fails = func() bool { return false }
		h.haul(w.committed.sequence)
		if h.last != w.committed.sequence {
			t.Fatalf("%d of %d were taken", h.last, w.committed.sequence)
		}
	}
	if err := os.Rename(away, w.dir); err != nil {
		t.Fatal(err)
	}
}

// The memory of a writer whose events nobody takes is bounded.
func TestRecentIsBounded(t *testing.T) {
	w := newWriter(t, t.TempDir(), hostA)
	for range 40 {
		emit(t, w, exec("alice", strings.Repeat("x", 60<<10)), exec("alice", strings.Repeat("x", 600<<10)))
		if n := len(w.recent.frames); n > mostRecent || cap(w.recent.frames) > 2*mostRecent {
			t.Fatalf("%d bytes in %d", n, cap(w.recent.frames))
		}
	}
}

// A generation that takes over begins with nothing in memory.
func TestRecentIsOfOneGeneration(t *testing.T) {
	w := newWriter(t, t.TempDir(), hostA)
	emit(t, w, exec("alice", "1"), exec("alice", "2"))
	if _, err := w.renew(); err != nil {
		t.Fatal(err)
	}
	h := newHauler(t, w)
	h.s.seg, h.s.last = 1, 1 // where the old one's second event was
	if w.lend(&h.s); h.s.ahead != nil {
		t.Errorf("%d bytes of the old generation are lent", len(h.s.ahead))
	}
}

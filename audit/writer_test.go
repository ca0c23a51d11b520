package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types/event"
)

// readAll reads a spool to its end.
func readAll(dir string, limit uint64) (records []chain.Record, err error) {
	s := spool{dir: dir}
	for {
		b, err := s.batch(limit)
		if err != nil || len(b.Records) == 0 {
			return records, err
		}
		if _, err := b.Check(); err != nil {
			return records, err
		}
		records = append(records, b.Records...)
	}
}

func TestWriterChainsWhatItTakes(t *testing.T) {
	w := newWriter(t, spoolDir(t), hostA)
	e := exec("alice", "id")
	emit(t, w, e, exec("bob", "true"))
	if e.UID == "" || e.Time.IsZero() || e.Cluster != "test" || e.Type != event.TypeExec {
		t.Errorf("not filled: %+v", e.Meta)
	}
	got, err := readAll(w.dir, noLimit)
	if err != nil || len(got) != 2 || got[0].Sequence != 1 {
		t.Fatalf("%d records, %v", len(got), err)
	}
	if !strings.Contains(string(got[0].Event), `"command":"id"`) {
		t.Errorf("event: %s", got[0].Event)
	}
	for _, name := range []string{"lock", segmentName(1)} {
		st, err := os.Stat(filepath.Join(w.dir, name))
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

func TestWriterMarksForwardedEvents(t *testing.T) {
	w := newWriter(t, spoolDir(t), hostA)
	own, other := &event.SessionConnect{Server: event.Server{ServerID: hostA}}, &event.SessionConnect{Server: event.Server{ServerID: hostB}}
	emit(t, w, own, other)
	if own.ForwardedBy != "" || other.ForwardedBy != hostA {
		t.Errorf("forwarded by %q and %q", own.ForwardedBy, other.ForwardedBy)
	}
}

func TestConcurrentEmittersShareTheChain(t *testing.T) {
	w, err := NewWriter(WriterOptions{Dir: spoolDir(t), HostUUID: hostA, Cluster: "test", SegmentSize: 20_000})
	if err != nil {
		t.Fatal(err)
	}
	defer closeOK(t, w)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 50 {
				if err := w.Emit(context.Background(), exec("u", fmt.Sprint(i, " ", j))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := readAll(w.dir, noLimit)
	if err != nil || len(got) != 800 {
		t.Fatalf("%d records, %v", len(got), err)
	}
	if names, _ := segments(w.dir); len(names) < 3 {
		t.Errorf("only %d segments", len(names))
	}
}

// TestTornTail cuts the last segment at every byte: all records before the
// cut come back, none after, and nothing half.
func TestTornTail(t *testing.T) {
	w := newWriter(t, spoolDir(t), hostA)
	for i := range 4 {
		emit(t, w, exec("alice", fmt.Sprint("command ", i)))
	}
	whole, err := os.ReadFile(filepath.Join(w.dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	ends := recordEnds(t, w.dir)
	dir := t.TempDir()
	for cut := range len(whole) {
		if err := os.WriteFile(filepath.Join(dir, segmentName(1)), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, end := range ends[1:] {
			if int64(cut) >= end {
				want++
			}
		}
		got, err := readAll(dir, noLimit)
		if len(got) != want {
			t.Fatalf("cut at %d: %d records instead of %d", cut, len(got), want)
		}
		clean := int64(cut) == ends[want]
		if clean != (err == nil) || (!clean && !errors.Is(err, errTorn)) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
}

// recordEnds returns the offset behind the head and behind each record.
func recordEnds(t *testing.T, dir string) []int64 {
	t.Helper()
	r, err := openSegment(dir, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeSegment(t, r)
	ends := []int64{r.good}
	for {
		if _, err := r.next(); err != nil {
			return ends
		}
		ends = append(ends, r.good)
	}
}

func closeSegment(t *testing.T, r *segmentReader) {
	t.Helper()
	if err := r.close(); err != nil {
		t.Error(err)
	}
}

func TestDamagedRecordIsSeen(t *testing.T) {
	w := newWriter(t, spoolDir(t), hostA)
	emit(t, w, exec("alice", "one"), exec("alice", "two"), exec("alice", "three"))
	path := filepath.Join(w.dir, segmentName(1))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ends := recordEnds(t, w.dir)
	b[ends[2]-1] ^= 1 // in the second record
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readAll(w.dir, noLimit)
	if len(got) != 1 || !errors.Is(err, errDamaged) {
		t.Errorf("%d records, %v", len(got), err)
	}
}

func TestGenerationIsUsedOnce(t *testing.T) {
	dir := spoolDir(t)
	a := newWriter(t, dir, hostA)
	b := newWriter(t, dir, hostA)
	if a.ID().Generation != 1 || b.ID().Generation != 2 {
		t.Fatalf("generations %d and %d", a.ID().Generation, b.ID().Generation)
	}
	if _, err := NewWriter(WriterOptions{Dir: dir, HostUUID: hostA, Cluster: "test", Generation: 2}); !errors.Is(err, fault.AlreadyExists) {
		t.Errorf("used generation: %v", err)
	}
	closeOK(t, b)
	if _, err := os.Stat(b.dir); !os.IsNotExist(err) {
		t.Errorf("an empty spool stays: %v", err)
	}
	if c := newWriter(t, dir, hostA); c.ID().Generation != 3 {
		t.Errorf("generation %d again", c.ID().Generation)
	}
}

func TestQuotaRefusesAndLosesNothing(t *testing.T) {
	w, err := NewWriter(WriterOptions{Dir: spoolDir(t), HostUUID: hostA, Cluster: "test", Quota: 6000, SegmentSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer closeOK(t, w)
	var took uint64
	var refusal error
	for refusal == nil {
		if refusal = w.Emit(context.Background(), exec("alice", "x")); refusal == nil {
			took++
		}
	}
	if !errors.Is(refusal, fault.Limit) || fault.Hint(refusal) == "" {
		t.Errorf("refusal: %v", refusal)
	}
	if st := w.Stats(); st.Refused != 1 || st.Emitted != took || st.Bytes > 6000 {
		t.Errorf("stats: %+v", st)
	}
	if err := w.release(took); err != nil {
		t.Fatal(err)
	}
	emit(t, w, exec("alice", "after"))
	s := spool{dir: w.dir}
	var all []string
	for {
		b, err := s.batch(noLimit)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Records) == 0 {
			break
		}
		for _, r := range b.Records {
			all = append(all, string(r.Event))
		}
	}
	joined := strings.Join(all, "\n")
	if !strings.Contains(joined, event.TypeAuditLost) || !strings.Contains(joined, `"count":1`) || !strings.Contains(joined, "after") {
		t.Errorf("the refusal is not told: %s", joined)
	}
}

// brittleFile is a disk that fills up.
type brittleFile struct {
	segmentFile
	room       *int
	noTruncate bool
}

func (b *brittleFile) Write(p []byte) (int, error) {
	if len(p) <= *b.room {
		*b.room -= len(p)
		return b.segmentFile.Write(p)
	}
	n, _ := b.segmentFile.Write(p[:*b.room])
	*b.room = 0
	return n, unix.ENOSPC
}

func (b *brittleFile) Truncate(n int64) error {
	if b.noTruncate {
		return unix.EIO
	}
	return b.segmentFile.Truncate(n)
}

func TestFullDisk(t *testing.T) {
	for _, noTruncate := range []bool{false, true} {
		for room := range 3000 {
			if room%211 != 0 {
				continue
			}
			fullDisk(t, room, noTruncate)
		}
	}
}

func fullDisk(t *testing.T, room int, noTruncate bool) {
	w := newWriter(t, spoolDir(t), hostA)
	w.open = func(path string) (segmentFile, error) {
		f, err := openAppend(path)
		return &brittleFile{f, &room, noTruncate}, err
	}
	took := 0
	var err error
	for err == nil {
		if err = w.Emit(context.Background(), exec("alice", fmt.Sprint("took ", took))); err == nil {
			took++
		}
	}
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), "full") {
		t.Fatalf("full disk: %v", err)
	}
	room = 1 << 20
	emit(t, w, exec("alice", "space again"))
	got, err := readAll(w.dir, w.Stats().Emitted)
	if err != nil || len(got) != took+2 {
		t.Fatalf("room, no truncate %v: %d records instead of %d, %v", noTruncate, len(got), took+2, err)
	}
	if !strings.Contains(string(got[took].Event), `"reason":"disk_full"`) {
		t.Fatalf("the loss is not told: %s", got[took].Event)
	}
}

func TestEmitRefusals(t *testing.T) {
	w := newWriter(t, spoolDir(t), hostA)
	if err := w.Emit(context.Background(), &event.Exec{}); !errors.Is(err, fault.Invalid) {
		t.Errorf("no code: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Emit(ctx, exec("a", "b")); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	closeOK(t, w)
	if err := w.Emit(context.Background(), exec("a", "b")); !errors.Is(err, fault.Unavailable) {
		t.Errorf("closed: %v", err)
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := NewWriter(WriterOptions{Dir: filepath.Join(dir, "spool"), HostUUID: hostA, Cluster: "test"})
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("a file in the way: %v", err)
	}
}

func BenchmarkEmit(b *testing.B) {
	w := newWriter(b, b.TempDir(), hostA)
	w.o.Quota = 1 << 40
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := w.Emit(context.Background(), exec("alice", "uptime")); err != nil {
				b.Error(err)
			}
		}
	})
}

func FuzzSegment(f *testing.F) {
	w := newWriter(f, f.TempDir(), hostA)
	emit(f, w, exec("alice", "one"), exec("alice", "two"))
	seed, err := os.ReadFile(filepath.Join(w.dir, segmentName(1)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, segmentName(1)), b, 0o600); err != nil {
			t.Fatal(err)
		}
		s := spool{dir: dir}
		for {
			got, err := s.batch(noLimit)
			if err != nil || len(got.Records) == 0 {
				return
			}
			for i, r := range got.Records {
				if r.Sequence != got.First()+uint64(i) {
					t.Fatal("a hole in what was read")
				}
			}
		}
	})
}

// What is read back does not depend on how much was read at once, and what came with
// one batch stays as it is when the next is read.
func TestLongRecordsAreReadBack(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(t, dir, hostA)
	var want []string
	for i, size := range []int{10, slab / 2, slab - 300, slab, 10, 2*slab + 7, 1, 700 << 10, 700 << 10, 3} {
		text := strings.Repeat(string(rune('a'+i)), size)
		want = append(want, text)
		emit(t, w, exec("alice", text))
	}
	s := spool{dir: w.dir}
	var got []chain.Record
	batches := 0
	for {
		b, err := s.batch(noLimit)
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Records) == 0 {
			break
		}
		batches++
		got = append(got, b.Records...)
	}
	if len(got) != len(want) || batches < 2 {
		t.Fatalf("%d of %d records in %d batches", len(got), len(want), batches)
	}
	for i, r := range got {
		if !bytes.Contains(r.Event, []byte(`"command":"`+want[i]+`"`)) {
			t.Errorf("record %d of %d bytes is not what was emitted", i, len(r.Event))
		}
	}
}

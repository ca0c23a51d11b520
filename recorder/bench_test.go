package recorder

import (
	"fmt"
	"runtime"
	"testing"
)

// BenchmarkShow is bulk text through a recording, as a terminal gives it.
func BenchmarkShow(b *testing.B) {
	for _, size := range []int{4095, 32 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w := newWorld(&testing.T{})
			w.t = nil
			w.dir = b.TempDir()
			benchShow(b, w, size)
		})
	}
}

func benchShow(b *testing.B, w *world, size int) {
	s, err := NewSpool(SpoolOptions{Dir: w.dir, HostID: "host", Cluster: "c", Generation: 1, Upload: w.auth, Audit: w.events})
	if err != nil {
		b.Fatal(err)
	}
	p := &process{world: w, spool: s}
	if p.rec, err = NewSessions(SessionsOptions{Spool: s, Mode: func() string { return "node" }, Keys: func() ([]string, bool) { return w.keys, true }}); err != nil {
		b.Fatal(err)
	}
	r, err := p.rec.Start(b.Context(), Info{SessionID: sessionID(1), Kind: "ssh", Strict: true})
	if err != nil {
		b.Fatal(err)
	}
	text := []byte(lines(4000))
	at := 0
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if at+size > len(text) {
			at = 0
		}
		if err := r.Show(Output, text[at:at+size]); err != nil {
			b.Fatal(err)
		}
		at += size
	}
	b.StopTimer()
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
}

// Five hundred live recordings fit, and idle ones hold next to nothing.
func TestMemoryOfLiveRecordings(t *testing.T) {
	w := newWorld(t)
	p := w.start(false)
	before := heap()
	list := make([]Recording, 500)
	for i := range list {
		list[i] = p.begin(i, true)
		show(t, list[i], lines(50))
	}
	working := (heap() - before) / 500
	for _, r := range list {
		r.(*tape).rest()
	}
	idle := (heap() - before) / 500
	t.Logf("%d KiB each when used, %d KiB idle", working>>10, idle>>10)
	if working > 128<<10 || idle > 16<<10 {
		t.Errorf("a recording holds %d bytes when used and %d idle", working, idle)
	}
	for _, r := range list {
		closeIt(t, r)
	}
}

func heap() int64 {
	for range 3 {
		runtime.GC() // the pools let go after the second
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

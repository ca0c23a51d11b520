//go:build !race

package resume

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"
)

// TestMemoryOfAnIdleStream measures both ends of many idle streams together.
func TestMemoryOfAnIdleStream(t *testing.T) {
	bubble(t, measureIdle)
}

func measureIdle(t *testing.T, w *world) {
	const n = 200
	w.holder.o.PerUser = n
	o := w.options(certificate(t, "alice"))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var ends []net.Conn
	for i := range n {
		o.Subject.Stream = stream + string(rune('a'+i%26)) + string(rune('a'+i/26))
		near, far := net.Pipe()
		w.work.Go(func() {
			defer far.Close()
			s, a, err := w.holder.Open(far, o.Subject.Stream, "node/1", w.party)
			if err == nil {
				w.served <- s
				<-a.Done()
			}
		})
		c, err := NewClient(near, o)
		if err != nil {
			t.Fatal(err)
		}
		s := <-w.served
		go quietly(s, s)
		roundTrip(t, c, "hello")
		go quietly(io.Discard, c)
		ends = append(ends, c)
	}
	time.Sleep(tick + 200*time.Millisecond) // the acknowledgements
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := (after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse) / n
	t.Logf("%d KiB for both ends of an idle stream", per>>10)
	if per > 2*40<<10 {
		t.Errorf("%d bytes for both ends", per)
	}
	for _, c := range ends {
		c.Close()
	}
}

// quietly copies with a buffer that does not count.
func quietly(w io.Writer, r io.Reader) {
	b := make([]byte, 16)
	for {
		n, err := r.Read(b)
		if err != nil {
			return
		}
		_, _ = w.Write(b[:n])
	}
}

package mux

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestRing writes and reads in odd sizes, and compares with a plain buffer.
func TestRing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var r ring
	var want bytes.Buffer
	next := byte(0)
	for i := range 20_000 {
		b := make([]byte, random.IntN(1<<(1+i%14)))
		for k := range b {
			b[k] = next
			next++
		}
		if r.n+len(b) <= 4*Window {
			r.write(b)
			want.Write(b)
		}
		p, q := make([]byte, random.IntN(1<<(1+(i+3)%15))), make([]byte, 1<<16)
		n := r.read(p)
		m, _ := want.Read(q[:len(p)])
		if n != m || !bytes.Equal(p[:n], q[:m]) {
			t.Fatalf("step %d: %d bytes %.20x, want %d %.20x", i, n, p[:n], m, q[:m])
		}
		if r.n == 0 && i%3 == 0 {
			r.release()
			if len(r.buf) > keptRing {
				t.Fatalf("an empty ring holds %d bytes", len(r.buf))
			}
		}
	}
}

// TestARingMovesNothing has a full ring read and written a few bytes at a time:
// its buffer stays.
func TestARingMovesNothing(t *testing.T) {
	var r ring
	r.write(make([]byte, 4*Window))
	buf := &r.buf[0]
	for range 100_000 {
		r.read(make([]byte, 10))
		r.write(make([]byte, 10))
	}
	if &r.buf[0] != buf || len(r.buf) != 4*Window {
		t.Errorf("the buffer is another, of %d bytes", len(r.buf))
	}
}

package mux

import (
	"math/bits"
	"sync"
)

// ring holds bytes that wait for their reader. It moves none of them while it has
// room, however little is read or comes at a time. The zero value is empty.
type ring struct {
	buf   []byte
	start int // where the oldest byte is
	n     int // how many there are
}

// keptRing is the largest buffer that an empty ring keeps.
const keptRing = 1 << 10

// buffers are what rings hold while many bytes wait in them: of Window bytes, of
// twice that, and so on.
var buffers [8]sync.Pool

// class is which of buffers has n bytes at least.
func class(n int) int { return bits.Len(uint(n-1) / Window) }

func take(n int) []byte {
	k := class(n)
	if k >= len(buffers) {
		return make([]byte, n)
	}
	if b, ok := buffers[k].Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, Window<<k)
}

func giveBack(b []byte) {
	if k := class(len(b)); k < len(buffers) && len(b) == Window<<k {
		buffers[k].Put(&b)
	}
}

// write puts b behind what is there.
func (r *ring) write(b []byte) {
	if r.n+len(b) > len(r.buf) {
		r.grow(r.n + len(b))
	}
	end := r.start + r.n
	if end >= len(r.buf) {
		end -= len(r.buf)
	}
	first := copy(r.buf[end:], b)
	copy(r.buf, b[first:])
	r.n += len(b)
}

// read takes the oldest bytes.
func (r *ring) read(p []byte) int {
	want := min(len(p), r.n)
	first := copy(p[:want], r.buf[r.start:])
	copy(p[first:want], r.buf)
	r.n -= want
	if r.start += want; r.start >= len(r.buf) {
		r.start -= len(r.buf)
	}
	return want
}

// grow makes room for n bytes in all.
func (r *ring) grow(n int) {
	var into ring
	if n <= keptRing {
		into.buf = make([]byte, keptRing)
	} else {
		into.buf = take(n)
	}
	into.n = r.read(into.buf[:r.n])
	r.release()
	*r = into
}

// release drops what is there, and gives back what a ring without bytes need not hold.
func (r *ring) release() {
	if len(r.buf) > keptRing {
		giveBack(r.buf)
		r.buf = nil
	}
	r.start, r.n = 0, 0
}

package resume

import (
	"sync"
	"sync/atomic"

	"teleport/fault"
)

// Blocks hold whole frames as they go over the wire, so that what is kept for a
// second sending was copied once and is written from where it lies. A small one
// serves a stream that says little; a large one holds two packets of SSH.
const (
	smallBlock = 4 << 10
	largeBlock = 72 << 10
	// largeFrom is the write from which on a large block is taken.
	largeFrom = 1 << 10
)

var (
	smallBlocks = sync.Pool{New: func() any { return &block{buf: make([]byte, smallBlock)} }}
	largeBlocks = sync.Pool{New: func() any { return &block{buf: make([]byte, largeBlock)} }}
)

// block is a run of frames: buf[off:n] is kept, buf[sent:n] was not yet given to
// the carrier of now.
type block struct {
	buf          []byte
	off, sent, n int
	end          uint64 // the position behind its last frame
}

// Budget bounds the memory of many streams together. The zero value is without
// bound. Safe for concurrent use.
type Budget struct {
	// Max is in bytes; 0: no bound.
	Max  int64
	used atomic.Int64
}

func (b *Budget) take(n int) bool {
	if b == nil || b.Max <= 0 {
		return true
	}
	if b.used.Add(int64(n)) > b.Max {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

func (b *Budget) give(n int) {
	if b != nil && b.Max > 0 {
		b.used.Add(-int64(n))
	}
}

// Used returns the bytes taken.
func (b *Budget) Used() int64 { return b.used.Load() }

// outbox keeps what the other side has not acknowledged. Its user locks it.
type outbox struct {
	budget     *Budget
	blocks     []*block
	size       int    // memory held
	busy       *block // is being written to a carrier: it may not be given back
	base, next uint64 // positions kept: [base, next)
}

// put appends one frame with as much of p as finds room, and returns how much
// that was; 0 when there is none.
func (o *outbox) put(p []byte, ack uint64) int {
	b := o.room(len(p))
	if b == nil {
		return 0
	}
	n := min(len(p), len(b.buf)-b.n-headerLen, MaxPayload)
	copy(b.buf[b.n+headerLen:], p[:n])
	o.seal(b, frame{kind: kindData, length: n, seq: o.next, ack: ack})
	return n
}

// finish appends an end or a close. It finds room even where data does not.
func (o *outbox) finish(k kind, ack uint64) {
	b := o.last()
	if b == nil || len(b.buf)-b.n < headerLen {
		b = o.add(&smallBlocks)
	}
	o.seal(b, frame{kind: k, seq: o.next, ack: ack})
}

func (o *outbox) seal(b *block, f frame) {
	f.put(b.buf[b.n:])
	b.n += headerLen + f.length
	o.next += f.width()
	b.end = o.next
}

func (o *outbox) last() *block {
	if len(o.blocks) == 0 {
		return nil
	}
	return o.blocks[len(o.blocks)-1]
}

// room returns the block for a frame with want bytes: the last one when they fit
// or fill a good part of it, else another. The first small block of a stream is
// granted whatever the budget says, so that every stream moves on.
func (o *outbox) room(want int) *block {
	last, free := o.last(), 0
	if last != nil {
		free = len(last.buf) - last.n - headerLen
	}
	if free >= want || free > largeBlock/2 {
		return last
	}
	pool, size := &largeBlocks, largeBlock
	if want <= largeFrom && len(o.blocks) == 0 {
		pool, size = &smallBlocks, smallBlock
	}
	switch {
	case o.size+size <= Window && o.budget.take(size):
		return o.keep(pool, size)
	case free > 0:
		return last
	case len(o.blocks) == 0:
		return o.add(&smallBlocks)
	}
	return nil
}

// add takes a block that the budget was not asked for.
func (o *outbox) add(pool *sync.Pool) *block {
	if o.budget != nil && o.budget.Max > 0 {
		o.budget.used.Add(smallBlock)
	}
	return o.keep(pool, smallBlock)
}

func (o *outbox) keep(pool *sync.Pool, size int) *block {
	b := pool.Get().(*block)
	b.off, b.sent, b.n = 0, 0, 0
	o.size += size
	o.blocks = append(o.blocks, b)
	return b
}

// unsent returns the next run of bytes for the carrier, nil when it has all. The
// block stays busy until wrote.
func (o *outbox) unsent() []byte {
	for i := len(o.blocks) - 1; i >= 0; i-- {
		if b := o.blocks[i]; b.sent < b.n && (i == 0 || o.blocks[i-1].sent == o.blocks[i-1].n) {
			o.busy = b
			run := b.buf[b.sent:b.n]
			b.sent = b.n
			return run
		}
	}
	return nil
}

// waits reports whether there is something for the carrier.
func (o *outbox) waits() bool {
	b := o.last()
	return b != nil && b.sent < b.n
}

// wrote ends the use of what unsent returned.
func (o *outbox) wrote() {
	o.busy = nil
	o.release()
}

// acknowledge notes that the other side has everything before pos. A position
// that was never sent is refused.
func (o *outbox) acknowledge(pos uint64) error {
	if pos > o.next {
		return fault.New(fault.Invalid, "the other side of a resumable stream acknowledges position %d, and %d is the last", pos, o.next)
	}
	if pos > o.base {
		o.base = pos
		o.release()
	}
	return nil
}

// release gives back blocks that are acknowledged as a whole.
func (o *outbox) release() {
	n := 0
	for n < len(o.blocks) && o.blocks[n].end <= o.base && o.blocks[n] != o.busy {
		b := o.blocks[n]
		o.size -= len(b.buf)
		o.budget.give(len(b.buf))
		if len(b.buf) == smallBlock {
			smallBlocks.Put(b)
		} else {
			largeBlocks.Put(b)
		}
		n++
	}
	if n == 0 {
		return
	}
	clear(o.blocks[copy(o.blocks, o.blocks[n:]):])
	if o.blocks = o.blocks[:len(o.blocks)-n]; len(o.blocks) == 0 {
		o.blocks = nil
	}
}

// rewind prepares the sending again from pos, on a new carrier. Nothing may be
// busy.
func (o *outbox) rewind(pos uint64) error {
	if pos < o.base {
		return fault.New(fault.Invalid, "the other side of a resumable stream asks for position %d, and %d is the first that is kept", pos, o.base)
	}
	if err := o.acknowledge(pos); err != nil {
		return err
	}
	for i, b := range o.blocks {
		if i == 0 {
			if err := b.trim(pos); err != nil {
				return err
			}
		}
		b.sent = b.off
	}
	return nil
}

// trim drops what lies before pos; a frame that was received in part gets a new
// head in front of what is left of it.
func (b *block) trim(pos uint64) error {
	for b.off < b.n {
		f, err := parseFrame(b.buf[b.off:])
		if err != nil {
			return err
		}
		switch {
		case f.seq >= pos:
			return nil
		case f.seq+f.width() <= pos:
			b.off += headerLen + f.length
		default:
			k := int(pos - f.seq)
			b.off += k
			f.seq, f.length = pos, f.length-k
			f.put(b.buf[b.off:])
			return nil
		}
	}
	return nil
}

// drop gives everything back.
func (o *outbox) drop() {
	o.base = o.next
	o.release()
}

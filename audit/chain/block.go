package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"teleport/fault"
	"teleport/types/event"
)

// Bounds of what a decoder accepts.
const (
	MaxBlock   = 32 << 20 // bytes of a block before compression
	maxRuns    = 1 << 16
	maxRecords = 1 << 20
)

// Block is what the log took at once: runs of several writers, with the time
// of receipt. The time is the log's; the events keep their own.
type Block struct {
	Number   uint64 // 1 for the first
	Received time.Time
	Runs     []Batch
}

// Run is a batch without its records: what the log's own chain covers.
type Run struct {
	Writer
	First    uint64 `json:"first"`
	Last     uint64 `json:"last"`
	Previous Hash   `json:"previous"`
	Chain    Hash   `json:"chain"` // after the last record
}

// RunOf summarises a batch.
func RunOf(b Batch) Run {
	return Run{Writer: b.Writer, First: b.First(), Last: b.Last(), Previous: b.Previous, Chain: b.Head()}
}

// LogGenesis is the log's chain value before its first block.
func LogGenesis(cluster string) Hash {
	return sha256.Sum256(append([]byte("audit log v1\n"), cluster...))
}

// LogNext is the log's chain value after a block.
func LogNext(prev Hash, number uint64, received time.Time, runs []Run) Hash {
	h := sha256.New()
	h.Write([]byte("audit block v1\n"))
	h.Write(prev[:])
	h.Write(u64(number))
	h.Write(u64(uint64(received.UnixNano())))
	for _, r := range runs {
		h.Write(u64(r.Generation))
		h.Write(u64(uint64(len(r.UUID))))
		h.Write([]byte(r.UUID))
		h.Write(u64(r.First))
		h.Write(u64(r.Last))
		h.Write(r.Previous[:])
		h.Write(r.Chain[:])
	}
	return Hash(h.Sum(nil))
}

// AppendRecord appends the binary form of a record:
// sequence ‖ salt length ‖ salt ‖ chain ‖ event length ‖ event, integers as
// unsigned varints.
func AppendRecord(dst []byte, r Record) []byte {
	dst = binary.AppendUvarint(dst, r.Sequence)
	dst = append(dst, byte(len(r.Salt)))
	dst = append(dst, r.Salt...)
	dst = append(dst, r.Chain[:]...)
	dst = binary.AppendUvarint(dst, uint64(len(r.Event)))
	return append(dst, r.Event...)
}

// DecodeRecord reads what AppendRecord wrote and returns the rest of b. The
// record shares b's memory.
func DecodeRecord(b []byte) (Record, []byte, error) {
	d := decoder{b: b}
	r := d.record()
	if d.err != nil {
		return Record{}, nil, d.err
	}
	return r, d.b, nil
}

// AppendBlock appends the binary form of a block, before compression:
// version 1 ‖ number ‖ received ‖ count ‖ runs; a run is
// writer length ‖ writer ‖ generation ‖ previous ‖ count ‖ records.
func AppendBlock(dst []byte, b Block) []byte {
	dst = slices.Grow(dst, b.size())
	dst = append(dst, 1)
	dst = binary.AppendUvarint(dst, b.Number)
	dst = binary.BigEndian.AppendUint64(dst, uint64(b.Received.UnixNano()))
	dst = binary.AppendUvarint(dst, uint64(len(b.Runs)))
	for _, r := range b.Runs {
		dst = append(dst, byte(len(r.UUID)))
		dst = append(dst, r.UUID...)
		dst = binary.AppendUvarint(dst, r.Generation)
		dst = append(dst, r.Previous[:]...)
		dst = binary.AppendUvarint(dst, uint64(len(r.Records)))
		for _, rec := range r.Records {
			dst = AppendRecord(dst, rec)
		}
	}
	return dst
}

// size is at least the length of the binary form.
func (b Block) size() int {
	const numbers = 32 // varints and lengths of a run or record
	n := numbers
	for _, r := range b.Runs {
		n += numbers + len(r.UUID) + len(r.Previous)
		for _, rec := range r.Records {
			n += numbers + len(rec.Salt) + len(rec.Chain) + len(rec.Event)
		}
	}
	return n
}

// DecodeBlock reads what AppendBlock wrote. The block shares b's memory. Only
// the form is checked, not the chains.
func DecodeBlock(b []byte) (Block, error) {
	d := decoder{b: b}
	if v := d.bytes(1); d.err == nil && v[0] != 1 {
		return Block{}, fault.New(fault.Invalid, "audit block has version %d, this program reads 1", v[0])
	}
	out := Block{Number: d.uvarint()}
	if t := d.bytes(8); d.err == nil {
		out.Received = time.Unix(0, int64(binary.BigEndian.Uint64(t))).UTC()
	}
	for range d.count(maxRuns) {
		run := Batch{}
		if n := d.bytes(1); d.err == nil {
			run.UUID = string(d.bytes(int(n[0])))
		}
		run.Generation = d.uvarint()
		copy(run.Previous[:], d.bytes(len(run.Previous)))
		for range d.count(maxRecords) {
			run.Records = append(run.Records, d.record())
			if d.err != nil {
				return Block{}, d.err
			}
		}
		if d.err != nil {
			return Block{}, d.err
		}
		out.Runs = append(out.Runs, run)
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	return out, d.err
}

// decoder reads binary forms; after its first error it yields zero values.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err = fault.New(fault.Invalid, "audit record or block is cut short or malformed")
	}
}

func (d *decoder) bytes(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.b) {
		d.fail()
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) uvarint() uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n != len(binary.AppendUvarint(nil, v)) { // one form only
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads a number of elements, each of at least one byte.
func (d *decoder) count(limit uint64) int {
	n := d.uvarint()
	if n > limit || n > uint64(len(d.b)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) record() Record {
	r := Record{Sequence: d.uvarint()}
	if n := d.bytes(1); d.err == nil {
		r.Salt = d.bytes(int(n[0]))
	}
	copy(r.Chain[:], d.bytes(len(r.Chain)))
	n := d.uvarint()
	if n > event.MaxSize+1 {
		d.fail()
		return r
	}
	r.Event = d.bytes(int(n))
	return r
}

// Clone returns a batch that shares no memory with b.
func (b Batch) Clone() Batch {
	out := b
	out.Records = make([]Record, len(b.Records))
	for i, r := range b.Records {
		r.Event, r.Salt = bytes.Clone(r.Event), bytes.Clone(r.Salt)
		out.Records[i] = r
	}
	return out
}

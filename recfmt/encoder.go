package recfmt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"slices"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"teleport/fault"
)

// Encoder turns the records of one session into frames. It keeps the records of
// the chunk under way; what it returns is for the caller to write, in order.
//
// There are two ways to make records durable. Journal seals the newest records
// at once, in small frames; Chunk seals all records of the chunk under way
// together, compressed, and takes the place of the journal frames before it:
// both continue the chain after the last chunk, so that a file may hold one or
// the other. After a crash, chunks followed by journal frames are a good
// recording.
//
// An Encoder is used by one goroutine at a time.
type Encoder struct {
	session string
	seal    cipher.AEAD // nil: cipher "none"
	counter uint64

	chain   Hash  // after the last chunk
	offset  int64 // where the next chunk goes
	journal Hash  // after the last journal frame
	index   []IndexEntry
	records uint64
	last    time.Duration

	batch   batch // all records since the last chunk
	mark    batch // those since the last journal frame
	scratch []byte
	extra   []byte    // additional data of a seal
	nonce   [12]byte  // of a seal
	digest  hash.Hash // SHA-256, used for one link at a time
}

// batch is a run of records as bytes.
type batch struct {
	buf         []byte
	first, last time.Duration
	count       uint64
}

func (b *batch) add(r Record) {
	if b.buf == nil {
		b.buf = *buffers.Get().(*[]byte)
	}
	if b.count == 0 {
		b.first, b.last = r.At, r.At
	}
	b.buf = append(b.buf, byte(r.Type))
	b.buf = binary.AppendUvarint(b.buf, uint64((r.At - b.last).Microseconds()))
	b.buf = binary.AppendUvarint(b.buf, uint64(len(r.Data)))
	b.buf = append(b.buf, r.Data...)
	b.last = r.At
	b.count++
}

func (b *batch) reset() { *b = batch{buf: b.buf[:0]} }

// EncoderOptions say where an encoder begins.
type EncoderOptions struct {
	Segment Segment // V, Cipher and Key are set by NewEncoder
	// Recipients may read the recording. None leaves it unencrypted.
	Recipients []age.Recipient
	// After is the position that the segment is appended at; the zero value
	// begins a recording.
	After Position
}

// Position is a place between two frames of a recording.
type Position struct {
	Offset int64
	Chain  Hash
	// Index is that of the chunks before, for the index at the end.
	Index   []IndexEntry
	Records uint64
}

// NewEncoder begins a segment and returns its frame.
func NewEncoder(o EncoderOptions) (*Encoder, []byte, error) {
	s := o.Segment
	e := &Encoder{digest: sha256.New(), session: s.SessionID, chain: o.After.Chain, offset: o.After.Offset, index: o.After.Index, records: o.After.Records}
	if e.offset == 0 {
		e.chain = Genesis(s.SessionID)
	}
	s.V, s.Cipher, s.Key = Version, CipherNone, nil
	if len(o.Recipients) > 0 {
		s.Cipher = CipherAES
		if err := e.newKey(&s, o.Recipients); err != nil {
			return nil, nil, err
		}
	}
	payload, err := json.Marshal(s)
	if err != nil {
		return nil, nil, err
	}
	frame := e.advance(nil, FrameSegment, payload)
	return e, frame, nil
}

func (e *Encoder) newKey(s *Segment, to []age.Recipient) error {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	var err error
	if e.seal, err = newGCM(key); err != nil {
		return err
	}
	var box bytes.Buffer
	w, err := age.Encrypt(&box, to...)
	if err == nil {
		_, err = w.Write(key)
	}
	if err == nil {
		err = w.Close()
	}
	s.Key = box.Bytes()
	return fault.Wrap(err, fault.Internal, "the recording key cannot be used")
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// advance makes the frame that comes next in the file.
func (e *Encoder) advance(dst []byte, t FrameType, payload []byte) []byte {
	n := len(dst)
	dst, e.chain = appendFrame(dst, t, payload, e.chain)
	return e.moved(dst, n)
}

// moved notes that all of dst from n on comes next in the file.
func (e *Encoder) moved(dst []byte, n int) []byte {
	e.offset += int64(len(dst) - n)
	e.journal = e.chain
	return dst
}

// Add takes one record. Times never go back: an earlier one counts as the last.
// Data beyond half of MaxBatch is the caller's to split.
func (e *Encoder) Add(r Record) error {
	if len(r.Data) > MaxBatch/2 || r.At > maxAt {
		return fault.New(fault.Limit, "a record of %d bytes is too long", len(r.Data))
	}
	if len(e.batch.buf)+len(r.Data)+32 > MaxBatch {
		return fault.New(fault.Internal, "a chunk was not closed in time")
	}
	r.At = max(r.At.Truncate(time.Microsecond), e.last)
	e.last = r.At
	e.batch.add(r)
	e.mark.add(r)
	return nil
}

// Pending is the size of the chunk under way, in bytes of records.
func (e *Encoder) Pending() int { return len(e.batch.buf) }

// Position is where the next chunk goes.
func (e *Encoder) Position() Position {
	return Position{Offset: e.offset, Chain: e.chain, Index: e.index, Records: e.records}
}

// Journal appends a frame of the records since the last Journal or Chunk to
// dst, to be written behind the last chunk and the journal frames after it. It
// returns dst as it is when there are none.
func (e *Encoder) Journal(dst []byte) []byte {
	if e.mark.count == 0 {
		return dst
	}
	dst, e.journal = e.chunk(dst, &e.mark, false, e.journal)
	e.mark.reset()
	return dst
}

// Chunk appends a frame of all records since the last Chunk to dst, to be
// written behind the last chunk, in the place of the journal frames after it.
// It returns dst as it is when there are none.
func (e *Encoder) Chunk(dst []byte) []byte {
	if e.batch.count == 0 {
		return dst
	}
	e.index = append(e.index, IndexEntry{e.offset, e.batch.first, e.batch.last})
	e.records += e.batch.count
	n := len(dst)
	dst, e.chain = e.chunk(dst, &e.batch, true, e.chain)
	e.batch.reset()
	e.mark.reset()
	return e.moved(dst, n)
}

// Rest gives the memory of an encoder without pending records to others, until
// it is used again. It does nothing while records are pending.
func (e *Encoder) Rest() {
	if e.batch.count > 0 {
		return
	}
	for _, b := range []*[]byte{&e.batch.buf, &e.mark.buf, &e.scratch} {
		if cap(*b) > 0 && cap(*b) <= 2*ChunkSize {
			spare := (*b)[:0]
			buffers.Put(&spare)
		}
		*b = nil
	}
}

// A recording holds buffers while it works; most of many at once are idle.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, firstBuffer)
	return &b
}}

const firstBuffer = 8 << 10

// Finish appends the last chunk, the index and the end to dst. The encoder is
// done after it.
func (e *Encoder) Finish(dst []byte, why Reason) []byte {
	dst = e.Chunk(dst)
	return finish(dst, e.Position(), e.last, why, e.advance)
}

func finish(dst []byte, p Position, last time.Duration, why Reason, advance func([]byte, FrameType, []byte) []byte) []byte {
	dst = advance(dst, FrameIndex, appendIndex(nil, p.Index))
	return advance(dst, FrameEnd, End{Reason: why, Chunks: uint64(len(p.Index)), Records: p.Records, Duration: last, Index: p.Offset}.payload())
}

// Close returns the index and end frames that finish a recording whose writer
// is gone, behind the last whole frame. No key is needed for it.
func Close(p Position, why Reason) []byte {
	var last time.Duration
	if n := len(p.Index); n > 0 {
		last = p.Index[n-1].Last
	}
	chain := p.Chain
	return finish(nil, p, last, why, func(dst []byte, t FrameType, payload []byte) []byte {
		dst, chain = appendFrame(dst, t, payload, chain)
		return dst
	})
}

// chunk appends the frame of a chunk that follows prev, and returns its hash.
// Small batches are not worth compressing.
func (e *Encoder) chunk(dst []byte, b *batch, whole bool, prev Hash) ([]byte, Hash) {
	body, flags := b.buf, byte(0)
	if whole && len(body) >= compressFrom {
		c := compressors.Get().(*zstd.Encoder)
		e.scratch = c.EncodeAll(body, e.scratch[:0])
		compressors.Put(c)
		if len(e.scratch) < len(body) {
			body, flags = e.scratch, flagZstd
		}
	}
	e.counter++
	start := len(dst)
	dst = slices.Grow(dst, len(body)+Overhead+chunkOverhead)
	dst = append(dst, byte(FrameChunk), 0, 0, 0, 0)
	head := len(dst)
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(b.first.Microseconds()))
	dst = binary.AppendUvarint(dst, uint64(b.last.Microseconds()))
	dst = binary.AppendUvarint(dst, b.count)
	dst = binary.AppendUvarint(dst, uint64(len(b.buf)))
	dst = binary.BigEndian.AppendUint64(dst, e.counter)
	if e.seal == nil {
		dst = append(dst, body...)
	} else {
		e.extra = append(append(e.extra[:0], dst[head:]...), e.session...)
		binary.BigEndian.PutUint64(e.nonce[4:], e.counter)
		dst = e.seal.Seal(dst, e.nonce[:], body, e.extra)
	}
	binary.BigEndian.PutUint32(dst[start+1:], uint32(len(dst)-head))
	e.digest.Reset()
	e.digest.Write(prev[:])
	e.digest.Write(dst[start:])
	dst = e.digest.Sum(dst)
	return dst, Hash(dst[len(dst)-sha256.Size:])
}

// chunkOverhead is the most that a chunk's head and seal add to its body.
const chunkOverhead = 1 + 4*binary.MaxVarintLen64 + 8 + 16

const (
	flagZstd     = 1
	compressFrom = 256
)

func nonce(counter uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), counter)
}

func additional(head []byte, session string) []byte {
	return append(bytes.Clone(head), session...)
}

// A zstd encoder holds megabytes; the few that work at once are shared.
var compressors = sync.Pool{New: func() any {
	c, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(128<<10), zstd.WithEncoderCRC(false))
	if err != nil {
		panic(err) // the options are constants
	}
	return c
}}

var decompressors = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxBatch), zstd.WithDecoderMaxWindow(MaxBatch))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
}}

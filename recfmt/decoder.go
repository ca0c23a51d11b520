package recfmt

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"teleport/fault"
)

// BrokenError says where a recording is not what its writer wrote. It is a
// fault of kind Untrusted.
type BrokenError struct {
	Offset int64 // of the frame
	Why    string
	// Torn is true where the file merely ends inside of a frame, as after a crash.
	Torn bool
}

// Error implements error.
func (b *BrokenError) Error() string { return fmt.Sprintf("at byte %d: %s", b.Offset, b.Why) }

// Unwrap returns the fault.
func (b *BrokenError) Unwrap() error {
	return fault.New(fault.Untrusted, "the recording is damaged at byte %d: %s", b.Offset, b.Why)
}

// Scanner reads the frames of a recording in order and checks their chain. It
// needs no key.
type Scanner struct {
	r       io.Reader
	session string
	pos     Position
	ended   bool
	segment *Segment
	last    time.Duration
	end     *End
	middle  bool // what came before is not known
}

// NewScanner reads the recording of a session from its first byte on.
func NewScanner(sessionID string, r io.Reader) *Scanner {
	return &Scanner{r: r, session: sessionID, pos: Position{Chain: Genesis(sessionID)}}
}

// NewScannerAt reads on behind a frame whose hash is chain, at the offset, where
// segment is the one that the next frame belongs to. What the index and the end
// say of the frames before is not checked; that the last hash is the right one is
// for the caller to compare.
func NewScannerAt(segment *Segment, r io.Reader, offset int64, chain Hash) *Scanner {
	return &Scanner{r: r, session: segment.SessionID, pos: Position{Offset: offset, Chain: chain}, segment: segment, middle: true}
}

// Continue goes on with the bytes of r behind the last good frame, whatever came
// of the frame after it: those of a journal behind the chunks of a file that
// ends torn.
func (s *Scanner) Continue(r io.Reader) { s.r = r }

// Position is the place behind the last good frame.
func (s *Scanner) Position() Position { return s.pos }

// Segment is the one that the last frame belongs to; nil before the first.
func (s *Scanner) Segment() *Segment { return s.segment }

// End is the end frame that was read; nil before it.
func (s *Scanner) End() *End { return s.end }

// Next returns the next frame. It is io.EOF at the end of the file, between two
// frames, and a *BrokenError for anything that does not verify.
func (s *Scanner) Next() (*Frame, error) {
	f := &Frame{Offset: s.pos.Offset}
	var head [5]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, s.torn()
		}
		return nil, err
	}
	f.Type = FrameType(head[0])
	n := binary.BigEndian.Uint32(head[1:])
	switch {
	case f.Type != FrameSegment && f.Type != FrameChunk && f.Type != FrameIndex && f.Type != FrameEnd:
		return nil, s.broken("no frame begins here")
	case n > maxPayload(f.Type):
		return nil, s.broken("a frame of %d bytes is too long", n)
	case s.ended:
		return nil, s.broken("something follows the end")
	}
	rest := make([]byte, int(n)+len(f.Hash))
	if _, err := io.ReadFull(s.r, rest); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, s.torn()
		}
		return nil, err
	}
	f.Payload = rest[:n:n]
	copy(f.Hash[:], rest[n:])
	if link(s.pos.Chain, head, f.Payload) != f.Hash {
		return nil, s.broken("the chain of hashes breaks")
	}
	if err := s.note(f); err != nil {
		return nil, err
	}
	s.pos.Chain = f.Hash
	s.pos.Offset += f.Size()
	return f, nil
}

func (s *Scanner) broken(format string, args ...any) error {
	return &BrokenError{Offset: s.pos.Offset, Why: fmt.Sprintf(format, args...)}
}

func (s *Scanner) torn() error {
	return &BrokenError{Offset: s.pos.Offset, Why: "the file ends inside of a frame", Torn: true}
}

// note checks what a frame says against what came before.
func (s *Scanner) note(f *Frame) error {
	switch f.Type {
	case FrameSegment:
		seg, err := ParseSegment(f.Payload)
		if err != nil {
			return err
		}
		if seg.SessionID != s.session {
			return s.broken("it belongs to the session %.64q", seg.SessionID)
		}
		s.segment = seg
	case FrameChunk:
		h, err := parseChunk(f.Payload)
		if err != nil || s.segment == nil {
			return s.broken("a chunk is malformed")
		}
		if h.first < s.last {
			return s.broken("a chunk goes back in time")
		}
		s.last = h.last
		s.pos.Index = append(s.pos.Index, IndexEntry{f.Offset, h.first, h.last})
		s.pos.Records += h.count
	case FrameIndex:
		index, err := ParseIndex(f.Payload)
		if err != nil {
			return s.broken("the index is malformed")
		}
		if s.middle {
			return nil
		}
		if len(index) != len(s.pos.Index) {
			return s.broken("the index names %d chunks, and there are %d", len(index), len(s.pos.Index))
		}
		for i := range index {
			if index[i] != s.pos.Index[i] {
				return s.broken("the index is wrong about chunk %d", i)
			}
		}
	case FrameEnd:
		end, err := ParseEnd(f.Payload)
		if err != nil {
			return s.broken("the end is malformed")
		}
		if !s.middle && (end.Chunks != uint64(len(s.pos.Index)) || end.Records != s.pos.Records) {
			return s.broken("the end counts %d chunks and %d records, and there are %d and %d", end.Chunks, end.Records, len(s.pos.Index), s.pos.Records)
		}
		s.ended, s.end = true, &end
	}
	return nil
}

// Summary is what Verify found.
type Summary struct {
	Position
	End      *End // nil: unfinished
	Segments int
	Start    time.Time
}

// Verify reads a whole recording and checks every frame. The summary is that of
// what was good before an error, which is a *BrokenError or one of reading.
func Verify(sessionID string, r io.Reader) (Summary, error) {
	s := NewScanner(sessionID, r)
	var sum Summary
	for {
		f, err := s.Next()
		sum.Position, sum.End = s.Position(), s.End()
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
		if f.Type == FrameSegment {
			sum.Segments++
			if sum.Segments == 1 {
				sum.Start = s.Segment().Start
			}
		}
	}
}

// ReadFrame parses the frame at the beginning of b without checking its chain:
// for readers that begin in the middle, at a place that the index named.
func ReadFrame(b []byte, offset int64) (*Frame, error) {
	bad := &BrokenError{Offset: offset, Why: "no frame is here"}
	if len(b) < Overhead {
		return nil, bad
	}
	n := binary.BigEndian.Uint32(b[1:5])
	if n > maxPayload(FrameType(b[0])) || uint64(len(b)) < uint64(n)+Overhead {
		return nil, bad
	}
	f := &Frame{Type: FrameType(b[0]), Payload: b[5 : 5+n : 5+n], Offset: offset}
	copy(f.Hash[:], b[5+n:])
	return f, nil
}

// Opener opens the chunks of one segment.
type Opener struct {
	session string
	open    cipher.AEAD // nil: cipher "none"
}

// Open unwraps the key of a segment. It is fault.Denied when none of the
// identities fits.
func (s *Segment) Open(identities ...age.Identity) (*Opener, error) {
	o := &Opener{session: s.SessionID}
	if s.Cipher == CipherNone {
		return o, nil
	}
	r, err := age.Decrypt(bytes.NewReader(s.Key), identities...)
	if err != nil {
		return nil, fault.Wrap(err, fault.Denied, "no recording key of this cluster opens the recording")
	}
	key := make([]byte, 33)
	n, err := io.ReadFull(r, key)
	if n != 32 || !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fault.New(fault.Untrusted, "the recording's key is damaged")
	}
	if o.open, err = newGCM(key[:32]); err != nil {
		return nil, err
	}
	return o, nil
}

// chunkHead is what a chunk says in the clear.
type chunkHead struct {
	flags       byte
	first, last time.Duration
	count       uint64
	plain       uint64
	counter     uint64
	clear       []byte // as it was written
	sealed      []byte
}

func parseChunk(payload []byte) (*chunkHead, error) {
	bad := fault.New(fault.Invalid, "a recording's chunk is malformed")
	if len(payload) == 0 {
		return nil, bad
	}
	h := &chunkHead{flags: payload[0]}
	r := reader{payload[1:]}
	var ok [5]bool
	h.first, ok[0] = r.at()
	h.last, ok[1] = r.at()
	h.count, ok[2] = r.uvarint()
	h.plain, ok[3] = r.uvarint()
	counter, has := r.take(8)
	ok[4] = has
	if ok != [5]bool{true, true, true, true, true} || h.plain > MaxBatch || h.count == 0 || h.count > h.plain || h.last < h.first || h.flags&^flagZstd != 0 {
		return nil, bad
	}
	h.counter = binary.BigEndian.Uint64(counter)
	h.clear, h.sealed = payload[:len(payload)-len(r.b)], r.b
	return h, nil
}

// Records opens a chunk frame. The records share one new buffer.
func (o *Opener) Records(f *Frame) ([]Record, error) {
	if f.Type != FrameChunk {
		return nil, fault.New(fault.Internal, "only chunks hold records")
	}
	h, err := parseChunk(f.Payload)
	if err != nil {
		return nil, err
	}
	body := h.sealed
	if o.open != nil {
		if body, err = o.open.Open(nil, nonce(h.counter), h.sealed, additional(h.clear, o.session)); err != nil {
			return nil, &BrokenError{Offset: f.Offset, Why: "a chunk does not open with its key"}
		}
	}
	if h.flags&flagZstd != 0 {
		d := decompressors.Get().(*zstd.Decoder)
		body, err = d.DecodeAll(body, make([]byte, 0, h.plain))
		decompressors.Put(d)
		if err != nil {
			return nil, &BrokenError{Offset: f.Offset, Why: "a chunk does not decompress"}
		}
	}
	if uint64(len(body)) != h.plain {
		return nil, &BrokenError{Offset: f.Offset, Why: "a chunk has another length than it says"}
	}
	return parseBatch(body, h, f.Offset)
}

func parseBatch(body []byte, h *chunkHead, offset int64) ([]Record, error) {
	bad := &BrokenError{Offset: offset, Why: "a chunk holds malformed records"}
	r := reader{body}
	out := make([]Record, 0, min(h.count, 4096))
	at := h.first
	for range h.count {
		t, ok1 := r.take(1)
		delta, ok2 := r.at()
		n, ok3 := r.uvarint()
		if !ok1 || !ok2 || !ok3 {
			return nil, bad
		}
		data, ok := r.take(n)
		if at += delta; !ok || at > h.last {
			return nil, bad
		}
		out = append(out, Record{Type: RecordType(t[0]), At: at, Data: data})
	}
	if len(r.b) != 0 || at != h.last {
		return nil, bad
	}
	return out, nil
}

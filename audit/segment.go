package audit

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types/event"
)

// A segment is a file of one writer's records: a head, then frames. Head and
// frames have the same outside: length and CRC-32C of what follows, 4 bytes
// each, big-endian. The file's name is the sequence of its first record.
const (
	segmentSuffix = ".seg"
	frameHead     = 8
	maxFrame      = event.MaxSize + 256
	maxSegHead    = 64 << 20
)

// segmentHead is the first frame of a segment, as JSON.
type segmentHead struct {
	Version int `json:"version"`
	chain.Writer
	First    uint64     `json:"first"`
	Previous chain.Hash `json:"previous"`
	// Open are the sessions that were open when the segment was started.
	Open openSessions `json:"open,omitempty"`
}

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// segments lists the first sequences of a directory's segments, ascending.
func segments(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok {
			continue
		}
		first, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			continue
		}
		out = append(out, first)
	}
	return out, nil
}

// appendFrame appends a frame around the payload that fill appends.
func appendFrame(dst []byte, fill func([]byte) []byte) []byte {
	at := len(dst)
	var head [frameHead]byte
	dst = append(dst, head[:]...)
	dst = fill(dst)
	payload := dst[at+frameHead:]
	binary.BigEndian.PutUint32(dst[at:], uint32(len(payload)))
	binary.BigEndian.PutUint32(dst[at+4:], crcOf(payload))
	return dst
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// errTorn is a file that ends within a frame: what a crash leaves.
var errTorn = errors.New("torn frame")

// errDamaged is a frame that was whole once and is not what was written.
var errDamaged = errors.New("damaged frame")

// segmentReader reads one segment's records in order. They share the memory of what
// was read at once, or of what a writer lent.
type segmentReader struct {
	f    *os.File // nil: all that there is is in buf
	buf  []byte   // was read, and is not taken yet
	at   int64    // offset behind buf
	head segmentHead
	good int64 // offset behind the last good frame
}

// slab is how much is read at once, where there is so much.
const slab = 256 << 10

// need makes sure of n bytes in buf. It returns io.EOF where nothing follows, and
// errTorn where less does.
func (s *segmentReader) need(n int) error {
	if len(s.buf) >= n {
		return nil
	}
	have := int64(len(s.buf))
	if s.f != nil {
		st, err := s.f.Stat()
		if err != nil {
			return err
		}
		have += max(st.Size()-s.at, 0)
	}
	switch {
	case have == 0:
		return io.EOF
	case have < int64(n):
		return errTorn // and a damaged length costs nothing
	}
	b := make([]byte, min(have, int64(max(n, slab))))
	kept := copy(b, s.buf)
	got, err := s.f.ReadAt(b[kept:], s.at)
	if errors.Is(err, io.EOF) && got < len(b)-kept {
		return errTorn // it was cut off meanwhile
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.buf, s.at = b, s.at+int64(got)
	return nil
}

// frame returns the next payload, io.EOF at a clean end, errTorn or errDamaged.
func (s *segmentReader) frame(limit int) ([]byte, error) {
	if err := s.need(frameHead); err != nil {
		return nil, err
	}
	n, sum := int(binary.BigEndian.Uint32(s.buf)), binary.BigEndian.Uint32(s.buf[4:])
	if n == 0 || n > limit {
		return nil, errDamaged
	}
	if err := s.need(frameHead + n); err != nil {
		return nil, err
	}
	payload := s.buf[frameHead : frameHead+n : frameHead+n]
	if crcOf(payload) != sum {
		return nil, errDamaged
	}
	s.buf = s.buf[frameHead+n:]
	s.good += int64(frameHead + n)
	return payload, nil
}

// openSegment opens a segment and goes to the given offset, that of a frame of a
// segment whose head was read before; 0 reads the head, and goes behind it.
func openSegment(dir string, first uint64, offset int64) (*segmentReader, error) {
	f, err := os.Open(filepath.Join(dir, segmentName(first)))
	if err != nil {
		return nil, err
	}
	s := &segmentReader{f: f, at: offset, good: offset}
	if offset > 0 {
		return s, nil
	}
	if err := s.readHead(first); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *segmentReader) readHead(first uint64) error {
	b, err := s.frame(maxSegHead)
	switch {
	case errors.Is(err, io.EOF):
		return errTorn // a segment is made before its head is written
	case err != nil:
		return err
	case json.Unmarshal(b, &s.head) != nil, s.head.Version != 1, s.head.First != first:
		return errDamaged
	}
	return nil
}

// next returns the next record, or the errors of readFrame.
func (s *segmentReader) next() (chain.Record, error) {
	before := s.good
	b, err := s.frame(maxFrame)
	if err != nil {
		return chain.Record{}, err
	}
	rec, rest, err := chain.DecodeRecord(b)
	if err != nil || len(rest) > 0 {
		s.good = before
		return chain.Record{}, errDamaged
	}
	return rec, nil
}

func (s *segmentReader) close() error {
	if s.f == nil {
		return nil
	}
	return s.f.Close()
}

// diskFault turns an error of the file system into one that says what to do.
func diskFault(err error, what, path string) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return fault.Wrap(err, fault.Unavailable, "%s: the disk that holds %s is full: free some space there", what, path)
	case errors.Is(err, os.ErrPermission):
		return fault.Wrap(err, fault.Unavailable, "%s: %s may not be written: check its owner and mode", what, path)
	case isReadOnly(err):
		return fault.Wrap(err, fault.Unavailable, "%s: %s is on a read-only file system", what, path)
	}
	return fault.Wrap(err, fault.Unavailable, "%s: %s cannot be written", what, path)
}

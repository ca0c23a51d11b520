package audit

import (
	"bufio"
	"bytes"
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

// readFrame returns the next payload, io.EOF at a clean end, errTorn or
// errDamaged.
func readFrame(r *bufio.Reader, limit int) ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errTorn
		}
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n == 0 || n > limit {
		return nil, errDamaged
	}
	payload := bytes.NewBuffer(make([]byte, 0, min(n, 64<<10))) // a damaged length costs nothing
	if got, err := io.CopyN(payload, r, int64(n)); err != nil {
		if got < int64(n) && errors.Is(err, io.EOF) {
			return nil, errTorn
		}
		return nil, err
	}
	if crcOf(payload.Bytes()) != binary.BigEndian.Uint32(head[4:]) {
		return nil, errDamaged
	}
	return payload.Bytes(), nil
}

// segmentReader reads one segment's records in order.
type segmentReader struct {
	f    *os.File
	r    *bufio.Reader
	head segmentHead
	good int64 // offset behind the last good frame
}

// openSegment opens a segment, reads its head, and goes to the given offset
// (0: the first record).
func openSegment(dir string, first uint64, offset int64) (*segmentReader, error) {
	f, err := os.Open(filepath.Join(dir, segmentName(first)))
	if err != nil {
		return nil, err
	}
	s := &segmentReader{f: f, r: bufio.NewReaderSize(f, 64<<10)}
	b, err := readFrame(s.r, maxSegHead)
	if errors.Is(err, io.EOF) {
		err = errTorn // a segment is made before its head is written
	}
	if err == nil && json.Unmarshal(b, &s.head) != nil {
		err = errDamaged
	}
	if err == nil && (s.head.Version != 1 || s.head.First != first) {
		err = errDamaged
	}
	s.good = int64(frameHead + len(b))
	if err == nil && offset > s.good {
		s.good = offset
		_, err = f.Seek(offset, io.SeekStart)
		s.r.Reset(f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// next returns the next record, or the errors of readFrame.
func (s *segmentReader) next() (chain.Record, error) {
	b, err := readFrame(s.r, maxFrame)
	if err != nil {
		return chain.Record{}, err
	}
	rec, rest, err := chain.DecodeRecord(b)
	if err != nil || len(rest) > 0 {
		return chain.Record{}, errDamaged
	}
	s.good += int64(frameHead + len(b))
	return rec, nil
}

func (s *segmentReader) close() error { return s.f.Close() }

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

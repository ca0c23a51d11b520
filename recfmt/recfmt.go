// Package recfmt is the form of a session's recording: a file that only grows,
// of frames that are hashed and chained over their stored bytes, so that whoever
// may not read a recording can still verify it. It is pure: bytes in, values
// out; files, clocks and keys belong to its callers.
//
// Grammar. Integers are big endian, varints are those of encoding/binary.
//
//	recording = frame*
//	frame     = type length payload hash
//	type      = 1 byte: 'S' segment, 'C' chunk, 'X' index, 'E' end
//	length    = uint32 of the payload, ≤ MaxPayload, of an index ≤ MaxIndex
//	hash      = SHA-256(hash of the frame before ‖ type ‖ length ‖ payload)
//
// The hash before the first frame is Genesis(session id), so that a frame can
// belong to one session and one place in it only.
//
// A segment begins a run of one writer: its payload is the JSON of Segment,
// which names the session in the clear and holds the segment's AES-256 key,
// wrapped by age to the cluster's recording keys. A writer that starts again
// after a crash begins a new segment, as it cannot know the old key. Facts about
// people are records, inside of chunks, never in a segment.
//
//	chunk = flags first last count plain counter sealed
//	flags = 1 byte: 1 zstd
//	first, last = varint: µs since the session's start, of the first and last record
//	count = varint of records; plain = varint: bytes of the batch, uncompressed
//	counter = uint64, unique under the segment's key
//	sealed = AES-256-GCM(nonce = 4 zero bytes ‖ counter, additional data = all of
//	         chunk before sealed ‖ session id); with cipher "none" the batch as it is
//	batch  = record*
//	record = type delta length data
//	delta  = varint: µs since the record before, in the first since the chunk's first
//
// Readers skip record types that they do not know. Each chunk opens by itself,
// so a reader may begin at any of them.
//
//	index = count (offset first last)*   varints; one for each chunk so far
//	end   = reason chunks records duration index   one byte, then four uint64:
//	        duration in µs, index = offset of the index frame
//
// The end frame has a fixed size, so a reader of a finished recording finds the
// index from the last bytes of the file. A recording without an end is unfinished:
// all its whole frames are good.
//
// History of the version in Segment.V:
//
//	1  first version
package recfmt

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"teleport/fault"
)

// Version is what this package writes.
const Version = 1

// Bounds of what a reader takes.
const (
	MaxPayload = 1 << 20 // of a frame
	MaxIndex   = 8 << 20 // of an index frame: a session may last long and show much
	MaxBatch   = 1 << 20 // of a chunk, uncompressed
)

// Bounds of a whole recording. Its index holds so many chunks.
const (
	MaxChunks = 400_000
	MaxSize   = 8 << 30
)

func maxPayload(t FrameType) uint32 {
	if t == FrameIndex {
		return MaxIndex
	}
	return MaxPayload
}

// ChunkSize is how many bytes of records make a chunk worth closing.
const ChunkSize = 96 << 10

// Overhead is what a frame adds to its payload.
const Overhead = 1 + 4 + sha256.Size

// FrameType is the first byte of a frame.
type FrameType byte

// The types of frames.
const (
	FrameSegment FrameType = 'S'
	FrameChunk   FrameType = 'C'
	FrameIndex   FrameType = 'X'
	FrameEnd     FrameType = 'E'
)

// Hash is a link of the chain.
type Hash [sha256.Size]byte

// String is the hash in hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Genesis is the hash before the first frame of a session's recording.
func Genesis(sessionID string) Hash {
	return sha256.Sum256([]byte("teleport recording 1\x00" + sessionID))
}

// Frame is one frame with its place.
type Frame struct {
	Type    FrameType
	Payload []byte
	Hash    Hash
	Offset  int64 // of its first byte in the recording
}

// Size is the length of the frame in the file.
func (f *Frame) Size() int64 { return int64(len(f.Payload)) + Overhead }

// Append appends the frame as it stands in the file to dst.
func (f *Frame) Append(dst []byte) []byte {
	dst = append(dst, byte(f.Type))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(f.Payload)))
	dst = append(dst, f.Payload...)
	return append(dst, f.Hash[:]...)
}

// appendFrame appends a frame that follows prev, and returns its hash.
func appendFrame(dst []byte, t FrameType, payload []byte, prev Hash) ([]byte, Hash) {
	var head [5]byte
	head[0] = byte(t)
	binary.BigEndian.PutUint32(head[1:], uint32(len(payload)))
	h := link(prev, head, payload)
	dst = append(dst, head[:]...)
	dst = append(dst, payload...)
	return append(dst, h[:]...), h
}

func link(prev Hash, head [5]byte, payload []byte) Hash {
	d := sha256.New()
	d.Write(prev[:])
	d.Write(head[:])
	d.Write(payload)
	var h Hash
	d.Sum(h[:0])
	return h
}

// Ciphers of a segment.
const (
	CipherAES  = "age+aes-256-gcm"
	CipherNone = "none"
)

// Segment opens a run of one writer. All of it is readable by everybody who has
// the file.
type Segment struct {
	V          int       `json:"v"`
	SessionID  string    `json:"session_id"`
	Kind       string    `json:"kind"` // of the session: ssh, db, app, kube, desktop
	Cluster    string    `json:"cluster"`
	HostID     string    `json:"host_id"`    // UUID of the process that records
	Generation uint64    `json:"generation"` // of that process
	Number     int       `json:"number"`     // of the segment, from 0 on
	Start      time.Time `json:"start"`      // of the session: zero of all record times
	Cipher     string    `json:"cipher"`
	Key        []byte    `json:"key,omitempty"` // the segment's key in an age envelope
}

// ParseSegment reads the payload of a segment frame. Errors are fault.Invalid,
// or fault.Unimplemented for a later version.
func ParseSegment(payload []byte) (*Segment, error) {
	s := new(Segment)
	if err := json.Unmarshal(payload, s); err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "a recording's segment is malformed")
	}
	switch {
	case s.V > Version:
		return nil, fault.New(fault.Unimplemented, "the recording has version %d; this is a reader of version %d", s.V, Version).WithHint("upgrade this side")
	case s.V < 1 || s.SessionID == "" || s.Cipher != CipherAES && s.Cipher != CipherNone:
		return nil, fault.New(fault.Invalid, "a recording's segment is malformed")
	}
	return s, nil
}

// RecordType is the first byte of a record.
type RecordType byte

// The types of records. Families add their own; what somebody types is never recorded.
const (
	RecordInfo   RecordType = 'i' // JSON Info; the first record
	RecordOutput RecordType = 'o' // bytes shown: the terminal's, or standard output
	RecordErrors RecordType = 'e' // bytes of standard error, where it is apart
	RecordResize RecordType = 'r' // varint columns, varint rows
	RecordEvent  RecordType = 'v' // one audit event as JSON: exec, sftp, port, session.join …
	RecordGap    RecordType = 'g' // JSON Gap: what was shown and could not be recorded
)

// Record is one thing that was seen. Data is shared with what it was read from.
type Record struct {
	Type RecordType
	At   time.Duration // since the session's start
	Data []byte
}

// Info is who and what the session is.
type Info struct {
	SessionID string    `json:"session_id"`
	Kind      string    `json:"kind"`
	Cluster   string    `json:"cluster"`
	User      string    `json:"user"`
	Login     string    `json:"login,omitempty"`
	HostID    string    `json:"host_id"`
	Hostname  string    `json:"hostname,omitempty"`
	Resource  string    `json:"resource,omitempty"` // used through the host, where it is not the host itself
	Command   string    `json:"command,omitempty"`  // "" for a shell
	Start     time.Time `json:"start"`
	Columns   int       `json:"columns,omitempty"` // zero without a terminal
	Rows      int       `json:"rows,omitempty"`
	Term      string    `json:"term,omitempty"`
}

// Gap stands where best_effort let a session go on unrecorded.
type Gap struct {
	Bytes  uint64 `json:"bytes"`
	Reason string `json:"reason"`
}

// ResizeData is the data of a resize record.
func ResizeData(columns, rows int) []byte {
	b := binary.AppendUvarint(nil, uint64(columns))
	return binary.AppendUvarint(b, uint64(rows))
}

// ParseResize reads the data of a resize record.
func ParseResize(data []byte) (columns, rows int, err error) {
	c, n := binary.Uvarint(data)
	if n <= 0 {
		return 0, 0, fault.New(fault.Invalid, "a resize record is malformed")
	}
	r, m := binary.Uvarint(data[n:])
	if m <= 0 || n+m != len(data) || c > 1<<16 || r > 1<<16 {
		return 0, 0, fault.New(fault.Invalid, "a resize record is malformed")
	}
	return int(c), int(r), nil
}

// Reason says how a recording ended.
type Reason byte

// The reasons of an end.
const (
	EndSession   Reason = 1 // the session ended
	EndAbandoned Reason = 2 // its agent died; the auth service closed it
	EndBroken    Reason = 3 // it could not be recorded any further
)

// String is the reason's name.
func (r Reason) String() string {
	switch r {
	case EndSession:
		return "session"
	case EndAbandoned:
		return "abandoned"
	case EndBroken:
		return "broken"
	}
	return fmt.Sprintf("reason %d", byte(r))
}

// End closes a recording.
type End struct {
	Reason   Reason
	Chunks   uint64
	Records  uint64
	Duration time.Duration
	Index    int64 // offset of the index frame
}

const endSize = 1 + 4*8

// EndFrameSize is the size of an end frame in the file.
const EndFrameSize = endSize + Overhead

func (e End) payload() []byte {
	b := []byte{byte(e.Reason)}
	for _, n := range []uint64{e.Chunks, e.Records, uint64(e.Duration.Microseconds()), uint64(e.Index)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// ParseEnd reads the payload of an end frame.
func ParseEnd(payload []byte) (End, error) {
	if len(payload) != endSize {
		return End{}, fault.New(fault.Invalid, "a recording's end is malformed")
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(payload[1+8*i:]) }
	if n(2) > uint64(maxAt/time.Microsecond) || n(3) > 1<<62 {
		return End{}, fault.New(fault.Invalid, "a recording's end is malformed")
	}
	return End{Reason: Reason(payload[0]), Chunks: n(0), Records: n(1), Duration: time.Duration(n(2)) * time.Microsecond, Index: int64(n(3))}, nil
}

// maxAt bounds the times of records: a century.
const maxAt = 100 * 365 * 24 * time.Hour

// IndexEntry is where a chunk is and which time it covers.
type IndexEntry struct {
	Offset      int64
	First, Last time.Duration
}

func appendIndex(dst []byte, entries []IndexEntry) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(entries)))
	for _, e := range entries {
		dst = binary.AppendUvarint(dst, uint64(e.Offset))
		dst = binary.AppendUvarint(dst, uint64(e.First.Microseconds()))
		dst = binary.AppendUvarint(dst, uint64(e.Last.Microseconds()))
	}
	return dst
}

// ParseIndex reads the payload of an index frame.
func ParseIndex(payload []byte) ([]IndexEntry, error) {
	bad := fault.New(fault.Invalid, "a recording's index is malformed")
	r := reader{payload}
	n, ok := r.uvarint()
	if !ok || n > uint64(len(payload)) {
		return nil, bad
	}
	out := make([]IndexEntry, 0, n)
	for range n {
		offset, ok1 := r.uvarint()
		first, ok2 := r.at()
		last, ok3 := r.at()
		if !ok1 || !ok2 || !ok3 || offset > 1<<62 || last < first {
			return nil, bad
		}
		out = append(out, IndexEntry{int64(offset), first, last})
	}
	if len(r.b) != 0 {
		return nil, bad
	}
	return out, nil
}

// reader takes varints off a slice.
type reader struct{ b []byte }

func (r *reader) uvarint() (uint64, bool) {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		return 0, false
	}
	r.b = r.b[n:]
	return v, true
}

func (r *reader) at() (time.Duration, bool) {
	v, ok := r.uvarint()
	if !ok || v > uint64(maxAt/time.Microsecond) {
		return 0, false
	}
	return time.Duration(v) * time.Microsecond, true
}

func (r *reader) take(n uint64) ([]byte, bool) {
	if n > uint64(len(r.b)) {
		return nil, false
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out, true
}

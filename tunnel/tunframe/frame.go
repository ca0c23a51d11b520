// Package tunframe is the pure codec of everything that our own processes say
// to each other before a protocol of the user begins: the dial header and its
// reply, and the messages of a reverse tunnel. It keeps nothing and touches no
// socket beyond the io.Reader that it is given.
//
// Grammar. A frame on a stream is
//
//	frame  = length body
//	length = uint32, big endian, 1 ≤ length ≤ MaxFrame
//	body   = one JSON object (RFC 8259) in UTF-8
//
// Inside SSH global requests and channel-open data the body travels without its
// length. Each body carries "v", the version that its writer speaks, and may
// carry "must", a set of bits: a reader refuses a body with a bit that it does
// not know, and ignores fields that it does not know. So a later version adds
// fields freely, and sets a bit where ignoring one would be unsafe.
//
// History of the version number:
//
//	1  first version
package tunframe

import (
	"encoding/binary"
	"encoding/json"
	"io"

	"teleport/fault"
)

// Version is what this package writes.
const Version = 1

// MaxFrame bounds a body, in bytes.
const MaxFrame = 16 << 10

// Understood are the must-understand bits that this version knows: none yet.
const Understood Bits = 0

// Bits is the must-understand set of a body.
type Bits uint64

// message is any body of this package.
type message interface {
	// envelope returns the version and the must-understand bits of the body.
	envelope() (version int, must Bits)
	// check validates all fields; what it refuses is fault.Invalid.
	check() error
}

// Marshal returns the body of m, refusing one that a reader would refuse.
func Marshal(m message) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "cannot encode a tunnel message")
	}
	if len(b) > MaxFrame {
		return nil, fault.New(fault.Limit, "a tunnel message of %d bytes is over the limit of %d", len(b), MaxFrame)
	}
	return b, nil
}

// Unmarshal reads one body into m and checks it. The error is fault.Invalid for
// what is malformed, fault.Limit for what is too long and fault.Unimplemented
// for must-understand bits from a later version.
func Unmarshal(b []byte, m message) error {
	if len(b) > MaxFrame {
		return fault.New(fault.Limit, "a tunnel message of %d bytes is over the limit of %d", len(b), MaxFrame)
	}
	if err := json.Unmarshal(b, m); err != nil {
		return fault.Wrap(err, fault.Invalid, "a tunnel message is malformed")
	}
	v, must := m.envelope()
	if v < 1 {
		return fault.New(fault.Invalid, "a tunnel message has no version")
	}
	if unknown := must &^ Understood; unknown != 0 {
		return fault.New(fault.Unimplemented, "the peer speaks version %d and requires features %#x that this version does not know", v, uint64(unknown)).
			WithHint("upgrade this side first")
	}
	return m.check()
}

// Write writes m as one frame, in a single call to w.
func Write(w io.Writer, m message) error {
	body, err := Marshal(m)
	if err != nil {
		return err
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	_, err = w.Write(append(frame, body...))
	return err
}

// Read reads exactly one frame into m, and not a byte beyond it. The caller
// sets the deadline of r.
func Read(r io.Reader, m message) error {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 || n > MaxFrame {
		return fault.New(fault.Limit, "a tunnel message of %d bytes is outside 1..%d", n, MaxFrame)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return Unmarshal(body, m)
}

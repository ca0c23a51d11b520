// Package mux carries many streams over one connection: a program on a person's
// machine opens hundreds of connections to one database, and all of them are of one
// certificate, go one way and end at one agent. They cost one TLS, and what several
// say at a time leaves in one piece.
//
// Each stream is a net.Conn with an end of its own in either direction. What one
// side has not read is bounded stream by stream: a reader that is slow holds up
// nobody else. The connection must be whole and secret already; this package
// trusts its order and nothing else of the peer.
//
// Grammar. Everything on the connection is a frame:
//
//	frame  = kind:u8 length:u24 stream:u32 payload        big endian
//	open   = 1, empty: the opener's next stream; numbers rise
//	data   = 2, payload of 1..MaxPayload bytes, within the credit
//	credit = 3, bytes:u32: so many more may be sent
//	end    = 4, empty: the sender writes no more
//	close  = 5, empty: nor does it read any more; also what refuses a stream
//	leave  = 6, empty, stream 0: the acceptor takes no further streams than those on their way
//
// Each direction of a stream begins with a credit of Window bytes. A frame that
// breaks a rule ends the connection.
package mux

import (
	"encoding/binary"

	"teleport/fault"
)

// Bounds of the protocol.
const (
	// MaxPayload is the most bytes of a data frame.
	MaxPayload = 32 << 10
	// Window is the credit that a direction begins with, in bytes.
	Window = 64 << 10
	// MaxWindow is what a window grows to when its sender is found waiting for it.
	MaxWindow = 4 << 20
	// MaxGrown bounds what the windows of one connection have grown by together.
	MaxGrown = 16 << 20
	// MaxStreams is how many streams one connection carries at a time.
	MaxStreams = 256
)

type kind uint8

const (
	kindOpen   kind = 1
	kindData   kind = 2
	kindCredit kind = 3
	kindEnd    kind = 4
	kindClose  kind = 5
	kindLeave  kind = 6

	headerLen = 8
)

// frame is the head of a frame.
type frame struct {
	kind   kind
	length int
	stream uint32
}

func (f frame) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(f.kind)<<24|uint32(f.length))
	return binary.BigEndian.AppendUint32(b, f.stream)
}

// parseFrame reads a head of headerLen bytes and refuses what cannot be one.
func parseFrame(b []byte) (frame, error) {
	word := binary.BigEndian.Uint32(b)
	f := frame{kind: kind(word >> 24), length: int(word & 0xffffff), stream: binary.BigEndian.Uint32(b[4:])}
	low, high := 0, 0
	switch f.kind {
	case kindData:
		low, high = 1, MaxPayload
	case kindCredit:
		low, high = 4, 4
	case kindOpen, kindEnd, kindClose, kindLeave:
	default:
		return frame{}, fault.New(fault.Invalid, "a frame of the unknown kind %d among streams", f.kind)
	}
	if f.length < low || f.length > high || (f.stream == 0) != (f.kind == kindLeave) {
		return frame{}, fault.New(fault.Invalid, "a frame of kind %d for stream %d has %d bytes", f.kind, f.stream, f.length)
	}
	return f, nil
}

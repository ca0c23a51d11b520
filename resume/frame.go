package resume

import (
	"bufio"
	"encoding/binary"

	"golang.org/x/crypto/cryptobyte"

	"teleport/fault"
)

// kind tells frames apart.
type kind uint8

const (
	kindData      kind = 1
	kindAck       kind = 2
	kindPing      kind = 3
	kindPong      kind = 4
	kindEnd       kind = 5
	kindClose     kind = 6
	kindOpen      kind = 16
	kindChallenge kind = 17
	kindAttach    kind = 18
	kindAttached  kind = 19
	kindRefused   kind = 20
)

const (
	headerLen = 20
	// MaxPayload bounds the bytes of a data frame.
	MaxPayload = 64 << 10
	// maxMessage bounds the payload of the frames that are no data.
	maxMessage = 8 << 10
)

// frame is the head of a frame.
type frame struct {
	kind   kind
	length int
	seq    uint64
	ack    uint64
}

// put writes f into b, which has room for headerLen bytes.
func (f frame) put(b []byte) {
	binary.BigEndian.PutUint32(b, uint32(f.kind)<<24|uint32(f.length))
	binary.BigEndian.PutUint64(b[4:], f.seq)
	binary.BigEndian.PutUint64(b[12:], f.ack)
}

// width is how many positions the frame takes.
func (f frame) width() uint64 {
	switch f.kind {
	case kindData:
		return uint64(f.length)
	case kindEnd, kindClose:
		return 1
	}
	return 0
}

// parseFrame reads a head and refuses what cannot be one.
func parseFrame(b []byte) (frame, error) {
	word := binary.BigEndian.Uint32(b)
	f := frame{kind: kind(word >> 24), length: int(word & 0xffffff), seq: binary.BigEndian.Uint64(b[4:]), ack: binary.BigEndian.Uint64(b[12:])}
	low, high := 0, 0
	switch f.kind {
	case kindData:
		low, high = 1, MaxPayload
	case kindAck, kindPing, kindPong, kindEnd, kindClose:
	case kindOpen, kindChallenge, kindAttach, kindAttached, kindRefused:
		low, high = 1, maxMessage
	default:
		return frame{}, fault.New(fault.Invalid, "a resumable stream carries a frame of the unknown kind %d", f.kind)
	}
	if f.length < low || f.length > high {
		return frame{}, fault.New(fault.Invalid, "a resumable stream carries a frame of kind %d with %d bytes, outside %d..%d", f.kind, f.length, low, high)
	}
	if f.kind >= kindOpen && (f.seq != 0 || f.ack != 0) {
		return frame{}, fault.New(fault.Invalid, "a message of a resumable stream carries a position")
	}
	return f, nil
}

// readFrame reads one head, all or nothing: after an error that is a timeout it
// may be called again.
func readFrame(r *bufio.Reader) (frame, error) {
	b, err := r.Peek(headerLen)
	if err != nil {
		return frame{}, err
	}
	f, err := parseFrame(b)
	if err != nil {
		return frame{}, err
	}
	_, err = r.Discard(headerLen)
	return f, err
}

// opening is the open message.
type opening struct {
	key         [32]byte // Ed25519
	certificate []byte   // X.509, DER
	signature   []byte   // SSH wire form, by the certificate's key over openStatement
}

// challenge is the agent's fresh nonce.
type challenge struct{ nonce [32]byte }

// attachment is the client's claim to a stream.
type attachment struct {
	generation uint64
	received   uint64 // what the client has received
	base, next uint64 // what the client can send again: [base, next)
	signature  [64]byte
}

// attached is the agent's answer: what it has received.
type attached struct{ received uint64 }

// refused is the agent's last word on a stream.
type refused struct{ fault, message, hint string }

// message is the payload of a frame that is no data.
type message interface {
	kind() kind
	append(b *cryptobyte.Builder)
	parse(s *cryptobyte.String) bool
}

func (*opening) kind() kind    { return kindOpen }
func (*challenge) kind() kind  { return kindChallenge }
func (*attachment) kind() kind { return kindAttach }
func (*attached) kind() kind   { return kindAttached }
func (*refused) kind() kind    { return kindRefused }

func (m *opening) append(b *cryptobyte.Builder) {
	b.AddUint8(Version)
	b.AddBytes(m.key[:])
	addBytes(b, m.certificate)
	addBytes(b, m.signature)
}

func (m *opening) parse(s *cryptobyte.String) bool {
	return version(s) && s.CopyBytes(m.key[:]) && readBytes(s, &m.certificate) && readBytes(s, &m.signature)
}

func (m *challenge) append(b *cryptobyte.Builder) {
	b.AddUint8(Version)
	b.AddBytes(m.nonce[:])
}

func (m *challenge) parse(s *cryptobyte.String) bool { return version(s) && s.CopyBytes(m.nonce[:]) }

func (m *attachment) append(b *cryptobyte.Builder) {
	b.AddUint8(Version)
	for _, n := range []uint64{m.generation, m.received, m.base, m.next} {
		b.AddUint64(n)
	}
	b.AddBytes(m.signature[:])
}

func (m *attachment) parse(s *cryptobyte.String) bool {
	return version(s) && s.ReadUint64(&m.generation) && s.ReadUint64(&m.received) && s.ReadUint64(&m.base) && s.ReadUint64(&m.next) &&
		s.CopyBytes(m.signature[:])
}

func (m *attached) append(b *cryptobyte.Builder)    { b.AddUint64(m.received) }
func (m *attached) parse(s *cryptobyte.String) bool { return s.ReadUint64(&m.received) }

func (m *refused) append(b *cryptobyte.Builder) {
	for _, text := range []string{m.fault, m.message, m.hint} {
		addBytes(b, []byte(text))
	}
}

func (m *refused) parse(s *cryptobyte.String) bool {
	var fault, message, hint []byte
	if !readBytes(s, &fault) || !readBytes(s, &message) || !readBytes(s, &hint) {
		return false
	}
	m.fault, m.message, m.hint = string(fault), string(message), string(hint)
	return true
}

// version reads the version of a message; there is one yet.
func version(s *cryptobyte.String) bool {
	var v uint8
	return s.ReadUint8(&v) && v == Version
}

func addBytes(b *cryptobyte.Builder, v []byte) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(v) })
}

func readBytes(s *cryptobyte.String, v *[]byte) bool {
	var inner cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&inner) {
		return false
	}
	*v = append([]byte(nil), inner...)
	return true
}

// appendMessage returns the whole frame of m.
func appendMessage(m message) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, headerLen, 256))
	m.append(b)
	out, err := b.Bytes()
	if err != nil || len(out)-headerLen > maxMessage {
		return nil, fault.New(fault.Limit, "a message of a resumable stream is longer than %d bytes", maxMessage)
	}
	frame{kind: m.kind(), length: len(out) - headerLen}.put(out)
	return out, nil
}

// parseMessage reads a payload into m.
func parseMessage(payload []byte, m message) error {
	s := cryptobyte.String(payload)
	if !m.parse(&s) || !s.Empty() {
		return fault.New(fault.Invalid, "a message of a resumable stream is malformed, or of a version that this one does not know")
	}
	return nil
}

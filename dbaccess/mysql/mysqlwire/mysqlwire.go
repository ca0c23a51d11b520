// Package mysqlwire is the wire format of MySQL and MariaDB: packets, the
// handshake, and the few answers that a relay must understand. It is pure: bytes
// in, structs out, nothing kept.
//
//	packet    length(3) sequence(1) payload
//	message   packets; each of 2^24-1 bytes is continued by the next
//	greeting  10 version\0 id(4) nonce(8) 0 caps(2) charset(1) status(2) caps(2) nonce-length(1) 0(10) nonce\0 plugin\0
//	login     caps(4) max-packet(4) charset(1) 0(23) user\0 auth [database\0] [plugin\0] [attributes]
//	ok        0|fe affected insert-id status(2) warnings(2) …
//	error     ff code(2) [# state(5)] text
//	eof       fe warnings(2) status(2)
//
// Numbers are little-endian; a "length-encoded" number is one byte below 251, or
// fc, fd or fe and then two, three or eight.
// https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html
package mysqlwire

import (
	"encoding/binary"
	"slices"

	"teleport/fault"
)

// Sizes of packets, in bytes.
const (
	HeadSize = 4
	// MaxPayload is that of one packet; a packet this long is continued.
	MaxPayload = 1<<24 - 1
)

// Head reads the head of a packet. b holds at least HeadSize bytes.
func Head(b []byte) (payload int, sequence byte) {
	return int(b[0]) | int(b[1])<<8 | int(b[2])<<16, b[3]
}

// Append adds one packet; the payload is shorter than MaxPayload.
func Append(b []byte, sequence byte, payload []byte) []byte {
	n := len(payload)
	return append(append(b, byte(n), byte(n>>8), byte(n>>16), sequence), payload...)
}

// Capability is a set of what one side can do.
type Capability uint32

// Capabilities that this system knows.
const (
	LongPassword    Capability = 1 << 0 // without it, a MariaDB says more of itself
	FoundRows       Capability = 1 << 1
	LongFlag        Capability = 1 << 2
	ConnectWithDB   Capability = 1 << 3
	NoSchema        Capability = 1 << 4
	Compress        Capability = 1 << 5
	ODBC            Capability = 1 << 6
	LocalFiles      Capability = 1 << 7
	IgnoreSpace     Capability = 1 << 8
	Protocol41      Capability = 1 << 9
	Interactive     Capability = 1 << 10
	SSL             Capability = 1 << 11
	IgnoreSIGPIPE   Capability = 1 << 12
	Transactions    Capability = 1 << 13
	Reserved        Capability = 1 << 14
	SecureLogin     Capability = 1 << 15
	MultiStatements Capability = 1 << 16
	MultiResults    Capability = 1 << 17
	PSMultiResults  Capability = 1 << 18
	PluginAuth      Capability = 1 << 19
	ConnectAttrs    Capability = 1 << 20
	LongAuth        Capability = 1 << 21
	ExpiredPassword Capability = 1 << 22
	SessionTrack    Capability = 1 << 23
	DeprecateEOF    Capability = 1 << 24
)

// Command is the first byte of what a client sends.
type Command byte

// Commands.
const (
	Quit             Command = 0x01
	InitDB           Command = 0x02
	Query            Command = 0x03
	FieldList        Command = 0x04
	CreateDB         Command = 0x05
	DropDB           Command = 0x06
	Refresh          Command = 0x07
	Shutdown         Command = 0x08
	Statistics       Command = 0x09
	ProcessInfo      Command = 0x0a
	ProcessKill      Command = 0x0c
	Debug            Command = 0x0d
	Ping             Command = 0x0e
	ChangeUser       Command = 0x11
	BinlogDump       Command = 0x12
	TableDump        Command = 0x13
	RegisterReplica  Command = 0x15
	StmtPrepare      Command = 0x16
	StmtExecute      Command = 0x17
	StmtSendLongData Command = 0x18
	StmtClose        Command = 0x19
	StmtReset        Command = 0x1a
	SetOption        Command = 0x1b
	StmtFetch        Command = 0x1c
	BinlogDumpGTID   Command = 0x1e
	ResetConnection  Command = 0x1f
	StmtBulkExecute  Command = 0xfa // MariaDB
)

// First bytes of a server's packets.
const (
	HeadOK        = 0x00
	HeadMore      = 0x01 // of a login
	HeadLocalFile = 0xfb
	HeadEOF       = 0xfe // or an OK in its place, or the wish for another way to log in
	HeadErr       = 0xff
)

// Bits of a server's status.
const (
	StatusAutocommit  = 0x0002
	StatusMoreResults = 0x0008
	StatusCursor      = 0x0040
)

// Ways to log in.
const (
	NativePassword = "mysql_native_password"
	CachingSHA2    = "caching_sha2_password"
	ClearPassword  = "mysql_clear_password"
	Ed25519        = "client_ed25519"
)

// NonceSize is that of a greeting's nonce, in bytes.
const NonceSize = 20

// reader takes a payload apart. The first thing that does not fit makes bad true,
// and everything after it zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) bytes(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// text ends with a zero byte, or with the payload.
func (r *reader) text() string {
	i := slices.Index(r.b, 0)
	if i < 0 {
		return string(r.bytes(len(r.b)))
	}
	s := string(r.bytes(i))
	r.bytes(1)
	return s
}

// number is a length-encoded one.
func (r *reader) number() uint64 {
	switch first := r.byte(); first {
	case 0xfb, 0xff:
		r.bad = true
		return 0
	case 0xfc:
		return uint64(r.uint16())
	case 0xfd:
		b := r.bytes(3)
		if b == nil {
			return 0
		}
		return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16
	case 0xfe:
		b := r.bytes(8)
		if b == nil {
			return 0
		}
		return binary.LittleEndian.Uint64(b)
	default:
		return uint64(first)
	}
}

// lengthed is bytes after their length-encoded length.
func (r *reader) lengthed() []byte {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	return r.bytes(int(n))
}

func (r *reader) err(what string) error {
	if r.bad {
		return fault.New(fault.Invalid, "the %s of MySQL cannot be read", what)
	}
	return nil
}

// appendNumber adds a length-encoded number.
func appendNumber(b []byte, n uint64) []byte {
	switch {
	case n < 251:
		return append(b, byte(n))
	case n < 1<<16:
		return append(b, 0xfc, byte(n), byte(n>>8))
	case n < 1<<24:
		return append(b, 0xfd, byte(n), byte(n>>8), byte(n>>16))
	}
	return binary.LittleEndian.AppendUint64(append(b, 0xfe), n)
}

// Package pgwire is how a connection of PostgreSQL begins, for the two places where
// one may end: an agent, and the proxy's own port. What follows the beginning is
// pgproto3's.
// Protocol: https://www.postgresql.org/docs/15/protocol-message-formats.html.
package pgwire

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/jackc/pgx/v5/pgproto3"

	"teleport/fault"
)

// Codes of the packets that open a connection (PostgreSQL 15, 55.7).
const (
	CodeCancel = 80877102
	CodeSSL    = 80877103
	CodeGSS    = 80877104
)

const maxStart = 10_000 // bytes, as the server has it

// ReadPacket reads one packet that has no type: a length of itself, a code, a body.
func ReadPacket(r io.Reader) (code uint32, body []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 8 || n > maxStart {
		return 0, nil, fault.New(fault.Invalid, "this is not how a PostgreSQL client opens a connection")
	}
	body = make([]byte, n-8)
	_, err = io.ReadFull(r, body)
	return binary.BigEndian.Uint32(head[4:]), body, err
}

// AppendPacket appends one to b.
func AppendPacket(b []byte, code uint32, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(8+len(body)))
	return append(binary.BigEndian.AppendUint32(b, code), body...)
}

// Said is an error that a database has a SQLSTATE of its own for, by which programs
// tell what to do.
type Said struct {
	State string
	Why   error
}

// Error implements error.
func (s *Said) Error() string { return s.Why.Error() }

// Unwrap returns what is said to people.
func (s *Said) Unwrap() error { return s.Why }

// Refusal is an error in the client's own form. 28000 is "invalid authorization",
// 08006 a broken connection, 0A000 what is not supported.
func Refusal(why error) []byte {
	code := map[fault.Kind]string{fault.Denied: "28000", fault.Unauthenticated: "28000", fault.Unimplemented: "0A000",
		fault.Invalid: "08P01", fault.Limit: "54000", fault.Timeout: "57014"}[fault.KindOf(why)]
	if code == "" {
		code = "08006"
	}
	if said := (*Said)(nil); errors.As(why, &said) {
		code = said.State
	}
	b, err := (&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: fault.Message(why), Hint: fault.Hint(why)}).Encode(nil)
	if err != nil {
		return nil // longer than the protocol allows
	}
	return b
}

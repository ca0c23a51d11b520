package postgres

import (
	"context"
	"encoding/binary"
	"io"
	"maps"
	"net"
	"slices"

	"github.com/jackc/pgx/v5/pgproto3"

	"teleport/dbaccess"
	"teleport/dbaccess/postgres/pgwire"
	"teleport/fault"
)

const (
	major3        = 3 << 16
	maxParameters = 64
)

// start is what a client opened with: a wish to cancel, or a session.
type start struct {
	cancel         *dbaccess.CancelKey
	user, database string
	parameters     map[string]string // application_name, client_encoding, options …
	minor          bool              // it asked for a newer minor version than 3.0
	unknown        []string          // protocol options that we do not have
}

// readStart reads the packets that open a connection. The connection is within
// TLS already, so an offer to negotiate encryption is answered with a no, once
// each.
func readStart(c io.ReadWriter) (*start, error) {
	var asked [2]bool
	for {
		code, body, err := pgwire.ReadPacket(c)
		if err != nil {
			return nil, err
		}
		switch {
		case code == pgwire.CodeSSL && !asked[0], code == pgwire.CodeGSS && !asked[1]:
			asked[code-pgwire.CodeSSL] = true
			if _, err := c.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		case code == pgwire.CodeCancel && len(body) == len(dbaccess.CancelKey{}):
			k := dbaccess.CancelKey(body)
			return &start{cancel: &k}, nil
		case code&0xffff0000 == major3:
			return parseStart(code, body)
		default:
			return nil, fault.New(fault.Invalid, "this is not how a PostgreSQL client opens a connection")
		}
	}
}

// parseStart reads a StartupMessage. "replication" is a protocol of its own, which
// is refused.
func parseStart(code uint32, body []byte) (*start, error) {
	s := &start{parameters: map[string]string{}, minor: code&0xffff > 0}
	for len(body) > 1 {
		key, rest, ok := cString(body)
		value, rest, ok2 := cString(rest)
		if !ok || !ok2 || key == "" || len(s.parameters) == maxParameters {
			return nil, fault.New(fault.Invalid, "the start of the PostgreSQL client cannot be read")
		}
		body = rest
		switch {
		case key == "user":
			s.user = value
		case key == "database":
			s.database = value
		case key == "replication":
			return nil, fault.New(fault.Unimplemented, "the replication protocol is not let through")
		case len(key) > 5 && key[:5] == "_pq_.":
			s.unknown = append(s.unknown, key)
		default:
			s.parameters[key] = value
		}
	}
	if len(body) != 1 || body[0] != 0 {
		return nil, fault.New(fault.Invalid, "the start of the PostgreSQL client cannot be read")
	}
	s.user, s.database = canonical(s.user), canonical(s.database)
	if s.database == "" {
		s.database = s.user // as the server does
	}
	return s, nil
}

// canonical is a name as the server has it: it cuts names at 63 bytes
// (NAMEDATALEN), so a longer one would be another than was decided about.
func canonical(name string) string {
	const most = 63
	if len(name) <= most {
		return name
	}
	for i := most; i > 0; i-- { // never within a character, whatever the encoding
		if name[i]&0xc0 != 0x80 {
			return name[:i]
		}
	}
	return ""
}

func cString(b []byte) (s string, rest []byte, ok bool) {
	i := slices.Index(b, 0)
	if i < 0 {
		return "", nil, false
	}
	return string(b[:i]), b[i+1:], true
}

// welcome is what a client hears after its login: that it is in, what the server
// says of itself, and the key by which it cancels.
func welcome(s *start, v *server, key dbaccess.CancelKey) []byte {
	var msgs []pgproto3.BackendMessage
	if s.minor || len(s.unknown) > 0 {
		msgs = append(msgs, &pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 0, UnrecognizedOptions: s.unknown})
	}
	msgs = append(msgs, &pgproto3.AuthenticationOk{})
	for _, n := range v.notices {
		msgs = append(msgs, &pgproto3.NoticeResponse{Severity: n.Severity, SeverityUnlocalized: n.SeverityUnlocalized, Code: n.Code, Message: n.Message, Detail: n.Detail, Hint: n.Hint})
	}
	for _, name := range slices.Sorted(maps.Keys(v.parameters)) {
		msgs = append(msgs, &pgproto3.ParameterStatus{Name: name, Value: v.parameters[name]})
	}
	msgs = append(msgs, &pgproto3.BackendKeyData{ProcessID: binary.BigEndian.Uint32(key[:4]), SecretKey: key[4:]}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	return encode(msgs...)
}

// encode writes messages of ours, which fit.
func encode(msgs ...pgproto3.BackendMessage) []byte {
	var b []byte
	for _, m := range msgs {
		out, err := m.Encode(b)
		if err != nil {
			continue // longer than the protocol allows
		}
		b = out
	}
	return b
}

func refuse(c net.Conn, why error) error {
	_, err := c.Write(pgwire.Refusal(why))
	return err
}

// dialTLS opens an encrypted connection to the server and nothing more.
func dialTLS(ctx context.Context, s *dbaccess.Session) (net.Conn, error) {
	raw, err := s.Dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	ask := pgwire.AppendPacket(nil, pgwire.CodeSSL, nil)
	answer := make([]byte, 1)
	if _, err = raw.Write(ask); err == nil {
		_, err = io.ReadFull(raw, answer)
	}
	if err == nil && answer[0] != 'S' {
		err = fault.New(fault.Untrusted, "the database does not offer TLS")
	}
	var conn net.Conn
	if err == nil {
		conn, err = s.Secure(ctx, raw)
	}
	if err != nil {
		raw.Close()
		if cause := context.Cause(ctx); cause != nil {
			err = cause // for which it was closed under the handshake
		}
		return nil, err
	}
	return conn, nil
}

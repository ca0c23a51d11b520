package postgres

import (
	"context"
	"encoding/binary"
	"net"

	"github.com/jackc/pgx/v5/pgproto3"

	"teleport/dbaccess"
	"teleport/fault"
	"teleport/types/event"
)

// split reads the head of a message: a type and a length of everything after it.
func split(b []byte) (kind byte, size int64, err error) {
	if len(b) < 5 {
		return 0, 0, nil
	}
	n := binary.BigEndian.Uint32(b[1:])
	if n < 4 || n > 1<<30 {
		return 0, 0, fault.New(fault.Invalid, "a PostgreSQL message claims %d bytes", n)
	}
	return b[0], int64(n) + 1, nil
}

// frontend is what the client says: statements are seen whole, and of all others
// the head.
type frontend struct {
	ctx   context.Context
	s     *dbaccess.Session
	known *declared
	left  bool // the client has taken its leave
}

// Split implements relay.Direction.
func (f *frontend) Split(b []byte) (int64, int, error) {
	kind, size, err := split(b)
	if err != nil || size == 0 {
		return 0, 0, err
	}
	switch kind {
	case 'Q', 'P', 'B', 'E', 'C', 'F':
		return size, int(size), nil
	case 'D':
		if f.known.told() {
			return size, int(size), nil
		}
		return size, 5, nil
	case 'H', 'S', 'X', 'd', 'c', 'f':
		return size, 5, nil
	}
	return 0, 0, f.malformed(b, "the message type %q is not one of a client in a session", kind)
}

// See implements relay.Direction.
func (f *frontend) See(b []byte) (bool, error) {
	body := b[5:]
	var err error
	switch b[0] {
	case 'Q':
		var m pgproto3.Query
		if err = m.Decode(body); err == nil {
			f.known.sync()
			return f.tell(&event.DBQuery{Statement: dbaccess.StatementOf([]byte(m.String)), Status: event.Status{Success: true}}, event.TypeDBQuery, event.CodeDBQuery)
		}
	case 'P':
		var m pgproto3.Parse
		if err = m.Decode(body); err == nil {
			f.known.parse(&m)
			return f.tell(&event.PostgresParse{Statement: dbaccess.StatementOf([]byte(m.Query)), Name: m.Name, Types: m.ParameterOIDs}, event.TypePostgresParse, event.CodePostgresParse)
		}
	case 'B':
		var m pgproto3.Bind
		if err = m.Decode(body); err == nil {
			return f.tell(&event.PostgresBind{Name: m.PreparedStatement, Portal: m.DestinationPortal,
				Parameters: f.known.bind(&m)}, event.TypePostgresBind, event.CodePostgresBind)
		}
	case 'E':
		var m pgproto3.Execute
		if err = m.Decode(body); err == nil {
			return f.tell(&event.PostgresExecute{Portal: m.Portal, Rows: m.MaxRows}, event.TypePostgresExecute, event.CodePostgresExecute)
		}
	case 'C':
		var m pgproto3.Close
		if err = m.Decode(body); err == nil {
			e := &event.PostgresClose{Name: m.Name}
			if m.ObjectType == 'P' {
				e.Name, e.Portal = "", m.Name
			} else {
				f.known.close(m.Name)
			}
			return f.tell(e, event.TypePostgresClose, event.CodePostgresClose)
		}
	case 'F':
		var m pgproto3.FunctionCall
		if err = m.Decode(body); err == nil {
			f.known.sync()
			return f.tell(&event.PostgresFunction{OID: m.Function, Args: len(m.Arguments)}, event.TypePostgresFunction, event.CodePostgresFunction)
		}
	case 'D':
		var m pgproto3.Describe
		if len(body) == 0 {
			return true, nil // of a session without types
		}
		if err = m.Decode(body); err == nil {
			f.known.describe(&m)
			return true, nil
		}
	case 'S':
		f.known.sync()
		return true, nil
	default:
		f.left = f.left || b[0] == 'X'
		return true, nil
	}
	return false, f.malformed(b, "a message of the type %q cannot be read: %v", b[0], err)
}

// Commit implements relay.Direction.
func (f *frontend) Commit() error { return f.s.Commit(f.ctx) }

// tell lets a message pass of which the log is told before.
func (f *frontend) tell(e event.Event, typ, code string) (pass bool, err error) {
	f.s.Tell(e, typ, code)
	return true, nil
}

// malformed tells the log what was refused, and returns why.
func (f *frontend) malformed(b []byte, format string, args ...any) error {
	why := fault.New(fault.Invalid, format, args...)
	f.s.Tell(dbaccess.Malformed(b, why.Message), event.TypeDBMalformed, event.CodeDBMalformed)
	return why
}

// backend is what the server says.
type backend struct {
	ctx   context.Context
	s     *dbaccess.Session
	known *declared
}

// Split implements relay.Direction.
func (d *backend) Split(b []byte) (int64, int, error) {
	kind, size, err := split(b)
	if err != nil || size == 0 {
		return 0, 0, err
	}
	switch kind {
	case 'C':
		return size, int(size), nil
	case 'E':
		if size <= maxError {
			return size, int(size), nil
		}
		return size, 5, nil
	case 't':
		if d.known.told() {
			return size, int(min(size, maxDescription)), nil
		}
	case 'R', 'K':
		return 0, 0, fault.New(fault.Untrusted, "the database asks for another login in the middle of a session")
	}
	return size, 5, nil
}

const (
	maxError       = 64 << 10
	maxDescription = 5 + 2 + 4*maxDeclared
)

// See implements relay.Direction.
func (d *backend) See(b []byte) (bool, error) {
	switch {
	case b[0] == 'C':
		var m pgproto3.CommandComplete
		if err := m.Decode(b[5:]); err != nil {
			return false, fault.Wrap(err, fault.Untrusted, "the database says what cannot be read")
		}
		word, rows := commandTag(m.CommandTag)
		d.s.Tell(&event.DBResult{Status: event.Status{Success: true}, Command: word, Rows: rows}, event.TypeDBResult, event.CodeDBResult)
	case b[0] == 'E':
		e := &event.DBResult{}
		var m pgproto3.ErrorResponse
		if len(b) > 5 && m.Decode(b[5:]) == nil {
			e.Code, e.Error = m.Code, m.Message
		}
		d.s.Tell(e, event.TypeDBResult, event.CodeDBResultFail)
	case b[0] == 't' && len(b) > 5:
		d.known.answered(b[5:])
	case b[0] == 'Z':
		d.known.ready()
	}
	return true, nil
}

// Commit implements relay.Direction. What has happened is told with what comes next.
func (d *backend) Commit() error { return d.s.CommitSoon(d.ctx) }

// commandTag splits "INSERT 0 5", "SELECT 5", "BEGIN".
func commandTag(tag []byte) (word string, rows uint64) {
	end := len(tag)
	for end > 0 && tag[end-1] >= '0' && tag[end-1] <= '9' {
		end--
	}
	for _, c := range tag[end:] {
		rows = rows*10 + uint64(c-'0')
	}
	for i, c := range tag {
		if c == ' ' && i+1 < len(tag) && tag[i+1] >= '0' && tag[i+1] <= '9' {
			return string(tag[:i]), rows
		}
	}
	return string(tag), rows
}

// byMessage reads no further than the message at hand, so that whoever reads
// through it has nothing of the next one in a buffer.
type byMessage struct {
	net.Conn
	head [5]byte
	have int // of head
	rest int64
}

// Read implements net.Conn.
func (m *byMessage) Read(p []byte) (int, error) {
	if m.rest > 0 {
		n, err := m.Conn.Read(p[:min(int64(len(p)), m.rest)])
		m.rest -= int64(n)
		return n, err
	}
	n, err := m.Conn.Read(p[:min(len(p), len(m.head)-m.have)])
	copy(m.head[m.have:], p[:n])
	if m.have += n; m.have == len(m.head) {
		m.have, m.rest = 0, max(0, int64(binary.BigEndian.Uint32(m.head[1:]))-4)
	}
	return n, err
}

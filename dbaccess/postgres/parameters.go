package postgres

import (
	"encoding/binary"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"teleport/dbaccess"
	"teleport/types"
	"teleport/types/event"
)

// declared remembers the types of statements' parameters, for sessions of which
// parameters are told: those that the client declared, and those that the server
// told it when it asked. Statements beyond its bounds have parameters of types that
// are not known. Safe for use by the two directions of a session.
type declared struct {
	level string
	names *pgtype.Map // of the client's direction

	mu    sync.Mutex
	types map[string]statementTypes // nil: nobody is told of types
	made  uint64                    // statements, ever
	asked []question                // that the server has not answered
	deaf  bool                      // the client asked more than is kept
}

// statementTypes are the types of one statement of a name.
type statementTypes struct {
	made uint64
	oids []uint32
}

// question is what the server was asked in a pipeline: the types of a statement, or
// to say that it is ready.
type question struct {
	statement string
	made      uint64
	ready     bool
}

const (
	mostDeclared = 1 << 10 // statements
	maxDeclared  = 64      // types of one
	longestName  = 256     // bytes
	mostAsked    = 1 << 10
)

func newDeclared(level string) *declared {
	d := &declared{level: level}
	if d.told() {
		d.names, d.types = pgtype.NewMap(), map[string]statementTypes{}
	}
	return d
}

// told reports whether anybody is told of types.
func (d *declared) told() bool { return d.level != "" && d.level != types.DBParametersNone }

func (d *declared) parse(m *pgproto3.Parse) {
	if !d.told() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.types, m.Name)
	d.made++
	if len(d.types) < mostDeclared && len(m.Name) <= longestName {
		d.types[m.Name] = statementTypes{d.made, append([]uint32(nil), m.ParameterOIDs[:min(len(m.ParameterOIDs), maxDeclared)]...)}
	}
}

func (d *declared) close(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.types, name)
}

// describe notes that the client asks for the types of a statement.
func (d *declared) describe(m *pgproto3.Describe) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if m.ObjectType == 'S' {
		d.ask(question{statement: m.Name, made: d.types[m.Name].made})
	}
}

// sync notes that the server will say that it is ready, and with that has answered
// or skipped everything before.
func (d *declared) sync() {
	if !d.told() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ask(question{ready: true})
}

// ask files a question. The caller holds the lock. A client that asks without
// end is not listened to any more: its answers could not be told apart.
func (d *declared) ask(q question) {
	if d.deaf = d.deaf || len(d.asked) == mostAsked; d.deaf {
		d.asked = nil
		return
	}
	d.asked = append(d.asked, q)
}

// ready takes the server's word that it is.
func (d *declared) ready() {
	if !d.told() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, q := range d.asked {
		if q.ready {
			d.asked = d.asked[i+1:]
			return
		}
	}
}

// answered takes what the server says of a statement's parameters: body may be the
// beginning of its message.
func (d *declared) answered(body []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asked) == 0 || d.asked[0].ready || len(body) < 2 {
		return
	}
	q := d.asked[0]
	d.asked = d.asked[1:]
	s, ok := d.types[q.statement]
	if !ok || s.made != q.made {
		return // another has that name by now
	}
	s.oids = nil
	for rest := body[2:]; len(rest) >= 4 && len(s.oids) < maxDeclared; rest = rest[4:] {
		s.oids = append(s.oids, binary.BigEndian.Uint32(rest))
	}
	d.types[q.statement] = s
}

// typesOf returns the types of a statement as far as they are known.
func (d *declared) typesOf(statement string) []uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.types[statement].oids
}

// bind is what an event tells of the values that a statement is bound to.
func (d *declared) bind(m *pgproto3.Bind) event.Parameters {
	p := dbaccess.NewParameters(d.level, len(m.Parameters))
	if !d.told() {
		return p.Event()
	}
	oids, forms := d.typesOf(m.PreparedStatement), m.ParameterFormatCodes
	for i, value := range m.Parameters {
		var oid uint32
		if i < len(oids) {
			oid = oids[i]
		}
		binary := len(forms) == 1 && forms[0] != 0 || i < len(forms) && len(forms) > 1 && forms[i] != 0
		p.Add(d.name(oid, binary), value, binary)
	}
	return p.Event()
}

// name is a type's own name, or the form of a value whose type the client left to
// the server.
func (d *declared) name(oid uint32, binary bool) string {
	if t, ok := d.names.TypeForOID(oid); ok {
		return t.Name
	}
	switch {
	case oid != 0:
		return "oid " + strconv.FormatUint(uint64(oid), 10)
	case binary:
		return "binary"
	}
	return "untyped"
}

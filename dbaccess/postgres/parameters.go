package postgres

import (
	"strconv"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"

	"teleport/dbaccess"
	"teleport/types"
	"teleport/types/event"
)

// declared remembers the types that statements were prepared with, for sessions
// of which parameters are told. Statements beyond its bounds have parameters of
// types that are not known.
type declared struct {
	level string
	names *pgtype.Map
	types map[string][]uint32
}

const (
	mostDeclared = 1 << 10 // statements
	maxDeclared  = 64      // types of one
	longestName  = 256     // bytes
)

func newDeclared(level string) *declared {
	d := &declared{level: level}
	if level != "" && level != types.DBParametersNone {
		d.names, d.types = pgtype.NewMap(), map[string][]uint32{}
	}
	return d
}

func (d *declared) parse(m *pgproto3.Parse) {
	if d.types == nil {
		return
	}
	delete(d.types, m.Name)
	if len(d.types) < mostDeclared && len(m.Name) <= longestName && len(m.ParameterOIDs) > 0 {
		d.types[m.Name] = append([]uint32(nil), m.ParameterOIDs[:min(len(m.ParameterOIDs), maxDeclared)]...)
	}
}

func (d *declared) close(name string) { delete(d.types, name) }

// bind is what an event tells of the values that a statement is bound to.
func (d *declared) bind(m *pgproto3.Bind) event.Parameters {
	p := dbaccess.NewParameters(d.level, len(m.Parameters))
	if d.types == nil {
		return p.Event()
	}
	oids, forms := d.types[m.PreparedStatement], m.ParameterFormatCodes
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

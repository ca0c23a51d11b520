package mysqlwire

import "encoding/binary"

// OK is how a server ends a command that brought no rows, and, with DeprecateEOF,
// one that did.
type OK struct {
	Affected, InsertID uint64
	Status, Warnings   uint16
}

// ParseOK reads the beginning of a payload.
func ParseOK(b []byte) (OK, error) {
	r := &reader{b: b}
	r.byte()
	ok := OK{Affected: r.number(), InsertID: r.number(), Status: r.uint16(), Warnings: r.uint16()}
	return ok, r.err("answer")
}

// Append adds the payload.
func (ok OK) Append(b []byte) []byte {
	b = appendNumber(appendNumber(append(b, HeadOK), ok.Affected), ok.InsertID)
	b = binary.LittleEndian.AppendUint16(b, ok.Status)
	return binary.LittleEndian.AppendUint16(b, ok.Warnings)
}

// EOF ends a list of columns, and one of rows, without DeprecateEOF.
type EOF struct{ Warnings, Status uint16 }

// EOFSize is the most that an EOF's payload takes; a longer one is a row.
const EOFSize = 8

// ParseEOF reads a payload.
func ParseEOF(b []byte) (EOF, error) {
	r := &reader{b: b}
	r.byte()
	e := EOF{Warnings: r.uint16(), Status: r.uint16()}
	return e, r.err("end of a list")
}

// Err is a server's error.
type Err struct {
	Code    uint16
	State   string // SQLSTATE, "" where the server did not say
	Message string
}

// ParseErr reads a payload, of which the end may be missing.
func ParseErr(b []byte) (Err, error) {
	r := &reader{b: b}
	r.byte()
	e := Err{Code: r.uint16()}
	if len(r.b) >= 6 && r.b[0] == '#' {
		e.State = string(r.bytes(6)[1:])
	}
	e.Message = string(r.bytes(len(r.b)))
	return e, r.err("error")
}

// Append adds the payload. State is of five bytes, or empty.
func (e Err) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(append(b, HeadErr), e.Code)
	if e.State != "" {
		b = append(append(b, '#'), e.State...)
	}
	return append(b, e.Message...)
}

// Prepared is the answer to StmtPrepare.
type Prepared struct {
	Statement           uint32
	Columns, Parameters uint16
}

// ParsePrepared reads a payload.
func ParsePrepared(b []byte) (Prepared, error) {
	r := &reader{b: b}
	r.byte()
	p := Prepared{Statement: r.uint32(), Columns: r.uint16(), Parameters: r.uint16()}
	return p, r.err("answer to a preparation")
}

// ParseColumns reads how many columns a result has.
func ParseColumns(b []byte) (uint64, error) {
	r := &reader{b: b}
	n := r.number()
	return n, r.err("number of columns")
}

// ParseRow reads a row of so many values in the text form. NULL is "".
func ParseRow(b []byte, columns int) ([]string, error) {
	r := &reader{b: b}
	var out []string
	for range columns {
		if len(r.b) > 0 && r.b[0] == 0xfb {
			r.byte()
			out = append(out, "")
			continue
		}
		out = append(out, string(r.lengthed()))
	}
	if len(r.b) > 0 {
		r.bad = true
	}
	return out, r.err("row")
}

package mysql

import (
	"strconv"

	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/fault"
	"teleport/types/event"
)

// step is where the server is in an answer.
type step int

const (
	stepFirst      step = iota // an OK, an error, or the number of columns
	stepColumns                // left of them are to come
	stepColumnsEnd             // without DeprecateEOF
	stepRows
)

// backend is what the server says: how each answer begins and ends, and nothing
// of what it holds.
type backend struct {
	emitter
	talk      *conversation
	deprecate bool // lists of columns have no end of their own

	more  bool // the message goes on in the next packet
	step  step
	left  uint64 // columns
	lists []uint64
	rows  uint64
}

const (
	maxOK  = 64      // bytes of an OK that are seen; what follows tells of the session
	maxErr = 4 << 10 // bytes of an error
)

// Split implements relay.Direction.
func (d *backend) Split(b []byte) (int64, int, error) {
	if len(b) < mysqlwire.HeadSize {
		return 0, 0, nil
	}
	n, _ := mysqlwire.Head(b)
	size := int64(mysqlwire.HeadSize + n)
	switch {
	case d.more:
		return size, mysqlwire.HeadSize, nil
	case n == 0:
		return 0, 0, untrusted("the database sends an empty packet")
	case len(b) == mysqlwire.HeadSize:
		return 0, 0, nil
	case b[mysqlwire.HeadSize] == mysqlwire.HeadErr && n <= maxErr:
		return size, int(size), nil
	case d.step == stepColumns, d.step == stepRows && !d.ends(b[mysqlwire.HeadSize], n):
		return size, mysqlwire.HeadSize + 1, nil
	}
	return size, mysqlwire.HeadSize + min(n, maxOK), nil
}

// ends tells a packet that ends rows from a row. A row that begins with the same
// byte begins with a column of 2^24 bytes and more.
func (d *backend) ends(first byte, n int) bool {
	if d.deprecate {
		return first == mysqlwire.HeadEOF && n < mysqlwire.MaxPayload
	}
	return first == mysqlwire.HeadEOF && n <= mysqlwire.EOFSize
}

// See implements relay.Direction.
func (d *backend) See(b []byte) (bool, error) {
	n, sequence := mysqlwire.Head(b)
	if d.more {
		d.more = n == mysqlwire.MaxPayload
		d.talk.heard(sequence, false)
		return true, nil
	}
	d.more = n == mysqlwire.MaxPayload
	body := b[mysqlwire.HeadSize:]
	cmd, asked := d.talk.asked()
	if d.step == stepFirst && (cmd == mysqlwire.FieldList || cmd == mysqlwire.StmtFetch) {
		d.step = stepRows // columns of the one are as rows are
	}
	var last bool
	var err error
	switch {
	case body[0] == mysqlwire.HeadErr:
		last, err = true, d.failed(cmd, asked, body)
	case !asked:
		return false, untrusted("the database answers what nobody asked")
	case d.step == stepFirst:
		last, err = d.first(cmd, body)
	case d.step == stepColumns:
		last, err = d.column()
	case d.step == stepColumnsEnd:
		last, err = d.columnsEnd(cmd, body)
	case d.ends(body[0], n):
		last, err = d.rowsEnd(cmd, body)
	default:
		d.rows++
	}
	if err != nil {
		return false, err
	}
	d.talk.heard(sequence, last)
	return true, nil
}

// Commit implements relay.Direction. What has happened is told with what comes next.
func (d *backend) Commit() error { return d.s.CommitSoon(d.ctx) }

// first is the first packet of an answer, or of one of its results.
func (d *backend) first(cmd mysqlwire.Command, body []byte) (last bool, err error) {
	switch {
	case cmd == mysqlwire.Statistics: // a text
		return true, nil
	case cmd == mysqlwire.StmtPrepare:
		return d.preparedOK(body)
	case body[0] == mysqlwire.HeadOK:
		ok, err := mysqlwire.ParseOK(body)
		if err != nil {
			return false, untrusted("the database says what cannot be read")
		}
		return ok.Status&mysqlwire.StatusMoreResults == 0, d.result(cmd, ok.Affected, 0)
	case body[0] == mysqlwire.HeadEOF && !resultful(cmd): // of COM_SET_OPTION, COM_DEBUG
		return true, d.result(cmd, 0, 0)
	case body[0] == mysqlwire.HeadLocalFile:
		return false, untrusted("the database asks for a file of the client's, which was not offered")
	case !resultful(cmd):
		return false, untrusted("the database answers a command with rows that has none")
	}
	n, err := mysqlwire.ParseColumns(body)
	if err != nil || n == 0 || n > 1<<16 {
		return false, untrusted("the database says what cannot be read")
	}
	d.step, d.left, d.lists = stepColumns, n, nil
	return false, nil
}

func resultful(cmd mysqlwire.Command) bool {
	return cmd == mysqlwire.Query || cmd == mysqlwire.StmtExecute || cmd == mysqlwire.ProcessInfo
}

// preparedOK is followed by a list of the parameters and one of the columns.
func (d *backend) preparedOK(body []byte) (last bool, err error) {
	p, err := mysqlwire.ParsePrepared(body)
	if err != nil || body[0] != mysqlwire.HeadOK {
		return false, untrusted("the database says what cannot be read")
	}
	d.talk.keep(p)
	if err := d.result(mysqlwire.StmtPrepare, 0, p.Statement); err != nil {
		return false, err
	}
	d.lists = nil
	for _, n := range []uint16{p.Parameters, p.Columns} {
		if n > 0 {
			d.lists = append(d.lists, uint64(n))
		}
	}
	return d.nextList(), nil
}

// nextList turns to the next list of an answer that is made of lists alone.
func (d *backend) nextList() (last bool) {
	if len(d.lists) == 0 {
		d.step = stepFirst
		return true
	}
	d.step, d.left, d.lists = stepColumns, d.lists[0], d.lists[1:]
	return false
}

// column is one of a list.
func (d *backend) column() (last bool, err error) {
	d.left--
	switch cmd, _ := d.talk.asked(); {
	case d.left > 0:
	case !d.deprecate:
		d.step = stepColumnsEnd
	case cmd == mysqlwire.StmtPrepare:
		return d.nextList(), nil
	default:
		d.step, d.rows = stepRows, 0
	}
	return false, nil
}

func (d *backend) columnsEnd(cmd mysqlwire.Command, body []byte) (last bool, err error) {
	e, err := mysqlwire.ParseEOF(body)
	if err != nil || body[0] != mysqlwire.HeadEOF {
		return false, untrusted("the database says what cannot be read")
	}
	if cmd == mysqlwire.StmtPrepare {
		return d.nextList(), nil
	}
	if e.Status&mysqlwire.StatusCursor != 0 { // the rows stay with the server
		d.step = stepFirst
		return true, d.result(cmd, 0, 0)
	}
	d.step, d.rows = stepRows, 0
	return false, nil
}

// rowsEnd is an EOF, or an OK in its place.
func (d *backend) rowsEnd(cmd mysqlwire.Command, body []byte) (last bool, err error) {
	var status uint16
	if d.deprecate {
		ok, oerr := mysqlwire.ParseOK(body)
		status, err = ok.Status, oerr
	} else {
		e, eerr := mysqlwire.ParseEOF(body)
		status, err = e.Status, eerr
	}
	if err != nil {
		return false, untrusted("the database says what cannot be read")
	}
	rows := d.rows
	d.step, d.rows = stepFirst, 0
	return !resultful(cmd) || status&mysqlwire.StatusMoreResults == 0, d.result(cmd, rows, 0)
}

// words are the commands whose end is an event.
var words = map[mysqlwire.Command]string{
	mysqlwire.Query: "QUERY", mysqlwire.StmtPrepare: "PREPARE", mysqlwire.StmtExecute: "EXECUTE", mysqlwire.StmtFetch: "FETCH",
	mysqlwire.InitDB: "INIT_DB", mysqlwire.CreateDB: "CREATE_DB", mysqlwire.DropDB: "DROP_DB", mysqlwire.FieldList: "FIELD_LIST",
	mysqlwire.Refresh: "REFRESH", mysqlwire.Shutdown: "SHUTDOWN", mysqlwire.ProcessInfo: "PROCESS_INFO", mysqlwire.ProcessKill: "PROCESS_KILL",
	mysqlwire.Debug: "DEBUG", mysqlwire.ResetConnection: "RESET_CONNECTION",
}

func (d *backend) result(cmd mysqlwire.Command, rows uint64, statement uint32) error {
	word := words[cmd]
	if word == "" {
		return nil
	}
	return d.emit(&event.DBResult{Status: event.Status{Success: true}, Command: word, Rows: rows, StatementID: statement}, event.TypeDBResult, event.CodeDBResult)
}

// failed is an error, which ends an answer wherever that is. One that nobody asked
// for is the server's farewell.
func (d *backend) failed(cmd mysqlwire.Command, asked bool, body []byte) error {
	d.step, d.rows, d.lists = stepFirst, 0, nil
	e, err := mysqlwire.ParseErr(body)
	if err != nil {
		return untrusted("the database says what cannot be read")
	}
	out := &event.DBResult{Command: words[cmd], Code: strconv.Itoa(int(e.Code)), Status: event.Status{Error: e.Message}}
	if !asked {
		out.Command = ""
	}
	return d.emit(out, event.TypeDBResult, event.CodeDBResultFail)
}

func untrusted(why string) error { return fault.New(fault.Untrusted, "%s", why) }

package mysql

import (
	"encoding/binary"
	"fmt"

	"teleport/dbaccess"
	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/fault"
	"teleport/types/event"
)

// frontend is what the client says: statements and names are seen whole, and of
// all other commands the head. A command that is not in the table is refused.
type frontend struct {
	emitter
	talk      *conversation
	more      bool // the message goes on in the next packet
	next      byte // its sequence
	left      bool // the client has taken its leave
	cmd       mysqlwire.Command
	statement *dbaccess.Statement // of a message that goes on
	bound     bound
}

// shape is what the payload of a command looks like.
type shape struct {
	least, most int  // bytes, with the command's own
	whole       bool // is seen whole
	silent      bool // has no answer
}

const (
	anySize  = 0
	maxName  = 4 * 64 // bytes of a database's name: 64 characters
	maxField = 1024   // bytes of a table's name and a pattern
)

// shapes are the commands that are let through.
var shapes = map[mysqlwire.Command]shape{
	mysqlwire.Query:            {1, anySize, true, false},
	mysqlwire.StmtPrepare:      {1, anySize, true, false},
	mysqlwire.StmtExecute:      {10, anySize, false, false},
	mysqlwire.StmtSendLongData: {7, anySize, false, true},
	mysqlwire.StmtClose:        {5, 5, true, true},
	mysqlwire.StmtReset:        {5, 5, true, false},
	mysqlwire.StmtFetch:        {9, 9, true, false},
	mysqlwire.InitDB:           {2, 1 + maxName, true, false},
	mysqlwire.CreateDB:         {2, 1 + maxName, true, false},
	mysqlwire.DropDB:           {2, 1 + maxName, true, false},
	mysqlwire.FieldList:        {2, 1 + maxField, true, false},
	mysqlwire.Refresh:          {2, 2, true, false},
	mysqlwire.Shutdown:         {1, 2, true, false},
	mysqlwire.Statistics:       {1, 1, true, false},
	mysqlwire.ProcessInfo:      {1, 1, true, false},
	mysqlwire.ProcessKill:      {5, 5, true, false},
	mysqlwire.Debug:            {1, 1, true, false},
	mysqlwire.Ping:             {1, 1, true, false},
	mysqlwire.SetOption:        {3, 3, true, false},
	mysqlwire.ResetConnection:  {1, 1, true, false},
	mysqlwire.Quit:             {1, 1, true, true},
}

// refused are commands that have a reason of their own.
var refused = map[mysqlwire.Command]string{
	mysqlwire.ChangeUser:      "another user is another connection: the change of users (COM_CHANGE_USER) is not let through",
	mysqlwire.BinlogDump:      notReplication,
	mysqlwire.BinlogDumpGTID:  notReplication,
	mysqlwire.TableDump:       notReplication,
	mysqlwire.RegisterReplica: notReplication,
}

const notReplication = "the replication protocol is not let through"

// Split implements relay.Direction.
func (f *frontend) Split(b []byte) (int64, int, error) {
	if len(b) < mysqlwire.HeadSize {
		return 0, 0, nil
	}
	n, sequence := mysqlwire.Head(b)
	size := int64(mysqlwire.HeadSize + n)
	if f.more {
		if sequence != f.next {
			return 0, 0, f.malformed(b, "a packet has the sequence %d where %d is due", sequence, f.next)
		}
		if f.statement != nil {
			return size, int(size), nil
		}
		return size, mysqlwire.HeadSize, nil
	}
	if n == 0 || sequence != 0 {
		return 0, 0, f.malformed(b, "a packet of %d bytes has the sequence %d where a command is due", n, sequence)
	}
	if len(b) == mysqlwire.HeadSize {
		return 0, 0, nil
	}
	f.cmd = mysqlwire.Command(b[mysqlwire.HeadSize])
	x, known := shapes[f.cmd]
	switch {
	case !known:
		return 0, 0, f.unknown(b)
	case n < x.least || x.most != anySize && n > x.most:
		return 0, 0, f.malformed(b, "a command %#02x has %d bytes", byte(f.cmd), n)
	case x.whole, f.cmd == mysqlwire.StmtExecute && f.bound.on():
		return size, int(size), nil
	}
	return size, mysqlwire.HeadSize + x.least, nil
}

// See implements relay.Direction.
func (f *frontend) See(b []byte) (bool, error) {
	n, sequence := mysqlwire.Head(b)
	first := !f.more
	f.more, f.next = n == mysqlwire.MaxPayload, sequence+1
	body := b[mysqlwire.HeadSize:]
	if first {
		body = body[1:]
		if !shapes[f.cmd].silent {
			if err := f.talk.ask(f.cmd); err != nil {
				return false, err
			}
		}
	}
	switch f.cmd {
	case mysqlwire.Query, mysqlwire.StmtPrepare:
		if first && !f.more {
			f.ownNumber(body)
		}
		return true, f.seeStatement(first, body)
	}
	if !first {
		return true, nil
	}
	return true, f.seeCommand(body, n)
}

// seeStatement tells a statement at its end: the server runs nothing before.
func (f *frontend) seeStatement(first bool, text []byte) error {
	var s event.Statement
	switch {
	case first && !f.more:
		s = dbaccess.StatementOf(text)
	case first:
		f.statement = &dbaccess.Statement{}
		f.statement.Add(text)
		return nil
	default:
		f.statement.Add(text)
		if f.more {
			return nil
		}
		s, f.statement = f.statement.Event(), nil
	}
	if f.cmd == mysqlwire.StmtPrepare {
		return f.emit(&event.MySQLPrepare{Statement: s}, event.TypeMySQLPrepare, event.CodeMySQLPrepare)
	}
	return f.emit(&event.DBQuery{Statement: s, Status: event.Status{Success: true}}, event.TypeDBQuery, event.CodeDBQuery)
}

// ownNumber puts the database's number into a statement that kills a connection
// which the client knows by another one. Whether the user may is the database's to
// say.
func (f *frontend) ownNumber(text []byte) {
	number, at, ok := mysqlwire.Kill(text)
	if !ok {
		return
	}
	if own, ok := f.s.Number(number); ok {
		copy(text[at:], fmt.Sprintf("%-10d", own))
	}
}

// seeCommand tells every other command that touches data or the server. Split has
// looked at its length.
func (f *frontend) seeCommand(body []byte, n int) error {
	var id uint32
	if len(body) >= 4 {
		id = binary.LittleEndian.Uint32(body)
	}
	switch f.cmd {
	case mysqlwire.StmtExecute:
		p := f.bound.execute(f.talk.number(id), f.talk.parameters(id), body[9:])
		return f.emit(&event.MySQLExecute{StatementID: id, Parameters: p}, event.TypeMySQLExecute, event.CodeMySQLExecute)
	case mysqlwire.StmtSendLongData:
		f.bound.sent(f.talk.number(id), binary.LittleEndian.Uint16(body[4:]))
		return f.emit(&event.MySQLLongData{StatementID: id, ParameterID: binary.LittleEndian.Uint16(body[4:]), Bytes: int64(n) - 7},
			event.TypeMySQLLongData, event.CodeMySQLLongData)
	case mysqlwire.StmtClose:
		f.bound.forget(f.talk.number(id))
		f.talk.forget(id)
		return f.emit(&event.MySQLClose{StatementID: id}, event.TypeMySQLClose, event.CodeMySQLClose)
	case mysqlwire.StmtReset:
		f.bound.reset(f.talk.number(id))
		return f.emit(&event.MySQLReset{StatementID: id}, event.TypeMySQLReset, event.CodeMySQLReset)
	case mysqlwire.StmtFetch:
		return f.emit(&event.MySQLFetch{StatementID: id, Rows: binary.LittleEndian.Uint32(body[4:])}, event.TypeMySQLFetch, event.CodeMySQLFetch)
	case mysqlwire.ProcessKill:
		if own, ok := f.s.Number(id); ok {
			id = own
			binary.LittleEndian.PutUint32(body, own)
		}
		return f.emit(&event.MySQLKill{Process: id}, event.TypeMySQLKill, event.CodeMySQLKill)
	case mysqlwire.InitDB:
		return f.switchTo(string(body))
	case mysqlwire.CreateDB:
		return f.emit(&event.MySQLCreateDB{Schema: string(body)}, event.TypeMySQLCreateDB, event.CodeMySQLCreateDB)
	case mysqlwire.DropDB:
		return f.emit(&event.MySQLDropDB{Schema: string(body)}, event.TypeMySQLDropDB, event.CodeMySQLDropDB)
	case mysqlwire.Shutdown:
		return f.emit(&event.MySQLShutDown{}, event.TypeMySQLShutDown, event.CodeMySQLShutDown)
	case mysqlwire.Debug:
		return f.emit(&event.MySQLDebug{}, event.TypeMySQLDebug, event.CodeMySQLDebug)
	case mysqlwire.Refresh:
		return f.emit(&event.MySQLRefresh{Subcommand: body[0]}, event.TypeMySQLRefresh, event.CodeMySQLRefresh)
	case mysqlwire.ResetConnection:
		f.talk.forgetAll()
	case mysqlwire.Quit:
		f.left = true
		f.bound.forgetAll()
	}
	return nil
}

// switchTo lets the client turn to another database if its roles let it.
func (f *frontend) switchTo(name string) error {
	e := &event.MySQLInitDB{Schema: name, Status: event.Status{Success: true}}
	why := f.s.Switch(name)
	if why == nil {
		return f.emit(e, event.TypeMySQLInitDB, event.CodeMySQLInitDB)
	}
	e.Status = event.Status{Error: fault.Message(why)}
	if err := f.emit(e, event.TypeMySQLInitDB, event.CodeMySQLInitFail); err != nil {
		return err
	}
	return why
}

// Commit implements relay.Direction.
func (f *frontend) Commit() error { return f.s.Commit(f.ctx) }

// unknown refuses a command.
func (f *frontend) unknown(b []byte) error {
	why := refused[f.cmd]
	if why == "" {
		return f.refuse(b, fault.New(fault.Unimplemented, "the command %#02x is not let through", byte(f.cmd)))
	}
	return f.refuse(b, fault.New(fault.Unimplemented, "%s", why))
}

func (f *frontend) malformed(b []byte, format string, args ...any) error {
	return f.refuse(b, fault.New(fault.Invalid, format, args...))
}

// refuse tells the log what was refused, and returns why. Of a password that
// COM_CHANGE_USER carries, nothing is told.
func (f *frontend) refuse(b []byte, why *fault.Error) error {
	if f.cmd == mysqlwire.ChangeUser {
		b = b[:mysqlwire.HeadSize+1]
	}
	if err := f.emit(dbaccess.Malformed(b, why.Message), event.TypeDBMalformed, event.CodeDBMalformed); err != nil {
		return err
	}
	return why
}

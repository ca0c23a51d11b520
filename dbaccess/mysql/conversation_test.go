package mysql

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"teleport/dbaccess/mysql/mysqlwire"
	"teleport/dbaccess/relay"
	"teleport/fault"
	"teleport/types/event"
)

// memory is a session that keeps its events, and lets its user into every
// database but one.
type memory struct {
	events []event.Event
	fail   error // of Commit
}

func (m *memory) Tell(e event.Event, typ, code string) {
	e.EventMeta().Type, e.EventMeta().Code = typ, code
	m.events = append(m.events, e)
}

func (m *memory) Commit(context.Context) error     { return m.fail }
func (m *memory) CommitSoon(context.Context) error { return m.fail }

func (m *memory) Switch(name string) error {
	if name == "cellar" {
		return fault.New(fault.Denied, "not the cellar")
	}
	return nil
}

// Number knows one session whose client has a number of a proxy's for it.
func (m *memory) Number(n uint32) (uint32, bool) { return 77, n == 3405691582 }

// told is the events in short.
func (m *memory) told() (out []string) {
	for _, e := range m.events {
		switch e := e.(type) {
		case *event.DBQuery:
			out = append(out, "query "+e.Text)
		case *event.MySQLPrepare:
			out = append(out, "prepare "+e.Text)
		case *event.MySQLExecute:
			out = append(out, fmt.Sprint("execute ", e.StatementID, " of ", e.Count))
		case *event.MySQLLongData:
			out = append(out, fmt.Sprint("long ", e.StatementID, " ", e.ParameterID, " ", e.Bytes))
		case *event.MySQLClose:
			out = append(out, fmt.Sprint("close ", e.StatementID))
		case *event.MySQLReset:
			out = append(out, fmt.Sprint("reset ", e.StatementID))
		case *event.MySQLFetch:
			out = append(out, fmt.Sprint("fetch ", e.StatementID, " ", e.Rows))
		case *event.MySQLInitDB:
			out = append(out, e.Code+" "+e.Schema)
		case *event.MySQLCreateDB:
			out = append(out, "create "+e.Schema)
		case *event.MySQLDropDB:
			out = append(out, "drop "+e.Schema)
		case *event.MySQLKill:
			out = append(out, fmt.Sprint("kill ", e.Process))
		case *event.MySQLShutDown, *event.MySQLDebug:
			out = append(out, e.EventMeta().Code)
		case *event.MySQLRefresh:
			out = append(out, fmt.Sprint("refresh ", e.Subcommand))
		case *event.DBResult:
			out = append(out, fmt.Sprint("→ ", e.Command, " ", e.Rows, " ", e.Code, e.StatementID))
		case *event.DBMalformed:
			out = append(out, "malformed")
		}
	}
	return out
}

// packet is one with a sequence; message is one or more from 0.
func packet(sequence byte, payload ...any) []byte {
	var b []byte
	for _, p := range payload {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case mysqlwire.Command:
			b = append(b, byte(p))
		case string:
			b = append(b, p...)
		}
	}
	return mysqlwire.Append(nil, sequence, b)
}

func message(payload []byte) (b []byte) {
	for sequence := byte(0); ; sequence++ {
		n := min(len(payload), mysqlwire.MaxPayload)
		b = append(append(b, byte(n), byte(n>>8), byte(n>>16), sequence), payload[:n]...)
		if payload = payload[n:]; n < mysqlwire.MaxPayload {
			return b
		}
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestWhatClientsSay(t *testing.T) {
	huge := strings.Repeat("x", 2*mysqlwire.MaxPayload)
	for name, c := range map[string]struct {
		in   []byte
		pass int // bytes; -1 is all
		told []string
		err  error
	}{
		"a query":               {packet(0, mysqlwire.Query, "select 1"), -1, []string{"query select 1"}, nil},
		"of two packets":        {message([]byte("\x03" + huge[:mysqlwire.MaxPayload-1])), -1, []string{"query " + huge[:32<<10]}, nil},
		"of three packets":      {message([]byte("\x16" + huge)), -1, []string{"prepare " + huge[:32<<10]}, nil},
		"an execution":          {packet(0, mysqlwire.StmtExecute, 7, 0, 0, 0, 0, 1, 0, 0, 0, "parameters"), -1, []string{"execute 7 of 2"}, nil},
		"a huge execution":      {message([]byte("\x17\x07\x00\x00\x00\x00\x01\x00\x00\x00" + huge)), -1, []string{"execute 7 of 2"}, nil},
		"of the last":           {packet(0, mysqlwire.StmtExecute, 255, 255, 255, 255, 0, 1, 0, 0, 0), -1, []string{"execute 4294967295 of 2"}, nil},
		"long data":             {packet(0, mysqlwire.StmtSendLongData, 7, 0, 0, 0, 1, 0, "abc"), -1, []string{"long 7 1 3"}, nil},
		"closed":                {join(packet(0, mysqlwire.StmtClose, 7, 0, 0, 0), packet(0, mysqlwire.StmtExecute, 7, 0, 0, 0, 0, 1, 0, 0, 0)), -1, []string{"close 7", "execute 7 of 0"}, nil},
		"reset":                 {packet(0, mysqlwire.StmtReset, 7, 0, 0, 0), -1, []string{"reset 7"}, nil},
		"fetch":                 {packet(0, mysqlwire.StmtFetch, 7, 0, 0, 0, 5, 0, 0, 0), -1, []string{"fetch 7 5"}, nil},
		"to a database":         {packet(0, mysqlwire.InitDB, "shop"), -1, []string{"TMY07I shop"}, nil},
		"to a denied one":       {packet(0, mysqlwire.InitDB, "cellar"), 0, []string{"TMY07W cellar"}, fault.Denied},
		"create and drop":       {join(packet(0, mysqlwire.CreateDB, "a"), packet(0, mysqlwire.DropDB, "a")), -1, []string{"create a", "drop a"}, nil},
		"kill":                  {packet(0, mysqlwire.ProcessKill, 1, 1, 0, 0), -1, []string{"kill 257"}, nil},
		"admin":                 {join(packet(0, mysqlwire.Refresh, 4), packet(0, mysqlwire.Debug), packet(0, mysqlwire.Shutdown)), -1, []string{"refresh 4", "TMY12I", "TMY10I"}, nil},
		"quietly":               {join(packet(0, mysqlwire.Ping), packet(0, mysqlwire.Statistics), packet(0, mysqlwire.SetOption, 0, 0), packet(0, mysqlwire.ResetConnection), packet(0, mysqlwire.FieldList, "t", 0), packet(0, mysqlwire.ProcessInfo), packet(0, mysqlwire.Quit)), -1, nil, nil},
		"change of user":        {join(packet(0, mysqlwire.Ping), packet(0, mysqlwire.ChangeUser, "mallory")), 5, []string{"malformed"}, fault.Unimplemented},
		"replication":           {packet(0, mysqlwire.BinlogDump, "…"), 0, []string{"malformed"}, fault.Unimplemented},
		"replication by GTID":   {packet(0, mysqlwire.BinlogDumpGTID, "…"), 0, []string{"malformed"}, fault.Unimplemented},
		"a replica":             {packet(0, mysqlwire.RegisterReplica, "…"), 0, []string{"malformed"}, fault.Unimplemented},
		"a table dump":          {packet(0, mysqlwire.TableDump, "…"), 0, []string{"malformed"}, fault.Unimplemented},
		"bulk execution":        {packet(0, mysqlwire.StmtBulkExecute, "…"), 0, []string{"malformed"}, fault.Unimplemented},
		"an unknown command":    {packet(0, 0x99), 0, []string{"malformed"}, fault.Unimplemented},
		"an empty packet":       {packet(0), 0, []string{"malformed"}, fault.Invalid},
		"a wrong sequence":      {packet(1, mysqlwire.Ping), 0, []string{"malformed"}, fault.Invalid},
		"a wrong one later":     {join(message([]byte("\x03" + huge))[:mysqlwire.HeadSize+mysqlwire.MaxPayload], packet(2, "x")), mysqlwire.HeadSize + mysqlwire.MaxPayload, []string{"malformed"}, fault.Invalid},
		"a short execution":     {packet(0, mysqlwire.StmtExecute, 1, 2, 3), 0, []string{"malformed"}, fault.Invalid},
		"a long ping":           {packet(0, mysqlwire.Ping, "and more"), 0, []string{"malformed"}, fault.Invalid},
		"a long name":           {packet(0, mysqlwire.DropDB, strings.Repeat("n", 300)), 0, []string{"malformed"}, fault.Invalid},
		"half a query":          {packet(0, mysqlwire.Query, "drop table t; -- never")[:20], 0, nil, io.ErrUnexpectedEOF},
		"half of three packets": {message([]byte("\x03" + huge))[:mysqlwire.HeadSize+mysqlwire.MaxPayload+100], mysqlwire.HeadSize + mysqlwire.MaxPayload, nil, io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			for how, src := range map[string]func(io.Reader) io.Reader{"as it comes": func(r io.Reader) io.Reader { return r }, "in halves": iotest.HalfReader} {
				if how == "in halves" && len(c.in) > 1<<20 {
					continue // it would take long, and show nothing more
				}
				m := &memory{}
				f := &frontend{emitter: emitter{t.Context(), m}, talk: &conversation{prepared: map[uint32]uint16{7: 2}, last: 7}}
				var out bytes.Buffer
				err := relay.Copy(&out, src(bytes.NewReader(c.in)), f)
				if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
					t.Errorf("%s: %v, want %v", how, err, c.err)
				}
				want := c.in
				if c.pass >= 0 {
					want = c.in[:c.pass]
				}
				if !bytes.Equal(out.Bytes(), want) {
					t.Errorf("%s: %d bytes went on, want %d", how, out.Len(), len(want))
				}
				if got := m.told(); !slices.Equal(got, c.told) {
					t.Errorf("%s: told %.300q, want %.300q", how, got, c.told)
				}
			}
		})
	}
}

// TestNumbersOfProxies kills by numbers that the database does not have: what goes
// on, and what the log tells, has the database's own, where the number is one of
// the person's.
func TestNumbersOfProxies(t *testing.T) {
	process := func(n uint32) string { return string(binary.LittleEndian.AppendUint32(nil, n)) }
	for name, c := range map[string]struct {
		in, out []byte
		told    string
	}{
		"as clients say it":  {packet(0, mysqlwire.Query, "KILL QUERY 3405691582"), packet(0, mysqlwire.Query, "KILL QUERY 77        "), "query KILL QUERY 77        "},
		"a connection":       {packet(0, mysqlwire.Query, "kill 3405691582;"), packet(0, mysqlwire.Query, "kill 77        ;"), "query kill 77        ;"},
		"in all words":       {packet(0, mysqlwire.Query, "\nKILL SOFT CONNECTION 3405691582 "), packet(0, mysqlwire.Query, "\nKILL SOFT CONNECTION 77         "), "query \nKILL SOFT CONNECTION 77         "},
		"prepared":           {packet(0, mysqlwire.StmtPrepare, "KILL QUERY 3405691582"), packet(0, mysqlwire.StmtPrepare, "KILL QUERY 77        "), "prepare KILL QUERY 77        "},
		"as a command":       {packet(0, mysqlwire.ProcessKill, process(3405691582)), packet(0, mysqlwire.ProcessKill, process(77)), "kill 77"},
		"somebody else's":    {packet(0, mysqlwire.Query, "KILL QUERY 3405691583"), packet(0, mysqlwire.Query, "KILL QUERY 3405691583"), "query KILL QUERY 3405691583"},
		"the database's own": {packet(0, mysqlwire.Query, "KILL QUERY 12"), packet(0, mysqlwire.Query, "KILL QUERY 12"), "query KILL QUERY 12"},
		"too large":          {packet(0, mysqlwire.Query, "KILL QUERY 4405691582"), packet(0, mysqlwire.Query, "KILL QUERY 4405691582"), "query KILL QUERY 4405691582"},
		"no statement to kill": {packet(0, mysqlwire.Query, "select 'KILL QUERY 3405691582'"), packet(0, mysqlwire.Query, "select 'KILL QUERY 3405691582'"),
			"query select 'KILL QUERY 3405691582'"},
		"and more":             {packet(0, mysqlwire.Query, "KILL QUERY 3405691582; drop table t"), packet(0, mysqlwire.Query, "KILL QUERY 3405691582; drop table t"), "query KILL QUERY 3405691582; drop table t"},
		"by somebody's number": {packet(0, mysqlwire.ProcessKill, process(9)), packet(0, mysqlwire.ProcessKill, process(9)), "kill 9"},
	} {
		m := &memory{}
		f := &frontend{emitter: emitter{t.Context(), m}, talk: &conversation{prepared: map[uint32]uint16{}}}
		var out bytes.Buffer
		if err := relay.Copy(&out, bytes.NewReader(c.in), f); err != nil || !bytes.Equal(out.Bytes(), c.out) {
			t.Errorf("%s: %q goes on, want %q: %v", name, out.Bytes(), c.out, err)
		}
		if got := m.told(); !slices.Equal(got, []string{c.told}) {
			t.Errorf("%s: told %q", name, got)
		}
	}
}

func TestNothingGoesOnThatCannotBeTold(t *testing.T) {
	for name, in := range map[string][]byte{
		"query": packet(0, mysqlwire.Query, "select 1"), "prepare": packet(0, mysqlwire.StmtPrepare, "select 1"),
		"execute": packet(0, mysqlwire.StmtExecute, 7, 0, 0, 0, 0, 1, 0, 0, 0), "init": packet(0, mysqlwire.InitDB, "shop"),
		"kill": packet(0, mysqlwire.ProcessKill, 1, 1, 0, 0), "drop": packet(0, mysqlwire.DropDB, "a"), "shutdown": packet(0, mysqlwire.Shutdown),
	} {
		f := &frontend{emitter: emitter{t.Context(), &memory{fail: fault.Unavailable}}, talk: &conversation{prepared: map[uint32]uint16{}}}
		var out bytes.Buffer
		if err := relay.Copy(&out, bytes.NewReader(in), f); !errors.Is(err, fault.Unavailable) || out.Len() > 0 {
			t.Errorf("%s: %v, %d bytes went on", name, err, out.Len())
		}
	}
}

// Parts of answers.
var (
	okay      = mysqlwire.OK{Affected: 3, Status: mysqlwire.StatusAutocommit}
	okayMore  = mysqlwire.OK{Affected: 2, Status: mysqlwire.StatusMoreResults}
	column    = "\x03def\x00\x00\x00\x01a\x00\x0c\x3f\x00\x01\x00\x00\x00\x03\x81\x00\x00\x00\x00"
	eof       = "\xfe\x00\x00\x02\x00"
	eofMore   = "\xfe\x00\x00\x08\x00"
	eofCursor = "\xfe\x00\x00\x42\x00"
	okEnd     = "\xfe\x00\x00\x02\x00\x00\x00"
	okEndMore = "\xfe\x00\x00\x08\x00\x00\x00"
	failure   = string(mysqlwire.Err{Code: 1064, State: "42000", Message: "no"}.Append(nil))
)

func TestWhatServersSay(t *testing.T) {
	ok := string(okay.Append(nil))
	prepared := "\x00\x07\x00\x00\x00\x02\x00\x01\x00\x00\x00\x00"
	huge := join(message([]byte("\xfe\xff\xff\xff\x00\x00\x00\x00\x00" + strings.Repeat("y", 17<<20))))
	for name, c := range map[string]struct {
		asked     []mysqlwire.Command
		deprecate bool
		in        []byte
		told      []string
		err       error
	}{
		"an OK":                   {[]mysqlwire.Command{mysqlwire.Query}, true, packet(1, ok), []string{"→ QUERY 3 0"}, nil},
		"an error":                {[]mysqlwire.Command{mysqlwire.Query}, true, packet(1, failure), []string{"→ QUERY 0 10640"}, nil},
		"rows":                    {[]mysqlwire.Command{mysqlwire.Query}, true, join(packet(1, 1), packet(2, column), packet(3, "\x01a"), packet(4, "\xfb"), packet(5, okEnd)), []string{"→ QUERY 2 0"}, nil},
		"rows of old":             {[]mysqlwire.Command{mysqlwire.Query}, false, join(packet(1, 1), packet(2, column), packet(3, eof), packet(4, "\x01a"), packet(5, eof)), []string{"→ QUERY 1 0"}, nil},
		"a huge row":              {[]mysqlwire.Command{mysqlwire.Query}, true, join(packet(1, 1), packet(2, column), huge, packet(5, okEnd)), []string{"→ QUERY 1 0"}, nil},
		"an error in rows":        {[]mysqlwire.Command{mysqlwire.Query}, true, join(packet(1, 1), packet(2, column), packet(3, "\x01a"), packet(4, failure)), []string{"→ QUERY 0 10640"}, nil},
		"several results":         {[]mysqlwire.Command{mysqlwire.Query, mysqlwire.Query}, true, join(packet(1, 1), packet(2, column), packet(3, okEndMore), packet(4, string(okayMore.Append(nil))), packet(5, ok), packet(1, ok)), []string{"→ QUERY 0 0", "→ QUERY 2 0", "→ QUERY 3 0", "→ QUERY 3 0"}, nil},
		"several of old":          {[]mysqlwire.Command{mysqlwire.Query}, false, join(packet(1, 1), packet(2, column), packet(3, eof), packet(4, eofMore), packet(5, ok)), []string{"→ QUERY 0 0", "→ QUERY 3 0"}, nil},
		"a preparation":           {[]mysqlwire.Command{mysqlwire.StmtPrepare}, true, join(packet(1, prepared), packet(2, column), packet(3, column), packet(4, column)), []string{"→ PREPARE 0 7"}, nil},
		"one of old":              {[]mysqlwire.Command{mysqlwire.StmtPrepare}, false, join(packet(1, prepared), packet(2, column), packet(3, eof), packet(4, column), packet(5, column), packet(6, eof)), []string{"→ PREPARE 0 7"}, nil},
		"one of nothing":          {[]mysqlwire.Command{mysqlwire.StmtPrepare, mysqlwire.Ping}, true, join(packet(1, "\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), packet(1, ok)), []string{"→ PREPARE 0 7"}, nil},
		"a cursor":                {[]mysqlwire.Command{mysqlwire.StmtExecute, mysqlwire.StmtFetch}, false, join(packet(1, 1), packet(2, column), packet(3, eofCursor), packet(1, "\x00\x00a"), packet(2, eof)), []string{"→ EXECUTE 0 0", "→ FETCH 1 0"}, nil},
		"an empty fetch":          {[]mysqlwire.Command{mysqlwire.StmtFetch}, true, packet(1, okEnd), []string{"→ FETCH 0 0"}, nil},
		"fields":                  {[]mysqlwire.Command{mysqlwire.FieldList}, true, join(packet(1, column), packet(2, column), packet(3, okEnd)), []string{"→ FIELD_LIST 2 0"}, nil},
		"no fields":               {[]mysqlwire.Command{mysqlwire.FieldList}, false, packet(1, eof), []string{"→ FIELD_LIST 0 0"}, nil},
		"statistics":              {[]mysqlwire.Command{mysqlwire.Statistics, mysqlwire.Ping}, true, join(packet(1, "Uptime: 5"), packet(1, ok)), nil, nil},
		"an option":               {[]mysqlwire.Command{mysqlwire.SetOption, mysqlwire.Ping}, true, join(packet(1, eof), packet(1, ok)), nil, nil},
		"a farewell":              {nil, true, packet(0, failure), []string{"→  0 10640"}, nil},
		"a file, please":          {[]mysqlwire.Command{mysqlwire.Query}, true, packet(1, "\xfb/etc/shadow"), nil, fault.Untrusted},
		"what nobody asked":       {nil, true, packet(1, ok), nil, fault.Untrusted},
		"an answer too many":      {[]mysqlwire.Command{mysqlwire.Ping}, true, join(packet(1, ok), packet(1, ok)), nil, fault.Untrusted},
		"an empty packet":         {[]mysqlwire.Command{mysqlwire.Query}, true, packet(1), nil, fault.Untrusted},
		"rows of a ping":          {[]mysqlwire.Command{mysqlwire.Ping}, true, packet(1, 1), nil, fault.Untrusted},
		"too many columns":        {[]mysqlwire.Command{mysqlwire.Query}, true, packet(1, "\xfd\xff\xff\xff"), nil, fault.Untrusted},
		"a preparation of a sort": {[]mysqlwire.Command{mysqlwire.StmtPrepare}, true, packet(1, "\x01\x00"), nil, fault.Untrusted},
		"columns without end":     {[]mysqlwire.Command{mysqlwire.Query}, false, join(packet(1, 1), packet(2, column), packet(3, column)), nil, fault.Untrusted},
	} {
		t.Run(name, func(t *testing.T) {
			m := &memory{}
			d := &backend{emitter: emitter{t.Context(), m}, talk: &conversation{prepared: map[uint32]uint16{}, waiting: c.asked}, deprecate: c.deprecate}
			var out bytes.Buffer
			err := relay.Copy(&out, bytes.NewReader(c.in), d)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("%v, want %v", err, c.err)
			}
			if err == nil && !bytes.Equal(out.Bytes(), c.in) {
				t.Errorf("%d bytes went on, want %d", out.Len(), len(c.in))
			}
			if err == nil && len(d.talk.waiting) > 0 {
				t.Errorf("%d still wait", len(d.talk.waiting))
			}
			if got := m.told(); !slices.Equal(got, c.told) {
				t.Errorf("told %q, want %q", got, c.told)
			}
		})
	}
}

// TestTheLastWordFits checks the sequence of what a client is told when it is cut.
func TestTheLastWordFits(t *testing.T) {
	talk := &conversation{prepared: map[uint32]uint16{}}
	if got := talk.next(); got != 1 {
		t.Errorf("at rest %d", got)
	}
	d := &backend{emitter: emitter{t.Context(), &memory{}}, talk: talk, deprecate: true}
	if err := talk.ask(mysqlwire.Query); err != nil {
		t.Fatal(err)
	}
	for i, p := range [][]byte{packet(1, 1), packet(2, column), packet(3, "\x01a")} {
		if err := relay.Copy(io.Discard, bytes.NewReader(p), d); err != nil || talk.next() != byte(i+2) {
			t.Errorf("%d after %d, %v", talk.next(), i+1, err)
		}
	}
	if err := relay.Copy(io.Discard, bytes.NewReader(packet(4, okEnd)), d); err != nil || talk.next() != 1 {
		t.Errorf("%d at rest, %v", talk.next(), err)
	}
	for range mostWaiting {
		if err := talk.ask(mysqlwire.Ping); err != nil {
			t.Fatal(err)
		}
	}
	if err := talk.ask(mysqlwire.Ping); !errors.Is(err, fault.Limit) {
		t.Errorf("one too many: %v", err)
	}
}

// FuzzClient checks that what goes on are whole packets that begin with commands
// of the table, and that as many statements were told.
func FuzzClient(f *testing.F) {
	f.Add(packet(0, mysqlwire.Query, "select 1"))
	f.Add(join(packet(0, mysqlwire.StmtPrepare, "select ?"), packet(0, mysqlwire.StmtExecute, 1, 0, 0, 0, 0, 1, 0, 0, 0), packet(0, mysqlwire.StmtClose, 1, 0, 0, 0), packet(0, mysqlwire.Quit)))
	f.Add(join(packet(0, mysqlwire.InitDB, "cellar"), packet(0, mysqlwire.ChangeUser, "x")))
	for _, b := range recorded(f, "client", 1) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &memory{}
		var out bytes.Buffer
		_ = relay.Copy(&out, iotest.HalfReader(bytes.NewReader(b)), &frontend{emitter: emitter{t.Context(), m}, talk: &conversation{prepared: map[uint32]uint16{}}})
		if !bytes.HasPrefix(b, out.Bytes()) {
			t.Fatal("other bytes went on")
		}
		statements := 0
		for rest := out.Bytes(); len(rest) > 0; {
			n, sequence := mysqlwire.Head(rest)
			cmd := mysqlwire.Command(rest[mysqlwire.HeadSize])
			if _, known := shapes[cmd]; !known || sequence != 0 || n == mysqlwire.MaxPayload {
				t.Fatalf("a packet %#02x went on", byte(cmd))
			}
			if cmd == mysqlwire.Query || cmd == mysqlwire.StmtPrepare {
				statements++
			}
			if len(rest) < mysqlwire.HeadSize+n {
				return // of a command that is streamed, the rest never came
			}
			rest = rest[mysqlwire.HeadSize+n:]
		}
		for _, e := range m.told() {
			if strings.HasPrefix(e, "query ") || strings.HasPrefix(e, "prepare ") {
				statements--
			}
		}
		if statements > 0 {
			t.Fatalf("%d statements went on untold", statements)
		}
	})
}

// FuzzServer checks that nothing but what the server said goes on.
func FuzzServer(f *testing.F) {
	f.Add(byte(mysqlwire.Query), true, join(packet(1, 1), packet(2, column), packet(3, "\x01a"), packet(4, okEndMore), packet(5, string(okay.Append(nil)))))
	f.Add(byte(mysqlwire.Query), false, join(packet(1, 1), packet(2, column), packet(3, eof), packet(4, eof)))
	f.Add(byte(mysqlwire.StmtPrepare), false, join(packet(1, "\x00\x07\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"), packet(2, column), packet(3, eof)))
	f.Add(byte(mysqlwire.FieldList), true, packet(1, okEnd))
	for _, b := range recorded(f, "server", 2) {
		f.Add(byte(mysqlwire.Query), true, b)
	}
	f.Fuzz(func(t *testing.T, cmd byte, deprecate bool, b []byte) {
		talk := &conversation{prepared: map[uint32]uint16{}, waiting: []mysqlwire.Command{mysqlwire.Command(cmd), mysqlwire.Query}}
		var out bytes.Buffer
		_ = relay.Copy(&out, iotest.HalfReader(bytes.NewReader(b)), &backend{emitter: emitter{t.Context(), &memory{}}, talk: talk, deprecate: deprecate})
		if !bytes.HasPrefix(b, out.Bytes()) {
			t.Fatal("other bytes went on")
		}
	})
}

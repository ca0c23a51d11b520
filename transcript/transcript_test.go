package transcript

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"teleport/types/event"
)

func lines(t *testing.T, e event.Event, typ string) (out []string) {
	t.Helper()
	e.EventMeta().Type = typ
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range Of(data) {
		out = append(out, l.String())
	}
	return out
}

func TestOf(t *testing.T) {
	ok := event.Status{Success: true}
	start := &event.DBStart{Status: ok}
	u, _, srv, db := start.OfDatabase()
	u.User, srv.ServerHostname, db.Service, db.DBUser, db.Name = "alice", "db-1", "orders-db", "root", "orders"
	start.Time = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	statement := event.Statement{Text: "select 1"}
	for _, c := range []struct {
		typ  string
		e    event.Event
		want []string
	}{
		{event.TypeDBStart, start, []string{"alice is connected to orders-db as root, database orders, through db-1, on 2026-01-31 12:00:00 UTC"}},
		{event.TypeDBQuery, &event.DBQuery{Statement: event.Statement{Text: "select 1,\r\n\t2;\n\n"}}, []string{"select 1,\n    2;"}},
		{event.TypeDBQuery, &event.DBQuery{Statement: event.Statement{Text: "select", Bytes: 40000}}, []string{"select\n… (the first 6 of 40000 bytes)"}},
		{event.TypeDBQuery, &event.DBQuery{Statement: event.Statement{Text: "a\x1b[2J\u202eb\u009b\x7f"}}, []string{`a\x1b[2J\u202eb\u009b\x7f`}},
		{event.TypeDBQueryFail, &event.DBQueryFail{Statement: statement, Status: event.Status{Error: "no"}}, []string{"select 1", "✗ not let through: no"}},
		{event.TypeDBResult, &event.DBResult{Status: ok, Command: "SELECT"}, []string{"→ SELECT, 0 rows"}},
		{event.TypeDBResult, &event.DBResult{Status: ok, Command: "INSERT", Rows: 1}, []string{"→ INSERT, 1 row"}},
		{event.TypeDBResult, &event.DBResult{Status: ok, Command: "BEGIN"}, []string{"→ BEGIN"}},
		{event.TypeDBResult, &event.DBResult{Status: ok, Command: "PREPARE", StatementID: 3}, []string{"→ PREPARE, statement 3"}},
		{event.TypeDBResult, &event.DBResult{Status: event.Status{Error: "gone"}, Code: "42703"}, []string{"✗ 42703: gone"}},
		{event.TypeDBResult, &event.DBResult{Code: "42703"}, []string{"✗ 42703"}},
		{event.TypePostgresParse, &event.PostgresParse{Statement: statement}, []string{"select 1"}},
		{event.TypePostgresParse, &event.PostgresParse{Statement: statement, Name: "s1"}, []string{"prepare s1: select 1"}},
		{event.TypePostgresBind, &event.PostgresBind{}, nil},
		{event.TypePostgresBind, &event.PostgresBind{Name: "s1"}, []string{"run s1"}},
		{event.TypePostgresBind, &event.PostgresBind{Parameters: event.Parameters{Count: 2}}, []string{"with 2 parameters"}},
		{event.TypePostgresBind, &event.PostgresBind{Name: "s1", Parameters: event.Parameters{Count: 1, Types: []string{"int4"}}}, []string{"run s1 with int4"}},
		{event.TypePostgresBind, &event.PostgresBind{Parameters: event.Parameters{Count: 2, Types: []string{"int4", "text"}, Values: []string{"7", "x"}}}, []string{"with $1 = 7, $2 = x"}},
		{event.TypePostgresBind, &event.PostgresBind{Parameters: event.Parameters{Count: 9, Types: []string{"int4"}}}, []string{"with int4, … and 8 more"}},
		{event.TypePostgresExecute, &event.PostgresExecute{}, nil},
		{event.TypePostgresExecute, &event.PostgresExecute{Portal: "c", Rows: 50}, []string{"rows of c, at most 50"}},
		{event.TypePostgresClose, &event.PostgresClose{Name: "s1"}, nil},
		{event.TypeMySQLExecute, &event.MySQLExecute{StatementID: 3, Parameters: event.Parameters{Count: 1}}, []string{"run statement 3 with 1 parameter"}},
		{event.TypeMySQLInitDB, &event.MySQLInitDB{Schema: "shop", Status: event.Status{Error: "no"}}, []string{"use shop", "✗ not let through: no"}},
		{event.TypeDynamoDBRequest, &event.DynamoDBRequest{Statement: event.Statement{Text: "{}"}, Operation: "GetItem", Tables: []string{"a", "b"}}, []string{"GetItem a, b {}"}},
		{event.TypeDynamoDBRequest, &event.DynamoDBRequest{Statement: event.Statement{Text: "{}"}, StatusCode: 400, ErrorCode: "Missing", Status: event.Status{Error: "no table"}}, []string{"✗ Missing: no table"}},
		{event.TypeAppRequest, &event.AppRequest{Method: "GET", Path: "/a%2Fb", Query: "x=1", StatusCode: 200, Status: ok}, []string{"GET /a%2Fb?x=1", "→ 200"}},
		{event.TypeAppRequest, &event.AppRequest{Method: "GET", Path: "/ws", StatusCode: 101, Upgrade: "websocket", Status: ok}, []string{"GET /ws as a websocket", "→ 101"}},
		{event.TypeAppRequest, &event.AppRequest{Method: "PUT", Path: "/", StatusCode: 404, Status: ok}, []string{"PUT /", "✗ 404"}},
		{event.TypeAppRequest, &event.AppRequest{Method: "PUT", Path: "/\x1b[2J", StatusCode: 502, Status: event.Status{Error: "the app cannot be reached"}}, []string{`PUT /\x1b[2J`, "✗ 502: the app cannot be reached"}},
		{event.TypeAppRequest, &event.AppRequest{Method: "POST", Path: "/", StatusCode: 200, Status: ok, AWSService: "dynamodb", AWSAction: "ListTables", AWSRegion: "eu-west-1", CloudHost: "dynamodb.eu-west-1.amazonaws.com"},
			[]string{"dynamodb ListTables eu-west-1 POST dynamodb.eu-west-1.amazonaws.com/", "→ 200"}},
		{event.TypeExec, &event.DBQuery{Statement: statement}, nil},
	} {
		if got := lines(t, c.e, c.typ); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.typ, got, c.want)
		}
	}
	if Of([]byte("{")) != nil {
		t.Error("what is no JSON is told")
	}
}

// FuzzRead: an event is read as encoding/json would read it.
func FuzzRead(f *testing.F) {
	f.Add(`{"affected_records":7,"db_query":"select \u003c \"1\"","event":"db.session.query","success":true,"tables":["a"],"time":"2026-01-02T03:04:05.6Z"}`)
	f.Add(`{"Event":"db.session.query","db_query":null}`)
	f.Add(`{"event":"db.session.query","u\u017fer":"alice","uſer":"bob"}`)
	f.Add(`{"event":"db.session.query","statement_id":-1,"success":1}`)
	f.Add("{\"event\":\"db.session.query\",\"db_query\":\"\xff\"}")
	f.Fuzz(func(t *testing.T, data string) {
		var want said
		err := json.Unmarshal([]byte(data), &want)
		got, ok := read([]byte(data))
		if ok != (err == nil) || ok && !reflect.DeepEqual(got, want) {
			t.Errorf("%s is read as %+v %v, by encoding/json as %+v %v", data, got, ok, want, err)
		}
	})
}

// What this program writes is read by the walk.
func TestReadWithoutJSON(t *testing.T) {
	e := &event.DBQuery{Meta: event.Meta{Code: event.CodeDBQuery, Time: time.Unix(1e9, 5)}, Statement: event.Statement{Text: "select \"a\"\nfrom b where c < 'ü'"}}
	data, err := event.NewCodec().AppendJSON(nil, e, true)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(10, func() {
		if s, ok := read(data); !ok || s.Query != e.Text {
			t.Errorf("%+v %v", s, ok)
		}
	}); n > 20 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOf(b *testing.B) {
	e := &event.DBQuery{Meta: event.Meta{Code: event.CodeDBQuery, Time: time.Unix(1e9, 5)}, Statement: event.Statement{Text: "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;"}}
	e.SessionID = "d3b07384-d113-4ec6-a7d8-6f9b1f0d2c11"
	data, err := event.NewCodec().AppendJSON(nil, e, false)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		Of(data)
	}
}

// FuzzOf: whatever stands in an event, a terminal obeys none of it.
func FuzzOf(f *testing.F) {
	f.Add(`{"event":"db.session.query","db_query":"\u001b]52;c;x\u0007\u202e"}`)
	f.Fuzz(func(t *testing.T, data string) {
		for _, l := range Of([]byte(data)) {
			if i := strings.IndexFunc(l.Text, func(r rune) bool { return r != '\n' && unicode.IsControl(r) }); i >= 0 {
				t.Errorf("%q", l.Text[i:])
			}
		}
	})
}

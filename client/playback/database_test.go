package playback

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teleport/recfmt"
	"teleport/types/event"
)

func told(at time.Duration, typ string, e event.Event) recfmt.Record {
	e.EventMeta().Type, e.EventMeta().Time = typ, time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	if d, ok := e.(event.OfDatabase); ok {
		u, _, host, db := d.OfDatabase()
		u.User, host.ServerHostname, db.Service, db.DBUser, db.Name = "alice", "db-1", "orders-db", "root", "orders"
	}
	data, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	return recfmt.Record{Type: recfmt.RecordEvent, At: at, Data: data}
}

// query is a statement and its end, a moment later.
func query(at time.Duration, text string, e *event.DBResult) []recfmt.Record {
	return []recfmt.Record{told(at, event.TypeDBQuery, &event.DBQuery{Statement: event.Statement{Text: text}}),
		told(at+10*time.Millisecond, event.TypeDBResult, e)}
}

func database() *fake {
	good := event.Status{Success: true}
	f := &fake{info: recfmt.Info{SessionID: "s", Kind: "db", User: "alice", Login: "root", Hostname: "db-1", Start: time.Unix(1700000000, 0).UTC()}}
	f.records = slices.Concat(
		[]recfmt.Record{{Type: recfmt.RecordInfo, Data: []byte("{}")}, told(0, event.TypeDBStart, &event.DBStart{Status: good})},
		query(2*time.Second, "select name from items where id < 3 and name like 'item%' order by name;", &event.DBResult{Status: good, Command: "SELECT", Rows: 2}),
		query(5*time.Second, "update nope\n   set name = '\x1b[2J\x1b]52;c;x\x07\u202e日本語';", &event.DBResult{Status: event.Status{Error: `relation "nope" does not exist`}, Code: "42P01"}),
		[]recfmt.Record{told(7*time.Second, event.TypePostgresParse, &event.PostgresParse{Name: "s1", Statement: event.Statement{Text: "select $1"}}),
			told(7*time.Second, event.TypePostgresBind, &event.PostgresBind{Name: "s1", Parameters: event.Parameters{Count: 1}}),
			told(7*time.Second, event.TypePostgresExecute, &event.PostgresExecute{}),
			told(70*time.Second, event.TypeDBResult, &event.DBResult{Status: good, Command: "SELECT", Rows: 1})},
		query(80*time.Second, "insert into items values\n"+strings.Repeat("(1, 'x'),\n", 100), &event.DBResult{Status: good, Command: "INSERT", Rows: 100}),
		[]recfmt.Record{told(100*time.Second, event.TypeDBEnd, &event.DBEnd{})})
	return f
}

func TestDatabaseAsText(t *testing.T) {
	got := exported(t, database(), Text)
	want := `  0:00  alice is connected to orders-db as root, database orders, through db-1, on 2026-01-31 12:00:00 UTC
  0:02  select name from items where id < 3 and name like 'item%' order by name;
  0:02  → SELECT, 2 rows
  0:05  update nope
           set name = '\x1b[2J\x1b]52;c;x\x07\u202e日本語';
  0:05  ✗ 42P01: relation "nope" does not exist
  0:07  prepare s1: select $1
  0:07  run s1 with 1 parameter
  1:10  → SELECT, 1 row
  1:20  insert into items values
        (1, 'x'),
`
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "        (1, 'x'),\n  1:20  → INSERT, 100 rows\n  1:40  the connection ended\n") {
		t.Errorf("%s", got)
	}
	if cast := exported(t, database(), Asciicast); !strings.Contains(cast, `SELECT, 2 rows`) || strings.Contains(cast, "]52") != strings.Contains(cast, `\\x1b]52`) {
		t.Errorf("%s", cast)
	}
	if j := exported(t, database(), JSON); !strings.Contains(j, `{"at":2,"type":"event","event":{"event":"db.session.query"`) {
		t.Errorf("%s", j)
	}
}

// TestDatabasePlays: in its time, with pauses, steps and seeks, as wide as the window.
func TestDatabasePlays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := sit(t, database(), 80, 24, Player{})
		p.has("begin", p.after(time.Second), "  0:00  alice is connected to orders-db as root, database orders, through db-1,\n        on 2026-01-31 12:00:00 UTC\n", "!select")
		p.has("a statement", p.after(1500*time.Millisecond), "  0:02  select name from items where id < 3 and name like 'item%' order by name;\n        → SELECT, 2 rows\n")
		p.press(KeyPause)
		p.has("a step", p.press(KeyStep), `  0:05  update nope`, `set name = '\x1b[2J\x1b]52;c;x\x07\u202e日本語';`, "!42P01")
		p.has("its end", p.press(KeyStep), `        ✗ 42P01: relation "nope" does not exist`)
		p.press(KeyStep)
		p.has("the third", p.press(KeyStep), "  0:07  prepare s1: select $1\n        run s1 with 1 parameter\n")
		p.has("what tells nothing is no step", p.press(KeyStep), "  1:10  → SELECT, 1 row\n")
		p.has("back", p.press(KeyBack), "run s1", "!1:10", "‖ 1:00")
		p.has("the start", p.press(KeyStart), "alice is connected", "!select", "‖ 0:00")
		p.has("the end", p.press(KeyEnd), "  1:20  insert into items values\n        (1, 'x'),", "        … 90 more lines\n        → INSERT, 100 rows\n  1:40  the connection ended")
		p.resize(40, 12)
		p.has("a smaller window", p.after(time.Second), "  1:20  insert into items values\n", "        … 96 more lines\n        → INSERT, 100 rows\n  1:40  the connection ended\n")
		p.has("its start", p.press(KeyStart), "  0:00  alice is connected to orders-db\n        as root, database orders,\n        through db-1, on 2026-01-31\n        12:00:00 UTC\n")
		p.resize(12, 6)
		p.has("a tiny window", p.after(time.Second), "alice is\n")
		for _, bad := range []string{"\x1b]52", "\u202e", "\x07"} {
			if strings.Contains(p.w.bytes.String(), bad) {
				t.Errorf("%q was sent", bad)
			}
		}
		p.keys <- KeyQuit
		if err := <-p.done; err != nil {
			t.Error(err)
		}
	})
}

// TestDatabasePlaysFromTheMiddle: what was before stands above.
func TestDatabasePlaysFromTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := database()
		p := sit(t, src, 80, 24, Player{Start: 6 * time.Second, Paused: true})
		p.has("the middle", p.after(time.Second), "alice is connected", "42P01", "!s1", "‖ 0:06")
		if !slices.Equal(src.asked, []time.Duration{6 * time.Second, 0}) {
			t.Errorf("it was read from %v", src.asked)
		}
		p.keys <- KeyQuit
		<-p.done
	})
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text        string
		width, most int
		want        []string
		left        int
	}{
		{"", 10, 3, []string{""}, 0},
		{"one two three", 10, 3, []string{"one two", "three"}, 0},
		{"abcdefghijklmno", 10, 3, []string{"abcdefghij", "klmno"}, 0},
		{"  ab cdefghijk", 10, 3, []string{"  ab cdefg", "  hijk"}, 0},
		{"日本語日本語", 5, 3, []string{"日本", "語日", "本語"}, 0},
		{"日本", 1, 3, []string{"日", "本"}, 0},
		{"a\n\nb\nc", 10, 2, []string{"a", ""}, 2},
		{"          ab", 4, 9, []string{"", "ab"}, 0},
	} {
		if got, left := wrap(c.text, c.width, c.most); !slices.Equal(got, c.want) || left != c.left {
			t.Errorf("%q in %d: %q and %d", c.text, c.width, got, left)
		}
	}
}

func FuzzWrap(f *testing.F) {
	f.Add("select 1\n  from x", 5)
	f.Fuzz(func(t *testing.T, text string, width int) {
		wrap(text, width, 10)
	})
}

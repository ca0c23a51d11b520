package tshcmd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/recfmt"
)

const cast = `{"version":2,"width":20,"height":5,"duration":60}
[0.5,"o","first\r\n"]
[60,"o","last\r\n"]
`

// stored is a recording as it is stored, without encryption.
func stored(t *testing.T) []byte {
	t.Helper()
	e, b, err := recfmt.NewEncoder(recfmt.EncoderOptions{Segment: recfmt.Segment{SessionID: "44444444-4444-4444-8444-444444444444", Kind: "ssh", Cluster: "example"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []recfmt.Record{{Type: recfmt.RecordInfo, Data: []byte(`{"columns":80,"rows":24}`)}, {Type: recfmt.RecordOutput, Data: []byte("shown\r\n")}} {
		if err := e.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	return e.Finish(e.Chunk(b), recfmt.EndSession)
}

// TestPlayFiles: a good file is played without a log-in; for any other there is
// one line, a code, and no half of an export.
func TestPlayFiles(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	rec := stored(t)
	altered := append([]byte{}, rec...)
	altered[len(rec)-60] ^= 1
	for _, c := range []struct {
		name, data string
		code       int
		want       string
	}{
		{"good.cast", cast, 0, "first\nlast\n"},
		{"good.rec", string(rec), 0, "shown\n"},
		{"cut.rec", string(rec[:len(rec)-3]), 4, "ends inside of a frame"},
		{"altered.rec", string(altered), 4, ""},
		{"two.rec", string(rec) + string(rec), 4, ""},
		{"cut.cast", cast[:len(cast)-10], 2, "line 3 is not asciicast"},
		{"foreign.cast", `{"version":1,"width":80,"height":24,"stdout":[]}`, 2, "line 1 is not asciicast version 2"},
		{"text", "hello\n", 2, "is no recording"},
		{"empty", "", 2, "is no recording"},
	} {
		path := filepath.Join(dir, c.name)
		write(t, path, c.data)
		r := w.tsh("", "play", path)
		if r.code != c.code || c.code == 0 && r.out != c.want || c.code != 0 && (!strings.Contains(r.err, c.want) || strings.Count(r.err, "ERROR") != 1) {
			t.Errorf("%s: %+v", c.name, r)
		}
		out := filepath.Join(dir, "out")
		r = w.tsh("", "recordings", "export", path, "--format=text", "-o", out)
		if _, err := os.Stat(out); r.code != c.code || (err == nil) != (c.code == 0) {
			t.Errorf("%s, exported: %+v, %v", c.name, r, err)
		}
		_ = os.Remove(out)
	}
	good := filepath.Join(dir, "good.cast")
	for want, args := range map[string][]string{
		"cannot write " + good + ": it exists":                 {"recordings", "export", good, "-o", good},
		"its directory does not exist":                         {"recordings", "export", good, "-o", filepath.Join(dir, "no", "x")},
		"is no file":                                           {"play", dir},
		"are for playing at a terminal; text is printed whole": {"play", "--from=1s", good},
		"are for playing at a terminal; json is printed whole": {"play", "--format=json", "--paused", good},
		"--format=pty needs a terminal":                        {"play", "--format=pty", good},
		"--speed=9 is not a speed from 0.5x to 8x":             {"play", "--speed=9", good},
		"--from must not be negative":                          {"play", "--from=-1s", good},
		"--format=gif is not known":                            {"recordings", "export", "--format=gif", good},
	} {
		if r := w.tsh("", args...); r.code != 2 || !strings.Contains(r.err, want) || strings.Count(r.err, "ERROR") != 1 {
			t.Errorf("tsh %v: %+v, want %q", args, r, want)
		}
	}
	if r := w.tsh("", "play", "./no.cast"); r.code != 5 || !strings.Contains(r.err, `there is no file "./no.cast"`) {
		t.Errorf("%+v", r)
	}
	if b, err := os.ReadFile(good); err != nil || string(b) != cast {
		t.Errorf("a file that was there is %q, %v", b, err)
	}
}

// TestPlayAtTerminal: the keys work, and the terminal is given back, also when
// the recording breaks off.
func TestPlayAtTerminal(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.cast"), filepath.Join(dir, "bad.cast")
	write(t, good, cast)
	write(t, bad, cast+"[1,\"o\"\n")
	p := w.atTerminal("play", "--paused", "--from=1s", good)
	p.sees("first")
	p.types("+")
	p.sees("0:01 / 1:00  2x")
	p.types("$")
	p.sees("1:00 / 1:00")
	p.types("\x03")
	p.sees("\x1b[?1049l")
	p.sees("last")
	p.ends(0)
	p = w.atTerminal("play", bad)
	p.sees("line 4 is not asciicast version 2")
	p.ends(2)
}

// TestPlayDatabases: at a terminal and elsewhere what happened is told, and no byte
// of a statement is obeyed.
func TestPlayDatabases(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	info := session(1, "db-1")
	info.Kind, info.Columns, info.Rows = "db", 0, 0
	w.recordings.AddEvents(t, info, "stored", `{"event":"db.session.query","db_query":"select 1;\u001b[2J"}`,
		`{"event":"db.session.postgres.statements.close"}`, `{"event":"db.session.result","success":true,"command":"SELECT","affected_records":1}`)
	want := "  0:01  select 1;\\x1b[2J\n  0:03  → SELECT, 1 row\n"
	if r := w.tsh("", "play", info.SessionID); r.code != 0 || r.out != want {
		t.Errorf("%+v", r)
	}
	if r := w.tsh("", "recordings", "export", "--format=text", info.SessionID); r.code != 0 || r.out != want {
		t.Errorf("%+v", r)
	}
	if r := w.tsh("", "recordings", "export", "--format=json", info.SessionID); r.code != 0 || !strings.Contains(r.out, `{"at":1,"type":"event","event":{"event":"db.session.query"`) {
		t.Errorf("%+v", r)
	}
	if r := w.tsh("", "recordings", "ls", "--query=resource.user == \"alice\""); r.code != 0 || !strings.Contains(r.out, info.SessionID+" db ") {
		t.Errorf("%+v", r)
	}
	p := w.atTerminal("play", "--paused", "--from=2s", info.SessionID)
	p.sees(`select 1;\x1b[2J`)
	p.types("$")
	p.sees("→ SELECT, 1 row")
	p.types("q")
	p.ends(0)
}

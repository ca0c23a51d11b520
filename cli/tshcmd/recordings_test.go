package tshcmd_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teleport/fault"
	"teleport/recfmt"
)

// session is a recorded session of n hours ago.
func session(n int, hostname string) recfmt.Info {
	return recfmt.Info{SessionID: strings.Repeat(string(rune('0'+n)), 8) + "-0000-4000-8000-000000000000", Kind: "ssh", Cluster: cluster, User: "alice", Login: "root",
		HostID: "30000000-0000-4000-8000-000000000001", Hostname: hostname, Start: time.Now().Add(-time.Duration(n) * time.Hour).UTC().Truncate(time.Second), Columns: 40, Rows: 10}
}

// TestRecordingsAreListed: as text, JSON, YAML and names, by pages, times and limits;
// an empty list is one for programs, and a word on standard error for people.
func TestRecordingsAreListed(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	for format, want := range map[string]string{"text": "", "names": "", "json": "[]\n", "yaml": "[]\n"} {
		r := w.tsh("", "recordings", "ls", "--format="+format)
		if r.code != 0 || r.out != want || (r.err != "") != (format == "text") {
			t.Errorf("none, as %s: %+v", format, r)
		}
	}
	var ids []string
	for n := 1; n <= 5; n++ {
		s := session(n, "web-\x1b[2J1")
		if n == 5 {
			s.Kind, s.Login, s.Hostname, s.Resource = "db", "reader", "db-agent", "orders"
		}
		ids = append(ids, s.SessionID)
		w.recordings.Add(t, s, map[bool]string{true: "arriving", false: "stored"}[n == 1], "one", "two", "three")
	}
	old := session(6, "old-1")
	old.Start = old.Start.Add(-72 * time.Hour)
	w.recordings.Add(t, old, "stored")
	r := w.tsh("", "recordings", "ls", "--format=names")
	if r.code != 0 || r.out != strings.Join(ids, "\n")+"\n" || r.err != "" {
		t.Errorf("names: %+v", r)
	}
	r = w.tsh("", "recordings", "ls")
	lines := strings.Split(r.out, "\n")
	if r.code != 0 || len(lines) != 8 || strings.Contains(r.out, "\x1b") || strings.Join(strings.Fields(lines[0]), " ") != "Session ID Kind Participants Where Start (UTC) Length State" ||
		strings.Join(strings.Fields(lines[3]), " ") != ids[1]+` ssh alice root@web-\x1b[2J1 `+session(2, "").Start.Format("2006-01-02 15:04")+" 0:03 stored" || !strings.Contains(strings.Join(strings.Fields(lines[6]), " "), ids[4]+" db alice reader@orders ") {
		t.Errorf("text: %+v", r)
	}
	if r = w.tsh("", "recordings", "ls", "--limit=3"); strings.Count(r.out, "\n") != 5 || !strings.Contains(r.err, "more than 3") || !strings.Contains(r.err, "--limit") {
		t.Errorf("limited: %+v", r)
	}
	if r = w.tsh("", "recordings", "ls", "--last=100h", "--format=names"); !strings.HasSuffix(r.out, old.SessionID+"\n") {
		t.Errorf("of the last 100 hours: %+v", r)
	}
	until := "--to-utc=" + time.Now().Add(-3*time.Hour-time.Minute).UTC().Format(time.RFC3339)
	if r = w.tsh("", "recordings", "ls", "--last=24h", "--format=names"); strings.Contains(r.out, old.SessionID) {
		t.Errorf("of the last day: %+v", r)
	}
	if r = w.tsh("", "recordings", "ls", "--from-utc=2020-01-01", until, "--format=names"); r.out != ids[3]+"\n"+ids[4]+"\n"+old.SessionID+"\n" {
		t.Errorf("until a time: %+v", r)
	}
	if r = w.tsh("", "recordings", "ls", "--format=names", `--query=name == "`+ids[1]+`" || resource.hostname == "x"`); r.code != 0 || r.out != ids[1]+"\n" {
		t.Errorf("by a query: %+v", r)
	}
	if r = w.tsh("", "recordings", "ls", `--query=name == true`); r.code != 2 || r.out != "" || !strings.Contains(r.err, `hint: write text in quotes: name == "true"`) {
		t.Errorf("by a wrong query: %+v", r)
	}
	var list []struct {
		ID       string  `json:"session_id"`
		Duration float64 `json:"duration"`
		State    string  `json:"state"`
		Hostname string  `json:"hostname"`
	}
	if r = w.tsh("", "recordings", "ls", "--format=json"); json.Unmarshal([]byte(r.out), &list) != nil || len(list) != 5 || list[0].ID != ids[0] ||
		list[0].State != "arriving" || list[0].Duration != 3 || list[0].Hostname != "web-\x1b[2J1" {
		t.Errorf("json: %+v", r)
	}
	for _, c := range []struct {
		flag string
		want string
	}{{"--limit=0", "--limit must be at least 1"}, {"--format=xml", "formats: text, json, yaml, names"}, {"--last=yesterday", "yesterday"}, {"--from-utc=then", "then"}} {
		if r := w.tsh("", "recordings", "ls", c.flag); r.code != 2 || r.out != "" || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: %+v", c.flag, r)
		}
	}
}

// TestRecordingsAreExported: in each format, to the output and into a file that
// must not be there; an unknown session and a refusal leave no file.
func TestRecordingsAreExported(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	s := session(1, "web-1")
	w.recordings.Add(t, s, "stored", "first\r\n", "\x1b[31msecond\x1b[m\r\n")
	for format, want := range map[string]string{
		"text":      "first\nsecond\n",
		"asciicast": `[1.000000,"o","first\r\n"]` + "\n" + `[2.000000,"o","\u001b[31msecond\u001b[m\r\n"]` + "\n",
		"json":      `{"at":1,"type":"output","text":"first\r\n"}`,
	} {
		r := w.tsh("", "recordings", "export", s.SessionID, "--format="+format)
		if r.code != 0 || !strings.Contains(r.out, want) || r.err != "" {
			t.Errorf("as %s: %+v", format, r)
		}
		path := filepath.Join(t.TempDir(), "out")
		if f := w.tsh("", "recordings", "export", s.SessionID, "--format="+format, "-o", path); f.code != 0 || f.out != "" || f.err != "" {
			t.Errorf("into a file as %s: %+v", format, f)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != r.out {
			t.Errorf("the file has %q, %v", b, err)
		}
		if f := w.tsh("", "recordings", "export", s.SessionID, "--format="+format, "-o", path); f.code != 2 || !strings.Contains(f.err, path) {
			t.Errorf("over a file: %+v", f)
		}
	}
	if r := w.tsh("", "play", s.SessionID); r.code != 0 || r.out != "first\nsecond\n" {
		t.Errorf("played without a terminal: %+v", r)
	}
	unknown := session(9, "").SessionID
	path := filepath.Join(t.TempDir(), "none")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"play", unknown}, 5, "there is no recording of the session \"" + unknown + "\" that you may read"},
		{[]string{"recordings", "export", unknown, "-o", path}, 5, "there is no recording"},
		{[]string{"recordings", "export", s.SessionID, "--format=gif"}, 2, "formats: asciicast, text, json"},
		{[]string{"play", "no-such.cast"}, 5, `there is no file "no-such.cast"`},
		{[]string{"play", "./no/such"}, 5, `there is no file "./no/such"`},
		{[]string{"play", "--speed=4x", s.SessionID}, 2, "are for playing at a terminal"},
		{[]string{"play", "--speed=100x", s.SessionID}, 2, "0.5x to 8x"},
		{[]string{"play", "--format=pty", s.SessionID}, 2, "needs a terminal"},
		{[]string{"play"}, 2, "tsh play"},
	} {
		if r := w.tsh("", c.args...); r.code != c.code || r.out != "" || !strings.Contains(r.err, c.want) || strings.Count(r.err, "ERROR") != 1 {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	w.recordings.Refuse(fault.New(fault.Denied, "alice may not read recordings").WithHint("roles with the resource session allow it"))
	for _, args := range [][]string{{"play", s.SessionID}, {"recordings", "ls"}, {"recordings", "export", s.SessionID, "-o", path}} {
		if r := w.tsh("", args...); r.code != 4 || r.out != "" || r.err != "ERROR: alice may not read recordings\nhint: roles with the resource session allow it\n" {
			t.Errorf("%q, refused: %+v", args, r)
		}
	}
	w.recordings.Refuse(fault.New(fault.Unavailable, "the recording storage is away"))
	if r := w.tsh("", "play", s.SessionID); r.code != 6 || !strings.Contains(r.err, "the recording storage is away") {
		t.Errorf("away: %+v", r)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a file is left of what failed: %v", err)
	}
	if r := w.tsh("", "logout"); r.code != 0 {
		t.Fatal(r)
	}
	if r := w.tsh("", "recordings", "ls"); r.code != 3 || !strings.Contains(r.err, "tsh login") {
		t.Errorf("logged out: %+v", r)
	}
}

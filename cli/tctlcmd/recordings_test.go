package tctlcmd_test

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

const (
	one  = "11111111-0000-4000-8000-000000000000"
	two  = "22222222-0000-4000-8000-000000000000"
	none = "99999999-0000-4000-8000-000000000000"
)

func of(id, user, host string, ago time.Duration) recfmt.Info {
	return recfmt.Info{SessionID: id, User: user, Login: "root", HostID: none, Hostname: host, Start: time.Now().Add(-ago).UTC().Truncate(time.Second)}
}

// TestRecordingsAreSearched: where and when a text was shown, by session, as text
// and JSON; what was not shown is an empty list.
func TestRecordingsAreSearched(t *testing.T) {
	w := newWorld(t)
	for _, format := range []string{"text", "json", "yaml"} {
		r := w.tctl("recordings", "search", "anything", "--format="+format)
		if want := map[string]string{"text": "", "json": "[]\n", "yaml": "[]\n"}[format]; r.code != 0 || r.out != want || (r.err != "") != (format == "text") {
			t.Errorf("nothing is recorded, as %s: %+v", format, r)
		}
	}
	first, second := of(one, "alice", "web-1", time.Hour), of(two, "bob", "db-\x1b[2J1", 2*time.Hour)
	w.session(first, "$ \r\n", "the \x1b[1mneedle\x1b[m here\r\n", "\x1b[5;9Hneedle\r\n")
	w.session(second, "no\r\n", "a needle there\r\n")
	r := w.tctl("recordings", "search", "needle")
	want := one + "\nalice on web-1, " + first.Start.Format(time.RFC3339) + "\n" +
		"  0:02  the needle here\n    row 2, column 5: tsh play --from=2s " + one + "\n" +
		"  0:03  needle\n    row 5, column 9: tsh play --from=3s " + one + "\n\n" +
		two + "\nbob on db-\\x1b[2J1, " + second.Start.Format(time.RFC3339) + "\n" +
		"  0:02  a needle there\n    row 2, column 3: tsh play --from=2s " + two + "\n"
	if r.code != 0 || r.out != want || r.err != "" {
		t.Errorf("%+v, want\n%s", r, want)
	}
	if r = w.tctl("recordings", "search", "needle", "--user=bob"); strings.Contains(r.out, one) || !strings.Contains(r.out, two) {
		t.Errorf("of bob: %+v", r)
	}
	if r = w.tctl("recordings", "search", "needle", "--last=90m"); strings.Contains(r.out, two) || !strings.Contains(r.out, one) {
		t.Errorf("of the last 90 minutes: %+v", r)
	}
	var hits []struct {
		ID     string  `json:"session_id"`
		User   string  `json:"user"`
		At     float64 `json:"at"`
		Row    int     `json:"row"`
		Column int     `json:"column"`
		Line   string  `json:"line"`
		Play   string  `json:"play"`
	}
	r = w.tctl("recordings", "search", "needle", "--format=json")
	if json.Unmarshal([]byte(r.out), &hits) != nil || len(hits) != 3 || hits[1].ID != one || hits[1].At != 3 || hits[1].Row != 5 || hits[1].Column != 9 ||
		hits[2].User != "bob" || hits[2].Line != "a needle there" || hits[2].Play != "tsh play --from=2s "+two {
		t.Errorf("as JSON: %+v", r)
	}
	w.recordings.Refuse(fault.New(fault.Denied, "audra may not read recordings"))
	for _, args := range [][]string{{"search", "needle"}, {"ls"}, {"download", one}} {
		if r := w.tctl(append([]string{"recordings"}, args...)...); r.code != 4 || r.out != "" || r.err != "ERROR: audra may not read recordings\n" {
			t.Errorf("%q, refused: %+v", args, r)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{{[]string{"search"}, "tctl recordings search TEXT"}, {[]string{"search", "a", "b"}, "tctl recordings search TEXT"}, {[]string{"search", "a", "--limit=0"}, "at least 1"},
		{[]string{"search", "a", "--last=soon"}, "soon"}, {[]string{"search", "a", "--format=names"}, "names"}} {
		if r := w.tctl(append([]string{"recordings"}, c.args...)...); r.code != 2 || r.out != "" || !strings.Contains(r.err, c.want) {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
}

// TestRecordingsOfUsersAndHosts are listed and downloaded as they are stored.
func TestRecordingsOfUsersAndHosts(t *testing.T) {
	w := newWorld(t)
	if r := w.tctl("recordings", "ls"); r.code != 0 || r.out != "" || !strings.Contains(r.err, "no recording") {
		t.Errorf("none: %+v", r)
	}
	if r := w.tctl("recordings", "ls", "--format=json"); r.code != 0 || r.out != "[]\n" {
		t.Errorf("none, as JSON: %+v", r)
	}
	data := w.session(of(one, "alice", "web-1", time.Hour), "one\r\n")
	w.session(of(two, "bob", "db-1", 2*time.Hour), "two\r\n")
	for flag, want := range map[string]string{"--user=alice": one, "--user=bob": two, "--host=web-1": one, "--host=" + none: one + two, "--user=carol": "", `--query=resource.user == "bob"`: two} {
		r := w.tctl("recordings", "ls", flag)
		got := ""
		for line := range strings.Lines(r.out) {
			if id, _, _ := strings.Cut(line, " "); len(id) == len(one) && id[0] != '-' {
				got += id
			}
		}
		if r.code != 0 || got != want {
			t.Errorf("%s: %+v", flag, r)
		}
	}
	path := filepath.Join(t.TempDir(), "session.rec")
	if r := w.tctl("recordings", "download", one, "-o", path); r.code != 0 || r.out != "" || r.err != "" {
		t.Errorf("download: %+v", r)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != string(data) {
		t.Errorf("%d of %d bytes are downloaded, %v", len(b), len(data), err)
	}
	if r := w.tctl("recordings", "download", one); r.code != 0 || r.out != string(data) {
		t.Errorf("to the output: %d, %s", r.code, r.err)
	}
	if r := w.tctl("recordings", "download", one, "-o", path); r.code != 2 {
		t.Errorf("over a file: %+v", r)
	}
	gone := filepath.Join(t.TempDir(), "none.rec")
	if r := w.tctl("recordings", "download", none, "-o", gone); r.code != 5 || !strings.Contains(r.err, "there is no recording of the session") {
		t.Errorf("unknown: %+v", r)
	}
	if _, err := os.Stat(gone); !os.IsNotExist(err) {
		t.Errorf("a file is left of what failed: %v", err)
	}
}

package tctlcmd_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teleport/fault"
	"teleport/recfmt"
	"teleport/types/event"
)

// TestTheLogAndTheRecordingsAreVerified, of the cluster and of an export, as text
// and JSON; what is not good is named, and is code 4.
func TestTheLogAndTheRecordingsAreVerified(t *testing.T) {
	w := newWorld(t)
	w.emit(&event.UserLogin{Meta: event.Meta{Code: event.CodeUserLogin}, User: event.User{User: "alice"}})
	r := w.tctl("audit", "verify")
	if r.code != 0 || r.err != "" || !strings.HasPrefix(r.out, "The log verifies.\n\nCluster      example\nEvents       1\n") ||
		!strings.Contains(r.out, "\nThe recordings verify.\n\nRecordings   0\n") {
		t.Errorf("without recordings: %+v", r)
	}
	data := w.session(of(one, "alice", "web-1", time.Hour), "one\r\n", "two\r\n")
	w.session(of(two, "bob", "db-1", 2*time.Hour), "three\r\n")
	keys, export := w.write("keys", w.tctl("audit", "keys").out), w.write("export", w.tctl("audit", "export").out)
	dir := filepath.Join(w.dir, "recs")
	must(t, os.Mkdir(dir, 0o700))
	for _, id := range []string{one, two} {
		if r := w.tctl("recordings", "download", id, "-o", filepath.Join(dir, id+".rec")); r.code != 0 {
			t.Fatalf("%+v", r)
		}
	}
	for _, args := range [][]string{nil, {"--keys=" + keys}, {"--recordings=" + dir}, {"--export=" + export, "--keys=" + keys, "--recordings=" + dir}} {
		if r := w.tctl(append([]string{"audit", "verify"}, args...)...); r.code != 0 || r.err != "" || !strings.Contains(r.out, "\nEvents       7\n") ||
			!strings.Contains(r.out, "The recordings verify.\n\nRecordings   2\n") {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if r := w.tctl("audit", "verify", "--log-only"); r.code != 0 || strings.Contains(r.out, "recordings") {
		t.Errorf("the log alone: %+v", r)
	}

	must(t, os.Remove(filepath.Join(dir, two+".rec")))
	must(t, os.WriteFile(filepath.Join(dir, one+".rec"), data[:len(data)-20], 0o600))
	r = w.tctl("audit", "verify", "--recordings="+dir)
	if r.code != 4 || !strings.HasPrefix(r.out, "The log verifies.\n") || !strings.Contains(r.out, "\nTHE RECORDINGS DO NOT VERIFY.\n") ||
		!strings.Contains(r.out, "\n  problem: session "+two+": the recording is missing") || !strings.Contains(r.out, "\n  problem: session "+one+": ") ||
		!strings.Contains(r.out, "cut short") || strings.Count(r.err, "ERROR") != 1 {
		t.Errorf("recordings are gone: %+v", r)
	}
	var report struct {
		Cluster    string
		Count      int `json:"problem_count"`
		Recordings struct {
			Problems []struct {
				SID  string `json:"sid"`
				Kind string `json:"kind"`
			}
			Count int `json:"problem_count"`
		}
	}
	r = w.tctl("audit", "verify", "--recordings="+dir, "--format=json")
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.code != 4 || report.Cluster != cluster || report.Count != 0 || report.Recordings.Count != 2 ||
		len(report.Recordings.Problems) != 2 {
		t.Errorf("as JSON: %v, %+v", err, r)
	}

	w.audit.change = func(b []byte) []byte { return bytes.Replace(b, []byte(`alice`), []byte(`mally`), 1) }
	if r := w.tctl("audit", "verify"); r.code != 4 || !strings.HasPrefix(r.out, "THE LOG DOES NOT VERIFY.\n") || !strings.Contains(r.out, "\n  problem: ") ||
		strings.Contains(r.out, `{"`) || strings.Count(r.err, "ERROR") != 1 {
		t.Errorf("an event is another: %+v", r)
	}
}

// TestACheckpointIsKept: a log whose end is cut off since shows, and the file
// stays as it is.
func TestACheckpointIsKept(t *testing.T) {
	w := newWorld(t)
	w.session(of(one, "alice", "web-1", time.Hour), "one\r\n")
	keys, old := w.write("keys", w.tctl("audit", "keys").out), w.write("old", w.tctl("audit", "export").out)
	w.session(of(two, "bob", "db-1", time.Hour), "two\r\n")
	point := filepath.Join(w.dir, "point")
	if r := w.tctl("audit", "verify", "--checkpoint="+point); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	saved, err := os.ReadFile(point)
	if err != nil || !json.Valid(saved) {
		t.Fatalf("%q, %v", saved, err)
	}
	if r := w.run("audit", "verify", "--export="+old, "--keys="+keys, "--checkpoint="+point); r.code != 4 || !strings.Contains(r.out, "THE LOG DOES NOT VERIFY.") {
		t.Errorf("an older log: %+v", r)
	}
	if now, err := os.ReadFile(point); err != nil || !bytes.Equal(now, saved) {
		t.Errorf("the checkpoint became %q, %v", now, err)
	}
	if r := w.tctl("audit", "verify", "--checkpoint="+point); r.code != 0 {
		t.Errorf("again: %+v", r)
	}
}

// TestVerifyingNeedsWhatItNeeds: each thing that is missing or not what it should
// be is one line.
func TestVerifyingNeedsWhatItNeeds(t *testing.T) {
	w := newWorld(t)
	w.session(recfmt.Info{SessionID: one, User: "alice", Start: time.Now()}, "one\r\n")
	keys, export := w.write("keys", w.tctl("audit", "keys").out), w.write("export", w.tctl("audit", "export").out)
	text, gone := w.write("text", "hello\n"), filepath.Join(w.dir, "gone")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--export=" + export}, 2, "--keys=FILE"},
		{[]string{"--export=" + gone, "--keys=" + keys}, 5, gone},
		{[]string{"--export=" + export, "--keys=" + gone}, 5, gone},
		{[]string{"--export=" + export, "--keys=" + text}, 2, "holds no public key"},
		{[]string{"--export=" + text, "--keys=" + keys}, 4, "not a line of an audit export"},
		{[]string{"--checkpoint=" + text}, 2, "holds no checkpoint"},
		{[]string{"--log-only", "--recordings=" + w.dir}, 2, "exclude each other"},
		{[]string{"--recordings=" + gone}, 2, gone},
		{[]string{"extra"}, 2, "takes no argument"},
		{[]string{"--format=names"}, 2, "names"},
	} {
		if r := w.tctl(append([]string{"audit", "verify"}, c.args...)...); r.code != c.code || !strings.Contains(r.err, c.want) || strings.Count(r.err, "ERROR") != 1 {
			t.Errorf("%q: %+v", c.args, r)
		}
	}
	w.audit.refuse = fault.New(fault.Denied, "audra may not read the audit log")
	for _, verb := range []string{"verify", "keys", "export"} {
		if r := w.tctl("audit", verb); r.code != 4 || r.out != "" || r.err != "ERROR: audra may not read the audit log\n" {
			t.Errorf("%s, refused: %+v", verb, r)
		}
	}
	if r := w.run("audit", "verify"); r.code != 3 || !strings.Contains(r.err, "nobody is logged in") {
		t.Errorf("without a log-in: %+v", r)
	}
}

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"teleport/cli/output"
	"teleport/test/cluster"
)

// TestVerifyNamesEachPlace: whoever removes an event, swaps two, or touches a
// recording is told on, with the place, by who has nothing but public keys.
func TestVerifyNamesEachPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	w.ssh("seq 1 3000").OK(t)
	w.ssh("echo the other").OK(t)
	ids, lines, at, writer, first := w.threeInABlock(t)
	keys := write(t, filepath.Join(w.Dir, "keys.pem"), w.Tctl("audit", "keys").OK(t))
	dir := filepath.Join(w.Dir, "recordings")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	recs := map[string]string{}
	for _, id := range ids {
		path := filepath.Join(dir, id+".rec")
		w.Tctl("recordings", "download", id, "-o", path).OK(t)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		recs[id] = string(b)
	}
	one, other := ids[0], ids[1]
	size := len(recs[one])
	altered := []byte(recs[one])
	altered[size/2] ^= 1
	for i, c := range []struct {
		what string
		log  []string
		recs map[string]string
		want []string // with the code of what is not to be trusted; none: it verifies
	}{
		{what: "nothing", log: lines, recs: recs},
		{what: "an event is removed", log: slices.Delete(slices.Clone(lines), at+1, at+2),
			want: []string{"problem: missing in block ", fmt.Sprintf("event %d of writer %s follows event %d", first+2, writer, first)}},
		{what: "two are swapped", log: slices.Concat(lines[:at+1], []string{lines[at+2], lines[at+1]}, lines[at+3:]),
			want: []string{"problem: reordered in block ", fmt.Sprintf("event %d of writer %s follows event %d", first+2, writer, first), fmt.Sprintf("event %d of writer %s follows event %d", first+1, writer, first+2)}},
		{what: "the log is cut", log: lines[:len(lines)/2], want: []string{"the export is cut short"}},
		{what: "a recording is cut", recs: map[string]string{one: recs[one][:size-20]},
			want: []string{"session " + one, fmt.Sprintf("cut short: %d of %d bytes are there", size-20, size)}},
		{what: "a byte is another", recs: map[string]string{one: string(altered)}, want: []string{"session " + one, "the recording was altered at byte"}},
		{what: "recordings are swapped", recs: map[string]string{one: recs[other], other: recs[one]}, want: []string{"session " + one, "session " + other}},
		{what: "one is missing", recs: map[string]string{one: ""}, want: []string{"session " + one, "the recording is missing"}},
	} {
		if c.log == nil {
			c.log = lines
		}
		of := filepath.Join(w.Dir, fmt.Sprintf("case-%d", i))
		for id, whole := range recs {
			if text, ok := c.recs[id]; ok {
				whole = text
			}
			if whole != "" {
				write(t, filepath.Join(of, id+".rec"), whole)
			}
		}
		r := cluster.Run(cluster.Command{Path: filepath.Join(w.Bin(), "tctl"), Dir: w.Dir, Env: []string{"HOME=/nonexistent", "PATH=/nonexistent"},
			Args: []string{"audit", "verify", "--export=" + write(t, filepath.Join(of, "log"), strings.Join(c.log, "")), "--keys=" + keys, "--recordings=" + of}})
		if code := map[bool]int{true: output.ExitOK, false: output.ExitDenied}[c.want == nil]; r.Code != code || strings.Count(r.Stderr, "ERROR") != min(code, 1) {
			t.Errorf("%s: %s", c.what, r)
		}
		contains(t, r.Stdout, c.want...)
	}
	w.storedIsTouched(t, one, other)
}

// threeInABlock returns the ids of all sessions, of which there were two, with the log
// as lines and where manyEvents finds something in it: how many events an agent sends
// at one time is the machine's affair, and where it was always one, more sessions than
// one at a time are looked at.
func (w *world) threeInABlock(t *testing.T) (ids, lines []string, at int, writer string, first uint64) {
	t.Helper()
	for sessions := 2; sessions < 50; sessions += 6 {
		ids = nil
		for _, e := range w.Events(t, sessions, "session.upload", "") {
			ids = append(ids, e["sid"].(string))
		}
		lines = strings.SplitAfter(w.Tctl("audit", "export").OK(t), "\n")
		if at, writer, first = manyEvents(lines); at > 0 {
			return ids, lines, at, writer, first
		}
		var work sync.WaitGroup
		for range 6 {
			work.Go(func() {
				if r := w.ssh("true"); r.Code != 0 {
					t.Error(r)
				}
			})
		}
		work.Wait()
	}
	t.Fatal("no block has three events of one writer")
	return nil, nil, 0, "", 0
}

// manyEvents finds the first of three events of one writer in one block; 0 where there
// is none.
func manyEvents(lines []string) (at int, writer string, first uint64) {
	for i, line := range lines {
		var l struct {
			Run *struct {
				Writer      string
				First, Last uint64
			}
		}
		if json.Unmarshal([]byte(line), &l) == nil && l.Run != nil && l.Run.Last >= l.Run.First+2 {
			return i + 1, l.Run.Writer, l.Run.First
		}
	}
	return 0, "", 0
}

// storedIsTouched changes what the auth service keeps: verifying names it, and
// who plays or exports it gets an error and no file.
func (w *world) storedIsTouched(t *testing.T, cut, altered string) {
	t.Helper()
	before := map[string][]byte{}
	touch := func(id string, f func([]byte) []byte) {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(w.Auth.DataDir, "log", "records", "*", id, "*.rec"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%q, %v", found, err)
		}
		b, err := os.ReadFile(found[0])
		if err == nil {
			before[found[0]] = slices.Clone(b)
			err = os.WriteFile(found[0], f(b), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	touch(cut, func(b []byte) []byte { return b[:len(b)/2] })
	touch(altered, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	r := w.Tctl("audit", "verify").Exit(t, output.ExitDenied)
	contains(t, r.Stdout, "The log verifies", "session "+cut, "cut short", "session "+altered, "was altered at byte")
	for _, id := range []string{cut, altered} {
		file := filepath.Join(w.alice.Home, id+".cast")
		for _, r := range []cluster.Result{w.alice.Tsh("play", id), w.alice.Tsh("recordings", "export", id, "-o", file)} {
			if r.Code != output.ExitDenied || strings.Count(r.Stderr, "\n") != 1 || !strings.HasPrefix(r.Stderr, "ERROR: ") {
				t.Errorf("of a damaged recording: %s", r)
			}
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("a file is left of what could not be exported: %v", err)
		}
	}
	for path, b := range before { // in the end each test's own log is proven
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Error(err)
		}
	}
}

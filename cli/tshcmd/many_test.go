package tshcmd_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// manyNodes adds servers with a label of their own.
func (w *world) manyNodes(n int) {
	for i := range n {
		w.addNode(fmt.Sprintf("40000000-0000-4000-8000-%012d", i), fmt.Sprintf("m-%02d", i), map[string]string{"fleet": "m", "odd": fmt.Sprint(i % 2)})
	}
}

func sortedLines(s string) []string {
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	slices.Sort(lines)
	return lines
}

func TestOneCommandOnManyServers(t *testing.T) {
	w := newWorld(t)
	w.manyNodes(50)
	w.mustLogIn()
	r := w.tsh("not read", "ssh", "root@fleet=m", `printf 'one\ntwo\nno end'; echo err >&2`)
	lines := sortedLines(r.out)
	if r.code != 0 || len(lines) != 150 || !slices.Contains(lines, "m-07: one") || !slices.Contains(lines, "m-49: no end") {
		t.Fatalf("%d: %d lines\n%s\n%s", r.code, len(lines), r.out, r.err)
	}
	if !strings.Contains(r.err, "m-00: err\n") || !strings.Contains(r.err, "50 servers: 50 succeeded, 0 failed\n") {
		t.Errorf("%s", r.err)
	}
	// The highest code counts, and each failure is named.
	r = w.tsh("", "ssh", "--parallel=3", "root@fleet=m,odd=1", "exit 3")
	if r.code != 3 || !strings.Contains(r.err, "25 servers: 0 succeeded, 25 failed\n") || !strings.Contains(r.err, "  m-01: exit status 3\n") {
		t.Errorf("%d\n%s", r.code, r.err)
	}
	// A server that is not who it says fails alone.
	w.nodes["m-01"].claims = "50000000-0000-4000-8000-000000000009"
	r = w.tsh("", "ssh", "root@fleet=m,odd=1", "true")
	if r.code != 255 || !strings.Contains(r.err, "25 servers: 24 succeeded, 1 failed\n") || !strings.Contains(r.err, "  m-01: ") {
		t.Errorf("%d\n%s", r.code, r.err)
	}
}

func TestManyServersIntoFiles(t *testing.T) {
	w := newWorld(t)
	w.manyNodes(3)
	w.addNode("40000000-0000-4000-8000-000000000099", "m-00", map[string]string{"fleet": "m"}) // in the place of the first
	w.mustLogIn()
	dir := filepath.Join(t.TempDir(), "logs", "deep")
	r := w.tsh("", "ssh", "--log-dir="+dir, "root@fleet=m", "echo out; echo err >&2")
	if r.code != 0 || r.out != "" || !strings.HasPrefix(r.err, "3 servers: 3 succeeded") {
		t.Fatalf("%d\n%s\n%s", r.code, r.out, r.err)
	}
	for name, want := range map[string]string{"m-01.stdout": "out\n", "m-01.stderr": "err\n", "m-00.stdout": "out\n"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(b) != want {
			t.Errorf("%s: %q %v", name, b, err)
		}
	}
}

func TestManyServersRefuse(t *testing.T) {
	w := newWorld(t)
	w.manyNodes(2)
	w.mustLogIn()
	for _, c := range []struct{ name, args, want string }{
		{"nobody", "ssh root@fleet=none true", "no server that you may reach"},
		{"a forward", "ssh -L 8080:localhost:80 root@fleet=m true", "are for one"},
		{"a terminal", "ssh -t root@fleet=m true", "are for one"},
		{"an agent", "ssh -A root@fleet=m true", "are for one"},
		{"too many at once", "ssh --parallel=0 root@fleet=m true", "--parallel"},
		{"a shell", "ssh root@fleet=m", "ambiguous"},
		{"a file in the place of the directory", "ssh --log-dir=/dev/null root@fleet=m true", "/dev/null"},
	} {
		if r := w.tsh("", strings.Fields(c.args)...); r.code != 255 || !strings.Contains(r.err, c.want) {
			t.Errorf("%s: %d %s", c.name, r.code, r.err)
		}
	}
	// A command on one server by labels is as on that server by name.
	if r := w.tsh("in", "ssh", "root@env=prod", "cat"); r.code != 0 || r.out != "in" {
		t.Errorf("%d %q %s", r.code, r.out, r.err)
	}
}

func TestLatency(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	r := w.tsh("", "latency", "ssh", "root@web-1", "--samples=3", "--interval=10ms")
	if lines := strings.Split(strings.TrimSpace(r.out), "\n"); r.code != 0 || len(lines) != 4 || !strings.HasPrefix(lines[3], "median: client–proxy ") {
		t.Errorf("%d %s %s", r.code, r.out, r.err)
	}
	r = w.tsh("", "latency", "ssh", "root@web-1", "--samples=2", "--interval=10ms", "--format=json")
	var got struct {
		Samples []map[string]float64 `json:"samples"`
		Median  map[string]float64   `json:"median"`
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || len(got.Samples) != 2 || got.Median["total_ms"] <= 0 || got.Median["client_proxy_ms"] <= 0 {
		t.Errorf("%v %s", err, r.out)
	}
	if r = w.tsh("", "latency", "ssh", "root@web-1", "--samples=-1"); r.code != 2 {
		t.Errorf("%d", r.code)
	}
}

func TestBench(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	r := w.tsh("", "bench", "ssh", "--duration=300ms", "--rate=20", "--format=json", "root@web-1", "true")
	var got struct {
		Sessions int                `json:"sessions"`
		Failed   int                `json:"failed"`
		Millis   map[string]float64 `json:"ms"`
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Sessions < 1 || got.Failed != 0 || got.Millis["p50"] <= 0 || got.Millis["p25"] > got.Millis["p99"] {
		t.Errorf("%v %s %s", err, r.out, r.err)
	}
	if r = w.tsh("", "bench", "ssh", "--duration=50ms", "root@web-1", "exit 1"); r.code != 0 || !strings.Contains(r.out, "failed") || !strings.Contains(r.out, "exit status 1") {
		t.Errorf("%d %s %s", r.code, r.out, r.err)
	}
	if r = w.tsh("", "bench", "ssh", "--rate=0", "root@web-1", "true"); r.code != 2 {
		t.Errorf("%d", r.code)
	}
}

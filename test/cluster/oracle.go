package cluster

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"teleport/audit/audittest"
)

// end stops the cluster and judges it: the audit log verifies and tells every
// session whole, no secret stands in a log, no process is left.
func (c *Cluster) end(t testing.TB) {
	judge := c.opts.NoOracles == "" && !t.Failed()
	var export string
	if judge {
		export = c.auditOracle(t)
	}
	c.stop(t)
	if judge {
		c.secretOracle(t, export)
	}
	if t.Failed() {
		for _, p := range c.processes() {
			if p != nil {
				t.Log(p.LogTail())
			}
		}
	}
}

// Export is the audit log as exported now.
func (c *Cluster) Export(t testing.TB) string {
	t.Helper()
	return c.Tctl("audit", "export").OK(t)
}

// Events waits until the log has at least n events of a type (of a user, where
// one is given), and returns them oldest first. Agents ship in the background.
func (c *Cluster) Events(t testing.TB, n int, typ, user string) []map[string]any {
	t.Helper()
	var events []map[string]any
	var last Result
	args := []string{"audit", "ls", "--format=json", "--ascending", "--limit=1000", "--type=" + typ}
	if user != "" {
		args = append(args, "--user="+user)
	}
	if !Poll(shipLimit, func() bool {
		last, events = c.Tctl(args...), nil
		return last.Code == 0 && json.Unmarshal([]byte(last.Stdout), &events) == nil && len(events) >= n
	}) {
		t.Fatalf("waited for %d audit events %s: %s", n, typ, last)
	}
	return events
}

// auditOracle waits until all agents have shipped the ends of their sessions.
func (c *Cluster) auditOracle(t testing.TB) string {
	if !c.Auth.Running() {
		c.Auth.Start(t)
	}
	var export Result
	var problems []string
	Poll(shipLimit, func() bool {
		if export = c.Tctl("audit", "export"); export.Code != 0 {
			problems = []string{export.String()}
		} else {
			problems = audittest.Sessions([]byte(export.Stdout))
		}
		return len(problems) == 0
	})
	for _, p := range problems {
		t.Error(p)
	}
	if verified := c.Tctl("audit", "verify"); verified.Code != 0 {
		t.Error(verified)
	}
	return export.Stdout
}

// stop ends all processes, and fails the test for those that are left.
func (c *Cluster) stop(t testing.TB) {
	var below []stat
	for _, p := range c.processes() {
		if p == nil {
			continue
		}
		newest := 0
		for _, g := range p.generations() {
			if g.alive() { // else the id may be another's
				below, newest = append(below, descendants(g.pid)...), g.pid
			}
		}
		if newest > 0 {
			_ = syscall.Kill(newest, syscall.SIGTERM) // gone meanwhile is as good
		}
	}
	for _, p := range c.processes() {
		if p != nil && !Poll(stopLimit, func() bool { return !p.Running() }) {
			t.Errorf("%s did not end within %s of TERM\n%s", p.Name, stopLimit, p.LogTail())
			p.kill()
		}
	}
	for _, s := range below {
		if !Poll(stopLimit, func() bool { return !s.alive() }) {
			t.Errorf("process %d (%s) was left by the cluster", s.pid, s.name)
			_ = syscall.Kill(s.pid, syscall.SIGKILL)
		}
	}
}

func (c *Cluster) secretOracle(t testing.TB, export string) {
	texts := map[string]string{"the audit export": export}
	logs, err := filepath.Glob(filepath.Join(c.Dir, "*", "log"))
	if err != nil {
		t.Error(err)
	}
	for _, path := range logs {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		texts["the log of "+filepath.Base(filepath.Dir(path))] = string(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for where, text := range texts {
		for secret, what := range c.secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds a secret: a %s", where, what)
			}
		}
		if strings.Contains(text, "\ngoroutine ") || strings.Contains(text, "\npanic: ") {
			t.Errorf("%s holds a stack trace", where)
		}
	}
}

package e2e

import (
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestLiveSessionsAreCut holds a session open and takes its right away, in each
// of the ways in which that happens.
func TestLiveSessionsAreCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	role := func(logins string) {
		t.Helper()
		w.TctlIn("kind: role\nversion: v7\nmetadata: {name: short}\nspec:\n  allow: {logins: ["+logins+"], node_labels: {'*': '*'}}\n",
			"create", "-f").OK(t)
	}
	role(w.os.Name)
	for _, c := range []struct {
		name string
		cut  func(name string)
		undo func(name string)
	}{
		{"lockuser", func(name string) { w.Tctl("lock", "--user="+name, "--message=laptop stolen").OK(t) }, nil},
		{"locklogin", func(string) { w.Tctl("lock", "--login="+w.os.Name).OK(t) }, func(string) { w.unlock(t) }},
		{"lockserver", func(string) { w.Tctl("lock", "--server-id="+w.node.UUID(t)).OK(t) }, func(string) { w.unlock(t) }},
		{"rolechange", func(string) { role("nobody") }, func(string) { role(w.os.Name) }},
		{"userchange", func(name string) { w.Tctl("users", "update", name, "--set-roles=auditor").OK(t) }, nil},
		{"removal", func(name string) { w.Tctl("users", "rm", name).OK(t) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := w.User(t, c.name, []string{"short"}, nil)
			p.Login(t)
			live := p.StartTsh(t, "ssh", w.to, "echo $$ started; trap '' HUP; exec sleep 600")
			live.WaitFor(t, "started")
			pid := strings.Fields(live.Out.String())[0]
			c.cut(c.name)
			if code := live.Wait(t); code == 0 {
				t.Errorf("the session ended well: %s", live.Errs)
			}
			cluster.Until(t, within, "the end of process "+pid, func() bool {
				return cluster.Run(cluster.Command{Path: "/bin/kill", Args: []string{"-0", pid}}).Code != 0
			})
			again := p.Tsh("ssh", w.to, "true").Exit(t, 255)
			if c.name == "lockuser" {
				// The session itself may learn it too, where the agent cuts before the proxy does.
				contains(t, again.Stderr, "laptop stolen")
			}
			if c.undo == nil {
				return
			}
			c.undo(c.name)
			cluster.Until(t, within, "the right to come back", func() bool { return p.Tsh("ssh", w.to, "true").Code == 0 })
		})
	}
}

// unlock lifts every lock.
func (w *world) unlock(t *testing.T) {
	t.Helper()
	for _, l := range w.list(t, "lock") {
		w.Tctl("rm", "lock/"+l.Metadata.Name).OK(t)
	}
}

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"teleport/test/cluster"
)

// TestSessionsAreRecorded: a session's recording is stored when it has ended, and
// nothing of it stays on its host; so is that of an agent that was killed in the
// middle of one.
func TestSessionsAreRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	agent := w.Agents[0]
	w.alice.Tsh("ssh", w.to, "seq 1 20000").OK(t)
	start := w.Events(t, 1, "session.start", "alice")[0]
	if start["session_recording"] != "node" {
		t.Errorf("session.start says %v", start["session_recording"])
	}
	up := w.Events(t, 1, "session.upload", "")[0]
	if up["sid"] != start["sid"] || up["reason"] != "session" || up["server_id"] != agent.UUID(t) {
		t.Errorf("session.upload %v of %v", up, start)
	}
	emptySpool(t, agent)

	live := w.alice.StartTsh(t, "ssh", w.to, "echo going; exec sleep 1000")
	live.WaitFor(t, "going")
	agent.Kill9(t)
	agent.Start(t)
	up = w.Events(t, 2, "session.upload", "")[1]
	if up["reason"] != "abandoned" || up["closed_by_auth"] == true {
		t.Errorf("session.upload after a kill: %v", up)
	}
	emptySpool(t, agent)
	if gaps := w.Events(t, 0, "session.recording.gap", ""); len(gaps) > 0 {
		t.Errorf("gaps: %v", gaps)
	}
}

// emptySpool waits until no recording is left on a host.
func emptySpool(t *testing.T, agent *cluster.Process) {
	t.Helper()
	var left []string
	if !cluster.Poll(within, func() bool {
		left, _ = filepath.Glob(filepath.Join(agent.DataDir, "log", "upload", "*", "*.*")) //nolint:errcheck // the pattern is sound
		return len(left) == 0
	}) {
		t.Errorf("left in the spool: %v", left)
	}
	if _, err := os.Stat(filepath.Join(agent.DataDir, "log", "upload")); err != nil {
		t.Error(err)
	}
}

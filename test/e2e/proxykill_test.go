package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"teleport/test/cluster"
)

// TestAKilledProxysRecordingIsCompleted: where proxies record, everything that was
// shown up to a proxy's death is in the recording, which that proxy completes when
// it starts again. That of one that stays away takes minutes, and make soak.
func TestAKilledProxysRecordingIsCompleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{Proxies: 1})
	proxy := w.Proxies[0]
	w.recordAt(t, "proxy")
	id, shown := w.untilKilled(t, proxy)
	proxy.Start(t)
	e := w.uploadOf(t, id, within)
	if e["reason"] != "abandoned" || e["closed_by_auth"] == true || e["server_id"] != proxy.UUID(t) {
		t.Errorf("%v", e)
	}
	w.playsBack(t, w.alice, id, shown)
	emptySpool(t, proxy)
	if gaps := w.Events(t, 0, "session.recording.gap", ""); len(gaps) > 0 {
		t.Errorf("gaps: %v", gaps)
	}
	if os.Getenv("TELEPORT_SOAK") != "" {
		staysAway(t)
	}
}

// staysAway: the recording of a proxy that is gone is completed by auth, some minutes
// after the proxy's lease has run out, with what had arrived; and becomes whole when
// the proxy comes back after all.
func staysAway(t *testing.T) {
	t.Helper()
	w := newWorld(t, cluster.Opts{Proxies: 2})
	proxy := w.Proxies[0]
	w.recordAt(t, "proxy")
	id, shown := w.untilKilled(t, proxy)
	killed := time.Now()
	w.Front = w.Proxies[1].WebAddr
	eve := w.User(t, "eve", []string{"auditor"}, nil)
	eve.Login(t)
	// A lease of a minute, three more for the proxy to come back, and a round of half a minute.
	e := w.uploadOf(t, id, 7*time.Minute)
	t.Logf("completed %s after the kill", time.Since(killed).Round(time.Second))
	if e["reason"] != "abandoned" || e["closed_by_auth"] != true {
		t.Errorf("%v", e)
	}
	w.playsBack(t, eve, id, shown[:1])
	proxy.Start(t)
	cluster.Until(t, within, "the rest of it", func() bool { return w.plays(eve, id, shown) })
}

// untilKilled runs a session that shows line after line, kills the proxy in the
// middle of it, and returns the lines that its owner saw.
func (w *world) untilKilled(t *testing.T, proxy *cluster.Process) (id string, shown []string) {
	t.Helper()
	command := "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done"
	live := w.alice.StartTsh(t, "ssh", w.to, command)
	live.WaitFor(t, "line 20\n")
	id = fmt.Sprint(w.startOf(t, command)["sid"])
	cluster.Until(t, within, "the first lines to arrive at auth", func() bool { return w.plays(w.alice, id, []string{"line 1"}) })
	proxy.Kill9(t)
	if code := live.Wait(t); code == 0 {
		t.Error("the session ended as if all were well")
	}
	text := live.Out.String()
	shown = strings.Split(strings.TrimSuffix(text[:strings.LastIndex(text, "\n")+1], "\n"), "\n")
	if len(shown) < 20 || shown[0] != "line 1" {
		t.Fatalf("it showed %q", text)
	}
	return id, shown
}

// uploadOf waits for the event of a recording that is stored.
func (w *world) uploadOf(t *testing.T, id string, d time.Duration) map[string]any {
	t.Helper()
	var found map[string]any
	cluster.Until(t, d, "the upload of "+id, func() bool {
		for _, e := range w.Events(t, 0, "session.upload", "") {
			if e["sid"] == id {
				found = e
			}
		}
		return found != nil
	})
	return found
}

// plays tells whether the recording shows all these lines.
func (w *world) plays(p *cluster.Person, id string, lines []string) bool {
	r := p.Tsh("play", id, "--format=text")
	return r.Code == 0 && strings.Contains("\n"+r.Stdout, "\n"+strings.Join(lines, "\n")+"\n")
}

func (w *world) playsBack(t *testing.T, p *cluster.Person, id string, lines []string) {
	t.Helper()
	if !w.plays(p, id, lines) {
		t.Errorf("not all of these %d lines are played: %s", len(lines), p.Tsh("play", id, "--format=text"))
	}
}

package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestARecordedSessionIsPlayed lists, plays, exports and searches a session, and
// has another player read the export.
func TestARecordedSessionIsPlayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	w.alice.Tsh("ssh", "-t", w.to, `printf '\033[3;5Hword\033[3;1Hpass\n\033]0;titled\007'`).OK(t)
	var list []struct {
		ID    string `json:"session_id"`
		State string `json:"state"`
	}
	if !cluster.Poll(within, func() bool {
		list = nil
		r := w.alice.Tsh("recordings", "ls", "--format=json")
		return json.Unmarshal([]byte(r.OK(t)), &list) == nil && len(list) == 1 && list[0].State == "stored"
	}) {
		t.Fatalf("no recording is stored: %v", list)
	}
	id := list[0].ID
	contains(t, w.alice.Tsh("play", id).OK(t), "password")
	var found string
	if !cluster.Poll(within, func() bool {
		found = w.Tctl("recordings", "search", "password").OK(t)
		return strings.Contains(found, id)
	}) {
		t.Fatalf("it is not found: %s", found)
	}
	contains(t, found, "row 3, column 1", "tsh play --from=")
	if r := w.Tctl("recordings", "search", "titled"); strings.Contains(r.OK(t), id) {
		t.Error("a title is found")
	}
	cast := filepath.Join(w.alice.Home, "x.cast")
	w.alice.Tsh("recordings", "export", id, "-o", cast).OK(t)
	contains(t, w.alice.Tsh("play", cast).OK(t), "password")
	m := newTmux(t, w)
	m.do("new-session", "-d", "-x", "90", "-y", "30", cluster.Need(t, "asciinema", "asciinema")+" cat "+cast+"; cat").OK(t)
	m.see(t, "password")
	m.do("new-window", filepath.Join(w.Bin(), "tsh")+" play "+cast+"; cat").OK(t)
	m.see(t, "password")
}

// TestRecordingKeysAreRotated while agents run: they encrypt to the new key, and
// what was recorded before is played as ever.
func TestRecordingKeysAreRotated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	type key struct {
		Public string `json:"public_key"`
		State  string
	}
	keys := func(verb string) (list []key) {
		t.Helper()
		if err := json.Unmarshal([]byte(w.Tctl("recordings", "encryption", verb, "--format=json").OK(t)), &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	old := keys("status")
	w.ssh("echo sealed with the old key").OK(t)
	w.Events(t, 1, "session.upload", "")
	now := keys("rotate")
	if len(old) != 1 || len(now) != 2 || now[0].Public == old[0].Public || now[1].Public != old[0].Public || now[0].State != "in use" {
		t.Fatalf("%v became %v", old, now)
	}
	contains(t, w.Tctl("get", "session_recording_config").OK(t), now[0].Public)
	w.ssh("echo sealed with the new key").OK(t)
	for i, e := range w.Events(t, 2, "session.upload", "") {
		contains(t, w.alice.Tsh("play", e["sid"].(string)).OK(t), "sealed with the "+[]string{"old", "new"}[i]+" key")
	}
	contains(t, w.Tctl("recordings", "encryption", "status").OK(t), "in use", "opens older recordings")
}

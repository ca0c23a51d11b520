package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teleport/test/cluster"
)

// as is the same cluster seen by somebody else.
func (w *world) as(p *cluster.Person) *world {
	other := *w
	other.alice = p
	return &other
}

// start runs tsh in a terminal of its own.
func (m *tmux) start(t *testing.T, size [2]string, args ...string) {
	t.Helper()
	m.do("new-session", "-d", "-x", size[0], "-y", size[1], filepath.Join(m.w.Bin(), "tsh")+" "+strings.Join(args, " ")+"; echo ended with $?; cat").OK(t)
}

// session waits for the one live session that a person sees in a state.
func session(t *testing.T, p *cluster.Person, state string) (id string) {
	t.Helper()
	cluster.Until(t, within, "a session that is "+state, func() bool {
		var list []struct {
			Metadata struct{ Name string }
			Spec     struct{ State string }
		}
		if json.Unmarshal([]byte(p.Tsh("sessions", "ls", "--format=json").OK(t)), &list) != nil || len(list) != 1 || list[0].Spec.State != state {
			return false
		}
		id = list[0].Metadata.Name
		return true
	})
	return id
}

const watcherRole = `kind: role
version: v8
metadata: {name: watcher}
spec:
  allow:
    join_sessions: [{name: all, roles: ['*'], kinds: [ssh], modes: [observer, peer, moderator]}]
`

// TestTwoPeopleShareATerminal: what either types shows to both; the one who joins
// has no account on the host, and no right to one.
func TestTwoPeopleShareATerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	w.TctlIn(watcherRole, "create").OK(t)
	bob := w.User(t, "bob", []string{"watcher"}, nil)
	bob.Login(t)
	mine, his := newTmux(t, w), newTmux(t, w.as(bob))
	mine.start(t, [2]string{"90", "30"}, "ssh", "--reason=INC-7", "--invite=bob", w.to)
	mine.see(t, "$")
	mine.keys(t, "PS1='ready> '; echo fir''st", "Enter")
	mine.see(t, "first")
	id := session(t, bob, "running")
	contains(t, bob.Tsh("sessions", "ls").OK(t), "alice", "INC-7", w.node.Name)
	contains(t, w.Tctl("get", "session_tracker/"+id).OK(t), "state: running", "bob")
	if r := bob.Tsh("ssh", w.to, "true"); r.Code == 0 {
		t.Error("who may join has a shell of his own")
	}
	found(t, bob, w.node.UUID(t)) // the proxy shows it to who may join somebody there
	his.start(t, [2]string{"80", "25"}, "join", "--mode=peer", id[:8])
	his.see(t, "first")
	mine.see(t, "bob joined as peer")
	his.see(t, "90x30")
	his.keys(t, "echo sec''ond", "Enter")
	mine.see(t, "second")
	cluster.Until(t, within, "the tracker to name bob", func() bool {
		doc := w.Tctl("get", "session_tracker/"+id).OK(t)
		return strings.Contains(doc, "user: bob") && strings.Contains(doc, "mode: peer")
	})
	his.keys(t, "Enter", "~.")
	his.see(t, "ended with 0")
	mine.see(t, "bob left")
	mine.keys(t, "exit", "Enter")
	mine.see(t, "ended with 0")
	w.Events(t, 1, "session.join", "bob")
	w.Events(t, 1, "session.leave", "bob")
	if r := bob.Tsh("join", id); r.Code == 0 {
		t.Error("a session that has ended is joined")
	}
}

// TestAModeratedSessionStartsPausesAndEnds as its policy says.
func TestAModeratedSessionStartsPausesAndEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	w.TctlIn(watcherRole, "create").OK(t)
	w.TctlIn(`kind: role
version: v8
metadata: {name: guarded}
spec:
  allow:
    logins: ['`+w.os.Name+`']
    node_labels: {'*': '*'}
    require_session_join: [{name: four eyes, filter: 'contains(user.spec.roles, "watcher")', kinds: [ssh], modes: [moderator], count: 1, on_leave: pause}]
`, "create").OK(t)
	bob, mo := w.User(t, "bob", []string{"guarded"}, nil), w.User(t, "mo", []string{"watcher"}, nil)
	bob.Login(t)
	mo.Login(t)
	found(t, bob, w.node.Name)
	his, hers := newTmux(t, w.as(bob)), newTmux(t, w.as(mo))
	his.start(t, [2]string{"140", "30"}, "ssh", "--participant-req", w.to)
	his.see(t, `role "guarded", any one of:`)
	his.see(t, `waits for 1 person to join as moderator (policy "four eyes")`)
	id := session(t, mo, "pending")
	found(t, mo, w.node.UUID(t))
	hers.start(t, [2]string{"120", "30"}, "join", "-m", "moderator", id)
	his.see(t, "everybody who must be present is")
	his.see(t, "$")
	his.keys(t, "PS1='ready> '; echo watch''ed", "Enter")
	hers.see(t, "t ends the session for everybody")
	hers.see(t, "watched")
	his.keys(t, "(until [ -e go ]; do sleep 0.05; done; seq 1 20000 | tail -n 20000; echo secr''et; touch gone) &", "Enter")
	hers.see(t, "touch gone) &")
	hers.keys(t, "C-c")
	hers.see(t, "ended with 0")
	his.see(t, "pauses and waits")
	session(t, mo, "paused")
	// What its program shows now waits for the end of the pause, and it does not.
	home := w.os.Home
	write(t, filepath.Join(home, "go"), "")
	cluster.Until(t, within, "a program to go on in the pause", func() bool {
		_, err := os.Stat(filepath.Join(home, "gone"))
		return err == nil
	})
	if s := his.screen(t); strings.Contains(s, "secret") {
		t.Errorf("it is shown in the pause:\n%s", s)
	}
	his.keys(t, "echo unwatch''ed", "Enter")
	first := *hers
	t.Cleanup(func() { first.do("kill-server") })
	hers.socket += "-again"
	hers.start(t, [2]string{"120", "30"}, "join", "-m", "moderator", id)
	hers.see(t, "secret")
	his.see(t, "secret")
	his.ask(t, "echo watched a''gain", "watched again")
	if s := his.screen(t); strings.Contains(s, "unwatched") {
		t.Errorf("what was typed into a pause was run:\n%s", s)
	}
	hers.keys(t, "p")
	his.see(t, "the moderator mo pauses the session")
	session(t, mo, "paused")
	cluster.Rest(t, time.Now().Add(time.Second)) // her key counts again
	hers.keys(t, "p")
	his.see(t, "the moderator mo lets the session go on")
	his.ask(t, "echo mov''ing", "moving")
	if e := w.Events(t, 2, "session.pause", "mo"); e[0]["paused"] != true || e[1]["paused"] != false || e[0]["session_owner"] != "bob" || e[0]["sid"] != id {
		t.Errorf("the log says %v", e)
	}
	hers.keys(t, "t")
	his.see(t, "ended by the moderator mo")
	his.see(t, "ended with")
	hers.see(t, "ended with 0")
	for _, e := range w.Events(t, 1, "session.end", "bob") {
		if e["reason"] != "moderator" {
			t.Errorf("the log says that it ended for %v", e["reason"])
		}
	}
}

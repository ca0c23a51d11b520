package e2e

import (
	"slices"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// live lists the sessions that a person sees, once auth answers at all.
func live(t *testing.T, p *cluster.Person) []string {
	t.Helper()
	var out string
	cluster.Until(t, within, "an answer of auth", func() bool {
		r := p.Tsh("sessions", "ls", "--format=json")
		out = r.Stdout
		return r.Code == 0
	})
	var ids []string
	for l := range strings.Lines(out) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(l), `"name": "`); ok {
			ids = append(ids, strings.TrimRight(id, `",`))
		}
	}
	return ids
}

// TestLiveSessionsAreKnownWhenAuthComesBack: the first answer knows them, what
// began meanwhile is told, and what ended is gone.
func TestLiveSessionsAreKnownWhenAuthComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{Proxies: 1})
	w.TctlIn(watcherRole, "create").OK(t)
	bob := w.User(t, "bob", []string{"watcher"}, nil)
	bob.Login(t)
	start := func() *counter { return count(t, "a session", w.alice.StartTsh(t, "ssh", w.to, echoLoop)) }
	first := start()
	id := session(t, bob, "running")
	for name, again := range map[string]func(){
		"kill -9": func() { w.Auth.Kill9(t); w.Auth.Start(t) },
		"HUP":     func() { w.Auth.HUP(t) },
	} {
		again()
		if got := live(t, bob); !slices.Equal(got, []string{id}) {
			t.Errorf("right after %s: %q, not %q", name, got, id)
		}
		first.moves(t)
	}
	w.Auth.Kill9(t)
	second := start()
	second.moves(t)
	first.finish(t)
	w.Auth.Start(t)
	cluster.Until(t, within, "the session that began meanwhile, alone", func() bool {
		got := live(t, bob)
		return len(got) == 1 && got[0] != id
	})
	second.finish(t)
	cluster.Until(t, within, "an empty list", func() bool { return len(live(t, bob)) == 0 })
	contains(t, bob.Tsh("sessions", "ls").Stderr, "There is no live session")
	w.Events(t, 2, "session.end", "alice")
}

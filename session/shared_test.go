package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teleport/access"
	"teleport/session"
	"teleport/types"
)

// stage is a shared session and what was told of it.
type stage struct {
	*session.Shared
	notices []string
	states  []string
	ended   error
}

func newStage(onLeave string, count int) *stage {
	st := &stage{}
	var roles []*types.Role
	if count > 0 {
		r := &types.Role{}
		r.Spec.Allow.RequireSessionJoin = []types.RequireSessionJoin{{Name: "p", Modes: []string{"moderator"}, Count: count, OnLeave: onLeave}}
		roles = append(roles, r)
	}
	st.Shared = session.NewShared(session.SharedConfig{Owner: "alice", Present: types.Participant{User: "alice", Mode: "peer"},
		Required: access.RequiredAttendance(roles, "ssh"),
		Notice:   func(line string) { st.notices = append(st.notices, line) },
		Changed: func(state string, list []types.Participant) {
			st.states = append(st.states, fmt.Sprint(state, len(list)))
		},
		Terminate: func(reason error) { st.ended = reason }})
	return st
}

func (st *stage) join(t *testing.T, user, mode string) *session.Party {
	t.Helper()
	p, err := st.Join(session.Attendant{ID: user, User: user, Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func shown(t *testing.T, p *session.Party) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	out, _, err := p.Next(ctx)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// Whoever joins sees the screen of now, then what follows, and who comes and goes.
func TestSharedShowsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage("", 0)
		st.Show([]byte("hello "))
		st.Resize(session.Size{Columns: 120, Rows: 40})
		bob := st.join(t, "bob", "observer")
		out, size, err := bob.Next(t.Context())
		if err != nil || !strings.Contains(string(out), "\x1b[2J\x1b[Hhello ") || !strings.Contains(string(out), "] bob joined as observer") || *size != (session.Size{Columns: 120, Rows: 40}) {
			t.Fatalf("bob sees %q at %v (%v)", out, size, err)
		}
		st.Show([]byte("world"))
		eve := st.join(t, "eve", "peer")
		if got := shown(t, bob); !strings.Contains(got, "world\r\n[") || !strings.Contains(got, "eve joined as peer") {
			t.Errorf("bob sees %q", got)
		}
		if got := shown(t, eve); !strings.Contains(got, "hello world") {
			t.Errorf("eve sees %q", got)
		}
		st.Leave(bob)
		st.Leave(bob)
		if got := shown(t, eve); !strings.Contains(got, "bob left") {
			t.Errorf("eve sees %q", got)
		}
		if got := strings.Join(st.states, " "); got != "running2 running3 running2" {
			t.Errorf("the cluster is told %q", got)
		}
		st.Close()
		if got := shown(t, eve); got != "the session has ended" {
			t.Errorf("eve is told %q", got)
		}
		if _, err := st.Join(session.Attendant{User: "late"}); err == nil {
			t.Error("somebody joins what has ended")
		}
		if st.ended != nil {
			t.Error("what has ended by itself is ended again")
		}
	})
}

// A party that does not read is dropped, and holds nobody up.
func TestSharedDropsTheSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage("", 0)
		slow, quick := st.join(t, "slow", "observer"), st.join(t, "quick", "observer")
		line := []byte(strings.Repeat("x", 1023) + "\n")
		for range 1024 {
			st.Show(line)
			shown(t, quick)
		}
		if got := shown(t, slow); !strings.Contains(got, "too slow") {
			t.Errorf("the slow one sees %.40q", got)
		}
		st.Show([]byte("on"))
		if got := shown(t, quick); got != "on" {
			t.Errorf("the quick one sees %q", got)
		}
		late := st.join(t, "late", "observer")
		got := shown(t, late)
		if n := len(got); n > 65<<10 || n < 60<<10 || !strings.HasPrefix(got, "\x1b[2J\x1b[Hxxx") || !strings.Contains(got, "x\non") {
			t.Errorf("the late one sees %d bytes: %.40q", n, got)
		}
	})
}

// A session that somebody must watch is as fast as they are, and ends up without
// them when they do not read at all.
func TestSharedWaitsForItsModerators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage("pause", 1)
		mod := st.join(t, "carol", "moderator")
		line := []byte(strings.Repeat("x", 1023) + "\n")
		showed := make(chan struct{})
		go func() {
			defer close(showed)
			for range 1024 {
				st.Show(line)
			}
		}()
		seen := 0
		for seen < 1<<20 {
			time.Sleep(time.Second)
			seen += strings.Count(shown(t, mod), "x\n") << 10
		}
		<-showed
		if !st.Running() {
			t.Error("a moderator who is slow was dropped")
		}
		begun := time.Now()
		for st.Running() {
			st.Show(line)
		}
		if d := time.Since(begun); d != 5*time.Second || st.State() != session.StatePaused {
			t.Errorf("a moderator who reads nothing was waited for %s, and it is %s", d, st.State())
		}
		if got := shown(t, mod); !strings.Contains(got, "too slow") {
			t.Errorf("she is told %.40q", got)
		}
	})
}

// A session waits for whom it needs, pauses or ends when they leave.
func TestSharedWaitsForModerators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage("pause", 1)
		if st.State() != session.StatePending || !strings.Contains(st.notices[0], `waits for 1 person to join as moderator (policy "p")`) {
			t.Fatalf("%s: %q", st.State(), st.notices)
		}
		began := make(chan error, 1)
		go func() { began <- st.Await(t.Context()) }()
		synctest.Wait()
		st.join(t, "alice", "moderator") // the owner counts for nobody
		st.join(t, "bob", "observer")
		synctest.Wait()
		select {
		case <-began:
			t.Fatal("it runs with nobody who must be present")
		default:
		}
		mod := st.join(t, "carol", "moderator")
		if err := <-began; err != nil {
			t.Fatal(err)
		}
		st.Leave(mod)
		if st.State() != session.StatePaused || st.Running() {
			t.Errorf("the moderator left, and it is %s", st.State())
		}
		mod = st.join(t, "dora", "moderator")
		if !st.Running() {
			t.Error("a moderator is here, and it pauses on")
		}
		st.Leave(mod)
		st.Close()
		if err := st.Await(t.Context()); err == nil {
			t.Error("it waits for what has ended")
		}
	})
}

// A moderator pauses a session and lets it go on; nobody else does, and what the
// session needs counts as ever.
func TestModeratorsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const wait = time.Second
		last := func(st *stage) string { return st.notices[len(st.notices)-1] }
		for _, c := range []struct {
			onLeave string
			count   int
			left    string // the state when the moderator left whose pause it was
		}{{"", 0, session.StateRunning}, {"pause", 1, session.StatePaused}, {"terminate", 1, session.StateTerminated}} {
			st := newStage(c.onLeave, c.count)
			mo := st.join(t, "mo", "moderator")
			owner, eve, bob := st.join(t, "alice", "moderator"), st.join(t, "eve", "observer"), st.join(t, "bob", "peer")
			for _, p := range []*session.Party{owner, eve, bob} {
				if st.Press(p); !st.Running() {
					t.Errorf("%s as %s pauses it", p.Who().User, p.Who().Mode)
				}
			}
			shown(t, eve)
			st.Press(mo)
			if st.State() != session.StatePaused || !strings.Contains(last(st), "the moderator mo pauses the session") || !strings.Contains(shown(t, eve), "mo pauses the session") ||
				st.states[len(st.states)-1] != "paused5" {
				t.Errorf("it is %s, its owner is told %q, the cluster %q", st.State(), last(st), st.states)
			}
			time.Sleep(wait)
			for _, p := range []*session.Party{owner, eve, bob} {
				if st.Press(p); st.State() != session.StatePaused {
					t.Errorf("%s as %s lets it go on", p.Who().User, p.Who().Mode)
				}
			}
			st.Leave(st.join(t, "lee", "moderator"))
			if st.State() != session.StatePaused {
				t.Error("another moderator came and went, and it goes on")
			}
			st.Press(mo)
			if !st.Running() || !strings.Contains(last(st), "the moderator mo lets the session go on") || st.states[len(st.states)-1] != "running5" {
				t.Errorf("it is %s, its owner is told %q", st.State(), last(st))
			}
			n := len(st.notices)
			for range 1000 {
				st.Press(mo) // a key that is held
			}
			if len(st.notices) != n {
				t.Errorf("%d more lines in no time", len(st.notices)-n)
			}
			time.Sleep(wait)
			st.Press(mo)
			time.Sleep(wait)
			lee := st.join(t, "lee", "moderator")
			if st.Press(lee); !st.Running() {
				t.Error("another moderator does not let it go on")
			}
			time.Sleep(wait)
			st.Press(mo)
			st.Leave(lee)
			if st.Leave(mo); st.State() != c.left || !strings.Contains(strings.Join(st.notices, "\n"), "mo left, which ends their pause") {
				t.Errorf("on_leave %q: its moderator left, and it is %s: %q", c.onLeave, st.State(), st.notices)
			}
			time.Sleep(wait)
			if st.Press(mo); st.State() != c.left {
				t.Error("who has left still has a key")
			}
			st.Close()
		}
	})
}

// What a session waits for is not given by a key: a pause that ends leaves it
// waiting.
func TestAPauseEndsAndSomebodyIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage("pause", 2)
		a := st.join(t, "a", "moderator")
		if st.Press(a); st.State() != session.StatePending {
			t.Errorf("before it began it is %s", st.State())
		}
		b := st.join(t, "b", "moderator")
		st.Press(a)
		st.Leave(b)
		time.Sleep(time.Second)
		st.Press(a)
		if got := st.notices[len(st.notices)-1]; st.State() != session.StatePaused || !strings.Contains(got, "a ends the pause; the session waits for 1 person") {
			t.Errorf("it is %s: %q", st.State(), got)
		}
		time.Sleep(time.Second)
		st.Press(a)
		if st.join(t, "b", "moderator"); st.State() != session.StatePaused {
			t.Errorf("paused by its moderator, it is %s when everybody is here", st.State())
		}
		time.Sleep(time.Second)
		if st.Press(a); !st.Running() {
			t.Errorf("it is %s", st.State())
		}
		st.Terminate(session.EndedByModerator("a"))
		if st.Press(a); st.State() != session.StateTerminated {
			t.Errorf("after its end it is %s", st.State())
		}
	})
}

func TestSharedEndsWithItsModerators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage("terminate", 2)
		a, b := st.join(t, "a", "moderator"), st.join(t, "b", "moderator")
		if !st.Running() {
			t.Fatal("two moderators, and it waits")
		}
		st.Leave(a)
		if session.CutReason(st.ended) != session.CutAttendance || st.State() != session.StateTerminated {
			t.Errorf("it is %s: %v", st.State(), st.ended)
		}
		var last error
		for last == nil {
			_, _, last = b.Next(t.Context())
		}
		if !errors.Is(last, st.ended) {
			t.Errorf("the other is told %v", last)
		}
	})
}

// Who waits can give up.
func TestSharedCanBeCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStage("pause", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := st.Await(ctx); err == nil {
			t.Error("it runs")
		}
		go st.Terminate(session.EndedByModerator("mo"))
		if err := st.Await(t.Context()); session.CutReason(err) != session.CutModerator {
			t.Errorf("%v", err)
		}
	})
}

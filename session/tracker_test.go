package session_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"teleport/session"
	"teleport/types"
)

func docs(list [][]byte) string {
	var names []string
	for _, b := range list {
		r, err := types.Decode(b)
		if err != nil {
			return err.Error()
		}
		t := r.(*types.SessionTracker)
		names = append(names, t.Metadata.Name+":"+t.Spec.State)
	}
	return strings.Join(names, " ")
}

func TestTrackersTellChangesOnce(t *testing.T) {
	tr := session.NewTrackers()
	begin := func(id string) { tr.Begin(id, types.SessionTrackerSpec{State: "running", Kind: "ssh", User: "alice"}) }
	take := func(want string, wantEnded ...string) {
		t.Helper()
		got, ended := tr.Take()
		if docs(got) != want || !slices.Equal(ended, wantEnded) {
			t.Errorf("told %q and the end of %q, want %q and %q", docs(got), ended, want, wantEnded)
		}
	}
	begin("b")
	begin("a")
	<-tr.Changed()
	take("a:running b:running")
	take("")
	tr.Change("a", func(s *types.SessionTrackerSpec) { s.State = "pending" })
	<-tr.Changed()
	take("a:pending")
	begin("short")
	tr.End("short")
	take("") // nobody was told that it began
	tr.End("a")
	tr.End("a")
	tr.Change("a", func(*types.SessionTrackerSpec) { t.Error("an ended session is changed") })
	begin("c")
	take("c:running", "a")
	tr.End("b")
	if got := docs(tr.All()); got != "c:running" {
		t.Errorf("the whole is %q", got)
	}
	take("") // who knows the whole needs no end of what it lacks
}

func TestTrackersAreBounded(t *testing.T) {
	tr := session.NewTrackers()
	for i := range session.TrackersMost + 1 {
		tr.Begin(fmt.Sprint(i), types.SessionTrackerSpec{State: "running", Kind: "ssh", User: "alice"})
	}
	if n := len(tr.All()); n != session.TrackersMost {
		t.Errorf("%d sessions are told, of at most %d", n, session.TrackersMost)
	}
}

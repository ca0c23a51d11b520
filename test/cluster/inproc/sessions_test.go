package inproc

import (
	"slices"
	"strings"
	"testing"
	"time"

	"teleport/api/authclient"
	"teleport/types"
)

// begin tells the cluster of a session of the host.
func (h *Host) begin(id, user string) {
	h.Trackers.Begin(id, types.SessionTrackerSpec{State: "running", Kind: "ssh", User: user, Login: "root", HostID: h.UUID(),
		Hostname: h.Name, Created: time.Now().UTC(), Participants: []types.Participant{{ID: id, User: user, Mode: "peer"}}})
}

func (w *World) liveSessions(t *testing.T) string {
	t.Helper()
	list, err := authclient.List[types.SessionTracker](t.Context(), w.Admin, types.KindSessionTracker, authclient.ListOptions{})
	check(t, err)
	var names []string
	for _, s := range list {
		names = append(names, s.Name()+"="+s.Spec.State)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// A session shows within a second, goes with its end, outlives a network that is
// away for a while, and its host's death ends it within the lease.
func TestLiveSessionsAreKnown(t *testing.T) {
	Run(t, Opts{}, func(t *testing.T, w *World) {
		h := w.AddHost(t, "web-1")
		other := w.AddHost(t, "web-2")
		time.Sleep(2 * time.Second)
		want := func(when, list string) {
			t.Helper()
			if got := w.liveSessions(t); got != list {
				t.Errorf("%s: %q, want %q", when, got, list)
			}
		}
		h.begin("s1", "alice")
		h.begin("s2", "bob")
		other.begin("s3", "bob")
		time.Sleep(time.Second)
		want("three began", "s1=running s2=running s3=running")
		h.Trackers.Change("s1", func(s *types.SessionTrackerSpec) { s.State = "paused" })
		h.Trackers.End("s2")
		time.Sleep(time.Second)
		want("one paused, one ended", "s1=paused s3=running")
		h.Partition(true)
		time.Sleep(20 * time.Second)
		h.Trackers.End("s1")
		h.begin("s4", "alice")
		want("away", "s1=paused s3=running")
		h.Partition(false)
		time.Sleep(30 * time.Second)
		want("back", "s3=running s4=running")
		h.Partition(true)
		time.Sleep(3 * time.Minute)
		want("gone", "s3=running")
		other.Stop()
		time.Sleep(time.Second)
		want("stopped", "")
	})
}

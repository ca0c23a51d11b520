package authapi_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"teleport/api/authclient"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// tracked stores a live session.
func (w *world) tracked(id, user, role string, edit func(*types.SessionTrackerSpec)) {
	w.t.Helper()
	s := &types.SessionTracker{Header: types.Header{Kind: types.KindSessionTracker, Version: "v1", Metadata: types.Metadata{Name: id}},
		Spec: types.SessionTrackerSpec{State: "running", Kind: "ssh", User: user, Roles: []string{role}, HostID: "h", Hostname: "web",
			Participants: []types.Participant{{ID: id, User: user, Mode: "peer"}}}}
	if edit != nil {
		edit(&s.Spec)
	}
	_, err := w.store().Put(w.t.Context(), store.Create, s)
	must(w.t, err)
}

// Users see their own sessions, those that they may join or were invited to, and
// what a rule with a where clause shows; auditors see all; nobody sees more.
func TestLiveSessionsAreListed(t *testing.T) {
	w := newWorld(t)
	role := func(name string, edit func(*types.RoleConditions)) {
		r := &types.Role{Header: types.Header{Kind: types.KindRole, Version: "v8", Metadata: types.Metadata{Name: name}}}
		edit(&r.Spec.Allow)
		_, err := authclient.Put(t.Context(), w.admin(), authclient.Create, r)
		must(t, err)
	}
	role("plain", func(*types.RoleConditions) {})
	role("watcher", func(c *types.RoleConditions) {
		c.JoinSessions = []types.JoinSessions{{Name: "dev", Roles: []string{"dev*"}, Kinds: []string{"ssh"}}}
	})
	role("party", func(c *types.RoleConditions) {
		c.Rules = []types.Rule{{Resources: []string{types.KindSessionTracker}, Verbs: []string{"list", "read"},
			Where: `contains(session_tracker.participants, user.metadata.name)`}}
	})
	w.tracked("s1", "alice", "dev-eu", nil)
	w.tracked("s2", "bob", "ops", func(s *types.SessionTrackerSpec) { s.Invited = []string{"guest"} })
	w.tracked("s3", "carol", "ops", func(s *types.SessionTrackerSpec) {
		s.Participants = append(s.Participants, types.Participant{ID: "p", User: "paul", Mode: "observer"})
	})
	w.tracked("s4", "dave", "dev-us", func(s *types.SessionTrackerSpec) { s.Kind = "k8s" })
	for _, c := range []struct{ user, role, want string }{
		{"alice", "plain", "s1"},
		{"wendy", "watcher", "s1"},
		{"guest", "plain", "s2"},
		{"paul", "party", "s3"},
		{"audrey", "auditor", "s1 s2 s3 s4"},
		{"nobody", "plain", ""},
		{"naomi", "access", ""},
	} {
		api := w.client(w.user(c.user, c.role))
		w.settle()
		list, err := authclient.List[types.SessionTracker](t.Context(), api, types.KindSessionTracker, authclient.ListOptions{})
		must(t, err)
		var seen []string
		for _, s := range list {
			seen = append(seen, s.Name())
		}
		slices.Sort(seen)
		if got := strings.Join(seen, " "); got != c.want {
			t.Errorf("%s (%s) sees %q, want %q", c.user, c.role, got, c.want)
		}
		for _, id := range []string{"s1", "s2", "s3", "s4"} {
			_, err := authclient.Get[types.SessionTracker](t.Context(), api, authclient.Ref{Kind: types.KindSessionTracker, Name: id})
			if visible := slices.Contains(seen, id); visible != (err == nil) || !visible && !errors.Is(err, fault.Denied) {
				t.Errorf("%s reads %s: %v", c.user, id, err)
			}
		}
	}
	alice := w.client(w.user("alice", "plain"))
	if _, err := authclient.List[types.SessionTracker](t.Context(), alice, types.KindSessionTracker, authclient.ListOptions{Query: `resource.spec.user == "bob"`}); err != nil {
		t.Error(err)
	}
	err := alice.Delete(t.Context(), authclient.Ref{Kind: types.KindSessionTracker, Name: "s1"}, "")
	if !errors.Is(err, fault.Denied) {
		t.Errorf("an owner deletes a session's tracker: %v", err)
	}
}

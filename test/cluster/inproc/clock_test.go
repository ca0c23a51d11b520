package inproc

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"teleport/api/authclient"
	"teleport/api/gen/accountv1"
	"teleport/api/gen/loginv1"
	"teleport/fault"
	"teleport/session"
	"teleport/types"
)

func TestALockCutsEveryStreamWithinASecond(t *testing.T) {
	for name, target := range map[string]types.LockTarget{
		"user": {User: "alice"}, "login": {Login: "root"}, "role": {Role: "access"},
	} {
		t.Run(name, func(t *testing.T) {
			Run(t, Opts{}, func(t *testing.T, w *World) {
				hosts := []*Host{w.AddHost(t, "web-1"), w.AddHost(t, "web-2")}
				alice := w.Person(t, "alice", time.Hour)
				var streams []*Stream
				for range 20 {
					for _, h := range hosts {
						streams = append(streams, h.Open(t, alice, "root"))
					}
				}
				time.Sleep(time.Minute)
				for _, s := range streams {
					s.Alive(t)
				}
				w.Lock(t, target)
				locked := time.Now()
				for _, s := range streams {
					if why := s.CutWithin(t, time.Second-time.Since(locked)); why != session.CutLocked {
						t.Fatalf("cut for %q", why)
					}
				}
				if _, err := hosts[0].TryOpen(alice, "root"); err == nil {
					t.Error("a locked person opens a stream")
				}
			})
		})
	}
}

func TestALockOnAHostLeavesOthersAlone(t *testing.T) {
	Run(t, Opts{}, func(t *testing.T, w *World) {
		one, two := w.AddHost(t, "web-1"), w.AddHost(t, "web-2")
		alice := w.Person(t, "alice", time.Hour)
		first, second := one.Open(t, alice, "root"), two.Open(t, alice, "root")
		w.Lock(t, types.LockTarget{ServerID: one.UUID()})
		first.CutWithin(t, time.Second)
		time.Sleep(time.Minute)
		second.Alive(t)
	})
}

func TestACertificateThatEndsCutsAtItsDeadline(t *testing.T) {
	cut := func(p *types.AuthPreference) { p.Spec.DisconnectExpiredCert = true }
	Run(t, Opts{Preference: cut}, func(t *testing.T, w *World) {
		h := w.AddHost(t, "web-1")
		alice := w.Person(t, "alice", 10*time.Minute)
		s := h.Open(t, alice, "root")
		time.Sleep(time.Until(alice.Authority.Expires) - time.Second)
		synctest.Wait()
		s.Alive(t)
		if why := s.CutWithin(t, 2*time.Second); why != session.CutExpired {
			t.Errorf("cut for %q", why)
		}
	})
	Run(t, Opts{}, func(t *testing.T, w *World) { // without the setting it may finish
		s := w.AddHost(t, "web-1").Open(t, w.Person(t, "alice", 10*time.Minute), "root")
		time.Sleep(20 * time.Minute)
		s.Alive(t)
	})
}

func TestAnIdleStreamIsCut(t *testing.T) {
	idle := func(n *types.NetworkingConfig) { n.Spec.ClientIdleTimeout = types.Duration(5 * time.Minute) }
	Run(t, Opts{Networking: idle}, func(t *testing.T, w *World) {
		h, alice := w.AddHost(t, "web-1"), w.Person(t, "alice", time.Hour)
		s := h.Open(t, alice, "root")
		for range 5 {
			time.Sleep(4 * time.Minute)
			s.Alive(t)
			s.Touch()
		}
		time.Sleep(5*time.Minute - time.Second)
		s.Alive(t)
		if why := s.CutWithin(t, 2*time.Second); why != session.CutIdle {
			t.Errorf("cut for %q", why)
		}
	})
}

func TestWhoLosesARoleLosesTheStream(t *testing.T) {
	Run(t, Opts{}, func(t *testing.T, w *World) {
		h, alice := w.AddHost(t, "web-1"), w.Person(t, "alice", time.Hour)
		s := h.Open(t, alice, "root")
		time.Sleep(time.Second)
		u, err := authclient.Get[types.User](t.Context(), w.Admin, authclient.Ref{Kind: types.KindUser, Name: "alice"})
		check(t, err)
		u.Spec.Roles = []string{"auditor"}
		_, err = authclient.Put(t.Context(), w.Admin, authclient.Update, u)
		check(t, err)
		if why := s.CutWithin(t, time.Second); why != session.CutPolicy {
			t.Errorf("cut for %q", why)
		}
	})
}

func TestARoleThatTightensCuts(t *testing.T) {
	Run(t, Opts{}, func(t *testing.T, w *World) {
		h, alice := w.AddHost(t, "web-1"), w.Person(t, "alice", time.Hour)
		s := h.Open(t, alice, "root")
		r, err := authclient.Get[types.Role](t.Context(), w.Admin, authclient.Ref{Kind: types.KindRole, Name: "access"})
		check(t, err)
		r.Spec.Deny.Logins = []string{"root"}
		_, err = authclient.Put(t.Context(), w.Admin, authclient.Update, r)
		check(t, err)
		s.CutWithin(t, time.Second)
	})
}

func TestStrictLocksCutWhereTheCopyGrowsStale(t *testing.T) {
	strict := func(p *types.AuthPreference) { p.Spec.LockingMode = "strict" }
	Run(t, Opts{Preference: strict}, func(t *testing.T, w *World) {
		h, alice := w.AddHost(t, "web-1"), w.Person(t, "alice", time.Hour)
		s := h.Open(t, alice, "root")
		time.Sleep(time.Minute)
		s.Alive(t)
		h.Partition(true)
		time.Sleep(5 * time.Second)
		s.Alive(t) // an instant without auth cuts nobody
		s.CutWithin(t, 15*time.Second)
		if _, err := h.TryOpen(alice, "root"); err == nil {
			t.Error("a stale host opens a stream")
		}
		h.Partition(false)
		time.Sleep(30 * time.Second)
		h.Open(t, alice, "root").Alive(t)
	})
	Run(t, Opts{}, func(t *testing.T, w *World) { // best effort goes on
		h := w.AddHost(t, "web-1")
		s := h.Open(t, w.Person(t, "alice", time.Hour), "root")
		h.Partition(true)
		time.Sleep(10 * time.Minute)
		s.Alive(t)
	})
}

func TestAHostThatVanishesIsListedNoLonger(t *testing.T) {
	Run(t, Opts{}, func(t *testing.T, w *World) {
		gone, stays := w.AddHost(t, "web-1"), w.AddHost(t, "web-2")
		time.Sleep(10 * time.Second)
		if got := w.Nodes(t); len(got) != 2 {
			t.Fatalf("listed at first: %v", got)
		}
		gone.Partition(true)
		time.Sleep(5 * time.Minute)
		if got := w.Nodes(t); !slices.Equal(got, []string{"web-2"}) {
			t.Errorf("listed: %v", got)
		}
		gone.Partition(false)
		time.Sleep(time.Minute)
		if got := w.Nodes(t); len(got) != 2 {
			t.Errorf("listed after its return: %v", got)
		}
		stays.Stop()
		time.Sleep(time.Second)
		if got := w.Nodes(t); !slices.Equal(got, []string{"web-1"}) {
			t.Errorf("listed after a goodbye: %v", got)
		}
	})
}

func TestHostsComeBackWithoutAHerd(t *testing.T) {
	Run(t, Opts{}, func(t *testing.T, w *World) {
		var hosts []*Host
		for _, n := range []string{"a", "b", "c", "d", "e"} {
			hosts = append(hosts, w.AddHost(t, n))
		}
		before := make([]int64, len(hosts))
		for i, h := range hosts {
			h.Partition(true)
			before[i] = h.Dials()
		}
		time.Sleep(10 * time.Minute)
		for i, h := range hosts {
			// Replica and presence dial apart, each at most every few seconds once
			// the pauses have grown.
			if n := h.Dials() - before[i]; n < 20 || n > 400 {
				t.Errorf("%s dialled %d times in ten minutes", h.Name, n)
			}
			h.Partition(false)
		}
		time.Sleep(time.Minute)
		if got := w.Nodes(t); len(got) != len(hosts) {
			t.Errorf("back: %v", got)
		}
	})
}

func TestCertificatesOfAHostAreRenewedAgainAndAgain(t *testing.T) {
	Run(t, Opts{}, func(t *testing.T, w *World) {
		h := w.AddHost(t, "web-1")
		first := h.Member.Identity()
		life := first.Authority.Expires.Sub(first.IssuedAt)
		// The copy's heartbeats of days would take minutes: most of the time the
		// host is off the network, as one that sleeps, and renews when it is back.
		renewed := uint64(0)
		for range 3 {
			h.Partition(true)
			time.Sleep(life * 6 / 10)
			h.Partition(false)
			time.Sleep(10 * time.Minute)
			if id := h.Member.Identity(); id.Generation <= renewed || !id.Authority.Expires.After(time.Now()) {
				t.Fatalf("generation %d, until %s at %s", id.Generation, id.Authority.Expires, time.Now())
			}
			renewed = h.Member.Identity().Generation
			if _, err := h.API.Ping(t.Context()); err != nil {
				t.Fatalf("after renewal %d of %s at %s (until %s): %v", renewed, life, time.Now(), h.Member.Identity().Authority.Expires, errors.Unwrap(err))
			}
		}
		if got := w.Nodes(t); !slices.Equal(got, []string{"web-1"}) {
			t.Errorf("listed: %v", got)
		}
	})
}

func TestWhatIsHandedOutEnds(t *testing.T) {
	Run(t, Opts{}, func(t *testing.T, w *World) {
		u := &types.User{Header: header(types.KindUser, "v2", "bob")}
		u.Spec.Roles = []string{"access"}
		doc := document(t, u)
		link, err := w.Admin.InviteUser(t.Context(), &accountv1.InviteUserRequest{User: doc, TtlSeconds: 3600})
		check(t, err)
		token := link.Path[len(link.Path)-32:]
		time.Sleep(59 * time.Minute)
		_, err = w.Admin.GetInvite(t.Context(), &loginv1.GetInviteRequest{Token: token, ClientAddr: "192.0.2.7"})
		if errors.Is(err, fault.NotFound) {
			t.Errorf("an invite that holds: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if _, err = w.Admin.GetInvite(t.Context(), &loginv1.GetInviteRequest{Token: token, ClientAddr: "192.0.2.7"}); err == nil {
			t.Error("an invite opens after its hour")
		}
	})
}

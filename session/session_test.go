package session_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teleport/access"
	"teleport/session"
	"teleport/types"
)

func allow(l access.Limits) func(time.Time) access.Decision {
	return func(time.Time) access.Decision { return access.Decision{Allow: true, Limits: l} }
}

func add(t *testing.T, r *session.Registry, i session.Info) (*session.Live, <-chan error) {
	t.Helper()
	cut := make(chan error, 1)
	l, err := r.Add(i, func(reason error) { cut <- reason })
	if err != nil {
		t.Fatal(err)
	}
	return l, cut
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := session.NewRegistry()
		start := time.Now()
		_, cut := add(t, r, session.Info{ID: "1", Limits: access.Limits{Deadline: start.Add(time.Hour)}})
		if why := <-cut; session.CutReason(why) != session.CutExpired || time.Since(start) != time.Hour {
			t.Errorf("%v after %v", why, time.Since(start))
		}
	})
}

func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := session.NewRegistry()
		start := time.Now()
		l, cut := add(t, r, session.Info{ID: "1", Limits: access.Limits{IdleTimeout: 10 * time.Minute}})
		time.Sleep(7 * time.Minute)
		l.Touch()
		if why := <-cut; session.CutReason(why) != session.CutIdle || time.Since(start) != 17*time.Minute {
			t.Errorf("%v after %v", why, time.Since(start))
		}
		l.Cut(context.Canceled) // a second cut is nothing
		l.Close()
		if r.Len() != 0 {
			t.Error("still there")
		}
	})
}

func TestClosedIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := session.NewRegistry()
		l, cut := add(t, r, session.Info{ID: "1", Limits: access.Limits{IdleTimeout: time.Minute, Deadline: time.Now().Add(time.Hour)}})
		l.Close()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		select {
		case why := <-cut:
			t.Error(why)
		default:
		}
	})
}

type ticks chan struct{}

func (c ticks) Subscribe() (<-chan struct{}, func()) { return c, func() {} }
func (ticks) Locks() []*types.Lock                   { return nil }

// locks is a policy of locks alone.
type locks struct {
	ticks
	now atomic.Pointer[[]*types.Lock]
}

func (l *locks) Locks() []*types.Lock { return *l.now.Load() }

// A lock ends every stream that it names, also where the stream's own decision
// does not know of it: a lock on the proxy that carries a session of an agent.
func TestLocksNeedNoDecision(t *testing.T) {
	target := func(x types.LockTarget) *types.Lock { return &types.Lock{Spec: types.LockSpec{Target: x}} }
	info := session.Info{ID: "1", User: "alice", Roles: []string{"access"}, Login: "root", HostIDs: []string{"agent", "proxy"},
		MFADevice: "m", DeviceID: "d", AccessRequests: []string{"r"}, Decide: allow(access.Limits{})}
	for name, lock := range map[string]types.LockTarget{
		"agent": {ServerID: "agent"}, "carrying proxy": {ServerID: "proxy"}, "user": {User: "alice"}, "role": {Role: "access"},
		"login": {Login: "root"}, "both": {User: "alice", ServerID: "proxy"}, "mfa device": {MFADevice: "m"}, "device": {Device: "d"},
		"request": {AccessRequest: "r"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := session.NewRegistry()
				p := &locks{ticks: make(ticks)}
				past := time.Now().Add(-time.Minute)
				expired := target(lock)
				expired.Spec.Expires = &past
				p.now.Store(&[]*types.Lock{target(types.LockTarget{User: "bob"}), target(types.LockTarget{User: "alice", ServerID: "other"}), expired})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go r.Serve(ctx, p)
				synctest.Wait()
				_, cut := add(t, r, info)
				p.ticks <- struct{}{}
				synctest.Wait()
				if len(cut) != 0 {
					t.Fatal("cut by a lock on somebody else, or an expired one")
				}
				p.now.Store(&[]*types.Lock{target(lock)})
				p.ticks <- struct{}{}
				if why := <-cut; session.CutReason(why) != session.CutLocked {
					t.Error(why)
				}
				if _, err := r.Add(session.Info{ID: "2", User: "alice", Roles: info.Roles, Login: "root", HostIDs: info.HostIDs, MFADevice: "m",
					DeviceID: "d", AccessRequests: info.AccessRequests}, func(error) {}); session.CutReason(err) != session.CutLocked {
					t.Errorf("a new stream under the lock: %v", err)
				}
			})
		})
	}
}

func TestRecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := session.NewRegistry()
		locked := false
		_, cut := add(t, r, session.Info{ID: "1", Decide: func(time.Time) access.Decision {
			return access.Decision{Allow: !locked, Reasons: []access.Reason{{Code: "locked", Text: "because"}}}
		}})
		_, other := add(t, r, session.Info{ID: "2", Decide: allow(access.Limits{})})
		c := make(ticks)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.Serve(ctx, c)
		c <- struct{}{}
		synctest.Wait()
		locked = true
		c <- struct{}{}
		if why := <-cut; session.CutReason(why) != session.CutLocked || why.Error() != "because" {
			t.Error(why)
		}
		synctest.Wait()
		if len(other) != 0 {
			t.Error("the other was cut too")
		}
	})
}

func TestAddAfterTheAnswerChanged(t *testing.T) {
	r := session.NewRegistry()
	_, err := r.Add(session.Info{ID: "1", Decide: func(time.Time) access.Decision { return access.Decision{} }}, func(error) { t.Error("cut") })
	if err == nil || r.Len() != 0 {
		t.Errorf("%v, %d live", err, r.Len())
	}
}

func TestLimitsTighten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := session.NewRegistry()
		limits := access.Limits{}
		_, cut := add(t, r, session.Info{ID: "1", Decide: func(time.Time) access.Decision { return access.Decision{Allow: true, Limits: limits} }})
		limits.IdleTimeout = time.Minute
		r.Recheck()
		if why := <-cut; session.CutReason(why) != session.CutIdle {
			t.Error(why)
		}
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := session.NewRegistry()
		l, _ := add(t, r, session.Info{ID: "1"})
		left, cut := add(t, r, session.Info{ID: "2"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		go func() { time.Sleep(time.Minute); l.Close() }()
		done := make(chan int)
		go func() { done <- r.Drain(ctx) }()
		synctest.Wait()
		if _, err := r.Add(session.Info{ID: "3"}, func(error) {}); err == nil {
			t.Error("a draining process took a session")
		}
		if n := <-done; n != 1 || session.CutReason(<-cut) != session.CutDrain {
			t.Errorf("%d cut", n)
		}
		left.Close()
		if n := r.Drain(t.Context()); n != 0 {
			t.Errorf("%d left", n)
		}
	})
}

// Who brings new streams over what is open hears once that the process leaves; what is
// open goes on, and its owner may open more.
func TestLeave(t *testing.T) {
	r := session.NewRegistry()
	var told [3]int
	r.OnDrain(func() { told[0]++ })
	r.OnDrain(func() { told[1]++ })()
	l, cut := add(t, r, session.Info{ID: "1"})
	r.Leave()
	r.Leave()
	r.OnDrain(func() { told[2]++ })
	more, _ := add(t, r, session.Info{ID: "2"})
	select {
	case why := <-cut:
		t.Errorf("cut: %v", why)
	default:
	}
	more.Close()
	l.Close()
	if n := r.Drain(t.Context()); n != 0 || told != [3]int{1, 0, 1} {
		t.Errorf("%d left, told %v", n, told)
	}
}

// Clients that have stopped reading make their own cut slow, and nobody else's.
func TestStalledStreamsAreCutTogether(t *testing.T) {
	const streams, each = 50, 900 * time.Millisecond
	for name, end := range map[string]func(*session.Registry) int{
		"drain": func(r *session.Registry) int {
			now, cancel := context.WithCancel(context.Background())
			cancel()
			return r.Drain(now)
		},
		"policy": (*session.Registry).Recheck,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := session.NewRegistry()
				allowed := true
				var cut atomic.Int64
				for i := range streams {
					_, err := r.Add(session.Info{ID: strconv.Itoa(i), User: "alice",
						Decide: func(time.Time) access.Decision { return access.Decision{Allow: allowed} }},
						func(error) { time.Sleep(each); cut.Add(1) })
					if err != nil {
						t.Fatal(err)
					}
				}
				allowed = false
				start := time.Now()
				if n := end(r); n != streams || cut.Load() != streams || time.Since(start) > time.Second {
					t.Errorf("%d of %d cut after %v", cut.Load(), n, time.Since(start))
				}
			})
		})
	}
}

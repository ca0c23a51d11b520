package session_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/access"
	"teleport/session"
	"teleport/types"
)

// wall is a clock that somebody sets.
type wall struct {
	mu  sync.Mutex
	off time.Duration
}

func (w *wall) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Round(0).Add(w.off)
}

func (w *wall) set(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.off += by
}

// TestASetClockKeepsNothingOpen: whoever sets the clock, sessions end no later
// than they would have, by what they idled, by their certificate, by a lock.
func TestASetClockKeepsNothingOpen(t *testing.T) {
	soon := access.Limits{IdleTimeout: 10 * time.Minute}
	for name, c := range map[string]struct {
		limits func(start time.Time) access.Limits
		set    time.Duration // a minute after the start
		lock   *types.LockTarget
		holds  time.Duration // how long the lock holds; 0: for ever
		code   string        // "": it goes on
		after  time.Duration // since the start
	}{
		"idle, set back":         {func(time.Time) access.Limits { return soon }, -time.Hour, nil, 0, session.CutIdle, 10 * time.Minute},
		"idle, set ahead":        {func(time.Time) access.Limits { return soon }, time.Hour, nil, 0, session.CutIdle, 10 * time.Minute},
		"certificate, set back":  {ends(30 * time.Minute), -time.Hour, nil, 0, session.CutExpired, 30 * time.Minute},
		"certificate, set ahead": {ends(30 * time.Minute), time.Hour, nil, 0, session.CutExpired, time.Minute + 5*time.Second},
		"lock, set back":         {ends(0), -time.Hour, &types.LockTarget{User: "alice"}, time.Hour, session.CutLocked, 2 * time.Minute},
		"lock that had ended":    {ends(0), -time.Hour, &types.LockTarget{User: "alice"}, -30 * time.Minute, session.CutLocked, 2 * time.Minute},
		"lock for others":        {ends(0), -time.Hour, &types.LockTarget{User: "bob"}, 0, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := &wall{}
				r := session.NewRegistryWithClock(clock.now)
				p := &locks{ticks: make(ticks)}
				p.now.Store(&[]*types.Lock{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go r.Serve(ctx, p)
				start := time.Now()
				limits := c.limits(start)
				_, cut := add(t, r, session.Info{ID: "1", User: "alice", Limits: limits, Decide: allow(limits)})
				time.Sleep(time.Minute)
				clock.set(c.set)
				if c.lock != nil {
					time.Sleep(time.Minute)
					lock := &types.Lock{Spec: types.LockSpec{Target: *c.lock}}
					if c.holds != 0 {
						until := start.Add(c.holds)
						lock.Spec.Expires = &until
					}
					p.now.Store(&[]*types.Lock{lock})
					p.ticks <- struct{}{}
				}
				over := time.NewTimer(2 * time.Hour)
				defer over.Stop()
				select {
				case why := <-cut:
					if c.code != session.CutReason(why) || time.Since(start) > c.after {
						t.Errorf("after %s: %v", time.Since(start), why)
					}
				case <-over.C:
					if c.code != "" {
						t.Error("it goes on")
					}
				}
			})
		})
	}
}

func ends(in time.Duration) func(time.Time) access.Limits {
	return func(start time.Time) access.Limits {
		if in == 0 {
			return access.Limits{}
		}
		return access.Limits{Deadline: start.Add(in)}
	}
}

// TestTwoLocksAtOnce: one cut, by one of them, and the end of one lock lifts nothing
// while the other holds.
func TestTwoLocksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := session.NewRegistry()
		p := &locks{ticks: make(ticks)}
		short := time.Now().Add(time.Hour)
		one := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{User: "alice"}, Message: "one", Expires: &short}}
		two := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{Role: "access"}, Message: "two"}}
		p.now.Store(&[]*types.Lock{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.Serve(ctx, p)
		synctest.Wait()
		info := session.Info{ID: "1", User: "alice", Roles: []string{"access"}}
		cuts := 0
		live, err := r.Add(info, func(error) { cuts++ })
		if err != nil {
			t.Fatal(err)
		}
		p.now.Store(&[]*types.Lock{one, two})
		p.ticks <- struct{}{}
		p.ticks <- struct{}{}
		synctest.Wait()
		if cuts != 1 {
			t.Errorf("cut %d times", cuts)
		}
		live.Close()
		refused := func(step string, want bool) {
			t.Helper()
			l, err := r.Add(info, func(error) {})
			if (err != nil) != want {
				t.Errorf("%s: %v", step, err)
			}
			if err == nil {
				l.Close()
			}
		}
		refused("both", true)
		time.Sleep(2 * time.Hour)
		refused("the first has ended", true)
		p.now.Store(&[]*types.Lock{one})
		refused("the second was lifted", false)
	})
}

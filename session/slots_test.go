package session_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/session"
)

const lease = 2 * time.Minute

// counter is an auth service that counts one user's connections.
type counter struct {
	mu    sync.Mutex
	most  int
	lease time.Duration
	slots map[string]time.Time // id → when it runs out
	away  bool
	calls int
	holds func() // called within Hold, when not nil
}

func (c *counter) Hold(_ context.Context, list []session.Held) ([]string, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.away {
		return nil, 0, errors.New("away")
	}
	if c.holds != nil {
		c.holds()
	}
	now := time.Now()
	for id, until := range c.slots {
		if !now.Before(until) {
			delete(c.slots, id)
		}
	}
	refusals := make([]string, len(list))
	for i, h := range list {
		if _, held := c.slots[h.ID]; !held && len(c.slots) >= c.most {
			refusals[i] = "no room"
			continue
		}
		c.slots[h.ID] = now.Add(c.lease)
	}
	return refusals, c.lease, nil
}

func (c *counter) Release(_ context.Context, list []session.Held) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return errors.New("away")
	}
	for _, h := range list {
		delete(c.slots, h.ID)
	}
	return nil
}

func (c *counter) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *counter) held() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for id, until := range c.slots {
		if time.Now().Before(until) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// slotWorld is a process with slots, and a policy whose limit the test sets.
type slotWorld struct {
	t     *testing.T
	auth  *counter
	slots *session.Slots
	reg   *session.Registry
	mu    sync.Mutex
	limit int
}

func newSlotWorld(t *testing.T, most int) *slotWorld {
	w := &slotWorld{t: t, auth: &counter{most: most, lease: lease, slots: map[string]time.Time{}}, reg: session.NewRegistry(), limit: most}
	w.slots = session.NewSlots(w.auth, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { w.slots.Serve(ctx) })
	t.Cleanup(func() { cancel(); all.Wait() })
	return w
}

func (w *slotWorld) setLimit(n int) {
	w.mu.Lock()
	w.limit = n
	w.mu.Unlock()
	w.auth.set(func() { w.auth.most = n })
	w.reg.Recheck()
	synctest.Wait()
}

func (w *slotWorld) limits(time.Time) access.Decision {
	w.mu.Lock()
	defer w.mu.Unlock()
	return access.Decision{Allow: true, Limits: access.Limits{MaxConnections: w.limit}}
}

// open is a connection as a service opens one.
func (w *slotWorld) open(id string) (cut <-chan error, err error) {
	w.t.Helper()
	h := session.Held{ID: id, User: "alice", Credential: "cert"}
	d := w.limits(time.Now())
	if err := w.slots.Take(w.t.Context(), h, d.Limits.MaxConnections); err != nil {
		return nil, err
	}
	l, cut := add(w.t, w.reg, session.Info{ID: id, Limits: d.Limits, Decide: w.limits, LimitsChanged: w.slots.Changed})
	w.slots.Follow(h, l)
	return cut, nil
}

func (w *slotWorld) want(step string, ids ...string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.auth.held(); !slices.Equal(got, ids) {
		w.t.Errorf("%s: held are %v, want %v", step, got, ids)
	}
}

func TestSlots(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, w *slotWorld){
		"renewed for as long as it lives, and given back": func(t *testing.T, w *slotWorld) {
			w.open("a")
			time.Sleep(10 * lease)
			w.want("later", "a")
			w.slots.Give("a")
			w.want("given back")
		},
		"no room": func(t *testing.T, w *slotWorld) {
			w.open("a")
			w.open("b")
			if _, err := w.open("c"); !errors.Is(err, fault.Limit) || fault.Message(err) != "no room" {
				t.Error(err)
			}
			w.want("two", "a", "b")
		},
		"the place of a connection that is just ending": func(t *testing.T, w *slotWorld) {
			w.open("a")
			w.open("b")
			time.AfterFunc(200*time.Millisecond, func() { w.slots.Give("a") })
			if _, err := w.open("c"); err != nil {
				t.Error(err)
			}
			w.want("the next", "b", "c")
		},
		"nobody to ask": func(t *testing.T, w *slotWorld) {
			w.auth.set(func() { w.auth.away = true })
			if _, err := w.open("a"); !errors.Is(err, fault.Unavailable) {
				t.Error(err)
			}
		},
		"what is live outlives the auth service": func(t *testing.T, w *slotWorld) {
			cut, _ := w.open("a")
			w.auth.set(func() { w.auth.away = true })
			time.Sleep(3 * lease)
			w.want("run out")
			w.auth.set(func() { w.auth.away = false })
			time.Sleep(lease)
			w.want("counted again", "a")
			if len(cut) != 0 {
				t.Error(<-cut)
			}
		},
		"its place was taken meanwhile": func(t *testing.T, w *slotWorld) {
			cut, _ := w.open("a")
			w.auth.set(func() { w.auth.away = true })
			time.Sleep(2 * lease)
			w.auth.set(func() {
				w.auth.away, w.auth.slots["x"], w.auth.slots["y"] = false, time.Now().Add(lease), time.Now().Add(lease)
			})
			if why := <-cut; session.CutReason(why) != session.CutConnections || fault.Message(why) != "no room" {
				t.Error(why)
			}
		},
		"what could not be given back is given later": func(t *testing.T, w *slotWorld) {
			w.open("a")
			w.auth.set(func() { w.auth.away = true })
			w.slots.Give("a")
			w.want("away", "a")
			w.auth.set(func() { w.auth.away = false })
			time.Sleep(lease / 2)
			w.want("back")
		},
		"a renewal that crosses its end": func(t *testing.T, w *slotWorld) {
			w.open("a")
			w.auth.set(func() {
				w.auth.holds = func() { w.auth.holds = nil; go w.slots.Give("a"); delete(w.auth.slots, "a") }
			})
			time.Sleep(lease)
			w.want("given back all the same")
		},
		"a lease that is shorter than was assumed": func(t *testing.T, w *slotWorld) {
			synctest.Wait() // until it waits for a third of what it assumes
			w.auth.set(func() { w.auth.lease = lease / 10 })
			w.open("a")
			for range 20 {
				time.Sleep(lease / 20)
				w.want("all the time", "a")
			}
		},
		"a limit that comes later": func(t *testing.T, w *slotWorld) {
			w.setLimit(0)
			var cuts []<-chan error
			for _, id := range []string{"a", "b", "c"} {
				cut, err := w.open(id)
				if err != nil {
					t.Fatal(err)
				}
				cuts = append(cuts, cut)
			}
			if w.auth.calls != 0 {
				t.Errorf("%d calls for a user without a limit", w.auth.calls)
			}
			w.setLimit(2)
			ended := 0
			for _, cut := range cuts {
				ended += len(cut)
			}
			if ended != 1 || len(w.auth.held()) != 2 {
				t.Errorf("%d were cut, %v are held", ended, w.auth.held())
			}
		},
		"a limit that goes": func(t *testing.T, w *slotWorld) {
			w.open("a")
			w.setLimit(0)
			time.Sleep(2 * lease)
			w.want("not counted any more")
		},
		"it never was": func(t *testing.T, w *slotWorld) {
			w.slots.Give("z")
			w.want("nothing")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newSlotWorld(t, 2)) })
		})
	}
}

// Without anybody who counts, users with a limit are refused and others are not.
func TestNoSlots(t *testing.T) {
	var none *session.Slots
	if err := none.Take(t.Context(), session.Held{ID: "a"}, 1); !errors.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	if err := none.Take(t.Context(), session.Held{ID: "a"}, 0); err != nil {
		t.Error(err)
	}
	none.Follow(session.Held{}, nil)
	none.Changed()
	none.Give("a")
}

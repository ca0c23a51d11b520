package tunnel

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/lifecycle"
	"teleport/types"
)

func TestADialWaitsForAnAgentOnItsWayBack(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		synctest.Wait()
		begun := time.Now()
		done := make(chan error, 1)
		go func() {
			conn, _, err := p.Dial(context.Background(), "a1", header(""))
			if err == nil {
				talk(t, conn, "patience")
			}
			done <- err
		}()
		time.Sleep(2 * time.Second)
		_, stop := w.agent(w.options("a1", types.RoleNode, to(p)))
		if err := <-done; err != nil {
			t.Errorf("the dial that waited: %v", err)
		}
		// An agent that was here and left is not waited for, nor is any agent for
		// long, nor once the proxy is no longer young.
		stop()
		synctest.Wait()
		if d := p.refused(t, "a1"); d != 0 {
			t.Errorf("an agent that left was waited for: %v", d)
		}
		if d := p.refused(t, "never"); d != 5*time.Second {
			t.Errorf("an agent that never comes was waited for: %v", d)
		}
		time.Sleep(time.Until(begun.Add(15 * time.Second)))
		if d := p.refused(t, "never"); d != 0 {
			t.Errorf("a settled proxy waits: %v", d)
		}
	})
}

// refused dials an agent that is away and returns how long the answer took.
func (p *proxy) refused(t *testing.T, uuid string) time.Duration {
	t.Helper()
	begun := time.Now()
	if _, _, err := p.Dial(context.Background(), uuid, header("")); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a dial to %s, which is away: %v", uuid, err)
	}
	return time.Since(begun)
}

func TestAnAgentThatDrainsTakesNothingNew(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		p := w.proxy("p1", RegistryOptions{})
		o := w.options("a1", types.RoleNode, to(p))
		o.Drain = time.Hour
		old, err := NewPool(o)
		check(t, err)
		ctx, drain := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- old.Serve(ctx) }()
		<-old.Ready()
		live, _ := w.dial(p, "a1", "")
		drain()
		synctest.Wait()
		if _, _, err := p.Dial(context.Background(), "a1", header("")); !errors.Is(err, ErrDraining) || !errors.Is(err, fault.Unavailable) {
			t.Errorf("a dial to an agent that drains: %v", err)
		}
		// The next generation takes what comes; the old one ends with its last stream.
		next := w.options("a1", types.RoleNode, to(p))
		next.Hello.Generation = 2
		w.agent(next)
		conn, reply := w.dial(p, "a1", "")
		if reply.Carrier == "" {
			t.Error("no carrier")
		}
		talk(t, conn, "to the new one")
		talk(t, live, "to the old one")
		if err := <-ended; err != nil {
			t.Errorf("the old generation ended with %v", err)
		}
	})
}

// TestAgentsAreBackBeforeADialGivesUp: after a proxy was away, whoever comes to it at
// once reaches every agent, however long it took.
func TestAgentsAreBackBeforeADialGivesUp(t *testing.T) {
	for _, away := range []time.Duration{time.Second, 9 * time.Second, 40 * time.Second, 9 * time.Minute} {
		for how, told := range map[string]bool{"that said so": true, "that was killed": false} {
			t.Run(away.String()+" after a proxy "+how, func(t *testing.T) {
				virtual(t, func(t *testing.T, w *world) {
					var now atomic.Pointer[proxy]
					first := w.proxy("p1", RegistryOptions{})
					now.Store(first)
					const agents = 12
					names := make([]string, agents)
					for i := range names {
						names[i] = fmt.Sprintf("a%d", i)
						o := w.options(names[i], types.RoleNode, func(Target) *proxy { return now.Load() })
						o.Backoff = lifecycle.Backoff{Min: 250 * time.Millisecond, Max: 8 * time.Second}
						w.agent(o)
					}
					now.Store(nil)
					if told {
						first.stop()
					} else {
						first.closeAll()
					}
					time.Sleep(away)
					next := w.proxy("p1", RegistryOptions{})
					synctest.Wait()
					now.Store(next)
					var dials sync.WaitGroup
					for _, name := range names {
						dials.Go(func() {
							conn, _, err := next.Dial(context.Background(), name, header(""))
							if err != nil {
								t.Errorf("%s: %v", name, err)
								return
							}
							conn.Close()
						})
					}
					dials.Wait()
				})
			})
		}
	}
}

// TestAgentsDoNotComeAllAtOnce: of a proxy that stops, agents go to the next process in
// turn, and each does so before a dial there gives up.
func TestAgentsDoNotComeAllAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		const agents, leaves = 100, 50
		var now atomic.Pointer[proxy]
		old := w.proxy("p1", RegistryOptions{Leaves: leaves, Drain: time.Hour})
		now.Store(old)
		for i := range agents {
			w.agent(w.options(fmt.Sprintf("a%d", i), types.RoleNode, func(Target) *proxy { return now.Load() }))
		}
		next := w.proxy("p1", RegistryOptions{})
		now.Store(next)
		go old.stop()
		came := 0
		for second := 1; came < agents; second++ {
			time.Sleep(time.Second)
			synctest.Wait()
			n := len(next.Agents())
			if n-came > leaves*5/4 || second > agents/leaves+1 {
				t.Fatalf("in second %d, %d agents came, and %d before", second, n-came, came)
			}
			came = n
		}
	})
}

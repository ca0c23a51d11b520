package tunnel

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
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

package localproxy_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/client/localproxy"
	"teleport/fault"
)

// login is a way that lives until a time.
type login struct {
	name string
	end  time.Time
}

func (l *login) Close() {}

func (l *login) Check() error {
	if time.Now().Before(l.end) {
		return nil
	}
	return fault.New(fault.Unauthenticated, "the log-in %s has ended", l.name)
}

type named struct {
	net.Conn
	by string
}

func (l *login) Dial(context.Context) (net.Conn, error) { return named{by: l.name}, nil }

// desk is where log-ins are stored.
type desk struct {
	mu    sync.Mutex
	last  *login
	fails error
	told  []string
}

func (d *desk) put(l *login, fails error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last, d.fails = l, fails
}

func (d *desk) open() (localproxy.Way, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fails != nil {
		return nil, d.fails
	}
	return d.last, d.last.Check()
}

func (d *desk) tell(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told = append(d.told, fault.Message(why))
}

func by(t *testing.T, l *localproxy.Lasting) string {
	t.Helper()
	c, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c.(named).by
}

func TestConnectionsWaitForANewLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := &login{"first", time.Now().Add(time.Hour)}
		d := &desk{last: first}
		l := localproxy.NewLasting(first, d.open, d.tell)
		if got := by(t, l); got != "first" {
			t.Errorf("by %s", got)
		}
		time.Sleep(time.Hour)
		var waiting sync.WaitGroup
		for range 5 {
			waiting.Go(func() {
				begun := time.Now()
				if got := by(t, l); got != "second" || time.Since(begun) < 2*time.Minute {
					t.Errorf("by %s after %s", got, time.Since(begun))
				}
			})
		}
		time.Sleep(2 * time.Minute)
		d.put(&login{"second", time.Now().Add(time.Hour)}, nil)
		waiting.Wait()
		if len(d.told) != 1 || d.told[0] != "the log-in first has ended" {
			t.Errorf("told %q", d.told)
		}
	})
}

func TestConnectionsDoNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := &login{"first", time.Now()}
		d := &desk{last: ended}
		l := localproxy.NewLasting(ended, d.open, d.tell)
		begun := time.Now()
		if _, err := l.Dial(t.Context()); !errors.Is(err, fault.Unauthenticated) || time.Since(begun) != 5*time.Minute {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Dial(ctx); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("%v", err)
		}
		broken := fault.New(fault.Invalid, "the profile cannot be read")
		d.put(nil, broken)
		if _, err := l.Dial(t.Context()); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
	})
}

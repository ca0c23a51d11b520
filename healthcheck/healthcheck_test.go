package healthcheck_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/healthcheck"
	"teleport/types"
)

// resource is what is checked, with answers that a test changes.
type resource struct {
	mu    sync.Mutex
	err   error
	asked []time.Time
}

func (r *resource) check(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, time.Now())
	return r.err
}

func (r *resource) answers(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *resource) times() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

var plan = healthcheck.Plan{Interval: 30 * time.Second, Timeout: 5 * time.Second, Healthy: 2, Unhealthy: 3}

// serve runs a checker in a bubble of virtual time, to its end.
func serve(t *testing.T, test func(*healthcheck.Checker)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := healthcheck.New(slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- c.Serve(ctx) }()
		test(c)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// after lets so many intervals pass, and then all that they began.
func after(intervals int) {
	time.Sleep(time.Duration(intervals) * plan.Interval)
	synctest.Wait()
}

// ticked reports whether a change was told since the last call.
func ticked(c *healthcheck.Checker) bool {
	select {
	case <-c.Changed():
		return true
	default:
		return false
	}
}

func TestHealthFollowsChecksInARow(t *testing.T) {
	serve(t, func(c *healthcheck.Checker) {
		r := &resource{}
		c.Set([]healthcheck.Target{{Name: "a", Addr: "a:1", Plan: plan, Check: r.check}})
		if h := c.Health("a"); h.Status != types.HealthInitialized || h.Addr != "a:1" || h.Protocol != "TCP" || h.Since.IsZero() {
			t.Errorf("before the first check: %+v", h)
		}
		synctest.Wait()
		first := c.Health("a")
		if first.Status != types.HealthHealthy || first.Reason != types.HealthReasonThreshold || first.Message != "one check succeeded" || !ticked(c) {
			t.Errorf("after the first check: %+v", first)
		}
		after(10)
		if h := c.Health("a"); h != first || ticked(c) {
			t.Errorf("it changed without a cause: %+v", h)
		}
		r.answers(fmt.Errorf("dial tcp 10.1.2.3:5432: %w", syscall.ECONNREFUSED))
		after(2)
		if h := c.Health("a"); h != first || ticked(c) {
			t.Errorf("after two failures, and the third decides: %+v", h)
		}
		after(1)
		h := c.Health("a")
		if h.Status != types.HealthUnhealthy || h.LastError != "connection refused" || h.Message != "3 checks in a row failed" || !h.Since.After(first.Since) || !ticked(c) {
			t.Errorf("after three failures: %+v", h)
		}
		r.answers(errors.New("something else"))
		after(5)
		if now := c.Health("a"); now != h || ticked(c) {
			t.Errorf("another error of the same resource: %+v", now)
		}
		r.answers(nil)
		after(1)
		if now := c.Health("a"); now != h {
			t.Errorf("after one success: %+v", now)
		}
		after(1)
		if h := c.Health("a"); h.Status != types.HealthHealthy || h.LastError != "" || h.Message != "2 checks in a row succeeded" || !ticked(c) {
			t.Errorf("after two successes: %+v", h)
		}
	})
}

// A resource that comes and goes at every other check stays what it was.
func TestFlappingChangesNothing(t *testing.T) {
	serve(t, func(c *healthcheck.Checker) {
		n := 0
		c.Set([]healthcheck.Target{{Name: "a", Plan: plan, Check: func(context.Context) error {
			if n++; n%2 == 0 {
				return errors.New("down")
			}
			return nil
		}}})
		synctest.Wait()
		if !ticked(c) {
			t.Error("the first check told nothing")
		}
		after(50)
		if h := c.Health("a"); h.Status != types.HealthHealthy || ticked(c) {
			t.Errorf("%+v", h)
		}
	})
}

func TestFirstFailureDecides(t *testing.T) {
	serve(t, func(c *healthcheck.Checker) {
		c.Set([]healthcheck.Target{{Name: "slow", Plan: plan, Check: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}})
		time.Sleep(plan.Timeout)
		synctest.Wait()
		if h := c.Health("slow"); h.Status != types.HealthUnhealthy || h.LastError != "no answer within 5s" {
			t.Errorf("%+v", h)
		}
	})
}

func TestTargetsComeAndGo(t *testing.T) {
	serve(t, func(c *healthcheck.Checker) {
		a, b := &resource{}, &resource{}
		target := func(name, addr string, r *resource, p healthcheck.Plan) healthcheck.Target {
			return healthcheck.Target{Name: name, Addr: addr, Plan: p, Check: r.check}
		}
		c.Set([]healthcheck.Target{target("a", "a:1", a, plan), target("b", "b:1", b, healthcheck.Plan{})})
		after(3)
		if h := c.Health("b"); h.Status != types.HealthDisabled || h.Reason != types.HealthReasonDisabled || len(b.times()) != 0 {
			t.Errorf("one without a plan: %+v, asked %d times", h, len(b.times()))
		}
		healthy := c.Health("a")
		often := plan
		often.Interval = time.Second
		for _, keep := range []healthcheck.Plan{plan, often} { // the same again; another plan
			c.Set([]healthcheck.Target{target("a", "a:1", a, keep), target("b", "b:1", b, healthcheck.Plan{})})
			if h := c.Health("a"); h != healthy {
				t.Errorf("it was forgotten: %+v", h)
			}
		}
		before := len(a.times())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := len(a.times()) - before; n < 10 {
			t.Errorf("asked %d times in ten seconds, at an interval of one", n)
		}
		c.Set([]healthcheck.Target{target("a", "other:1", a, plan), target("b", "b:1", b, plan)})
		if h := c.Health("a"); h.Status != types.HealthInitialized || h.Addr != "other:1" {
			t.Errorf("at another address: %+v", h)
		}
		synctest.Wait()
		if h := c.Health("b"); h.Status != types.HealthHealthy {
			t.Errorf("with a plan: %+v", h)
		}
		c.Set(nil)
		n := len(a.times())
		after(5)
		if len(a.times()) != n || c.Health("a") != (types.TargetHealth{}) {
			t.Error("one that is gone is still asked")
		}
	})
}

// Targets that come together are asked at once, each within its turn, and later
// not all at the same moment.
func TestManyTargets(t *testing.T) {
	serve(t, func(c *healthcheck.Checker) {
		var mu sync.Mutex
		now, most := 0, 0
		second := map[time.Duration]bool{}
		start := time.Now()
		var targets []healthcheck.Target
		for i := range 500 {
			n := 0
			targets = append(targets, healthcheck.Target{Name: fmt.Sprint(i), Plan: plan, Check: func(context.Context) error {
				mu.Lock()
				now++
				most = max(most, now)
				if n++; n == 2 {
					second[time.Since(start)] = true
				}
				mu.Unlock()
				time.Sleep(100 * time.Millisecond)
				mu.Lock()
				now--
				mu.Unlock()
				return nil
			}})
		}
		c.Set(targets)
		after(2)
		mu.Lock()
		defer mu.Unlock()
		if most != 32 || len(second) < 100 {
			t.Errorf("%d at once, second checks at %d moments", most, len(second))
		}
	})
}

func TestWhatIsTold(t *testing.T) {
	for want, err := range map[string]error{
		"connection refused":                &net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3)}, Err: syscall.ECONNREFUSED},
		"there is no host db.example.com":   &net.DNSError{Name: "db.example.com", Server: "10.1.2.3:53", Err: "no such host", IsNotFound: true},
		"the host db.x cannot be looked up": &net.DNSError{Name: "db.x", Server: "10.1.2.3:53", Err: "server misbehaving"},
		"no answer within 5s":               &net.OpError{Op: "dial", Err: context.DeadlineExceeded},
		"the server says: a b":              fault.New(fault.Unavailable, "the server says: a\nb"),
		"internal error":                    errors.New("10.1.2.3 is a secret"),
		strings.Repeat("x", 256) + "…":      fault.New(fault.Unavailable, "%s", strings.Repeat("x", 10_000)),
	} {
		serve(t, func(c *healthcheck.Checker) {
			c.Set([]healthcheck.Target{{Name: "a", Plan: plan, Check: func(context.Context) error { return err }}})
			synctest.Wait()
			if h := c.Health("a"); h.LastError != want {
				t.Errorf("%v: told as %q, want %q", err, h.LastError, want)
			}
		})
	}
}

package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errBroken = errors.New("broken")

// journal records what services do, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, s)
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

func (j *journal) service(name string, getReady, stopAfter time.Duration) Service {
	ready := make(chan struct{})
	return Service{Name: name, Ready: ready, Serve: func(ctx context.Context) error {
		j.add("start " + name)
		time.Sleep(getReady)
		close(ready)
		<-ctx.Done()
		time.Sleep(stopAfter)
		j.add("stop " + name)
		return nil
	}}
}

func TestOrderOfStartAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := New(slog.New(slog.DiscardHandler), time.Minute)
		g.Add(j.service("a", time.Second, time.Second))
		g.Add(j.service("b", 3*time.Second, 0))
		g.Add(j.service("c", 0, time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Serve(ctx) }()
		<-g.Ready()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		want := []string{"start a", "start b", "start c", "stop c", "stop b", "stop a"}
		if !slices.Equal(j.all(), want) {
			t.Errorf("order %v", j.all())
		}
	})
}

func TestDoorsCloseFirstAndWorkIsToldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := New(slog.New(slog.DiscardHandler), time.Hour)
		add := func(name string, stage Stage, stopAfter time.Duration) {
			s := j.service(name, 0, stopAfter)
			s.Stage = stage
			g.Add(s)
		}
		add("policy", Core, 0)
		add("streams", Work, 2*time.Second)
		add("port", Door, time.Second)
		add("tunnel", Work, 3*time.Second)
		add("renewal", Core, 0)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Serve(ctx) }()
		<-g.Ready()
		begun := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		want := []string{"stop port", "stop streams", "stop tunnel", "stop renewal", "stop policy"}
		if got := j.all()[5:]; !slices.Equal(got, want) {
			t.Errorf("order %v", got)
		}
		if d := time.Since(begun); d != 4*time.Second {
			t.Errorf("the two that carry streams were not told together: it took %v", d)
		}
	})
}

func TestAFailedGroupDoesNotWaitForStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := New(slog.New(slog.DiscardHandler), 30*time.Hour)
		g.Add(j.service("streams", 0, 20*time.Hour))
		g.Add(Service{Name: "bad", Serve: func(context.Context) error { return errBroken }})
		begun := time.Now()
		if err := g.Serve(t.Context()); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "streams") {
			t.Errorf("Serve: %v", err)
		}
		if d := time.Since(begun); d > time.Minute {
			t.Errorf("it took %v", d)
		}
		time.Sleep(21 * time.Hour)
	})
}

func TestFirstErrorIsTheCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := New(slog.New(slog.DiscardHandler), time.Minute)
		g.Add(j.service("a", 0, 0))
		g.Add(Service{Name: "bad", Serve: func(context.Context) error { time.Sleep(time.Second); return errBroken }})
		g.Add(Service{Name: "worse", Serve: func(ctx context.Context) error { <-ctx.Done(); return errors.New("later") }})
		err := g.Serve(t.Context())
		if !errors.Is(err, errBroken) || !strings.HasPrefix(err.Error(), "bad: ") {
			t.Errorf("Serve: %v", err)
		}
		if !slices.Contains(j.all(), "stop a") {
			t.Error("a was not stopped")
		}
	})
}

func TestServiceThatIsNeverReadyFailsTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(slog.New(slog.DiscardHandler), time.Minute)
		g.Add(Service{Name: "mute", Ready: make(chan struct{}), Serve: func(context.Context) error { return nil }})
		g.Add(Service{Name: "next", Serve: func(context.Context) error { t.Error("it was started"); return nil }})
		if err := g.Serve(t.Context()); err == nil {
			t.Error("no error")
		}
	})
}

func TestPanicIsAnErrorOfItsService(t *testing.T) {
	g := New(slog.New(slog.DiscardHandler), time.Minute)
	g.Add(Service{Name: "wild", Serve: func(context.Context) error { panic("boo") }})
	var p *PanicError
	if err := g.Serve(t.Context()); !errors.As(err, &p) || len(p.Stack) == 0 {
		t.Errorf("Serve: %v", err)
	}
}

func TestDrainDeadlineNamesTheLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := New(slog.New(slog.DiscardHandler), 10*time.Second)
		g.Add(j.service("first", 0, 0))
		g.Add(j.service("slow", 0, time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Serve(ctx) }()
		<-g.Ready()
		cancel()
		err := <-done
		if err == nil || !strings.Contains(err.Error(), "slow") {
			t.Errorf("Serve: %v", err)
		}
		time.Sleep(2 * time.Hour)
		if !slices.Contains(j.all(), "stop first") {
			t.Error("first was not told to stop")
		}
	})
}

func TestRestartWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(slog.New(slog.DiscardHandler), time.Minute)
		runs := 0
		g.Add(Service{Name: "flaky", Restart: &Backoff{Min: time.Second, Max: 8 * time.Second}, Serve: func(context.Context) error {
			if runs++; runs < 5 {
				return errBroken
			}
			return nil
		}})
		begun := time.Now()
		if err := g.Serve(t.Context()); err != nil || runs != 5 {
			t.Errorf("%d runs, %v", runs, err)
		}
		if d := time.Since(begun); d < 7500*time.Millisecond || d > 15*time.Second {
			t.Errorf("the pauses sum up to %v", d)
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	b := Backoff{Min: time.Second, Max: time.Minute}
	for failures := range 1000 {
		if d := b.Delay(failures); d < 500*time.Millisecond || d > time.Minute {
			t.Fatalf("after %d failures: %v", failures, d)
		}
	}
}

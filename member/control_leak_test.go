package member_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/member"
)

// countingContext counts what waits for its end.
type countingContext struct {
	context.Context
	done chan struct{}

	mu      sync.Mutex
	waiting int
	total   int
}

func (c *countingContext) Done() <-chan struct{} { return c.done }

func (c *countingContext) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

func (c *countingContext) AfterFunc(func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting++
	c.total++
	return sync.OnceValue(func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.waiting--
		return true
	})
}

// An auth service that is away for long must not cost memory with each attempt.
func TestFailedOpeningsLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &presence{refuse: fault.New(fault.Unavailable, "away")}
		a := member.NewAnnouncer(member.AnnouncerConfig{Via: p, Log: slog.New(slog.DiscardHandler)})
		ctx := &countingContext{Context: context.Background(), done: make(chan struct{})}
		ended := make(chan error, 1)
		go func() { ended <- a.Serve(ctx) }()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		ctx.mu.Lock()
		if ctx.total < 10 || ctx.waiting != 0 {
			t.Errorf("%d openings, %d still wait for the end", ctx.total, ctx.waiting)
		}
		ctx.mu.Unlock()
		close(ctx.done)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

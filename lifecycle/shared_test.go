package lifecycle

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
)

// TestSharedCalls: many ask at the same time, one call is made, and it outlives whoever
// began it.
func TestSharedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Shared[string]
		var calls atomic.Int32
		call := func(ctx context.Context) (string, error) {
			calls.Add(1)
			return "done", Sleep(ctx, time.Second)
		}
		first, leave := context.WithCancelCause(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := s.Do(first, "a", time.Minute, call)
			left <- err
		}()
		synctest.Wait()
		var others sync.WaitGroup
		for range 10 {
			others.Go(func() {
				if got, err := s.Do(t.Context(), "a", time.Minute, call); got != "done" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		gone := errors.New("the tab was closed")
		leave(gone)
		if err := <-left; !errors.Is(err, gone) {
			t.Errorf("who left hears %v", err)
		}
		others.Wait()
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls", n)
		}
		if got, err := s.Do(t.Context(), "b", time.Minute, call); got != "done" || err != nil || calls.Load() != 2 {
			t.Errorf("of another key, and later: %q, %v, %d calls", got, err, calls.Load())
		}
	})
}

// TestSharedCallsEnd: in time, with all who wait; and with the process.
func TestSharedCallsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Shared[int]
		never := func(ctx context.Context) (int, error) {
			<-ctx.Done()
			return 1, ctx.Err()
		}
		began := time.Now()
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if got, err := s.Do(t.Context(), "", time.Minute, never); got != 0 || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%d, %v", got, err)
				}
			})
		}
		synctest.Wait()
		s.Close()
		all.Wait()
		if took := time.Since(began); took != time.Minute {
			t.Errorf("after %s", took)
		}
		if _, err := s.Do(t.Context(), "", time.Minute, never); !errors.Is(err, fault.Unavailable) {
			t.Errorf("a process that stops: %v", err)
		}
	})
}

// TestASharedCallThatPanics ends nothing else.
func TestASharedCallThatPanics(t *testing.T) {
	var s Shared[int]
	if _, err := s.Do(t.Context(), "", time.Minute, func(context.Context) (int, error) { panic("no") }); err == nil {
		t.Error("it went well")
	}
}

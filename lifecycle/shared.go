package lifecycle

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"teleport/fault"
)

// Shared makes calls each of which serves all who ask for the same at the time. The
// zero value is ready. Safe for concurrent use.
type Shared[T any] struct {
	calls singleflight.Group

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
}

// Do returns what f does for key: of the call under way, where there is one. A call is
// nobody's own: its context has the values of that of the caller who began it, does not
// end with it, and ends after within. A caller leaves with its own, whose cause is the
// error then. All other errors are those of f; a panic of f is one.
func (s *Shared[T]) Do(ctx context.Context, key string, within time.Duration, f func(ctx context.Context) (T, error)) (T, error) {
	answer := s.calls.DoChan(key, func() (any, error) {
		if !s.begin() {
			return nil, fault.New(fault.Unavailable, "this process is stopping")
		}
		defer s.work.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
		defer cancel()
		var out T
		err := Guard(ctx, func(ctx context.Context) (err error) {
			out, err = f(ctx)
			return err
		})
		return out, err
	})
	var none T
	select {
	case a := <-answer:
		if a.Err != nil {
			return none, a.Err
		}
		return a.Val.(T), nil
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

func (s *Shared[T]) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Add(1)
	}
	return !s.closed
}

// Close refuses further calls and waits for those under way.
func (s *Shared[T]) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.work.Wait()
}

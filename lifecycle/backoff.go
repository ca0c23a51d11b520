package lifecycle

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff computes growing pauses between attempts. The zero value is usable:
// 1 s doubling to 1 min, half of each pause random.
type Backoff struct {
	Min time.Duration // first pause; 0: 1 s
	Max time.Duration // longest pause; 0: 1 min
}

// Delay returns the pause after the given number of failures in a row (1 is the
// first). Half of it is random, so that a thousand agents that lost one proxy
// do not come back as one wave.
func (b Backoff) Delay(failures int) time.Duration {
	lo, hi := b.Min, b.Max
	if lo <= 0 {
		lo = time.Second
	}
	if hi <= 0 {
		hi = time.Minute
	}
	d := min(lo, hi)
	for i := 1; i < failures && d < hi; i++ {
		d = min(2*d, hi)
	}
	return d/2 + rand.N(d/2+1)
}

// Sleep waits for d or until ctx ends, and returns the context's cause then.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

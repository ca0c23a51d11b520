package cluster

import (
	"context"
	"testing"
	"time"
)

// Until waits for a condition and fails the test when it does not come. The time
// is a bound against hanging and no measure of anything: be generous.
func Until(t testing.TB, within time.Duration, what string, done func() bool) {
	t.Helper()
	if !Poll(within, done) {
		t.Fatalf("waited %s for: %s", within, what)
	}
}

// Poll waits for a condition and reports whether it came.
func Poll(within time.Duration, done func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if done() {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return done()
		}
	}
}

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

// Poll waits for a condition and reports whether it came. Whoever looks by a command,
// which may take long on a busy machine, rests for as long as that took: those who
// wait are many, and what they wait for needs the machine too.
func Poll(within time.Duration, done func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for {
		began := time.Now()
		if done() {
			return true
		}
		rest := time.NewTimer(min(max(20*time.Millisecond, time.Since(began)), time.Second))
		select {
		case <-rest.C:
		case <-ctx.Done():
			rest.Stop()
			return done()
		}
	}
}

// Rest lets time pass that a story is about: that of a certificate which ends, or of
// a link that is down. It looks at nothing, and costs the machine nothing.
func Rest(t testing.TB, until time.Time) {
	t.Helper()
	select {
	case <-time.After(time.Until(until)):
	case <-t.Context().Done():
	}
}

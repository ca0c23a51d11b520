package netx_test

import (
	"runtime"
	"testing"
	"time"

	"teleport/netx"
)

// TestADeadlineThatIsMovedInTime, as it passes, has not passed: it would never again.
func TestADeadlineThatIsMovedInTime(t *testing.T) {
	d := netx.NewDeadline(func() {})
	for range 5000 {
		at := time.Now().Add(20 * time.Microsecond)
		d.Set(at)
		for time.Now().Before(at) {
			runtime.Gosched()
		}
		d.Set(time.Time{})
		for range 4 {
			runtime.Gosched()
		}
		if d.Over() {
			t.Fatal("a deadline that was taken back passes")
		}
	}
}

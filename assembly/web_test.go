package assembly

import (
	"testing"
	"testing/synctest"
	"time"
)

// What is open of an app goes on while the proxy drains, however long that takes; a
// client that is slow to read an answer of the proxy's own holds it up for seconds,
// and so does everybody in a hasty stop.
func TestADrainWaitsForApps(t *testing.T) {
	const hour = time.Hour
	for name, c := range map[string]struct {
		apps, hasty, over time.Duration // when the apps have drained, when haste comes, and when everything has ended
		cut               time.Duration // 0: never
	}{
		"an app's event stream": {apps: hour, hasty: 9 * hour, over: hour},
		"nothing of apps":       {apps: 0, hasty: 9 * hour, over: time.Second},
		"a slow reader":         {apps: 0, hasty: 9 * hour, over: 9 * hour, cut: webDrain},
		"and after apps":        {apps: hour, hasty: 9 * hour, over: 9 * hour, cut: hour + webDrain},
		"in haste":              {apps: 9 * hour, hasty: 0, over: 9 * hour, cut: webDrain},
		"haste in a drain":      {apps: 9 * hour, hasty: hour, over: 9 * hour, cut: hour + webDrain},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				after := func(d time.Duration) <-chan struct{} {
					done := make(chan struct{})
					time.AfterFunc(d, func() { close(done) })
					return done
				}
				began, cut := time.Now(), time.Duration(0)
				endLate(after(c.over), after(c.apps), after(c.hasty), func() { cut = time.Since(began) })
				if cut != c.cut {
					t.Errorf("cut after %s", cut)
				}
				time.Sleep(10 * hour) // to the end of the timers
			})
		})
	}
}

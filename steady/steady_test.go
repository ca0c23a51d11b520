package steady_test

import (
	"slices"
	"testing"
	"time"

	"teleport/steady"
)

func TestClockNeverGoesBack(t *testing.T) {
	base := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	wall, elapsed := base, time.Duration(0)
	var told []time.Duration
	c := steady.Of(func() time.Time { return wall }, func() time.Duration { return elapsed }, func(by time.Duration) { told = append(told, by) })
	for _, step := range []struct {
		name          string
		pass, setting time.Duration // time goes on, and then somebody sets the clock
		want          time.Duration // since base
	}{
		{"time passes", time.Minute, 0, time.Minute},
		{"a second back", time.Minute, -time.Second, 2 * time.Minute},
		{"and it catches up", time.Minute, time.Second, 3 * time.Minute},
		{"an hour back", 0, -time.Hour, 3 * time.Minute},
		{"time passes", time.Hour, 0, 63 * time.Minute},
		{"an hour more", 0, -time.Hour, 63 * time.Minute},
		{"the clock is right again", time.Minute, 2 * time.Hour, 64 * time.Minute},
		{"it jumps ahead, as after a sleep", 0, 8 * time.Hour, 8*time.Hour + 64*time.Minute},
		{"back once more", time.Minute, -time.Minute, 8*time.Hour + 65*time.Minute},
	} {
		elapsed += step.pass
		wall = wall.Add(step.pass + step.setting)
		for range 2 {
			if got := c.Now(); !got.Equal(base.Add(step.want)) {
				t.Errorf("%s: %s after the start, want %s", step.name, got.Sub(base), step.want)
			}
		}
	}
	if want := []time.Duration{time.Hour, 2 * time.Hour, time.Minute}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
}

// The machine's own clock, which nobody sets here.
func TestClockOfThisMachine(t *testing.T) {
	c := steady.New(func(time.Duration) { t.Error("set back") })
	before := c.Now()
	if now := c.Now(); now.Before(before) || time.Until(now).Abs() > time.Minute {
		t.Errorf("%s, then %s", before, now)
	}
}

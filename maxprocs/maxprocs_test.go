package maxprocs

import (
	"context"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestProcessorsFollowTheLoad(t *testing.T) {
	for name, c := range map[string]struct {
		most, least int
		used        []float64 // in each tick, of the processors that there are
		want        []int     // after each tick
	}{
		"one is enough":                {2, 1, []float64{0.1, 0.1, 0.1, 0.1, 0.1, 0.1}, []int{2, 2, 2, 1, 1, 1}},
		"never fewer than":             {4, 2, []float64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, []int{4, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 2}},
		"a burst takes them at once":   {8, 1, append(slices.Repeat([]float64{0}, 28), 1, 2, 4, 8), append(down(8), 2, 4, 8, 8)},
		"a need now and then keeps":    {2, 1, []float64{0.1, 0.1, 0.1, 1.2, 0.1, 0.1, 0.1, 1.2}, []int{2, 2, 2, 2, 2, 2, 2, 2}},
		"what one cannot do stays two": {2, 1, slices.Repeat([]float64{0.85}, 20), slices.Repeat([]int{2}, 20)},
		"no more than there are":       {3, 1, []float64{0, 0, 0, 0, 1.9, 3, 3}, []int{3, 3, 3, 2, 3, 3, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				var total, has atomic.Int64
				has.Store(int64(c.most))
				done := make(chan struct{})
				go func() {
					defer close(done)
					follow(ctx, process{least: c.least, used: func() time.Duration { return time.Duration(total.Load()) },
						most: func() int { return c.most }, set: func(n int) { has.Store(int64(n)) }})
				}()
				synctest.Wait()
				var got []int
				for _, u := range c.used {
					total.Add(int64(u * float64(tick)))
					time.Sleep(tick)
					synctest.Wait()
					got = append(got, int(has.Load()))
				}
				cancel()
				<-done
				if !slices.Equal(got, c.want) {
					t.Errorf("%v, want %v", got, c.want)
				}
			})
		})
	}
}

// down is how an idle process gives back all but one.
func down(n int) []int {
	var all []int
	for ; n > 1; n-- {
		all = append(all, n, n, n, n)
	}
	all = append(all, 1)
	return all[1:]
}

// Processors that a person has set stay, and others come back in the end.
func TestFollowLeavesNothingBehind(t *testing.T) {
	if used() <= 0 {
		t.Error("the system does not tell what this process used")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := runtime.GOMAXPROCS(0)
	t.Setenv("GOMAXPROCS", "1") // which says that it was set; the runtime read it long ago
	Follow(t.Context(), 1)      // returns
	if err := os.Unsetenv("GOMAXPROCS"); err != nil {
		t.Fatal(err)
	}
	Follow(ctx, 1)
	if n := runtime.GOMAXPROCS(0); n < min(before, runtime.NumCPU()) {
		t.Errorf("%d processors, %d before", n, before)
	}
}

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// stormWidth is how many clients run at the same time: enough to keep every
// core busy, few enough not to measure the scheduler.
const stormWidth = 16

// measureStorm opens sessions as fast as the machine can, each with a client
// process of its own.
func (b *bench) measureStorm(ctx context.Context) error {
	all := b.contenders()
	const rounds = 2
	rates := make([][]float64, len(all))
	for round := range rounds {
		for _, i := range turn(len(all), round) {
			rate, err := storm(ctx, all[i], b.sessions)
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			rates[i] = append(rates[i], rate)
		}
	}
	s := b.table.section(fmt.Sprintf("Storm: %d sessions opened as fast as possible, %d clients at a time, best of %d", b.sessions, stormWidth, rounds),
		"path", "sessions/s", "÷ ssh -J")
	for i, c := range all {
		s.row(c.name, fmt.Sprintf("%.1f", percentile(rates[i], 1)), spread(ratios(rates[i], rates[1])))
	}
	return nil
}

func storm(ctx context.Context, c contender, n int) (rate float64, err error) {
	var g errgroup.Group
	g.SetLimit(stormWidth)
	begun := time.Now()
	for range n {
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			_, err := output(c.run("true"))
			return err
		})
	}
	err = g.Wait()
	return float64(n) / time.Since(begun).Seconds(), err
}

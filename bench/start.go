package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// measureStart starts the one-process cluster, new and again, and looks at its
// memory once it has come to rest.
func (b *bench) measureStart(ctx context.Context) error {
	var cold, warm, early, idle, startCPU []float64
	rounds := 3
	if b.quick {
		rounds = 1
	}
	for round := range rounds {
		dir := filepath.Join(b.dir, fmt.Sprintf("one%d", round))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		c := newCluster(b.bin, dir, b.recording)
		err := func() error {
			defer c.stop()
			auth, err := freePort()
			if err != nil {
				return err
			}
			web, err := freePort()
			if err != nil {
				return err
			}
			if err := c.configure(process{name: "one", auth: true, proxy: true, ssh: true, authListen: auth, webListen: web}); err != nil {
				return err
			}
			took, err := c.start(ctx, "one")
			if err != nil {
				return err
			}
			cold = append(cold, millis(took))
			c.stop()
			if took, err = c.start(ctx, "one"); err != nil {
				return err
			}
			warm = append(warm, millis(took))
			pid := c.servers["one"].pid()
			used, err := cpu(pid)
			if err != nil {
				return err
			}
			startCPU = append(startCPU, millis(used.own))
			if early, err = appendResident(early, pid); err != nil {
				return err
			}
			if err := rest(ctx, restTime(b.quick)); err != nil {
				return err
			}
			idle, err = appendResident(idle, pid)
			return err
		}()
		if err != nil {
			return err
		}
	}
	s := b.table.section(fmt.Sprintf("One process with auth, proxy and SSH (%d of each)", rounds), "what", "median", "worst", "to reach")
	row := func(what, unit, goal string, v []float64) {
		s.row(what, fmt.Sprintf("%.0f %s", median(v), unit), fmt.Sprintf("%.0f %s", percentile(v, 1), unit), goal)
	}
	row("ready, first start (keys and authorities are made)", "ms", "", cold)
	row("ready, warm start", "ms", "≤ 1000 ms", warm)
	row("CPU of a warm start", "ms", "", startCPU)
	row("resident when ready", "MiB", "", early)
	row(fmt.Sprintf("resident after %s idle", restTime(b.quick)), "MiB", "≤ 80 MiB", idle)
	return nil
}

func restTime(quick bool) time.Duration {
	if quick {
		return 2 * time.Second
	}
	return 10 * time.Second
}

func appendResident(list []float64, pid int) ([]float64, error) {
	n, err := resident(pid)
	return append(list, mib(n)), err
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// rest waits, as what is measured is what time does.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

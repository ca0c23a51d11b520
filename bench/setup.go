package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// measureSetup runs "true" on the host, again and again, in turns.
func (b *bench) measureSetup(ctx context.Context) error {
	all := append(b.contenders(), b.classicSSH())
	tallies := make([]tally, len(all))
	for range 3 { // so that caches and warm connections are as they are in use
		for _, c := range all {
			if _, err := output(c.run("true")); err != nil {
				return err
			}
		}
	}
	for round := range b.runs {
		for _, i := range turn(len(all), round) {
			if err := tallies[i].once(all[i]); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	s := b.table.section(fmt.Sprintf("Session start: “… node true”, %d of each in turns", b.runs),
		"path", "p50 ms", "p95 ms", "÷ ssh -J, median of pairs (quartiles)", "CPU ms", "of it client", "servers", "their children")
	for i, c := range all {
		t := tallies[i]
		own, kids, _ := t.sum(c, time.Duration.String)
		s.row(c.name, fmt.Sprintf("%.1f", median(t.wall)), fmt.Sprintf("%.1f", percentile(t.wall, 0.95)), spread(ratios(t.wall, tallies[1].wall)),
			perRun(t.client+own+kids, b.runs), perRun(t.client, b.runs), perRun(own, b.runs), perRun(kids, b.runs))
	}
	ours := tallies[0].server
	s.note("CPU of ours by process, ms a session: proxy %s, agent %s and its children, the user's shell, %s more, auth %s. To reach: time ≤ 0.40 of ssh -J; proxy + agent ≤ 8 ms; tsh ≤ 30 ms.",
		perRun(ours[0].own, b.runs), perRun(ours[1].own, b.runs), perRun(ours[1].children, b.runs), perRun(ours[2].own, b.runs))
	return b.measureVersion(s)
}

// once runs one command. The servers' books are closed a moment later, as
// OpenSSH's children count when they have been waited for.
func (t *tally) once(c contender) error {
	if err := t.begin(c); err != nil {
		return err
	}
	cmd := c.run("true")
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	t.wall = append(t.wall, millis(time.Since(begun)))
	t.client += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return t.end(c)
}

// measureVersion times the start of tsh alone.
func (b *bench) measureVersion(s *section) error {
	var wall []float64
	var used time.Duration
	for range b.runs {
		cmd := exec.Command(b.bin+"/tsh", "version")
		begun := time.Now()
		if err := cmd.Run(); err != nil {
			return err
		}
		wall = append(wall, millis(time.Since(begun)))
		used += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	s.note("“tsh version”: p50 %.1f ms, p95 %.1f ms, CPU %s ms.", median(wall), percentile(wall, 0.95), perRun(used, b.runs))
	return nil
}

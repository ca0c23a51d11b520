package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"
)

// tickLine is a program that counts aloud, fifty times a second.
const (
	tick     = 20 * time.Millisecond
	tickLine = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"
)

// watchers are people who watch a program while the proxy restarts.
const watchers = 4

// measureRestart ends the proxy and starts it again, under sessions of tsh at
// terminals. The pause is the longest time for which a screen stood still. Each
// number must come, once and in order.
func (b *bench) measureRestart(ctx context.Context) error {
	var screens []*ticker
	for range watchers {
		t, err := atTerminal(b.contenders()[0].screen(tickLine))
		if err != nil {
			return err
		}
		defer t.close()
		screens = append(screens, &ticker{terminal: t})
	}
	s := b.table.section(fmt.Sprintf("Pause over a restart of the only proxy: the longest stillness of a screen that changes every %s, %d restarts under %d sessions", tick, b.restarts, watchers),
		"how it ended", "p50 ms", "p99 ms", "worst ms", "to reach")
	for _, how := range []struct {
		name   string
		signal syscall.Signal
	}{{"TERM, and started again", syscall.SIGTERM}, {"KILL, and started again", syscall.SIGKILL}} {
		var pauses []float64
		for range b.restarts {
			list, err := b.restartOnce(ctx, screens, how.signal)
			if err != nil {
				return fmt.Errorf("%s: %w", how.name, err)
			}
			pauses = append(pauses, list...)
		}
		s.row(how.name, fmt.Sprintf("%.0f", median(pauses)), fmt.Sprintf("%.0f", percentile(pauses, 0.99)), fmt.Sprintf("%.0f", percentile(pauses, 1)), "p99 ≤ 3000 ms")
	}
	return nil
}

// restartOnce restarts the proxy while all screens are watched, and returns the
// longest stillness of each, in ms.
func (b *bench) restartOnce(ctx context.Context, screens []*ticker, how syscall.Signal) ([]float64, error) {
	const settled = 100 // ticks; long enough that the agent's tunnel stands too
	again := make(chan struct{})
	type seen struct {
		pause time.Duration
		err   error
	}
	results := make(chan seen, len(screens))
	for _, t := range screens {
		if _, err := t.watch(nil, settled); err != nil {
			return nil, err
		}
		go func() {
			p, err := t.watch(again, settled)
			results <- seen{p, err}
		}()
	}
	err := b.cl.restart(ctx, "proxy", how)
	close(again)
	var pauses []float64
	for range screens {
		r := <-results
		err = errors.Join(err, r.err)
		pauses = append(pauses, millis(r.pause))
	}
	return pauses, err
}

// ticker reads a program that counts.
type ticker struct {
	*terminal
	next int
	rest []byte // of a line
}

// watch reads at least n numbers and goes on until the channel is closed and n
// more have come, and returns the longest time between two of them.
func (t *ticker) watch(until <-chan struct{}, n int) (longest time.Duration, err error) {
	last := time.Now()
	left := n
	for left > 0 {
		stop := t.within(time.Minute)
		b, err := t.read()
		stop()
		if err != nil {
			return 0, fmt.Errorf("the session ended at number %d: %w: %.200q", t.next, err, t.rest)
		}
		longest, last = max(longest, time.Since(last)), time.Now()
		came, err := t.count(b)
		if err != nil {
			return 0, err
		}
		select {
		case <-until:
			until = nil
			left = n
		default:
			if until == nil {
				left -= came
			}
		}
	}
	return longest, nil
}

// count takes whole lines off what has come. A line that is not a number is a
// word of tsh to the person.
func (t *ticker) count(b []byte) (numbers int, err error) {
	t.rest = append(t.rest, b...)
	for {
		line, rest, whole := bytes.Cut(t.rest, []byte("\n"))
		if !whole {
			return numbers, nil
		}
		t.rest = rest
		n, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		if err != nil {
			continue
		}
		if n != t.next {
			return numbers, fmt.Errorf("number %d comes where %d is due", n, t.next)
		}
		t.next, numbers = n+1, numbers+1
	}
}

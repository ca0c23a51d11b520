package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// sessionsPerLock are cut by each lock.
const sessionsPerLock = 10

var lockName = regexp.MustCompile(`tctl rm (lock/\S+)`)

// measureLock locks a user and waits for all their sessions to be cut. The time
// begins before tctl does, so its own start and log-in are in it.
func (b *bench) measureLock(ctx context.Context) error {
	var times []float64
	for range b.locks {
		cuts, err := b.lockOnce(ctx)
		if err != nil {
			return err
		}
		times = append(times, cuts...)
	}
	s := b.table.section(fmt.Sprintf("Lock to cut: “tctl lock --user”, %d times, with %d sessions each", b.locks, sessionsPerLock),
		"what", "p50 ms", "p99 ms", "worst ms", "to reach")
	s.row("from the start of tctl to the end of the session at its client", fmt.Sprintf("%.0f", median(times)), fmt.Sprintf("%.0f", percentile(times, 0.99)),
		fmt.Sprintf("%.0f", percentile(times, 1)), "p99 ≤ 1000 ms")
	return nil
}

// lockOnce opens sessions, locks their user, and lifts the lock when they are
// gone. It returns how long each of them lived, in ms.
func (b *bench) lockOnce(ctx context.Context) (times []float64, err error) {
	held := &holder{}
	defer held.release()
	c, err := b.client()
	if err != nil {
		return nil, err
	}
	for range sessionsPerLock {
		sh, err := held.open(ctx, c, b.login)
		if err != nil {
			return nil, err
		}
		held.work.Go(sh.ignore)
	}
	begun := time.Now()
	out, err := b.cl.tctl("lock", "--user="+userName, "--ttl=10m")
	if err != nil {
		return nil, err
	}
	name := lockName.FindStringSubmatch(out)
	if name == nil {
		return nil, fmt.Errorf("tctl lock does not say how to lift it: %s", out)
	}
	defer func() { err = errors.Join(err, b.unlock(ctx, name[1])) }()
	limit := time.After(30 * time.Second)
	for i, sh := range held.shells {
		select {
		case at := <-sh.ended:
			if at.Before(begun) {
				return nil, fmt.Errorf("session %d ended before the lock", i)
			}
			times = append(times, millis(at.Sub(begun)))
		case <-limit:
			return nil, fmt.Errorf("session %d of a locked user goes on", i)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return times, nil
}

// unlock lifts a lock and waits until the user is let in again.
func (b *bench) unlock(ctx context.Context, name string) error {
	if _, err := b.cl.tctl("rm", name); err != nil {
		return err
	}
	return b.cl.firstSession(ctx, b.login)
}

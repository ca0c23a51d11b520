// Package maxprocs keeps the number of processors on which Go runs goroutines
// near what the process uses.
//
// What proxies, agents and local proxies do is small: a message is read, some
// microseconds later it is written. With a processor to spare Go wakes a thread
// for each such piece, which finds it, or finds it taken, and sleeps again: on a
// relay that is a third of the processor time, more the more processors a machine
// has. So a process begins with all it may have, gives back what it does not use,
// and takes it again within a quarter of a second when there is work.
package maxprocs

import (
	"context"
	"os"
	"runtime"
	"time"
)

const (
	tick = 250 * time.Millisecond
	// calm is for how many ticks a process must have got by with fewer.
	calm = 4
	// Shares of the processors: of those it has, when more are wanted, and of one
	// fewer, when that is enough. With more of them the same work costs more, so
	// between the two there must be room.
	busy, idle = 0.9, 0.8
)

// Follow adjusts the processors of this process to its load until ctx ends; it
// blocks. They never become fewer than least. Where the environment sets
// GOMAXPROCS, or the system does not tell what a process uses, it does nothing. One
// per process.
func Follow(ctx context.Context, least int) {
	if _, set := os.LookupEnv("GOMAXPROCS"); set || used() < 0 {
		return
	}
	defer runtime.SetDefaultGOMAXPROCS()
	follow(ctx, process{least: least, used: used, most: most, set: func(n int) { runtime.GOMAXPROCS(n) }})
}

// most is what the machine and the control group allow now.
func most() int {
	runtime.SetDefaultGOMAXPROCS()
	return runtime.GOMAXPROCS(0)
}

// process is what is looked at and changed.
type process struct {
	least int
	used  func() time.Duration // of processors, since it began
	most  func() int
	set   func(int)
}

func follow(ctx context.Context, p process) {
	t := time.NewTicker(tick)
	defer t.Stop()
	l := load{processors: p.most(), least: p.least}
	used, at := p.used(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		u, now := p.used(), time.Now()
		n := l.wants((u - used).Seconds() / now.Sub(at).Seconds())
		used, at = u, now
		if n > l.processors {
			n = min(n, p.most())
		}
		if n != l.processors {
			p.set(n)
			l.processors = n
		}
	}
}

// load is what a process has, and for how long that has been too much.
type load struct {
	processors, least int
	spare             int // ticks in a row
}

// wants returns how many processors there should be after a tick in which so many
// were in use: at once twice as many where they do not suffice, and one fewer after
// some time without need.
func (l *load) wants(used float64) int {
	n := l.processors
	if used > busy*float64(n) {
		l.spare = 0
		return 2 * n
	}
	if n <= l.least || used > idle*float64(n-1) {
		l.spare = 0
		return n
	}
	if l.spare++; l.spare < calm {
		return n
	}
	l.spare = 0
	return max(l.least, n-1)
}

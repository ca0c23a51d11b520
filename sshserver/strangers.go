package sshserver

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"teleport/fault"
	"teleport/netx"
)

// What refused strangers may write to the audit log: a burst, then one event per
// interval, for each client network and for all of them together.
const (
	networkBurst    = 10
	networkInterval = 10 * time.Second
	totalBurst      = 200
	totalInterval   = 500 * time.Millisecond
	networksMost    = 4096 // remembered; all further ones share one budget
	sumEvery        = time.Minute
)

// Strangers meters the failures of peers who proved nothing: whoever reaches the
// port can make one with every connection, and the audit log keeps each for
// ever. Those above the budget are counted, and the count is told once a minute.
// One of it is shared by all servers of a process. Safe for concurrent use.
type Strangers struct {
	tell func(ctx context.Context, f Failure)
	more chan struct{} // something was counted; capacity 1

	mu       sync.Mutex
	networks map[netip.Prefix]time.Time // when each budget is full again
	total    time.Time
	untold   uint64
	last     netip.AddrPort // the latest of the untold
}

// NewStrangers returns a meter that hands the sums to tell. It starts nothing.
func NewStrangers(tell func(ctx context.Context, f Failure)) *Strangers {
	return &Strangers{tell: tell, more: make(chan struct{}, 1), networks: map[netip.Prefix]time.Time{}}
}

// Take spends one event of the client's network, or counts the failure and reports
// that it is not to be told.
func (s *Strangers) Take(client netip.AddrPort, now time.Time) bool {
	network := netx.ClientNetwork(client.Addr())
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.networks[network]; !known && len(s.networks) >= networksMost {
		s.forget(now)
		if len(s.networks) >= networksMost {
			network = netip.Prefix{}
		}
	}
	next, ok := spend(s.networks[network], now, networkInterval, networkBurst)
	if ok {
		var total time.Time
		if total, ok = spend(s.total, now, totalInterval, totalBurst); ok {
			s.networks[network], s.total = next, total
			return true
		}
	}
	s.untold++
	s.last = client
	select {
	case s.more <- struct{}{}:
	default:
	}
	return false
}

// spend takes one token of a bucket, which is kept as the moment it is full at.
func spend(fullAt, now time.Time, interval time.Duration, burst int) (time.Time, bool) {
	if fullAt.Before(now) {
		fullAt = now
	}
	fullAt = fullAt.Add(interval)
	return fullAt, fullAt.Sub(now) <= time.Duration(burst)*interval
}

// forget drops budgets that are full again.
func (s *Strangers) forget(now time.Time) {
	for k, fullAt := range s.networks {
		if !fullAt.After(now) {
			delete(s.networks, k)
		}
	}
}

// Serve tells the sums until ctx ends, and what is left then.
func (s *Strangers) Serve(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			s.sum(ctx)
			return nil
		case <-s.more:
		}
		t := time.NewTimer(sumEvery)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		s.sum(ctx)
	}
}

func (s *Strangers) sum(ctx context.Context) {
	s.mu.Lock()
	n, last := s.untold, s.last
	s.untold = 0
	s.mu.Unlock()
	if n == 0 {
		return
	}
	s.tell(context.WithoutCancel(ctx), Failure{ClientAddr: last, Count: n,
		Err: fault.New(fault.Limit, "%d connections were refused that are not told one by one; the last came from here", n)})
}

package login

import (
	"net/netip"
	"sync"
	"time"

	"teleport/netx"
)

// Attempts that one client address may make: a burst, then a steady rate. It
// stops guessing over many names, which no account's own count would see.
const (
	addrBurst  = 30
	addrRefill = 2 * time.Second // one attempt more per interval
	maxAddrs   = 16384
)

// addrBudget counts attempts per client network. Safe for concurrent use.
type addrBudget struct {
	mu   sync.Mutex
	seen map[netip.Prefix]bucket
}

// bucket is full at the moment that it names; each attempt moves that moment on.
type bucket struct {
	fullAt time.Time
	told   bool // that it was empty, since it was full last
}

func newAddrBudget() *addrBudget { return &addrBudget{seen: map[netip.Prefix]bucket{}} }

// take spends one attempt, or reports false. first is true for the first refusal
// since the budget was full: the one that the audit log is told of.
func (b *addrBudget) take(addr netip.Addr, now time.Time) (ok, first bool) {
	key := netx.ClientNetwork(addr) // callers whose address is unknown share one budget
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.seen) >= maxAddrs {
		b.forget(now)
	}
	e := b.seen[key]
	if e.fullAt.Before(now) {
		e = bucket{fullAt: now}
	}
	if next := e.fullAt.Add(addrRefill); next.Sub(now) <= addrBurst*addrRefill {
		e.fullAt, ok = next, true
	} else {
		first, e.told = !e.told, true
	}
	b.seen[key] = e
	return ok, first
}

// forget drops budgets that are full again; when none is, all of them: an
// attacker with that many networks is not held by this.
func (b *addrBudget) forget(now time.Time) {
	for k, e := range b.seen {
		if !e.fullAt.After(now) {
			delete(b.seen, k)
		}
	}
	if len(b.seen) >= maxAddrs {
		clear(b.seen)
	}
}

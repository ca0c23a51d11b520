package login

import (
	"net/netip"
	"sync"
	"time"
)

// Attempts that one client address may make: a burst, then a steady rate. It
// stops guessing over many names, which no account's own count would see.
const (
	addrBurst   = 30
	addrRefill  = 2 * time.Second // one attempt more per interval
	maxAddrs    = 16384
	ipv6NetBits = 64 // what one customer usually has
)

// addrBudget counts attempts per client network. Safe for concurrent use.
type addrBudget struct {
	mu   sync.Mutex
	seen map[netip.Prefix]bucket
}

// bucket is full at the moment that it names; each attempt moves that moment on.
type bucket struct{ fullAt time.Time }

func newAddrBudget() *addrBudget { return &addrBudget{seen: map[netip.Prefix]bucket{}} }

// take spends one attempt, or reports false.
func (b *addrBudget) take(addr netip.Addr, now time.Time) bool {
	addr = addr.Unmap()
	bits := addr.BitLen()
	if addr.Is6() {
		bits = ipv6NetBits
	}
	key, err := addr.Prefix(bits)
	if err != nil {
		key = netip.Prefix{} // callers whose address is unknown share one budget
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.seen) >= maxAddrs {
		b.forget(now)
	}
	e := b.seen[key]
	if e.fullAt.Before(now) {
		e.fullAt = now
	}
	next := e.fullAt.Add(addrRefill)
	if next.Sub(now) > addrBurst*addrRefill {
		return false
	}
	b.seen[key] = bucket{next}
	return true
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

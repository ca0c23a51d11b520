package authserver

import (
	"net/netip"
	"sync"

	"teleport/netx"
)

// share bounds how many of something there are at once, in all and from one
// client network. The zero value admits nothing. Safe for concurrent use.
type share struct {
	most, each int

	mu    sync.Mutex
	all   int
	count map[netip.Prefix]int
}

// take admits one, or reports false.
func (s *share) take(a netip.Addr) bool {
	n := netx.ClientNetwork(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.most || s.count[n] >= s.each {
		return false
	}
	if s.count == nil {
		s.count = map[netip.Prefix]int{}
	}
	s.all++
	s.count[n]++
	return true
}

// give ends what take admitted.
func (s *share) give(a netip.Addr) {
	n := netx.ClientNetwork(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.count[n]--; s.count[n] == 0 {
		delete(s.count, n)
	}
}

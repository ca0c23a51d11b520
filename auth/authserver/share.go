package authserver

import (
	"net/netip"
	"sync"
)

// share bounds how many of something there are at once, in all and from one
// client network. The zero value admits nothing. Safe for concurrent use.
type share struct {
	most, each int

	mu    sync.Mutex
	all   int
	count map[netip.Prefix]int
}

// network is whose connections are counted together: an address, or what one
// customer usually has of IPv6.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits) // the zero prefix for what is no address
	return p
}

// take admits one, or reports false.
func (s *share) take(a netip.Addr) bool {
	n := network(a)
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
	n := network(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.count[n]--; s.count[n] == 0 {
		delete(s.count, n)
	}
}

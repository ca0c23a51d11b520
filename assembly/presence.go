package assembly

import (
	"os"
	"strconv"
	"sync"

	"teleport/types"
)

// presence collects what the services of a process front, and announces the
// whole whenever a part changes.
type presence struct {
	mu       sync.Mutex
	parts    map[string][]types.Resource
	announce func(...types.Resource) error
}

// set replaces what one service fronts.
func (s *presence) set(service string, docs ...types.Resource) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parts == nil {
		s.parts = map[string][]types.Resource{}
	}
	s.parts[service] = docs
	var all []types.Resource
	for _, list := range s.parts {
		all = append(all, list...)
	}
	return s.announce(all...)
}

func pidLine() string { return strconv.Itoa(os.Getpid()) + "\n" }

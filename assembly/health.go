package assembly

import (
	"net/http"
	"sort"
	"strings"
	"sync"
)

// health is what /readyz tells: each part of the process reports whether it can
// do its work. The state follows the parts at once.
type health struct {
	mu      sync.Mutex
	parts   map[string]partState
	stopped bool
}

type partState int

const (
	partStarting partState = iota
	partOK
	partDegraded
)

func newHealth() *health { return &health{parts: map[string]partState{}} }

// expect names a part that must report before the process is ready.
func (h *health) expect(part string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.parts[part] = partStarting
}

// report says whether a part can do its work.
func (h *health) report(part string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case ok:
		h.parts[part] = partOK
	case h.parts[part] != partStarting:
		h.parts[part] = partDegraded
	}
}

// drain marks the process as leaving.
func (h *health) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
}

// state returns the text and the HTTP status of /readyz.
func (h *health) state() (string, int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var starting, degraded []string
	for name, s := range h.parts {
		switch s {
		case partStarting:
			starting = append(starting, name)
		case partDegraded:
			degraded = append(degraded, name)
		}
	}
	sort.Strings(starting)
	sort.Strings(degraded)
	switch {
	case h.stopped:
		return "draining", http.StatusServiceUnavailable
	case len(degraded) > 0:
		return "degraded: " + strings.Join(degraded, ", "), http.StatusServiceUnavailable
	case len(starting) > 0:
		return "starting: " + strings.Join(starting, ", "), http.StatusBadRequest
	}
	return "ok", http.StatusOK
}

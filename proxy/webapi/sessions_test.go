package webapi

import (
	"sync"
	"testing"
	"time"
)

// Requests come at the same time: none may write into what the others read. The
// race detector tells.
func TestHostsAreOnlyRead(t *testing.T) {
	hosts := append(make([]string, 0, 8), "alias.example.com")
	w := newWorld(t, func(o *Options) { o.Hosts = hosts })
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if !w.h.Ours("alias.example.com:3080") || !w.h.Ours(cluster) || w.h.Ours("evil.example.com") {
				t.Error("another answer")
			}
		})
	}
	wg.Wait()
	if spare := hosts[:2][1]; spare != "" {
		t.Errorf("%q was written into the caller's array", spare)
	}
}

func TestSessionsArePrunedAsTimeGoesOn(t *testing.T) {
	now := time.Now()
	s := newSessions(Options{})
	add := func(n byte, renew, ends, asOf time.Duration) {
		s.live[[32]byte{n}] = &webSession{renew: now.Add(renew), ends: now.Add(ends), asOf: now.Add(asOf)}
	}
	s.prune(now)
	add(1, -time.Minute, time.Hour, -time.Hour)    // its certificate is half spent
	add(2, time.Hour, -time.Minute, -time.Hour)    // it has ended
	add(3, time.Hour, time.Hour, -time.Hour)       // may come back, and costs no certificate then
	add(4, -time.Minute, -time.Minute, 0)          // in use at the moment
	s.prune(now.Add(pruneEvery - time.Nanosecond)) // not yet
	if len(s.live) != 4 {
		t.Errorf("too early: %d", len(s.live))
	}
	now = now.Add(pruneEvery)
	s.live[[32]byte{4}].asOf = now
	s.prune(now)
	if len(s.live) != 2 || s.live[[32]byte{3}] == nil || s.live[[32]byte{4}] == nil {
		t.Errorf("left: %v", s.live)
	}
}

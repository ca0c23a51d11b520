package recordings

import (
	"time"

	"golang.org/x/sys/unix"

	"teleport/fault"
)

// The disk of an auth service holds its backend and the audit log as well. While
// the storage of recordings is away, or one host floods, recordings stop before
// that disk is full: they wait where they were made, under the quota there.
const (
	reservePart = 20 // of the disk, this part stays free,
	reserveMost = 4 << 30
	sayAgain    = 10 * time.Minute
)

// room is fault.Unavailable while the disk has no room for recordings.
func (s *Service) room() error {
	free, total := s.d.Space()
	if free >= min(total/reservePart, reserveMost) {
		return nil
	}
	now := s.d.Now()
	s.mu.Lock()
	say := now.Sub(s.full) >= sayAgain
	if say {
		s.full = now
	}
	s.mu.Unlock()
	if say {
		s.d.Log.Error("the disk is nearly full; recordings wait on the hosts that make them", "dir", s.d.Dir, "free", free)
	}
	return fault.New(fault.Unavailable, "the auth service's disk is nearly full").WithHint("free some space, or look why recordings do not reach their storage")
}

func space(dir string) (free, total uint64) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 1, 1 // the write itself will tell
	}
	return st.Bavail * uint64(st.Bsize), st.Blocks * uint64(st.Bsize)
}

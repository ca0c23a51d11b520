package recordings

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// manyFiles is from how many files on one sync of the file system is cheaper
// than one of each.
const manyFiles = 4

// syncer makes written files durable in rounds: while one runs, others gather
// for the next, so that a thousand recordings cost no more syncs than the disk
// can do.
type syncer struct {
	dir     *os.File
	running sync.Mutex // one round at a time

	mu   sync.Mutex
	next *round
}

// round is those who wait for one sync.
type round struct {
	files []*os.File
	names bool // of new ones
	done  chan struct{}
	err   error
}

// sync returns when what was written to f before is durable, and its name where
// that is new.
func (s *syncer) sync(f *os.File, created bool) error {
	s.mu.Lock()
	first := s.next == nil
	if first {
		s.next = &round{done: make(chan struct{})}
	}
	r := s.next
	r.files = append(r.files, f)
	r.names = r.names || created
	s.mu.Unlock()
	if !first {
		<-r.done
		return r.err
	}
	s.running.Lock()
	s.mu.Lock()
	s.next = nil
	s.mu.Unlock()
	r.err = s.run(r)
	s.running.Unlock()
	close(r.done)
	return r.err
}

func (s *syncer) run(r *round) error {
	if len(r.files) >= manyFiles {
		return os.NewSyscallError("syncfs", unix.Syncfs(int(s.dir.Fd())))
	}
	for _, f := range r.files {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if r.names {
		return s.dir.Sync()
	}
	return nil
}

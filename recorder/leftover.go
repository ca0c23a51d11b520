package recorder

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"teleport/recfmt"
)

// rescan looks for recordings of ended processes, at once and every so often.
func (s *Spool) rescan(ctx context.Context) {
	t := time.NewTicker(s.o.Rescan)
	defer t.Stop()
	for {
		s.adopt()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// adopt takes the directories of ended processes. One that still runs, draining
// beside us, holds its lock and ships for itself.
func (s *Spool) adopt() {
	entries, err := os.ReadDir(s.o.Dir)
	if err != nil {
		s.o.Log.Warn("the spool of recordings cannot be read", "error", err)
		return
	}
	for _, e := range entries {
		g, err := strconv.ParseUint(e.Name(), 10, 64)
		if err != nil || !e.IsDir() || g >= s.o.Generation {
			continue // a higher one is our successor
		}
		dir := filepath.Join(s.o.Dir, e.Name())
		s.mu.Lock()
		_, mine := s.adopted[dir]
		s.mu.Unlock()
		if mine {
			continue
		}
		lock, free, err := lockDir(dir)
		if err != nil {
			s.o.Log.Warn("recordings of an ended process cannot be taken over", "dir", e.Name(), "error", err)
		}
		if err == nil && free {
			s.takeOver(dir, lock)
		}
	}
}

// takeOver ships what a directory holds.
func (s *Spool) takeOver(dir string, lock *os.File) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.o.Log.Warn("recordings of an ended process cannot be read", "error", err)
		lock.Close()
		return
	}
	s.mu.Lock()
	s.adopted[dir] = lock
	s.mu.Unlock()
	s.pick(dir, dir, entries)
	s.leave(dir)
}

// pick files the recordings that wait in a directory; adopted is its name when it
// is to be removed after them.
func (s *Spool) pick(dir, adopted string, entries []os.DirEntry) {
	var found []*upload
	for _, e := range entries {
		id, ok := isChunks(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		u := &upload{spool: s, sessionID: id, dir: adopted, chunks: filepath.Join(dir, e.Name()), journal: filepath.Join(dir, id+journalSuffix),
			final: true, why: recfmt.EndAbandoned, moved: make(chan struct{})}
		u.end, u.extra = fileSize(u.chunks), fileSize(u.journal)
		found = append(found, u)
	}
	s.mu.Lock()
	for _, u := range found {
		s.uploads[u] = struct{}{}
	}
	s.mu.Unlock()
	for _, u := range found {
		s.push(u, true)
	}
}

// leave removes an adopted directory that nothing waits in any more.
func (s *Spool) leave(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lock := s.adopted[dir]
	if lock == nil {
		return
	}
	for u := range s.uploads {
		if u.dir == dir {
			return
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		s.o.Log.Warn("an empty spool directory stays", "error", err)
	}
	delete(s.adopted, dir)
	lock.Close()
}

// letGo gives adopted directories back, for the next process.
func (s *Spool) letGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for dir, lock := range s.adopted {
		lock.Close()
		delete(s.adopted, dir)
	}
	for u := range s.uploads {
		if u.retry != nil {
			u.retry.Stop()
		}
	}
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

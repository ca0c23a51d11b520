package diskblob

import "sync"

// mostFolders bounds how many names are remembered: all folders below the root, and
// those of the objects of the last minutes.
const mostFolders = 2048

// folders are those whose names are durable, as this process saw to it: an object that
// joins another in its folder needs no sync of what is above. The zero value is
// empty. Safe for concurrent use.
type folders struct {
	mu    sync.Mutex
	known map[string]bool
	order []string // of known, the oldest first
}

func (f *folders) has(dir string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known[dir]
}

func (f *folders) add(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known[dir] {
		return
	}
	if f.known == nil {
		f.known = make(map[string]bool)
	}
	f.known[dir] = true
	if f.order = append(f.order, dir); len(f.order) > mostFolders {
		delete(f.known, f.order[0])
		f.order = append(f.order[:0], f.order[1:]...)
	}
}

func (f *folders) forget(dir string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.known[dir] {
		return
	}
	delete(f.known, dir)
	for i, d := range f.order {
		if d == dir {
			f.order = append(f.order[:i], f.order[i+1:]...)
			break
		}
	}
}

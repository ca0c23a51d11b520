package sshaccess

import (
	"sync"
	"time"

	"teleport/sshaccess/pty"
)

// resizeEvery is the least time between two resize events of a session: dragging
// a window's corner makes hundreds, and a client can make any number.
const resizeEvery = 100 * time.Millisecond

// resizes tells of a terminal's sizes, of several in quick succession the last.
// The zero value needs tell. Safe for concurrent use.
type resizes struct {
	tell func(pty.Size)

	mu     sync.Mutex
	size   pty.Size
	untold bool
	last   time.Time   // when one was told
	later  *time.Timer // tells what came since; nil when nothing did
	closed bool
}

func (r *resizes) note(size pty.Size) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.size, r.untold = size, true
	if r.later != nil {
		return
	}
	if wait := resizeEvery - time.Since(r.last); wait > 0 {
		r.later = time.AfterFunc(wait, r.fire)
		return
	}
	r.flush()
}

func (r *resizes) fire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.later = nil
	r.flush()
}

// close tells the last size, if it is untold, and takes no more.
func (r *resizes) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.later != nil {
		r.later.Stop()
	}
	r.flush()
}

func (r *resizes) flush() {
	if r.untold {
		r.untold = false
		r.tell(r.size)
		r.last = time.Now()
	}
}

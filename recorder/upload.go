package recorder

import (
	"os"
	"sync"
	"time"

	"teleport/fault"
	"teleport/recfmt"
)

// upload is a recording on its way to the auth service, live or left behind.
type upload struct {
	spool     *Spool
	sessionID string
	hostname  string
	chunks    string // paths
	journal   string
	dir       string // of the generation, when it was adopted

	mu      sync.Mutex
	end     int64 // of the chunks on disk
	extra   int64 // size of the journal
	final   bool  // nothing follows
	whole   bool  // the end is in the file
	why     recfmt.Reason
	acked   int64
	known   bool // acked is what auth said
	behind  bool // the auth service did not keep up with a synchronous recording
	gone    bool // it will never be shipped
	moved   chan struct{}
	err     error // of the last attempt
	src     *source
	strikes int // refusals without progress

	// Owned by the spool, under its lock.
	queued, busy, again bool
	failures            int
	retry               *time.Timer
}

// firstAfter is how long a recording that has begun waits for more before its first
// attempt: one that ends before is shipped as a whole, in one call.
const firstAfter = 500 * time.Millisecond

// live files a recording that has begun. Nobody else sends it, so auth holds nothing
// of it. An urgent one is waited for.
func (s *Spool) live(i Info, chunks string, end int64, urgent bool) *upload {
	u := &upload{spool: s, sessionID: i.SessionID, hostname: i.Hostname, chunks: chunks, end: end, known: true, moved: make(chan struct{})}
	if urgent {
		s.file(u)
		return u
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uploads[u] = struct{}{}
	u.retry = time.AfterFunc(firstAfter, func() { s.push(u, true) })
	return u
}

// file adds an upload and asks for its first attempt.
func (s *Spool) file(u *upload) {
	s.mu.Lock()
	s.uploads[u] = struct{}{}
	s.mu.Unlock()
	s.push(u, true)
}

// grow says that the file has more chunks. An urgent one does not wait for the
// pause after a failure to pass.
func (u *upload) grow(end int64, urgent bool) {
	u.mu.Lock()
	u.end = end
	u.mu.Unlock()
	u.spool.push(u, urgent)
}

// finish says that nothing follows. whole is false where the end is not in the
// file, and has to be made from the journal.
func (u *upload) finish(journal string, size int64, why recfmt.Reason, whole bool) {
	u.mu.Lock()
	u.journal, u.extra, u.why, u.whole, u.final = journal, size, why, whole, true
	u.mu.Unlock()
	u.spool.push(u, true)
}

// await waits until the auth service has acknowledged all up to end, or will not
// in time. A lenient wait is given up at once while auth is known to be behind.
func (u *upload) await(end int64, most time.Duration, lenient bool) error {
	t := time.NewTimer(most)
	defer t.Stop()
	for {
		u.mu.Lock()
		acked, gone, moved, err := u.acked, u.gone, u.moved, u.err
		if acked >= end && u.known {
			u.behind = false
			u.mu.Unlock()
			return nil
		}
		behind := lenient && u.behind
		u.mu.Unlock()
		if gone || behind {
			return fault.Wrap(err, fault.Unavailable, "the auth service did not take the recording")
		}
		select {
		case <-moved:
		case <-t.C:
			u.mu.Lock()
			if first := !u.behind; first {
				u.spool.o.Log.Warn("the auth service does not acknowledge what a session shows", "session", u.sessionID, "error", u.err)
			}
			u.behind = true
			u.mu.Unlock()
			return fault.New(fault.Timeout, "the auth service did not acknowledge in time")
		}
	}
}

// ack notes what auth holds and wakes who waits for it.
func (u *upload) ack(held int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if held > u.acked {
		u.strikes = 0
	}
	u.acked, u.known, u.err = held, true, nil
	close(u.moved)
	u.moved = make(chan struct{})
}

// fail notes why an attempt ended.
func (u *upload) fail(err error, gone bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.err, u.known = err, false
	if gone {
		u.gone = true
		close(u.moved)
		u.moved = make(chan struct{})
	}
}

// state returns what there is to ship now.
func (u *upload) state() (s *source, acked int64, known, final bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.final {
		return &source{path: u.chunks, good: u.end}, u.acked, u.known, false, nil
	}
	if u.src == nil {
		if u.whole {
			u.src = &source{path: u.chunks, good: u.end}
		} else if u.src, err = recoverSource(u.sessionID, u.chunks, u.journal, u.end, u.why); err != nil {
			return nil, 0, false, false, err
		}
		if u.src == nil {
			u.src = &source{path: u.chunks} // it had not begun
		}
	}
	return u.src, u.acked, u.known, true, nil
}

// size is what the files take of the quota.
func (u *upload) size() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.end + u.extra
}

// discard removes files that are no longer needed.
func (s *Spool) discard(paths ...string) {
	for _, p := range paths {
		if err := os.Remove(p); err != nil && !os.IsNotExist(err) {
			s.o.Log.Warn("a recording's file stays in the spool", "error", err)
		}
	}
}

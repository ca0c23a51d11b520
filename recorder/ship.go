package recorder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"teleport/fault"
	"teleport/types/event"
)

const (
	// workers ship so many recordings at a time.
	workers = 4
	// pieceSize is the most that one call sends.
	pieceSize = 512 << 10
	// strikesMost is how often auth may answer that the bytes do not continue what
	// it holds, without anything getting on.
	strikesMost = 4
)

// Serve ships recordings until ctx ends, those of ended processes included. What
// is not shipped then waits on disk for the next process. It returns nil.
func (s *Spool) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.stop)
	defer stop()
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for u := s.next(); u != nil; u = s.next() {
				s.done(u, s.ship(ctx, u))
			}
		})
	}
	wg.Go(func() { s.rescan(ctx) })
	wg.Wait()
	s.letGo()
	return nil
}

func (s *Spool) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.wake.Broadcast()
}

// push asks for an attempt to ship u: now, or when the pause after its last
// failure is over.
func (s *Spool) push(u *upload, now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.uploads[u]; !known {
		return // a timer that ran out as its files went
	}
	switch {
	case u.retry != nil && !now, u.queued:
		return
	case u.busy:
		u.again = true
		return
	}
	if u.retry != nil {
		u.retry.Stop()
		u.retry = nil
	}
	u.queued = true
	s.queue = append(s.queue, u)
	s.wake.Signal()
}

// next waits for something to ship; nil when the spool stops.
func (s *Spool) next() *upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.stopped && len(s.queue) == 0 {
		s.wake.Wait()
	}
	if s.stopped {
		return nil
	}
	u := s.queue[0]
	s.queue[0] = nil
	s.queue = s.queue[1:]
	u.queued, u.busy = false, true
	return u
}

// done takes the outcome of an attempt.
func (s *Spool) done(u *upload, err error) {
	if err == nil {
		s.mu.Lock()
		u.busy, u.failures = false, 0
		again := u.again
		u.again = false
		s.mu.Unlock()
		if again {
			s.push(u, true)
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	u.busy, u.again = false, false
	u.failures++
	if u.failures == 1 && !s.stopped {
		s.o.Log.Warn("a recording cannot be shipped, it waits on disk", "session", u.sessionID, "error", err)
	}
	if !s.stopped {
		u.retry = time.AfterFunc(s.o.Backoff.Delay(u.failures), func() { s.push(u, true) })
	}
}

// ship sends what there is of a recording, and completes one that has ended.
func (s *Spool) ship(ctx context.Context, u *upload) error {
	src, acked, known, final, err := u.state()
	if err != nil {
		u.fail(err, false)
		return err
	}
	if final && src.size() == 0 {
		if src.damaged != "" {
			return s.setAside(u, src.damaged, src, false)
		}
		s.forget(u)
		return nil
	}
	stored := false
	if !known {
		if acked, stored, err = s.held(ctx, u); err != nil {
			u.fail(err, false)
			return err
		}
		if stored && acked != src.size() && final {
			return s.setAside(u, "the auth service has stored another recording of the session", src, true)
		}
	}
	if !stored {
		if err := s.send(ctx, u, src, min(acked, src.size()), final); err != nil {
			return s.refused(u, src, err)
		}
	}
	switch {
	case !final:
		return nil
	case src.damaged != "":
		return s.setAside(u, src.damaged, src, true)
	}
	s.discard(u.chunks, u.journal)
	s.forget(u)
	return nil
}

// send brings auth from what it holds to the end of the source, and has it stored
// where that is final.
func (s *Spool) send(ctx context.Context, u *upload, src *source, at int64, final bool) error {
	u.ack(at)
	buf := make([]byte, min(pieceSize, src.size()-at))
	for at < src.size() {
		n, err := src.read(buf[:min(int64(len(buf)), src.size()-at)], at)
		if err != nil {
			return fault.Wrap(err, fault.Unavailable, "the spool of recordings cannot be read")
		}
		held, stored, err := s.sendPiece(ctx, u, at, buf[:n], final && at+int64(n) == src.size())
		if err != nil {
			return err
		}
		if stored {
			u.ack(src.size())
			return nil
		}
		if int64(held) <= at {
			return fault.New(fault.Unavailable, "the auth service holds %d bytes after %d were sent", held, at+int64(n))
		}
		at = min(int64(held), src.size())
		u.ack(at)
	}
	if !final {
		return nil
	}
	call, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	return s.o.Upload.CompleteRecording(call, u.sessionID, uint64(src.size()))
}

// sendPiece sends bytes of a recording, the last of which auth stores at once.
func (s *Spool) sendPiece(ctx context.Context, u *upload, at int64, b []byte, last bool) (held uint64, stored bool, err error) {
	call, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	if last {
		return s.o.Upload.FinishRecording(call, u.sessionID, uint64(at), b)
	}
	held, err = s.o.Upload.AppendRecording(call, u.sessionID, uint64(at), b)
	return held, false, err
}

func (s *Spool) held(ctx context.Context, u *upload) (int64, bool, error) {
	call, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	held, stored, err := s.o.Upload.RecordingHeld(call, u.sessionID)
	if errors.Is(err, fault.NotFound) {
		return 0, false, nil
	}
	return int64(held), stored, err
}

// refused tells what passes from what never will.
func (s *Spool) refused(u *upload, src *source, err error) error {
	kind := fault.KindOf(err)
	u.mu.Lock()
	u.strikes++
	strikes, final := u.strikes, u.final
	u.mu.Unlock()
	never := kind == fault.Invalid || kind == fault.Untrusted || kind == fault.Conflict && strikes >= strikesMost
	u.fail(err, never && !final)
	if !never || !final {
		return err
	}
	return s.setAside(u, fault.Message(err), src, false)
}

// forget drops an upload whose files are gone.
func (s *Spool) forget(u *upload) {
	s.used.Add(-u.size())
	s.mu.Lock()
	delete(s.uploads, u)
	if u.retry != nil {
		u.retry.Stop()
	}
	s.mu.Unlock()
	s.leave(u.dir)
}

// setAside keeps the files of a recording for people to look at, and tells the
// audit log. The others go on.
func (s *Spool) setAside(u *upload, why string, src *source, stored bool) error {
	err := s.emit(&event.RecordingBroken{Session: event.Session{SessionID: u.sessionID},
		Server: event.Server{ServerID: s.o.HostID, ServerHostname: u.hostname}, File: filepath.Base(u.chunks), Reason: why,
		Size: u.size(), Good: src.good, Stored: stored}, event.TypeRecordingBroken, event.CodeRecordingBroken)
	if err != nil {
		return err // it is tried again, as it must be known
	}
	s.o.Log.Error("a recording is set aside", "session", u.sessionID, "reason", why)
	for _, path := range []string{u.chunks, u.journal} {
		to := filepath.Join(s.o.Dir, filepath.Base(path)+".broken")
		if err := os.Rename(path, to); err != nil && !errors.Is(err, os.ErrNotExist) {
			return diskFault(err, "a broken recording cannot be set aside")
		}
	}
	size := u.size()
	s.used.Add(size) // the files stay
	s.forget(u)
	return nil
}

// Flush waits until every recording that has ended is stored, or ctx ends. Serve
// must be running.
func (s *Spool) Flush(ctx context.Context) error {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		n := s.waiting()
		if n == 0 {
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fault.New(fault.Timeout, "%d recordings are not stored yet", n)
		}
	}
}

// waiting counts recordings that have ended and are not stored.
func (s *Spool) waiting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for u := range s.uploads {
		u.mu.Lock()
		if u.final {
			n++
		}
		u.mu.Unlock()
	}
	return n
}

// isChunks reports whether a name is that of a recording, and of which session.
func isChunks(name string) (sessionID string, ok bool) {
	return strings.CutSuffix(name, chunksSuffix)
}

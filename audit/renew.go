package audit

import (
	"context"
	"errors"
	"maps"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types/event"
)

// renew ends the writer's chain where it stands and begins a new generation in
// the same process: what auth refuses for good must not hold up what comes after
// it. The old spool stays on disk as one of an ended process would. It returns
// the generation that was left.
func (w *Writer) renew() (left uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.writing {
		w.idle.Wait()
	}
	if w.closed {
		return 0, fault.New(fault.Unavailable, "the audit log of this process is closed")
	}
	g, err := claimGeneration(w.o.Dir, 0)
	if err != nil {
		return 0, err
	}
	dir := generationDir(w.o.Dir, g)
	lock, free, err := lockDir(dir)
	if err != nil || !free {
		return 0, diskFault(errors.Join(err, errors.New("lock not taken")), "the audit spool cannot be locked", dir)
	}
	if w.file != nil {
		err = w.file.Close() // every event in it was confirmed already
		w.file = nil
	}
	if err = errors.Join(err, w.lock.Close()); err != nil {
		w.o.Log.Warn("audit spool: closing the old generation", "dir", w.dir, "err", err)
	}
	left = w.id.Generation
	w.id.Generation = g
	w.dir, w.lock = dir, lock
	w.sequence, w.head, w.acked, w.bytes, w.segs = 0, chain.Genesis(w.id), 0, 0, nil
	w.committed, w.recent = position{head: w.head}, recent{}
	w.sessions = maps.Clone(w.sessions) // they live on, and the new segments name them
	w.notify()
	return left, nil
}

// renewLive begins a new generation after auth has refused the present one. Its
// first event tells of it and goes alone: only when auth takes that one, so that
// the refusal was of the batch and not of this process, is the old spool looked
// at again, as a leftover, and set aside if it is still refused. It reports false
// when the new generation has itself not been taken yet.
func (s *Shipper) renewLive(ctx context.Context, b chain.Batch, cause error) (bool, error) {
	if s.w.state().acked == 0 && len(s.left) > 0 {
		return false, nil
	}
	left, err := s.w.renew()
	if err != nil {
		return false, err
	}
	s.left[left] = true
	s.live = spool{dir: s.w.dir, id: s.w.ID(), head: chain.Genesis(s.w.ID())}
	s.o.Log.Error("the auth service refuses this process's audit events; a new spool takes over", "generation", left, "err", cause)
	return true, s.w.Emit(ctx, refusedEvent(b, cause))
}

func refusedEvent(b chain.Batch, cause error) *event.AuditRefused {
	return &event.AuditRefused{
		AuditWriter: event.AuditWriter{Writer: b.UUID, Generation: b.Generation},
		Status:      event.Status{Error: fault.Message(cause)}, Sequence: b.First(),
	}
}

package audit

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/lifecycle"
	"teleport/types/event"
)

// Ship sends a batch to the auth service and returns the last sequence of the
// batch's writer that is durable there. It does not keep the batch, whose memory is used again. Sending a batch again is safe. Faults
// of kind Conflict, Denied, Invalid and Untrusted say that auth will never take
// it; all others are tried again.
type Ship func(ctx context.Context, b chain.Batch) (acknowledged uint64, err error)

// ShipperOptions tune a shipper; zero values are the defaults.
type ShipperOptions struct {
	Backoff lifecycle.Backoff // after failures; default 1 s doubling to 1 min
	Timeout time.Duration     // of one Ship (30 s)
	Drain   time.Duration     // for the last events when Serve ends (5 s)
	Rescan  time.Duration     // how often spools of ended processes are looked for (1 min)
	// Pace is the least time from one batch to the next that is not full (100 ms):
	// the first event after a rest leaves at once, and a flood in few batches.
	Pace time.Duration
	Log  *slog.Logger
}

// Shipper sends the spool of a writer, and those that earlier processes of
// this host left behind, and deletes what auth has acknowledged.
type Shipper struct {
	w    *Writer
	ship Ship
	o    ShipperOptions
	live spool
	left map[uint64]bool // generations that this process has left; their sessions live on
	next time.Time       // when the next batch may leave

	mu       sync.Mutex
	failures int
	lastErr  error
}

// NewShipper makes a shipper for a writer's spool directory.
func NewShipper(w *Writer, ship Ship, o ShipperOptions) *Shipper {
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Drain <= 0 {
		o.Drain = 5 * time.Second
	}
	if o.Rescan <= 0 {
		o.Rescan = time.Minute
	}
	if o.Pace <= 0 {
		o.Pace = 100 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Shipper{w: w, ship: ship, o: o, left: make(map[uint64]bool),
		live: spool{dir: w.dir, id: w.id, head: chain.Genesis(w.id)}}
}

// Serve ships until ctx ends, then tries once more for what is left, at most
// for the drain time. What could not be sent stays on disk for the next
// process. It returns nil.
func (s *Shipper) Serve(ctx context.Context) error {
	s.loop(ctx)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.o.Drain)
	defer cancel()
	if err := s.shipLive(last); err != nil {
		s.o.Log.Warn("audit events stay in the spool for the next start", "err", err)
	}
	return nil
}

func (s *Shipper) loop(ctx context.Context) {
	var rescan time.Time
	for ctx.Err() == nil {
		at := s.w.state()
		err := s.shipLive(ctx)
		if err == nil && !time.Now().Before(rescan) {
			err = s.shipLeftovers(ctx)
			rescan = time.Now().Add(s.o.Rescan)
		}
		if n := s.note(err); n > 0 {
			rescan = time.Time{}
			_ = lifecycle.Sleep(ctx, s.o.Backoff.Delay(n)) // ctx is looked at above
			continue
		}
		if !at.drained() {
			continue // what came meanwhile
		}
		t := time.NewTimer(time.Until(rescan))
		select {
		case <-ctx.Done():
		case <-at.changed:
		case <-t.C:
		}
		t.Stop()
	}
}

// note counts failures in a row and logs the first of them.
func (s *Shipper) note(err error) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastErr = err
	if err == nil {
		if s.failures > 0 {
			s.o.Log.Info("audit events are shipped again")
		}
		s.failures = 0
		return 0
	}
	s.failures++
	if s.failures == 1 {
		s.o.Log.Warn("audit events cannot be shipped, they wait on disk", "err", err)
	}
	return s.failures
}

// Err returns why shipping does not work at present, nil when it does.
func (s *Shipper) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastErr
}

// Flush waits until auth has all that this generation of the writer emitted
// before the call. It is fault.Conflict when auth refused some of it meanwhile.
// Serve must be running.
func (s *Shipper) Flush(ctx context.Context) error {
	goal := s.w.state()
	for {
		at := s.w.state()
		if at.generation != goal.generation {
			return fault.New(fault.Conflict, "the auth service refused audit events of this process, which were set aside")
		}
		if at.acked >= goal.committed {
			return nil
		}
		select {
		case <-at.changed:
		case <-ctx.Done():
			return fault.Wrap(errors.Join(context.Cause(ctx), s.Err()), fault.KindOf(ctx.Err()), "the auth service has not taken all audit events yet")
		}
	}
}

// shipLive sends what this process's writer has committed.
func (s *Shipper) shipLive(ctx context.Context) error {
	for {
		if s.w.state().drained() {
			return nil
		}
		if lifecycle.Sleep(ctx, time.Until(s.next)) != nil {
			return nil // the end of ctx: they stay on disk, or leave with the drain
		}
		at := s.w.state()
		committed := at.committed
		if at.acked == 0 {
			committed = min(committed, 1) // the first of a generation shows whether auth takes any
		}
		if len(s.live.ahead) == 0 {
			s.w.lend(&s.live)
		}
		before := s.live
		b, err := s.live.batch(committed)
		if err != nil || len(b.Records) == 0 {
			return err
		}
		if len(b.Records) < batchRecords {
			s.next = time.Now().Add(s.o.Pace)
		}
		if err := s.send(ctx, b); err != nil {
			s.live = before
			// Denied may be about this host (a lock), and pass: then nothing is
			// set aside, and everything waits.
			if refused(err) && !errors.Is(err, fault.Denied) {
				if renewed, rerr := s.renewLive(ctx, b, err); renewed || rerr != nil {
					return errors.Join(err, rerr)
				}
			}
			return err
		}
		if err := s.w.release(b.Last()); err != nil {
			return err
		}
	}
}

// send ships a batch until all of it is acknowledged.
func (s *Shipper) send(ctx context.Context, b chain.Batch) error {
	last := b.Last()
	for len(b.Records) > 0 {
		call, cancel := context.WithTimeout(ctx, s.o.Timeout)
		ack, err := s.ship(call, b)
		cancel()
		if err != nil {
			return err
		}
		if ack < b.First() {
			return fault.New(fault.Unavailable, "the auth service acknowledged event %d of %d to %d", ack, b.First(), last)
		}
		b = b.After(ack)
	}
	return nil
}

// shipLeftovers sends the spools of processes that have ended. One that still
// runs (draining after a HUP) holds its lock and ships for itself.
func (s *Shipper) shipLeftovers(ctx context.Context) error {
	entries, err := os.ReadDir(s.w.o.Dir)
	if err != nil {
		return diskFault(err, "the audit spool cannot be read", s.w.o.Dir)
	}
	for _, e := range entries {
		g, err := strconv.ParseUint(e.Name(), 10, 64)
		if err != nil || !e.IsDir() || g >= s.w.id.Generation {
			continue // a higher one is our successor, just starting
		}
		if err := s.leftover(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

func (s *Shipper) leftover(ctx context.Context, g uint64) (err error) {
	dir := generationDir(s.w.o.Dir, g)
	lock, free, err := lockDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // its own writer removed it
	}
	if err != nil || !free {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	sp := spool{dir: dir}
	open := make(openSessions)
	for first := true; ; first = false {
		b, err := sp.batch(noLimit)
		if first && !s.left[g] {
			maps.Copy(open, sp.open)
		}
		switch {
		case errors.Is(err, errTorn), errors.Is(err, errDamaged):
			return s.endOfSpool(ctx, &sp, open, errors.Is(err, errDamaged))
		case err != nil:
			return diskFault(err, "the audit spool cannot be read", dir)
		case len(b.Records) == 0:
			return s.removeSpool(ctx, dir, open)
		}
		if !s.left[g] {
			open.read(s.w.codec, b)
		}
		err = s.send(ctx, b)
		if refused(err) {
			return s.setAside(ctx, b, dir, err)
		}
		if err != nil {
			return err
		}
	}
}

// refused reports whether auth will never take it.
func refused(err error) bool {
	switch fault.KindOf(err) {
	case fault.Conflict, fault.Denied, fault.Invalid, fault.Untrusted:
		return true
	}
	return false
}

// endOfSpool closes a spool whose last bytes are not records. A torn tail was
// never confirmed to its emitter; a damaged one is kept for people to look at.
func (s *Shipper) endOfSpool(ctx context.Context, sp *spool, open openSessions, damaged bool) error {
	g, _ := strconv.ParseUint(filepath.Base(sp.dir), 10, 64) // that is how it was found
	err := s.w.Emit(ctx, &event.AuditRecovered{
		AuditWriter:  event.AuditWriter{Writer: s.w.id.UUID, Generation: g},
		LastSequence: sp.last, DroppedBytes: sp.dropped(), Damaged: damaged,
	})
	if err != nil {
		return err
	}
	if !damaged {
		return s.removeSpool(ctx, sp.dir, open)
	}
	if err := s.endSessions(ctx, open); err != nil {
		return err
	}
	s.o.Log.Error("an audit spool is damaged and kept", "dir", sp.dir+".damaged", "last_sequence", sp.last)
	return diskFault(os.Rename(sp.dir, sp.dir+".damaged"), "the damaged audit spool cannot be put aside", sp.dir)
}

func (s *Shipper) setAside(ctx context.Context, b chain.Batch, dir string, cause error) error {
	s.o.Log.Error("the auth service refuses an audit spool; it is kept", "dir", dir+".refused", "err", cause)
	err := s.w.Emit(ctx, refusedEvent(b, cause))
	if err != nil {
		return err
	}
	return diskFault(os.Rename(dir, dir+".refused"), "the refused audit spool cannot be put aside", filepath.Dir(dir))
}

// removeSpool deletes a spool that auth has whole, and ends the sessions that
// its process did not live to end.
func (s *Shipper) removeSpool(ctx context.Context, dir string, open openSessions) error {
	if err := s.endSessions(ctx, open); err != nil {
		return err
	}
	return diskFault(os.RemoveAll(dir), "the shipped audit spool cannot be removed", dir)
}

func (s *Shipper) endSessions(ctx context.Context, open openSessions) error {
	for _, end := range open {
		end.Meta = event.Meta{}
		if err := s.w.Emit(ctx, &end); err != nil {
			return err
		}
	}
	return nil
}

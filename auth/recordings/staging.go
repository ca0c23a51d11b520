package recordings

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"teleport/fault"
	"teleport/recfmt"
)

// entry is a recording under way: a staged file, and what is known of it.
type entry struct {
	s  *Service
	id string

	mu       sync.Mutex
	loaded   bool
	dropped  bool // it is no longer under way
	size     int64
	unsynced bool
	created  bool // and its name is not durable yet
	scanner  *recfmt.Scanner
	in       *tail // what scanner reads
	meta     Meta
	last     time.Time // of the last bytes
	absent   time.Time // since when its process is gone; zero: it is there, or nobody looked
	grown    chan struct{}
	job      *storing // that stores it now; nil: none
}

func (s *Service) newEntry(id string) *entry {
	return &entry{s: s, id: id, last: s.d.Now(), grown: make(chan struct{})}
}

// tail reads a file from an offset on, up to where it was proven.
type tail struct {
	f      *os.File
	offset int64
	end    int64
}

func (t *tail) Read(p []byte) (int, error) {
	if t.offset >= t.end {
		return 0, io.EOF
	}
	n, err := t.f.ReadAt(p[:min(int64(len(p)), t.end-t.offset)], t.offset)
	t.offset += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// create makes the file of a new recording.
func (e *entry) create() error {
	f, err := os.OpenFile(e.s.path(e.id), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fault.Unwritable(err, e.s.path(e.id))
	}
	e.reset()
	e.loaded, e.created = true, true
	return f.Close()
}

// reset forgets what the frames said.
func (e *entry) reset() {
	e.own("")
	e.in = &tail{}
	e.scanner = recfmt.NewScanner(e.id, e.in)
	e.meta = Meta{SessionID: e.id}
}

// own files the recording under its process, for the count.
func (e *entry) own(host string) {
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	if old := e.meta.HostID; old != "" {
		if e.s.held[old]--; e.s.held[old] <= 0 {
			delete(e.s.held, old)
		}
	}
	if e.meta.HostID = host; host != "" {
		e.s.held[host]++
	}
}

// load reads a staged file that an earlier process left, or that was put right.
// What does not prove is cut off: its agent has it still, and sends it again.
func (e *entry) load() error {
	if e.loaded {
		return nil
	}
	f, err := os.OpenFile(e.s.path(e.id), os.O_RDWR, 0)
	if err != nil {
		return fault.Unreadable(err, e.s.path(e.id))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fault.Unreadable(err, e.s.path(e.id))
	}
	e.reset()
	e.size = info.Size()
	if err := e.scan(f, ""); err != nil {
		e.s.d.Log.Warn("a staged recording was damaged; its agent sends the rest again", "session", e.id, "error", err)
		e.size = e.scanner.Position().Offset
		if err := f.Truncate(e.size); err != nil {
			return fault.Unwritable(err, f.Name())
		}
	}
	e.loaded = true
	return nil
}

// scan proves the frames that are whole by now. host is whose they must be, ""
// for the process that began the recording. After an error the entry must be
// loaded again.
func (e *entry) scan(f *os.File, host string) error {
	e.in.f, e.in.end = f, e.size
	for {
		at := e.scanner.Position().Offset
		e.in.offset = at
		frame, err := e.scanner.Next()
		var broken *recfmt.BrokenError
		switch {
		case err == io.EOF, errors.As(err, &broken) && broken.Torn:
			return nil
		case err != nil:
			return err
		}
		if err := e.note(frame, host); err != nil {
			return err
		}
	}
}

// note takes what a good frame says.
func (e *entry) note(f *recfmt.Frame, host string) error {
	switch f.Type {
	case recfmt.FrameSegment:
		seg := e.scanner.Segment()
		first := len(e.meta.Segments) == 0
		switch {
		case host != "" && seg.HostID != host, !first && seg.HostID != e.meta.HostID:
			return fault.New(fault.Denied, "a recording is sent by the process that makes it")
		case !first && !seg.Start.Equal(e.meta.Start):
			return fault.New(fault.Invalid, "the segments of a recording disagree about its start")
		case len(e.meta.Segments) >= maxSegments:
			return fault.New(fault.Limit, "a recording has at most %d segments", maxSegments)
		}
		if first {
			e.own(seg.HostID)
			e.meta.Kind, e.meta.Start = seg.Kind, seg.Start
			e.meta.Info = recfmt.Info{SessionID: e.id, Kind: seg.Kind, Cluster: seg.Cluster, HostID: seg.HostID, Start: seg.Start}
		}
		e.meta.Generation = seg.Generation
		e.meta.Segments = append(e.meta.Segments, f.Offset)
	case recfmt.FrameChunk:
		p := e.scanner.Position()
		if len(p.Index) > MaxChunks {
			return fault.New(fault.Limit, "a recording has at most %d chunks", MaxChunks)
		}
		e.meta.Duration = p.Index[len(p.Index)-1].Last
		if len(p.Index) == 1 {
			e.introduce(f)
		}
	}
	return nil
}

// introduce reads who the session is of from its first chunk. A recording that
// does not open is taken all the same: it is proven by its hashes.
func (e *entry) introduce(f *recfmt.Frame) {
	o, err := e.s.opener(e.scanner.Segment())
	if err != nil {
		return
	}
	records, err := o.Records(f)
	if err != nil || len(records) == 0 {
		return
	}
	if info, ok := parseInfo(records[0]); ok {
		e.meta.setInfo(info)
	}
}

// wake tells those who follow the recording.
func (e *entry) wake() {
	close(e.grown)
	e.grown = make(chan struct{})
}

// Append takes bytes of a recording from the process with that UUID and returns
// how much is held. What is held already is compared. It is fault.Conflict where
// the bytes do not continue what is held (ask Held), fault.Untrusted where they
// are no recording, fault.Denied where it is another's.
func (s *Service) Append(ctx context.Context, host, id string, offset uint64, data []byte) (uint64, error) {
	return s.take(ctx, host, id, offset, data, true)
}

// Finish is Append of the last bytes, and Complete: what is about to be stored is not
// made durable here first. Where it is not stored, it is by the time that Finish returns.
func (s *Service) Finish(ctx context.Context, host, id string, offset uint64, data []byte) (uint64, error) {
	held, err := s.take(ctx, host, id, offset, data, false)
	if err != nil {
		return 0, err
	}
	if err := s.Complete(ctx, host, id, held); err != nil {
		return 0, errors.Join(err, s.settle(id))
	}
	return held, nil
}

// settle makes durable what is held of a recording.
func (s *Service) settle(id string) error {
	e, err := s.locked(id)
	if e == nil {
		return err
	}
	defer e.mu.Unlock()
	f, err := os.OpenFile(s.path(id), os.O_RDWR, 0)
	if err != nil {
		return fault.Unwritable(err, s.path(id))
	}
	defer f.Close()
	return e.settle(f)
}

// take adds bytes to a recording, durably where durable.
func (s *Service) take(ctx context.Context, host, id string, offset uint64, data []byte, durable bool) (uint64, error) {
	if err := CheckSessionID(id); err != nil {
		return 0, err
	}
	switch {
	case len(data) > MaxAppend:
		return 0, fault.New(fault.Limit, "at most %d bytes of a recording are taken at once", MaxAppend)
	case offset > MaxSize-uint64(len(data)):
		return 0, fault.New(fault.Limit, "a recording has at most %d bytes", int64(MaxSize))
	}
	if offset == 0 && len(data) == 0 { // no bytes begin nothing: it would be nobody's, and not be counted
		held, _, err := s.Held(ctx, host, id)
		return held, err
	}
	if err := s.room(); err != nil {
		return 0, err
	}
	e, err := s.continued(ctx, host, id, int64(offset))
	if e == nil {
		if err == nil {
			return s.alreadyStored(ctx, id, offset, data)
		}
		return 0, err
	}
	defer e.mu.Unlock()
	if e.meta.HostID != "" && e.meta.HostID != host {
		return 0, foreign()
	}
	return e.append(host, int64(offset), data, durable)
}

// foreign is the one answer to a process about another's recording.
func foreign() error {
	return fault.New(fault.Denied, "the recording belongs to another process")
}

// continued returns the recording that bytes at an offset go to, with its lock
// held, or nil where it is stored for good.
func (s *Service) continued(ctx context.Context, host, id string, offset int64) (*entry, error) {
	if e, err := s.locked(id); e != nil || err != nil {
		return e, err
	}
	m, err := s.rows.get(ctx, id)
	switch {
	case errors.Is(err, fault.NotFound) && offset > 0:
		return nil, fault.New(fault.Conflict, "no byte of the recording is held")
	case errors.Is(err, fault.NotFound):
		return s.adopt(id, host)
	case err != nil:
		return nil, err
	case m.HostID != host:
		return nil, foreign()
	case !m.ClosedByAuth:
		return nil, nil //nolint:nilnil // stored for good
	}
	return s.reopen(ctx, m)
}

// alreadyStored answers for bytes of a recording that is stored.
func (s *Service) alreadyStored(ctx context.Context, id string, offset uint64, data []byte) (uint64, error) {
	m, err := s.rows.get(ctx, id)
	if err != nil {
		return 0, err
	}
	if offset+uint64(len(data)) > uint64(m.Size) {
		return 0, fault.New(fault.Conflict, "the recording is stored with %d bytes", m.Size)
	}
	return uint64(m.Size), nil
}

// append adds bytes behind those that are held. The caller holds the lock.
func (e *entry) append(host string, offset int64, data []byte, durable bool) (uint64, error) {
	if offset > e.size {
		return 0, fault.New(fault.Conflict, "%d bytes of the recording are held; what came begins at %d", e.size, offset)
	}
	if e.job != nil {
		return 0, fault.New(fault.Unavailable, "the recording is being stored")
	}
	f, err := os.OpenFile(e.s.path(e.id), os.O_RDWR, 0)
	if err != nil {
		return 0, fault.Unwritable(err, e.s.path(e.id))
	}
	defer f.Close()
	known := min(e.size-offset, int64(len(data)))
	if err := e.compare(f, offset, data[:known]); err != nil {
		return 0, err
	}
	if err := e.extend(f, host, data[known:]); err != nil {
		return 0, err
	}
	if durable {
		if err := e.settle(f); err != nil {
			return 0, err
		}
	}
	e.last, e.absent = e.s.d.Now(), time.Time{}
	return uint64(e.size), nil
}

// settle syncs the recording's file where it has to be. The caller holds the lock.
func (e *entry) settle(f *os.File) error {
	if !e.unsynced {
		return nil
	}
	if err := e.s.sync.sync(f, e.created); err != nil {
		return fault.Unwritable(err, f.Name())
	}
	e.unsynced, e.created = false, false
	return nil
}

func (e *entry) compare(f *os.File, offset int64, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	held := make([]byte, len(data))
	if _, err := f.ReadAt(held, offset); err != nil {
		return fault.Unreadable(err, f.Name())
	}
	if !bytes.Equal(held, data) {
		return fault.New(fault.Conflict, "the bytes from %d on are not those that are held", offset)
	}
	return nil
}

// extend writes bytes at the end and proves the frames that they complete. What
// does not prove is cut off again.
func (e *entry) extend(f *os.File, host string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	before := e.size
	if _, err := f.WriteAt(data, before); err != nil {
		return errors.Join(fault.Unwritable(err, f.Name()), f.Truncate(before))
	}
	e.size += int64(len(data))
	e.unsynced = true
	good := e.scanner.Position().Offset
	err := e.scan(f, host)
	if err == nil && len(e.meta.Segments) == 0 {
		err = fault.New(fault.Invalid, "a recording begins with its whole first frame")
	}
	if err == nil && e.scanner.End() != nil && e.size > e.scanner.Position().Offset {
		err = &recfmt.BrokenError{Offset: e.scanner.Position().Offset, Why: "something follows the end"}
	}
	if err != nil {
		return e.undo(f, good, err)
	}
	e.wake()
	return nil
}

// undo goes back to the last frame that was good before. A recording without any
// goes away.
func (e *entry) undo(f *os.File, good int64, cause error) error {
	if good == 0 {
		return errors.Join(cause, e.s.discard(e))
	}
	if err := f.Truncate(good); err != nil {
		return errors.Join(cause, fault.Unwritable(err, f.Name()))
	}
	e.loaded = false
	return errors.Join(cause, e.load())
}

// Held tells a process how much of its recording has arrived, and whether it is
// stored for good.
func (s *Service) Held(ctx context.Context, host, id string) (held uint64, stored bool, err error) {
	if err := CheckSessionID(id); err != nil {
		return 0, false, err
	}
	e, err := s.locked(id)
	if err != nil {
		return 0, false, err
	}
	if e != nil {
		defer e.mu.Unlock()
		if e.meta.HostID != host {
			return 0, false, foreign()
		}
		return uint64(e.size), false, nil
	}
	m, err := s.rows.get(ctx, id)
	switch {
	case errors.Is(err, fault.NotFound):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	case m.HostID != host:
		return 0, false, foreign()
	case m.ClosedByAuth:
		return uint64(m.Index), false, nil
	}
	return uint64(m.Size), true, nil
}

// reopen takes a recording that was closed without its agent out of the storage,
// up to its end, so that the agent's longer copy can go on behind it. It returns
// it with its lock held.
func (s *Service) reopen(ctx context.Context, m *Meta) (*entry, error) {
	r, err := s.d.Blobs.Get(ctx, m.Key, 0, m.Index)
	if err != nil {
		return nil, unavailable(err)
	}
	defer r.Close()
	e, err := s.adopt(m.SessionID, m.HostID)
	if err != nil || e.size > 0 {
		return e, err // somebody else was faster
	}
	f, err := os.OpenFile(s.path(e.id), os.O_RDWR, 0)
	if err == nil {
		defer f.Close()
		e.size, err = io.Copy(f, r)
	}
	if err == nil {
		err = e.scan(f, m.HostID)
	}
	if err == nil && e.scanner.Position().Offset != m.Index {
		err = fault.New(fault.Untrusted, "the stored recording is damaged")
	}
	if err != nil {
		err = errors.Join(unavailable(err), s.discard(e))
		e.mu.Unlock()
		return nil, err
	}
	e.unsynced = true
	return e, nil
}

// unavailable is a failure of the storage or of this disk that the agent may
// outwait.
func unavailable(err error) error {
	return fault.Wrap(err, fault.Unavailable, "the recording storage is away: %s", fault.Message(err))
}

// copyMeta is the recording as it stands, for lists and playbacks.
func (e *entry) copyMeta() *Meta {
	m := e.meta
	m.Size = e.scanner.Position().Offset
	m.Segments, m.Participants = slices.Clone(m.Segments), slices.Clone(m.Participants)
	return &m
}

package recordings

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"teleport/fault"
	"teleport/recfmt"
	"teleport/types/event"
)

// completeWait is how long one Complete waits for a large recording or a slow
// storage; the work goes on, and the next call waits for it again.
const completeWait = 45 * time.Second

// storing is the work of storing one recording. One at a time does it.
type storing struct {
	e    *entry
	size int64  // of the staged file that counts
	tail []byte // the end, where its agent could not write it
	done chan struct{}
	err  error
}

// Complete stores a whole recording and returns once it is confirmed. It may be
// repeated. It is fault.Unavailable while the storage is away: the recording stays
// here, and its sender keeps its copy. fault.Conflict asks the sender for Held.
func (s *Service) Complete(ctx context.Context, host, id string, size uint64) error {
	if err := CheckSessionID(id); err != nil {
		return err
	}
	e, err := s.locked(id)
	if err != nil {
		return err
	}
	if e == nil {
		return s.completed(ctx, host, id, size)
	}
	ctx, cancel := context.WithTimeout(ctx, completeWait)
	defer cancel()
	j, fresh, err := e.ready(host, size)
	e.mu.Unlock()
	if err != nil {
		return err
	}
	if fresh {
		s.submit(ctx, j)
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return fault.New(fault.Unavailable, "the recording is still being stored").WithHint("ask again")
	}
}

// completed answers for a recording that is not under way.
func (s *Service) completed(ctx context.Context, host, id string, size uint64) error {
	m, err := s.rows.get(ctx, id)
	switch {
	case errors.Is(err, fault.NotFound):
		return fault.New(fault.Conflict, "no byte of the recording is held")
	case err != nil:
		return err
	case m.HostID != host:
		return foreign()
	case m.ClosedByAuth || uint64(m.Size) != size:
		return fault.New(fault.Conflict, "the recording is stored with %d bytes", m.Size)
	}
	return nil
}

// ready returns the work that stores the recording, and whether it is new. The
// caller holds the lock.
func (e *entry) ready(host string, size uint64) (j *storing, fresh bool, err error) {
	switch {
	case e.meta.HostID != host:
		return nil, false, foreign()
	case uint64(e.size) != size:
		return nil, false, fault.New(fault.Conflict, "%d bytes of the recording are held", e.size)
	case e.scanner.End() == nil:
		return nil, false, fault.New(fault.Invalid, "the recording has no end")
	case e.job != nil && e.job.tail != nil:
		return nil, false, fault.New(fault.Unavailable, "the recording is being stored")
	case e.job != nil:
		return e.job, false, nil
	}
	e.job = &storing{e: e, size: e.size, done: make(chan struct{})}
	return e.job, true, nil
}

// submit hands work to Serve, or gives it up with ctx.
func (s *Service) submit(ctx context.Context, j *storing) {
	select {
	case s.work <- j:
	case <-ctx.Done():
		s.end(j, fault.New(fault.Unavailable, "too many recordings are being stored").WithHint("ask again"))
	}
}

// finish stores a recording and lets go of the staged file.
func (s *Service) finish(ctx context.Context, j *storing) {
	err := s.store(ctx, j)
	if err != nil && ctx.Err() == nil {
		s.d.Log.WarnContext(ctx, "a recording could not be stored; it waits", "session", j.e.id, "error", err)
	}
	s.end(j, err)
	if err == nil && s.d.Stored != nil {
		s.d.Stored(j.e.id)
	}
}

// end tells those who wait how the work went.
func (s *Service) end(j *storing, err error) {
	e := j.e
	e.mu.Lock()
	e.job = nil
	if err == nil {
		err = s.discard(e)
	} else if errors.Is(err, fault.Untrusted) {
		// The staged file is no longer what was proven: what is good of it is kept,
		// and the sender is asked for the rest.
		e.loaded = false
		err = fault.Wrap(err, fault.Conflict, "the recording was damaged here and must be sent again")
	}
	e.mu.Unlock()
	j.err = err
	close(j.done)
}

// store puts one recording into the storage, the log and the catalogue.
func (s *Service) store(ctx context.Context, j *storing) error {
	f, err := os.Open(s.path(j.e.id))
	if err != nil {
		return fault.Unreadable(err, s.path(j.e.id))
	}
	defer f.Close()
	whole := io.NewSectionReader(&joined{f, j.size, j.tail}, 0, j.size+int64(len(j.tail)))
	m, err := s.examine(ctx, j.e.id, whole)
	if err != nil {
		return err
	}
	m.ClosedByAuth = j.tail != nil
	m.Key = m.SessionID + "/" + m.Head[:16] + recordingSuffix
	old, err := s.rows.get(ctx, m.SessionID)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	if _, err := whole.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := s.d.Blobs.Put(ctx, m.Key, whole, m.Size); err != nil {
		return unavailable(err)
	}
	info, err := s.d.Blobs.Stat(ctx, m.Key)
	if err != nil {
		return unavailable(err)
	}
	if info.Size != m.Size {
		return fault.New(fault.Unavailable, "the storage confirmed %d bytes of %d", info.Size, m.Size)
	}
	m.Stored = s.d.Now().UTC()
	if err := s.d.Events.Emit(ctx, s.upload(m)); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the audit log does not take events")
	}
	if err := s.rows.put(ctx, m, old); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the catalogue of recordings cannot be written")
	}
	if old != nil && old.Key != m.Key {
		for _, key := range []string{old.Key, old.IndexKey()} {
			if err := s.d.Blobs.Delete(ctx, key); err != nil {
				s.d.Log.WarnContext(ctx, "a recording that was replaced could not be removed", "key", key, "error", err)
			}
		}
	}
	return nil
}

func (s *Service) upload(m *Meta) *event.SessionUpload {
	e := &event.SessionUpload{Kind: m.Kind, Size: m.Size, SHA256: m.SHA256, Head: m.Head, Chunks: m.Chunks, Reason: m.Reason,
		URL: s.d.Blobs.URL(m.Key), ClosedByAuth: m.ClosedByAuth}
	e.Type, e.Code = event.TypeSessionUpload, event.CodeSessionUpload
	e.SessionID, e.ServerID, e.ServerHostname = m.SessionID, m.HostID, m.Info.Hostname
	return e
}

// joined is a file up to an offset, and bytes behind it.
type joined struct {
	f    io.ReaderAt
	n    int64
	tail []byte
}

func (j *joined) ReadAt(p []byte, off int64) (int, error) {
	if off >= j.n {
		return bytes.NewReader(j.tail).ReadAt(p, off-j.n)
	}
	part := p[:min(int64(len(p)), j.n-off)]
	n, err := j.f.ReadAt(part, off)
	if n < len(part) || n == len(p) {
		return n, err
	}
	m, err := bytes.NewReader(j.tail).ReadAt(p[n:], 0)
	return n + m, err
}

// examine proves a whole recording and reads from it what the catalogue says.
func (s *Service) examine(ctx context.Context, id string, r io.Reader) (*Meta, error) {
	sum := sha256.New()
	sc := recfmt.NewScanner(id, io.TeeReader(r, sum))
	m := &Meta{SessionID: id}
	var opener *recfmt.Opener
	for {
		if err := ctx.Err(); err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "the auth service stops")
		}
		f, err := sc.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		switch f.Type {
		case recfmt.FrameSegment:
			opener = s.begin(m, sc.Segment(), f)
		case recfmt.FrameChunk:
			m.read(opener, f)
		}
	}
	end := sc.End()
	if end == nil {
		return nil, fault.New(fault.Untrusted, "the recording has no end")
	}
	p := sc.Position()
	m.Size, m.Head, m.SHA256 = p.Offset, p.Chain.String(), hex.EncodeToString(sum.Sum(nil))
	m.Chunks, m.Duration, m.Reason, m.Index = end.Chunks, end.Duration, end.Reason.String(), end.Index
	return m, nil
}

// begin notes a segment and returns what opens its chunks, nil where no key does.
func (s *Service) begin(m *Meta, seg *recfmt.Segment, f *recfmt.Frame) *recfmt.Opener {
	if len(m.Segments) == 0 {
		m.Kind, m.HostID, m.Start = seg.Kind, seg.HostID, seg.Start
		m.Info = recfmt.Info{SessionID: m.SessionID, Kind: seg.Kind, Cluster: seg.Cluster, HostID: seg.HostID, Start: seg.Start}
	}
	m.Generation = seg.Generation
	m.Segments = append(m.Segments, f.Offset)
	o, err := s.opener(seg)
	if err != nil {
		s.d.Log.Warn("a recording does not open with the cluster's keys; it is kept as it is", "session", m.SessionID, "error", err)
		return nil
	}
	return o
}

// read takes who was there from a chunk. What does not open is kept all the same.
func (m *Meta) read(o *recfmt.Opener, f *recfmt.Frame) {
	if o == nil {
		return
	}
	records, err := o.Records(f)
	if err != nil {
		return
	}
	for _, r := range records {
		switch r.Type {
		case recfmt.RecordInfo:
			if info, ok := parseInfo(r); ok && m.Info.User == "" {
				m.setInfo(info)
			}
		case recfmt.RecordEvent:
			m.join(joiner(r.Data))
		}
	}
}

func parseInfo(r recfmt.Record) (info recfmt.Info, ok bool) {
	return info, r.Type == recfmt.RecordInfo && json.Unmarshal(r.Data, &info) == nil
}

// joiner is who joined the session, "" where an event is about something else.
func joiner(data []byte) string {
	if !bytes.Contains(data, []byte(`"session.join"`)) {
		return ""
	}
	var e struct {
		Event string `json:"event"`
		User  string `json:"user"`
	}
	if json.Unmarshal(data, &e) != nil || e.Event != "session.join" {
		return ""
	}
	return e.User
}

// sweep closes recordings whose process is gone.
func (s *Service) sweep(ctx context.Context) {
	for _, id := range s.snapshot() {
		if ctx.Err() != nil {
			return
		}
		j, err := s.abandoned(ctx, id)
		if err != nil {
			s.d.Log.WarnContext(ctx, "a recording under way could not be looked at", "session", id, "error", err)
		}
		if j != nil {
			s.finish(ctx, j)
		}
	}
}

// abandoned returns the work that closes a recording, nil where it is not time.
func (s *Service) abandoned(ctx context.Context, id string) (*storing, error) {
	e, err := s.locked(id)
	if e == nil {
		return nil, err
	}
	host, generation := e.meta.HostID, e.meta.Generation
	e.mu.Unlock()
	present, err := s.d.Presence.Present(ctx, host, generation)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := s.d.Now()
	switch {
	case present:
		e.absent = time.Time{}
	case e.absent.IsZero():
		e.absent = now
	}
	gone := !e.absent.IsZero() && now.Sub(e.absent) >= s.d.Abandon && now.Sub(e.last) >= s.d.Abandon
	if e.dropped || !e.loaded || e.job != nil || !gone && now.Sub(e.last) < quietFor {
		return nil, nil //nolint:nilnil // it is not abandoned
	}
	if len(e.meta.Segments) == 0 {
		return nil, s.discard(e)
	}
	return e.close(), nil
}

// close makes the work that stores a recording as far as it came. What its agent
// did not end, this service ends.
func (e *entry) close() *storing {
	p := e.scanner.Position()
	j := &storing{e: e, size: p.Offset, done: make(chan struct{})}
	if e.scanner.End() == nil {
		j.tail = recfmt.Close(p, recfmt.EndAbandoned)
	}
	e.job = j
	return j
}

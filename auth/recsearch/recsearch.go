// Package recsearch knows what was on the screens of recorded sessions. After a
// recording is stored, a worker runs a terminal over it (package screen), in the
// background and one recording at a time, and stores an index beside it, encrypted
// to keys that are the auth service's own: it is as secret as the recording, and
// whoever writes into the storage makes none that opens. It holds keyframes, from which a
// playback begins at any moment; the lines that were shown, with their times and
// places; and a filter of their trigrams, by which a search passes over
// recordings that cannot have its text.
//
// An index is named by its recording's hash and holds nothing that the recording
// has not: a lost or damaged one is made again at the next start.
package recsearch

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"teleport/api/gen/recordingv1"
	"teleport/auth/authapi"
	"teleport/auth/recordings"
	"teleport/blob"
	"teleport/fault"
	"teleport/lifecycle"
	"teleport/recfmt"
	"teleport/screen"
)

// Bounds of the work.
const (
	buildTime     = 10 * time.Minute // for one recording
	retryAfter    = time.Minute
	defaultFound  = 50 // recordings of one search
	mostFound     = 1000
	mostSearches  = 4 // at once; further ones wait
	maxHits       = 100
	pageOfSearch  = 200
	suffix        = ".index"
	recordingName = ".rec"
)

// Keys open and seal.
type Keys interface {
	Identities() []age.Identity
	Recipients() []age.Recipient
}

// Deps are what the service works with; all are required.
type Deps struct {
	Blobs blob.Store
	Keys  Keys
	Dir   string // of an index that is being made; made where it is missing
	Log   *slog.Logger
}

// Service makes indexes and reads them. Safe for concurrent use.
type Service struct {
	d       Deps
	records *recordings.Service

	mu     sync.Mutex
	queue  []string
	signal chan struct{}

	searches chan struct{} // those under way
}

var (
	_ recordings.Painter        = (*Service)(nil)
	_ authapi.RecordingSearcher = (*Service)(nil)
)

// New makes the service. It starts nothing.
func New(d Deps) (*Service, error) {
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return nil, fault.Unwritable(err, d.Dir)
	}
	return &Service{d: d, signal: make(chan struct{}, 1), searches: make(chan struct{}, mostSearches)}, nil
}

// Use says whose recordings are indexed, before Serve and Search.
func (s *Service) Use(r *recordings.Service) { s.records = r }

// Stored asks for the index of a recording. It does not block.
func (s *Service) Stored(sessionID string) {
	s.mu.Lock()
	s.queue = append(s.queue, sessionID)
	s.mu.Unlock()
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// Serve makes indexes until ctx ends: first those that are missing.
func (s *Service) Serve(ctx context.Context) error {
	for {
		if err := s.missing(ctx); err == nil || ctx.Err() != nil {
			break
		}
		if lifecycle.Sleep(ctx, retryAfter) != nil {
			return nil
		}
	}
	for {
		id, ok := s.pop()
		if !ok {
			select {
			case <-s.signal:
				continue
			case <-ctx.Done():
				return nil
			}
		}
		err := s.index(ctx, id)
		if err == nil || ctx.Err() != nil || errors.Is(err, fault.NotFound) {
			continue
		}
		s.d.Log.WarnContext(ctx, "a recording could not be indexed; it cannot be searched", "session", id, "error", err)
		if errors.Is(err, fault.Unavailable) && lifecycle.Sleep(ctx, retryAfter) == nil {
			s.Stored(id)
		}
	}
}

func (s *Service) pop() (id string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return "", false
	}
	id, s.queue = s.queue[0], s.queue[1:]
	return id, true
}

// missing queues the recordings that were stored without an index.
func (s *Service) missing(ctx context.Context) error {
	return s.each(ctx, recordings.Query{See: func(*recordings.Meta) bool { return true }}, func(m *recordings.Meta) (bool, error) {
		if m.Key == "" {
			return true, nil
		}
		name := nameOf(m)
		if _, err := s.open(ctx, name, name+suffix); err != nil {
			if errors.Is(err, fault.Unavailable) {
				return false, err
			}
			s.Stored(m.SessionID)
		}
		return true, nil
	})
}

// each calls f with recordings, the newest first, until it returns false.
func (s *Service) each(ctx context.Context, q recordings.Query, f func(*recordings.Meta) (bool, error)) error {
	q.Limit = pageOfSearch
	for {
		page, next, err := s.records.List(ctx, q)
		if err != nil {
			return err
		}
		for _, m := range page {
			if more, err := f(m); err != nil || !more {
				return err
			}
		}
		if next == "" {
			return nil
		}
		q.Page = next
	}
}

// nameOf is the name that binds an index to the bytes of its recording.
func nameOf(m *recordings.Meta) string { return strings.TrimSuffix(m.Key, recordingName) }

// index makes and stores the index of one recording.
func (s *Service) index(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, buildTime)
	defer cancel()
	r, err := s.records.Open(ctx, id, 0)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // it was only read
	if r.Meta().Key == "" {
		return nil
	}
	f := &draft{dir: s.d.Dir}
	defer f.close()
	name := nameOf(r.Meta())
	if err := s.build(ctx, name, r, f); err != nil {
		return err
	}
	body, size, err := f.whole()
	if err != nil {
		return err
	}
	if err := s.d.Blobs.Put(ctx, name+suffix, body, size); err != nil {
		return err
	}
	// A longer copy may have taken its place meanwhile, with what was prepared of it.
	now, err := s.records.Get(ctx, id)
	if err != nil || now.Key == "" || nameOf(now) == name {
		return err
	}
	return s.d.Blobs.Delete(ctx, name+suffix)
}

// chunks gives the records of a recording.
type chunks interface {
	Next() ([]recfmt.Record, error)
}

func (s *Service) build(ctx context.Context, name string, r chunks, f io.Writer) error {
	to := s.d.Keys.Recipients()
	if len(to) == 0 {
		return fault.New(fault.Internal, "there is no recording key")
	}
	out := bufio.NewWriter(f)
	b, err := newBuilder(name, out, to)
	if err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return fault.Wrap(err, fault.Limit, "the recording took too long to index")
		}
		records, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for _, rec := range records {
			if err := b.record(rec); err != nil {
				return err
			}
		}
	}
	if err := b.finish(); err != nil {
		return err
	}
	return out.Flush()
}

// Paint implements recordings.Painter. A recording without an index plays from
// its beginning.
func (s *Service) Paint(ctx context.Context, m *recordings.Meta, at time.Duration) ([]recfmt.Record, time.Duration, error) {
	if m.Key == "" || at <= 0 {
		return nil, 0, nil
	}
	name := nameOf(m)
	x, err := s.open(ctx, name, name+suffix)
	if err != nil {
		if !errors.Is(err, fault.NotFound) {
			s.d.Log.WarnContext(ctx, "the index of a recording cannot be read", "session", m.SessionID, "error", err)
		}
		return nil, 0, nil
	}
	n := sort.Search(len(x.dir.Keyframes), func(i int) bool { return x.dir.Keyframes[i].At > at })
	if n == 0 {
		return nil, 0, nil
	}
	k := x.dir.Keyframes[n-1]
	size, data, err := x.keyframe(ctx, k.Offset)
	if err != nil {
		s.d.Log.WarnContext(ctx, "the index of a recording cannot be read", "session", m.SessionID, "error", err)
		return nil, 0, nil
	}
	return []recfmt.Record{{Type: recfmt.RecordResize, At: k.At, Data: size}, {Type: recfmt.RecordOutput, At: k.At, Data: data}}, k.At + time.Microsecond, nil
}

// keyframe reads the size, which has the form of a resize, and the repaint.
func (x *index) keyframe(ctx context.Context, offset int64) (size, paint []byte, err error) {
	records, err := x.chunk(ctx, offset)
	if err != nil {
		return nil, nil, err
	}
	if len(records) != 1 || records[0].Type != recordKeyframe {
		return nil, nil, damaged()
	}
	b := records[0].Data
	_, n := binary.Uvarint(b)
	if n <= 0 {
		return nil, nil, damaged()
	}
	_, m := binary.Uvarint(b[n:])
	if m <= 0 {
		return nil, nil, damaged()
	}
	return b[:n+m], b[n+m:], nil
}

// Search implements authapi.RecordingSearcher. Recordings without an index yet
// are not found.
func (s *Service) Search(ctx context.Context, q authapi.RecordingQuery, found func(*recordings.Meta, []*recordingv1.Hit) error) error {
	if q.Limit <= 0 {
		q.Limit = defaultFound
	}
	q.Limit = min(q.Limit, mostFound)
	select {
	case s.searches <- struct{}{}:
		defer func() { <-s.searches }()
	case <-ctx.Done():
		return ctx.Err()
	}
	want := newMatcher(q.Text)
	list := recordings.Query{From: q.From, To: q.To, User: q.User, See: q.See}
	return s.each(ctx, list, func(m *recordings.Meta) (bool, error) {
		if m.Key == "" {
			return true, nil
		}
		hits, err := s.hits(ctx, m, want)
		if err != nil || len(hits) == 0 {
			return true, err
		}
		q.Limit--
		return q.Limit > 0, found(m, hits)
	})
}

func (s *Service) hits(ctx context.Context, m *recordings.Meta, want matcher) ([]*recordingv1.Hit, error) {
	name := nameOf(m)
	x, err := s.open(ctx, name, name+suffix)
	if err != nil || !x.dir.Filter.may(want.text) {
		if err != nil && (ctx.Err() != nil || errors.Is(err, fault.Unavailable)) {
			return nil, err
		}
		return nil, nil
	}
	var hits []*recordingv1.Hit
	err = x.lines(ctx, name, func(l screen.Line) bool {
		text := string(l.Text)
		if i := want.find(text); i >= 0 {
			row, column := l.Place(i)
			hits = append(hits, &recordingv1.Hit{AtNano: int64(l.At), Row: int32(row), Column: int32(column), Line: text})
		}
		return len(hits) < maxHits
	})
	return hits, err
}

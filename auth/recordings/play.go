package recordings

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"time"

	"teleport/fault"
	"teleport/recfmt"
)

// maxFrame is the longest frame in a file, usualSegment what the first one of a
// segment seldom exceeds, with its keys for some recipients.
const (
	maxFrame     = recfmt.MaxPayload + recfmt.Overhead
	usualSegment = 16 << 10
)

// Reader gives the records of one recording, opened and proven, chunk by chunk:
// it holds one at a time. Not for concurrent use.
type Reader struct {
	s    *Service
	m    *Meta
	e    *entry // of a recording under way; nil: stored
	file *os.File
	body io.Closer // of the storage
	sc   *recfmt.Scanner
	in   *tail
	open *recfmt.Opener
}

// Get returns what is known of a recording, stored or under way. It is
// fault.NotFound where there is none.
func (s *Service) Get(ctx context.Context, id string) (*Meta, error) {
	if CheckSessionID(id) != nil {
		return nil, fault.New(fault.NotFound, "there is no recording of the session %.60q", id)
	}
	e, err := s.locked(id)
	if err != nil {
		return nil, err
	}
	if e != nil {
		defer e.mu.Unlock()
		return e.copyMeta(), nil
	}
	return s.rows.get(ctx, id)
}

// Open begins to read a recording at the chunk that holds the moment, or the last
// one before it. The caller closes the reader.
func (s *Service) Open(ctx context.Context, id string, at time.Duration) (*Reader, error) {
	e, err := s.locked(id)
	if err != nil {
		return nil, err
	}
	if e != nil {
		defer e.mu.Unlock()
		return s.openStaged(e, at)
	}
	m, err := s.rows.get(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.openStored(ctx, m, at)
}

func (s *Service) openStaged(e *entry, at time.Duration) (*Reader, error) {
	f, err := os.Open(s.path(e.id))
	if err != nil {
		return nil, fault.Unreadable(err, s.path(e.id))
	}
	r := &Reader{s: s, m: e.copyMeta(), e: e, file: f, in: &tail{f: f, end: e.scanner.Position().Offset}}
	err = r.begin(chunkAt(e.scanner.Position().Index, at), func(offset, length int64) ([]byte, error) {
		b := make([]byte, min(length, r.in.end-offset))
		_, err := f.ReadAt(b, offset)
		return b, err
	}, func(offset int64) (io.Reader, error) {
		r.in.offset = offset
		return r.in, nil
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

func (s *Service) openStored(ctx context.Context, m *Meta, at time.Duration) (*Reader, error) {
	r := &Reader{s: s, m: m}
	part := func(offset, length int64) ([]byte, error) {
		body, err := s.d.Blobs.Get(ctx, m.Key, offset, length)
		if err != nil {
			return nil, stored(err)
		}
		b, err := io.ReadAll(body)
		return b, errors.Join(err, body.Close())
	}
	var from int64
	if at > 0 {
		index, err := m.index(part)
		if err != nil {
			return nil, err
		}
		from = chunkAt(index, at)
	}
	err := r.begin(from, part, func(offset int64) (io.Reader, error) {
		body, err := s.d.Blobs.Get(ctx, m.Key, offset, -1)
		if err != nil {
			return nil, stored(err)
		}
		r.body = body
		return bufio.NewReaderSize(body, 64<<10), nil
	})
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// stored is an error about an object that the catalogue names.
func stored(err error) error {
	if errors.Is(err, fault.NotFound) || errors.Is(err, fault.Invalid) {
		return fault.Wrap(err, fault.Untrusted, "the recording is missing from the storage, or cut short")
	}
	return err
}

// index reads the index of a stored recording.
func (m *Meta) index(part func(offset, length int64) ([]byte, error)) ([]recfmt.IndexEntry, error) {
	b, err := part(m.Index, m.Size-m.Index)
	if err != nil {
		return nil, err
	}
	f, err := recfmt.ReadFrame(b, m.Index)
	if err != nil || f.Type != recfmt.FrameIndex {
		return nil, &recfmt.BrokenError{Offset: m.Index, Why: "no index is here"}
	}
	return recfmt.ParseIndex(f.Payload)
}

// chunkAt is the offset of the last chunk that begins at or before a moment; zero
// for the beginning.
func chunkAt(index []recfmt.IndexEntry, at time.Duration) int64 {
	var offset int64
	for _, e := range index {
		if e.First > at {
			break
		}
		offset = e.Offset
	}
	if len(index) > 0 && offset == index[0].Offset {
		return 0
	}
	return offset
}

// begin starts the scanner at an offset, in the segment that it is in.
func (r *Reader) begin(offset int64, part func(offset, length int64) ([]byte, error), from func(int64) (io.Reader, error)) error {
	if offset == 0 {
		body, err := from(0)
		if err == nil {
			r.sc = recfmt.NewScanner(r.m.SessionID, body)
		}
		return err
	}
	var at int64
	for _, s := range r.m.Segments {
		if s < offset {
			at = s
		}
	}
	f, err := segmentAt(at, part)
	if err != nil {
		return err
	}
	seg, err := recfmt.ParseSegment(f.Payload)
	if err != nil {
		return err
	}
	if seg.SessionID != r.m.SessionID {
		return &recfmt.BrokenError{Offset: at, Why: "it belongs to another session"}
	}
	if r.open, err = r.s.opener(seg); err != nil {
		return err
	}
	var chain recfmt.Hash
	b, err := part(offset-int64(len(chain)), int64(len(chain)))
	if err != nil {
		return err
	}
	copy(chain[:], b)
	body, err := from(offset)
	if err == nil {
		r.sc = recfmt.NewScannerAt(seg, body, offset, chain)
	}
	return err
}

// segmentAt reads the frame that begins a segment: first as much as nearly all have.
func segmentAt(at int64, part func(offset, length int64) ([]byte, error)) (*recfmt.Frame, error) {
	b, err := part(at, usualSegment)
	if err != nil {
		return nil, err
	}
	f, err := recfmt.ReadFrame(b, at)
	if err == nil || len(b) < usualSegment {
		return f, err
	}
	if b, err = part(at, maxFrame); err != nil {
		return nil, err
	}
	return recfmt.ReadFrame(b, at)
}

// Meta is what is known of the recording. Of one that is under way it grows
// with Wait.
func (r *Reader) Meta() *Meta { return r.m }

// Next returns the records of the next chunk. It is io.EOF at the end of the
// recording, or at the end of what has arrived; a *recfmt.BrokenError where the
// bytes are not those that were recorded.
func (r *Reader) Next() ([]recfmt.Record, error) {
	for {
		f, err := r.sc.Next()
		if err == io.EOF {
			return nil, r.atEnd()
		}
		if err != nil {
			return nil, err
		}
		switch f.Type {
		case recfmt.FrameSegment:
			if r.open, err = r.s.opener(r.sc.Segment()); err != nil {
				return nil, err
			}
		case recfmt.FrameChunk:
			return r.open.Records(f)
		}
	}
}

// atEnd checks that a stored recording ends as the catalogue says: with the chain,
// this proves all that was read.
func (r *Reader) atEnd() error {
	if r.e != nil {
		return io.EOF
	}
	p := r.sc.Position()
	head, err := hex.DecodeString(r.m.Head)
	if err != nil || r.sc.End() == nil || !bytes.Equal(head, p.Chain[:]) {
		return &recfmt.BrokenError{Offset: p.Offset, Why: "it does not end as it did when it was stored"}
	}
	return io.EOF
}

// Wait blocks until more of a recording under way has arrived. It is io.EOF when
// there will be no more.
func (r *Reader) Wait(ctx context.Context) error {
	if r.e == nil || r.sc.End() != nil {
		return io.EOF
	}
	r.e.mu.Lock()
	if r.e.dropped || !r.e.loaded {
		r.e.mu.Unlock()
		return io.EOF
	}
	end, grown := r.e.scanner.Position().Offset, r.e.grown
	r.e.mu.Unlock()
	if end > r.in.end {
		r.in.end = end
		return nil
	}
	select {
	case <-grown:
		return r.more()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// more looks how far the recording has come since.
func (r *Reader) more() error {
	r.e.mu.Lock()
	defer r.e.mu.Unlock()
	end := r.e.scanner.Position().Offset
	if end <= r.in.end && r.e.dropped {
		return io.EOF
	}
	r.in.end = max(r.in.end, end)
	return nil
}

// Close frees what the reader holds.
func (r *Reader) Close() error {
	var err error
	if r.file != nil {
		err = r.file.Close()
	}
	if r.body != nil {
		err = errors.Join(err, r.body.Close())
	}
	return err
}

// Bytes opens the bytes of a recording as they are, from an offset on: those that
// are stored, or that have arrived.
func (s *Service) Bytes(ctx context.Context, id string, offset int64) (io.ReadCloser, error) {
	e, err := s.locked(id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		m, err := s.rows.get(ctx, id)
		if err != nil {
			return nil, err
		}
		return s.d.Blobs.Get(ctx, m.Key, offset, -1)
	}
	defer e.mu.Unlock()
	end := e.scanner.Position().Offset
	if offset < 0 || offset > end {
		return nil, fault.New(fault.Invalid, "the recording has %d bytes; byte %d was asked for", end, offset)
	}
	f, err := os.Open(s.path(id))
	if err != nil {
		return nil, fault.Unreadable(err, s.path(id))
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(f, offset, end-offset), f}, nil
}

// Paint paints the screen of a moment, for a playback that begins there, and says
// from when on its records follow.
func (s *Service) Paint(ctx context.Context, m *Meta, at time.Duration) ([]recfmt.Record, time.Duration, error) {
	if s.d.Painter == nil || at <= 0 {
		return nil, at, nil
	}
	return s.d.Painter.Paint(ctx, m, at)
}

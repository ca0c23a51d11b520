package recsearch

import (
	"context"
	"encoding/json"
	"errors"
	"io"

	"teleport/blob"
	"teleport/fault"
	"teleport/recfmt"
	"teleport/screen"
)

// index is an opened index.
type index struct {
	blobs blob.Store
	key   string
	open  *recfmt.Opener
	dir   directory
	end   int64 // where the directory's chunk is
}

const maxFrame = recfmt.MaxPayload + recfmt.Overhead

func (x *index) part(ctx context.Context, offset, length int64) ([]byte, error) {
	body, err := x.blobs.Get(ctx, x.key, offset, length)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(body)
	return b, errors.Join(err, body.Close())
}

func damaged() error { return fault.New(fault.Untrusted, "the index of a recording is damaged") }

// open reads the directory of an index. It is fault.NotFound where there is none.
func (s *Service) open(ctx context.Context, name, key string) (*index, error) {
	x := &index{blobs: s.d.Blobs, key: key}
	info, err := s.d.Blobs.Stat(ctx, key)
	if err != nil {
		return nil, err
	}
	head, err := x.part(ctx, 0, 16<<10)
	if err != nil {
		return nil, err
	}
	f, err := recfmt.ReadFrame(head, 0)
	if err != nil {
		return nil, err
	}
	seg, err := recfmt.ParseSegment(f.Payload)
	if err != nil {
		return nil, err
	}
	if seg.SessionID != name || seg.Cipher == recfmt.CipherNone {
		return nil, damaged()
	}
	if x.open, err = seg.Open(s.d.Keys.Identities()...); err != nil {
		return nil, err
	}
	return x, x.directory(ctx, info.Size)
}

func (x *index) directory(ctx context.Context, size int64) error {
	if size < recfmt.EndFrameSize {
		return damaged()
	}
	tail, err := x.part(ctx, size-recfmt.EndFrameSize, recfmt.EndFrameSize)
	if err != nil {
		return err
	}
	f, err := recfmt.ReadFrame(tail, 0)
	if err != nil {
		return err
	}
	end, err := recfmt.ParseEnd(f.Payload)
	if err != nil || end.Index > size {
		return damaged()
	}
	if tail, err = x.part(ctx, end.Index, min(size-end.Index, maxFrame)); err != nil {
		return err
	}
	if f, err = recfmt.ReadFrame(tail, 0); err != nil {
		return err
	}
	entries, err := recfmt.ParseIndex(f.Payload)
	if err != nil || len(entries) == 0 {
		return damaged()
	}
	x.end = entries[len(entries)-1].Offset
	records, err := x.chunk(ctx, x.end)
	if err != nil {
		return err
	}
	if len(records) != 1 || records[0].Type != recordDirectory || json.Unmarshal(records[0].Data, &x.dir) != nil {
		return damaged()
	}
	return nil
}

func (x *index) chunk(ctx context.Context, offset int64) ([]recfmt.Record, error) {
	b, err := x.part(ctx, offset, maxFrame)
	if err != nil {
		return nil, err
	}
	f, err := recfmt.ReadFrame(b, offset)
	if err != nil {
		return nil, err
	}
	return x.open.Records(f)
}

// lines calls each with all lines, until it returns false.
func (x *index) lines(ctx context.Context, name string, each func(screen.Line) bool) error {
	body, err := x.blobs.Get(ctx, x.key, 0, x.end)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // it was only read
	frames := make(map[int64]bool, len(x.dir.Keyframes))
	for _, k := range x.dir.Keyframes {
		frames[k.Offset] = true
	}
	sc := recfmt.NewScanner(name, body)
	for {
		f, err := sc.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if f.Type != recfmt.FrameChunk || frames[f.Offset] {
			continue
		}
		records, err := x.open.Records(f)
		if err != nil {
			return err
		}
		for _, r := range records {
			if r.Type != recordLine {
				continue
			}
			l, ok := parseLine(r.Data)
			if !ok {
				return damaged()
			}
			if !each(l) {
				return nil
			}
		}
	}
}

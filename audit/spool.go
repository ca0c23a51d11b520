package audit

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"

	"teleport/audit/chain"
)

// Bounds of one batch on its way to auth.
const (
	batchRecords = 1000
	batchBytes   = 2 << 20
)

// spool reads a generation's directory from its first record on. It keeps a
// position, not a file: what it reads may still be growing.
type spool struct {
	dir    string
	id     chain.Writer
	seg    uint64 // name of the current segment; 0 before the first
	offset int64
	ahead  []byte       // frames at offset that are in memory; none: they are read
	last   uint64       // last sequence read
	head   chain.Hash   // after it
	open   openSessions // as the first segment found them
}

// batch returns the next records up to and with the sequence limit; an empty
// batch when there are none. errTorn and errDamaged say that the spool ends
// here, with bytes behind it that are not records.
func (s *spool) batch(limit uint64) (chain.Batch, error) {
	if len(s.ahead) > 0 {
		if b, _ := s.read(limit); len(b.Records) > 0 || s.last >= limit {
			return b, nil
		}
		s.ahead = nil // the disk knows better
	}
	for {
		next, err := s.locate()
		if err != nil || s.seg == 0 {
			return chain.Batch{}, err
		}
		upTo := limit
		if next > 0 {
			upTo = min(upTo, next-1)
		}
		b, err := s.read(upTo)
		switch {
		case len(b.Records) > 0:
			return b, nil // an error behind it comes again
		case next > 0 && next == s.last+1:
			s.seg, s.offset = next, 0 // complete up to the next one, whatever its tail
		case err != nil && !errors.Is(err, io.EOF):
			return chain.Batch{}, err
		case next > 0:
			return chain.Batch{}, errDamaged
		default:
			return chain.Batch{}, nil
		}
	}
}

// locate makes sure that there is a current segment and returns the name of
// the one after it, 0 for none.
func (s *spool) locate() (next uint64, err error) {
	names, err := segments(s.dir)
	if err != nil {
		return 0, err
	}
	for i, name := range names {
		if s.seg == 0 {
			s.seg = name
		}
		if name == s.seg {
			if i+1 < len(names) {
				next = names[i+1]
			}
			return next, nil
		}
	}
	if s.seg == 0 {
		return 0, nil
	}
	for i, name := range names {
		if name != s.last+1 {
			continue
		}
		s.seg, s.offset = name, 0 // the one before was shipped and deleted
		if i+1 < len(names) {
			next = names[i+1]
		}
		return next, nil
	}
	return 0, errDamaged // it was there
}

func (s *spool) read(upTo uint64) (chain.Batch, error) {
	if s.last >= upTo {
		return chain.Batch{}, nil
	}
	r := &segmentReader{buf: s.ahead, at: s.offset + int64(len(s.ahead)), good: s.offset}
	if len(s.ahead) == 0 {
		var err error
		if r, err = openSegment(s.dir, s.seg, s.offset); err != nil {
			return chain.Batch{}, err
		}
	}
	if s.last == 0 {
		s.last, s.head, s.id, s.open = r.head.First-1, r.head.Previous, r.head.Writer, r.head.Open
	}
	b := chain.Batch{Writer: s.id, Previous: s.head, Records: make([]chain.Record, 0, min(upTo-s.last, batchRecords))}
	size := 0
	var err error
	for s.last < upTo && len(b.Records) < batchRecords && size < batchBytes {
		var rec chain.Record
		if rec, err = r.next(); err == nil && rec.Sequence != s.last+1 {
			err = errDamaged
		}
		if err != nil {
			break
		}
		b.Records = append(b.Records, rec)
		size += len(rec.Event)
		s.last, s.head, s.offset = rec.Sequence, rec.Chain, r.good
	}
	if r.f == nil {
		s.ahead = r.buf
	}
	return b, errors.Join(err, r.close())
}

// dropped counts the bytes behind the position, in this segment and all later
// ones.
func (s *spool) dropped() int64 {
	names, err := segments(s.dir)
	if err != nil {
		return 0
	}
	var n int64
	for _, name := range names {
		if name < s.seg {
			continue
		}
		if st, err := os.Stat(filepath.Join(s.dir, segmentName(name))); err == nil {
			n += st.Size()
		}
	}
	return max(n-s.offset, 0)
}

const noLimit = math.MaxUint64

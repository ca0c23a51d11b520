package recorder

import (
	"errors"
	"io"
	"os"

	"teleport/fault"
	"teleport/recfmt"
)

// source is a recording as it is shipped: the good bytes of its file, and a tail
// that is made from the journal, and is the same whenever it is made.
type source struct {
	path    string
	good    int64
	tail    []byte
	damaged string // why the file is not what its writer wrote; "" when it is
}

func (s *source) size() int64 { return s.good + int64(len(s.tail)) }

// recoverSource reads the files of a recording whose writer is gone: a torn end
// is cut, what the journal holds behind the last chunk is kept, and the end is
// added with that reason. No byte on disk is changed. It is nil for a recording
// that had not begun.
//
// end is the length of the chunks as far as it is known. A writer that died may
// have left a part of a frame there; what it was to replace is in the journal
// then. Where it is not, a frame of another length was made of a good one, and
// the file is damaged.
func recoverSource(sessionID, chunksPath, journalPath string, end int64, why recfmt.Reason) (*source, error) {
	chunks, err := os.Open(chunksPath)
	if err != nil {
		return nil, err
	}
	defer chunks.Close()
	journal, err := os.Open(journalPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var behind io.Reader
	if err == nil {
		defer journal.Close()
		behind = journal
	}
	s, err := recoverFrom(sessionID, io.LimitReader(chunks, end), behind, why)
	if s != nil {
		s.path = chunksPath
	}
	return s, err
}

// journalMost is more than a journal can hold that its writer wrote.
const journalMost = 4 << 20

func recoverFrom(sessionID string, chunks, journal io.Reader, why recfmt.Reason) (*source, error) {
	last := &frameWatch{r: chunks}
	sc := recfmt.NewScanner(sessionID, last)
	err := drain(sc, nil)
	s := &source{good: sc.Position().Offset}
	var broken *recfmt.BrokenError
	torn := errors.As(err, &broken) && broken.Torn
	if err != nil && broken == nil && !isFormat(err) {
		return nil, err
	}
	if err == nil && sc.End() != nil {
		return s, nil
	}
	if (err == nil || torn) && journal != nil && sc.Segment() != nil {
		sc.Continue(io.LimitReader(journal, journalMost))
		// What is left of earlier rounds of the journal breaks the chain: there it ends.
		_ = drain(sc, &s.tail)
	}
	// The end of a recording that was being written when its writer died is made anew.
	if err != nil && (!torn || len(s.tail) == 0 && !last.endFrame(s.good)) {
		s.damaged, why = err.Error(), recfmt.EndBroken
	}
	if sc.Segment() != nil && sc.End() == nil {
		s.tail = append(s.tail, recfmt.Close(sc.Position(), why)...)
	}
	if s.size() == 0 && s.damaged == "" {
		return nil, nil
	}
	return s, nil
}

// frameWatch remembers the type of the frame that a scanner began last
// and where it is.
type frameWatch struct {
	r    io.Reader
	at   int64
	from int64
	typ  byte
}

func (l *frameWatch) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if n > 0 && len(p) == frameHead {
		l.from, l.typ = l.at, p[0]
	}
	l.at += int64(n)
	return n, err
}

// frameHead is how many bytes a scanner reads first.
const frameHead = 5

// endFrame reports whether the frame at an offset is one of those that follow
// the last chunk.
func (l *frameWatch) endFrame(offset int64) bool {
	return l.from == offset && (recfmt.FrameType(l.typ) == recfmt.FrameIndex || recfmt.FrameType(l.typ) == recfmt.FrameEnd)
}

// drain reads frames to the end and keeps their bytes in keep, if that is given.
func drain(sc *recfmt.Scanner, keep *[]byte) error {
	for {
		f, err := sc.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if keep != nil {
			*keep = f.Append(*keep)
		}
	}
}

// isFormat tells errors about what was read from errors of reading.
func isFormat(err error) bool {
	k := fault.KindOf(err)
	return k == fault.Invalid || k == fault.Unimplemented || k == fault.Untrusted
}

// read fills p from the offset on.
func (s *source) read(p []byte, offset int64) (int, error) {
	if offset >= s.good {
		return copy(p, s.tail[offset-s.good:]), nil
	}
	f, err := os.Open(s.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.ReadFull(io.NewSectionReader(f, offset, s.good-offset), p[:min(int64(len(p)), s.good-offset)])
}

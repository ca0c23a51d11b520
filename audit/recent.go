package audit

// recent is what a writer put on disk last, in memory too: a shipper that keeps up
// takes it from here, and reads no file. It is a cache of some of the last segment.
type recent struct {
	segment uint64 // name of the segment
	offset  int64  // of the frames in it
	after   uint64 // sequence before them
	frames  []byte
}

// mostRecent bounds a cache: some more than a batch of a flood. A shipper that is
// further behind reads the files.
const mostRecent = 512 << 10

// add takes a group that was just written to the end of a segment.
func (r *recent) add(g *group, at segmentInfo) {
	begin := at.size - int64(len(g.buf))
	if r.segment != at.first || r.offset+int64(len(r.frames)) != begin || len(r.frames)+len(g.buf) > mostRecent {
		*r = recent{segment: at.first, offset: begin, after: g.first - 1, frames: r.frames[:0]}
	}
	if len(g.buf) <= mostRecent {
		r.frames = append(r.frames, g.buf...)
	} // else the next group does not continue what is here
}

// lend gives a spool that has come as far what follows there, if it is still in memory,
// in place of the files. The buffer comes back with the next call, when nobody
// needs what was read from it any more.
func (w *Writer) lend(s *spool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := &w.recent
	from := s.offset - r.offset
	switch {
	case len(r.frames) == 0 || s.last == 0 || s.dir != w.dir:
		return
	case s.last == r.after:
		from = 0
	case s.seg != r.segment || from < 0 || from >= int64(len(r.frames)):
		return
	}
	s.seg, s.offset, s.ahead = r.segment, r.offset+from, r.frames[from:]
	back := w.lent
	w.lent = r.frames
	if len(r.frames) < cap(r.frames)/4 {
		w.lent = nil // it was larger than it need be
	}
	*r = recent{segment: r.segment, offset: r.offset + int64(len(r.frames)), after: w.committed.sequence, frames: back[:0]}
}

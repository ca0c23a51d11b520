package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types/event"
)

// WriterOptions say where a process keeps its events until auth has them.
type WriterOptions struct {
	// Dir is <data_dir>/log/spool; the writer makes a directory in it.
	Dir      string
	HostUUID string
	Cluster  string
	// Generation is this process's own: used once, and higher than any before.
	// 0 takes the next one.
	Generation uint64
	// Quota bounds the spool in bytes (default 1 GiB). When auth is away so long
	// that it is reached, Emit refuses, and so do the actions behind it; events
	// once taken are never dropped.
	Quota int64
	// SegmentSize is when a new file starts (default 4 MiB).
	SegmentSize int64
	Log         *slog.Logger
}

// WriterStats count what a writer did.
type WriterStats struct {
	Emitted      uint64 // events taken
	Refused      uint64 // events refused because the disk or the quota was full
	Acknowledged uint64 // last sequence that auth has
	Bytes        int64  // on disk
}

// Writer is the emitter of a process: it chains events and appends them to a
// spool on disk. Emit returns after write(2), so events survive kill -9 of this
// process; they are not synced one by one, so a loss of power may take the last
// moments before auth has acknowledged them. Safe for concurrent use: emitters
// that come together share one write.
type Writer struct {
	o     WriterOptions
	id    chain.Writer
	dir   string
	codec *event.Codec
	open  func(path string) (segmentFile, error)
	lock  *os.File

	mu        sync.Mutex
	idle      *sync.Cond // signalled when writing ends
	closed    bool
	writing   bool       // a leader is at the disk
	pending   *group     // what the next write takes
	sequence  uint64     // last assigned
	head      chain.Hash // after it
	committed position   // what the disk has
	acked     uint64
	bytes     int64
	refused   uint64
	reported  uint64 // of refused, by audit.lost events that are on disk or on their way
	onDisk    uint64 // of reported, by those on disk
	why       string // of the last refusal
	segs      []segmentInfo
	sessions  openSessions
	changed   chan struct{} // closed when committed or acked moves; nil while nobody looks
	recent    recent
	lent      []byte // the buffer that the shipper reads, to be used again

	file  segmentFile // of the last of segs; used by the leader only
	spare []byte      // the buffer of a group that was written
}

var _ Emitter = (*Writer)(nil)

type position struct {
	sequence uint64
	head     chain.Hash
}

type segmentInfo struct {
	first uint64
	size  int64
}

// segmentFile is what a writer needs of an open segment; tests break it.
type segmentFile interface {
	Write([]byte) (int, error)
	Truncate(int64) error
	Close() error
}

// group is one write shared by several emitters.
type group struct {
	buf      []byte
	first    uint64
	prev     chain.Hash
	last     position
	count    uint64 // of emitters' events
	reported uint64 // Writer.reported when it was last added to
	sessions []sessionChange
	done     chan struct{} // nil while nobody waits for it
	err      error
}

// maxSpare bounds the buffer that is kept for the next group.
const maxSpare = 64 << 10

// NewWriter makes the spool's directory and takes its lock. It returns
// fault.AlreadyExists when the generation was used before, and
// fault.Unavailable when the disk does not take it.
func NewWriter(o WriterOptions) (*Writer, error) {
	if o.HostUUID == "" || len(o.HostUUID) > chain.MaxWriter || o.Cluster == "" {
		return nil, fault.New(fault.Invalid, "an audit writer needs the host's UUID and the cluster's name")
	}
	if o.Quota <= 0 {
		o.Quota = 1 << 30
	}
	if o.SegmentSize <= 0 {
		o.SegmentSize = 4 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &Writer{o: o, codec: event.NewCodec(), open: openAppend, sessions: make(openSessions)}
	w.idle = sync.NewCond(&w.mu)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, diskFault(err, "the audit spool cannot be made", o.Dir)
	}
	generation, err := claimGeneration(o.Dir, o.Generation)
	if err != nil {
		return nil, err
	}
	w.id = chain.Writer{UUID: o.HostUUID, Generation: generation}
	w.dir = generationDir(o.Dir, generation)
	w.head = chain.Genesis(w.id)
	w.committed = position{head: w.head}
	lock, free, err := lockDir(w.dir)
	if err != nil || !free {
		return nil, diskFault(errors.Join(err, errors.New("lock not taken")), "the audit spool cannot be locked", w.dir)
	}
	w.lock = lock
	return w, nil
}

func openAppend(path string) (segmentFile, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
}

// ID returns the writer's name in the log. It changes when auth refuses what
// this process has written and a new generation takes over.
func (w *Writer) ID() chain.Writer {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.id
}

// Stats returns the counters.
func (w *Writer) Stats() WriterStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return WriterStats{Emitted: w.committed.sequence, Refused: w.refused, Acknowledged: w.acked, Bytes: w.bytes}
}

// Emit implements Emitter. It returns fault.Invalid for an event that is not
// of the catalogue, fault.Limit for one that is too long or when the quota is
// reached, fault.Unavailable when the disk does not take it.
func (w *Writer) Emit(ctx context.Context, events ...event.Event) error {
	if err := ctx.Err(); err != nil || len(events) == 0 {
		return err
	}
	d := desks.Get().(*desk)
	defer d.clear()
	if err := w.prepare(d, events); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(d); err != nil {
		return err
	}
	if w.refused > w.reported {
		if err := w.reportLost(); err != nil {
			return err
		}
	}
	var g *group
	for i := range d.list {
		r := &d.list[i]
		g = w.add(d, r)
		g.count++
		if r.session != nil {
			g.sessions = append(g.sessions, *r.session)
		}
	}
	if w.writing {
		done := g.written()
		w.mu.Unlock()
		<-done // not ctx: the events may be on their way to the disk
		w.mu.Lock()
		return g.err
	}
	w.writing = true
	w.mu.Unlock()
	runtime.Gosched() // who is about to emit shares the write
	w.mu.Lock()
	w.lead()
	w.writing = false
	w.idle.Broadcast()
	return g.err
}

// written is closed when the group is on disk, or refused. Most groups have no
// emitter that waits for another's write.
func (g *group) written() <-chan struct{} {
	if g.done == nil {
		g.done = make(chan struct{})
	}
	return g.done
}

// end wakes those who wait for the group.
func (g *group) end(err error) {
	g.err = err
	if g.done != nil {
		close(g.done)
	}
}

func (w *Writer) admit(d *desk) error {
	if w.closed {
		return fault.New(fault.Unavailable, "the audit log of this process is closed")
	}
	queued := int64(0)
	if w.pending != nil {
		queued = int64(len(w.pending.buf))
	}
	queued += int64(len(d.buf) + 128*len(d.list))
	if w.bytes+queued > w.o.Quota {
		w.refuse("quota", uint64(len(d.list)))
		return fault.New(fault.Limit, "the audit spool %s is full: %d bytes wait for the auth service", w.dir, w.bytes).
			WithHint("bring the auth service back, or give the spool a larger quota")
	}
	return nil
}

func (w *Writer) refuse(why string, n uint64) {
	w.refused += n
	w.why = why
}

// reportLost puts an audit.lost event before the first one that is taken again.
func (w *Writer) reportLost() error {
	d := desks.Get().(*desk)
	defer d.clear()
	err := w.prepare(d, []event.Event{&event.AuditLost{
		AuditWriter: event.AuditWriter{Writer: w.id.UUID, Generation: w.id.Generation},
		Count:       w.refused - w.reported, Reason: w.why,
	}})
	if err != nil {
		return err
	}
	w.reported = w.refused
	w.add(d, &d.list[0])
	return nil
}

// add gives the event its place in the chain and in the next write.
func (w *Writer) add(d *desk, r *prepared) *group {
	g := w.pending
	if g == nil {
		g = &group{first: w.sequence + 1, prev: w.head, buf: w.spare[:0]}
		w.spare = nil
		w.pending = g
	}
	w.sequence++
	w.head = chain.Next(w.head, w.sequence, r.leaf)
	rec := chain.Record{Sequence: w.sequence, Event: d.buf[r.start:r.end], Salt: r.salt[:], Chain: w.head}
	g.buf = appendFrame(g.buf, func(b []byte) []byte { return chain.AppendRecord(b, rec) })
	g.last = position{w.sequence, w.head}
	g.reported = w.reported
	return g
}

// lead writes groups until none waits. It is entered and left with mu held and
// lets go of it while at the disk.
func (w *Writer) lead() {
	for w.pending != nil {
		g := w.pending
		w.pending = nil
		var last segmentInfo
		if n := len(w.segs); n > 0 {
			last = w.segs[n-1]
		}
		var open openSessions
		if w.file == nil || last.size >= w.o.SegmentSize {
			open = maps.Clone(w.sessions)
		}
		w.mu.Unlock()
		next, err := w.write(g, last, open)
		w.mu.Lock()
		if cap(g.buf) <= maxSpare {
			w.spare = g.buf
		}
		w.account(last, next)
		if err != nil {
			w.fail(g, err)
			continue
		}
		w.committed, w.onDisk = g.last, g.reported
		w.recent.add(g, next)
		w.sessions.apply(g.sessions)
		w.notify()
		g.end(nil)
	}
}

// account notes the last segment as write left it.
func (w *Writer) account(last, next segmentInfo) {
	if n := len(w.segs); n > 0 && next.first == last.first {
		w.segs[n-1] = next
		w.bytes += next.size - last.size
		return
	}
	if next.first > 0 {
		w.segs = append(w.segs, next)
		w.bytes += next.size
	}
}

// fail refuses a group and all that was chained behind it: the chain goes back
// to what the disk has.
func (w *Writer) fail(g *group, err error) {
	why := "disk"
	if isFull(err) {
		why = "disk_full"
	}
	lost := g.count
	if w.pending != nil {
		lost += w.pending.count
	}
	w.refuse(why, lost)
	w.o.Log.Error("audit events refused", "err", err, "count", lost)
	w.sequence, w.head, w.reported = w.committed.sequence, w.committed.head, w.onDisk
	err = diskFault(err, "the event cannot be written to the audit log", w.dir)
	for _, x := range []*group{g, w.pending} {
		if x != nil {
			x.end(err)
		}
	}
	w.pending = nil
}

// write puts a group on disk behind the segment last, or in a new one when
// that is full or unusable, and returns the segment as it is now. It runs
// without mu, in one goroutine at a time.
func (w *Writer) write(g *group, last segmentInfo, open openSessions) (segmentInfo, error) {
	if w.file == nil || last.size >= w.o.SegmentSize {
		started, err := w.startSegment(g, open)
		if err != nil {
			return last, err
		}
		last = started
	}
	n, err := w.file.Write(g.buf)
	if err == nil {
		last.size += int64(n)
		return last, nil
	}
	if terr := w.file.Truncate(last.size); terr != nil { // the next write starts a new file
		err = errors.Join(err, terr, w.file.Close())
		w.file = nil
	}
	return last, err
}

func (w *Writer) startSegment(g *group, open openSessions) (segmentInfo, error) {
	head, err := json.Marshal(segmentHead{Version: 1, Writer: w.id, First: g.first, Previous: g.prev, Open: open})
	if err != nil {
		return segmentInfo{}, err
	}
	if w.file != nil {
		err := w.file.Close()
		w.file = nil
		if err != nil {
			return segmentInfo{}, err
		}
	}
	path := filepath.Join(w.dir, segmentName(g.first))
	f, err := w.open(path)
	if err != nil {
		return segmentInfo{}, err
	}
	b := appendFrame(nil, func(dst []byte) []byte { return append(dst, head...) })
	if _, err := f.Write(b); err != nil {
		return segmentInfo{}, errors.Join(err, f.Close(), os.Remove(path))
	}
	w.file = f
	return segmentInfo{first: g.first, size: int64(len(b))}, nil
}

func (w *Writer) notify() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// progress is how far a generation of a writer has come.
type progress struct {
	generation uint64
	committed  uint64          // last sequence that the disk has
	acked      uint64          // last sequence that auth has
	changed    <-chan struct{} // closes when any of these moves
}

func (p progress) drained() bool { return p.acked >= p.committed }

func (w *Writer) state() progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return progress{w.id.Generation, w.committed.sequence, w.acked, w.changed}
}

// release notes that auth has everything up to a sequence and deletes the
// segments that are not needed any more. The last one stays: it is open.
func (w *Writer) release(ack uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ack <= w.acked || ack > w.committed.sequence {
		return nil
	}
	w.acked = ack
	defer w.notify()
	for len(w.segs) > 1 && w.segs[1].first <= ack+1 {
		if err := os.Remove(filepath.Join(w.dir, segmentName(w.segs[0].first))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("delete shipped audit segment: %w", err)
		}
		w.bytes -= w.segs[0].size
		w.segs = w.segs[1:]
	}
	return nil
}

// Close refuses further events, waits for those under way and lets go of the
// spool. When auth has everything and no session is open, the directory goes too;
// otherwise the next process of this host finds it.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	for w.writing {
		w.idle.Wait()
	}
	var err error
	if w.file != nil {
		err = w.file.Close()
		w.file = nil
	}
	if w.acked == w.committed.sequence && len(w.sessions) == 0 {
		err = errors.Join(err, os.RemoveAll(w.dir))
	}
	return errors.Join(err, w.lock.Close())
}

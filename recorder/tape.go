package recorder

import (
	"encoding/json"
	"path/filepath"
	"sync"
	"time"

	"teleport/fault"
	"teleport/recfmt"
	"teleport/types/event"
)

// Names of a recording's two files, behind the session's id.
const (
	chunksSuffix  = ".rec"
	journalSuffix = ".journal"
)

const (
	// piece is the most that one record of output holds.
	piece = 32 << 10
	// restAfter is how long records may wait for more to make a chunk with. A live
	// recording at the auth service is so much behind.
	restAfter = 5 * time.Second
	// retryEvery is how often a recording that the disk does not take tries again.
	retryEvery = time.Second
	// spare is how many chunks are kept back for the end of a recording.
	spare = 8
)

// tape is the recording of one session. What it takes it writes at once: into
// the journal, in frames of single records, until a chunk is worth its while,
// which then takes their place. The journal is a file of its own, so that a chunk
// that is half written when the process dies does not cost the records that it
// replaces; and as it is written over and over, its blocks are the disk's already
// when that is full.
type tape struct {
	by    *Sessions
	spool *Spool
	info  Info
	mode  string
	sync  bool

	mu      sync.Mutex
	enc     *recfmt.Encoder // nil before the files are there
	chunks  file
	journal file
	end     int64  // of the chunks
	count   int    // of the chunks
	jend    int64  // of the journal
	jmost   int64  // the journal's size
	buf     []byte // frames on their way into a file
	stuck   []byte // chunks that the disk did not take; nothing is added behind them
	unsaved uint64 // bytes shown whose records are in memory only
	gap     *gap
	broken  error // of a strict session
	timer   *time.Timer
	armed   bool
	closed  bool
	up      *upload
}

var _ Recording = (*tape)(nil)

// gap is what best effort let pass unrecorded.
type gap struct {
	cause  error
	since  time.Time
	tried  time.Time
	bytes  uint64
	events uint64
	told   bool
}

// begin makes the files, or opens a gap where best effort allows.
func (t *tape) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.create()
	if err != nil {
		return t.fail(err)
	}
	return nil
}

// create makes the files with the segment and the session's info in them.
func (t *tape) create() error {
	to, err := t.by.recipients()
	if err != nil {
		return err
	}
	o, i := t.spool.o, t.info
	enc, frame, err := recfmt.NewEncoder(recfmt.EncoderOptions{Recipients: to, Segment: recfmt.Segment{SessionID: i.SessionID, Kind: i.Kind,
		Cluster: o.Cluster, HostID: o.HostID, Generation: o.Generation, Start: i.Start.UTC()}})
	if err != nil {
		return err
	}
	info, err := json.Marshal(recfmt.Info{SessionID: i.SessionID, Kind: i.Kind, Cluster: o.Cluster, User: i.User, Login: i.Login, HostID: i.HostID,
		Hostname: i.Hostname, Resource: i.Resource, Command: i.Command, Start: i.Start.UTC(), Columns: i.Columns, Rows: i.Rows, Term: i.Term})
	if err == nil {
		err = enc.Add(recfmt.Record{Type: recfmt.RecordInfo, Data: info})
	}
	if err != nil {
		return err
	}
	frame = enc.Chunk(frame)
	if err := t.openFiles(); err != nil {
		return err
	}
	if err := t.putChunks(frame); err != nil {
		t.stuck = nil // begun anew at the next try
		t.closeFiles()
		t.spool.discard(t.path(chunksSuffix), t.path(journalSuffix))
		return err
	}
	t.enc = enc
	t.up = t.spool.live(t.info, t.path(chunksSuffix), t.end, t.sync)
	enc.Rest()
	return nil
}

func (t *tape) path(suffix string) string {
	return filepath.Join(t.spool.dir, t.info.SessionID+suffix)
}

func (t *tape) openFiles() error {
	if filepath.Base(t.path("")) != t.info.SessionID {
		return fault.New(fault.Internal, "the session's id is no name of a file")
	}
	chunks, err := t.spool.open(t.path(chunksSuffix))
	if err != nil {
		return diskFault(err, "the session cannot be recorded")
	}
	journal, err := t.spool.open(t.path(journalSuffix))
	if err != nil {
		chunks.Close()
		t.spool.discard(t.path(chunksSuffix))
		return diskFault(err, "the session cannot be recorded")
	}
	t.chunks, t.journal = chunks, journal
	return nil
}

func (t *tape) closeFiles() {
	for _, f := range []file{t.chunks, t.journal} {
		if f == nil {
			continue
		}
		if err := f.Close(); err != nil {
			t.spool.o.Log.Warn("a recording's file did not close well", "session", t.info.SessionID, "error", err)
		}
	}
	t.chunks, t.journal = nil, nil
}

// Mode implements Recording.
func (t *tape) Mode() string { return t.mode }

// Show implements Recording.
func (t *tape) Show(s Stream, p []byte) error {
	typ := recfmt.RecordOutput
	if s == Errors {
		typ = recfmt.RecordErrors
	}
	if len(p) == 0 {
		return nil
	}
	return t.add(func() error {
		for rest := p; len(rest) > 0; {
			n := min(len(rest), piece)
			if err := t.record(typ, rest[:n], n); err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	})
}

// Resize implements Recording.
func (t *tape) Resize(columns, rows int) error {
	return t.add(func() error { return t.record(recfmt.RecordResize, recfmt.ResizeData(columns, rows), 0) })
}

// Event implements Recording.
func (t *tape) Event(json ...[]byte) error {
	for _, j := range json {
		if len(j) > recfmt.MaxBatch/2 {
			return fault.New(fault.Limit, "an event of %d bytes is too long for a recording", len(j))
		}
	}
	return t.add(func() error {
		for _, j := range json {
			if err := t.record(recfmt.RecordEvent, j, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// add takes what write records, writes it, and waits for the auth service where it
// must: once for all of it.
func (t *tape) add(write func() error) error {
	t.mu.Lock()
	err := write()
	if err == nil && t.gap == nil {
		if serr := t.save(); serr != nil {
			err = t.fail(serr)
		}
	}
	end, wait := t.end, t.sync && t.gap == nil && err == nil
	t.mu.Unlock()
	if !wait {
		return err
	}
	return t.awaitAck(end)
}

// record takes one record into memory, shown of whose bytes are output. The caller
// holds t.mu.
func (t *tape) record(typ recfmt.RecordType, data []byte, shown int) error {
	now := time.Now()
	switch {
	case t.closed:
		return fault.New(fault.Canceled, "the recording has ended")
	case t.broken != nil:
		return t.broken
	case t.gap != nil && !t.resume(now):
		t.gap.note(shown)
		return nil
	}
	if err := t.room(len(data)); err != nil {
		return t.lost(err, shown)
	}
	if err := t.enc.Add(recfmt.Record{Type: typ, At: now.Sub(t.info.Start), Data: data}); err != nil {
		return t.lost(err, shown)
	}
	t.unsaved += uint64(shown)
	return nil
}

// lost is fail for a record that is not even in memory.
func (t *tape) lost(err error, shown int) error {
	if err := t.fail(err); err != nil {
		return err
	}
	t.gap.note(shown)
	return nil
}

func (g *gap) note(shown int) {
	g.bytes += uint64(shown)
	if shown == 0 {
		g.events++
	}
}

// room makes sure that a record of n bytes fits into the chunk under way.
func (t *tape) room(n int) error {
	if t.count >= recfmt.MaxChunks-spare || t.end > recfmt.MaxSize-2*recfmt.MaxIndex {
		return fault.New(fault.Limit, "the recording is as long as one may be")
	}
	if t.enc.Pending() > 0 && t.enc.Pending()+n > recfmt.MaxBatch/2 {
		return t.putChunks(t.enc.Chunk(t.buf[:0]))
	}
	return nil
}

// save writes what is in memory: a small thing into the journal, a chunk when it
// is worth one, or is waited for.
func (t *tape) save() error {
	switch {
	case t.enc.Pending() == 0:
		return nil
	case t.sync, t.enc.Pending() >= recfmt.ChunkSize:
		return t.putChunks(t.enc.Chunk(t.buf[:0]))
	}
	t.buf = t.enc.Journal(t.buf[:0])
	if err := t.putJournal(t.buf); err != nil {
		return err
	}
	t.unsaved = 0
	if !t.armed {
		t.arm()
	}
	return nil
}

func (t *tape) putJournal(frame []byte) error {
	if more := t.jend + int64(len(frame)) - t.jmost; more > 0 {
		if err := t.spool.reserve(more); err != nil {
			return err
		}
		t.jmost += more
	}
	if _, err := t.journal.WriteAt(frame, t.jend); err != nil {
		return diskFault(err, "the session cannot be recorded")
	}
	t.jend += int64(len(frame))
	return nil
}

// putChunks writes frames behind the chunks. Those that the disk does not take
// are kept, as the encoder has gone on.
func (t *tape) putChunks(frames []byte) error {
	err := t.spool.reserve(int64(len(frames)))
	if err == nil {
		if _, err = t.chunks.WriteAt(frames, t.end); err != nil {
			t.spool.used.Add(-int64(len(frames)))
			err = diskFault(err, "the session cannot be recorded")
		}
	}
	if err != nil {
		t.stuck = append([]byte(nil), frames...)
		return err
	}
	t.end += int64(len(frames))
	t.count++
	t.jend, t.unsaved, t.stuck = 0, 0, nil
	t.buf = frames[:0]
	if t.up != nil {
		t.up.grow(t.end, t.sync)
	}
	return nil
}

// arm sees to it that records do not wait for long.
func (t *tape) arm() {
	t.armed = true
	if t.timer == nil {
		t.timer = time.AfterFunc(restAfter, t.rest)
		return
	}
	t.timer.Reset(restAfter)
}

// rest makes a chunk of what waits in the journal, for shipping, and gives the
// memory back. A session that shows much makes chunks by itself.
func (t *tape) rest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = false
	if t.closed || t.broken != nil || t.gap != nil {
		return
	}
	if t.enc.Pending() > 0 {
		if err := t.putChunks(t.enc.Chunk(t.buf[:0])); err != nil {
			_ = t.fail(err) // a strict session learns of it when it shows something next
			return
		}
	}
	t.enc.Rest()
	t.buf = nil
}

// fail ends a strict recording, and opens a gap in one with best effort.
func (t *tape) fail(err error) error {
	if t.info.Strict {
		t.broken = err
		return err
	}
	if t.gap == nil {
		t.spool.o.Log.Warn("a session goes on unrecorded", "session", t.info.SessionID, "error", err)
		now := time.Now()
		t.gap = &gap{cause: err, since: now, tried: now}
		t.tellGap()
	}
	return nil
}

// resume tries whether the disk takes recordings again.
func (t *tape) resume(now time.Time) bool {
	if now.Sub(t.gap.tried) < retryEvery {
		return false
	}
	t.gap.tried = now
	t.tellGap()
	if err := t.mend(); err != nil {
		return false
	}
	t.endGap(now)
	return true
}

// mend writes what is in memory and, behind it, the record of the gap.
func (t *tape) mend() error {
	if t.enc == nil {
		if err := t.create(); err != nil {
			return err
		}
	}
	if t.stuck != nil {
		if err := t.putChunks(t.stuck); err != nil {
			return err
		}
	}
	if err := t.room(0); err != nil {
		return err
	}
	data, err := json.Marshal(recfmt.Gap{Bytes: t.gap.bytes, Reason: reasonOf(t.gap.cause)})
	if err != nil {
		return err
	}
	if err := t.enc.Add(recfmt.Record{Type: recfmt.RecordGap, At: time.Since(t.info.Start), Data: data}); err != nil {
		return err
	}
	return t.putChunks(t.enc.Chunk(t.buf[:0]))
}

// tellGap emits the begin of the gap, again until the log has taken it.
func (t *tape) tellGap() {
	if !t.gap.told {
		e := t.gapEvent(time.Time{})
		t.gap.told = t.spool.emit(e, event.TypeRecordingGap, event.CodeRecordingGap) == nil
	}
}

// endGap emits the end of the gap, with what was not recorded.
func (t *tape) endGap(now time.Time) {
	e := t.gapEvent(now)
	e.Bytes, e.Events = t.gap.bytes, t.gap.events
	_ = t.spool.emit(e, event.TypeRecordingGap, event.CodeRecordingGapEnd) // it is logged then
	t.gap = nil
}

func (t *tape) gapEvent(until time.Time) *event.RecordingGap {
	return &event.RecordingGap{User: event.User{User: t.info.User, Login: t.info.Login}, Session: event.Session{SessionID: t.info.SessionID},
		Server: event.Server{ServerID: t.spool.o.HostID, ServerHostname: t.info.Hostname}, Kind: t.info.Kind,
		Reason: reasonOf(t.gap.cause), Since: t.gap.since, Until: until}
}

// awaitAck waits until the auth service has all up to end.
func (t *tape) awaitAck(end int64) error {
	err := t.up.await(end, t.by.o.SyncTimeout, !t.info.Strict)
	if err == nil || !t.info.Strict {
		return nil // the disk has it, and it is shipped later
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		t.broken = fault.Wrap(err, fault.Unavailable, "the session cannot be recorded: the auth service does not take it")
	}
	return t.broken
}

// Close implements Recording.
func (t *tape) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
	why := recfmt.EndSession
	if t.broken != nil {
		why = recfmt.EndBroken
	}
	err := t.finish(why)
	if t.gap != nil {
		t.tellGap()
		t.gap.bytes += t.unsaved
		t.endGap(time.Now())
	}
	t.closeFiles()
	t.buf, t.stuck = nil, nil
	if t.up != nil {
		// Where the end could not be written, the chunks and the journal are what
		// there is, and all that was shown outside of gaps is in them.
		t.up.finish(t.path(journalSuffix), t.jmost, why, err == nil)
	}
	return nil
}

// finish writes the end of the recording.
func (t *tape) finish(why recfmt.Reason) error {
	if t.gap != nil {
		t.gap.tried = time.Time{}
		if !t.resume(time.Now()) {
			return t.gap.cause
		}
	}
	if t.enc == nil {
		return t.broken
	}
	if t.stuck != nil {
		if err := t.putChunks(t.stuck); err != nil {
			return err
		}
	}
	return t.putChunks(t.enc.Finish(t.buf[:0], why))
}

package audit

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types/event"
	"teleport/wholefile"
)

// LogOptions say where and how the auth service keeps the log.
type LogOptions struct {
	Dir     string // <data_dir>/log/blocks
	Cluster string
	// Signer is the log's own Ed25519 key, kept by keystore. It signs checkpoints.
	Signer crypto.Signer
	// Emitter takes the log's own alarms: the auth process's Writer, whose events
	// come back by Ingest like everybody's. Nil only logs them.
	Emitter Emitter
	// Publish hands each checkpoint to its witnesses: a compare-and-swap of the
	// audit_checkpoint document against the previous one, from where every replica
	// gets it. It is tried again until it succeeds; fault.Conflict raises an alarm.
	Publish func(ctx context.Context, c chain.Signed) error
	// Published is the checkpoint that the witnesses hold at the start, nil for none.
	Published *chain.Signed
	// A checkpoint is made after CheckpointEvents (10,000) or CheckpointInterval
	// (10 s), whichever comes first, when there is something new.
	CheckpointEvents   int
	CheckpointInterval time.Duration
	FileSize           int64 // when a new file starts (64 MiB)
	Log                *slog.Logger
}

// Log is the audit log as the auth service keeps it: append-only files of
// compressed blocks, synced before a batch is acknowledged, and checkpoints
// among them. Safe for concurrent use.
type Log struct {
	o     LogOptions
	codec *event.Codec
	enc   *zstd.Encoder // used under disk
	dec   *zstd.Decoder
	lock  *os.File
	full  chan struct{} // enough events for a checkpoint

	queueMu sync.Mutex
	queue   []*ingest

	disk   sync.Mutex // held by whoever appends
	file   logFile
	plain  []byte // buffers of a block: as it is,
	packed []byte // compressed,
	entry  []byte // and as it is written
	broken error  // a sync failed: what the disk has is not known until a restart
	open   func(path string) (logFile, error)

	mu      sync.RWMutex // guards what follows; changed only with disk held too
	st      state
	files   map[uint64]*os.File // open for reading
	ordinal uint64              // of the file that is appended to
	size    int64
	alarms  map[alarm]bool
	cut     *event.AuditCut // found at the start, told by Serve
	closed  bool
}

// logFile is what the log needs of the file it appends to; tests break it.
type logFile interface {
	Write([]byte) (int, error)
	Truncate(int64) error
	Sync() error
	Close() error
}

// state is the log's content as far as memory holds it.
type state struct {
	heads     map[chain.Writer]chain.Head
	changed   map[chain.Writer]bool // since the last checkpoint
	blocks    []blockRef
	points    []pointRef
	log       chain.Hash
	number    uint64 // last block
	received  time.Time
	events    uint64 // since the last checkpoint
	last      chain.Signed
	published bool // last is with the witnesses
}

// pointRef is where a checkpoint is.
type pointRef struct {
	file  uint64
	at    entry
	block uint64
}

// OpenLog opens the log, rebuilds its index from the files, and drops a torn
// tail, which was never acknowledged. It takes the directory for itself. Serve
// must run for checkpoints to be made.
func OpenLog(o LogOptions) (*Log, error) {
	if _, ok := o.Signer.Public().(ed25519.PublicKey); !ok {
		return nil, fault.New(fault.Invalid, "the audit log is signed with an Ed25519 key")
	}
	if o.CheckpointEvents <= 0 {
		o.CheckpointEvents = 10_000
	}
	if o.CheckpointInterval <= 0 {
		o.CheckpointInterval = 10 * time.Second
	}
	if o.FileSize <= 0 {
		o.FileSize = 64 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Log{o: o, codec: event.NewCodec(), open: openLogFile, full: make(chan struct{}, 1),
		files: make(map[uint64]*os.File), alarms: make(map[alarm]bool)}
	l.st = state{heads: make(map[chain.Writer]chain.Head), changed: make(map[chain.Writer]bool),
		log: chain.LogGenesis(o.Cluster), published: true}
	if err := l.openDisk(); err != nil {
		if cerr := l.closeFiles(); cerr != nil {
			o.Log.Error("audit log: close", "err", cerr)
		}
		return nil, err
	}
	return l, nil
}

func openLogFile(path string) (logFile, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

func (l *Log) openDisk() error {
	var err error
	if l.enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithLowerEncoderMem(true)); err != nil {
		return fault.Wrap(err, fault.Internal, "the audit log cannot compress")
	}
	if l.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(chain.MaxBlock)); err != nil {
		return fault.Wrap(err, fault.Internal, "the audit log cannot decompress")
	}
	if err := os.MkdirAll(l.o.Dir, 0o700); err != nil {
		return diskFault(err, "the audit log cannot be made", l.o.Dir)
	}
	lock, free, err := lockDir(l.o.Dir)
	if err != nil {
		return diskFault(err, "the audit log cannot be locked", l.o.Dir)
	}
	if !free {
		return fault.New(fault.Unavailable, "the audit log %s is in use by another process", l.o.Dir)
	}
	l.lock = lock
	if err := l.load(); err != nil {
		return err
	}
	return l.comparePublished()
}

// load reads the headers of all files.
func (l *Log) load() error {
	ordinals, err := blockFiles(l.o.Dir)
	if err != nil {
		return diskFault(err, "the audit log cannot be read", l.o.Dir)
	}
	for i, n := range ordinals {
		path := blockPath(l.o.Dir, n)
		f, err := os.Open(path)
		if err != nil {
			return diskFault(err, "the audit log cannot be read", path)
		}
		l.files[n] = f
		last := i == len(ordinals)-1
		good, torn, err := scanFile(f, last, func(e entry) error { return l.replay(n, e) })
		if errors.Is(err, errDamaged) {
			return fault.New(fault.Untrusted, "the audit log is damaged: %s at byte %d", path, good).
				WithHint("move the file aside with all that follow it, keep them, and start again; tctl audit verify will tell what is missing")
		}
		if err != nil {
			return diskFault(err, "the audit log cannot be read", path)
		}
		if torn {
			if err := l.dropTail(path, good); err != nil {
				return err
			}
		}
		l.ordinal, l.size = n, good
	}
	return nil
}

// dropTail cuts what a crash left behind the last good entry. The bytes are
// kept beside, as they may also be the trace of a hand.
func (l *Log) dropTail(path string, good int64) error {
	aside, err := unusedName(path + ".torn")
	if err != nil {
		return diskFault(err, "the audit log cannot be repaired after a crash", path)
	}
	b, err := os.ReadFile(path)
	if err == nil && int64(len(b)) > good {
		err = wholefile.Write(aside, b[good:], 0o600)
	}
	if err == nil {
		err = os.Truncate(path, good)
	}
	if err != nil {
		return diskFault(err, "the audit log cannot be repaired after a crash", path)
	}
	l.o.Log.Warn("audit log: bytes of an unfinished write were put aside", "file", aside, "bytes", int64(len(b))-good)
	return nil
}

// unusedName returns a path, with a number behind it where it is taken already.
func unusedName(path string) (string, error) {
	name := path
	for n := 2; ; n++ {
		if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
		name = fmt.Sprintf("%s.%d", path, n)
	}
}

// replay takes an entry read at the start into the state.
func (l *Log) replay(file uint64, e entry) error {
	if e.kind == kindPoint {
		b, err := e.readBody(l.files[file])
		if err != nil {
			return err
		}
		var s chain.Signed
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		return l.st.addPoint(file, e, s)
	}
	h, err := parseHeader(e.header)
	if err != nil {
		return err
	}
	l.st.addBlock(file, e, h)
	return nil
}

func (st *state) addBlock(file uint64, e entry, h blockHeader) {
	st.log = chain.LogNext(st.log, h.Number, h.Received, h.Runs)
	st.number, st.received = h.Number, h.Received
	for _, r := range h.Runs {
		st.heads[r.Writer] = chain.Head{Writer: r.Writer, Sequence: r.Last, Chain: r.Chain}
		st.changed[r.Writer] = true
		st.events += r.Last - r.First + 1
	}
	st.blocks = append(st.blocks, newBlockRef(file, e, h))
}

func (st *state) addPoint(file uint64, e entry, s chain.Signed) error {
	c, err := s.Open()
	if err != nil {
		return err
	}
	e.header = nil
	st.points = append(st.points, pointRef{file, e, c.Block})
	st.last, st.published = s, false
	st.changed = make(map[chain.Writer]bool)
	st.events = 0
	return nil
}

// comparePublished looks whether the log still holds what the witnesses saw.
func (l *Log) comparePublished() error {
	for _, s := range []*chain.Signed{l.o.Published, &l.st.last} {
		if s == nil || len(s.Body) == 0 {
			continue
		}
		c, err := s.Open()
		if err != nil {
			return err
		}
		if have, ok := l.hashAt(c.Block); !ok || have != c.Log {
			l.cut = &event.AuditCut{PublishedBlock: c.Block, FoundBlock: l.st.number}
			l.o.Log.Error("the audit log is not the one that was signed last", "signed_block", c.Block, "found_block", l.st.number)
		}
	}
	if p := l.o.Published; p != nil && p.Equal(l.st.last) {
		l.st.published = true
	}
	return nil
}

// hashAt recomputes the log's chain value after a block.
func (l *Log) hashAt(number uint64) (chain.Hash, bool) {
	if number > l.st.number {
		return chain.Hash{}, false
	}
	h := chain.LogGenesis(l.o.Cluster)
	for _, b := range l.st.blocks {
		if b.number > number {
			break
		}
		h = chain.LogNext(h, b.number, b.received, b.runs)
	}
	return h, true
}

// appendDisk writes one entry and syncs it. It is called with disk held.
func (l *Log) appendDisk(kind byte, header, body []byte) (uint64, entry, error) {
	if l.broken != nil {
		return 0, entry{}, fault.Wrap(l.broken, fault.Unavailable, "the audit log needs a restart: its disk failed")
	}
	if l.closed {
		return 0, entry{}, fault.New(fault.Unavailable, "the audit log is closed")
	}
	if err := l.roll(); err != nil {
		return 0, entry{}, diskFault(err, "the audit log takes no events", l.o.Dir)
	}
	b := appendEntry(l.entry[:0], kind, header, body)
	l.entry = kept(b)
	e := entry{kind: kind, offset: l.size, body: l.size + int64(entryHead+len(header)), size: len(body), crc: crcOf(body)}
	if _, err := l.file.Write(b); err != nil {
		if terr := l.file.Truncate(l.size); terr != nil {
			l.broken = errors.Join(err, terr)
		}
		return 0, entry{}, diskFault(err, "the audit log takes no events", l.o.Dir)
	}
	if err := l.file.Sync(); err != nil {
		l.broken = err
		return 0, entry{}, diskFault(err, "the audit log takes no events", l.o.Dir)
	}
	l.size += int64(len(b))
	return l.ordinal, e, nil
}

// roll opens the file to append to, a new one when the last is large enough.
func (l *Log) roll() error {
	if l.file != nil && l.size < l.o.FileSize {
		return nil
	}
	ordinal, size := l.ordinal, l.size
	if ordinal == 0 || size >= l.o.FileSize {
		ordinal, size = ordinal+1, 0
	}
	if l.file != nil {
		err := l.file.Close()
		l.file = nil
		if err != nil {
			return err
		}
	}
	path := blockPath(l.o.Dir, ordinal)
	f, err := l.open(path)
	if err != nil {
		return err
	}
	r := l.files[ordinal]
	if r == nil {
		if r, err = os.Open(path); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := syncDir(l.o.Dir); err != nil {
		return errors.Join(err, f.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file, l.ordinal, l.size, l.files[ordinal] = f, ordinal, size, r
	return nil
}

// Close ends the log: further calls fail. Serve should have returned.
func (l *Log) Close() error {
	l.disk.Lock()
	defer l.disk.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	return l.closeFiles()
}

func (l *Log) closeFiles() error {
	var errs []error
	if l.file != nil {
		errs = append(errs, l.file.Close())
	}
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	if l.enc != nil {
		errs = append(errs, l.enc.Close())
	}
	if l.dec != nil {
		l.dec.Close()
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

package recorder

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"teleport/audit"
	"teleport/fault"
	"teleport/lifecycle"
	"teleport/types/event"
)

// Uploader is the auth service as a spool sees it. Its errors are faults; those
// of kind Conflict, Invalid and Untrusted say that it will never take the
// recording, all others are tried again.
type Uploader interface {
	// AppendRecording sends the bytes that follow what is held and returns how much
	// is durable there. What is held already is compared and skipped.
	AppendRecording(ctx context.Context, sessionID string, offset uint64, data []byte) (held uint64, err error)
	// FinishRecording is AppendRecording of the last bytes, and CompleteRecording
	// unless stored is false.
	FinishRecording(ctx context.Context, sessionID string, offset uint64, data []byte) (held uint64, stored bool, err error)
	// RecordingHeld tells from where to go on, and whether it is stored.
	RecordingHeld(ctx context.Context, sessionID string) (held uint64, stored bool, err error)
	// CompleteRecording returns once the whole recording is stored.
	CompleteRecording(ctx context.Context, sessionID string, size uint64) error
}

// SpoolOptions say where recordings wait and where they go.
type SpoolOptions struct {
	// Dir is <data_dir>/log/upload; the spool makes a directory in it.
	Dir     string
	HostID  string // UUID
	Cluster string
	// Generation is this process's own: used once, and higher than any before.
	Generation uint64
	// Quota bounds the bytes of all recordings in Dir. Zero means DefaultQuota, or
	// what the disk has to give when that is less.
	Quota  int64
	Upload Uploader
	Audit  audit.Emitter
	Log    *slog.Logger // nil discards
	// Backoff is between attempts to ship one recording; default 500 ms doubling
	// to 1 min.
	Backoff lifecycle.Backoff
	// Timeout is of one call (default 30 s), Rescan how often the recordings of
	// ended processes are looked for (default 1 min).
	Timeout, Rescan time.Duration
}

// DefaultQuota is how much may wait on disk when nothing else is said.
const DefaultQuota = 10 << 30

// Spool is where the recordings of this process wait on disk, each in two files:
// the chunks, which only grow, and the journal, which holds what came since the
// last chunk. What was written survives the death of the process; the next one
// finds it. Safe for concurrent use.
type Spool struct {
	o    SpoolOptions
	dir  string // of this generation
	lock *os.File
	open func(path string) (file, error)
	used atomic.Int64

	mu      sync.Mutex
	wake    *sync.Cond
	queue   []*upload
	uploads map[*upload]struct{}
	adopted map[string]*os.File // directories of ended processes, with their locks
	stopped bool
}

// file is what a recording needs of an open file; tests break it.
type file interface {
	WriteAt(p []byte, off int64) (int, error)
	Close() error
}

func createFile(path string) (file, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// NewSpool makes the directory of this generation and takes its lock. It
// starts nothing.
func NewSpool(o SpoolOptions) (*Spool, error) {
	if o.Dir == "" || o.HostID == "" || o.Cluster == "" || o.Generation == 0 || o.Upload == nil || o.Audit == nil {
		return nil, errors.New("recorder: incomplete options")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Backoff == (lifecycle.Backoff{}) {
		o.Backoff = lifecycle.Backoff{Min: 500 * time.Millisecond, Max: time.Minute}
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Rescan <= 0 {
		o.Rescan = time.Minute
	}
	s := &Spool{o: o, dir: filepath.Join(o.Dir, strconv.FormatUint(o.Generation, 10)), open: createFile,
		uploads: map[*upload]struct{}{}, adopted: map[string]*os.File{}}
	s.wake = sync.NewCond(&s.mu)
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, diskFault(err, "the spool of recordings cannot be made")
	}
	lock, free, err := lockDir(s.dir)
	if err == nil && !free {
		err = errors.New("another process has it")
	}
	if err != nil {
		return nil, diskFault(err, "the spool of recordings cannot be locked")
	}
	s.lock = lock
	// A data directory that was put back from a copy has generations that come again.
	before, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, errors.Join(diskFault(err, "the spool of recordings cannot be read"), lock.Close())
	}
	s.pick(s.dir, "", before)
	s.used.Store(treeSize(o.Dir))
	if s.o.Quota <= 0 {
		s.o.Quota = min(DefaultQuota, s.used.Load()+freeSpace(o.Dir)/10*9)
	}
	return s, nil
}

// Close gives the directory up; what is still in it is the next process's. Call
// it after Serve has returned and the recordings are closed.
func (s *Spool) Close() error {
	if entries, err := os.ReadDir(s.dir); err == nil && len(entries) == 1 { // the lock
		if err := os.RemoveAll(s.dir); err != nil {
			s.o.Log.Warn("an empty spool directory stays", "error", err)
		}
	}
	return s.lock.Close()
}

// reserve counts bytes against the quota before they are written.
func (s *Spool) reserve(n int64) error {
	if used := s.used.Add(n); used > s.o.Quota {
		s.used.Add(-n)
		return fault.New(fault.Limit, "the spool of recordings is full: %d MB wait for the auth service", (used-n)>>20).
			WithHint("Bring the auth service back, or raise teleport.recording_spool_quota.")
	}
	return nil
}

// emitWithin bounds what a slow disk may cost.
const emitWithin = 10 * time.Second

// emit tells the audit log. Its failure is the caller's to remember.
func (s *Spool) emit(e event.Event, typ, code string) error {
	m := e.EventMeta()
	m.Type, m.Code = typ, code
	ctx, cancel := context.WithTimeout(context.Background(), emitWithin)
	defer cancel()
	err := s.o.Audit.Emit(ctx, e)
	if err != nil {
		s.o.Log.Error("audit event could not be kept", "event", typ, "error", err)
	}
	return err
}

const lockName = "lock"

// lockDir takes the lock of a directory, which the kernel drops when this
// process ends in whatever way. It is false when another holds it.
func lockDir(dir string) (*os.File, bool, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, true, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, false, f.Close()
	}
	return nil, false, errors.Join(err, f.Close())
}

func diskFault(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
		return fault.Wrap(err, fault.Unavailable, "%s: the disk is full", what)
	case fault.KindOf(err) == fault.Limit:
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "%s: the disk does not take it", what)
}

// reasonOf is why the disk did not take it, as the audit log says it.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
		return "disk_full"
	case errors.Is(err, fault.Limit):
		return "quota"
	case errors.Is(err, errNoKey):
		return "no_key"
	}
	return "disk"
}

func treeSize(dir string) (n int64) {
	//nolint:errcheck // what cannot be read is not counted
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

func freeSpace(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return DefaultQuota
	}
	return int64(st.Bavail) * st.Bsize
}

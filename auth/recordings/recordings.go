// Package recordings is the auth service's half of recording: it takes the bytes
// of recordings as they are made, proves each frame before it acknowledges it,
// stores what is whole, closes what its agent left behind, and opens stored
// recordings for those who may read them. Who may is decided by its caller.
//
// A recording under way is a file in a staging directory that holds the very
// bytes of its agent. What is acknowledged is synced there, or stored already. It leaves the
// directory only after the storage has confirmed all of it, the session.upload
// event is safe and the catalogue names it, in this order, so that whatever stops
// in between is done again and nothing is lost. The storage may be away for as
// long as it likes: the file waits, and so does the agent's own copy.
//
// A recording belongs to the process that began it, by the host UUID in its
// segments, which is compared with the caller's certificate.
package recordings

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"teleport/audit"
	"teleport/backend"
	"teleport/blob"
	"teleport/fault"
	"teleport/lifecycle"
	"teleport/recfmt"
)

// Bounds of recordings and of what one process may have under way.
const (
	MaxAppend = 4 << 20 // bytes of one call
	MaxSize   = recfmt.MaxSize
	MaxChunks = recfmt.MaxChunks
	maxHeld   = 10000 // recordings under way of one process
)

// Defaults of Deps.
const (
	DefaultAbandon = 3 * time.Minute
	// quietFor closes a recording of a process that lives and says nothing: its
	// spool is gone, or its session is idle, and then it goes on as a longer copy.
	quietFor = 24 * time.Hour
	// storeAt is how many recordings are stored at once.
	storeAt = 4
)

// Presence tells which processes live.
type Presence interface {
	// Present reports whether that generation of a process holds a stream to some
	// auth service.
	Present(ctx context.Context, uuid string, generation uint64) (bool, error)
}

// Painter paints the screen of a moment, from what was prepared when a recording
// was stored.
type Painter interface {
	// Paint returns records that show the screen as it was at a moment not after
	// at, and that moment: the playback goes on with the records after it. Without a
	// picture it returns none, and the playback begins with the first record.
	Paint(ctx context.Context, m *Meta, at time.Duration) (records []recfmt.Record, from time.Duration, err error)
}

// Deps are what the service works with. Fields are required unless they say
// otherwise.
type Deps struct {
	Dir      string // of recordings under way; made where it is missing
	Blobs    blob.Store
	Backend  backend.Backend
	Keys     *Keys
	Presence Presence
	Events   audit.Emitter
	Log      *slog.Logger
	Painter  Painter // nil: playbacks begin with the records of their moment
	// Stored is told of each recording that was stored; nil: nobody. It must not
	// block.
	Stored  func(sessionID string)
	Abandon time.Duration // how long a recording waits for a process that is gone; 0: DefaultAbandon
	// Space tells the free bytes of Dir's disk, and all; nil: the system is asked.
	Space func() (free, total uint64)
	Now   func() time.Time // nil: time.Now
}

// Service keeps recordings. Safe for concurrent use. Serve stores what is
// complete; without it Complete waits in vain.
type Service struct {
	d    Deps
	rows catalogue
	sync syncer
	work chan *storing

	openers openers

	mu      sync.Mutex
	entries map[string]*entry
	held    map[string]int // recordings under way, by process
	full    time.Time      // when the log was last told of a disk without room
}

// New opens the staging directory. It starts nothing.
func New(d Deps) (*Service, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Abandon == 0 {
		d.Abandon = DefaultAbandon
	}
	if d.Space == nil {
		d.Space = func() (uint64, uint64) { return space(d.Dir) }
	}
	if err := os.MkdirAll(d.Dir, 0o700); err != nil {
		return nil, fault.Unwritable(err, d.Dir)
	}
	dir, err := os.Open(d.Dir)
	if err != nil {
		return nil, fault.Unreadable(err, d.Dir)
	}
	s := &Service{d: d, rows: catalogue{d.Backend}, sync: syncer{dir: dir}, work: make(chan *storing),
		entries: map[string]*entry{}, held: map[string]int{}}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, errors.Join(fault.Unreadable(err, d.Dir), dir.Close())
	}
	for _, name := range names {
		id, ok := strings.CutSuffix(name, stagedSuffix)
		if ok && CheckSessionID(id) == nil {
			s.entries[id] = s.newEntry(id)
		}
	}
	return s, nil
}

// Close frees the staging directory, after Serve.
func (s *Service) Close() error { return s.sync.dir.Close() }

const stagedSuffix = ".rec"

func (s *Service) path(id string) string { return filepath.Join(s.d.Dir, id+stagedSuffix) }

// Serve stores complete recordings and closes abandoned ones until ctx ends.
func (s *Service) Serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for range storeAt {
		g.Go(func() error {
			for {
				select {
				case j := <-s.work:
					s.finish(ctx, j)
				case <-ctx.Done():
					return nil
				}
			}
		})
	}
	g.Go(func() error {
		for lifecycle.Sleep(ctx, s.d.Abandon/6) == nil {
			s.sweep(ctx)
		}
		return nil
	})
	return g.Wait()
}

// lookup returns the recording under way of a session, nil when there is none.
func (s *Service) lookup(id string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[id]
}

// locked returns a recording under way with its lock held, loaded, or nil when
// there is none.
func (s *Service) locked(id string) (*entry, error) {
	for {
		e := s.lookup(id)
		if e == nil {
			return nil, nil //nolint:nilnil // nothing under way is no failure
		}
		e.mu.Lock()
		if e.dropped {
			e.mu.Unlock()
			continue // it was stored, or is another one by now
		}
		if err := e.load(); err != nil {
			e.mu.Unlock()
			return nil, err
		}
		return e, nil
	}
}

// adopt returns the recording under way of a session with its lock held, a new
// one where there is none.
func (s *Service) adopt(id, host string) (*entry, error) {
	for {
		if e, err := s.locked(id); e != nil || err != nil {
			return e, err
		}
		s.mu.Lock()
		if s.entries[id] != nil {
			s.mu.Unlock()
			continue
		}
		if s.held[host] >= maxHeld {
			s.mu.Unlock()
			return nil, fault.New(fault.Limit, "the process has %d recordings under way", maxHeld)
		}
		e := s.newEntry(id)
		e.mu.Lock()
		s.entries[id] = e
		s.mu.Unlock()
		if err := e.create(); err != nil {
			s.drop(e)
			e.mu.Unlock()
			return nil, err
		}
		return e, nil
	}
}

// drop forgets a recording under way, whose lock the caller holds.
func (s *Service) drop(e *entry) {
	e.own("")
	e.dropped = true
	e.wake()
	s.mu.Lock()
	delete(s.entries, e.id)
	s.mu.Unlock()
}

// discard removes a recording under way with its file.
func (s *Service) discard(e *entry) error {
	s.drop(e)
	if err := os.Remove(s.path(e.id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Unwritable(err, s.path(e.id))
	}
	return nil
}

// snapshot is all recordings under way.
func (s *Service) snapshot() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.entries))
	for id := range s.entries {
		ids = append(ids, id)
	}
	return ids
}

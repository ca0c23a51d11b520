package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"teleport/audit/audittest"
	"teleport/lifecycle"
	"teleport/recfmt"
	"teleport/recorder/recordertest"
	"teleport/types/event"
)

// world is one host with an auth service that it ships to.
type world struct {
	t      *testing.T
	dir    string
	auth   *recordertest.Auth
	events *audittest.Recorder
	key    *age.HybridIdentity
	mode   string
	keys   []string
	quota  int64
	gen    uint64
	pace   bool // attempts at the pace of a real host
}

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, dir: t.TempDir(), auth: recordertest.NewAuth(), events: audittest.NewRecorder(), key: key, mode: "node", keys: []string{key.Recipient().String()}}
}

// process is one generation of the host.
type process struct {
	*world
	spool *Spool
	rec   *Sessions
	stop  func()
	dead  bool
}

// start makes the next generation; it ships when ship is true.
func (w *world) start(ship bool) *process {
	w.t.Helper()
	w.gen++
	o := SpoolOptions{Dir: w.dir, HostID: "host", Cluster: "c", Generation: w.gen, Quota: w.quota, Upload: w.auth, Audit: w.events}
	if !w.pace {
		o.Backoff, o.Rescan = lifecycle.Backoff{Min: time.Millisecond, Max: 5 * time.Millisecond}, 10*time.Millisecond
	}
	s, err := NewSpool(o)
	if err != nil {
		w.t.Fatal(err)
	}
	rec, err := NewSessions(SessionsOptions{Spool: s, Mode: func() string { return w.mode }, Keys: func() ([]string, bool) { return w.keys, true },
		SyncTimeout: 100 * time.Millisecond})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	if ship {
		wg.Go(func() { s.Serve(ctx) }) //nolint:errcheck // it returns nil
	}
	p := &process{world: w, spool: s, rec: rec}
	p.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if p.dead {
			return
		}
		if err := s.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(p.stop)
	return p
}

func sessionID(n int) string { return fmt.Sprintf("0f8e1a64-5b7c-4a57-9c3e-%012d", n) }

func (p *process) begin(n int, strict bool) Recording {
	p.t.Helper()
	r, err := p.rec.Start(context.Background(), Info{SessionID: sessionID(n), Kind: "ssh", User: "alice", Login: "root", HostID: "host",
		Start: time.Now(), Strict: strict})
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func show(t *testing.T, r Recording, text string) {
	t.Helper()
	if err := r.Show(Output, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func closeIt(t *testing.T, r Recording) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// stored waits for a recording to be stored and opens it.
func (w *world) stored(n int) ([]recfmt.Record, *recfmt.End) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := w.auth.Wait(ctx, sessionID(n), func(_ []byte, stored bool) bool { return stored }); err != nil {
		b, _ := w.auth.Held(sessionID(n))
		w.t.Fatalf("session %d is not stored (%d bytes held)", n, len(b))
	}
	b, _ := w.auth.Held(sessionID(n))
	rs, end, err := recordertest.Records(sessionID(n), b, w.key)
	if err != nil || end == nil {
		w.t.Fatalf("session %d: end %v, %v", n, end, err)
	}
	return rs, end
}

func (w *world) wantOutput(n int, want string, why recfmt.Reason) []recfmt.Record {
	w.t.Helper()
	rs, end := w.stored(n)
	if got := string(recordertest.Output(rs)); got != want || end.Reason != why {
		w.t.Errorf("session %d: %d bytes of output, want %d; end %v, want %v; got %.80q", n, len(got), len(want), end.Reason, why, got)
	}
	return rs
}

// empty waits until nothing is left in the spool but locks.
func (w *world) empty() {
	w.t.Helper()
	w.until("the spool is empty", func() bool {
		left, err := filepath.Glob(filepath.Join(w.dir, "*", "*.*"))
		return err == nil && len(left) == 0
	})
}

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			w.t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// kill ends a generation as the kernel would: nothing is closed, the lock falls.
func (p *process) kill() {
	p.t.Helper()
	if err := p.spool.lock.Close(); err != nil {
		p.t.Fatal(err)
	}
	p.dead = true
}

// disk is a disk that can be full: it takes room bytes more.
type disk struct {
	mu   sync.Mutex
	room int
}

func (d *disk) open(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	return &diskFile{File: f, d: d}, err
}

func (d *disk) set(room int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = room
}

type diskFile struct {
	*os.File
	d *disk
}

// WriteAt takes what there is room for, as a file system does.
func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	n := min(len(p), f.d.room)
	f.d.room -= n
	m, err := f.File.WriteAt(p[:n], off)
	if err == nil && n < len(p) {
		err = unix.ENOSPC
	}
	return m, err
}

var errAway = errors.New("away")

func lines(n int) string {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "line %d of what was shown on the terminal\r\n", i)
	}
	return b.String()
}

// auditNone takes every event.
type auditNone struct{}

func (auditNone) Emit(context.Context, ...event.Event) error { return nil }

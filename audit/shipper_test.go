package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types/event"
)

// die ends a writer as kill -9 does: nothing is flushed, the kernel drops the
// lock.
func die(t *testing.T, w *Writer) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	if err := w.lock.Close(); err != nil {
		t.Error(err)
	}
	if w.file != nil {
		if err := w.file.Close(); err != nil {
			t.Error(err)
		}
		w.file = nil
	}
	w.lock, _ = os.Open(os.DevNull) // for Close at the end of the test
}

// farAuth is an auth service that may be away, or lose its answers.
type farAuth struct {
	log     *Log
	away    atomic.Bool
	mute    atomic.Bool // takes batches, and the acknowledgement gets lost
	batches atomic.Int64
}

func (f *farAuth) ship(ctx context.Context, b chain.Batch) (uint64, error) {
	f.batches.Add(1)
	if f.away.Load() {
		return 0, fault.New(fault.Unavailable, "no route to auth")
	}
	ack, err := f.log.Ingest(ctx, Caller{UUID: b.UUID}, b)
	if f.mute.Load() {
		return 0, fault.New(fault.Timeout, "no answer")
	}
	return ack, err
}

// serve runs a shipper until the returned function is called.
func serve(t *testing.T, s *Shipper) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestNothingIsLost is the promise of the whole: auth is away for ten minutes,
// the agent is killed meanwhile and comes back, and every event is there once.
func TestNothingIsLost(t *testing.T) {
	dir, logDir := spoolDir(t), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		log := openLog(t, logDir)
		auth := &farAuth{log: log}
		auth.away.Store(true)
		first := newWriter(t, dir, hostA)
		kill := serve(t, NewShipper(first, auth.ship, ShipperOptions{}))
		var want []string
		tick := func(w *Writer, what string, n int) {
			for i := range n {
				name := fmt.Sprint(what, " ", i)
				emit(t, w, exec("alice", name))
				want = append(want, name)
				time.Sleep(time.Second)
			}
		}
		tick(first, "before the kill", 300)
		die(t, first)
		kill()
		second := newWriter(t, dir, hostA)
		shipper := NewShipper(second, auth.ship, ShipperOptions{})
		stop := serve(t, shipper)
		tick(second, "after the kill", 300)
		if n := auth.batches.Load(); n > 100 {
			t.Errorf("%d attempts in ten minutes: no backoff", n)
		}
		auth.away.Store(false)
		auth.mute.Store(true)
		time.Sleep(time.Minute)
		auth.mute.Store(false)
		time.Sleep(2 * time.Minute)
		if err := shipper.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		got, err := log.Search(t.Context(), Query{Limit: 5000, Ascending: true})
		if err != nil {
			t.Fatal(err)
		}
		if g := commands(t, got); strings.Join(g, "\n") != strings.Join(want, "\n") {
			t.Errorf("%d events of %d arrived", len(g), len(want))
		}
		if _, err := os.Stat(first.dir); !os.IsNotExist(err) {
			t.Errorf("the shipped spool of the killed process is still there: %v", err)
		}
		if r := verifyOK(t, log, nil); r.Writers != 2 {
			t.Errorf("%d writers", r.Writers)
		}
	})
}

// TestAFloodLeavesInFewBatches: the first event after a rest leaves at once, and
// those that follow it wait for each other.
func TestAFloodLeavesInFewBatches(t *testing.T) {
	dir, logDir := spoolDir(t), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		auth := &farAuth{log: openLog(t, logDir)}
		w := newWriter(t, dir, hostA)
		s := NewShipper(w, auth.ship, ShipperOptions{})
		stop := serve(t, s)
		defer stop()
		arrived := func(n int64) {
			t.Helper()
			synctest.Wait()
			if got := auth.batches.Load(); got != n {
				t.Errorf("%d batches, not %d", got, n)
			}
		}
		emit(t, w, exec("alice", "first"))
		arrived(1)
		for range 100 {
			emit(t, w, exec("alice", "more"))
			time.Sleep(s.o.Pace / 200)
		}
		arrived(1)
		time.Sleep(s.o.Pace / 2)
		arrived(2)
		if !w.state().drained() {
			t.Error("some have not arrived")
		}
		time.Sleep(time.Minute)
		emit(t, w, exec("alice", "after a rest"))
		arrived(3)
	})
}

// TestRunningGenerationShipsForItself: a draining process keeps its own spool.
func TestRunningGenerationShipsForItself(t *testing.T) {
	dir, logDir := spoolDir(t), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		auth := &farAuth{log: openLog(t, logDir)}
		old, young := newWriter(t, dir, hostA), newWriter(t, dir, hostA)
		emit(t, old, exec("alice", "still here"))
		stop := serve(t, NewShipper(young, auth.ship, ShipperOptions{}))
		time.Sleep(5 * time.Minute)
		if auth.batches.Load() != 0 {
			t.Error("the spool of a running process was shipped by another")
		}
		die(t, old)
		time.Sleep(2 * time.Minute)
		stop()
		if r := verifyOK(t, auth.log, nil); r.Events != 1 {
			t.Errorf("%d events", r.Events)
		}
	})
}

func TestRefusedSpoolIsKeptAndTold(t *testing.T) {
	dir, logDir := spoolDir(t), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		log := openLog(t, logDir)
		old := newWriter(t, dir, hostB) // the host joined anew since
		emit(t, old, exec("alice", "under the old name"))
		die(t, old)
		w := newWriter(t, dir, hostA)
		stop := serve(t, NewShipper(w, func(ctx context.Context, b chain.Batch) (uint64, error) {
			return log.Ingest(ctx, Caller{UUID: hostA}, b)
		}, ShipperOptions{}))
		time.Sleep(3 * time.Minute)
		stop()
		if _, err := os.Stat(old.dir + ".refused"); err != nil {
			t.Errorf("the refused spool is not kept: %v", err)
		}
		r, err := log.Search(t.Context(), Query{Types: []string{"audit.refused"}})
		if err != nil || len(r.Events) != 1 || !strings.Contains(string(r.Events[0].JSON), hostB) {
			t.Errorf("the refusal is not in the log: %v, %v", r, err)
		}
	})
}

// What auth refuses for good is set aside, and the process goes on: an event that
// auth does not take, and an auth that was restored from an older copy.
func TestRefusedLiveSpoolIsSetAside(t *testing.T) {
	restore := func(t *testing.T, w *Writer, auth *farAuth) {
		auth.log = openLog(t, t.TempDir())
		emit(t, w, exec("alice", "in the gap"))
	}
	for name, c := range map[string]struct {
		spoil   func(t *testing.T, w *Writer, auth *farAuth)
		segment int64
		want    int  // of the ten events from before, that in the gap, and that after
		aside   bool // the old spool
	}{
		"poison": {func(t *testing.T, w *Writer, _ *farAuth) {
			emit(t, w, &event.Exec{Meta: event.Meta{Code: event.CodeExec}, Server: event.Server{ServerID: hostB, ForwardedBy: "x"}})
		}, 0, 11, true},
		"restored, and the spool has it all": {restore, 0, 12, false},
		"restored":                           {restore, 300, 1, true},
	} {
		dir, logDir := spoolDir(t), t.TempDir()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				auth := &farAuth{log: openLog(t, logDir)}
				w, err := NewWriter(WriterOptions{Dir: dir, HostUUID: hostA, Cluster: "test", SegmentSize: c.segment})
				if err != nil {
					t.Fatal(err)
				}
				defer closeOK(t, w)
				first := w.dir
				s := NewShipper(w, func(ctx context.Context, b chain.Batch) (uint64, error) {
					for _, r := range b.Records {
						if !auth.away.Load() && strings.Contains(string(r.Event), hostB) && strings.Contains(string(r.Event), "exec") {
							return 0, fault.New(fault.Invalid, "poison")
						}
					}
					return auth.ship(ctx, b)
				}, ShipperOptions{})
				stop := serve(t, s)
				for i := range 10 {
					emit(t, w, exec("alice", fmt.Sprint("before ", i)))
				}
				emit(t, w, &event.SessionStart{Session: event.Session{SessionID: "alive"}})
				if err := s.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				auth.away.Store(true) // until somebody waits for what will be refused
				c.spoil(t, w, auth)
				flushed := make(chan error, 1)
				go func() { flushed <- s.Flush(t.Context()) }()
				synctest.Wait()
				auth.away.Store(false)
				if err := <-flushed; !errors.Is(err, fault.Conflict) {
					t.Errorf("flush of what is refused: %v", err)
				}
				emit(t, w, exec("alice", "after"))
				time.Sleep(5 * time.Minute)
				if err := s.Flush(t.Context()); err != nil {
					t.Error(err)
				}
				if _, err := os.Stat(first + ".refused"); (err == nil) != c.aside {
					t.Errorf("the old spool aside: %v, want %v", err, c.aside)
				}
				r, err := auth.log.Search(t.Context(), Query{Types: []string{event.TypeExec}, Limit: 100, Ascending: true})
				if err != nil {
					t.Fatal(err)
				}
				got := commands(t, r)
				if len(got) != c.want || got[len(got)-1] != "after" {
					t.Errorf("the log has %q", got)
				}
				told, err := auth.log.Search(t.Context(), Query{Types: []string{"audit.refused"}})
				if err != nil || len(told.Events) == 0 {
					t.Errorf("the refusal is not in the log: %v", err)
				}
				if ends, _ := auth.log.Search(t.Context(), Query{Types: []string{event.TypeSessionEnd}}); len(ends.Events) != 0 {
					t.Error("a session that lives was ended")
				}
				emit(t, w, &event.SessionEnd{Session: event.Session{SessionID: "alive"}})
				stop()
				verifyOK(t, auth.log, nil)
			})
		})
	}
}

// An auth that refuses this process altogether, as under a lock, costs nothing:
// all is shipped when it takes the process again.
func TestRefusedProcessKeepsItsEvents(t *testing.T) {
	dir, logDir := spoolDir(t), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		auth := &farAuth{log: openLog(t, logDir)}
		var locked atomic.Bool
		w := newWriter(t, dir, hostA)
		s := NewShipper(w, func(ctx context.Context, b chain.Batch) (uint64, error) {
			if locked.Load() {
				return 0, fault.New(fault.Denied, "a lock is in force")
			}
			return auth.ship(ctx, b)
		}, ShipperOptions{})
		stop := serve(t, s)
		emit(t, w, exec("alice", "0"))
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		locked.Store(true)
		for i := range 9 {
			emit(t, w, exec("alice", fmt.Sprint(i+1)))
			time.Sleep(time.Hour)
		}
		if dirs, _ := os.ReadDir(dir); len(dirs) > 3 { // two generations and the counter
			t.Errorf("%d spools", len(dirs))
		}
		locked.Store(false)
		time.Sleep(5 * time.Minute)
		stop()
		r, err := auth.log.Search(t.Context(), Query{Types: []string{event.TypeExec}, Limit: 100})
		if err != nil || len(r.Events) != 10 {
			t.Errorf("%d events of 10, %v", len(r.Events), err)
		}
	})
}

func TestDamagedSpoolIsKeptAndTold(t *testing.T) {
	for _, c := range []struct {
		name    string
		spoil   func(b []byte) []byte
		damaged string
		suffix  string
	}{
		{"torn", func(b []byte) []byte { return b[:len(b)-5] }, `"damaged":false`, ""},
		{"damaged", func(b []byte) []byte { b[len(b)-5] ^= 1; return b }, `"damaged":true`, ".damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, logDir := spoolDir(t), t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				auth := &farAuth{log: openLog(t, logDir)}
				old := newWriter(t, dir, hostA)
				emit(t, old, exec("alice", "one"), exec("alice", "two"))
				die(t, old)
				path := old.dir + "/" + segmentName(1)
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, c.spoil(b), 0o600); err != nil {
					t.Fatal(err)
				}
				stop := serve(t, NewShipper(newWriter(t, dir, hostA), auth.ship, ShipperOptions{}))
				time.Sleep(3 * time.Minute)
				stop()
				r, err := auth.log.Search(t.Context(), Query{Ascending: true})
				if err != nil || len(r.Events) != 2 || !strings.Contains(string(r.Events[1].JSON), c.damaged) {
					t.Errorf("found %v, %v", r, err)
				}
				if _, err := os.Stat(old.dir + c.suffix); (err == nil) != (c.suffix != "") {
					t.Errorf("spool: %v", err)
				}
			})
		})
	}
}

func TestShippedSegmentsAreDeleted(t *testing.T) {
	dir, logDir := spoolDir(t), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		auth := &farAuth{log: openLog(t, logDir)}
		w, err := NewWriter(WriterOptions{Dir: dir, HostUUID: hostA, Cluster: "test", SegmentSize: 2000})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			emit(t, w, exec("alice", fmt.Sprint(i)))
		}
		before := w.Stats().Bytes
		s := NewShipper(w, auth.ship, ShipperOptions{})
		stop := serve(t, s)
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 100 { // and goes on behind deleted segments
			emit(t, w, exec("alice", fmt.Sprint(100+i)))
		}
		stop()
		if names, _ := segments(w.dir); len(names) != 1 {
			t.Errorf("%d segments stay", len(names))
		}
		if st := w.Stats(); st.Acknowledged != 200 || st.Bytes > 3000 || before < 20_000 {
			t.Errorf("before %d, now %+v", before, st)
		}
		closeOK(t, w)
		if _, err := os.Stat(w.dir); !os.IsNotExist(err) {
			t.Errorf("the spool stays after everything was shipped: %v", err)
		}
	})
}

func TestFlushSaysWhyItDoesNotEnd(t *testing.T) {
	dir := spoolDir(t)
	synctest.Test(t, func(t *testing.T) {
		auth := &farAuth{}
		auth.away.Store(true)
		w := newWriter(t, dir, hostA)
		emit(t, w, exec("alice", "x"))
		s := NewShipper(w, auth.ship, ShipperOptions{})
		defer serve(t, s)()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := s.Flush(ctx)
		if !errors.Is(err, fault.Timeout) || !strings.Contains(err.Error(), "no route to auth") {
			t.Errorf("flush: %v", err)
		}
	})
}

// TestKilledProcessEndsItsSessions: the next process writes the ends that the
// killed one could not, also for a session whose start is long shipped.
func TestKilledProcessEndsItsSessions(t *testing.T) {
	dir, logDir := spoolDir(t), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		auth := &farAuth{log: openLog(t, logDir)}
		old, err := NewWriter(WriterOptions{Dir: dir, HostUUID: hostA, Cluster: "test", SegmentSize: 3000})
		if err != nil {
			t.Fatal(err)
		}
		s := NewShipper(old, auth.ship, ShipperOptions{})
		stop := serve(t, s)
		start := func(sid string) *event.SessionStart {
			return &event.SessionStart{Session: event.Session{SessionID: sid}, User: event.User{User: "alice"}, Size: "80:25",
				Server: event.Server{ServerID: hostA}}
		}
		emit(t, old, start("early"), start("ended"), &event.SessionEnd{Session: event.Session{SessionID: "ended"}})
		for i := range 50 {
			emit(t, old, exec("alice", fmt.Sprint(i)))
		}
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		auth.away.Store(true)
		emit(t, old, start("late"))
		time.Sleep(time.Minute)
		emit(t, old, &event.Resize{Session: event.Session{SessionID: "late"}, Size: "1:1"})
		die(t, old)
		stop()
		auth.away.Store(false)
		if names, _ := segments(old.dir); len(names) == 0 || names[0] == 1 {
			t.Errorf("the first segment should be shipped and gone: %v", names)
		}
		stop = serve(t, NewShipper(newWriter(t, dir, hostA), auth.ship, ShipperOptions{}))
		time.Sleep(3 * time.Minute)
		stop()
		r, err := auth.log.Search(t.Context(), Query{Types: []string{event.TypeSessionEnd}})
		if err != nil {
			t.Fatal(err)
		}
		ends := make(map[string]event.SessionEnd)
		for _, f := range r.Events {
			var e event.SessionEnd
			if err := json.Unmarshal(f.JSON, &e); err != nil {
				t.Fatal(err)
			}
			ends[e.SessionID] = e
		}
		if len(r.Events) != 3 || ends["early"].Reason != "crash" || ends["ended"].Reason != "" {
			t.Errorf("ends: %+v", ends)
		}
		if e := ends["late"]; e.User.User != "alice" || !e.Interactive || e.Stop.Sub(e.Start) != time.Minute {
			t.Errorf("the end of the late session: %+v", e)
		}
	})
}

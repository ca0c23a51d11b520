package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types/event"
)

func TestIngestTakesABatchOnce(t *testing.T) {
	l := openLog(t, t.TempDir())
	w := newFakeWriter(hostA, 1)
	one, two := w.batch(t, exec("a", "1"), exec("a", "2")), w.batch(t, exec("a", "3"))
	ingestOK(t, l, one)
	ingestOK(t, l, one) // again, its answer was lost
	ingestOK(t, l, two)
	both := chain.Batch{Writer: w.w, Previous: one.Previous, Records: append(slices.Clone(one.Records), two.Records...)}
	ingestOK(t, l, both)
	if ack, err := l.Ingest(t.Context(), Caller{UUID: hostA}, one); err != nil || ack != 3 {
		t.Errorf("old batch: ack %d, %v", ack, err)
	}
	overlap := chain.Batch{Writer: w.w, Previous: two.Previous, Records: append(slices.Clone(two.Records), w.batch(t, exec("a", "4")).Records...)}
	ingestOK(t, l, overlap)
	if r := verifyOK(t, l, nil); r.Events != 4 {
		t.Errorf("%d events", r.Events)
	}
}

// TestIngestRefusals: each refusal leaves the log as it was and raises its own
// event, once.
func TestIngestRefusals(t *testing.T) {
	good := func() (*fakeWriter, chain.Batch) {
		w := newFakeWriter(hostA, 1)
		return w, w.batch(t, exec("a", "1"), exec("a", "2"), exec("a", "3"))
	}
	cases := []struct {
		name   string
		caller string
		kind   fault.Kind
		alarm  string
		make   func() chain.Batch
	}{
		{"another's events", hostB, fault.Denied, event.TypeAuditRefused, func() chain.Batch { _, b := good(); return b }},
		{"gap", hostA, fault.Conflict, event.TypeAuditGap, func() chain.Batch {
			w, _ := good()
			w.batch(t, exec("a", "lost"))
			return w.batch(t, exec("a", "5"))
		}},
		{"fork at the head", hostA, fault.Conflict, event.TypeAuditFork, func() chain.Batch {
			w, _ := good()
			w.head[0] ^= 1
			return w.batch(t, exec("a", "4"))
		}},
		{"fork that overlaps", hostA, fault.Conflict, event.TypeAuditFork, func() chain.Batch {
			w := newFakeWriter(hostA, 1)
			return w.batch(t, exec("a", "1"), exec("a", "other"), exec("a", "3"), exec("a", "4"))
		}},
		{"fork of the past", hostA, fault.Conflict, event.TypeAuditFork, func() chain.Batch {
			return newFakeWriter(hostA, 1).batch(t, exec("a", "other"))
		}},
		{"changed event", hostA, fault.Invalid, event.TypeAuditRefused, func() chain.Batch {
			_, b := good()
			b = b.Clone()
			b.Records[1].Event = bytes.Replace(b.Records[1].Event, []byte(`"2"`), []byte(`"9"`), 1)
			return b
		}},
		{"bytes that are no event", hostA, fault.Invalid, event.TypeAuditRefused, func() chain.Batch {
			_, b := good()
			b = b.Clone()
			b.Records[0].Event = []byte("hello")
			return b
		}},
		{"hole within", hostA, fault.Invalid, event.TypeAuditRefused, func() chain.Batch {
			_, b := good()
			b.Records = []chain.Record{b.Records[0], b.Records[2]}
			return b
		}},
		{"empty", hostA, fault.Invalid, event.TypeAuditRefused, func() chain.Batch { return chain.Batch{Writer: chain.Writer{UUID: hostA}} }},
		{"what only auth may say", hostA, fault.Denied, event.TypeAuditRefused, func() chain.Batch {
			w, _ := good()
			return w.batch(t, &event.UserLogin{Meta: event.Meta{Code: event.CodeUserLogin}})
		}},
		{"about a foreign host", hostA, fault.Denied, event.TypeAuditRefused, func() chain.Batch {
			w, _ := good()
			return w.batch(t, &event.SessionConnect{Server: event.Server{ServerID: hostB}})
		}},
		{"about a foreign host, as if it were a proxy", hostA, fault.Denied, event.TypeAuditRefused, func() chain.Batch {
			w, _ := good()
			return w.batch(t, &event.SessionConnect{Server: event.Server{ServerID: hostB, ForwardedBy: hostA}})
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			alarms := &keeper{}
			l := openLog(t, t.TempDir(), func(o *LogOptions) { o.Emitter = alarms })
			_, b := good()
			ingestOK(t, l, chain.Batch{Writer: b.Writer, Previous: b.Previous, Records: b.Records[:2]})
			ingestOK(t, l, b)
			for range 2 {
				if _, err := l.Ingest(t.Context(), Caller{UUID: c.caller}, c.make()); !errors.Is(err, c.kind) {
					t.Errorf("got %v", err)
				}
			}
			if got := alarms.types(); len(got) != 1 || got[0] != c.alarm {
				t.Errorf("alarms: %v", got)
			}
			if r := verifyOK(t, l, nil); r.Events != 3 {
				t.Errorf("%d events", r.Events)
			}
		})
	}
}

// A proxy writes of the hosts that it leads to, under its own name.
func TestProxiesWriteOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		caller Caller
		by     string
		ok     bool
	}{
		"a proxy":                    {Caller{UUID: hostA, Proxy: true}, hostA, true},
		"auth":                       {Caller{UUID: hostA, Auth: true}, hostA, true},
		"a node":                     {Caller{UUID: hostA}, hostA, false},
		"a proxy, for somebody else": {Caller{UUID: hostA, Proxy: true}, hostB, false},
		"a proxy that says nothing":  {Caller{UUID: hostA, Proxy: true}, "", false},
		"a proxy about itself":       {Caller{UUID: hostB, Proxy: true}, "", true},
	} {
		err := openLog(t, t.TempDir()).allowed(c.caller, recordMeta{Type: event.TypeSessionStart, ServerID: hostB, ForwardedBy: c.by})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAuthMayWriteItsOwnKinds(t *testing.T) {
	l := openLog(t, t.TempDir())
	b := newFakeWriter(hostA, 1).batch(t, &event.UserLogin{Meta: event.Meta{Code: event.CodeUserLogin}})
	if _, err := l.Ingest(t.Context(), Caller{UUID: hostA, Auth: true}, b); err != nil {
		t.Error(err)
	}
}

// keeper is an emitter that remembers types.
type keeper struct {
	mu   sync.Mutex
	seen []string
}

func (k *keeper) Emit(_ context.Context, events ...event.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range events {
		if err := event.NewCodec().Fill(e); err != nil {
			return err
		}
		k.seen = append(k.seen, e.EventMeta().Type)
	}
	return nil
}

func (k *keeper) types() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.seen)
}

func TestConcurrentWriters(t *testing.T) {
	l := openLog(t, t.TempDir(), func(o *LogOptions) { o.FileSize = 4000 })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			w := newFakeWriter(fmt.Sprint("host-", i), 1)
			for j := range 20 {
				b := w.batch(t, exec("a", fmt.Sprint(i, j)))
				if _, err := l.Ingest(context.Background(), Caller{UUID: b.UUID}, b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if r := verifyOK(t, l, nil); r.Events != 160 || r.Writers != 8 {
		t.Errorf("%+v", r)
	}
	if l.ordinal < 2 {
		t.Error("only one file")
	}
}

// TestRestartAfterATornWrite cuts the last file at many places: the log opens, holds
// what was whole, verifies, and takes the rest again.
func TestRestartAfterATornWrite(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	w := newFakeWriter(hostA, 1)
	var all []chain.Batch
	for i := range 3 {
		b := w.batch(t, exec("alice", fmt.Sprint(i)))
		all = append(all, b)
		ingestOK(t, l, b)
	}
	if _, err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeOK(t, l)
	whole, err := os.ReadFile(blockPath(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(whole); cut += 41 {
		again := t.TempDir()
		if err := os.WriteFile(blockPath(again, 1), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		l := openLog(t, again)
		for _, b := range all {
			ingestOK(t, l, b)
		}
		if r := verifyOK(t, l, nil); r.Events != 3 {
			t.Fatalf("cut at %d: %+v", cut, r)
		}
		closeOK(t, l)
	}
}

func TestRestartKeepsChainAndCheckpoints(t *testing.T) {
	dir := t.TempDir()
	w := newFakeWriter(hostA, 1)
	var saved chain.Signed
	for i := range 3 {
		l := openLog(t, dir, func(o *LogOptions) { o.FileSize = 500 })
		if i > 0 && !l.Head().Equal(saved) {
			t.Error("the newest checkpoint is forgotten")
		}
		ingestOK(t, l, w.batch(t, exec("alice", fmt.Sprint(i))))
		var err error
		if saved, err = l.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		closeOK(t, l)
	}
	l := openLog(t, dir)
	if r := verifyOK(t, l, &saved); r.Checkpoints != 3 || r.Events != 3 {
		t.Errorf("%+v", r)
	}
	st, err := os.Stat(blockPath(dir, 1))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestOneProcessOnly(t *testing.T) {
	dir := t.TempDir()
	openLog(t, dir)
	if _, err := OpenLog(LogOptions{Dir: dir, Cluster: "test", Signer: testKey()}); !errors.Is(err, fault.Unavailable) {
		t.Errorf("second one: %v", err)
	}
}

func TestDamageInTheMiddleIsNotCutAway(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, func(o *LogOptions) { o.FileSize = 100 })
	w := newFakeWriter(hostA, 1)
	ingestOK(t, l, w.batch(t, exec("a", "1")))
	ingestOK(t, l, w.batch(t, exec("a", "2")))
	closeOK(t, l)
	b, err := os.ReadFile(blockPath(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	b[entryHead+3] ^= 1
	if err := os.WriteFile(blockPath(dir, 1), b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = OpenLog(LogOptions{Dir: dir, Cluster: "test", Signer: testKey()})
	if !errors.Is(err, fault.Untrusted) || fault.Hint(err) == "" {
		t.Errorf("got %v", err)
	}
}

// TestRolledBackLogIsNoticed: files from yesterday under today's checkpoint.
func TestRolledBackLogIsNoticed(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir)
	w := newFakeWriter(hostA, 1)
	ingestOK(t, l, w.batch(t, exec("a", "1")))
	if _, err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	yesterday, err := os.ReadFile(blockPath(dir, 1))
	if err != nil {
		t.Fatal(err)
	}
	ingestOK(t, l, w.batch(t, exec("a", "2")))
	saved, err := l.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	closeOK(t, l)
	if err := os.WriteFile(blockPath(dir, 1), yesterday, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		alarms := &keeper{}
		l := openLog(t, dir, func(o *LogOptions) { o.Published, o.Emitter = &saved, alarms })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Serve(ctx); err != nil {
			t.Error(err)
		}
		if got := alarms.types(); len(got) != 1 || got[0] != event.TypeAuditCut {
			t.Errorf("alarms: %v", got)
		}
		_, err := chain.Verify(bytes.NewReader(exported(t, l, ExportOptions{})), l.Keys(), &saved)
		if !errors.Is(err, fault.Untrusted) {
			t.Errorf("verify: %v", err)
		}
	})
}

func TestCheckpointsByTimeAndCountArePublished(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var published atomicList
		var down atomic.Bool
		down.Store(true)
		alarms := &keeper{}
		l := openLog(t, dir, func(o *LogOptions) {
			o.CheckpointEvents, o.Emitter = 5, alarms
			o.Publish = func(_ context.Context, s chain.Signed) error {
				if down.Load() {
					return fault.New(fault.Conflict, "another one was first")
				}
				c, err := s.Open()
				published.add(c.Block)
				return err
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- l.Serve(ctx) }()
		w := newFakeWriter(hostA, 1)
		ingestOK(t, l, w.batch(t, exec("a", "1")))
		time.Sleep(time.Second)
		if len(l.Head().Body) > 0 {
			t.Error("a checkpoint too early")
		}
		time.Sleep(10 * time.Second)
		if got := alarms.types(); len(got) != 1 || got[0] != event.TypeAuditConflict {
			t.Errorf("alarms: %v", got)
		}
		down.Store(false)
		time.Sleep(10 * time.Second)
		ingestOK(t, l, w.batch(t, exec("a", "2"), exec("a", "3"), exec("a", "4"), exec("a", "5"), exec("a", "6")))
		synctest.Wait()
		if !slices.Equal(published.list(), []uint64{1, 2}) {
			t.Errorf("published blocks %v", published.list())
		}
		time.Sleep(time.Minute)
		ingestOK(t, l, w.batch(t, exec("a", "7")))
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !slices.Equal(published.list(), []uint64{1, 2, 3}) {
			t.Errorf("published blocks %v", published.list())
		}
	})
}

// atomicList is a list that a callback fills.
type atomicList struct {
	mu  sync.Mutex
	all []uint64
}

func (a *atomicList) add(n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, n)
}

func (a *atomicList) list() []uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.all)
}

// brittleLog is a log file on a failing disk.
type brittleLog struct {
	logFile
	write, sync error
}

func (b *brittleLog) Write(p []byte) (int, error) {
	if b.write != nil {
		n, _ := b.logFile.Write(p[:len(p)/2])
		return n, b.write
	}
	return b.logFile.Write(p)
}

func (b *brittleLog) Sync() error { return errors.Join(b.sync, b.logFile.Sync()) }

func TestNothingIsAcknowledgedThatIsNotDurable(t *testing.T) {
	dir := t.TempDir()
	disk := &brittleLog{}
	l := openLog(t, dir)
	l.open = func(path string) (logFile, error) {
		f, err := openLogFile(path)
		disk.logFile = f
		return disk, err
	}
	w := newFakeWriter(hostA, 1)
	one, two := w.batch(t, exec("a", "1")), w.batch(t, exec("a", "2"))
	disk.write = unix.ENOSPC
	if ack, err := l.Ingest(t.Context(), Caller{UUID: hostA}, one); ack != 0 || !errors.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), "full") {
		t.Fatalf("full disk: ack %d, %v", ack, err)
	}
	disk.write = nil
	ingestOK(t, l, one)
	disk.sync = unix.EIO
	for range 2 {
		if ack, err := l.Ingest(t.Context(), Caller{UUID: hostA}, two); ack != 0 || !errors.Is(err, fault.Unavailable) {
			t.Fatalf("failing disk: ack %d, %v", ack, err)
		}
		disk.sync = nil // it stays broken until a restart has read the file again
	}
	closeOK(t, l)
	l = openLog(t, dir)
	ingestOK(t, l, two)
	if r := verifyOK(t, l, nil); r.Events != 2 {
		t.Errorf("%+v", r)
	}
}

func BenchmarkIngest(b *testing.B) {
	l := openLog(b, filepath.Join(b.TempDir(), "log"))
	w := newFakeWriter(hostA, 1)
	const size = 500
	var batches []chain.Batch
	for range 20 {
		var events []event.Event
		for range size {
			events = append(events, exec("alice", "uptime"))
		}
		batches = append(batches, w.batch(b, events...))
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n == len(batches) { // the same events under the next generation
			b.StopTimer()
			w = newFakeWriter(hostA, w.w.Generation+1)
			for i := range batches {
				batches[i] = rechain(w, batches[i])
			}
			n = 0
			b.StartTimer()
		}
		ingestOK(b, l, batches[n])
		n++
	}
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
}

func rechain(w *fakeWriter, b chain.Batch) chain.Batch {
	b = b.Clone()
	b.Writer, b.Previous = w.w, w.head
	for i, r := range b.Records {
		e, _ := event.ParseEncoded(r.Event)
		w.head = chain.Next(w.head, r.Sequence, chain.Leaf(chain.Commit(r.Salt, e.Sensitive), e.Public))
		b.Records[i].Chain = w.head
	}
	return b
}

package recorder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/recfmt"
	"teleport/recorder/recordertest"
	"teleport/types/event"
)

// What was shown is stored, sealed, in order, with sizes and events.
func TestRecordAndShip(t *testing.T) {
	w := newWorld(t)
	p := w.start(true)
	r := p.begin(1, true)
	if r.Mode() != "node" {
		t.Errorf("mode %q", r.Mode())
	}
	text := lines(20000)
	for rest := text; len(rest) > 0; rest = rest[min(4095, len(rest)):] {
		show(t, r, rest[:min(4095, len(rest))])
	}
	if err := r.Resize(120, 40); err != nil {
		t.Fatal(err)
	}
	if err := r.Event([]byte(`{"event":"exec"}`)); err != nil {
		t.Fatal(err)
	}
	if err := r.Show(Errors, []byte("oops")); err != nil {
		t.Fatal(err)
	}
	closeIt(t, r)
	rs := w.wantOutput(1, text+"oops", recfmt.EndSession)
	var kinds strings.Builder
	for i, x := range rs {
		if i == 0 || x.Type != recfmt.RecordOutput {
			kinds.WriteByte(byte(x.Type))
		}
	}
	if kinds.String() != "irve" {
		t.Errorf("records %q", kinds.String())
	}
	if b, _ := w.auth.Held(sessionID(1)); strings.Contains(string(b), "alice") || strings.Contains(string(b), "line 1 ") {
		t.Error("the file tells what it should seal")
	}
	w.empty()
	if used := p.spool.used.Load(); used != 0 {
		t.Errorf("%d bytes are counted in an empty spool", used)
	}
	if err := r.Show(Output, []byte("late")); err == nil {
		t.Error("a closed recording took something")
	}
}

// A live recording arrives while the session runs.
func TestShipsWhileLive(t *testing.T) {
	w := newWorld(t)
	p := w.start(true)
	r := p.begin(1, true)
	text := lines(10000)
	show(t, r, text)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := w.auth.Wait(ctx, sessionID(1), func(b []byte, _ bool) bool {
		rs, _, _ := recordertest.Records(sessionID(1), b, w.key) //nolint:errcheck // it may end anywhere
		return len(recordertest.Output(rs)) > len(text)/2
	})
	if err != nil {
		t.Fatal(err)
	}
	closeIt(t, r)
	w.wantOutput(1, text, recfmt.EndSession)
}

func TestModes(t *testing.T) {
	for _, c := range []struct {
		mode    string
		atProxy bool
		want    string
	}{
		{"", false, "node"}, {"node", false, "node"}, {"node-sync", false, "node-sync"}, {"proxy", false, "node"}, {"proxy-sync", false, "node-sync"},
		{"off", false, "off"}, {"node", true, "proxy"}, {"proxy-sync", true, "proxy-sync"}, {"off", true, "off"}, {"unheard-of", false, "node"},
	} {
		r := &Sessions{o: SessionsOptions{Mode: func() string { return c.mode }, AtProxy: c.atProxy}}
		if got := r.Mode(); got != c.want {
			t.Errorf("mode %q, at the proxy %t: %q, want %q", c.mode, c.atProxy, got, c.want)
		}
	}
}

// Lost answers, an auth service and a storage that are away: everything arrives
// once.
func TestResumes(t *testing.T) {
	w := newWorld(t)
	p := w.start(true)
	w.auth.Away(fault.Wrap(errAway, fault.Unavailable, "away"))
	r := p.begin(1, true)
	text := lines(30000)
	show(t, r, text[:len(text)/2])
	w.auth.LoseReplies(3)
	w.auth.Away(nil)
	show(t, r, text[len(text)/2:])
	w.auth.StorageAway(fault.New(fault.Unavailable, "the storage is away"))
	closeIt(t, r)
	w.until("all has arrived", func() bool {
		b, _ := w.auth.Held(sessionID(1))
		rs, end, err := recordertest.Records(sessionID(1), b, w.key)
		return err == nil && end != nil && len(recordertest.Output(rs)) == len(text)
	})
	if left, err := filepath.Glob(filepath.Join(w.dir, "*", "*.rec")); err != nil || len(left) != 1 {
		t.Fatalf("the spool was given up before the storage had it: %v, %v", left, err)
	}
	w.auth.StorageAway(nil)
	w.wantOutput(1, text, recfmt.EndSession)
	w.empty()
}

// A recording store, or the whole auth service, that is away for an hour: sessions
// begin, go on and end meanwhile, strict ones too; all of it stays on the host's disk
// until the store has confirmed it, and nobody is asked all the time.
func TestTheStoreIsAwayForAnHour(t *testing.T) {
	for name, away := range map[string]func(w *world, err error){
		"the store": func(w *world, err error) { w.auth.StorageAway(err) },
		"auth":      func(w *world, err error) { w.auth.Away(err) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.pace = true
				p := w.start(true)
				long := p.begin(1, true)
				show(t, long, "before|")
				away(w, fault.New(fault.Unavailable, "away"))
				for n := 2; n <= 13; n++ {
					r := p.begin(n, n%2 == 0)
					show(t, r, "shown meanwhile")
					show(t, long, "x")
					closeIt(t, r)
					time.Sleep(5 * time.Minute)
				}
				if left, err := filepath.Glob(filepath.Join(w.dir, "*", "*.rec")); err != nil || len(left) != 13 {
					t.Errorf("after an hour the disk has %d recordings of 13: %v, %v", len(left), left, err)
				}
				for n := 1; n <= 13; n++ {
					if _, stored := w.auth.Held(sessionID(n)); stored {
						t.Errorf("session %d is stored", n)
					}
				}
				// One attempt a minute for each, and the first ones that follow sooner.
				if asked := w.auth.Asked() + w.auth.Appends(); asked > 13*(60+20) {
					t.Errorf("it was asked %d times", asked)
				}
				away(w, nil)
				closeIt(t, long)
				time.Sleep(2 * time.Minute)
				w.wantOutput(1, "before|"+strings.Repeat("x", 12), recfmt.EndSession)
				for n := 2; n <= 13; n++ {
					w.wantOutput(n, "shown meanwhile", recfmt.EndSession)
				}
				w.empty()
				for _, typ := range []string{event.TypeRecordingGap, event.TypeRecordingBroken} {
					if got := w.events.Events(typ); len(got) > 0 {
						t.Errorf("%s: %+v", typ, got)
					}
				}
				p.stop()
			})
		})
	}
}

// A clock that was set back since the session began: what is shown is recorded in
// its order, at no time before what stands before it.
func TestAClockThatWasSetBack(t *testing.T) {
	w := newWorld(t)
	p := w.start(true)
	later := time.Now().Add(time.Hour).Round(0) // as it reads without a steady clock
	r, err := p.rec.Start(t.Context(), Info{SessionID: sessionID(1), Kind: "ssh", User: "alice", HostID: "host", Start: later, Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"one ", "two ", "three"} {
		show(t, r, word)
	}
	closeIt(t, r)
	var last time.Duration
	for _, rec := range w.wantOutput(1, "one two three", recfmt.EndSession) {
		if rec.At < last {
			t.Errorf("a record at %s follows one at %s", rec.At, last)
		}
		last = rec.At
	}
}

// A process that was killed: the next generation completes its recordings, up
// to the last byte that was shown.
func TestRecoversKilled(t *testing.T) {
	w := newWorld(t)
	dead := w.start(false)
	big, small := dead.begin(1, true), dead.begin(2, true)
	text := lines(9000)
	show(t, big, text)
	show(t, big, "the last words")
	show(t, small, "$ ")
	dead.begin(3, true)
	dead.kill()
	w.start(true)
	w.wantOutput(1, text+"the last words", recfmt.EndAbandoned)
	w.wantOutput(2, "$ ", recfmt.EndAbandoned)
	w.wantOutput(3, "", recfmt.EndAbandoned)
	w.until("the directory is gone", func() bool {
		_, err := os.Stat(filepath.Join(w.dir, "1"))
		return errors.Is(err, os.ErrNotExist)
	})
}

// A host that was put back from a copy finds recordings of its own generation.
func TestSameGenerationAgain(t *testing.T) {
	w := newWorld(t)
	dead := w.start(false)
	show(t, dead.begin(1, true), "before the copy")
	dead.kill()
	w.gen--
	p := w.start(true)
	r := p.begin(2, true)
	show(t, r, "after")
	closeIt(t, r)
	w.wantOutput(1, "before the copy", recfmt.EndAbandoned)
	w.wantOutput(2, "after", recfmt.EndSession)
	w.empty()
}

// Two generations live: the new one leaves the files of the draining one alone.
func TestTwoGenerations(t *testing.T) {
	w := newWorld(t)
	old := w.start(true)
	r := old.begin(1, true)
	show(t, r, "before ")
	young := w.start(true)
	q := young.begin(2, true)
	show(t, q, "new")
	young.spool.adopt()
	young.spool.adopt()
	show(t, r, "after")
	closeIt(t, r)
	closeIt(t, q)
	w.wantOutput(1, "before after", recfmt.EndSession)
	w.wantOutput(2, "new", recfmt.EndSession)
	if w.events.Events(event.TypeRecordingBroken) != nil {
		t.Error("something was called broken")
	}
}

// A session that is over soon is sent as a whole, in one call, and one that goes on is
// sent while it does.
func TestAShortRecordingIsOneCall(t *testing.T) {
	w := newWorld(t)
	p := w.start(true)
	begun := time.Now()
	for n := 1; n <= 5; n++ {
		r := p.begin(n, true)
		show(t, r, "a word\n")
		closeIt(t, r)
	}
	quick := time.Since(begun) < firstAfter
	for n := 1; n <= 5; n++ {
		w.wantOutput(n, "a word\n", recfmt.EndSession)
	}
	if n := w.auth.Appends(); quick && n != 5 {
		t.Errorf("%d calls for five short recordings", n)
	}
	if n, asked := w.auth.Finished(), w.auth.Asked(); quick && (n != 5 || asked != 5) { // the latter within the former
		t.Errorf("%d calls that finish five recordings, %d that complete", n, asked)
	}
	r := p.begin(6, true)
	w.until("a recording that goes on arrives", func() bool { b, _ := w.auth.Held(sessionID(6)); return len(b) > 0 })
	closeIt(t, r)
}

// A damaged recording is set aside with an event; what is good of it is stored,
// and the others go on.
func TestDamagedIsSetAside(t *testing.T) {
	w := newWorld(t)
	dead := w.start(false)
	for n := 1; n <= 3; n++ {
		r := dead.begin(n, true)
		show(t, r, lines(9000))
		closeIt(t, r)
	}
	flip := func(n int, at int64) {
		f, err := os.OpenFile(filepath.Join(w.dir, "1", sessionID(n)+chunksSuffix), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{0xff, 0xee, 0xdd}, at); err != nil {
			t.Fatal(err)
		}
	}
	size := fileSize(filepath.Join(w.dir, "1", sessionID(1)+chunksSuffix))
	flip(1, size-int64(size/4))
	flip(2, 3)
	dead.kill()
	w.start(true)
	w.wantOutput(3, lines(9000), recfmt.EndSession)
	rs, end := w.stored(1)
	if end.Reason != recfmt.EndBroken || !strings.HasPrefix(lines(9000), string(recordertest.Output(rs))) {
		t.Errorf("end %v with %d records", end.Reason, len(rs))
	}
	w.until("two events", func() bool { return len(w.events.Events(event.TypeRecordingBroken)) == 2 })
	for _, n := range []int{1, 2} {
		w.untilSetAside(n)
	}
	if _, stored := w.auth.Held(sessionID(2)); stored {
		t.Error("a recording without a first frame was stored")
	}
}

// The auth service has other bytes: the recording is set aside, with an event.
func TestRefusedIsSetAside(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t)
	q := other.start(true)
	r := q.begin(1, true)
	show(t, r, "another history")
	closeIt(t, r)
	other.stored(1)
	b, _ := other.auth.Held(sessionID(1))
	w.auth.Put(sessionID(1), b[:len(b)-10])
	p := w.start(true)
	r = p.begin(1, true)
	show(t, r, "mine")
	closeIt(t, r)
	w.until("an event", func() bool { return len(w.events.Events(event.TypeRecordingBroken)) == 1 })
	w.untilSetAside(1)
}

// untilSetAside waits for the file, which is moved once the log has the event.
func (w *world) untilSetAside(n int) {
	w.t.Helper()
	w.until("a file that was set aside", func() bool {
		_, err := os.Stat(filepath.Join(w.dir, sessionID(n)+chunksSuffix+".broken"))
		return err == nil
	})
}

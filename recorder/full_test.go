package recorder

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/recfmt"
	"teleport/recorder/recordertest"
	"teleport/types/event"
)

// A full disk ends a strict session; nothing that was shown is lost, and the
// recording says how it ended.
func TestStrictOnFullDisk(t *testing.T) {
	for _, room := range []int{0, 1, 60, 5_000, 120_000, 130_000} {
		w := newWorld(t)
		p := w.start(true)
		d := &disk{room: 1 << 30}
		p.spool.open = d.open
		r := p.begin(1, true)
		d.set(room)
		var shown strings.Builder
		var err error
		for i := 0; err == nil && i < 2000; i++ {
			line := lines(30)[:900]
			if err = r.Show(Output, []byte(line)); err == nil {
				shown.WriteString(line)
			}
		}
		if !errors.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), "disk is full") {
			t.Fatalf("room for %d: %v", room, err)
		}
		if again := r.Show(Output, []byte("more")); again == nil {
			t.Errorf("room for %d: the recording took more after it had failed", room)
		}
		closeIt(t, r)
		rs, end := w.stored(1)
		if got := string(recordertest.Output(rs)); !strings.HasPrefix(got, shown.String()) || end.Reason != recfmt.EndBroken {
			t.Errorf("room for %d: %d bytes recorded, %d shown, end %v", room, len(got), shown.Len(), end.Reason)
		}
		if n := len(w.events.Events(event.TypeRecordingBroken)); n != 0 {
			t.Errorf("room for %d: %d broken recordings", room, n)
		}
	}
}

// A session does not begin on a full disk when it is strict.
func TestStrictDoesNotBegin(t *testing.T) {
	w := newWorld(t)
	p := w.start(true)
	p.spool.open = (&disk{}).open
	if _, err := p.rec.Start(context.Background(), Info{SessionID: sessionID(1), Start: time.Now(), Strict: true}); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a strict session began: %v", err)
	}
	w.keys = nil
	p.spool.open = createFile
	if _, err := p.rec.Start(context.Background(), Info{SessionID: sessionID(1), Start: time.Now(), Strict: true}); !errors.Is(err, errNoKey) {
		t.Errorf("without a key a strict session began: %v", err)
	}
	w.keys = []string{"age1pqrubbish"}
	if _, err := p.rec.Start(context.Background(), Info{SessionID: sessionID(1), Start: time.Now(), Strict: true}); !errors.Is(err, errNoKey) {
		t.Errorf("with a malformed key a strict session began: %v", err)
	}
}

// Best effort goes on; the log says when it began and ended and how much is
// missing, and the recording goes on with a gap in it.
func TestBestEffortOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := w.start(true)
		d := &disk{room: 1 << 30}
		p.spool.open = d.open
		r := p.begin(1, false)
		show(t, r, "before|")
		d.set(10)
		show(t, r, "held back|") // in memory when the disk is full
		show(t, r, strings.Repeat("x", 1000))
		if err := r.Resize(80, 25); err != nil {
			t.Fatal(err)
		}
		gaps := w.events.Events(event.TypeRecordingGap)
		if len(gaps) != 1 || gaps[0].EventMeta().Code != event.CodeRecordingGap || gaps[0].(*event.RecordingGap).Reason != "disk_full" {
			t.Fatalf("events %+v", gaps)
		}
		time.Sleep(2 * retryEvery)
		show(t, r, strings.Repeat("y", 500)) // still full
		d.set(1 << 30)
		time.Sleep(2 * retryEvery)
		show(t, r, "after")
		closeIt(t, r)
		time.Sleep(time.Second)
		b, _ := w.auth.Held(sessionID(1))
		rs, _, err := recordertest.Records(sessionID(1), b, w.key)
		if got := string(recordertest.Output(rs)); err != nil || got != "before|held back|after" {
			t.Errorf("recorded %q, %v", got, err)
		}
		gaps = w.events.Events(event.TypeRecordingGap)
		if len(gaps) != 2 {
			t.Fatalf("events %+v", gaps)
		}
		end, ok := gaps[1].(*event.RecordingGap)
		if !ok || end.Code != event.CodeRecordingGapEnd || end.Bytes != 1500 || end.Events != 1 || !end.Until.After(end.Since) {
			t.Errorf("the end of the gap: %+v", end)
		}
		p.stop()
	})
}

// A gap that lasts to the end of the session counts what was lost from memory too.
func TestGapToTheEnd(t *testing.T) {
	w := newWorld(t)
	p := w.start(true)
	d := &disk{room: 1 << 30}
	p.spool.open = d.open
	r := p.begin(1, false)
	show(t, r, "before")
	d.set(0)
	show(t, r, "12345")
	show(t, r, "67890")
	closeIt(t, r)
	w.wantOutput(1, "before", recfmt.EndSession)
	gaps := w.events.Events(event.TypeRecordingGap)
	if len(gaps) != 2 || gaps[1].(*event.RecordingGap).Bytes != 10 {
		t.Errorf("events %+v", gaps)
	}
}

// A session that could not begin to be recorded is recorded as soon as it can.
func TestBeginsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.keys = nil
		p := w.start(true)
		r := p.begin(1, false)
		show(t, r, "unseen")
		w.keys = []string{w.key.Recipient().String()}
		time.Sleep(2 * retryEvery)
		show(t, r, "seen")
		closeIt(t, r)
		never := p.begin(2, false)
		w.keys = nil
		closeIt(t, never)
		lost := p.begin(3, false)
		show(t, lost, "unseen")
		closeIt(t, lost)
		time.Sleep(time.Second)
		rs, _ := w.stored(1)
		if got := string(recordertest.Output(rs)); got != "seen" || rs[0].Type != recfmt.RecordInfo || rs[1].Type != recfmt.RecordGap {
			t.Errorf("recorded %q, %+v", got, rs)
		}
		gaps := w.events.Events(event.TypeRecordingGap)
		if len(gaps) != 4 || gaps[0].(*event.RecordingGap).Reason != "no_key" || gaps[3].(*event.RecordingGap).Bytes != 6 {
			t.Errorf("events %+v", gaps)
		}
		p.stop()
	})
}

// The quota is the disk of recordings: its end counts as a full one, and room
// comes back with what is stored.
func TestQuota(t *testing.T) {
	w := newWorld(t)
	w.quota = 64 << 10
	w.auth.Away(fault.New(fault.Unavailable, "away"))
	p := w.start(true)
	r := p.begin(1, true)
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = r.Show(Output, []byte(lines(100)[:4000]))
	}
	if !errors.Is(err, fault.Limit) || p.spool.used.Load() > w.quota {
		t.Fatalf("%v, with %d bytes used", err, p.spool.used.Load())
	}
	closeIt(t, r)
	if _, err := p.rec.Start(context.Background(), Info{SessionID: sessionID(2), Start: time.Now(), Strict: true}); err == nil {
		b := p.begin(3, true)
		if err := b.Show(Output, []byte(strings.Repeat("z", 32<<10))); err == nil {
			t.Error("a full spool took more")
		}
	}
	w.auth.Away(nil)
	w.stored(1)
	w.until("there is room again", func() bool { return p.spool.used.Load() < w.quota/2 })
	show(t, p.begin(4, true), lines(10))
}

// In a synchronous mode Show returns when the auth service has it.
func TestSync(t *testing.T) {
	w := newWorld(t)
	w.mode = "node-sync"
	p := w.start(true)
	r := p.begin(1, true)
	for i := range 20 {
		show(t, r, lines(1))
		b, _ := w.auth.Held(sessionID(1))
		rs, _, err := recordertest.Records(sessionID(1), b, w.key)
		if n := len(recordertest.Output(rs)); err != nil || n != (i+1)*len(lines(1)) {
			t.Fatalf("after %d lines auth has %d bytes, %v", i+1, n, err)
		}
	}
	done := make(chan error)
	for range 8 {
		go func() { done <- r.Show(Output, []byte("together ")) }()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := w.auth.Most(); n > 1 {
		t.Errorf("%d calls at once for one recording", n)
	}
	before, much := w.auth.Appends(), lines(8000)
	show(t, r, much)
	if n := w.auth.Appends() - before; n > (len(much)+recfmt.ChunkSize-1)/recfmt.ChunkSize {
		t.Errorf("%d calls for %d bytes that were shown together", n, len(much))
	}
	w.auth.Away(fault.New(fault.Unavailable, "away"))
	err := r.Show(Output, []byte("lost"))
	if !errors.Is(err, fault.Unavailable) || r.Show(Output, nil) != nil || r.Show(Output, []byte("x")) == nil {
		t.Errorf("without auth a strict session went on: %v", err)
	}
	closeIt(t, r)
	w.auth.Away(nil)
	if _, end := w.stored(1); end.Reason != recfmt.EndBroken {
		t.Errorf("end %v", end)
	}
}

// With best effort a synchronous session outlives the auth service's absence,
// and loses nothing.
func TestSyncBestEffort(t *testing.T) {
	w := newWorld(t)
	w.mode = "node-sync"
	p := w.start(true)
	r := p.begin(1, false)
	show(t, r, "one ")
	w.auth.Away(fault.New(fault.Unavailable, "away"))
	show(t, r, "two ")
	start := time.Now()
	for range 50 {
		show(t, r, "x")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("each of 50 waited: %v", d)
	}
	w.auth.Away(nil)
	closeIt(t, r)
	w.wantOutput(1, "one two "+strings.Repeat("x", 50), recfmt.EndSession)
	if n := len(w.events.Events(event.TypeRecordingGap)); n != 0 {
		t.Errorf("%d gaps", n)
	}
}

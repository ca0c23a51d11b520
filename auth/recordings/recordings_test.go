package recordings_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"teleport/auth/recordings"
	"teleport/backend/memkv"
	"teleport/fault"
	"teleport/keystore/softkeys"
	"teleport/recfmt"
	"teleport/types"
	"teleport/types/event"
)

func TestAppendResumes(t *testing.T) {
	w := newWorld(t)
	m := w.record("alice", time.Now(), "one", "two", "three")
	w.send(m, 0, m.marks[2]+5, m.marks[1]+7) // ends inside of a frame
	// A lost answer: the same again, and overlapping.
	held, err := w.s.Append(t.Context(), host, m.id, 0, m.data[:m.marks[2]+9])
	if err != nil || held != uint64(m.marks[2]+9) {
		t.Fatalf("again: %d, %v", held, err)
	}
	w.restart()
	held, stored, err := w.s.Held(t.Context(), host, m.id)
	if err != nil || held != uint64(m.marks[2]+9) || stored {
		t.Fatalf("held after a restart: %d %v %v", held, stored, err)
	}
	for _, c := range []struct {
		name   string
		offset int
		data   []byte
		want   fault.Kind
	}{
		{"a gap", m.marks[3], m.data[m.marks[3]:], fault.Conflict},
		{"other bytes", 10, []byte("other"), fault.Conflict},
		{"too much", 0, make([]byte, recordings.MaxAppend+1), fault.Limit},
		{"too long", recordings.MaxSize, []byte("x"), fault.Limit},
	} {
		if _, err := w.s.Append(t.Context(), host, m.id, uint64(c.offset), c.data); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	if err := w.complete(m); !errors.Is(err, fault.Conflict) {
		t.Errorf("complete too early: %v", err)
	}
	w.send(m, int(held), len(m.data), 11)
	for range 2 {
		must(t, w.complete(m))
	}
	if got := w.bytes(m.id); !bytes.Equal(got, m.data) {
		t.Errorf("%d bytes are stored of %d", len(got), len(m.data))
	}
	if entries, err := os.ReadDir(w.dir); err != nil || len(entries) != 0 {
		t.Errorf("left in the staging directory: %v, %v", entries, err)
	}
	up := w.uploads()
	if len(up) != 1 || up[0].SessionID != m.id || up[0].Size != int64(len(m.data)) || up[0].Chunks != 3 || up[0].Reason != "session" || up[0].ServerID != host || up[0].ClosedByAuth {
		t.Errorf("the log has %+v", up)
	}
}

// TestBadFrames: nothing that does not prove stays, and what was good before does.
func TestBadFrames(t *testing.T) {
	w := newWorld(t)
	m := w.record("alice", time.Now(), "one", "two")
	other := w.record("alice", time.Now(), "one", "two")
	altered := bytes.Clone(m.data)
	altered[m.marks[2]-40] ^= 1
	for _, c := range []struct {
		name string
		data []byte
		want fault.Kind
	}{
		{"noise", bytes.Repeat([]byte("x"), 5000), fault.Untrusted},
		{"half of a first frame", m.data[:m.marks[1]-1], fault.Invalid},
		{"another session's", other.data, fault.Untrusted},
		{"altered", altered, fault.Untrusted},
		{"nothing", nil, ""},
	} {
		held, err := w.s.Append(t.Context(), host, m.id, 0, c.data)
		if c.want == "" && (err != nil || held != 0) || c.want != "" && !errors.Is(err, c.want) {
			t.Errorf("%s: %d, %v", c.name, held, err)
		}
	}
	w.send(m, 0, m.marks[2], 1<<20)
	for _, bad := range [][]byte{bytes.Repeat([]byte{0}, 100), m.data[m.marks[1]:m.marks[2]], altered[:m.marks[1]]} {
		if _, err := w.s.Append(t.Context(), host, m.id, uint64(m.marks[2]), bad); !errors.Is(err, fault.Untrusted) {
			t.Errorf("a bad continuation: %v", err)
		}
	}
	w.send(m, m.marks[2], len(m.data), 1<<20)
	if _, err := w.s.Append(t.Context(), host, m.id, uint64(len(m.data)), []byte("S")); !errors.Is(err, fault.Untrusted) {
		t.Errorf("a byte behind the end: %v", err)
	}
	held, _, err := w.s.Held(t.Context(), host, m.id)
	must(t, err)
	w.send(m, int(held), len(m.data), 1<<20)
	must(t, w.complete(m))
}

// TestDamagedHere: a staged file that the disk damaged is sent again, not stored.
func TestDamagedHere(t *testing.T) {
	w := newWorld(t)
	m := w.record("alice", time.Now(), "one", "two", "three")
	w.send(m, 0, len(m.data), 1<<20)
	path := filepath.Join(w.dir, m.id+".rec")
	b, err := os.ReadFile(path)
	must(t, err)
	b[m.marks[2]+50] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	if err := w.complete(m); !errors.Is(err, fault.Conflict) {
		t.Fatalf("complete: %v, want conflict", err)
	}
	held, _, err := w.s.Held(t.Context(), host, m.id)
	if err != nil || held != uint64(m.marks[2]) {
		t.Fatalf("held %d, %v, want what is good: %d", held, err, m.marks[2])
	}
	w.send(m, int(held), len(m.data), 1<<20)
	must(t, w.complete(m))
	if got := w.bytes(m.id); !bytes.Equal(got, m.data) {
		t.Error("another recording is stored")
	}
}

func TestOwners(t *testing.T) {
	w := newWorld(t)
	m := w.record("alice", time.Now(), "one")
	const thief = "22222222-2222-4222-8222-222222222222"
	refused := func(when string) {
		t.Helper()
		if _, err := w.s.Append(t.Context(), thief, m.id, 0, m.data); !errors.Is(err, fault.Denied) {
			t.Errorf("%s: append: %v", when, err)
		}
	}
	refused("before")
	w.send(m, 0, m.marks[1], 1<<20)
	refused("under way")
	w.send(m, m.marks[1], len(m.data), 1<<20)
	must(t, w.complete(m))
	refused("stored")
	if _, _, err := w.s.Held(t.Context(), thief, m.id); !errors.Is(err, fault.Denied) {
		t.Errorf("held: %v", err)
	}
	for _, id := range []string{"", "../../etc/passwd", strings.ToUpper(m.id), m.id + "x", "{" + m.id + "}"} {
		if _, err := w.s.Append(t.Context(), host, id, 0, m.data); !errors.Is(err, fault.Invalid) {
			t.Errorf("session %q: %v", id, err)
		}
		if _, _, err := w.s.Held(t.Context(), host, id); !errors.Is(err, fault.Invalid) {
			t.Errorf("session %q: %v", id, err)
		}
		if err := w.s.Complete(t.Context(), host, id, 1); !errors.Is(err, fault.Invalid) {
			t.Errorf("session %q: %v", id, err)
		}
	}
}

// TestStorageAway: for an hour, with a restart in the middle. Nothing is lost, and
// nobody is told that it is safe before it is.
func TestStorageAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.blobs.Fail(fault.New(fault.Unavailable, "away"))
		m := w.record("alice", time.Now(), "one", "two")
		w.send(m, 0, len(m.data), 1<<20)
		for i := range 12 {
			if err := w.complete(m); !errors.Is(err, fault.Unavailable) {
				t.Fatalf("complete: %v", err)
			}
			if held, stored, err := w.s.Held(t.Context(), host, m.id); err != nil || stored || held != uint64(len(m.data)) {
				t.Fatalf("held: %d %v %v", held, stored, err)
			}
			time.Sleep(5 * time.Minute)
			if i == 6 {
				w.restart()
			}
		}
		if got, err := w.shown(m.id, 0); err != nil || got != "onetwo" {
			t.Errorf("while it waits: %q, %v", got, err)
		}
		w.blobs.Fail(nil)
		must(t, w.complete(m))
		if n := len(w.uploads()); n != 1 || w.blobs.Puts() != 1 {
			t.Errorf("%d uploads, %d puts", n, w.blobs.Puts())
		}
	})
}

// TestDiskNearlyFull: recordings do not fill the disk that the backend and the
// audit log live on. What is held stays, can be completed, and goes on later.
func TestDiskNearlyFull(t *testing.T) {
	w := newWorld(t)
	w.stop()
	free := uint64(50)
	w.space = func() (uint64, uint64) { return free, 1000 }
	w.start()
	first, m := w.record("alice", time.Now(), "one"), w.record("alice", time.Now(), "one", "two")
	w.send(first, 0, len(first.data), 1<<20)
	w.send(m, 0, m.marks[2], 1<<20)
	free = 49
	for _, offset := range []int{m.marks[2], 0} {
		if held, err := w.s.Append(t.Context(), host, m.id, uint64(offset), m.data[offset:]); !errors.Is(err, fault.Unavailable) || held != 0 {
			t.Errorf("from %d: %d, %v", offset, held, err)
		}
	}
	if _, err := w.s.Append(t.Context(), host, w.record("bob", time.Now(), "x").id, 0, m.data); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a new one: %v", err)
	}
	must(t, w.complete(first))
	if held, _, err := w.s.Held(t.Context(), host, m.id); err != nil || held != uint64(m.marks[2]) {
		t.Errorf("held: %d, %v", held, err)
	}
	free = 50
	w.send(m, m.marks[2], len(m.data), 1<<20)
	must(t, w.complete(m))
}

// TestLogAway: without the event nothing is stored for good.
func TestLogAway(t *testing.T) {
	w := newWorld(t)
	m := w.record("alice", time.Now(), "one")
	w.send(m, 0, len(m.data), 1<<20)
	w.events.Fail(fault.New(fault.Unavailable, "full"))
	if err := w.complete(m); !errors.Is(err, fault.Unavailable) {
		t.Errorf("complete: %v", err)
	}
	if _, stored, err := w.s.Held(t.Context(), host, m.id); err != nil || stored {
		t.Errorf("held: %v %v", stored, err)
	}
	w.events.Fail(nil)
	must(t, w.complete(m))
}

// TestAbandoned: a recording whose process is gone is closed within minutes, also
// by the next auth process, and a live one is not.
func TestAbandoned(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %v", restarted), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testAbandoned(t, restarted) })
		})
	}
}

func testAbandoned(t *testing.T, restarted bool) {
	w := newWorld(t)
	m := w.record("alice", time.Now(), "one ", "two ", "three")
	w.send(m, 0, m.marks[3]+20, 1<<20) // torn in the third chunk
	time.Sleep(time.Hour)
	synctest.Wait()
	if n := len(w.uploads()); n != 0 {
		t.Fatalf("a recording of a process that lives was closed")
	}
	w.present.set(host, 0)
	if restarted {
		w.restart()
	}
	time.Sleep(2 * time.Minute)
	synctest.Wait()
	if n := len(w.uploads()); n != 0 {
		t.Fatalf("it was closed at once")
	}
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	up := w.uploads()
	if len(up) != 1 || up[0].Reason != "abandoned" || !up[0].ClosedByAuth || up[0].Chunks != 2 {
		t.Fatalf("the log has %+v", up)
	}
	if got, err := w.shown(m.id, 0); err != nil || got != "one two " {
		t.Errorf("it shows %q, %v", got, err)
	}
	sum, err := recfmt.Verify(m.id, bytes.NewReader(w.bytes(m.id)))
	if err != nil || sum.End == nil || sum.End.Reason != recfmt.EndAbandoned {
		t.Errorf("it verifies as %+v, %v", sum, err)
	}
	comesBack(t, w, m)
}

// comesBack: the agent returns with the rest, which replaces what was closed.
func comesBack(t *testing.T, w *world, m made) {
	held, stored, err := w.s.Held(t.Context(), host, m.id)
	if err != nil || stored || held != uint64(m.marks[3]) {
		t.Fatalf("held: %d %v %v, want %d", held, stored, err, m.marks[3])
	}
	if err := w.complete(m); !errors.Is(err, fault.Conflict) {
		t.Errorf("complete without the rest: %v", err)
	}
	if _, err := w.s.Append(t.Context(), host, m.id, held, []byte("garbage, not a frame of this recording at all, longer than a frame's head")); !errors.Is(err, fault.Untrusted) {
		t.Errorf("another continuation: %v", err)
	}
	w.send(m, int(held), len(m.data), 1<<20)
	must(t, w.complete(m))
	if got, err := w.shown(m.id, 0); err != nil || got != "one two three" {
		t.Errorf("it shows %q, %v", got, err)
	}
	up := w.uploads()
	if len(up) != 2 || up[1].Reason != "session" || up[1].ClosedByAuth || up[1].Head == up[0].Head {
		t.Errorf("the log has %+v", up)
	}
	all, err := w.blobs.List(t.Context(), "", "", 0)
	if err != nil || len(all) != 1 {
		t.Errorf("%d objects are stored, %v", len(all), err)
	}
	if page, _, err := w.s.List(t.Context(), recordings.Query{See: func(*recordings.Meta) bool { return true }}); err != nil || len(page) != 1 || page[0].State() != "stored" {
		t.Errorf("listed: %+v, %v", page, err)
	}
}

// TestOlderGeneration: the process lives, and the generation that recorded does not.
func TestOlderGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.record("alice", time.Now(), "one")
		w.send(m, 0, len(m.data), 1<<20) // whole, and never completed
		w.present.set(host, 2)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if up := w.uploads(); len(up) != 1 || up[0].Reason != "session" || up[0].ClosedByAuth {
			t.Errorf("the log has %+v", up)
		}
		must(t, w.complete(m))
	})
}

func TestAlteredInStorage(t *testing.T) {
	w := newWorld(t)
	m := w.record("alice", time.Now(), "one ", "two ", "three")
	w.send(m, 0, len(m.data), 1<<20)
	must(t, w.complete(m))
	meta, err := w.s.Get(t.Context(), m.id)
	must(t, err)
	for _, at := range []int{m.marks[1] + 60, m.marks[3] - 1, len(m.data) - 10} {
		w.blobs.Corrupt(meta.Key, int64(at))
		got, err := w.shown(m.id, 0)
		var broken *recfmt.BrokenError
		if !errors.As(err, &broken) || !errors.Is(err, fault.Untrusted) {
			t.Errorf("byte %d altered: %q, %v", at, got, err)
		}
		w.blobs.Corrupt(meta.Key, int64(at))
	}
	must(t, w.blobs.Delete(t.Context(), meta.Key))
	if _, err := w.shown(m.id, 0); !errors.Is(err, fault.Untrusted) {
		t.Errorf("removed: %v", err)
	}
	short := m.data[:m.marks[3]]
	must(t, w.blobs.Put(t.Context(), meta.Key, bytes.NewReader(short), int64(len(short))))
	if got, err := w.shown(m.id, 0); !errors.Is(err, fault.Untrusted) || got != "one two " {
		t.Errorf("cut short: %q, %v", got, err)
	}
}

// TestSeekInALongSegment: a segment may name more keys than most do; a playback
// begins in the middle of it all the same.
func TestSeekInALongSegment(t *testing.T) {
	w := newWorld(t)
	for _, keys := range []int{1, 30} {
		m := w.recordTo(slices.Repeat(w.keys.Recipients(), keys), "alice", time.Now(), "one", "two", "three")
		if head := m.marks[1]; (head > 16<<10) != (keys > 1) {
			t.Fatalf("with %d keys a segment begins with %d bytes", keys, head)
		}
		w.send(m, 0, m.marks[len(m.marks)-2], 1<<20)
		for _, stored := range []bool{false, true} {
			if stored {
				w.send(m, m.marks[len(m.marks)-2], len(m.data), 1<<20)
				must(t, w.complete(m))
			}
			if got, err := w.shown(m.id, 3*time.Second); err != nil || got != "three" {
				t.Errorf("%d keys, stored %v: %q, %v", keys, stored, got, err)
			}
		}
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.record("alice", time.Now(), "one ", "two ", "three")
		w.send(m, 0, m.marks[2], 1<<20)
		var got bytes.Buffer
		done := make(chan error, 1)
		go func() { done <- follow(t.Context(), w.s, m.id, &got) }()
		synctest.Wait()
		if got.String() != "one " {
			t.Errorf("so far %q", got.String())
		}
		w.send(m, m.marks[2], m.marks[3]+10, 50)
		synctest.Wait()
		if got.String() != "one two " {
			t.Errorf("so far %q", got.String())
		}
		w.send(m, m.marks[3]+10, len(m.data), 1<<20)
		must(t, w.complete(m))
		if err := <-done; err != nil || got.String() != "one two three" {
			t.Errorf("in the end %q, %v", got.String(), err)
		}
	})
}

func follow(ctx context.Context, s *recordings.Service, id string, out *bytes.Buffer) error {
	r, err := s.Open(ctx, id, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		records, err := r.Next()
		if err != nil {
			if err = r.Wait(ctx); err != nil {
				break
			}
			continue
		}
		for _, rec := range records {
			if rec.Type == recfmt.RecordOutput {
				out.Write(rec.Data)
			}
		}
	}
	return nil
}

func TestList(t *testing.T) {
	w := newWorld(t)
	start := time.Now().Truncate(time.Second)
	var all []made
	for i := range 9 {
		m := w.record([]string{"alice", "bob"}[i%2], start.Add(time.Duration(i)*time.Minute), "x")
		all = append(all, m)
		if i == 4 || i == 8 {
			w.send(m, 0, m.marks[2], 1<<20) // arriving
			continue
		}
		w.send(m, 0, len(m.data), 1<<20)
		must(t, w.complete(m))
	}
	everybody := func(*recordings.Meta) bool { return true }
	for _, c := range []struct {
		name string
		q    recordings.Query
		want []int
	}{
		{"all", recordings.Query{See: everybody}, []int{8, 7, 6, 5, 4, 3, 2, 1, 0}},
		{"by twos", recordings.Query{See: everybody, Limit: 2}, []int{8, 7, 6, 5, 4, 3, 2, 1, 0}},
		{"by one", recordings.Query{See: everybody, Limit: 1}, []int{8, 7, 6, 5, 4, 3, 2, 1, 0}},
		{"bob", recordings.Query{See: everybody, User: "bob", Limit: 2}, []int{7, 5, 3, 1}},
		{"between", recordings.Query{See: everybody, From: start.Add(3 * time.Minute), To: start.Add(6 * time.Minute)}, []int{5, 4, 3}},
		{"host", recordings.Query{See: everybody, Host: "n1", Limit: 4}, []int{8, 7, 6, 5, 4, 3, 2, 1, 0}},
		{"other host", recordings.Query{See: everybody, Host: "n2"}, nil},
		{"own", recordings.Query{See: func(m *recordings.Meta) bool { return m.Participants[0] == "alice" }}, []int{8, 6, 4, 2, 0}},
	} {
		var got []int
		for pages := 0; ; pages++ {
			page, next, err := w.s.List(t.Context(), c.q)
			must(t, err)
			if c.q.Limit > 0 && len(page) > c.q.Limit || pages > 20 {
				t.Fatalf("%s: a page of %d", c.name, len(page))
			}
			for _, m := range page {
				for i := range all {
					if all[i].id == m.SessionID {
						got = append(got, i)
					}
				}
			}
			if c.q.Page = next; next == "" {
				break
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if _, _, err := w.s.List(t.Context(), recordings.Query{See: everybody, Page: "/users/"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("a foreign token: %v", err)
	}
}

// TestParticipants: who joined a session may see its recording.
func TestParticipants(t *testing.T) {
	w := newWorld(t)
	id, start := uuid.NewString(), time.Now()
	e, data, err := recfmt.NewEncoder(recfmt.EncoderOptions{Recipients: w.keys.Recipients(),
		Segment: recfmt.Segment{SessionID: id, Kind: "ssh", HostID: host, Generation: 1, Start: start}})
	must(t, err)
	info, err := json.Marshal(recfmt.Info{User: "alice", Command: strings.Repeat("x", 5000)})
	must(t, err)
	must(t, e.Add(recfmt.Record{Type: recfmt.RecordInfo, Data: info}))
	for _, ev := range []string{`{"event":"session.join","user":"bob"}`, `{"event":"session.join","user":"bob"}`, `{"event":"exec","user":"mallory","x":"\"session.join\""}`, `not json "session.join"`} {
		must(t, e.Add(recfmt.Record{Type: recfmt.RecordEvent, Data: []byte(ev)}))
	}
	data = e.Finish(data, recfmt.EndSession)
	m := made{id: id, data: data}
	w.send(m, 0, len(data), 1<<20)
	must(t, w.complete(m))
	meta, err := w.s.Get(t.Context(), id)
	if err != nil || fmt.Sprint(meta.Participants) != "[alice bob]" || len(meta.Info.Command) > 1024 {
		t.Errorf("%+v, %v", meta, err)
	}
}

// TestUnreadable: a recording that no key of the cluster opens is kept and proven
// all the same.
func TestUnreadable(t *testing.T) {
	w, stranger := newWorld(t), newWorld(t)
	m := stranger.record("alice", time.Now(), "one")
	w.send(m, 0, len(m.data), 1<<20)
	must(t, w.complete(m))
	if got := w.bytes(m.id); !bytes.Equal(got, m.data) {
		t.Error("other bytes are stored")
	}
	if _, err := w.shown(m.id, 0); !errors.Is(err, fault.Denied) {
		t.Errorf("it plays: %v", err)
	}
	if meta, err := w.s.Get(t.Context(), m.id); err != nil || meta.Info.User != "" || len(meta.Participants) != 0 {
		t.Errorf("%+v, %v", meta, err)
	}
}

// TestManyAtOnce: recordings of several sessions come together, in pieces.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	noise := make([]byte, 40<<10)
	_, _ = rand.Read(noise)
	var all []made
	for range 24 {
		all = append(all, w.record("alice", time.Now(), string(noise), string(noise), "end"))
	}
	for _, m := range all {
		wg.Go(func() {
			for from := 0; from < len(m.data); from += 9000 {
				if _, err := w.s.Append(t.Context(), host, m.id, uint64(from), m.data[from:min(from+9000, len(m.data))]); err != nil {
					t.Errorf("append: %v", err)
					return
				}
			}
			if err := w.complete(m); err != nil {
				t.Errorf("complete: %v", err)
			}
		})
	}
	wg.Wait()
	if n := len(w.events.Events(event.TypeSessionUpload)); n != len(all) {
		t.Errorf("%d of %d are stored", n, len(all))
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	w := newWorld(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if got := fmt.Sprintf(verb, w.keys); strings.Contains(strings.ToUpper(got), "AGE-SECRET") || len(got) > 40 {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	items, err := w.kv.Range(t.Context(), "/", "", 0)
	must(t, err)
	for _, item := range items {
		if bytes.Contains(item.Value, []byte("AGE-SECRET")) {
			t.Errorf("%s holds a key in the clear", item.Key)
		}
	}
}

// TestKeysRotate: the newest key is published, and all of them open.
func TestKeysRotate(t *testing.T) {
	w := newWorld(t)
	first := w.keys.Published()
	before := w.record("alice", time.Now(), "before")
	w.send(before, 0, len(before.data), 1<<20)
	must(t, w.complete(before))
	ks, err := softkeys.New(w.kv, bytes.Repeat([]byte{7}, softkeys.KEKSize))
	must(t, err)
	other, err := recordings.EnsureKeys(t.Context(), w.kv, ks) // of another auth service
	must(t, err)
	must(t, other.Rotate(t.Context()))
	must(t, other.Rotate(t.Context()))
	// This one follows.
	seen, ctx, cancel := make(chan []types.RecordingPublicKey), t.Context(), context.CancelFunc(nil)
	ctx, cancel = context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- w.keys.Serve(ctx, func(ctx context.Context) error {
			select {
			case seen <- w.keys.Public():
			case <-ctx.Done():
			}
			return nil
		})
	}()
	if now := <-seen; len(now) != 3 {
		t.Errorf("at first it has %d keys", len(now))
	}
	must(t, other.Rotate(t.Context()))
	if now := <-seen; len(now) != 4 || now[0] != other.Published()[0] || now[3] != first[0] {
		t.Errorf("it follows with %d keys", len(now))
	}
	cancel()
	must(t, <-done)
	if now := w.keys.Published(); len(now) != 1 || now[0] == first[0] || len(w.keys.Identities()) != 4 {
		t.Errorf("%d keys are published, %d open", len(now), len(w.keys.Identities()))
	}
	w.restart()
	after := w.record("alice", time.Now(), "after")
	w.send(after, 0, len(after.data), 1<<20)
	must(t, w.complete(after))
	for id, want := range map[string]string{before.id: "before", after.id: "after"} {
		if got, err := w.shown(id, 0); err != nil || got != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	wrong, err := softkeys.New(w.kv, bytes.Repeat([]byte{8}, softkeys.KEKSize))
	must(t, err)
	if _, err := recordings.EnsureKeys(t.Context(), w.kv, wrong); !errors.Is(err, fault.Untrusted) {
		t.Errorf("with another sealing key: %v", err)
	}
}

// FuzzAppend: whatever comes, what is held is a good recording, and belongs to
// who sent it.
func FuzzAppend(f *testing.F) {
	e, data, err := recfmt.NewEncoder(recfmt.EncoderOptions{Segment: recfmt.Segment{SessionID: fuzzID, Kind: "ssh", HostID: host, Generation: 1}})
	if err != nil {
		f.Fatal(err)
	}
	data = e.Finish(data, recfmt.EndSession)
	f.Add(data, uint16(0), data)
	f.Add(data[:50], uint16(10), data[40:])
	f.Add([]byte("S\x00\x00000"), uint16(0), []byte{}) // no bytes begin no recording
	f.Fuzz(func(t *testing.T, one []byte, offset uint16, two []byte) {
		s, err := recordings.New(recordings.Deps{Dir: t.TempDir(), Backend: memkv.New(memkv.Options{}), Keys: &recordings.Keys{}, Log: slog.New(slog.DiscardHandler)})
		must(t, err)
		defer s.Close()
		_, _ = s.Append(t.Context(), host, fuzzID, 0, one) // may be anything
		_, _ = s.Append(t.Context(), host, fuzzID, uint64(offset), two)
		m, err := s.Get(t.Context(), fuzzID)
		if errors.Is(err, fault.NotFound) {
			return
		}
		must(t, err)
		r, err := s.Bytes(t.Context(), fuzzID, 0)
		must(t, err)
		defer r.Close()
		sum, err := recfmt.Verify(fuzzID, r)
		if err != nil || sum.Offset != m.Size || m.HostID != host || sum.Segments == 0 {
			t.Errorf("%+v, %+v, %v", m, sum, err)
		}
	})
}

const fuzzID = "33333333-3333-4333-8333-333333333333"

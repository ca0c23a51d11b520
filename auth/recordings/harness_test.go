package recordings_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"teleport/audit/audittest"
	"teleport/auth/recordings"
	"teleport/backend"
	"teleport/backend/memkv"
	"teleport/blob"
	"teleport/blob/blobtest"
	"teleport/keystore/softkeys"
	"teleport/recfmt"
	"teleport/types/event"
)

const host = "11111111-1111-4111-8111-111111111111"

// world is a service of recordings that can be restarted over what it keeps.
type world struct {
	t       *testing.T
	dir     string
	kv      backend.Backend
	keys    *recordings.Keys
	blobs   *blobtest.Memory
	store   blob.Store
	events  *audittest.Recorder
	present *presence
	space   func() (free, total uint64)
	s       *recordings.Service
	stop    func()
}

// presence is which processes live.
type presence struct {
	mu   sync.Mutex
	live map[string]uint64
}

func (p *presence) Present(_ context.Context, uuid string, generation uint64) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live[uuid] == generation && generation > 0, nil
}

func (p *presence) set(uuid string, generation uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live[uuid] = generation
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), kv: memkv.New(memkv.Options{}), blobs: blobtest.NewMemory(), events: audittest.NewRecorder(),
		present: &presence{live: map[string]uint64{host: 1}}, space: func() (free, total uint64) { return 1, 1 }} // whatever this machine's disk has
	w.store = w.blobs
	ks, err := softkeys.New(w.kv, bytes.Repeat([]byte{7}, softkeys.KEKSize))
	must(t, err)
	w.keys, err = recordings.EnsureKeys(t.Context(), w.kv, ks)
	must(t, err)
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// start runs the service, as after a restart of auth.
func (w *world) start() {
	w.t.Helper()
	s, err := recordings.New(recordings.Deps{Dir: w.dir, Blobs: w.store, Backend: w.kv, Keys: w.keys, Presence: w.present, Events: w.events,
		Space: w.space, Log: slog.New(slog.DiscardHandler)})
	must(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	w.s, w.stop = s, func() {
		cancel()
		must(w.t, <-done)
		must(w.t, s.Close())
		w.stop = func() {}
	}
}

func (w *world) restart() {
	w.t.Helper()
	w.stop()
	w.start()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// made is a recording as its agent has it.
type made struct {
	id    string
	data  []byte // whole, with its end
	marks []int  // where each frame begins, and the end of the last
}

// record makes a finished recording with one chunk for each line.
func (w *world) record(user string, start time.Time, lines ...string) made {
	w.t.Helper()
	return w.recordTo(w.keys.Recipients(), user, start, lines...)
}

func (w *world) recordTo(to []age.Recipient, user string, start time.Time, lines ...string) made {
	w.t.Helper()
	m := made{id: uuid.NewString(), marks: []int{0}}
	e, data, err := recfmt.NewEncoder(recfmt.EncoderOptions{Recipients: to,
		Segment: recfmt.Segment{SessionID: m.id, Kind: "ssh", Cluster: "example", HostID: host, Generation: 1, Start: start}})
	must(w.t, err)
	m.marks = append(m.marks, len(data))
	info, err := json.Marshal(recfmt.Info{SessionID: m.id, Kind: "ssh", User: user, Login: "root", Hostname: "n1", Start: start, Columns: 80, Rows: 24})
	must(w.t, err)
	must(w.t, e.Add(recfmt.Record{Type: recfmt.RecordInfo, Data: info}))
	for i, l := range lines {
		must(w.t, e.Add(recfmt.Record{Type: recfmt.RecordOutput, At: time.Duration(i+1) * time.Second, Data: []byte(l)}))
		data = e.Chunk(data)
		m.marks = append(m.marks, len(data))
	}
	m.data = e.Finish(data, recfmt.EndSession)
	m.marks = append(m.marks, len(m.data))
	return m
}

// send appends a part of a recording, in pieces.
func (w *world) send(m made, from, to, piece int) {
	w.t.Helper()
	for from < to {
		next := min(from+piece, to)
		held, err := w.s.Append(w.t.Context(), host, m.id, uint64(from), m.data[from:next])
		must(w.t, err)
		if held != uint64(next) {
			w.t.Fatalf("held %d, sent up to %d", held, next)
		}
		from = next
	}
}

func (w *world) complete(m made) error {
	return w.s.Complete(w.t.Context(), host, m.id, uint64(len(m.data)))
}

// shown reads the output of a recording from a moment on.
func (w *world) shown(id string, at time.Duration) (string, error) {
	w.t.Helper()
	r, err := w.s.Open(w.t.Context(), id, at)
	if err != nil {
		return "", err
	}
	defer r.Close()
	var out []byte
	for {
		records, err := r.Next()
		if err == io.EOF {
			return string(out), nil
		}
		if err != nil {
			return string(out), err
		}
		for _, rec := range records {
			if rec.Type == recfmt.RecordOutput && rec.At >= at {
				out = append(out, rec.Data...)
			}
		}
	}
}

func (w *world) uploads() []*event.SessionUpload {
	var out []*event.SessionUpload
	for _, e := range w.events.Events(event.TypeSessionUpload) {
		out = append(out, e.(*event.SessionUpload))
	}
	return out
}

// bytes is what is stored of a recording.
func (w *world) bytes(id string) []byte {
	w.t.Helper()
	r, err := w.s.Bytes(w.t.Context(), id, 0)
	must(w.t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	must(w.t, err)
	return b
}

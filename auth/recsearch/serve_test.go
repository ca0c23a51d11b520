package recsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"teleport/api/gen/recordingv1"
	"teleport/audit/audittest"
	"teleport/auth/authapi"
	"teleport/auth/recordings"
	"teleport/backend"
	"teleport/backend/memkv"
	"teleport/blob/blobtest"
	"teleport/keystore/softkeys"
	"teleport/recfmt"
)

const agent = "11111111-1111-4111-8111-111111111111"

// gone is a cluster whose agents have all left.
type gone struct{}

func (gone) Present(context.Context, string, uint64) (bool, error) { return false, nil }

// TestServeIndexesWhatIsStored: an index is made of what was stored, and made again
// when a longer copy takes its place, whose old one is deleted; neither the storage
// nor the database has a word that was on the screen in plain.
func TestServeIndexesWhatIsStored(t *testing.T) { synctest.Test(t, testServe) }

func testServe(t *testing.T) {
	kv, blobs := memkv.New(memkv.Options{}), blobtest.NewMemory()
	ks, err := softkeys.New(kv, bytes.Repeat([]byte{7}, softkeys.KEKSize))
	must(t, err)
	keys, err := recordings.EnsureKeys(t.Context(), kv, ks)
	must(t, err)
	log := slog.New(slog.DiscardHandler)
	s, err := New(Deps{Blobs: blobs, Keys: keys, Dir: t.TempDir(), Log: log})
	must(t, err)
	r, err := recordings.New(recordings.Deps{Dir: t.TempDir(), Blobs: blobs, Backend: kv, Keys: keys, Presence: gone{}, Events: audittest.NewRecorder(),
		Space: func() (free, total uint64) { return 1, 1 }, Log: log, Painter: s, Stored: s.Stored, Abandon: 60 * time.Millisecond})
	must(t, err)
	s.Use(r)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	for _, serve := range []func(context.Context) error{s.Serve, r.Serve} {
		go func() { done <- serve(ctx) }()
	}
	t.Cleanup(func() {
		cancel()
		must(t, errors.Join(<-done, <-done, r.Close()))
	})

	id := uuid.NewString()
	e, data, err := recfmt.NewEncoder(recfmt.EncoderOptions{Recipients: keys.Recipients(),
		Segment: recfmt.Segment{SessionID: id, Kind: "ssh", Cluster: "example", HostID: agent, Generation: 1, Start: time.Now().UTC().Truncate(time.Microsecond)}})
	must(t, err)
	info, err := json.Marshal(recfmt.Info{SessionID: id, Kind: "ssh", User: "alice", Login: "root", Hostname: "n1", Columns: 80, Rows: 24})
	must(t, err)
	must(t, e.Add(recfmt.Record{Type: recfmt.RecordInfo, Data: info}))
	must(t, e.Add(record(time.Second, "Quicksilver was shown\r\n")))
	data = e.Chunk(data)
	if _, err := r.Append(t.Context(), agent, id, 0, data); err != nil {
		t.Fatal(err)
	}
	// Its agent is gone, so that auth ends it; then the agent comes with all of it.
	find(t, s, "quicksilver", id)
	first := indexes(t, blobs)
	sent := len(data)
	must(t, e.Add(record(2*time.Second, "and Vermilion later\r\n")))
	data = e.Finish(e.Chunk(data), recfmt.EndSession)
	held, _, err := r.Held(t.Context(), agent, id)
	must(t, err)
	if int(held) > sent {
		held = uint64(sent) // what is behind is the end that auth made
	}
	if _, err := r.Append(t.Context(), agent, id, held, data[held:]); err != nil {
		t.Fatal(err)
	}
	must(t, r.Complete(t.Context(), agent, id, uint64(len(data))))
	find(t, s, "vermilion", id)
	find(t, s, "quicksilver", id)
	deadline := time.Now().Add(time.Minute)
	for now := indexes(t, blobs); len(now) != 1 || now[0] == first[0]; now = indexes(t, blobs) {
		if time.Now().After(deadline) {
			t.Fatalf("indexes %q, at first %q", now, first)
		}
		time.Sleep(time.Second)
	}

	for _, word := range []string{"Quicksilver", "quicksilver", "Vermilion", "vermilion"} {
		list, err := blobs.List(t.Context(), "", "", 0)
		must(t, err)
		for _, b := range list {
			if bytes.Contains(whole(t, blobs, b.Key), []byte(word)) {
				t.Errorf("%s holds %q in plain", b.Key, word)
			}
		}
		rows, err := kv.Range(t.Context(), "/", backend.PrefixEnd("/"), 10000)
		must(t, err)
		for _, row := range rows {
			if bytes.Contains(row.Value, []byte(word)) {
				t.Errorf("the row %s holds %q", row.Key, word)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// find waits until a search finds a word in a recording.
func find(t *testing.T, s *Service, word, id string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		found := false
		err := s.Search(t.Context(), authapi.RecordingQuery{Text: word, See: func(*recordings.Meta) bool { return true }},
			func(m *recordings.Meta, hits []*recordingv1.Hit) error {
				found = m.SessionID == id && len(hits) == 1
				return nil
			})
		must(t, err)
		if found {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q is not found", word)
		}
		time.Sleep(time.Second)
	}
}

// indexes are the keys of the indexes in a storage.
func indexes(t *testing.T, blobs *blobtest.Memory) (keys []string) {
	t.Helper()
	list, err := blobs.List(t.Context(), "", "", 0)
	must(t, err)
	for _, b := range list {
		if strings.HasSuffix(b.Key, suffix) {
			keys = append(keys, b.Key)
		}
	}
	return keys
}

func whole(t *testing.T, blobs *blobtest.Memory, key string) []byte {
	t.Helper()
	r, err := blobs.Get(t.Context(), key, 0, -1)
	must(t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	must(t, err)
	return b
}

package recordings_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"teleport/blob"
	"teleport/blob/s3blob"
	"teleport/fault"
)

// TestS3: a recording of many parts goes to a real S3 server that is away at
// first, and away again in the middle of the parts.
func TestS3(t *testing.T) {
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"} {
		t.Setenv(k, v)
	}
	mem := s3mem.New()
	must(t, mem.CreateBucket("records"))
	h := gofakes3.New(mem).Server()
	var left atomic.Int64 // requests that are answered; then it is away
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if left.Add(-1) < 0 {
			w.WriteHeader(http.StatusForbidden) // not tried again by the client
			return
		}
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	l, err := blob.ParseLocation("s3://records/cluster?region=us-east-1&path_style=true&endpoint=" + server.URL)
	must(t, err)
	w := newWorld(t)
	w.stop()
	w.store, err = s3blob.Open(t.Context(), l)
	must(t, err)
	w.start()

	noise := make([]byte, 400<<10) // does not compress
	_, _ = rand.Read(noise)
	lines := make([]string, 45)
	for i := range lines {
		lines[i] = string(noise)
	}
	m := w.record("alice", time.Now(), lines...)
	if len(m.data) < 2*s3blob.PartSize {
		t.Fatalf("%d bytes are too few for parts", len(m.data))
	}
	w.send(m, 0, len(m.data), 3<<20)
	for _, n := range []int64{0, 2, 3} { // nothing, a part, two parts
		left.Store(n)
		if err := w.complete(m); !errors.Is(err, fault.Unavailable) {
			t.Fatalf("away after %d requests: %v", n, err)
		}
		if _, stored, err := w.s.Held(t.Context(), host, m.id); err != nil || stored {
			t.Fatalf("away after %d requests: stored %v, %v", n, stored, err)
		}
	}
	left.Store(1 << 30)
	must(t, w.complete(m))
	if up := w.uploads(); len(up) != 1 || up[0].URL[:len("s3://records/cluster/")] != "s3://records/cluster/" {
		t.Errorf("the log has %+v", up)
	}
	if got := w.bytes(m.id); !bytes.Equal(got, m.data) {
		t.Error("other bytes are stored")
	}
	if got, err := w.shown(m.id, 44*time.Second+1); err != nil || got != string(noise) {
		t.Errorf("its last second is %d bytes, %v", len(got), err)
	}
}

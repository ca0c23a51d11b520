package s3blob_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"teleport/blob"
	"teleport/blob/blobtest"
	"teleport/blob/s3blob"
	"teleport/fault"
)

// server is a real S3 server in this process, which can go away.
type server struct {
	*httptest.Server
	away atomic.Int32 // the status to answer with; 0: it works
}

func serve(t *testing.T) *server {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a-secret-that-is-nowhere-else")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	backend := s3mem.New()
	if err := backend.CreateBucket("records"); err != nil {
		t.Fatal(err)
	}
	s := &server{}
	h := gofakes3.New(backend).Server()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := s.away.Load(); code != 0 {
			w.WriteHeader(int(code))
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) open(t *testing.T, path string) *s3blob.Bucket {
	t.Helper()
	l, err := blob.ParseLocation("s3://" + path + "?path_style=true&region=us-east-1&endpoint=" + s.URL)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s3blob.Open(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConformance(t *testing.T) {
	blobtest.Test(t, func(t *testing.T) blob.Store { return serve(t).open(t, "records/of/the-cluster") })
}

// TestPrefix: two clusters share a bucket and do not see each other.
func TestPrefix(t *testing.T) {
	s := serve(t)
	a, b, all := s.open(t, "records/a"), s.open(t, "records/a/b"), s.open(t, "records")
	if err := b.Put(t.Context(), "x", strings.NewReader("1"), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Stat(t.Context(), "x"); !errors.Is(err, fault.NotFound) {
		t.Errorf("stat: %v", err)
	}
	if info, err := all.Stat(t.Context(), "a/b/x"); err != nil || info.Size != 1 {
		t.Errorf("stat: %+v, %v", info, err)
	}
}

// TestBadDays: what may be tried again is Unavailable, what must be put right says so.
func TestBadDays(t *testing.T) {
	s := serve(t)
	b := s.open(t, "records")
	put := func(b *s3blob.Bucket) error { return b.Put(t.Context(), "x", strings.NewReader("1"), 1) }
	for code, want := range map[int32]fault.Kind{500: fault.Unavailable, 503: fault.Unavailable, 403: fault.Denied, 301: fault.Unavailable} {
		s.away.Store(code)
		if err := put(b); !errors.Is(err, want) || strings.Contains(err.Error(), "nowhere-else") {
			t.Errorf("%d: %v, want %s", code, err, want)
		}
	}
	s.away.Store(0)
	if err := put(s.open(t, "no-such-bucket")); !errors.Is(err, fault.Unavailable) {
		t.Errorf("no bucket: %v", err)
	}
	s.Close()
	if err := put(b); !errors.Is(err, fault.Unavailable) {
		t.Errorf("no server: %v", err)
	}
}

func TestNeedsARegion(t *testing.T) {
	serve(t)
	t.Setenv("AWS_REGION", "")
	if _, err := s3blob.Open(t.Context(), blob.Location{Scheme: "s3", Bucket: "records"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("without a region: %v", err)
	}
}

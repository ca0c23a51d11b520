package cloudtest

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"teleport/fault"
	"teleport/sigv4wire"
)

// S3 is an S3 that verifies every signature and checksum, and lets an emulator keep
// buckets in memory. Buckets are named in paths. Safe for concurrent use.
type S3 struct {
	*httptest.Server
	aws      *AWS
	emulator http.Handler
	mu       sync.Mutex
	answer   int // instead of the emulator, 0 is none
	requests []*http.Request
	signers  []Principal
}

// NewS3 starts one that ends with the test. It has the bucket demo.
func NewS3(t testing.TB, a *AWS) *S3 {
	t.Helper()
	mem := s3mem.New()
	if err := mem.CreateBucket("demo"); err != nil {
		t.Fatal(err)
	}
	s := &S3{aws: a, emulator: gofakes3.New(mem).Server()}
	s.Server = httptest.NewTLSServer(s)
	t.Cleanup(s.Close)
	return s
}

// CA is PEM of the authority of its certificate.
func (s *S3) CA() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// Seen returns the requests so far whose signatures were good, and who signed them.
func (s *S3) Seen() ([]*http.Request, []Principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests), slices.Clone(s.signers)
}

// Answer makes it refuse all requests with a status; 0 ends that.
func (s *S3) Answer(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = status
}

// ServeHTTP implements http.Handler.
func (s *S3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, who, err := s.verify(r)
	if err != nil {
		s3Error(w, http.StatusForbidden, "SignatureDoesNotMatch", err.Error())
		return
	}
	s.mu.Lock()
	s.requests, s.signers = append(s.requests, r), append(s.signers, who)
	status := s.answer
	s.mu.Unlock()
	if status != 0 {
		s3Error(w, status, map[int]string{http.StatusForbidden: "AccessDenied", http.StatusServiceUnavailable: "SlowDown"}[status], "as the test wants")
		return
	}
	in := r.Clone(r.Context())
	in.Body, in.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	in.Header.Set("Content-Length", strconv.Itoa(len(body)))
	for _, name := range []string{"X-Amz-Content-Sha256", "Content-Encoding", "X-Amz-Decoded-Content-Length", "X-Amz-Trailer"} {
		in.Header.Del(name)
	}
	s.emulator.ServeHTTP(w, in)
}

// verify reads a body and checks what covers it.
func (s *S3) verify(r *http.Request) ([]byte, Principal, error) {
	in := &sigv4wire.Request{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: r.Header, Length: r.ContentLength}
	signed, err := sigv4wire.Read(in)
	if err != nil {
		return nil, Principal{}, err
	}
	k, err := s.aws.find(signed, "s3", "")
	if err != nil {
		return nil, Principal{}, err
	}
	st, err := sigv4wire.VerifyHead(in, k.secret, time.Now())
	if err != nil {
		return nil, Principal{}, err
	}
	body, err := io.ReadAll(st.Body(r.Body))
	if err == nil && r.ContentLength >= 0 && int64(len(body)) != st.Length {
		err = fault.New(fault.Invalid, "the body has %d bytes of %d", len(body), st.Length)
	}
	if err == nil && st.Payload == sigv4wire.UnsignedTrailer {
		body, err = untrail(body, r.Header)
	}
	return body, k.who, err
}

// untrail takes a body out of its chunks, and checks its length and its CRC-32 if it
// has one.
func untrail(in []byte, header http.Header) ([]byte, error) {
	from := bufio.NewReader(bytes.NewReader(in))
	body, err := io.ReadAll(httputil.NewChunkedReader(from))
	if err != nil {
		return nil, err
	}
	rest, err := io.ReadAll(from)
	if err != nil {
		return nil, err
	}
	name, value, _ := strings.Cut(strings.TrimSpace(string(rest)), ":")
	if !strings.EqualFold(name, header.Get("X-Amz-Trailer")) || header.Get("X-Amz-Decoded-Content-Length") != strconv.Itoa(len(body)) {
		return nil, fault.New(fault.Invalid, "the trailer is %q and not %q, or the body has not the length that was said", name, header.Get("X-Amz-Trailer"))
	}
	sum := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)))
	if strings.EqualFold(name, "x-amz-checksum-crc32") && sum != value {
		return nil, fault.New(fault.Invalid, "the checksum of the body is %s and not %s", sum, value)
	}
	return body, nil
}

func s3Error(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<Error><Code>"+code+"</Code><Message>"+message+"</Message></Error>") // it may be gone
}

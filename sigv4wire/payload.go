package sigv4wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"teleport/fault"
)

// Forms of a payload that are not the hash of the body, as they stand in the
// header X-Amz-Content-Sha256.
const (
	// Unsigned is a body that the signature leaves out: TLS alone protects it.
	Unsigned = "UNSIGNED-PAYLOAD"
	// UnsignedTrailer is a body in chunks, with a checksum behind them.
	UnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	signedChunks    = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	signedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
)

// Stream is a request whose head is verified and whose body is still to come. Its
// body must be read through Body, which verifies that.
type Stream struct {
	*Signed
	// Payload and Length are those of the request with the body that Body gives: by
	// them it can be signed again.
	Payload string
	Length  int64

	form    string
	decoded int64  // length of what chunks carry
	trailer string // name of the checksum
	key     []byte // of whoever signed
}

// VerifyHead checks the signature of a request without its body: what covers that
// is its header X-Amz-Content-Sha256, which must be there. The length of the body
// must be known. Chunks and unsigned bodies are S3's alone.
func VerifyHead(r *Request, secret string, now time.Time) (*Stream, error) {
	s, err := Read(r)
	if err != nil {
		return nil, err
	}
	if err := s.intended(r, now); err != nil {
		return nil, err
	}
	st := &Stream{Signed: s, form: one(r.Header, "X-Amz-Content-Sha256"), Length: r.Length, key: s.key(secret)}
	if st.form == "" {
		return nil, fault.New(fault.Unauthenticated, "the signature does not say what it covers of the body")
	}
	if err := s.check(r, secret, st.form, ""); err != nil {
		return nil, err
	}
	return st, st.shape(r)
}

// shape finds out what the body will be.
func (st *Stream) shape(r *Request) error {
	st.Payload = st.form
	if sum, err := hex.DecodeString(st.form); err == nil && len(sum) == sha256.Size {
		return nil
	}
	if st.Service != "s3" {
		return fault.New(fault.Unauthenticated, "the signature does not cover the body")
	}
	switch st.form {
	case Unsigned, UnsignedTrailer:
		return nil
	case signedChunks, signedTrailer:
	default:
		return fault.New(fault.Unimplemented, "bodies of the form %q are not let through", st.form)
	}
	n, err := strconv.ParseInt(one(r.Header, "X-Amz-Decoded-Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return fault.New(fault.Invalid, "the length of the body within its chunks is not said").WithHint("X-Amz-Decoded-Content-Length")
	}
	st.decoded = n
	if st.form == signedChunks {
		st.Payload, st.Length = Unsigned, n
		return nil
	}
	st.trailer = strings.ToLower(one(r.Header, "X-Amz-Trailer"))
	size, ok := checksums[st.trailer]
	if !ok {
		return fault.New(fault.Unimplemented, "the trailer %q is not let through", st.trailer)
	}
	st.Payload, st.Length = UnsignedTrailer, chunkedLength(n)+int64(len(st.trailer)+1+size+4)
	return nil
}

// Rewrite makes the headers those of the request with the body that Body gives.
func (st *Stream) Rewrite(header map[string][]string) {
	header["X-Amz-Content-Sha256"] = []string{st.Payload}
	if st.form != signedChunks {
		return
	}
	delete(header, "X-Amz-Decoded-Content-Length")
	var left []string
	for part := range strings.SplitSeq(strings.Join(header["Content-Encoding"], ","), ",") {
		if part = strings.TrimSpace(part); part != "" && part != "aws-chunked" {
			left = append(left, part)
		}
	}
	if header["Content-Encoding"] = []string{strings.Join(left, ",")}; len(left) == 0 {
		delete(header, "Content-Encoding")
	}
}

// Body verifies what r gives, and withholds its end until all of it is verified:
// whoever is promised Length bytes never has them all before. What does not verify
// is fault.Unauthenticated.
func (st *Stream) Body(r io.Reader) io.Reader {
	switch st.form {
	case Unsigned, UnsignedTrailer:
		return r
	case signedChunks:
		return &withheld{next: newChunks(st, r).next}
	case signedTrailer:
		c := newChunks(st, r)
		return &chunked{from: &withheld{next: c.next}, trailer: func() string { return st.trailer + ":" + c.checksum }}
	}
	return &withheld{next: (&hashed{from: r, sum: sha256.New(), want: st.form}).next}
}

// withheld gives out each block when the one after it has come, or the end.
type withheld struct {
	next       func() ([]byte, error) // io.EOF when all that came is verified
	ready, has []byte
	err        error
}

// Read implements io.Reader.
func (w *withheld) Read(p []byte) (int, error) {
	for len(w.ready) == 0 {
		if w.err != nil {
			return 0, w.err
		}
		block, err := w.next()
		if err != nil && err != io.EOF {
			w.has, w.err = nil, err
			continue
		}
		w.ready, w.has, w.err = w.has, block, err
	}
	n := copy(p, w.ready)
	w.ready = w.ready[n:]
	return n, nil
}

const blockSize = 64 << 10

// hashed is a body whose hash is signed.
type hashed struct {
	from io.Reader
	sum  hash.Hash
	want string
}

func (h *hashed) next() ([]byte, error) {
	block := make([]byte, blockSize)
	n, err := io.ReadFull(h.from, block)
	h.sum.Write(block[:n])
	switch {
	case n > 0 && (err == nil || err == io.ErrUnexpectedEOF):
		return block[:n], nil
	case err != io.EOF:
		return nil, err
	case hex.EncodeToString(h.sum.Sum(nil)) != h.want:
		return nil, fault.New(fault.Unauthenticated, "the signature does not cover the body")
	}
	return nil, io.EOF
}

// checksums are the trailers that S3 knows, and the lengths of their values.
var checksums = map[string]int{"x-amz-checksum-crc32": 8, "x-amz-checksum-crc32c": 8, "x-amz-checksum-crc64nvme": 12, "x-amz-checksum-sha1": 28, "x-amz-checksum-sha256": 44}

// chunkedLength is how long a body of n bytes is in chunks of blockSize, up to and
// with the last, empty one.
func chunkedLength(n int64) int64 {
	frame := func(size int64) int64 { return int64(len(strconv.FormatInt(size, 16))) + 4 + size }
	total := n / blockSize * frame(blockSize)
	if rest := n % blockSize; rest > 0 {
		total += frame(rest)
	}
	return total + 3
}

// chunked puts a body into chunks of blockSize without signatures, and its checksum
// behind them.
type chunked struct {
	from    io.Reader
	trailer func() string // known at the end of from
	out     bytes.Buffer
	done    bool
}

// Read implements io.Reader.
func (c *chunked) Read(p []byte) (int, error) {
	if c.out.Len() == 0 {
		if c.done {
			return 0, io.EOF
		}
		block := make([]byte, blockSize)
		n, err := io.ReadFull(c.from, block)
		switch {
		case n > 0 && (err == nil || err == io.ErrUnexpectedEOF):
			c.out.WriteString(strconv.FormatInt(int64(n), 16) + "\r\n")
			c.out.Write(block[:n])
			c.out.WriteString("\r\n")
		case err == io.EOF:
			c.done = true
			c.out.WriteString("0\r\n" + c.trailer() + "\r\n\r\n")
		default:
			return 0, err
		}
	}
	return c.out.Read(p)
}

// intended holds time and coverage of a signature against what came.
func (s *Signed) intended(r *Request, now time.Time) error {
	if now.Sub(s.Time).Abs() > MaxSkew {
		return fault.New(fault.Unauthenticated, "the signature is of another time").WithHint("Check this machine's clock.")
	}
	return s.covers(r)
}

// CanonicalS3Path is the form of a path in which S3's signatures take it.
func CanonicalS3Path(path string) (string, error) { return canonicalPath(path, true) }

// Presigned reports whether a request carries a signature in its target.
func Presigned(target string) bool {
	_, query, _ := strings.Cut(target, "?")
	return slices.ContainsFunc(strings.Split(query, "&"), func(part string) bool {
		key, _, _ := strings.Cut(part, "=")
		return strings.EqualFold(key, "X-Amz-Signature") || strings.EqualFold(key, "X-Amz-Credential")
	})
}

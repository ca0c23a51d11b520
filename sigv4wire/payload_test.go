package sigv4wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"teleport/fault"
)

const (
	chunk1 = "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"
	chunk2 = "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"
	chunk3 = "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"
)

// published is the request of S3's guide about signed chunks: 65 KiB of "a".
func published(trailer bool) (*Request, string) {
	headers, seed, form := "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
		"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9", signedChunks
	header := http.Header{"Content-Encoding": {"aws-chunked"}, "X-Amz-Date": {"20130524T000000Z"}, "X-Amz-Decoded-Content-Length": {"66560"},
		"X-Amz-Storage-Class": {"REDUCED_REDUNDANCY"}}
	body := "10000;chunk-signature=" + chunk1 + "\r\n" + strings.Repeat("a", 65536) + "\r\n400;chunk-signature=" + chunk2 + "\r\n" + strings.Repeat("a", 1024) +
		"\r\n0;chunk-signature=" + chunk3 + "\r\n\r\n"
	if trailer {
		headers, seed, form = "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer",
			"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e", signedTrailer
		header["X-Amz-Trailer"] = []string{"x-amz-checksum-crc32c"}
		body = strings.NewReplacer(chunk1, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2", chunk2, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
			chunk3+"\r\n", "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n"+
				"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n").Replace(body)
	}
	header["X-Amz-Content-Sha256"] = []string{form}
	header["Authorization"] = []string{"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=" + headers + ", Signature=" + seed}
	return &Request{Method: "PUT", Target: "/examplebucket/chunkObject.txt", Host: "s3.amazonaws.com", Header: header, Length: int64(len(body))}, body
}

// TestPublishedChunks holds the reading of signed chunks to S3's guide.
func TestPublishedChunks(t *testing.T) {
	at := stamp(t, "20130524T000000Z")
	r, body := published(false)
	if r.Length != 66824 {
		t.Fatalf("the body has %d bytes", r.Length)
	}
	st, err := VerifyHead(r, s3Secret, at)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(st.Body(iotest.HalfReader(strings.NewReader(body))))
	if err != nil || string(got) != strings.Repeat("a", 66560) || st.Length != 66560 || st.Payload != Unsigned {
		t.Fatalf("%d bytes, %v, %+v", len(got), err, st)
	}
	st.Rewrite(r.Header)
	if h := http.Header(r.Header); h.Get("Content-Encoding") != "" || h.Get("X-Amz-Decoded-Content-Length") != "" || h.Get("X-Amz-Content-Sha256") != Unsigned {
		t.Errorf("headers: %v", r.Header)
	}
	r, body = published(true)
	if st, err = VerifyHead(r, s3Secret, at); err != nil {
		t.Fatal(err)
	}
	got, err = io.ReadAll(st.Body(strings.NewReader(body)))
	if err != nil || int64(len(got)) != st.Length || !strings.HasSuffix(string(got), "aa\r\n0\r\nx-amz-checksum-crc32c:sOO8/Q==\r\n\r\n") {
		t.Errorf("with a trailer: %d bytes of %d, %v", len(got), st.Length, err)
	}
}

// signChunks signs a body in chunks as a client does.
func signChunks(st *Stream, trailer string, parts ...string) string {
	var out strings.Builder
	c := newChunks(st, nil)
	for _, part := range append(parts, "") {
		sig := c.sign("AWS4-HMAC-SHA256-PAYLOAD", emptyHash, hexHash([]byte(part)))
		out.WriteString(strings.ToLower(hexLen(len(part))) + ";chunk-signature=" + sig + "\r\n" + part)
		if part != "" {
			out.WriteString("\r\n")
		}
	}
	if trailer != "" {
		out.WriteString(trailer + "\r\nx-amz-trailer-signature:" + c.sign("AWS4-HMAC-SHA256-TRAILER", hexHash([]byte(trailer+"\n"))) + "\r\n")
	}
	return out.String() + "\r\n"
}

func (c *chunks) sign(kind string, hashes ...string) string {
	text := strings.Join(append([]string{kind, c.st.Time.Format(timeLayout), c.st.scope(), c.previous}, hashes...), "\n")
	m := hmac.New(sha256.New, c.st.key)
	m.Write([]byte(text))
	c.previous = hex.EncodeToString(m.Sum(nil))
	return c.previous
}

func hexLen(n int) string { return strconv.FormatInt(int64(n), 16) }

// signAs signs a head by the vendor's own signer.
func signAs(t testing.TB, header http.Header, payload, service string, at time.Time) *Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodPut, "https://s3.eu-west-1.amazonaws.com/b/k", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	creds := aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, payload, service, "eu-west-1", at); err != nil {
		t.Fatal(err)
	}
	return &Request{Method: req.Method, Target: "/b/k", Host: req.Host, Header: req.Header}
}

func trailed(t *testing.T, parts ...string) (*Request, string) {
	t.Helper()
	at := stamp(t, "20261128T101112Z")
	header := http.Header{"X-Amz-Content-Sha256": {signedTrailer}, "X-Amz-Decoded-Content-Length": {"70005"}, "X-Amz-Trailer": {"x-amz-checksum-crc32"},
		"Content-Encoding": {"gzip, aws-chunked"}}
	r := signAs(t, header, signedTrailer, "s3", at)
	st, err := VerifyHead(r, "secret", at)
	if err != nil {
		t.Fatal(err)
	}
	return r, signChunks(st, "x-amz-checksum-crc32:AAAAAA==", parts...)
}

// TestTrailerIsKept wants the checksum of a client to go on, in chunks whose
// signatures are gone.
func TestTrailerIsKept(t *testing.T) {
	r, body := trailed(t, strings.Repeat("b", 70000), "12345")
	st, err := VerifyHead(r, "secret", stamp(t, "20261128T101112Z"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(st.Body(strings.NewReader(body)))
	want := "10000\r\n" + strings.Repeat("b", 65536) + "\r\n1175\r\n" + strings.Repeat("b", 4464) + "12345\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
	if err != nil || string(got) != want || st.Length != int64(len(want)) || st.Payload != UnsignedTrailer {
		t.Fatalf("%d bytes of %d, %v, %+v", len(got), st.Length, err, st)
	}
	st.Rewrite(r.Header)
	if h := http.Header(r.Header); h.Get("Content-Encoding") != "gzip, aws-chunked" || h.Get("X-Amz-Decoded-Content-Length") != "70005" {
		t.Errorf("headers: %v", r.Header)
	}
}

// TestChangedBodiesNeverArriveWhole changes bodies on their way: none of them may
// come to its end, nor have as many bytes as were promised.
func TestChangedBodiesNeverArriveWhole(t *testing.T) {
	at := stamp(t, "20130524T000000Z")
	_, body := published(false)
	for name, changed := range map[string]string{
		"a byte":             strings.Replace(body, "aaaaa", "aaaab", 1),
		"the last byte":      strings.Replace(body, "a\r\n0;", "b\r\n0;", 1),
		"the first chunk":    body[22+64+5+65536:],
		"a chunk twice":      body[:65536+91] + body,
		"cut":                body[:len(body)-2],
		"cut before the end": body[:strings.LastIndex(body, "0;chunk")],
		"more behind it":     body + "x",
		"no signature":       strings.Replace(body, ";chunk-signature="+chunk2, "", 1),
		"another signature":  strings.Replace(body, chunk2, chunk1, 1),
		"the last one's":     strings.Replace(body, chunk3, chunk2, 1),
		"a huge chunk":       "7fffffff" + body[5:],
		"a long line":        strings.Repeat("0", 1000) + body,
		"nothing":            "",
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := published(false)
			st, err := VerifyHead(r, s3Secret, at)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(st.Body(strings.NewReader(changed)))
			if !errors.Is(err, fault.Unauthenticated) || int64(len(got)) >= st.Length {
				t.Errorf("%d bytes of %d, %v", len(got), st.Length, err)
			}
		})
	}
	r, body := trailed(t, strings.Repeat("b", 70000), "12345")
	for name, changed := range map[string]string{
		"another checksum":   strings.Replace(body, "AAAAAA==", "AAAAAQ==", 1),
		"another trailer":    strings.Replace(body, "crc32:", "crc3x:", 1),
		"no trailer":         body[:strings.Index(body, "x-amz-checksum")] + "\r\n",
		"an unsigned one":    body[:strings.Index(body, "x-amz-trailer-sig")] + "\r\n",
		"another's checksum": strings.Replace(body, "AAAAAA==", "AAAAAA==AAAA", 1),
	} {
		st, err := VerifyHead(r, "secret", stamp(t, "20261128T101112Z"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(st.Body(strings.NewReader(changed)))
		if !errors.Is(err, fault.Unauthenticated) || int64(len(got)) >= st.Length {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), st.Length, err)
		}
	}
}

// TestHashedBody streams a body whose hash is signed.
func TestHashedBody(t *testing.T) {
	at := stamp(t, "20261128T101112Z")
	body := bytes.Repeat([]byte("0123456789"), 20000)
	r := sign(t, "POST", "/", http.Header{"X-Amz-Content-Sha256": {hexHash(body)}}, body, at)
	r.Body, r.Length = nil, int64(len(body))
	st, err := VerifyHead(r, "secret", at)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(st.Body(bytes.NewReader(body))); err != nil || !bytes.Equal(got, body) || st.Length != r.Length || st.Payload != hexHash(body) {
		t.Errorf("%d bytes, %v, %+v", len(got), err, st)
	}
	body[len(body)-1]++
	if got, err := io.ReadAll(st.Body(bytes.NewReader(body))); !errors.Is(err, fault.Unauthenticated) || len(got) >= len(body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestFormsOfBodies are those that are let through, of whom.
func TestFormsOfBodies(t *testing.T) {
	at := stamp(t, "20261128T101112Z")
	for _, c := range []struct {
		service, form string
		want          error
	}{
		{"s3", Unsigned, nil}, {"s3", UnsignedTrailer, nil}, {"dynamodb", Unsigned, fault.Unauthenticated}, {"dynamodb", UnsignedTrailer, fault.Unauthenticated},
		{"s3", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", fault.Unimplemented}, {"s3", signedChunks, fault.Invalid}, {"s3", signedTrailer, fault.Invalid},
		{"s3", "", fault.Unauthenticated},
	} {
		header := http.Header{}
		if c.form != "" {
			header.Set("X-Amz-Content-Sha256", c.form)
		}
		r := signAs(t, header, c.form, c.service, at)
		if _, err := VerifyHead(r, "secret", at); !errors.Is(err, c.want) {
			t.Errorf("%s %q: %v", c.service, c.form, err)
		}
		if _, err := VerifyHead(r, "other", at); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("%s %q with another secret: %v", c.service, c.form, err)
		}
		if _, err := VerifyHead(r, "secret", at.Add(time.Hour)); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("%s %q an hour later: %v", c.service, c.form, err)
		}
	}
}

func FuzzChunks(f *testing.F) {
	_, body := published(false)
	f.Add(body)
	f.Add("0;chunk-signature=" + chunk3 + "\r\n\r\n")
	at, _ := time.Parse(timeLayout, "20130524T000000Z")
	f.Fuzz(func(t *testing.T, in string) {
		r, _ := published(false)
		st, err := VerifyHead(r, s3Secret, at)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(st.Body(strings.NewReader(in))); err == nil && in != body {
			t.Errorf("%d bytes of %q", len(got), in[:min(len(in), 100)])
		}
	})
}

// Package sigv4wire checks the signatures by which requests to AWS prove who
// sent them (Signature Version 4), in headers and in presigned URLs. It only
// verifies: what we sign ourselves goes through the vendor's signer, so that
// neither is the other's oracle.
//
//	Authorization: AWS4-HMAC-SHA256 Credential=<key>/<day>/<region>/<service>/aws4_request,
//	               SignedHeaders=<name>;<name>, Signature=<hex>
//
//	string to sign = "AWS4-HMAC-SHA256" LF time LF scope LF hex(SHA256(canonical request))
//	canonical      = method LF path LF query LF {name ":" value LF} LF names LF hex(SHA256(body))
//
// A body may also come in chunks that are signed one by one, or unsigned (payload.go).
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
package sigv4wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"teleport/fault"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	timeLayout = "20060102T150405Z"
	// MaxSkew is how far the clock of who signed may be from ours.
	MaxSkew = 5 * time.Minute
	// maxHeader bounds an Authorization header, in bytes.
	maxHeader = 4 << 10
)

// Request is what was signed, as it came over the wire.
type Request struct {
	Method string
	Target string              // request target, never decoded: /path?query
	Host   string              // as in the Host header
	Header map[string][]string // by canonical MIME name, without Host
	Body   []byte
	Length int64 // of a body that is not here
}

// Credential is whose key signed, and for which day, region and service.
type Credential struct {
	AccessKey, Day, Region, Service string
}

// Signed is a signature and what it covers.
type Signed struct {
	Credential
	Headers   []string // lower case, sorted
	Signature string   // hex
	Time      time.Time
	Expires   time.Duration // only of presigned URLs
	Token     string        // session token, "" where there is none
}

// Read reads the signature of a request from its header, unchecked. A request
// without one is fault.Unauthenticated.
func Read(r *Request) (*Signed, error) {
	values := r.Header["Authorization"]
	if len(values) != 1 || len(values[0]) > maxHeader {
		return nil, fault.New(fault.Unauthenticated, "the request is not signed")
	}
	rest, ok := strings.CutPrefix(values[0], algorithm+" ")
	if !ok {
		return nil, fault.New(fault.Unauthenticated, "the request is not signed by "+algorithm)
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[key]; !ok || twice {
			return nil, malformed()
		}
		fields[key] = value
	}
	if len(fields) != 3 {
		return nil, malformed()
	}
	return signed(fields["Credential"], fields["SignedHeaders"], fields["Signature"], one(r.Header, "X-Amz-Date"), one(r.Header, "X-Amz-Security-Token"))
}

func signed(credential, headers, signature, at, token string) (*Signed, error) {
	s := &Signed{Signature: signature, Headers: strings.Split(headers, ";"), Token: token}
	scope := strings.Split(credential, "/")
	raw, err := hex.DecodeString(signature)
	if len(scope) != 5 || slices.Contains(scope, "") || scope[4] != terminator || err != nil || len(raw) != sha256.Size ||
		headers != strings.ToLower(headers) || !slices.IsSorted(s.Headers) || len(slices.Compact(slices.Clone(s.Headers))) != len(s.Headers) {
		return nil, malformed()
	}
	s.Credential = Credential{scope[0], scope[1], scope[2], scope[3]}
	if s.Time, err = time.Parse(timeLayout, at); err != nil || s.Day != at[:8] {
		return nil, fault.New(fault.Unauthenticated, "the signature has no usable date")
	}
	return s, nil
}

func malformed() error {
	return fault.New(fault.Unauthenticated, "the signature cannot be read")
}

// one returns the value of a header that stands there once, "" otherwise.
func one(h map[string][]string, name string) string {
	if v := h[name]; len(v) == 1 {
		return v[0]
	}
	return ""
}

// Verify checks the signature of a request that carries it in its header, with
// the secret of the access key that it names. The whole request is covered: a
// body that was left out of the signature, or a header of AWS's that was, is
// refused.
func Verify(r *Request, secret string, now time.Time) (*Signed, error) {
	s, err := Read(r)
	if err != nil {
		return nil, err
	}
	if err := s.intended(r, now); err != nil {
		return nil, err
	}
	payload := hexHash(r.Body)
	if said := r.Header["X-Amz-Content-Sha256"]; len(said) > 0 && (len(said) != 1 || said[0] != payload) {
		return nil, fault.New(fault.Unauthenticated, "the signature does not cover the body")
	}
	return s, s.check(r, secret, payload, "")
}

// covers wants everything signed by which a request could mean something else.
func (s *Signed) covers(r *Request) error {
	for name := range r.Header {
		name = strings.ToLower(name)
		must := name == "content-type" || strings.HasPrefix(name, "x-amz-")
		if must && !slices.Contains(s.Headers, name) {
			return fault.New(fault.Unauthenticated, "the signature does not cover the header %s", name)
		}
	}
	if !slices.Contains(s.Headers, "host") {
		return fault.New(fault.Unauthenticated, "the signature does not cover the host")
	}
	return nil
}

// check computes the signature anew. The query loses the parameter without.
func (s *Signed) check(r *Request, secret, payload, without string) error {
	canonical, err := s.canonical(r, payload, without)
	if err != nil {
		return err
	}
	m := hmac.New(sha256.New, s.key(secret))
	m.Write([]byte(strings.Join([]string{algorithm, s.Time.Format(timeLayout), s.scope(), hexHash([]byte(canonical))}, "\n")))
	said, err := hex.DecodeString(s.Signature)
	if err != nil || !hmac.Equal(said, m.Sum(nil)) {
		return fault.New(fault.Unauthenticated, "the signature is not that of this request and key")
	}
	return nil
}

func (s *Signed) scope() string {
	return strings.Join([]string{s.Day, s.Region, s.Service, terminator}, "/")
}

// key is what a secret signs with in this scope.
func (s *Signed) key(secret string) []byte {
	key := []byte("AWS4" + secret)
	for _, part := range []string{s.Day, s.Region, s.Service, terminator} {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	return key
}

func hexHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

package http1

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// errTooLarge is a head beyond its bound.
var errTooLarge = errors.New("the head of the message is too large")

// ErrAnswer is an answer that cannot be understood, or passed on.
var ErrAnswer = errors.New("the answer is none of HTTP/1.1")

func badAnswer(why string) error { return fmt.Errorf("%w: %s", ErrAnswer, why) }

// heads lends memory for heads, which are copied out of it.
var heads = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

// readHead reads lines up to an empty one, which is left out. io.EOF means that
// nothing came.
func readHead(br *bufio.Reader, most int) (string, error) {
	p := heads.Get().(*[]byte)
	b, err := appendHead((*p)[:0], br, most)
	text := ""
	if err == nil {
		text = string(b)
	}
	if cap(b) <= 16<<10 {
		*p = b
		heads.Put(p)
	}
	return text, err
}

func appendHead(b []byte, br *bufio.Reader, most int) ([]byte, error) {
	line := 0 // where the line begins
	for {
		piece, err := br.ReadSlice('\n')
		b = append(b, piece...)
		if len(b) > most {
			return b, errTooLarge
		}
		switch {
		case err == nil:
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(b) > 0:
			return b, io.ErrUnexpectedEOF
		default:
			return b, err
		}
		if end := b[line:]; len(end) == 1 || len(end) == 2 && end[0] == '\r' {
			if line == 0 { // RFC 9112 §2.2: an empty line before a request is passed over
				b = b[:0]
				continue
			}
			return b, nil
		}
		line = len(b)
	}
}

// cutLine takes a line off the text of a head.
func cutLine(text string, strict bool) (line, rest string, err error) {
	line, rest, _ = strings.Cut(text, "\n")
	bare, has := strings.CutSuffix(line, "\r")
	if strict && !has {
		return "", "", malformed("a line ends without CR")
	}
	return bare, rest, nil
}

// parseFields reads the fields after a start line. Strict is how requests are read.
func parseFields(text string, strict bool) (http.Header, error) {
	n := max(strings.Count(text, "\n")-1, 0) // the last line is empty
	h, values := make(http.Header, n), make([]string, 0, n)
	last := ""
	for {
		line, rest, err := cutLine(text, strict)
		if err != nil {
			return nil, err
		}
		if text = rest; line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if strict || last == "" {
				return nil, malformed("a field is folded")
			}
			have := h[last]
			have[len(have)-1] += " " + strings.Trim(line, " \t")
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !isToken(name) || !isValue(value) {
			return nil, malformed("a field is no name and value")
		}
		last = textproto.CanonicalMIMEHeaderKey(name)
		if have, more := h[last]; more {
			h[last] = append(have, value)
			continue
		}
		values = append(values, value)
		h[last] = values[len(values)-1 : len(values) : len(values)]
	}
	return h, nil
}

// statusError is a request that is refused, with the status of the answer.
type statusError struct {
	status int
	error
}

func (e statusError) Unwrap() error { return e.error }

func refuse(status int, what string) error { return statusError{status, malformed("%s", what)} }

// parseRequest understands the head of a request, into r. The body is the caller's.
func parseRequest(text string, r *http.Request) error {
	start, rest, err := cutLine(text, true)
	if err != nil {
		return err
	}
	method, start, ok1 := strings.Cut(start, " ")
	target, proto, ok2 := strings.Cut(start, " ")
	if !ok1 || !ok2 || !isToken(method) || target == "" {
		return malformed("the first line is no request")
	}
	r.Method, r.RequestURI, r.Proto, r.ProtoMajor = method, target, proto, 1
	switch proto {
	case "HTTP/1.1":
		r.ProtoMinor = 1
	case "HTTP/1.0":
	default:
		return refuse(http.StatusHTTPVersionNotSupported, "the request is of another version than HTTP/1.1")
	}
	if r.URL, err = parseTarget(method, target); err != nil {
		return malformed("the request names no place")
	}
	if r.Header, err = parseFields(rest, true); err != nil {
		return err
	}
	if err := parseHost(r); err != nil {
		return err
	}
	if expect := r.Header["Expect"]; len(expect) > 1 || len(expect) == 1 && !strings.EqualFold(expect[0], "100-continue") {
		return refuse(http.StatusExpectationFailed, "the request expects what is not known")
	}
	r.Close = r.ProtoMinor == 0 || hasToken(r.Header["Connection"], "close")
	return parseLength(r)
}

func parseTarget(method, target string) (*url.URL, error) {
	if method != http.MethodConnect || strings.HasPrefix(target, "/") {
		return url.ParseRequestURI(target)
	}
	u, err := url.ParseRequestURI("http://" + target)
	if err == nil {
		u.Scheme = ""
	}
	return u, err
}

// parseHost finds the one host that a request is for (RFC 9112 §3.2).
func parseHost(r *http.Request) error {
	hosts := r.Header["Host"]
	if len(hosts) > 1 || len(hosts) == 0 && r.ProtoMinor > 0 {
		return malformed("the request does not name one host")
	}
	if len(hosts) == 1 {
		if !all(hosts[0], &hostBytes) {
			return malformed("the host of the request is none")
		}
		r.Host = hosts[0]
		delete(r.Header, "Host")
	}
	if r.URL.Host != "" {
		r.Host = r.URL.Host
	}
	return nil
}

// parseLength finds how long the body of a request is (RFC 9112 §6). One that says
// it twice, or in two ways, is refused.
func parseLength(r *http.Request) error {
	codings, lengths := r.Header["Transfer-Encoding"], r.Header["Content-Length"]
	switch {
	case len(codings) > 0 && len(lengths) > 0:
		return malformed("the request has a length and a transfer encoding")
	case len(lengths) > 1:
		return malformed("the request has two lengths")
	case len(codings) > 0 && r.ProtoMinor == 0:
		return malformed("a request of HTTP/1.0 has a transfer encoding")
	case len(codings) > 1 || len(codings) == 1 && !strings.EqualFold(codings[0], "chunked"):
		return refuse(http.StatusNotImplemented, "the transfer encoding of the request is not known")
	case len(codings) == 1:
		r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
		delete(r.Header, "Transfer-Encoding")
		r.Trailer = announced(r.Header)
	case len(lengths) == 1:
		n, err := lengthOf(lengths[0])
		r.ContentLength = n
		return err
	}
	return nil
}

func lengthOf(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || text[0] == '+' {
		return 0, malformed("a length is no number")
	}
	return int64(n), nil
}

// announced takes the field Trailer, and returns a map with the names in it.
func announced(h http.Header) http.Header {
	lines := h["Trailer"]
	if len(lines) == 0 {
		return nil
	}
	delete(h, "Trailer")
	out := http.Header{}
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			if name = textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name)); name != "" && trails(name) {
				out[name] = nil
			}
		}
	}
	return out
}

// parseResponse understands the head of an answer to r. The body is the caller's:
// ContentLength is -1 where a coding or the end of the connection ends it.
func parseResponse(text string, r *http.Request) (*http.Response, error) {
	start, rest, err := cutLine(text, false)
	if err != nil {
		return nil, err
	}
	proto, status, ok := strings.Cut(start, " ")
	status = strings.TrimLeft(status, " ")
	code, _, _ := strings.Cut(status, " ")
	n, err := strconv.ParseUint(code, 10, 16)
	if !ok || err != nil || len(code) != 3 || n < 100 || proto != "HTTP/1.1" && proto != "HTTP/1.0" {
		return nil, badAnswer("its first line is none of HTTP/1.1")
	}
	resp := &http.Response{Request: r, Proto: proto, ProtoMajor: 1, Status: status, StatusCode: int(n)}
	if proto == "HTTP/1.1" {
		resp.ProtoMinor = 1
	}
	if resp.Header, err = parseFields(rest, false); err != nil {
		return nil, badAnswer(err.Error())
	}
	resp.Close = hasToken(resp.Header["Connection"], "close") ||
		resp.ProtoMinor == 0 && !hasToken(resp.Header["Connection"], "keep-alive")
	return resp, answerLength(resp)
}

// bodiless reports whether an answer has no body, whatever its fields say (RFC 9112 §6.3).
func bodiless(method string, status int) bool {
	return method == http.MethodHead || status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
}

// answerLength finds how long the body of an answer is.
func answerLength(resp *http.Response) error {
	codings, lengths := resp.Header["Transfer-Encoding"], resp.Header["Content-Length"]
	delete(resp.Header, "Transfer-Encoding")
	for _, other := range lengths[min(1, len(lengths)):] {
		if other != lengths[0] {
			return badAnswer("it has two lengths")
		}
	}
	resp.ContentLength = -1
	switch {
	case len(codings) > 0:
		if len(codings) > 1 || !strings.EqualFold(codings[0], "chunked") || resp.ProtoMinor == 0 {
			return badAnswer("its transfer encoding is not known")
		}
		delete(resp.Header, "Content-Length")
		resp.TransferEncoding, resp.Trailer = []string{"chunked"}, announced(resp.Header)
	case len(lengths) > 0:
		n, err := lengthOf(lengths[0])
		if err != nil {
			return badAnswer("its length is no number")
		}
		resp.ContentLength, resp.Header["Content-Length"] = n, lengths[:1]
	case !bodiless(resp.Request.Method, resp.StatusCode):
		resp.Close = true
	}
	if bodiless(resp.Request.Method, resp.StatusCode) && resp.StatusCode != http.StatusNotModified && resp.Request.Method != http.MethodHead {
		resp.ContentLength = 0
	}
	return nil
}

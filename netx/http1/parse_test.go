package http1

import (
	"bufio"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestRequestsThatAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"a length and a coding":      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
		"two lengths":                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
		"a list of lengths":          "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n",
		"a signed length":            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n",
		"a negative length":          "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n",
		"a length beyond all":        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"a coding that is not known": "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
		"two codings":                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
		"a list of codings":          "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"a coding with a tab":        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
		"a coding of HTTP/1.0":       "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
		"no host":                    "GET / HTTP/1.1\r\n\r\n",
		"two hosts":                  "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"a host with a space":        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
		"a host with a slash":        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
		"a host with a user":         "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
		"LF alone after the target":  "GET / HTTP/1.1\nHost: a\r\n\r\n",
		"LF alone after a field":     "GET / HTTP/1.1\r\nHost: a\n\r\n",
		"a folded field":             "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
		"a folded first field":       "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
		"a space before the colon":   "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
		"a field without a name":     "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
		"a field without a colon":    "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
		"NUL in a field":             "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
		"CR in a field":              "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
		"a method with a space":      " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"two spaces":                 "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
		"a target with a space":      "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
		"no version":                 "GET /\r\nHost: a\r\n\r\n",
		"HTTP/2":                     "PRI * HTTP/2.0\r\n\r\n",
		"HTTP/1.2":                   "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
		"a target that is no path":   "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
		"an expectation not known":   "GET / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n",
		"a percent sign alone":       "GET /% HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			head, err := readHead(bufio.NewReader(strings.NewReader(text)), 1<<10)
			if err == nil {
				err = parseRequest(head, new(http.Request))
			}
			if err == nil {
				t.Error("it is taken")
			}
		})
	}
}

// FuzzRequest: what is taken here, net/http takes too, and means the same.
func FuzzRequest(f *testing.F) {
	for _, text := range []string{
		"GET /a?b=c HTTP/1.1\r\nHost: a:1\r\nAccept: x\r\naccept: y\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
		"GET http://b/c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"\r\nGET / HTTP/1.0\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		br := bufio.NewReader(strings.NewReader(string(text)))
		head, err := readHead(br, 1<<10)
		if err != nil {
			return
		}
		ours := new(http.Request)
		err = parseRequest(head, ours)
		if err != nil {
			return
		}
		theirs, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.TrimLeft(string(text), "\r\n"))))
		if err != nil {
			t.Fatalf("net/http refuses it: %v\n%q", err, text)
		}
		if ours.Method != theirs.Method || ours.Host != theirs.Host || ours.RequestURI != theirs.RequestURI || *ours.URL != *theirs.URL ||
			ours.ContentLength != theirs.ContentLength || ours.Close != theirs.Close && ours.ProtoMinor == 1 || !reflect.DeepEqual(ours.TransferEncoding, theirs.TransferEncoding) {
			t.Fatalf("it means another thing:\n%+v\n%+v", ours, theirs)
		}
		for name, values := range theirs.Header {
			if name != "Pragma" && name != "Cache-Control" && name != "Connection" && !reflect.DeepEqual(ours.Header[name], values) {
				t.Fatalf("%s: %q, not %q", name, ours.Header[name], values)
			}
		}
		if ours.ContentLength == 0 {
			return
		}
		b := lengthBody(br, ours.ContentLength)
		if ours.ContentLength < 0 {
			b = chunkedBody(br, &ours.Trailer)
		}
		got, gerr := io.ReadAll(b)
		want, werr := io.ReadAll(theirs.Body)
		if gerr == nil && (werr != nil || string(got) != string(want)) {
			t.Fatalf("the body is %q, not %q: %v", got, want, werr)
		}
	})
}

// FuzzResponse: what is taken here, net/http takes too, and sees the same body.
func FuzzResponse(f *testing.F) {
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200\nX: a\n b\n\nabc", "HTTP/1.0 200 OK\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
	} {
		f.Add([]byte(text), "GET")
		f.Add([]byte(text), "HEAD")
	}
	f.Fuzz(func(t *testing.T, text []byte, method string) {
		r := &http.Request{Method: method}
		br := bufio.NewReader(strings.NewReader(string(text)))
		head, err := readHead(br, 1<<10)
		if err != nil {
			return
		}
		ours, err := parseResponse(head, r)
		if err != nil || ours.StatusCode < 200 {
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReader(strings.NewReader(strings.TrimLeft(string(text), "\r\n"))), r)
		if err != nil {
			return // we are patient with answers
		}
		if ours.StatusCode != theirs.StatusCode {
			t.Fatalf("%d, not %d", ours.StatusCode, theirs.StatusCode)
		}
		l := newLink(&Client{}, deaf{}, 0)
		l.br = br
		got, gerr := io.ReadAll(l.withBody(ours, r, nil).Body)
		want, werr := io.ReadAll(theirs.Body)
		if gerr == nil && werr == nil && string(got) != string(want) {
			t.Fatalf("the body is %q, not %q", got, want)
		}
	})
}

// TestWhatAValueMayHold: each byte, at each place of a value (RFC 9110 §5.5).
func TestWhatAValueMayHold(t *testing.T) {
	for b := range 256 {
		want := b == '\t' || b >= ' ' && b != 0x7f
		for length := 1; length <= 20; length++ {
			for at := range length {
				for _, around := range []string{"a", "\xff", "\x80", " ", "\t", "~"} {
					text := []byte(strings.Repeat(around, length))
					text[at] = byte(b)
					if isValue(string(text)) != want {
						t.Fatalf("%q: %t", text, !want)
					}
				}
			}
		}
	}
}

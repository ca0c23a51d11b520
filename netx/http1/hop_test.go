package http1

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/netx/memnet"
)

// heard is a request as whoever gets it understands it.
type heard struct {
	Method, Target, Host, Body string
	Header                     http.Header
}

// hearAll understands requests as net/http does, up to what it refuses or misses the
// end of. answer is called after each.
func hearAll(from io.Reader, answer func() error) (all []heard) {
	br := bufio.NewReader(from)
	for {
		for b, _ := br.Peek(2); len(b) == 2 && (b[0] == '\n' || string(b) == "\r\n"); b, _ = br.Peek(2) { // RFC 9112 §2.2
			_, _ = br.Discard(bytes.IndexByte(b, '\n') + 1)
		}
		r, err := http.ReadRequest(br)
		if err != nil {
			return all
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return all
		}
		StripHop(r.Header)
		maps.DeleteFunc(r.Header, func(name string, values []string) bool {
			return name == "Content-Length" || name == "Expect" || len(values) == 0
		})
		all = append(all, heard{r.Method, r.URL.RequestURI(), r.Host, string(body), r.Header})
		if answer() != nil {
			return all
		}
	}
}

// throughAHop has an app hear what a client says, through a server and a client of ours.
func throughAHop(t *testing.T, said []byte) (all []heard) {
	var apps sync.WaitGroup
	var mu sync.Mutex
	c := &Client{MaxHead: 4 << 10, MaxIdle: 1, IdleTimeout: time.Minute, Dial: func(context.Context) (net.Conn, error) {
		near, far := memnet.Pipe()
		apps.Go(func() {
			defer far.Close()
			requests := hearAll(far, func() error {
				_, err := io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			all = append(all, requests...)
		})
		return near, nil
	}}
	hop := &Hop{Send: c.Send, Look: func(*http.Response) error { return nil }}
	s := &Server{HeadTimeout: time.Minute, BodyTimeout: time.Minute, IdleTimeout: time.Minute, MaxHead: 16 << 10, Log: slog.New(slog.DiscardHandler),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodConnect || !strings.HasPrefix(r.URL.Path, "/") || r.URL.IsAbs() { // as apps have it
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			out := r.WithContext(r.Context())
			Take(out.Header).Put(out.Header)
			delete(out.Header, "Expect")
			if err := hop.Pass(w, out); err != nil {
				w.WriteHeader(http.StatusBadGateway)
			}
		})}
	near, far := memnet.Pipe()
	go func() {
		_, _ = near.Write(said)
		_ = near.(interface{ CloseWrite() error }).CloseWrite()
	}()
	go io.Copy(io.Discard, near) //nolint:errcheck // until it is closed
	s.ServeConn(t.Context(), far)
	near.Close()
	c.Close()
	apps.Wait()
	return all
}

// FuzzHop: of all that a client may say, an app hears what net/http understands of it,
// up to what is refused, and nothing else.
func FuzzHop(f *testing.F) {
	for _, seed := range []string{
		"GET /a?b=c HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-A: 2\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: a\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-T: 1\r\n\r\n",
		"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X-A\r\nUpgrade: echo\r\nX-A: 1\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
		"PUT /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
		"\r\n\r\nGET //b/%2f;c HTTP/1.0\r\nHost: a\r\n\r\n", "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
		"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /\"<> HTTP/1.1\r\nHost: a\r\n\r\n", "GET /? HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE /x#y HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		if len(said) > 8<<10 {
			return
		}
		want := hearAll(bytes.NewReader(said), func() error { return nil })
		got := throughAHop(t, said)
		if len(got) > len(want) {
			t.Fatalf("the app hears %d requests, of %d:\n%s", len(got), len(want), list(got))
		}
		for i := range got {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("the app hears\n%swhere it was\n%s", list(got[i:i+1]), list(want[i:i+1]))
			}
		}
	})
}

func list(all []heard) string {
	var b strings.Builder
	for _, h := range all {
		fmt.Fprintf(&b, "%+q\n", h)
	}
	return b.String()
}

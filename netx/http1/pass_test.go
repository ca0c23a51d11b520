package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// deaf is a connection that nobody is at the other end of.
type deaf struct{ net.Conn }

func (deaf) Close() error { return nil }

// world is a client of net/http, a hop of ours, and an app of net/http.
type world struct {
	t      *testing.T
	url    string
	client *http.Client
	hop    *Client
	server *Server
	dials  atomic.Int64

	mu      sync.Mutex
	refused []string
}

func newWorld(t *testing.T, app http.HandlerFunc) *world {
	t.Helper()
	w := &world{t: t, client: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
	origin := httptest.NewServer(app)
	t.Cleanup(origin.Close)
	addr := origin.Listener.Addr().String()
	w.hop = &Client{AnswerTimeout: time.Minute, MaxHead: 16 << 10, MaxIdle: 8, IdleTimeout: time.Minute, Dial: func(ctx context.Context) (net.Conn, error) {
		w.dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}}
	t.Cleanup(w.hop.Close)
	hop := &Hop{Send: w.hop.Send, Look: func(*http.Response) error { return nil }}
	w.server = &Server{HeadTimeout: time.Minute, BodyTimeout: time.Minute, IdleTimeout: time.Minute, MaxHead: 16 << 10, Log: slog.New(slog.DiscardHandler),
		Refused: func(_ context.Context, _ net.Conn, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refused = append(w.refused, err.Error())
		},
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			out := r.Clone(r.Context())
			Take(out.Header).Put(out.Header)
			out.Trailer = r.Trailer
			if err := hop.Pass(rw, out); err != nil {
				http.Error(rw, err.Error(), http.StatusBadGateway)
			}
		})}
	w.url = w.listen(w.server)
	return w
}

// listen serves a server until the test is over, and returns its URL.
func (w *world) listen(s *Server) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	var conns sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				stop := context.AfterFunc(ctx, func() { c.Close() })
				defer stop()
				s.ServeConn(ctx, c)
			})
		}
	}()
	w.t.Cleanup(func() {
		ln.Close()
		<-accepting
		w.client.CloseIdleConnections()
		cancel()
		conns.Wait()
	})
	return "http://" + ln.Addr().String()
}

func (w *world) do(r *http.Request) (*http.Response, string) {
	w.t.Helper()
	resp, err := w.client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(body)
}

func (w *world) request(method, path string, body io.Reader) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestRequestsPassAHop(t *testing.T) {
	big := make([]byte, 3<<20)
	_, _ = rand.Read(big)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/big":
			rw.Header().Set("Content-Length", fmt.Sprint(len(big)))
			_, _ = rw.Write(big)
		case "/chunks":
			for range 3 {
				fmt.Fprint(rw, "piece ")
				rw.(http.Flusher).Flush()
			}
		case "/nothing":
			rw.WriteHeader(http.StatusNoContent)
		case "/same":
			rw.Header().Set("Etag", `"a"`)
			rw.WriteHeader(http.StatusNotModified)
		case "/empty":
		case "/until the end":
			conn, buf, err := rw.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(buf, "HTTP/1.0 200 OK\nX-Folded: a\n b\n\nall of it")
			buf.Flush()
		case "/echo":
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			rw.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
			rw.Header().Set("X-Expect", r.Header.Get("Expect"))
			_, _ = rw.Write(body)
		default:
			rw.Header().Add("Set-Cookie", "a=b")
			rw.Header().Add("Set-Cookie", "c=d")
			fmt.Fprintf(rw, "%s %s %s %q", r.Method, r.Host, r.RequestURI, r.Header["X-Two"])
		}
	})
	expecting := w.request("POST", "/echo", strings.NewReader("wait"))
	expecting.Header.Set("Expect", "100-continue")
	two := w.request("GET", "/a%2fb?c=d&e", nil)
	two.Header["X-Two"] = []string{"1", "2"}
	for _, c := range []struct {
		r    *http.Request
		code int
		body string
	}{
		{two, 200, "GET " + strings.TrimPrefix(w.url, "http://") + ` /a%2fb?c=d&e ["1" "2"]`},
		{w.request("HEAD", "/big", nil), 200, ""},
		{w.request("GET", "/big", nil), 200, string(big)},
		{w.request("GET", "/chunks", nil), 200, "piece piece piece "},
		{w.request("GET", "/nothing", nil), 204, ""},
		{w.request("GET", "/same", nil), 304, ""},
		{w.request("GET", "/empty", nil), 200, ""},
		{w.request("GET", "/until%20the%20end", nil), 200, "all of it"},
		{w.request("POST", "/echo", bytes.NewReader(big)), 200, string(big)},
		{w.request("PUT", "/echo", io.MultiReader(bytes.NewReader(big))), 200, string(big)},
		{w.request("POST", "/echo", nil), 200, ""},
		{expecting, 200, "wait"},
		{w.request("DELETE", "/", nil), 200, "DELETE " + strings.TrimPrefix(w.url, "http://") + " / []"},
	} {
		for range 2 { // a connection that has served one serves the next
			if c.r.GetBody != nil {
				c.r.Body, _ = c.r.GetBody()
			} else if c.r.Body != nil && c.r.Body != http.NoBody {
				c.r.Body = io.NopCloser(bytes.NewReader(big))
			}
			resp, body := w.do(c.r)
			if resp.StatusCode != c.code || body != c.body {
				t.Errorf("%s %s: %s, %d bytes: %.80q", c.r.Method, c.r.URL.Path, resp.Status, len(body), body)
			}
			if c.r.URL.Path == "/a/b" && len(resp.Header["Set-Cookie"]) != 2 {
				t.Errorf("%v", resp.Header)
			}
			if c.r.Method == "HEAD" && resp.ContentLength != int64(len(big)) {
				t.Errorf("HEAD says %d", resp.ContentLength)
			}
		}
	}
	if n := w.dials.Load(); n > 6 { // one, and one more for each answer that ends its connection
		t.Errorf("%d connections to the app", n)
	}
}

func TestTrailersPassAHop(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Trailer", "X-Sum")
		body, _ := io.ReadAll(r.Body)
		_, _ = rw.Write(body)
		rw.Header().Set("X-Sum", r.Trailer.Get("X-Said"))
		rw.Header().Set(http.TrailerPrefix+"X-More", "more")
	})
	r := w.request("POST", "/", io.MultiReader(strings.NewReader("body")))
	r.Trailer = http.Header{"X-Said": {"said"}}
	resp, body := w.do(r)
	if body != "body" || resp.Trailer.Get("X-Sum") != "said" || resp.Trailer.Get("X-More") != "more" {
		t.Errorf("%q %v", body, resp.Trailer)
	}
}

func TestEarlyHintsPassAHop(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Link", "</a.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
		rw.Header().Del("Link")
		fmt.Fprint(rw, "page")
	})
	hint := ""
	r := w.request("GET", "/", nil)
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, h textproto.MIMEHeader) error {
		hint = h.Get("Link")
		return nil
	}}))
	resp, body := w.do(r)
	if body != "page" || hint == "" || resp.Header.Get("Link") != "" {
		t.Errorf("%q, hint %q, %v", body, hint, resp.Header)
	}
}

func TestEventsComeOneByOne(t *testing.T) {
	heard := make(chan struct{})
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(rw, "data: %d\n\n", i)
			rw.(http.Flusher).Flush()
			select {
			case <-heard:
			case <-r.Context().Done():
				return
			}
		}
	})
	resp, err := w.client.Do(w.request("GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) || !lines.Scan() {
			t.Fatalf("%q %v", lines.Text(), lines.Err())
		}
		heard <- struct{}{}
	}
}

// TestAHeadComesBeforeItsBody: a page may wait to hear that its events will come.
func TestAHeadComesBeforeItsBody(t *testing.T) {
	say := make(chan string)
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.(http.Flusher).Flush()
		fmt.Fprint(rw, <-say)
	})
	resp, err := w.client.Do(w.request("GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	say <- "late"
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "late" {
		t.Errorf("%q %v", body, err)
	}
}

// TestAClientThatStopsInABody: the app hears that there is no more, and is not left
// waiting.
func TestAClientThatStopsInABody(t *testing.T) {
	for name, head := range map[string]string{"length": "Content-Length: 10\r\n\r\nabc", "chunks": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
		t.Run(name, func(t *testing.T) {
			heard := make(chan error, 1)
			w := newWorld(t, func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.ReadAll(r.Body)
				heard <- err
			})
			c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\n"+head)
			c.Close()
			if err := <-heard; err == nil {
				t.Error("half a body is whole to the app")
			}
		})
	}
}

func TestAClientThatLeavesIsNoticed(t *testing.T) {
	came, left := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(_ http.ResponseWriter, r *http.Request) {
		close(came)
		<-r.Context().Done()
		close(left)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-came
		cancel()
	}()
	if _, err := w.client.Do(w.request("GET", "/", nil).WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	<-left
}

func TestAProtocolIsChanged(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if Upgrade(r.Header) != "websocket" {
			http.Error(rw, "no upgrade", http.StatusBadRequest)
			return
		}
		conn, buf, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(buf, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Own: yes\r\n\r\nfirst ")
		buf.Flush()
		_, _ = io.Copy(conn, buf)
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly ")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("X-Own") != "yes" {
		t.Fatalf("%v %v", resp, err)
	}
	defer resp.Body.Close()
	fmt.Fprint(c, "late")
	said := make([]byte, len("first early late"))
	if _, err := io.ReadFull(br, said); err != nil || string(said) != "first early late" {
		t.Errorf("%q %v", said, err)
	}
}

func TestAnAnswerThatBreaksOff(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			rw.Header().Set("Content-Length", "100")
		}
		fmt.Fprint(rw, "begun")
		rw.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	for _, path := range []string{"/length", "/chunks"} {
		resp, err := w.client.Do(w.request("GET", path, nil))
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: it ends as if it were whole: %q", path, body)
		}
		resp.Body.Close()
	}
}

func TestAnAppThatAnswersEarly(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "too much", http.StatusRequestEntityTooLarge)
	})
	for range 3 {
		resp, body := w.do(w.request("POST", "/", bytes.NewReader(make([]byte, 100<<10))))
		if resp.StatusCode != http.StatusRequestEntityTooLarge || body != "too much\n" {
			t.Errorf("%s %q", resp.Status, body)
		}
	}
}

// TestAConnectionThatTheAppClosed: a connection that was kept is none any more; who
// asks the next thing does not notice, whatever it is.
func TestAConnectionThatTheAppClosed(t *testing.T) {
	closed := make(chan struct{}, 1)
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		conn, _, err := rw.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body) // and no word of the end
		conn.Close()
		closed <- struct{}{}
	})
	for i := range 6 {
		method, said := "GET", ""
		if i%2 == 1 {
			method, said = "POST", "said"
		}
		if resp, body := w.do(w.request(method, "/", strings.NewReader(said))); resp.StatusCode != 200 || body != said {
			t.Errorf("%d: %s %q", i, resp.Status, body)
		}
		<-closed
	}
}

func TestWhatCannotBeUnderstoodIsAnswered(t *testing.T) {
	w := newWorld(t, func(http.ResponseWriter, *http.Request) { t.Error("the app gets it") })
	for text, status := range map[string]int{
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                                          400,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n":                         501,
		"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n":           431,
		"GET / HTTP/1.9\r\nHost: a\r\n\r\n":                                                     505,
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, text)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != status || !resp.Close {
			t.Errorf("%.60q: %v %v", text, resp, err)
		}
		c.Close()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.refused) != 5 {
		t.Errorf("told of %q", w.refused)
	}
}

func TestRequestsInARow(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "%s %s;", r.URL.Path, body)
	})
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST /3 HTTP/1.1\r\nHost: a\r\n"+
		"Transfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\nGET /4 HTTP/1.0\r\n\r\n")
	br := bufio.NewReader(c)
	var all []string
	for range 4 {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		all = append(all, string(body))
	}
	if got := strings.Join(all, ""); got != "/1 ;/2 abc;/3 de;/4 ;" {
		t.Error(got)
	}
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("HTTP/1.0 goes on: %v", err)
	}
}

func TestADrain(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/long" {
			close(begun)
			<-end
		}
		fmt.Fprint(rw, "whole")
	})
	idle, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	fmt.Fprint(idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	br := bufio.NewReader(idle)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.Close {
		t.Fatal(err)
	} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	type result struct {
		resp *http.Response
		body string
	}
	long := make(chan result)
	go func() {
		resp, body := w.do(w.request("GET", "/long", nil))
		long <- result{resp, body}
	}()
	<-begun
	w.server.Drain()
	if _, err := br.ReadByte(); err == nil {
		t.Error("a connection that waits stays open")
	}
	close(end)
	if r := <-long; r.body != "whole" || !r.resp.Close {
		t.Errorf("%v", r)
	}
	if _, err := w.client.Do(w.request("GET", "/", nil)); err == nil {
		t.Error("a request is taken")
	}
}

func TestAPanicEndsItsConnection(t *testing.T) {
	w := newWorld(t, nil)
	s := &Server{HeadTimeout: time.Minute, BodyTimeout: time.Minute, IdleTimeout: time.Minute, MaxHead: 1 << 10, Log: slog.New(slog.DiscardHandler),
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a defect") })}
	w.url = w.listen(s)
	if _, err := w.client.Do(w.request("GET", "/", nil)); err == nil {
		t.Error("it has an answer")
	}
}

// TestAnAnswerKeepsWhatTheHopSays: what a hop has said in an answer is there beside
// what the other side says, which counts where both say it.
func TestAnAnswerKeepsWhatTheHopSays(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("X-Both", "theirs")
		rw.Header().Set("X-Theirs", "theirs")
	})
	hop := &Hop{Send: w.hop.Send, Look: func(*http.Response) error { return nil }}
	w.server.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Ours", "ours")
		rw.Header().Set("X-Both", "ours")
		p := NewPatience(rw, time.Minute)
		defer p.End()
		out := r.Clone(r.Context())
		out.URL.Host = "app"
		if err := hop.Pass(p.Writer(rw), out); err != nil {
			t.Error(err)
		}
	})
	resp, err := w.client.Get(w.url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if h := resp.Header; h.Get("X-Ours") != "ours" || h.Get("X-Theirs") != "theirs" || strings.Join(h["X-Both"], ",") != "theirs" {
		t.Errorf("%v", h)
	}
}

package appaccess_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"teleport/appaccess"
	"teleport/appaccess/apptest"
	"teleport/tunnel/tunframe"
	"teleport/types"
	"teleport/types/event"
)

// TestWebSocket: an upgraded connection passes bytes both ways, its origin is the
// app's own, and a lock ends it.
func TestWebSocket(t *testing.T) {
	origin := make(chan string, 1)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin <- r.Header.Get("Origin")
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(c, rw)
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	c, err := w.Dial(t.Context(), apptest.User("alice", types.AppRoute{}), "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET /socket HTTP/1.1\r\nHost: wiki.example.test\r\nOrigin: https://wiki.example.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	if got := <-origin; got != app.URL {
		t.Errorf("the app heard the origin %q, not %q", got, app.URL)
	}
	_, _ = io.WriteString(c, "ping")
	got := make([]byte, 4)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "ping" {
		t.Fatalf("%q %v", got, err)
	}
	if e := w.Log.Events(event.TypeAppRequest); len(e) != 1 || e[0].(*event.AppRequest).Upgrade != "websocket" || e[0].(*event.AppRequest).StatusCode != 101 {
		t.Errorf("%+v", e)
	}
	locked := time.Now()
	w.Policy.Change(func() {
		w.Policy.LockList = append(w.Policy.LockList, &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{Session: apptest.SessionID}}})
	})
	if _, err := r.ReadByte(); err == nil || time.Since(locked) > soon {
		t.Errorf("%v after %s", err, time.Since(locked))
	}
}

// TestRoleChangeCutsADownload: who loses the role loses what is open.
func TestRoleChangeCutsADownload(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1024)); err != nil {
				return
			}
		}
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	resp, err := w.Client(apptest.User("alice", types.AppRoute{})).Get("https://wiki.example.test/big")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
		t.Fatal(err)
	}
	w.Role(func(r *types.RoleSpec) { r.Allow.AppLabels = types.Labels{"env": {"prod"}} })
	changed := time.Now()
	if _, err := io.Copy(io.Discard, resp.Body); err == nil || time.Since(changed) > soon {
		t.Errorf("%v after %s", err, time.Since(changed))
	}
}

// TestHTTP2AndTrailers: what gRPC needs passes whole, over HTTP/2 without TLS too.
func TestHTTP2AndTrailers(t *testing.T) {
	var server http.Server
	server.Protocols = &http.Protocols{}
	server.Protocols.SetUnencryptedHTTP2(true)
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Proto, r.Header.Get("Te"), body)
		w.Header().Set("Grpc-Status", "0")
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(ln) }()
	defer server.Close()
	w := apptest.New(t, types.AppSpec{URI: "http://" + ln.Addr().String()}, nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://wiki.example.test/pkg.Service/Method", strings.NewReader("message"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc+proto")
	r.Header.Set("Te", "trailers")
	resp, err := w.Client2(apptest.User("alice", types.AppRoute{})).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "HTTP/2.0 trailers message" || resp.Trailer.Get("Grpc-Status") != "0" || resp.ProtoMajor != 2 {
		t.Errorf("%q %v %v", body, resp.Trailer, err)
	}
}

// TestTrailersSayNoMoreThanHeaders: many apps read what follows a body as headers.
func TestTrailersSayNoMoreThanHeaders(t *testing.T) {
	got := make(chan http.Header, 1)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got <- r.Trailer
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL, Rewrite: &types.AppRewrite{Headers: []types.AppHeader{{Name: "X-Roles", Value: "{{internal.roles}}"}}}}, nil)
	c, err := w.Dial(t.Context(), apptest.User("alice", types.AppRoute{}), "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Roles, X_Roles, X-Forwarded-For, Teleport-Jwt-Assertion\r\n\r\n"+
		"1\r\na\r\n0\r\nX-Sum: 1\r\nX-Late: 1\r\nX-Roles: admin\r\nX_Roles: admin\r\nX-Forwarded-For: 203.0.113.9\r\nTeleport-Jwt-Assertion: forged\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", resp, err)
	}
	if trailer := <-got; len(trailer) != 1 || trailer.Get("X-Sum") != "1" {
		t.Errorf("the app reads %v", trailer)
	}
}

// TestSmuggling: shapes by which two readers of one connection could disagree are
// refused, or framed anew, and an app is asked for nothing that the log does not tell.
func TestSmuggling(t *testing.T) {
	paths := make(chan string, 8)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		paths <- r.URL.Path
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	for name, text := range map[string]string{
		"two lengths":         "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"a length of plus":    "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc",
		"a coding of another": "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"space before colon":  "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\nabc",
		"two hosts":           "GET /a HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
		"no host":             "GET /a HTTP/1.1\r\n\r\n",
		"another's URL":       "GET http://169.254.169.254/latest HTTP/1.1\r\nHost: h\r\n\r\n",
		"a tunnel":            "CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254:80\r\n\r\n",
		"the whole server":    "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
		"a header too long":   "GET /a HTTP/1.1\r\nHost: h\r\nX-A: " + strings.Repeat("a", 128<<10) + "\r\n\r\n",
	} {
		c, err := w.Dial(t.Context(), apptest.User("alice", types.AppRoute{}), "http/1.1")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, text)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && resp.StatusCode < 400 && name != "another's URL" {
			t.Errorf("%s: %s", name, resp.Status)
		}
		if err == nil && name == "another's URL" && resp.StatusCode >= 400 {
			continue
		}
		c.Close()
		select {
		case p := <-paths:
			if name != "another's URL" { // it reached the app alone, as /latest
				t.Errorf("%s: the app was asked for %s", name, p)
			}
		default:
		}
	}
	// A chunked body that also tells a length is framed anew: what follows it is the next request.
	c, err := w.Dial(t.Context(), apptest.User("alice", types.AppRoute{}), "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "POST /first HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET /second HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	_, _ = io.Copy(io.Discard, c)
	told := w.Log.Events(event.TypeAppRequest)
	asked := len(paths)
	for range asked {
		p := <-paths
		found := false
		for _, e := range told {
			found = found || e.(*event.AppRequest).Path == p
		}
		if !found {
			t.Errorf("the app was asked for %s, and the log does not tell", p)
		}
	}
}

// TestTCP: a tcp app's bytes pass, each connection is a session, and the port of the
// certificate is the one that is dialled.
func TestTCP(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	port := ln.Addr().(*net.TCPAddr).Port
	w := apptest.New(t, types.AppSpec{URI: "tcp://127.0.0.1", TCPPorts: []types.AppPort{{Port: 1}, {Port: port}}}, nil)
	dial := func(target int, alpn string) (net.Conn, error) {
		return w.Dial(t.Context(), apptest.User("alice", types.AppRoute{TargetPort: target}), alpn)
	}
	c, err := dial(port, tunframe.ALPNTCP)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("x"), 100_000)
	go func() { _, _ = c.Write(want) }()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatal(err)
	}
	c.Close()
	w.Await(func() bool { return len(w.Log.Events(event.TypeAppEnd)) == 1 })
	if e := w.Log.Events(event.TypeAppEnd)[0].(*event.AppEnd); e.Sent != int64(len(want)) || e.Received != int64(len(want)) || e.AppTargetPort != port {
		t.Errorf("%+v", e)
	}
	// Without a port it is the first one, where nobody listens; one that the app does
	// not have is refused, and so is HTTP.
	for what, open := range map[string]func() (net.Conn, error){
		"no port":        func() (net.Conn, error) { return dial(0, tunframe.ALPNTCP) },
		"another's port": func() (net.Conn, error) { return dial(2, tunframe.ALPNTCP) },
		"HTTP":           func() (net.Conn, error) { return dial(port, "http/1.1") },
	} {
		c, err := open()
		if err != nil {
			continue
		}
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Errorf("%s was let in", what)
		}
		c.Close()
	}
}

// TestBridge: a proxy's word about a browser's user counts, and no client's.
func TestBridge(t *testing.T) {
	var got *http.Request
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	const id = "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0099"
	for _, x := range []struct {
		id     *types.Identity
		whence string
	}{{apptest.Bridge("alice", types.AppRoute{}), "203.0.113.9"}, {apptest.User("alice", types.AppRoute{}), "127.0.0.1"}} {
		resp, _ := get(t, w.Client(x.id), "/", "X-Forwarded-For", "203.0.113.9", "X-Request-Id", id)
		if got.Header.Get("X-Forwarded-For") != x.whence {
			t.Errorf("%s: %q", x.id.Kind, got.Header.Get("X-Forwarded-For"))
		}
		if same := resp.Header.Get("X-Request-Id") == id; same != (x.id.Kind == types.IdentityBridge) {
			t.Errorf("%s: the id is %q", x.id.Kind, resp.Header.Get("X-Request-Id"))
		}
	}
}

// TestRedirects: the app's own host becomes the public one, and others stay.
func TestRedirects(t *testing.T) {
	to := ""
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL + "/start", Rewrite: &types.AppRewrite{Redirect: []string{"localhost", "internal.example"}}}, nil)
	c := w.Client(apptest.User("alice", types.AppRoute{}))
	for from, want := range map[string]string{
		"http://localhost:3000/a?b#c": "https://wiki.example.test/a?b#c", "https://internal.example/x": "https://wiki.example.test/x",
		"/relative": "/relative", "https://elsewhere.example/": "https://elsewhere.example/", "//internal.example/y": "https://wiki.example.test/y",
	} {
		to = from
		if resp, _ := get(t, c, "/page"); resp.Header.Get("Location") != want {
			t.Errorf("%s leads to %s", from, resp.Header.Get("Location"))
		}
	}
	if resp, _ := get(t, c, "/"); resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != "/start" {
		t.Errorf("the root leads to %q", resp.Header.Get("Location"))
	}
}

// TestDrain: a process that stops takes no new sessions, and those that are there go on.
func TestDrain(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "1")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://wiki.example.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.Client(apptest.User("alice", types.AppRoute{})).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	w.Drain()
	w.Await(func() bool {
		resp, err := w.Client(apptest.User("bob", types.AppRoute{})).Get("https://wiki.example.test/")
		if err == nil {
			resp.Body.Close()
		}
		return err != nil
	})
	if _, err := io.ReadFull(resp.Body, make([]byte, 1)); err != nil {
		t.Errorf("the stream ended: %v", err)
	}
	cancel()
}

// TestOnlyWebSocketsLeaveHTTP: nobody would see what is asked in another protocol, so
// an app hears of no wish for one.
func TestOnlyWebSocketsLeaveHTTP(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Upgrade")+r.Header.Get("Connection")+r.Header.Get("Http2-Settings"))
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	conn, err := w.Dial(t.Context(), apptest.User("alice", types.AppRoute{}), "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: wiki\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if said, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || len(said) > 0 {
		t.Errorf("%s %q %v", resp.Status, said, err)
	}
}

// TestOneTokenForAll: requests that come together wait for one token, also when whoever
// came first has left.
func TestOneTokenForAll(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get(appaccess.HeaderAssertion))
	}))
	defer app.Close()
	var asked atomic.Int32
	begun, answer := make(chan struct{}, 1), make(chan struct{})
	w := apptest.New(t, types.AppSpec{URI: app.URL}, func(c *appaccess.Config) {
		c.Token = func(ctx context.Context, _ appaccess.Use) (types.Secret, time.Time, error) {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("a token may take for ever")
			}
			asked.Add(1)
			begun <- struct{}{}
			<-answer
			return types.NewSecret("vouched"), time.Now().Add(time.Hour), ctx.Err()
		}
	})
	client := w.Client(apptest.User("alice", types.AppRoute{}))
	first, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(first, http.MethodGet, "https://wiki.example.test/", nil)
		if err == nil {
			_, err = client.Do(r)
		}
		left <- err
	}()
	<-begun
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if resp, text := get(t, client, "/"); text != "vouched" {
				t.Errorf("%s: %q", resp.Status, text)
			}
		})
	}
	close(answer)
	all.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

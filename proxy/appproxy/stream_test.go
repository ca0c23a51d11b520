package appproxy_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/types"
)

func certAddr(*testing.T) netip.Addr { return netip.MustParseAddr("203.0.113.7") }

// streams are apps that do not end by themselves.
func (w *world) streams() {
	w.app = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(rw)
		switch r.URL.Path {
		case "/events":
			rw.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(rw, "data: one\n\n")
			_ = c.Flush()
			<-r.Context().Done()
		case "/download":
			for b := make([]byte, 64<<10); r.Context().Err() == nil; {
				if _, err := rw.Write(b); err != nil {
					return
				}
			}
		case "/ws":
			conn, buf, err := c.Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = buf.Flush()
			_, _ = io.Copy(conn, buf)
		case "/sum":
			h := sha256.New()
			_, _ = io.Copy(h, r.Body)
			_, _ = rw.Write(h.Sum(nil))
		}
	})
}

// socket opens a connection to the proxy and sends a request with a session.
func (w *world) socket(bearer, request string) (net.Conn, *http.Response) {
	w.t.Helper()
	id, secret, _ := strings.Cut(bearer, ".")
	conn := w.raw()
	_, err := io.WriteString(conn, request+"Host: wiki.proxy.test:3080\r\nCookie: __Host-grv_app_session="+id+"; __Host-grv_app_session_subject="+secret+"\r\n\r\n")
	must(w.t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(w.t, err)
	return conn, resp
}

// What ends a session ends what is open of it at once: an event stream, a download
// and a WebSocket, also where the client neither reads nor writes. No timer of ours is
// on the way to that, which the clock here would show.
func TestTheEndOfASessionCutsWhatIsOpen(t *testing.T) {
	for name, request := range map[string]string{
		"an event stream": "GET /events HTTP/1.1\r\n",
		"a download":      "GET /download HTTP/1.1\r\n",
		"a WebSocket":     "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
	} {
		for end, f := range map[string]func(w *world, id string){
			"elsewhere": func(w *world, id string) { w.change(func() { delete(w.sessions, id) }) },
			"by a lock": func(w *world, _ string) { // the registry cuts what was dialled
				w.mu.Lock()
				defer w.mu.Unlock()
				for _, c := range w.conns {
					c.Close()
				}
			},
		} {
			t.Run(name+" "+end, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.streams()
					bearer := w.start("wiki", "alice", "", nil)
					conn, resp := w.socket(bearer, request)
					if resp.StatusCode != 200 && resp.StatusCode != 101 {
						t.Fatalf("%s", resp.Status)
					}
					synctest.Wait() // all that can be written to a client who does not read
					id, _, _ := strings.Cut(bearer, ".")
					began := time.Now()
					f(w, id)
					synctest.Wait()
					must(t, conn.SetReadDeadline(began.Add(time.Hour)))
					for b := make([]byte, 64<<10); ; {
						if _, err := conn.Read(b); err != nil {
							break
						}
					}
					if took := time.Since(began); took >= time.Second {
						t.Errorf("it was cut after %s", took)
					}
				})
			})
		}
	}
}

// Who waits for an answer when the session ends is sent to sign in again, or told so:
// nothing of the answer has come yet.
func TestTheEndOfASessionIsToldToWhoWaits(t *testing.T) {
	for name, c := range map[string]struct {
		head   string
		status int
	}{"a page": {"Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n", http.StatusFound}, "a program": {"", http.StatusUnauthorized}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.app = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
				bearer := w.start("wiki", "alice", "", nil)
				id, _, _ := strings.Cut(bearer, ".")
				var ends sync.WaitGroup
				defer ends.Wait()
				ends.Go(func() {
					synctest.Wait() // the app has the request
					w.change(func() { delete(w.sessions, id) })
				})
				conn, resp := w.socket(bearer, "GET / HTTP/1.1\r\n"+c.head)
				defer conn.Close()
				if resp.StatusCode != c.status {
					t.Errorf("%s", resp.Status)
				}
			})
		})
	}
}

// Those who wait for an auth service that says nothing wait for it together, and not one
// after the other.
func TestASilentAuthServiceIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		bearer := w.start("wiki", "alice", "", nil)
		w.gate = make(chan struct{})
		began := time.Now()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				conn, resp := w.socket(bearer, "GET / HTTP/1.1\r\n")
				defer conn.Close()
				if took := time.Since(began); resp.StatusCode < 500 || took > 20*time.Second {
					t.Errorf("%s after %s", resp.Status, took)
				}
			})
		}
		all.Wait()
	})
}

// A WebSocket carries both ways, and is not opened for a page of another site.
func TestWebSocket(t *testing.T) {
	w := newWorld(t)
	w.streams()
	bearer := w.start("wiki", "alice", "", nil)
	const upgrade = "GET /ws HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
	for _, origin := range []string{"", "Origin: https://wiki.proxy.test:3080\r\n"} {
		conn, resp := w.socket(bearer, upgrade+origin)
		if resp.StatusCode != 101 {
			t.Fatalf("%s", resp.Status)
		}
		for _, say := range []string{"hello", "again"} {
			_, err := io.WriteString(conn, say)
			must(t, err)
			b := make([]byte, len(say))
			_, err = io.ReadFull(conn, b)
			must(t, err)
			if string(b) != say {
				t.Errorf("%q came back as %q", say, b)
			}
		}
		conn.Close()
	}
	for _, origin := range []string{"https://evil.test", "https://vault.proxy.test:3080", "null", "http://wiki.proxy.test:3080"} {
		if _, resp := w.socket(bearer, upgrade+"Origin: "+origin+"\r\n"); resp.StatusCode != http.StatusForbidden {
			t.Errorf("from %s: %s", origin, resp.Status)
		}
	}
	if len(w.failed) != 4 {
		t.Errorf("told of %d", len(w.failed))
	}
}

// Browsers send cookies with every WebSocket: a page of another site opens none
// unless the app's settings name it and let it use cookies.
func TestWebSocketOfOtherSites(t *testing.T) {
	for name, c := range map[string]struct {
		cors   types.AppCORS
		status int
	}{
		"any site":                   {types.AppCORS{AllowedOrigins: []string{"*"}}, http.StatusForbidden},
		"without cookies":            {types.AppCORS{AllowedOrigins: []string{"https://pages.test"}}, http.StatusForbidden},
		"another one":                {types.AppCORS{AllowedOrigins: []string{"https://other.test"}, AllowCredentials: true}, http.StatusForbidden},
		"this one, and with cookies": {types.AppCORS{AllowedOrigins: []string{"https://pages.test"}, AllowCredentials: true}, http.StatusSwitchingProtocols},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, app("wiki", func(s *types.AppSpec) { s.CORS = &c.cors }))
			w.streams()
			_, resp := w.socket(w.start("wiki", "alice", "", nil), "GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://pages.test\r\n")
			if resp.StatusCode != c.status {
				t.Errorf("%s", resp.Status)
			}
		})
	}
}

// Bodies stream: a large one goes up whole, whose length nobody said before.
func TestUploads(t *testing.T) {
	w := newWorld(t)
	w.streams()
	c := w.signedIn()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	sum := sha256.Sum256(big)
	r, err := http.NewRequestWithContext(t.Context(), "PUT", wiki+"/sum", io.MultiReader(bytes.NewReader(big))) // of unknown length
	must(t, err)
	resp, err := c.Do(r)
	must(t, err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	must(t, err)
	if !bytes.Equal(got, sum[:]) {
		t.Errorf("%s: another sum", resp.Status)
	}
}

// TestTrailersAndHintsSayNoMoreThanHeaders: many apps read what follows a body as
// headers; nobody looks at what an app says early.
func TestTrailersAndHintsSayNoMoreThanHeaders(t *testing.T) {
	w := newWorld(t)
	got := make(chan http.Header, 1)
	w.app = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Link", "</a.css>; rel=preload")
		rw.Header().Set("Set-Cookie", "__Host-grv_app_session=fixed; Path=/; Secure")
		rw.WriteHeader(http.StatusEarlyHints)
		clear(rw.Header())
		_, _ = io.Copy(io.Discard, r.Body)
		got <- r.Trailer
	})
	bearer := w.start("wiki", "alice", "", nil)
	id, secret, _ := strings.Cut(bearer, ".")
	conn := w.raw()
	_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: wiki.proxy.test\r\nCookie: __Host-grv_app_session="+id+"; __Host-grv_app_session_subject="+secret+"\r\n"+
		"Transfer-Encoding: chunked\r\nTrailer: X-Sum, X-Forwarded-For, X_Request_Id\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\r\nX-Late: 1\r\nX-Forwarded-For: 203.0.113.9\r\nX_Request_Id: forged\r\n\r\n")
	must(t, err)
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	must(t, err)
	if resp.StatusCode != http.StatusEarlyHints || resp.Header.Get("Link") == "" || len(resp.Header["Set-Cookie"]) > 0 {
		t.Errorf("the hint is %s %v", resp.Status, resp.Header)
	}
	resp, err = http.ReadResponse(br, nil)
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	if trailer := <-got; len(trailer) != 1 || trailer.Get("X-Sum") != "1" {
		t.Errorf("the app reads %v", trailer)
	}
}

// A body may take hours and pause for less than a minute. A longer pause ends it, and is
// nothing that the app is blamed for. The port's own limits are for other requests.
func TestSlowBodies(t *testing.T) {
	for name, c := range map[string]struct {
		pause time.Duration
		whole bool
	}{"hours": {50 * time.Second, true}, "a long pause": {2 * time.Minute, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.streams()
				conn := w.raw()
				id, secret, _ := strings.Cut(w.start("wiki", "alice", "", func(s *types.AppSession) { s.Spec.Expires = time.Now().Add(9 * time.Hour) }), ".")
				const pieces = 100
				_, err := fmt.Fprintf(conn, "PUT /sum HTTP/1.1\r\nHost: wiki.proxy.test:3080\r\nContent-Length: %d\r\nCookie: __Host-grv_app_session=%s; __Host-grv_app_session_subject=%s\r\n\r\n",
					pieces, id, secret)
				must(t, err)
				began := time.Now()
				var sends sync.WaitGroup
				defer func() { conn.Close(); sends.Wait() }()
				sends.Go(func() {
					for range pieces {
						time.Sleep(c.pause)
						if _, err := io.WriteString(conn, "x"); err != nil {
							return
						}
					}
				})
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				must(t, err)
				got, err := io.ReadAll(resp.Body)
				must(t, err)
				took := time.Since(began)
				if want := sha256.Sum256(bytes.Repeat([]byte("x"), pieces)); c.whole && !bytes.Equal(got, want[:]) {
					t.Errorf("%s after %s: another sum", resp.Status, took)
				}
				if !c.whole && (resp.StatusCode != http.StatusRequestTimeout || took > c.pause || !strings.Contains(string(got), "send it again")) {
					t.Errorf("%s after %s: %s", resp.Status, took, got)
				}
			})
		})
	}
}

// A person whose form stops on its way reads that it did not arrive, what of it is known,
// and how to send it once more; and nothing against the app.
func TestThePageOfAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.streams()
		id, secret, _ := strings.Cut(w.start("wiki", "alice", "", nil), ".")
		conn := w.raw()
		defer conn.Close()
		_, err := io.WriteString(conn, "POST /sum HTTP/1.1\r\nHost: wiki.proxy.test:3080\r\nContent-Length: 2\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\n"+
			"Cookie: __Host-grv_app_session="+id+"; __Host-grv_app_session_subject="+secret+"\r\n\r\nx")
		must(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		page, err := io.ReadAll(resp.Body)
		must(t, err)
		_, text, _ := strings.Cut(string(page), "<main>")
		text, _, _ = strings.Cut(text, `<p class="id">`)
		const want = `<h1>What you sent did not reach wiki</h1><p class="why">Nothing more of what you sent has come for a minute.</p>` +
			`<p class="hint">Reload this page, and the browser sends it once more.</p>`
		if text = strings.ReplaceAll(text, "\n", ""); resp.StatusCode != http.StatusRequestTimeout || text != want {
			t.Errorf("%s: %s", resp.Status, page)
		}
	})
}

package appproxy_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/dial"
	"teleport/netx/mux"
)

// together makes some requests at the same time, which are all at the app at once.
func (w *world) together(c *http.Client, n int) {
	w.t.Helper()
	var came, all sync.WaitGroup
	came.Add(n)
	app := w.app
	w.app = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		came.Done()
		came.Wait()
		app.ServeHTTP(rw, r)
	})
	for range n {
		all.Go(func() {
			resp, err := c.Get(wiki + "/a")
			if err != nil {
				w.t.Error(err)
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || string(body) != "hello /a" {
				w.t.Errorf("%s %s %v", resp.Status, body, err)
			}
		})
	}
	all.Wait()
	w.app = app
}

func (w *world) counts() (dials int, carriers []*mux.Acceptor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials, w.carriers
}

// TestRequestsShareACarrier: what one browser asks of one app goes over one dial and
// one TLS, whatever number of requests there are at a time.
func TestRequestsShareACarrier(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn()
	w.together(c, 20)
	w.together(c, 20)
	if dials, carriers := w.counts(); dials != 1 || len(carriers) != 1 {
		t.Errorf("%d dials, %d carriers", dials, len(carriers))
	}
}

// TestAnAgentThatLeavesIsFollowedByAnother: requests go elsewhere once an agent takes
// no further ones, or is gone, and nobody notices.
func TestAnAgentThatLeavesIsFollowedByAnother(t *testing.T) {
	for name, leave := range map[string]func(*mux.Acceptor){"it drains": (*mux.Acceptor).Leave, "it is gone": (*mux.Acceptor).Close} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.signedIn()
			w.together(c, 3)
			_, carriers := w.counts()
			leave(carriers[0])
			w.together(c, 6)
			if dials, carriers := w.counts(); dials != 2 || len(carriers) != 2 {
				t.Errorf("%d dials, %d carriers", dials, len(carriers))
			}
		})
	}
}

// silent has the agent take dials, and say nothing.
func (w *world) silent() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.feeds[w.first] = make(chan net.Conn, 10) // which nobody takes from
}

// TestASilentAgentIsWaitedForOnce: those who wait for it wait together, and not one after
// the other; and that one of them has left is nothing to the others.
func TestASilentAgentIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		bearer := w.start("wiki", "alice", "", nil)
		w.silent()
		began := time.Now()
		id, secret, _ := strings.Cut(bearer, ".")
		left := w.raw()
		_, err := io.WriteString(left, "GET / HTTP/1.1\r\nHost: wiki.proxy.test:3080\r\nCookie: __Host-grv_app_session="+id+"; __Host-grv_app_session_subject="+secret+"\r\n\r\n")
		must(t, err)
		synctest.Wait() // until it has dialled
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				conn, resp := w.socket(bearer, "GET / HTTP/1.1\r\n")
				defer conn.Close()
				if took := time.Since(began); resp.StatusCode != http.StatusServiceUnavailable || took > dial.Timeout {
					t.Errorf("%s after %s", resp.Status, took)
				}
			})
		}
		synctest.Wait()
		left.Close()
		all.Wait()
		if dials, _ := w.counts(); dials != 1 {
			t.Errorf("%d dials", dials)
		}
	})
}

// TestASessionThatEndsDialsNoMore: nobody waits for what was under way.
func TestASessionThatEndsDialsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		bearer := w.start("wiki", "alice", "", nil)
		w.silent()
		began := time.Now()
		var all sync.WaitGroup
		all.Go(func() {
			conn, resp := w.socket(bearer, "GET / HTTP/1.1\r\n")
			defer conn.Close()
			if took := time.Since(began); resp.StatusCode != http.StatusUnauthorized || took > 2*time.Second {
				t.Errorf("%s after %s", resp.Status, took)
			}
		})
		time.Sleep(time.Second)
		id, _, _ := strings.Cut(bearer, ".")
		w.change(func() { delete(w.sessions, id) })
		all.Wait()
		w.mu.Lock()
		conn := w.conns[0]
		w.mu.Unlock()
		if _, err := conn.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the dial goes on: %v", err)
		}
	})
}

// TestLargeAnswersHaveTheirOwnConnections: they would stand in each other's way.
func TestLargeAnswersHaveTheirOwnConnections(t *testing.T) {
	w := newWorld(t)
	large := strings.Repeat("x", 1<<20)
	w.app = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		said := "small"
		if r.URL.Path == "/large" {
			said = large
		}
		rw.Header().Set("Content-Length", strconv.Itoa(len(said)))
		_, _ = io.WriteString(rw, said)
	})
	c := w.signedIn()
	for range 5 {
		if _, body := w.do(c, "GET", wiki+"/large", "", nil); body != large {
			t.Fatalf("%d bytes", len(body))
		}
	}
	dials, carriers := w.counts()
	if dials != 2 || len(carriers) != 1 {
		t.Errorf("%d dials, %d carriers", dials, len(carriers))
	}
	for range 70 {
		w.do(c, "GET", wiki+"/small", "", nil)
	}
	if dials, carriers := w.counts(); dials > 3 || len(carriers) > 2 { // it shares again
		t.Errorf("%d dials, %d carriers", dials, len(carriers))
	}
}

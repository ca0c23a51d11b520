package e2e

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"teleport/test/cluster"
)

// slowly is an app whose answer goes on when the test says so.
func slowly(t *testing.T) (uri string, say chan string) {
	t.Helper()
	say = make(chan string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			_, _ = io.WriteString(w, "here")
			return
		}
		c := http.NewResponseController(w)
		w.Header().Set("Content-Type", "text/event-stream")
		_ = c.Flush()
		for {
			select {
			case word, more := <-say:
				if !more {
					return
				}
				_, _ = io.WriteString(w, word)
				_ = c.Flush()
			case <-r.Context().Done(): // or the server would wait for ever
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, say
}

// TestADrainWaitsForAnApp: a proxy, and an agent, that drains lets what is open of an
// app go on to its end, and ends then, also where a browser keeps connections for
// requests to come.
func TestADrainWaitsForAnApp(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"the proxy", "the agent"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			uri, say := slowly(t)
			c := withApps(t, 2, map[string]any{"name": "wiki", "uri": uri})
			alice := c.User(t, "alice", []string{"access"}, nil)
			leaving := c.Proxies[0]
			if who == "the agent" {
				leaving = c.Agents[0]
			}
			b := newBrowsing(t, c)
			b.signIn(alice)
			b.open(b.url("wiki", "/"))
			conn, resp := b.raw("wiki", "/slow", "")
			if resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status)
			}
			tell := func(word string) {
				t.Helper()
				select {
				case say <- word:
				case <-time.After(within):
					t.Fatalf("nobody is there to hear %q", word)
				}
			}
			hear := func(want string) {
				t.Helper()
				got := make([]byte, len(want))
				if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
					t.Fatalf("%q %v", got, err)
				}
			}
			tell("one.")
			hear("one.")
			b.do("GET", b.url("wiki", "/"), nil) // and a connection is left for the next
			leaving.Quit(t)
			cluster.Until(t, within, "the drain", func() bool { status, _ := leaving.Readyz(); return status == "draining" })
			if who == "the proxy" {
				cluster.Until(t, within, "the port to close", func() bool {
					c, err := net.Dial("tcp", leaving.WebAddr)
					return err != nil || c.Close() != nil
				})
			}
			tell("two.")
			hear("two.")
			close(say)
			if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
				t.Errorf("%q %v", rest, err)
			}
			conn.Close()
			if code := leaving.WaitGone(t); code != 0 {
				t.Errorf("it ended with %d", code)
			}
		})
	}
}

package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// pipe serves one end of a connection and returns the other.
func pipe(t *testing.T, h http.HandlerFunc) net.Conn {
	near, far := net.Pipe()
	s := &Server{Handler: h, HeadTimeout: 10 * time.Second, BodyTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHead: 1 << 10, Log: slog.New(slog.DiscardHandler)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(context.Background(), far)
	}()
	t.Cleanup(func() {
		near.Close()
		<-done
	})
	return near
}

// TestSlowClients: a client may be slow, and not for ever.
func TestSlowClients(t *testing.T) {
	for name, c := range map[string]struct {
		say    string
		within time.Duration
		answer int // 0: none
	}{
		"says nothing":    {"", 2 * time.Minute, 0},
		"stops in a head": {"GET / HTTP/1.1\r\nHost: a\r\n", 10 * time.Second, http.StatusRequestTimeout},
		"stops in a body": {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", time.Minute, http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := pipe(t, func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.ReadAll(r.Body); err != nil {
						http.Error(w, "no body", http.StatusBadRequest)
					}
				})
				began := time.Now()
				fmt.Fprint(conn, c.say)
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if took := time.Since(began); took != c.within {
					t.Errorf("it took %s", took)
				}
				switch {
				case c.answer == 0 && !errors.Is(err, io.ErrUnexpectedEOF), c.answer != 0 && err != nil:
					t.Error(err)
				case c.answer != 0 && resp.StatusCode != c.answer:
					t.Error(resp.Status)
				}
			})
		})
	}
}

// TestALongAnswerOutlivesTheIdleTime: who waits for an answer is not idle.
func TestALongAnswerOutlivesTheIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := pipe(t, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Hour)
			fmt.Fprint(w, "done")
		})
		br := bufio.NewReader(conn)
		for range 2 {
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" {
				t.Errorf("%q %v", body, err)
			}
			resp.Body.Close()
		}
	})
}

// TestConnectionsAreKeptForAWhile: an app is asked over the connection of the request
// before, as long as that was not long ago, and it is not renewed.
func TestConnectionsAreKeptForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		c := &Client{MaxHead: 1 << 10, MaxIdle: 4, IdleTimeout: time.Minute, AnswerTimeout: time.Second, Dial: func(context.Context) (net.Conn, error) {
			dials++
			return pipe(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/never" {
					<-r.Context().Done()
				}
			}), nil
		}}
		defer c.Close()
		ask := func(path string) error {
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://app"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.RoundTrip(r)
			if err == nil {
				resp.Body.Close()
			}
			return err
		}
		for _, step := range []struct {
			what  string
			do    func()
			dials int
		}{
			{"the first", func() {}, 1},
			{"at once", func() {}, 1},
			{"before it is old", func() { time.Sleep(59 * time.Second) }, 1},
			{"when it is old", func() { time.Sleep(61 * time.Second) }, 2},
			{"after a renewal", c.Renew, 3},
		} {
			step.do()
			if err := ask("/"); err != nil || dials != step.dials {
				t.Errorf("%s: %d dials, %v", step.what, dials, err)
			}
		}
		if err := ask("/never"); !isTimeout(err) || dials != 3 {
			t.Errorf("an app that never answers: %v, %d dials", err, dials)
		}
	})
}

// TestAContextEndsWithItsAnswer: what a handler has begun for a request does not
// outlive it.
func TestAContextEndsWithItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var of []context.Context
		conn := pipe(t, func(_ http.ResponseWriter, r *http.Request) { of = append(of, r.Context()) })
		br := bufio.NewReader(conn)
		for range 2 {
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			if _, err := http.ReadResponse(br, nil); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if last := of[len(of)-1]; last.Err() == nil {
				t.Error("it lives")
			}
		}
	})
}

// TestAWriteDeadlineIsOfOneAnswer: the next one has its own time.
func TestAWriteDeadlineIsOfOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := pipe(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/first" {
				if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Error(err)
				}
			}
		})
		br := bufio.NewReader(conn)
		for _, path := range []string{"/first", "/second"} {
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path)
			if _, err := http.ReadResponse(br, nil); err != nil {
				t.Fatal(path, err)
			}
			time.Sleep(90 * time.Second)
		}
	})
}

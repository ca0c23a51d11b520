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
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/netx/memnet"
)

// pipe serves one end of a connection and returns the other.
func pipe(t *testing.T, h http.HandlerFunc) net.Conn {
	return served(t, &Server{Handler: h, HeadTimeout: 10 * time.Second, BodyTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHead: 1 << 10, Log: slog.New(slog.DiscardHandler)})
}

func served(t *testing.T, s *Server) net.Conn {
	near, far := net.Pipe()
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

// polite is a connection whose end takes a while.
type polite struct {
	net.Conn
	once  sync.Once
	bye   chan struct{} // closed when it begins to end
	heard chan struct{} // ends it
}

func (p *polite) Close() error {
	p.once.Do(func() {
		close(p.bye)
		<-p.heard
	})
	return p.Conn.Close()
}

// TestNobodyWaitsForAGoodbye: TLS says goodbye, for which a peer that reads nothing may
// take seconds. Others go on meanwhile.
func TestNobodyWaitsForAGoodbye(t *testing.T) {
	app := func(near, far net.Conn) net.Conn {
		go func() {
			for br := bufio.NewReader(far); ; {
				if _, err := http.ReadRequest(br); err != nil {
					far.Close()
					return
				}
				_, _ = io.WriteString(far, "HTTP/1.1 204 No Content\r\n\r\n")
			}
		}()
		return near
	}
	slow := &polite{bye: make(chan struct{}), heard: make(chan struct{})}
	slow.Conn = app(memnet.Pipe())
	conns := make(chan net.Conn, 2)
	conns <- slow
	c := &Client{MaxHead: 1 << 10, MaxIdle: 2, IdleTimeout: time.Minute, Dial: func(context.Context) (net.Conn, error) { return <-conns, nil }}
	asked(t, c, "GET")
	renewed := make(chan struct{})
	go func() { defer close(renewed); c.Renew() }()
	<-slow.bye
	conns <- app(memnet.Pipe())
	asked(t, c, "GET")
	close(slow.heard)
	<-renewed
	c.Close()
}

// A server that drains neither.
func TestADrainWaitsForNoGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Handler: http.NotFoundHandler(), HeadTimeout: time.Minute, BodyTimeout: time.Minute, IdleTimeout: time.Minute, MaxHead: 1 << 10, Log: slog.New(slog.DiscardHandler)}
		near, far := memnet.Pipe()
		held := &polite{Conn: far, bye: make(chan struct{}), heard: make(chan struct{})}
		over, drained := make(chan struct{}), make(chan struct{})
		go func() { defer close(over); s.ServeConn(t.Context(), held) }()
		if _, err := io.WriteString(near, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(near), nil)
		if err != nil || resp.StatusCode != http.StatusNotFound {
			t.Fatalf("%v %v", resp, err)
		}
		synctest.Wait() // it waits for another request
		go func() { defer close(drained); s.Drain() }()
		<-held.bye
		one, other := memnet.Pipe()
		s.ServeConn(t.Context(), other) // it is turned away at once
		one.Close()
		close(held.heard)
		<-drained
		<-over
		near.Close()
	})
}

// TestWhoSendsMuchHearsTheAnswer: a connection with bytes unread is reset when it is
// closed, which takes the answer from many clients. So it waits a moment.
func TestWhoSendsMuchHearsTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe()
		s := &Server{HeadTimeout: time.Minute, BodyTimeout: time.Minute, IdleTimeout: time.Minute, MaxHead: 1 << 10, Log: slog.New(slog.DiscardHandler),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) })}
		began, closed := time.Now(), make(chan time.Duration, 1)
		go func() {
			s.ServeConn(t.Context(), far)
			closed <- time.Since(began)
		}()
		if _, err := io.WriteString(near, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = near.Write(make([]byte, 10_000_000)) }() // ends with the connection
		if took := <-closed; took != partWithin {
			t.Errorf("it is closed after %s", took)
		}
		resp, err := http.ReadResponse(bufio.NewReader(near), nil)
		if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%v %v", resp, err)
		}
	})
}

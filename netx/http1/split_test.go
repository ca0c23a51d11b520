package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/netx/memnet"
)

// splitting is an app that says more than its first answer: at once, or when that has
// been heard. What it answers on other connections, and later, is right.
type splitting struct {
	first, more string
	heard       chan struct{} // nil: it says more at once
	said        chan struct{} // closed when it has
	dials       int
	apps        sync.WaitGroup
}

func (s *splitting) dial(context.Context) (net.Conn, error) {
	near, far := memnet.Pipe()
	s.dials++
	splits := s.dials == 1
	s.apps.Go(func() {
		defer far.Close()
		for br := bufio.NewReader(far); ; splits = false {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			switch {
			case !splits:
				_, _ = io.WriteString(far, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
				continue
			case s.heard != nil:
				_, _ = io.WriteString(far, s.first)
				<-s.heard
				_, _ = io.WriteString(far, s.more)
			default:
				_, _ = io.WriteString(far, s.first+s.more)
			}
			close(s.said)
		}
	})
	return near, nil
}

// TestAnAnswerIsNotTheNextOnes: what an app says beyond an answer, at once or later, is
// never heard by a request that comes after.
func TestAnAnswerIsNotTheNextOnes(t *testing.T) {
	const other = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	large := strings.Repeat("x", 100<<10) // which is read past the buffer
	for name, c := range map[string]struct{ method, head string }{
		"after a HEAD":               {"HEAD", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(other))},
		"after a HEAD, in chunks":    {"HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		"after a 204":                {"DELETE", "HTTP/1.1 204 No Content\r\n\r\n"},
		"after a 204 with a length":  {"DELETE", fmt.Sprintf("HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n", len(other))},
		"after a 304":                {"GET", "HTTP/1.1 304 Not Modified\r\nEtag: \"a\"\r\n\r\n"},
		"after a 304 with a length":  {"GET", fmt.Sprintf("HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n", len(other))},
		"more than a length":         {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"},
		"more than a length of none": {"POST", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"more than a large length":   {"GET", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(large), large)},
		"after the last chunk":       {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
	} {
		for when, heard := range map[string]chan struct{}{"at once": nil, "later": make(chan struct{})} {
			t.Run(name+", "+when, func(t *testing.T) {
				app := &splitting{first: c.head, more: other, heard: heard, said: make(chan struct{})}
				client := &Client{MaxHead: 4 << 10, MaxIdle: 4, IdleTimeout: time.Minute, Dial: app.dial}
				if body := asked(t, client, c.method); strings.Contains(body, "evil") {
					t.Errorf("the first hears %q", body)
				}
				if heard != nil {
					close(heard)
				}
				<-app.said
				for _, method := range []string{"GET", "POST"} {
					if body := asked(t, client, method); body != "good" {
						t.Errorf("the next hears %q", body)
					}
				}
				if app.dials != 2 {
					t.Errorf("%d connections", app.dials)
				}
				client.Close()
				app.apps.Wait()
			})
		}
	}
}

func asked(t *testing.T, c *Client, method string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://a/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestAnEventBeforeHalfAChunk: what has come of an answer goes on, also where the app
// has begun to say more.
func TestAnEventBeforeHalfAChunk(t *testing.T) {
	for name, half := range map[string]string{"nothing": "", "of its end": "\r", "of a head": "\r\n5", "a head but its end": "\r\n5\r", "an extension": "\r\n5;a=b"} {
		t.Run(name, func(t *testing.T) {
			near, far := memnet.Pipe()
			app := make(chan error, 1)
			heard := make(chan struct{})
			go func() {
				defer far.Close()
				if _, err := http.ReadRequest(bufio.NewReader(far)); err != nil {
					app <- err
					return
				}
				rest := "\r\n5;a=b\r\nlater\r\n0\r\n\r\n"
				if half == "\r\n5\r" {
					rest = "\r\n5\r\nlater\r\n0\r\n\r\n"
				}
				_, err := io.WriteString(far, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent"+half)
				<-heard
				_, more := io.WriteString(far, strings.TrimPrefix(rest, half))
				app <- errors.Join(err, more)
			}()
			c := &Client{MaxHead: 4 << 10, MaxIdle: 1, IdleTimeout: time.Minute, Dial: func(context.Context) (net.Conn, error) { return near, nil }}
			hop := &Hop{Send: c.Send, Look: func(*http.Response) error { return nil }}
			client := pipe(t, func(w http.ResponseWriter, r *http.Request) {
				if err := hop.Pass(w, r.WithContext(r.Context())); err != nil {
					t.Error(err)
				}
			})
			if _, err := io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err != nil {
				t.Fatal(err)
			}
			event := make([]byte, 5)
			if _, err := io.ReadFull(resp.Body, event); err != nil || string(event) != "event" {
				t.Errorf("%q %v", event, err)
			}
			close(heard)
			if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "later" {
				t.Errorf("%q %v", rest, err)
			}
			c.Close()
			if err := <-app; err != nil {
				t.Error(err)
			}
		})
	}
}

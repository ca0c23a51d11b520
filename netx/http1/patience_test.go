package http1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teleport/netx/memnet"
)

// secondServer is a server of net/http that speaks HTTP/2, and its client.
func secondServer(t *testing.T, h http.HandlerFunc) (*httptest.Server, *http.Client) {
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, s.Client()
}

// firstServer is a server of this package, and a client of one connection.
func firstServer(t *testing.T, h http.HandlerFunc, writeTimeout time.Duration) (string, *http.Client) {
	conn := served(t, &Server{Handler: h, HeadTimeout: time.Minute, BodyTimeout: time.Minute, IdleTimeout: time.Minute, WriteTimeout: writeTimeout,
		MaxHead: 1 << 10, Log: slog.New(slog.DiscardHandler)})
	dial := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	transport := &http.Transport{DialContext: dial, MaxConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	return "http://server.test", &http.Client{Transport: transport}
}

// TestPatienceEndsWithItsRequest: an app may answer before all of a body has come, so
// who passes the body on outlives the handler, which HTTP/2 does not bear.
func TestPatienceEndsWithItsRequest(t *testing.T) {
	over, read := make(chan struct{}), make(chan error, 1)
	s, client := secondServer(t, func(w http.ResponseWriter, r *http.Request) {
		p := NewPatience(w, time.Minute)
		defer p.End()
		body := p.Body(r.Body)
		go func() {
			<-over
			p.Cut()
			_, err := io.Copy(io.Discard, body)
			read <- err
		}()
	})
	body, more := io.Pipe()
	defer more.Close()
	resp, err := client.Post(s.URL, "text/plain", body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.ProtoMajor != 2 {
		t.Error(resp.Proto)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	resp.Body.Close()
	close(over)
	if err := <-read; err == nil {
		t.Error("a body goes on behind its request")
	}
}

// TestPausesOfHTTP2: they are bounded in either direction, and nothing else is.
func TestPausesOfHTTP2(t *testing.T) {
	const pause = 100 * time.Millisecond
	read, wrote := make(chan error, 1), make(chan error, 1)
	s, client := secondServer(t, func(w http.ResponseWriter, r *http.Request) {
		p := NewPatience(w, pause)
		defer p.End()
		if r.Method == http.MethodPost {
			_, err := io.Copy(io.Discard, p.Body(r.Body))
			if !errors.Is(p.Err(), ErrPaused) {
				err = errors.Join(err, errors.New("the pause was not seen"))
			}
			read <- err
			return
		}
		_, err := io.Copy(p.Writer(w), bytes.NewReader(make([]byte, 16<<20)))
		wrote <- err
	})
	body, more := io.Pipe()
	defer more.Close()
	go func() {
		if resp, err := client.Post(s.URL, "text/plain", body); err == nil {
			resp.Body.Close()
		}
	}()
	if err := <-read; !errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(err.Error(), "not seen") {
		t.Errorf("a body that stops: %v", err)
	}
	resp, err := client.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := <-wrote; err == nil {
		t.Error("an answer that nobody reads is written")
	}
}

// TestPatienceIsCut: a session may end while its client neither reads nor writes.
func TestPatienceIsCut(t *testing.T) {
	read, begun := make(chan error, 1), make(chan *Patience, 1)
	s, client := secondServer(t, func(w http.ResponseWriter, r *http.Request) {
		p := NewPatience(w, time.Hour)
		defer p.End()
		begun <- p
		_, err := io.Copy(io.Discard, p.Body(r.Body))
		read <- err
	})
	body, more := io.Pipe()
	defer more.Close()
	go func() {
		if resp, err := client.Post(s.URL, "text/plain", body); err == nil {
			resp.Body.Close()
		}
	}()
	(<-begun).Cut()
	if err := <-read; err == nil {
		t.Error("it was not cut")
	}
}

// TestACutLeavesRoomToSayWhy: a session may end before an answer has begun, and whoever
// waits for one is told then; of one that has begun nothing more comes.
func TestACutLeavesRoomToSayWhy(t *testing.T) {
	serve := map[string]func(t *testing.T, h http.HandlerFunc) (string, *http.Client){
		"HTTP/2": func(t *testing.T, h http.HandlerFunc) (string, *http.Client) {
			s, client := secondServer(t, h)
			return s.URL, client
		},
		"HTTP/1.1":            func(t *testing.T, h http.HandlerFunc) (string, *http.Client) { return firstServer(t, h, 0) },
		"HTTP/1.1 in a hurry": func(t *testing.T, h http.HandlerFunc) (string, *http.Client) { return firstServer(t, h, time.Minute) },
	}
	for name, begin := range serve {
		for _, begun := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s begun %t", name, begun), func(t *testing.T) {
				url, client := begin(t, func(w http.ResponseWriter, r *http.Request) {
					p := NewPatience(w, time.Minute)
					defer p.End()
					out := p.Writer(w)
					if begun {
						if _, err := io.WriteString(out, "secret"); err != nil {
							t.Error(err)
						}
					}
					p.Cut()
					if _, err := out.Write(make([]byte, 64<<10)); err == nil && http.NewResponseController(out).Flush() == nil {
						t.Error("an answer goes on after its request was cut")
					}
					if !begun {
						w.WriteHeader(http.StatusUnauthorized)
						_, _ = io.WriteString(w, "signed out")
					}
				})
				resp, err := client.Get(url)
				var text []byte
				if err == nil {
					text, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				switch {
				case begun && err == nil:
					t.Errorf("it came to its end: %s %d bytes", resp.Status, len(text))
				case !begun && (err != nil || resp.StatusCode != http.StatusUnauthorized || string(text) != "signed out"):
					t.Errorf("%v: %q", err, text)
				}
			})
		}
	}
}

// TestSilenceOfHTTP2: an application may say nothing for as long as it likes, and take
// its time over what the client has sent.
func TestSilenceOfHTTP2(t *testing.T) {
	const pause = time.Minute
	synctest.Test(t, func(t *testing.T) {
		server := &http.Server{Protocols: &http.Protocols{}}
		server.Protocols.SetUnencryptedHTTP2(true)
		server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p := NewPatience(w, pause)
			defer p.End()
			out, in := p.Writer(w), p.Body(r.Body)
			for piece := make([]byte, 5); ; time.Sleep(3 * pause) {
				if _, err := io.ReadFull(in, piece); errors.Is(err, io.EOF) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
				if _, err := out.Write(piece); err != nil {
					t.Error(err)
				}
				if err := http.NewResponseController(out).Flush(); err != nil {
					t.Error(err)
				}
			}
		})
		var network memnet.Network
		ln, err := network.Listen(t.Context(), "tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		go server.Serve(ln) //nolint:errcheck // it ends with the test
		defer server.Close()
		client := &http.Transport{Protocols: server.Protocols, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			return network.DialContext(ctx, "tcp", addr)
		}}
		defer client.CloseIdleConnections()
		resp, err := (&http.Client{Transport: client}).Post("http://127.0.0.1:80/", "text/plain", strings.NewReader("eventeventevent"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if said, err := io.ReadAll(resp.Body); err != nil || string(said) != "eventeventevent" {
			t.Errorf("%q %v", said, err)
		}
	})
}

// deadlined is an answer that tells of its deadlines.
type deadlined struct {
	http.ResponseWriter
	set chan time.Time
}

func (d *deadlined) SetReadDeadline(t time.Time) error { d.set <- t; return nil }

// TestWhoseSilenceItWas is known before anybody hears that the body has ended: a server
// that ends a request with its body has the handler ask at once.
func TestWhoseSilenceItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &deadlined{httptest.NewRecorder(), make(chan time.Time, 1)}
		p := NewPatience(w, time.Minute)
		body, client := io.Pipe()
		defer p.End()
		defer client.Close()
		go func() { _, _ = p.Body(body).Read(make([]byte, 1)) }() // ends with the client
		if first := <-w.set; !first.IsZero() {
			t.Error(first)
		}
		<-w.set
		synctest.Wait()
		if err := p.Err(); !errors.Is(err, ErrPaused) {
			t.Errorf("once its time is over: %v", err)
		}
	})
}

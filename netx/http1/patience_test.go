package http1

import (
	"bytes"
	"context"
	"errors"
	"io"
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

package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// lingering is a connection whose reads notice only when they may that it is closed.
type lingering struct {
	net.Conn
	reads   atomic.Int32
	second  chan struct{} // the second read waits
	ended   chan struct{} // a read has failed
	release chan struct{}
}

func (l *lingering) Read(p []byte) (int, error) {
	if l.reads.Add(1) == 2 {
		close(l.second)
	}
	n, err := l.Conn.Read(p)
	if err != nil {
		close(l.ended)
		<-l.release
	}
	return n, err
}

// TestNobodyReadsWhatIsLentOn: the memory of a connection serves another one when it
// is over; whoever still read a body for an answer that broke off would put what
// comes into a stranger's request.
func TestNobodyReadsWhatIsLentOn(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	conn := &lingering{Conn: far, second: make(chan struct{}), ended: make(chan struct{}), release: make(chan struct{})}
	var reads sync.WaitGroup
	s := &Server{HeadTimeout: time.Minute, BodyTimeout: time.Hour, IdleTimeout: time.Minute, MaxHead: 1 << 10, Log: slog.New(slog.DiscardHandler),
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			reads.Go(func() { _, _ = io.Copy(io.Discard, r.Body) })
			<-conn.second
			panic(http.ErrAbortHandler)
		})}
	go fmt.Fprint(near, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.ServeConn(t.Context(), conn)
	}()
	<-conn.ended
	select {
	case <-over:
		t.Error("the connection is over, and somebody reads from it")
	case <-time.After(20 * time.Millisecond): // it waits
	}
	close(conn.release)
	<-over
	reads.Wait()
}

// TestAProtocolIsNotChangedWithinABody: the body's reader and that of the new protocol
// would read from one connection.
func TestAProtocolIsNotChangedWithinABody(t *testing.T) {
	got := make(chan error, 1)
	conn := pipe(t, func(w http.ResponseWriter, r *http.Request) {
		_, _, err := http.NewResponseController(w).Hijack()
		got <- err
	})
	go fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\nContent-Length: 10\r\n\r\nabc")
	if err := <-got; err == nil {
		t.Error("the connection was taken")
	}
}

// TestAnAppThatChangesTheProtocolWithinABody gets no connection for it.
func TestAnAppThatChangesTheProtocolWithinABody(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(conn, conn)
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\nContent-Length: 1000\r\n\r\nabc")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadGateway {
		t.Error(resp.Status)
	}
}

// TestADeadlineWhileAConnectionIsTaken: the end of a session may come at any moment.
func TestADeadlineWhileAConnectionIsTaken(t *testing.T) {
	var sets sync.WaitGroup
	taken := make(chan struct{})
	conn := pipe(t, func(w http.ResponseWriter, _ *http.Request) {
		control := http.NewResponseController(w)
		sets.Go(func() { _, _ = control.SetReadDeadline(time.Unix(1, 0)), control.SetWriteDeadline(time.Unix(1, 0)) })
		c, _, err := control.Hijack()
		if err != nil {
			t.Error(err)
		} else {
			c.Close()
		}
		close(taken)
	})
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-taken
	sets.Wait()
}

// TestADeadlineOfAnAnswerThatIsOver is none of the next one's.
func TestADeadlineOfAnAnswerThatIsOver(t *testing.T) {
	var first *http.ResponseController
	conn := pipe(t, func(w http.ResponseWriter, _ *http.Request) {
		if first == nil {
			first = http.NewResponseController(w)
			return
		}
		_, _ = first.SetReadDeadline(time.Unix(1, 0)), first.SetWriteDeadline(time.Unix(1, 0))
	})
	br := bufio.NewReader(conn)
	for range 2 {
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
}

// TestEmptyLinesBuyNoTime: they may come before a request, and do not count as one.
func TestEmptyLinesBuyNoTime(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, say := range map[string]string{"first": "\r\n\r\n", "behind another": request + "\r\n\r\n", "with a beginning": "\r\n\r\nGET / HTTP/1.1\r\n"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := pipe(t, func(http.ResponseWriter, *http.Request) {})
				began := time.Now()
				go fmt.Fprint(conn, say)
				_, _ = io.Copy(io.Discard, conn)
				if took := time.Since(began); took > 11*time.Second {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// TestWhoDoesNotReadAnswers is waited for in vain, and not for ever.
func TestWhoDoesNotReadAnswers(t *testing.T) {
	for name, say := range map[string]string{
		"a page":    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"a refusal": "GET / HTTP/9\r\n\r\n",
		"100":       "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer near.Close()
				s := &Server{HeadTimeout: time.Second, BodyTimeout: time.Minute, IdleTimeout: time.Hour, WriteTimeout: time.Minute, MaxHead: 1 << 10,
					Log:     slog.New(slog.DiscardHandler),
					Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })}
				go fmt.Fprint(near, say)
				began := time.Now()
				s.ServeConn(context.Background(), far)
				if took := time.Since(began); took > 3*time.Minute {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// TestWhatFollowsABodyHasWholeLines: one that ends in LF alone could end what follows a
// request elsewhere for whoever stands before this server.
func TestWhatFollowsABodyHasWholeLines(t *testing.T) {
	for tail, whole := range map[string]bool{
		"0\r\n\r\n": true, "0\r\nX-A: 1\r\n\r\n": true,
		"0\r\n\n": false, "0\r\nX-A: 1\n\r\n": false, "0\r\nX-A: 1\r\n\n": false, "0\n\r\n": false, "0\n\n": false,
	} {
		conn := pipe(t, func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
			}
		})
		go fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n"+tail)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.StatusCode == http.StatusOK; got != whole {
			t.Errorf("%q: %s", tail, resp.Status)
		}
	}
}

// records keeps what comes, to see which records of TLS it was.
type records struct {
	net.Conn
	came []byte
}

func (r *records) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.came = append(r.came, p[:n]...)
	return n, err
}

// last is the type of the last whole record.
func (r *records) last() (kind byte) {
	for b := r.came; len(b) >= 5; b = b[min(len(b), 5+int(b[3])<<8+int(b[4])):] {
		kind = b[0]
	}
	return kind
}

// TestAnAnswerThatBreaksOffLooksSo: where the end of the connection is that of the answer,
// as for clients of HTTP/1.0, TLS does not say goodbye behind half of one.
func TestAnAnswerThatBreaksOffLooksSo(t *testing.T) {
	const alert = 21
	lent := httptest.NewTLSServer(nil)
	defer lent.Close()
	for path, whole := range map[string]bool{"/whole": true, "/half": false} {
		near, far := net.Pipe()
		s := &Server{HeadTimeout: time.Minute, BodyTimeout: time.Minute, IdleTimeout: time.Minute, MaxHead: 1 << 10, Log: slog.New(slog.DiscardHandler),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "so far")
				_ = http.NewResponseController(w).Flush()
				if r.URL.Path == "/half" {
					panic(http.ErrAbortHandler)
				}
			})}
		var serving sync.WaitGroup
		serving.Go(func() { s.ServeConn(t.Context(), tls.Server(far, &tls.Config{Certificates: lent.TLS.Certificates})) })
		under := &records{Conn: near}
		client := tls.Client(under, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}) // which shows the type of alerts
		fmt.Fprint(client, "GET "+path+" HTTP/1.0\r\nHost: a\r\n\r\n")
		said, _ := io.ReadAll(client) // crypto/tls takes any end of a connection for a good one
		if got := under.last() == alert; got != whole || !strings.HasSuffix(string(said), "so far") {
			t.Errorf("%s: %q, and a goodbye: %v", path, said, got)
		}
		near.Close()
		serving.Wait()
	}
}

package netx_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/netx"
)

// TestUnread: what a server refuses by itself is told, also as a later request of a
// connection; what a handler answers is not, whatever it says.
func TestUnread(t *testing.T) {
	certs := httptest.NewTLSServer(nil)
	defer certs.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certs.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []string
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			t.Error("the handler does not know of the TLS")
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusBadRequest)
	})}
	u := &netx.Unread{Told: func(c *tls.Conn, answer string) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, answer)
	}}
	done := make(chan error, 1)
	go func() { done <- u.Serve(s, handshaken{ln}) }()
	defer func() {
		s.Close()
		<-done
	}()
	const good = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"
	for name, c := range map[string]struct{ ask, want string }{
		"requests":                 {good + good, ""},
		"two hosts":                {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400 Bad Request"},
		"two lengths":              {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", "400 Bad Request"},
		"a coding that is unknown": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "501 Not Implemented"},
		"after a good one":         {good + "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", "400 Bad Request: invalid header name"},
		"a header too long":        {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 2<<20) + "\r\n\r\n", "431 Request Header Fields Too Large"},
		"half a request":           {"GET / HTT", "400 Bad Request"},
	} {
		mu.Lock()
		told = nil
		mu.Unlock()
		conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = io.WriteString(conn, c.ask) // it may be cut short
			_ = conn.CloseWrite()
		}()
		_, _ = io.Copy(io.Discard, bufio.NewReader(conn))
		conn.Close()
		mu.Lock()
		if got := strings.Join(told, "|"); got != c.want {
			t.Errorf("%s: told %q, want %q", name, got, c.want)
		}
		mu.Unlock()
	}
}

// handshaken gives out connections as package tlsroute does.
type handshaken struct{ net.Listener }

func (h handshaken) Accept() (net.Conn, error) {
	c, err := h.Listener.Accept()
	if err == nil {
		err = c.(*tls.Conn).Handshake()
	}
	return c, err
}

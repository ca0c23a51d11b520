package appproxy_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"teleport/netx/http1"
	"teleport/netx/memnet"
)

// BenchmarkRequest is a small request of a browser with a session, from the bytes of
// its connection to those of a stream to the agent, and the way back.
func BenchmarkRequest(b *testing.B) {
	w := newWorld(b)
	w.speak = func(c net.Conn) {
		for buf := make([]byte, 4096); ; {
			if n, err := c.Read(buf); err != nil || !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
				return
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 10:00:00 GMT\r\nServer: app\r\nContent-Type: text/plain\r\nX-Request-Id: 1\r\nContent-Length: 5\r\n\r\nhello"); err != nil {
				return
			}
		}
	}
	id, secret, _ := strings.Cut(w.start("wiki", "alice", "", nil), ".")
	request := []byte("GET /small HTTP/1.1\r\nHost: wiki.proxy.test:3080\r\nUser-Agent: bench\r\nAccept: */*\r\nCookie: __Host-grv_app_session=" + id +
		"; __Host-grv_app_session_subject=" + secret + "\r\n\r\n")
	front := &http1.Server{Handler: w.srv, HeadTimeout: time.Minute, BodyTimeout: time.Minute, IdleTimeout: time.Minute, MaxHead: 32 << 10, Log: slog.New(slog.DiscardHandler)}
	near, far := memnet.PipeAddr(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2})
	w.work.Go(func() { front.ServeConn(b.Context(), far) })
	defer near.Close()
	ask := func() {
		if _, err := near.Write(request); err != nil {
			b.Fatal(err)
		}
		for buf := make([]byte, 4096); ; {
			n, err := near.Read(buf)
			if err != nil || !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200")) {
				b.Fatalf("%v %s", err, buf[:n])
			}
			if bytes.HasSuffix(buf[:n], []byte("hello")) {
				return
			}
		}
	}
	ask()
	b.ReportAllocs()
	for b.Loop() {
		ask()
	}
}

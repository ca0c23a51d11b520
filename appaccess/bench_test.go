package appaccess_test

import (
	"bytes"
	"io"
	"net"
	"testing"

	"teleport/appaccess/apptest"
	"teleport/types"
)

// BenchmarkRequest is a small request of a browser's proxy, from the bytes of its TLS
// to those of a connection to the app, and the way back. The log is in memory.
func BenchmarkRequest(b *testing.B) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() { // ends with the listener
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for buf := make([]byte, 4096); ; {
					if n, err := c.Read(buf); err != nil || !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
						return
					}
					if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 10:00:00 GMT\r\nServer: app\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"); err != nil {
						return
					}
				}
			}()
		}
	}()
	w := apptest.New(b, types.AppSpec{URI: "http://" + ln.Addr().String()}, nil)
	conn, err := w.Dial(b.Context(), apptest.Bridge("alice", types.AppRoute{}), "http/1.1")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request := []byte("GET /small HTTP/1.1\r\nHost: wiki.proxy.test:3080\r\nUser-Agent: bench\r\nAccept: */*\r\nX-Forwarded-For: 127.0.0.1\r\n" +
		"X-Forwarded-Host: wiki.proxy.test:3080\r\nX-Forwarded-Proto: https\r\nX-Request-Id: 6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0009\r\n\r\n")
	ask := func() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		for buf := make([]byte, 4096); ; {
			n, err := conn.Read(buf)
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

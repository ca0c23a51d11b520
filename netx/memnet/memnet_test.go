package memnet

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestDialAndListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		if _, err := n.DialContext(t.Context(), "tcp", "web:80"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		ln, err := n.Listen(t.Context(), "tcp", "web:80")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Listen(t.Context(), "tcp", "web:80"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listen twice: %v", err)
		}
		a, err := n.From("laptop").DialContext(t.Context(), "tcp", "web:80")
		if err != nil {
			t.Fatal(err)
		}
		b, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := b.RemoteAddr().(*net.TCPAddr); !ok || got.AddrPort().Addr() != n.Addr("laptop") {
			t.Errorf("the client's address is %v", b.RemoteAddr())
		}
		go ln.Close()
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after close: %v", err)
		}
		a.Close()
		b.Close()
	})
}

func TestPipeDeadlinesAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		a.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		a.SetReadDeadline(time.Time{})
		a.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := a.Write(make([]byte, 2*window)); n != window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %d, %v", n, err)
		}
		a.SetWriteDeadline(time.Time{})
		go a.(*conn).CloseWrite()
		if got, err := io.ReadAll(b); len(got) != window || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		b.Close()
		if _, err := a.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read after the peer's close: %v", err)
		}
		if _, err := a.Write([]byte("x")); err == nil {
			t.Error("write after the peer's close")
		}
		a.Close()
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after our close: %v", err)
		}
	})
}

func TestDialGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		ln, err := n.Listen(t.Context(), "tcp", "busy:1")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for err == nil {
			_, err = n.DialContext(ctx, "tcp", "busy:1")
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

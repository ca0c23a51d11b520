package netx_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"teleport/netx"
)

// starved is a listener in a process without descriptors until a time.
type starved struct {
	until time.Time
	conns chan net.Conn
	gone  chan struct{}
	calls int
}

func (s *starved) Accept() (net.Conn, error) {
	s.calls++
	if time.Now().Before(s.until) {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.gone:
		return nil, net.ErrClosed
	}
}

func (s *starved) Close() error {
	select {
	case <-s.gone:
	default:
		close(s.gone)
	}
	return nil
}

func (s *starved) Addr() net.Addr { return &net.TCPAddr{} }

func TestAcceptOutlivesALackOfDescriptors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &starved{until: time.Now().Add(time.Hour), conns: make(chan net.Conn), gone: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		got, done := make(chan net.Conn, 1), make(chan error)
		go func() {
			done <- netx.Accept(ctx, ln, slog.New(slog.DiscardHandler), func(c net.Conn) { got <- c })
		}()
		ours, theirs := net.Pipe()
		defer theirs.Close()
		ln.conns <- ours
		if c := <-got; c != ours {
			t.Error("another connection came")
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the end of ctx: %v", err)
		}
		if ln.calls > 3*3600 {
			t.Errorf("it spun: %d calls in an hour", ln.calls)
		}
		select {
		case <-ln.gone:
		default:
			t.Error("the listener is open after the end of ctx")
		}
	})
}

func TestAcceptEndsWithinAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := &starved{until: time.Now().Add(time.Hour), gone: make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := netx.Accept(ctx, ln, slog.New(slog.DiscardHandler), nil); err != nil || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestAcceptTellsThatTheListenerWasClosed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := netx.Accept(t.Context(), ln, slog.New(slog.DiscardHandler), nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}

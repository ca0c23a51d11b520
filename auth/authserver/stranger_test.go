package authserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"teleport/backend/memkv"
	"teleport/fault"
	"teleport/netx"
)

// from is one end of a connection of a client at ip.
func from(t *testing.T, ip string) (*client, net.Conn) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return &client{Conn: netx.WithRemoteAddr(ours, &net.TCPAddr{IP: net.ParseIP(ip), Port: 1})}, theirs
}

func TestStrangerHoldsItsShareUntilItCloses(t *testing.T) {
	l := &Listener{strangers: share{most: 3, each: 1}}
	first, _ := from(t, "192.0.2.1")
	second, _ := from(t, "192.0.2.1")
	other, _ := from(t, "192.0.2.2")
	if l.welcome(first) != nil || l.welcome(other) != nil {
		t.Fatal("a first connection is refused")
	}
	if err := l.welcome(second); !errors.Is(err, fault.Limit) {
		t.Errorf("beyond the share: %v", err)
	}
	first.Close()
	first.Close() // gives nothing twice
	if err := l.welcome(second); err != nil {
		t.Errorf("after the first has gone: %v", err)
	}
	second.Close()
	other.Close()
	if l.strangers.all != 0 {
		t.Errorf("%d shares are lost", l.strangers.all)
	}
	if late, _ := from(t, "192.0.2.3"); late.Close() != nil || l.welcome(late) == nil || l.strangers.all != 0 {
		t.Error("a connection that is closed already has a share")
	}
}

func TestIdleStrangerIsSentOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Listener{strangers: share{most: 1, each: 1}}
		c, peer := from(t, "192.0.2.1")
		gone := make(chan time.Time, 1)
		go func() {
			_, _ = peer.Read(make([]byte, 1))
			gone <- time.Now()
		}()
		if err := l.welcome(c); err != nil {
			t.Fatal(err)
		}
		seen := tls.Server(c, &tls.Config{})
		state(seen, http.StateActive)
		<-time.After(time.Hour) // a call takes its time
		state(seen, http.StateIdle)
		since := time.Now()
		<-time.After(strangerIdle - time.Second)
		state(seen, http.StateActive)
		state(seen, http.StateIdle)
		if at := (<-gone).Sub(since); at != 2*strangerIdle-time.Second {
			t.Errorf("sent off after %v", at)
		}
		if l.strangers.all != 0 {
			t.Error("its share is lost")
		}
		known, _ := from(t, "192.0.2.1")
		state(tls.Server(known, &tls.Config{}), http.StateIdle) // shows a certificate: has no share and no limit
	})
}

type noAPI struct{ http.Handler }

func (noAPI) Drain() {}

// Over real connections: strangers beyond the share are closed, and a place that
// was left is free again.
func TestStrangersAreLimitedAfterTheirHandshake(t *testing.T) {
	s, err := start(t, config(t, memkv.New(memkv.Options{})))
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(s.Source(), noAPI{http.NotFoundHandler()}, slog.New(slog.DiscardHandler))
	l.strangers = share{most: 3, each: 2}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Serve(ctx, ln) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	// greeted tells whether the server's HTTP/2 begins on a new connection.
	greeted := func() (*tls.Conn, bool) {
		conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{ALPNAPI}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		_, err = conn.Read(make([]byte, 1))
		return conn, err == nil
	}
	first, ok := greeted()
	if _, again := greeted(); !ok || !again {
		t.Fatal("within the share, a stranger is refused")
	}
	if _, ok := greeted(); ok {
		t.Fatal("beyond the share, a stranger is served")
	}
	first.Close()
	for range 50 { // the server sees the close in its own time
		if _, ok = greeted(); ok {
			return
		}
	}
	t.Error("the place of one that left is not free")
}

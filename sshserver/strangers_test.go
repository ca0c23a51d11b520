package sshserver_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/netx/memnet"
	"teleport/sshserver"
)

// knock refuses one stranger over an in-memory connection.
func knock(t *testing.T, s *server, user string, from netip.AddrPort) {
	t.Helper()
	srv, err := sshserver.New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	near, far := memnet.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(context.Background(), far, from)
	}()
	_, _, _, err = ssh.NewClientConn(near, "", &ssh.ClientConfig{Config: sshserver.Algorithms(), User: user,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer(t))}, HostKeyCallback: ssh.InsecureIgnoreHostKey()})
	near.Close()
	<-done
	if err == nil {
		t.Fatal("a stranger came in")
	}
}

func TestStrangersWriteLittle(t *testing.T) {
	s := newServer(t, signer(t))
	knock(t, s, strings.Repeat("x", 20_000)+"\x1b[2J", netip.MustParseAddrPort("192.0.2.1:5"))
	knock(t, s, "a\nb\x1b", netip.MustParseAddrPort("192.0.2.1:5"))
	if len(s.fails) != 2 || s.fails[0].User != strings.Repeat("x", 64) || s.fails[1].User != "a?b?" {
		t.Errorf("%+v", s.fails)
	}
	for _, f := range s.fails {
		if len(f.Err.Error()) > 256 {
			t.Errorf("an error of %d bytes", len(f.Err.Error()))
		}
	}
}

func TestStrangersAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sums []sshserver.Failure
		m := sshserver.NewStrangers(func(_ context.Context, f sshserver.Failure) { sums = append(sums, f) })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Serve(ctx) }()
		s := newServer(t, signer(t))
		s.cfg.Strangers = m
		for i := range 40 { // one network
			knock(t, s, "root", netip.MustParseAddrPort(fmt.Sprintf("[2001:db8::%d]:5", i+1)))
		}
		knock(t, s, "root", netip.MustParseAddrPort("192.0.2.7:5"))
		if len(s.fails) != 11 {
			t.Errorf("%d events of 41 refusals", len(s.fails))
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(sums) != 1 || sums[0].Count != 30 || sums[0].ClientAddr.String() != "[2001:db8::40]:5" {
			t.Errorf("sums %+v", sums)
		}
		for range 20 {
			knock(t, s, "root", netip.MustParseAddrPort("[2001:db8::9]:5"))
		}
		cancel()
		<-ended
		if len(sums) != 2 || sums[1].Count != 10 || len(s.fails) != 21 {
			t.Errorf("sums %+v, %d events", sums, len(s.fails))
		}
	})
}

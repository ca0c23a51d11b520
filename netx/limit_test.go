package netx_test

import (
	"io"
	"testing"

	"teleport/netx"
	"teleport/netx/memnet"
)

func TestAClientHoldsOnlySoManyConnections(t *testing.T) {
	var n memnet.Network
	raw, err := n.Listen(t.Context(), "tcp", "proxy:1")
	if err != nil {
		t.Fatal(err)
	}
	ln := netx.LimitPerClient(raw, 2, nil)
	defer ln.Close()
	accepted := make(chan io.Closer)
	go func() {
		defer close(accepted)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func(host string) io.ReadCloser {
		c, err := n.From(host).DialContext(t.Context(), "tcp", "proxy:1")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	defer dial("greedy").Close()
	first := <-accepted
	defer dial("greedy").Close()
	<-accepted
	refused := dial("greedy")
	if _, err := refused.Read(make([]byte, 1)); err == nil {
		t.Fatal("a third connection of one client is served")
	}
	defer dial("another").Close()
	<-accepted // others are not hurt
	first.Close()
	first.Close() // twice counts once
	defer dial("greedy").Close()
	<-accepted
	if _, err := dial("greedy").Read(make([]byte, 1)); err == nil {
		t.Error("closing twice freed two places")
	}
}

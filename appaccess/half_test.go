package appaccess_test

import (
	"io"
	"net"
	"testing"

	"teleport/appaccess/apptest"
	"teleport/netx"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// TestHalfOfATCPApp: an app that has said everything may go on to listen, whatever
// carries its connection.
func TestHalfOfATCPApp(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	heard := make(chan string, 2)
	go func() { // ends with the listener
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer c.Close()
				_, _ = io.WriteString(c, "go on")
				_ = c.(*net.TCPConn).CloseWrite()
				b, _ := io.ReadAll(c)
				heard <- string(b)
			}()
		}
	}()
	w := apptest.New(t, types.AppSpec{URI: "tcp://" + ln.Addr().String()}, nil)
	alice := apptest.User("alice", types.AppRoute{})
	alone, err := w.Dial(t.Context(), alice, tunframe.ALPNTCP)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := streams(t, w, alice)
	shared, err := o.Open()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]net.Conn{"a connection of its own": alone, "a stream": shared} {
		if said, err := io.ReadAll(c); err != nil || string(said) != "go on" {
			t.Fatalf("%s: %q %v", name, said, err)
		}
		_, werr := io.WriteString(c, "and then")
		cerr := c.(netx.CloseWriter).CloseWrite()
		if got := <-heard; got != "and then" {
			t.Errorf("%s: the app hears %q (%v, %v)", name, got, werr, cerr)
		}
		c.Close()
	}
}

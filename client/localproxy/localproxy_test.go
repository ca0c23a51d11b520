package localproxy_test

import (
	"context"
	"io"
	"net"
	"testing"

	"teleport/client/localproxy"
	"teleport/fault"
)

// withdrawn is a connection that says hello and may then not go on.
type withdrawn struct {
	net.Conn
	said bool
}

func (w *withdrawn) Read(p []byte) (int, error) {
	if w.said {
		return 0, fault.New(fault.Denied, "laptop stolen")
	}
	w.said = true
	return copy(p, "hello"), nil
}

// A connection that ends by itself is nobody's concern, and of one that was cut the
// person hears why.
func TestWhyAConnectionWasCut(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	plain, end := net.Pipe()
	end.Close()
	ways, told := make(chan net.Conn, 2), make(chan string, 2)
	ways <- plain
	ways <- &withdrawn{Conn: near}
	p := localproxy.New(localproxy.Options{Cut: func(why error) { told <- fault.Message(why) },
		Dial: func(context.Context) (net.Conn, error) { return <-ways, nil }})
	ctx, stop := context.WithCancel(t.Context())
	ln, err := localproxy.Listen(ctx, "0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, ln) }()
	for range 2 {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Log(err) // it may end with a reset
		}
		c.Close()
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if len(told) != 1 || <-told != "laptop stolen" {
		t.Error("what is told is not the cut alone")
	}
}

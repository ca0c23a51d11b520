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

// A client that begins with HTTP/2 takes its own way, and every byte of either kind
// arrives; a connection on which nothing is said is dialled for by nobody.
func TestHTTP2TakesItsOwnWay(t *testing.T) {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	arrived := make(chan string, 1)
	way := func(name string) localproxy.Dialer {
		return func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				b, err := io.ReadAll(far)
				if err != nil {
					t.Error(err)
				}
				arrived <- name + " " + string(b)
				far.Close()
			}()
			return near, nil
		}
	}
	p := localproxy.New(localproxy.Options{Dial: way("1"), HTTP2: way("2")})
	ctx, stop := context.WithCancel(t.Context())
	ln, err := localproxy.Listen(ctx, "0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, ln) }()
	dial := func() net.Conn {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for said, want := range map[string]string{"GET / HTTP/1.1\r\n\r\n": "1", "POST / HTTP/1.1\r\n\r\n": "1", "PRI * HTTP/1.1\r\n\r\nand more of it": "1", "PR": "1",
		preface + "and frames": "2", preface: "2"} {
		c := dial()
		for i := range len(said) { // in pieces
			if _, err := c.Write([]byte(said[i : i+1])); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		if got := <-arrived; got != want+" "+said {
			t.Errorf("%q: %q", said, got)
		}
	}
	silent, gone := dial(), dial()
	gone.Close()
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	silent.Close()
	if len(arrived) != 0 {
		t.Errorf("%q was dialled for", <-arrived)
	}
}

package netx_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"teleport/netx"
	"teleport/netx/memnet"
	"teleport/netx/mux"
)

// TestLastWordsOfASplice: who says why before hanging up is heard, also by somebody who
// is still speaking, whose words then fail.
func TestLastWordsOfASplice(t *testing.T) {
	for name, pair := range map[string]func(t *testing.T) (near, far net.Conn){
		"memory": func(*testing.T) (net.Conn, net.Conn) { return memnet.Pipe() },
		"tcp":    func(t *testing.T) (net.Conn, net.Conn) { return tcpPair(t) },
		"stream": streamPair,
	} {
		t.Run(name, func(t *testing.T) {
			for range 50 {
				lastWords(t, pair)
			}
		})
	}
}

func streamPair(t *testing.T) (near, far net.Conn) {
	a, b := memnet.Pipe()
	o, acceptor := mux.NewOpener(a, nil), mux.NewAcceptor(b)
	came, over := make(chan net.Conn), make(chan struct{})
	var serving sync.WaitGroup
	serving.Go(func() {
		_ = acceptor.Serve(func(s *mux.Stream) {
			came <- s
			<-over
		})
	})
	t.Cleanup(func() {
		close(over)
		o.Close()
		serving.Wait()
	})
	near, err := o.Open()
	if err != nil {
		t.Fatal(err)
	}
	return near, <-came
}

func lastWords(t *testing.T, pair func(t *testing.T) (near, far net.Conn)) {
	client, a := memnet.Pipe()
	b, server := pair(t)
	done := make(chan error, 1)
	go func() { done <- netx.Splice(t.Context(), a, b, netx.SpliceOptions{}) }()
	var speaking sync.WaitGroup
	speaking.Go(func() {
		for err := error(nil); err == nil; {
			_, err = io.WriteString(client, "and so on")
		}
	})
	if _, err := io.ReadFull(server, make([]byte, 99)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(server, "no more"); err != nil {
		t.Fatal(err)
	}
	server.Close()
	if got, err := io.ReadAll(client); err != nil && !errors.Is(err, net.ErrClosed) || string(got) != "no more" {
		t.Errorf("heard %q, %v", got, err)
	}
	<-done
	client.Close()
	speaking.Wait()
}

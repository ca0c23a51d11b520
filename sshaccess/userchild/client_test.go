package userchild

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// helper answers every request with a descriptor, and calls between before it does.
func helper(t *testing.T, conn *net.UnixConn, between func()) {
	buf := make([]byte, packetMost)
	for {
		n, err := conn.Read(buf)
		if err != nil || n == 0 {
			return
		}
		var r request
		if err := json.Unmarshal(buf[:n], &r); err != nil {
			t.Error(err)
			return
		}
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Error(err)
			return
		}
		b, _ := json.Marshal(reply{ID: r.ID})
		between()
		_, _, err = conn.WriteMsgUnix(b, unix.UnixRights(int(f.Fd())), nil)
		f.Close()
		if err != nil {
			return
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// An answer that comes in the moment its asker gives up must not leave its
// descriptor behind.
func TestGivingUpLeavesNoDescriptor(t *testing.T) {
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	fc, err := net.FileConn(theirs)
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(ours)
	served := make(chan error, 1)
	go func() { served <- c.Serve() }()
	asked := make(chan context.CancelFunc, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		helper(t, fc.(*net.UnixConn), func() { (<-asked)() })
	}()
	before := descriptors(t)
	for range 500 {
		ctx, cancel := context.WithCancel(t.Context())
		asked <- cancel
		if a, err := c.ask(ctx, "dial", ""); err == nil {
			a.file.Close()
		} else if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		cancel()
	}
	c.Close()
	<-served
	fc.Close()
	<-done
	if after := descriptors(t); after > before-1 {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// The order that scheduling seldom shows: the answer is there already.
func TestForgetTakesTheAnswer(t *testing.T) {
	c := NewClient(nil)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ch := make(chan answer, 1)
	c.waiting[7] = ch
	c.deliver(reply{ID: 7}, w)
	c.forget(7, ch)
	if err := w.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the descriptor was left open: %v", err)
	}
}

package sshproxy_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"teleport/sshclient"
	"teleport/types"
	"teleport/types/event"
)

// muchOutput fits the window of a channel, and not what lies below it; of someOutput no
// word comes back, which would meet a closed connection and take what is under way along.
const (
	muchOutput = 1 << 20
	someOutput = 90 << 10
)

// What a server said before it left arrives, and how its command ended.
func TestTheLastWordsOfAServerThatLeaves(t *testing.T) {
	w := newStockWorld(t)
	out, err := w.run(w.client(), "leave")
	var exit *sshclient.ExitError
	if len(out) != someOutput || !asExit(err, &exit) || exit.Code != 7 {
		t.Errorf("%d bytes and %v arrive", len(out), err)
	}
	w.wait(1, event.TypeSessionEnd)
}

// Whoever may have one session at a time may have the next when the one before has ended.
func TestOneSessionAfterAnother(t *testing.T) {
	w := newStockWorld(t)
	w.rules.role.Spec.Options.MaxSessions = 1
	c := w.client()
	for i := range 20 {
		if out, err := w.run(c, "print"); out != "print" || err != nil {
			t.Fatalf("session %d: %q, %v", i, out, err)
		}
	}
	w.wait(20, event.TypeSessionEnd)
}

// gated is a connection that is read while the gate is open.
type gated struct {
	net.Conn
	gate *sync.RWMutex
}

func (g gated) Read(p []byte) (int, error) {
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.Conn.Read(p[:min(len(p), 1<<10)])
}

// first is closed by the first byte.
type first struct {
	once sync.Once
	came chan struct{}
}

func (f *first) Write(p []byte) (int, error) {
	f.once.Do(func() { close(f.came) })
	return len(p), nil
}

// A lock on a session whose client reads nothing holds up no other lock.
func TestALockWaitsForNobodyWhoDoesNotRead(t *testing.T) {
	w := newStockWorld(t)
	var gate sync.RWMutex
	w.wrap = func(c net.Conn) net.Conn { return gated{c, &gate} }
	c := w.client()
	shown, ended := &first{came: make(chan struct{})}, make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(context.Background(), sshclient.Command{Line: "much", Stdout: shown, Stderr: io.Discard})
	}()
	sid := w.wait(1, event.TypeSessionStart)[0].(*event.SessionStart).SessionID
	<-shown.came
	gate.Lock()
	lock := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: "l"}}}
	lock.Spec.Target.Session = sid
	w.rules.mu.Lock()
	w.rules.locks = []*types.Lock{lock}
	w.rules.mu.Unlock()
	cut := make(chan struct{})
	go func() { defer close(cut); w.sessions.Recheck() }()
	select {
	case <-cut:
	case <-time.After(time.Minute):
		t.Error("it waits for the client")
	}
	gate.Unlock()
	<-ended
	w.wait(1, event.TypeSessionEnd)
}

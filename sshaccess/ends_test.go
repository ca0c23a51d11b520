package sshaccess_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"teleport/sshclient"
	"teleport/types"
	"teleport/types/event"
)

// starting holds each process back when all before it is done: a tick of begun for each
// that is about to start, which then waits for goOn.
func starting() (change func(*world), begun <-chan struct{}, goOn chan<- struct{}) {
	at, on := make(chan struct{}), make(chan struct{})
	return func(w *world) {
		w.cfg.ProxyAddr = func() string { // the environment is made last
			at <- struct{}{}
			<-on
			return ""
		}
	}, at, on
}

// A session that is locked in the moment in which its process starts ends all the same.
func TestALockAtTheStart(t *testing.T) {
	for name, terminal := range map[string]bool{"in a terminal": true, "without one": false} {
		t.Run(name, func(t *testing.T) {
			hold, begun, goOn := starting()
			w := newWorld(t, hold, guests("*"))
			owner := w.shell("alice", "trap '' HUP; sleep 3600", terminal)
			<-begun
			l := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{Session: w.sid(t)}, Message: "stop"}}
			w.policy.change(func() { w.policy.locks = []*types.Lock{l} })
			w.reg.Recheck()
			goOn <- struct{}{}
			owner.wait(t, `is in force: stop`)
			owner.ended(t)
			if end := w.log.wait(t, event.TypeSessionEnd, "").(*event.SessionEnd); end.Reason != "lock" {
				t.Errorf("it ended for %q", end.Reason)
			}
		})
	}
}

// Nor does what runs stay behind when its client has left in that moment.
func TestTheClientLeavesAtTheStart(t *testing.T) {
	hold, begun, goOn := starting()
	w := newWorld(t, hold)
	_, key := w.user("alice", "root")
	c := w.mustClient("root", key)
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.Run(ctx, sshclient.Command{Line: "trap '' HUP; sleep 3600", Stdout: io.Discard, Stderr: io.Discard})
	}()
	<-begun
	leave()
	if err := c.Keepalive(); err != nil { // the host has read that the channel is closed
		t.Fatal(err)
	}
	goOn <- struct{}{}
	w.log.wait(t, event.TypeSessionEnd, "")
	<-done
}

// Whoever may have one session at a time may have the next when the one before has ended.
func TestOneSessionAfterAnother(t *testing.T) {
	w := newWorld(t)
	w.policy.roles["dev"].Spec.Options.MaxSessions = 1
	_, key := w.user("alice", "root")
	c := w.mustClient("root", key)
	for i := range 20 {
		if err := c.Run(t.Context(), sshclient.Command{Line: "true"}); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
}

// A process that ends says so to everybody once, and to the log.
func TestADrainIsToldOnce(t *testing.T) {
	w := newWorld(t)
	owner := w.shell("alice", "echo he''re; cat", false)
	owner.wait(t, `here`)
	now, cancel := context.WithCancel(t.Context())
	cancel()
	if n := w.reg.Drain(now); n != 1 {
		t.Errorf("%d streams were cut", n)
	}
	owner.ended(t)
	if n := strings.Count(owner.text(), "the server is shutting down"); n != 1 {
		t.Errorf("the owner is told %d times: %q", n, owner.text())
	}
	if end := w.log.wait(t, event.TypeSessionEnd, "").(*event.SessionEnd); end.Reason != "shutdown" {
		t.Errorf("it ended for %q", end.Reason)
	}
}

package sshaccess_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"teleport/session"
	"teleport/types"
	"teleport/types/event"
)

// counter is an auth service that has room for some connections.
type counter struct {
	mu   sync.Mutex
	room int
	away bool
	held map[string]session.Held
	grew chan struct{}
}

func (c *counter) Hold(_ context.Context, list []session.Held) ([]string, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return nil, 0, errors.New("away")
	}
	refusals := make([]string, len(list))
	for i, h := range list {
		if _, held := c.held[h.ID]; !held && len(c.held) >= c.room {
			refusals[i] = "there is no room for you"
			continue
		}
		c.held[h.ID] = h
	}
	return refusals, time.Minute, nil
}

func (c *counter) Release(_ context.Context, list []session.Held) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range list {
		delete(c.held, h.ID)
	}
	close(c.grew)
	c.grew = make(chan struct{})
	return nil
}

// empty waits until nothing is held.
func (c *counter) empty(t *testing.T) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		c.mu.Lock()
		n, grew := len(c.held), c.grew
		c.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-grew:
		case <-deadline:
			t.Fatalf("%d are held", n)
		}
	}
}

// slotted is a world whose connections are counted.
func slotted(t *testing.T, room int, change ...func(*world)) (*world, *counter) {
	t.Helper()
	c := &counter{room: room, held: map[string]session.Held{}, grew: make(chan struct{})}
	return newWorld(t, append(change, func(w *world) {
		w.cfg.Slots = session.NewSlots(c, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(context.Background())
		var all sync.WaitGroup
		all.Go(func() { w.cfg.Slots.Serve(ctx) })
		t.Cleanup(func() { cancel(); all.Wait() })
	})...), c
}

// TestConnectionsOfAUserWithALimit: a connection begins with its slot or not at all.
func TestConnectionsOfAUserWithALimit(t *testing.T) {
	w, auth := slotted(t, 1)
	w.policy.roles["dev"].Spec.Options.MaxConnections = 1
	file, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	for _, h := range auth.held {
		if h.User != "alice" || !strings.HasPrefix(h.Credential, "ssh-ed25519-cert-v01@openssh.com ") {
			t.Errorf("counted is %+v", h)
		}
	}
	if _, err := w.client("root", s); err == nil || !strings.Contains(err.Error(), "there is no room for you") {
		t.Errorf("a second connection: %v", err)
	}
	if e := w.log.wait(t, "session.rejected", "T1006W").(*event.SessionRejected); e.Reason != "there is no room for you" || e.Maximum != 1 || e.Decision == nil {
		t.Errorf("%+v", e)
	}
	if n := w.log.count("auth"); n != 0 {
		t.Errorf("it is also told as %d failed log-ins", n)
	}
	c.Close()
	auth.empty(t)
	if r := w.ssh(file, "root", nil, "echo in"); r.out != "in\n" {
		t.Errorf("when there is room again: %+v", r)
	}
	auth.empty(t)
	auth.mu.Lock()
	auth.away = true
	auth.mu.Unlock()
	if _, err := w.client("root", s); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("with nobody to ask: %v", err)
	}
	w.policy.change(func() { w.policy.roles["dev"] = role("dev", "root") })
	if r := w.ssh(file, "root", nil, "echo in"); r.out != "in\n" {
		t.Errorf("without a limit: %+v", r)
	}
}

// Who joins sessions has connections too.
func TestConnectionsThatJoinCount(t *testing.T) {
	w, _ := slotted(t, 0)
	r := role("dev", "root")
	r.Spec.Allow.JoinSessions = []types.JoinSessions{{Name: "all", Roles: []string{"*"}, Kinds: []string{"ssh"}, Modes: []string{"peer"}}}
	r.Spec.Options.MaxConnections = 5
	w.policy.roles["dev"] = r
	_, s := w.user("bob", types.JoinLogin)
	if _, err := w.client(types.JoinLogin, s); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("joining without room: %v", err)
	}
}

// A host where nobody counts refuses who must be counted.
func TestConnectionsThatNobodyCounts(t *testing.T) {
	w := newWorld(t)
	w.policy.roles["dev"].Spec.Options.MaxConnections = 100
	_, s := w.user("alice", "root")
	if _, err := w.client("root", s); err == nil || !strings.Contains(err.Error(), "max_connections") {
		t.Errorf("%v", err)
	}
}

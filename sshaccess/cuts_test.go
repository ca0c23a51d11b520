package sshaccess_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"teleport/sshclient"
	"teleport/types"
	"teleport/types/event"
)

// flow is one live stream, and how its client hears of its end.
type flow struct {
	name  string
	ended chan error
}

func (f *flow) alive(t *testing.T) {
	t.Helper()
	select {
	case err := <-f.ended:
		t.Errorf("%s has ended: %v", f.name, err)
	default:
	}
}

// gone waits for the end.
func (f *flow) gone(t *testing.T) {
	t.Helper()
	select {
	case <-f.ended:
	case <-time.After(time.Minute):
		t.Errorf("%s goes on", f.name)
	}
}

// flows opens every kind of stream on one connection of alice's, with bytes that
// have passed: a shell in a terminal, a command, an sftp transfer, which goes on
// when busy, and a port forward in either direction.
func (w *world) flows(t *testing.T, c *sshclient.Client, busy bool) []*flow {
	t.Helper()
	return []*flow{w.shellFlow(t, c), w.commandFlow(t, c), w.sftpFlow(t, c, busy), w.localFlow(t, c), w.remoteFlow(t, c)}
}

func (w *world) runFlow(t *testing.T, name string, c *sshclient.Client, cmd sshclient.Command) *flow {
	t.Helper()
	v := newView()
	in, keys := io.Pipe()
	t.Cleanup(func() { keys.Close() })
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, v, v
	f := &flow{name, make(chan error, 1)}
	go func() { f.ended <- c.Run(context.Background(), cmd) }()
	io.WriteString(keys, "rea''dy\n")
	v.wait(t, "ready")
	return f
}

func (w *world) shellFlow(t *testing.T, c *sshclient.Client) *flow {
	return w.runFlow(t, "the shell", c, sshclient.Command{Terminal: &sshclient.Terminal{Term: "xterm", Columns: 80, Rows: 24}})
}

func (w *world) commandFlow(t *testing.T, c *sshclient.Client) *flow {
	return w.runFlow(t, "the command", c, sshclient.Command{Line: "echo ready; exec cat"})
}

func (w *world) sftpFlow(t *testing.T, c *sshclient.Client, busy bool) *flow {
	t.Helper()
	files, err := c.SFTP()
	if err != nil {
		t.Fatal(err)
	}
	f := &flow{"the transfer", make(chan error, 1)}
	go func() { f.ended <- files.Wait() }()
	src, err := files.Open("/dev/zero")
	if err == nil {
		_, err = src.Read(make([]byte, 1<<10))
	}
	if err != nil {
		t.Fatal(err)
	}
	if busy {
		go func() { // until it is cut
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for err == nil {
				<-pace.C
				_, err = src.Read(make([]byte, 32<<10))
			}
		}()
	}
	return f
}

// answering is a server that says back what it hears.
func answering(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer nc.Close(); io.Copy(nc, nc) }()
		}
	}()
	return ln
}

// conversation is a flow over a connection to an echo.
func conversation(t *testing.T, name string, nc net.Conn) *flow {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	io.WriteString(nc, "ping")
	if _, err := io.ReadFull(nc, make([]byte, 4)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	f := &flow{name, make(chan error, 1)}
	go func() {
		_, err := nc.Read(make([]byte, 1))
		f.ended <- err
	}()
	return f
}

func (w *world) localFlow(t *testing.T, c *sshclient.Client) *flow {
	t.Helper()
	nc, err := c.Dial(context.Background(), answering(t).Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return conversation(t, "the forward", nc)
}

func (w *world) remoteFlow(t *testing.T, c *sshclient.Client) *flow {
	t.Helper()
	ln, err := c.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer nc.Close(); io.Copy(nc, nc) }()
		}
	}()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return conversation(t, "the forward back", nc)
}

// target makes a lock.
func target(x types.LockTarget) []*types.Lock {
	l := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: "l1"}}}
	l.Spec.Target, l.Spec.Message = x, "laptop stolen"
	return []*types.Lock{l}
}

// cause is one way in which somebody loses what they have open.
type cause struct {
	name   string
	after  func(w *world) // the connection is open
	reason string         // in client.disconnect
	slow   bool           // time itself is the cause
}

func lockCause(name string, x types.LockTarget) cause {
	return cause{name: "lock on the " + name, reason: "lock", after: func(w *world) {
		w.policy.change(func() { w.policy.locks = target(x) })
	}}
}

// causes are all of them that a connection as a whole is cut by.
func causes() []cause {
	retype := func(edit func(r *types.Role)) func(*world) {
		return func(w *world) {
			w.policy.change(func() {
				r := role("dev", "root")
				edit(r)
				w.policy.roles["dev"] = r
			})
		}
	}
	return []cause{
		lockCause("user", types.LockTarget{User: "alice"}),
		lockCause("role", types.LockTarget{Role: "dev"}),
		lockCause("login", types.LockTarget{Login: "root"}),
		lockCause("node", types.LockTarget{ServerID: hostUUID}),
		lockCause("proxy that carries it", types.LockTarget{ServerID: "proxy-1"}),
		lockCause("access request", types.LockTarget{AccessRequest: "req-1"}),
		lockCause("device", types.LockTarget{Device: "dev-1"}),
		lockCause("second factor", types.LockTarget{MFADevice: "mfa-1"}),
		lockCause("user on the node", types.LockTarget{User: "alice", ServerID: hostUUID}),
		{name: "two locks at once", reason: "lock", after: func(w *world) {
			w.policy.change(func() {
				w.policy.locks = append(target(types.LockTarget{User: "alice"}), target(types.LockTarget{Login: "root"})...)
			})
		}},
		{name: "role without the login", reason: "policy", after: retype(func(r *types.Role) { r.Spec.Allow.Logins = []string{"other"} })},
		{name: "role without the node", reason: "policy", after: retype(func(r *types.Role) { r.Spec.Allow.NodeLabels = types.Labels{"env": {"prod"}} })},
		{name: "role that denies", reason: "policy", after: retype(func(r *types.Role) { r.Spec.Deny.Logins = []string{"root"} })},
		{name: "role taken from the user", reason: "policy", after: func(w *world) {
			w.policy.change(func() { w.policy.epochs["alice"] = &types.UserEpochSpec{NotBefore: time.Now().Add(time.Second)} })
		}},
		{name: "user removed", reason: "policy", after: func(w *world) {
			w.policy.change(func() {
				w.policy.epochs["alice"] = &types.UserEpochSpec{NotBefore: time.Now().Add(time.Second), Deleted: true}
			})
		}},
		{name: "max_connections", reason: "max_connections", after: retype(func(r *types.Role) { r.Spec.Options.MaxConnections = 1 })},
		{name: "client_idle_timeout", reason: "idle", slow: true, after: retype(func(r *types.Role) { r.Spec.Options.ClientIdleTimeout = types.Duration(time.Second) })},
		{name: "disconnect_expired_cert", reason: "expired certificate", slow: true, after: func(w *world) {
			w.ahead.Store(int64(time.Hour - time.Second)) // all certificates are of an hour, and now of a second at most
			retype(func(r *types.Role) { r.Spec.Options.DisconnectExpiredCert = yes() })(w)
		}},
	}
}

// carried is a world whose dials come through a proxy, and whose connections are
// counted, with room for none.
func carried(t *testing.T, strict bool) *world {
	t.Helper()
	w, _ := slotted(t, 0, func(w *world) { w.in.ProxyID = "proxy-1" })
	w.policy.change(func() {
		w.policy.roles["dev"] = role("dev", "root")
		if strict {
			w.policy.settings.Auth.LockingMode = "strict"
		}
	})
	return w
}

// TestWhatCuts holds every kind of stream open and takes the right to it away, in
// every way, in both modes of locks. What runs on the host ends too.
func TestWhatCuts(t *testing.T) {
	for _, strict := range []bool{false, true} {
		mode := map[bool]string{false: "best_effort", true: "strict"}[strict]
		for _, c := range causes() {
			t.Run(mode+"/"+c.name, func(t *testing.T) {
				w := carried(t, strict)
				id := w.identity("alice", "root")
				id.Proofs.AccessRequests, id.Proofs.DeviceID, id.Proofs.MFADevice = []string{"req-1"}, "dev-1", "mfa-1"
				_, s := w.userOf(id)
				all := w.flows(t, w.mustClient("root", s), !c.slow)
				for _, f := range all {
					f.alive(t)
				}
				c.after(w)
				for _, f := range all {
					f.gone(t)
				}
				e := w.log.wait(t, "client.disconnect", "T3006I").(*event.ClientDisconnect)
				if e.Reason != c.reason {
					t.Errorf("disconnected for %q", e.Reason)
				}
				if c.reason == "idle" {
					return
				}
				if back, err := w.client("root", s); err == nil {
					defer back.Close()
					if back.Run(context.Background(), sshclient.Command{Line: "true"}) == nil {
						t.Error("and comes back")
					}
				}
			})
		}
	}
}

// TestStaleLocksCut: a host that cannot know of locks cuts in strict mode alone.
func TestStaleLocksCut(t *testing.T) {
	w := carried(t, true)
	_, s := w.user("alice", "root")
	all := w.flows(t, w.mustClient("root", s), true)
	w.policy.change(func() { w.policy.stale = true })
	for _, f := range all {
		f.gone(t)
	}
	w = carried(t, false)
	_, s = w.user("alice", "root")
	all = w.flows(t, w.mustClient("root", s), true)
	w.policy.change(func() { w.policy.stale = true })
	w.reg.Recheck()
	for _, f := range all {
		f.alive(t)
	}
}

// TestWhatCutsWhoJoined: who watches a session of another loses the seat and
// nothing else, and loses it with the session.
func TestWhatCutsWhoJoined(t *testing.T) {
	for name, c := range map[string]struct {
		after  func(w *world, sid string)
		owner  bool // ends too
		reason string
	}{
		"lock on the guest":        {func(w *world, _ string) { w.policy.locks = target(types.LockTarget{User: "bob"}) }, false, "lock"},
		"lock on the guest's role": {func(w *world, _ string) { w.policy.locks = target(types.LockTarget{Role: "guest"}) }, false, "lock"},
		"role of the guest":        {func(w *world, _ string) { w.policy.roles["guest"] = role("guest") }, false, "policy"},
		"guest removed": {func(w *world, _ string) {
			w.policy.epochs["bob"] = &types.UserEpochSpec{NotBefore: time.Now().Add(time.Second), Deleted: true}
		}, false, "policy"},
		"lock on the owner": {func(w *world, _ string) { w.policy.locks = target(types.LockTarget{User: "alice"}) }, true, "lock"},
		"lock on the session": {func(w *world, sid string) {
			w.policy.locks = target(types.LockTarget{Session: sid})
		}, true, "lock"},
		"lock on the node":  {func(w *world, _ string) { w.policy.locks = target(types.LockTarget{ServerID: hostUUID}) }, true, "lock"},
		"role of the owner": {func(w *world, _ string) { w.policy.roles["dev"] = role("dev", "other") }, true, "policy"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, guests("*"))
			owner := w.shell("alice", "", true)
			owner.types(t, "echo fir''st\n")
			owner.wait(t, `first\r\n`)
			sid := w.sid(t)
			guest := w.join("bob", sid, "peer")
			guest.wait(t, "bob joined")
			w.policy.change(func() { c.after(w, sid) })
			var exit *sshclient.ExitError
			err, lost := guest.ended(t), !c.owner || name == "lock on the session"
			if lost && (!errors.As(err, &exit) || exit.Code != 255) {
				t.Errorf("it ended for the guest with %v", err)
			}
			if lost && c.reason == "lock" && !strings.Contains(guest.text(), "laptop stolen") {
				t.Errorf("the guest is not told why: %q", guest.text())
			}
			left := w.log.wait(t, event.TypeSessionLeave, "").(*event.SessionLeave)
			if c.owner {
				owner.ended(t)
				if lost && left.Reason != c.reason {
					t.Errorf("%+v", left)
				}
				return
			}
			if left.User.User != "bob" || left.Reason != c.reason {
				t.Errorf("%+v", left)
			}
			owner.types(t, "echo go''es on\n")
			owner.wait(t, `goes on\r\n`)
		})
	}
}

// TestALockOnASession ends what it names and leaves what else its connection does.
func TestALockOnASession(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	shell := w.shellFlow(t, c)
	sid := w.sid(t)
	others := []*flow{w.commandFlow(t, c), w.sftpFlow(t, c, true), w.localFlow(t, c), w.remoteFlow(t, c)}
	w.policy.change(func() { w.policy.locks = target(types.LockTarget{Session: sid}) })
	shell.gone(t)
	if e := w.log.wait(t, "session.end", "").(*event.SessionEnd); e.SessionID != sid || e.Reason != "lock" {
		t.Errorf("%+v", e)
	}
	for _, f := range others {
		f.alive(t)
	}
}

// TestADrainCuts is the end of a process, which no policy says.
func TestADrainCuts(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	all := w.flows(t, w.mustClient("root", s), true)
	now, cancel := context.WithCancel(context.Background())
	cancel()
	if n := w.reg.Drain(now); n == 0 {
		t.Error("nothing was cut")
	}
	for _, f := range all {
		f.gone(t)
	}
	if e := w.log.wait(t, "client.disconnect", "").(*event.ClientDisconnect); e.Reason != "shutdown" {
		t.Errorf("%+v", e)
	}
}

// TestMaxSessionsOfEachKind: shells, commands and transfers count alike, forwards
// do not, and a limit that a role gains counts for what is opened next.
func TestMaxSessionsOfEachKind(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	open := []*flow{w.shellFlow(t, c), w.commandFlow(t, c)}
	w.policy.change(func() {
		r := role("dev", "root")
		r.Spec.Options.MaxSessions = 2
		w.policy.roles["dev"] = r
	})
	w.reg.Recheck()
	if _, err := c.SFTP(); err == nil {
		t.Error("a transfer beyond the limit")
	}
	if err := c.Run(context.Background(), sshclient.Command{Line: "true"}); err == nil {
		t.Error("a command beyond the limit")
	}
	if e := w.log.wait(t, "session.rejected", "T1006W").(*event.SessionRejected); e.Maximum != 2 {
		t.Errorf("%+v", e)
	}
	w.localFlow(t, c).alive(t)
	for _, f := range open {
		f.alive(t)
	}
}

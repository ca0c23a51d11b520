package sshaccess_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/recorder"
	"teleport/sshaccess"
	"teleport/sshclient"
	"teleport/types"
	"teleport/types/event"
)

// longSession starts a command that waits for input, and returns once it runs.
func longSession(t *testing.T, c *sshclient.Client) (done <-chan error, stderr *safeBuffer) {
	t.Helper()
	ready, wrote := io.Pipe()
	stderr = &safeBuffer{}
	ended := make(chan error, 1)
	hold, holdW := io.Pipe()
	t.Cleanup(func() { holdW.Close() })
	go func() {
		ended <- c.Run(context.Background(), sshclient.Command{Line: "echo ready; cat", Stdin: hold, Stdout: wrote, Stderr: stderr})
		wrote.Close()
	}()
	if _, err := io.ReadFull(ready, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	return ended, stderr
}

// safeBuffer is read after the command has ended, and maybe before.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestLockCutsLiveSession(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	done, stderr := longSession(t, w.mustClient("root", s))
	lock := &types.Lock{}
	lock.Kind, lock.Version, lock.Metadata.Name = types.KindLock, "v2", "l1"
	lock.Spec.Target.User, lock.Spec.Message = "alice", "found a leaked laptop"
	w.policy.change(func() { w.policy.locks = []*types.Lock{lock} })
	if err := <-done; err == nil {
		t.Fatal("the session went on")
	}
	if !strings.Contains(stderr.String(), "found a leaked laptop") {
		t.Errorf("the person was told %q", stderr.String())
	}
	e := w.log.wait(t, "client.disconnect", "T3006I").(*event.ClientDisconnect)
	if e.Reason != "lock" || e.User.User != "alice" {
		t.Errorf("%+v", e)
	}
	if end := w.log.wait(t, "session.end", "").(*event.SessionEnd); end.Reason != "lock" {
		t.Errorf("%+v", end)
	}
	if _, err := w.client("root", s); !errors.Is(err, fault.Denied) {
		t.Errorf("a locked user came in again: %v", err)
	}
}

// A session ends although the disk does not take the event and the client does
// not read; the event is written when the disk is back.
func TestLockCutsStalledSession(t *testing.T) {
	w := newWorld(t)
	w.log.hold = make(chan struct{})
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	ch, reqs, err := c.Conn().OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	if ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{"cat /dev/zero"})); err != nil || !ok {
		t.Fatalf("exec: %v %v", ok, err)
	}
	w.log.wait(t, "session.start", "")
	lock := &types.Lock{}
	lock.Kind, lock.Version, lock.Metadata.Name = types.KindLock, "v2", "l1"
	lock.Spec.Target.User = "alice"
	w.policy.change(func() { w.policy.locks = []*types.Lock{lock} })
	c.Conn().Wait() //nolint:errcheck // that it ends is what counts
	if n := w.log.count("client.disconnect"); n != 0 {
		t.Errorf("%d disconnects told by a disk that hangs", n)
	}
	close(w.log.hold)
	w.log.wait(t, "client.disconnect", "T3006I")
}

func TestRoleRemovalCutsLiveSession(t *testing.T) {
	w := newWorld(t)
	w.policy.roles["other"] = role("other", "root")
	id := w.identity("alice", "root")
	id.Authority.Roles = []string{"dev", "other"}
	id.IssuedAt = id.IssuedAt.Add(-time.Minute)
	_, s := w.userOf(id)
	done, _ := longSession(t, w.mustClient("root", s))
	now := time.Now()
	// One role less: the other still allows it, so it goes on, but nothing new opens.
	w.policy.change(func() {
		w.policy.epochs["alice"] = &types.UserEpochSpec{NotBefore: now, Roles: []string{"other"}}
	})
	w.reg.Recheck()
	select {
	case err := <-done:
		t.Fatalf("cut although a role is left: %v", err)
	default:
	}
	if _, err := w.client("root", s); err == nil {
		t.Error("an outdated certificate opened a connection")
	}
	w.policy.change(func() { w.policy.epochs["alice"] = &types.UserEpochSpec{NotBefore: now} })
	if err := <-done; err == nil {
		t.Fatal("the session went on without a role")
	}
	w.log.wait(t, "client.disconnect", "T3006I")
}

func TestIdleTimeout(t *testing.T) {
	w := newWorld(t)
	w.policy.settings.Networking.IdleTimeoutMessage = "go home"
	_, s := w.user("alice", "root")
	out, done := newView(), make(chan error, 1)
	var stderr safeBuffer
	c := w.mustClient("root", s)
	go func() {
		done <- c.Run(context.Background(), sshclient.Command{Line: "echo ready; exec cat", Stdin: blocking{}, Stdout: out, Stderr: &stderr})
	}()
	out.wait(t, "ready")
	w.policy.change(func() { // not before: what begins may take longer than that
		r := role("dev", "root")
		r.Spec.Options.ClientIdleTimeout = types.Duration(time.Second)
		w.policy.roles["dev"] = r
	})
	if err := <-done; err == nil || !strings.Contains(stderr.String(), "go home") {
		t.Fatalf("%v %q", err, stderr.String())
	}
	if e := w.log.wait(t, "client.disconnect", "").(*event.ClientDisconnect); e.Reason != "idle" {
		t.Errorf("%+v", e)
	}
}

func TestExpiredCertificateEndsSession(t *testing.T) {
	w := newWorld(t)
	w.policy.roles["dev"].Spec.Options.DisconnectExpiredCert = yes()
	var c *sshclient.Client
	for life := 3 * time.Second; ; life *= 3 {
		id := w.identity("alice", "root")
		id.Authority.Expires = id.IssuedAt.Add(life)
		_, s := w.userOf(id)
		var err error
		if c, err = w.client("root", s); err == nil {
			break
		}
		if life > time.Minute { // and not for a busy machine, on which shorter ones end on their way
			t.Fatal(err)
		}
	}
	defer c.Close()
	if err := c.Run(context.Background(), sshclient.Command{Line: "cat", Stdin: blocking{}}); err == nil {
		t.Fatal("outlived its certificate")
	}
	if e := w.log.wait(t, "client.disconnect", "").(*event.ClientDisconnect); e.Reason != "expired certificate" {
		t.Errorf("%+v", e)
	}
}

// The log tells which credential opened the gate, as it is another one than that
// used inside.
func TestGatewayIsRecorded(t *testing.T) {
	w := newWorld(t, func(w *world) {
		w.in = sshaccess.Inbound{ProxyID: "proxy-1", Gateway: &sshaccess.Gateway{User: "alice", Cluster: cluster, CertSHA256: "c0ffee"}}
	})
	_, s := w.user("alice", "root")
	if err := w.mustClient("root", s).Run(context.Background(), sshclient.Command{Line: "true"}); err != nil {
		t.Fatal(err)
	}
	e := w.log.wait(t, "session.start", "").(*event.SessionStart)
	if e.Gateway == nil || *e.Gateway != (event.Gateway{ProxyID: "proxy-1", CertSHA256: "c0ffee"}) {
		t.Errorf("gateway %+v", e.Gateway)
	}
}

func TestGatewayMismatch(t *testing.T) {
	w := newWorld(t, func(w *world) { w.in = sshaccess.Inbound{Gateway: &sshaccess.Gateway{User: "bob", Cluster: cluster}} })
	_, s := w.user("alice", "root")
	if _, err := w.client("root", s); !errors.Is(err, fault.Denied) {
		t.Fatalf("%v", err)
	}
	e := w.log.wait(t, "auth", "T3007W").(*event.AuthFail)
	if e.User.User != "alice" || !strings.Contains(e.Error, "proxy") {
		t.Errorf("%+v", e)
	}
}

func TestMaxSessions(t *testing.T) {
	w := newWorld(t)
	w.policy.roles["dev"].Spec.Options.MaxSessions = 1
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	longSession(t, c)
	if err := c.Run(context.Background(), sshclient.Command{Line: "true"}); err == nil {
		t.Fatal("a second session")
	}
	if e := w.log.wait(t, "session.rejected", "T1006W").(*event.SessionRejected); e.Maximum != 1 {
		t.Errorf("%+v", e)
	}
	c.Close()
}

func TestNoAuditNoSession(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	w.log.mu.Lock()
	w.log.fail = true
	w.log.mu.Unlock()
	var out bytes.Buffer
	err := c.Run(context.Background(), sshclient.Command{Line: "echo never", Stdout: &out})
	if err == nil || out.Len() != 0 {
		t.Fatalf("%v %q", err, out.String())
	}
}

// broken is a recorder that does not begin, or takes nothing.
type broken struct {
	recorder.Off
	begins bool
}

type full struct{ recorder.Recording }

func (full) Show(recorder.Stream, []byte) error { return io.ErrShortWrite }

func (b broken) Start(ctx context.Context, i recorder.Info) (recorder.Recording, error) {
	if !b.begins {
		return nil, io.ErrShortWrite
	}
	r, err := b.Off.Start(ctx, i)
	return full{r}, err
}

// Nothing reaches the person before the recorder has taken it.
func TestNothingFlowsUnrecorded(t *testing.T) {
	for _, begins := range []bool{false, true} {
		w := newWorld(t, func(w *world) { w.cfg.Recorder = broken{begins: begins} })
		_, s := w.user("alice", "root")
		c := w.mustClient("root", s)
		var out, errs bytes.Buffer
		err := c.Run(context.Background(), sshclient.Command{Line: "echo never; echo never >&2; exec sleep 1000", Stdout: &out, Stderr: &errs})
		if err == nil || strings.Contains(out.String()+errs.String(), "never") {
			t.Errorf("recorder that begins=%t: %v, %q %q", begins, err, out.String(), errs.String())
		}
		if n := w.log.count("session.start"); !begins && n != 0 {
			t.Errorf("%d sessions began unrecorded", n)
		}
	}
}

func TestUnknownAccount(t *testing.T) {
	w := newWorld(t)
	w.policy.roles["dev"] = role("dev", "nosuchuser")
	_, s := w.user("alice", "nosuchuser")
	if _, err := w.client("nosuchuser", s); err == nil || !strings.Contains(err.Error(), "no user") {
		t.Fatalf("%v", err)
	}
	w.log.wait(t, "auth", "T3007W")
}

func TestExitSignalAndSignals(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	var exit *sshclient.ExitError
	if err := c.Run(context.Background(), sshclient.Command{Line: "kill -KILL $$"}); !errors.As(err, &exit) || exit.Signal != "KILL" {
		t.Errorf("%v", err)
	}
	ready, wrote := io.Pipe()
	signals := make(chan string, 1)
	go func() {
		io.ReadFull(ready, make([]byte, 6))
		signals <- "USR1"
	}()
	err := c.Run(context.Background(), sshclient.Command{Line: "trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done", Stdout: wrote, Signals: signals})
	if !errors.As(err, &exit) || exit.Code != 9 {
		t.Errorf("%v", err)
	}
}

func TestTerminalResize(t *testing.T) {
	w := newWorld(t)
	_, s := w.user("alice", "root")
	c := w.mustClient("root", s)
	sizes := make(chan sshclient.Size, 1)
	ready, wrote := io.Pipe()
	var rest bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 256)
		for n := 0; !strings.Contains(rest.String(), "24 80"); {
			n, _ = ready.Read(b)
			rest.Write(b[:n])
		}
		sizes <- sshclient.Size{Columns: 132, Rows: 50}
		io.Copy(&rest, ready)
	}()
	err := c.Run(context.Background(), sshclient.Command{
		Line:     "trap 'stty size; exit 0' WINCH; stty size; while :; do sleep 0.05; done",
		Stdout:   wrote,
		Terminal: &sshclient.Terminal{Term: "xterm", Columns: 80, Rows: 24, Sizes: sizes},
		Stdin:    blocking{},
	})
	wrote.Close()
	<-done
	if err != nil || !strings.Contains(rest.String(), "50 132") {
		t.Fatalf("%v %q", err, rest.String())
	}
	if e := w.log.wait(t, "resize", "T2002I").(*event.Resize); e.Size != "132:50" {
		t.Errorf("%+v", e)
	}
}

// blocking is a person who types nothing.
type blocking struct{}

func (blocking) Read([]byte) (int, error) { select {} }

package sshaccess_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/session"
	"teleport/sshclient"
	"teleport/types"
	"teleport/types/event"
)

// view is what somebody's terminal was sent.
type view struct {
	mu   sync.Mutex
	all  bytes.Buffer
	grew chan struct{}
}

func newView() *view { return &view{grew: make(chan struct{})} }

func (v *view) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.grew)
	v.grew = make(chan struct{})
	return v.all.Write(p)
}

func (v *view) text() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.all.String()
}

func (v *view) wait(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(time.Minute)
	for {
		v.mu.Lock()
		ok, grew := re.Match(v.all.Bytes()), v.grew
		v.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-grew:
		case <-deadline:
			t.Fatalf("%q does not show in\n%s", pattern, v.text())
		}
	}
}

// seat is somebody with a terminal: the owner of a session or one who joined.
type seat struct {
	*view
	keys io.WriteCloser
	done chan error
	stop context.CancelFunc
}

func (s *seat) types(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(s.keys, text); err != nil {
		t.Fatal(err)
	}
}

func (s *seat) ended(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.done:
		s.done <- err
		return err
	case <-time.After(time.Minute):
		t.Fatalf("it goes on: %s", s.text())
		return nil
	}
}

func (w *world) seat(run func(ctx context.Context, in io.Reader, out io.Writer) error) *seat {
	r, keys := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	s := &seat{view: newView(), keys: keys, done: make(chan error, 1), stop: cancel}
	go func() { s.done <- run(ctx, r, s.view) }()
	w.t.Cleanup(func() { keys.Close(); cancel() })
	return s
}

// shell is a shell in a terminal of 100 columns.
func (w *world) shell(name string, line string, terminal bool, env ...sshclient.EnvVar) *seat {
	_, key := w.user(name, "root")
	c := w.mustClient("root", key)
	return w.seat(func(ctx context.Context, in io.Reader, out io.Writer) error {
		cmd := sshclient.Command{Line: line, Stdin: in, Stdout: out, Stderr: out, Env: env}
		if terminal {
			cmd.Terminal = &sshclient.Terminal{Term: "xterm", Columns: 100, Rows: 30}
		}
		return c.Run(ctx, cmd)
	})
}

// join joins as a user with the role "guest".
func (w *world) join(name, sid, mode string) *seat {
	id := w.identity(name, types.JoinLogin)
	id.Authority.Roles = []string{"guest"}
	_, key := w.userOf(id)
	c := w.mustClient(types.JoinLogin, key)
	return w.seat(func(ctx context.Context, in io.Reader, out io.Writer) error {
		return c.Join(ctx, sshclient.Join{Session: sid, Mode: mode, Stdin: in, Stdout: out, Stderr: out,
			Resized: func(s sshclient.Size) { io.WriteString(out, "<size>") }})
	})
}

// guests may join the sessions of role dev in the modes.
func guests(modes ...string) func(*world) {
	return func(w *world) {
		w.cfg.Trackers = session.NewTrackers()
		r := role("guest")
		r.Spec.Allow.NodeLabels = nil
		r.Spec.Allow.JoinSessions = []types.JoinSessions{{Name: "dev", Roles: []string{"dev"}, Kinds: []string{"ssh"}, Modes: modes}}
		w.policy.roles["guest"] = r
	}
}

// moderated makes the sessions of role dev wait for a moderator.
func moderated(onLeave string) func(*world) {
	return func(w *world) {
		w.policy.roles["dev"].Spec.Allow.RequireSessionJoin = []types.RequireSessionJoin{{Name: "four eyes", Filter: `contains(user.spec.roles, "guest")`,
			Kinds: []string{"ssh"}, Modes: []string{"moderator"}, Count: 1, OnLeave: onLeave}}
	}
}

func (w *world) sid(t *testing.T) string {
	t.Helper()
	return w.log.wait(t, event.TypeSessionStart, "").(*event.SessionStart).SessionID
}

func (w *world) tracker(t *testing.T, sid string) types.SessionTrackerSpec {
	t.Helper()
	doc, ok := w.cfg.Trackers.Find(sid)
	if !ok {
		t.Fatal("the session is not known")
	}
	return doc.Spec
}

// Two people share a terminal: what either types shows to both, as does who comes and goes.
func TestJoinAsPeerAndObserver(t *testing.T) {
	w := newWorld(t, guests("*"))
	owner := w.shell("alice", "", true, sshclient.EnvVar{Name: types.ReasonEnv, Value: "INC-7"}, sshclient.EnvVar{Name: types.InviteEnv, Value: "bob,eve"})
	owner.types(t, "echo fir''st\n")
	owner.wait(t, `first\r\n`)
	sid := w.sid(t)
	peer := w.join("bob", sid, "peer")
	peer.wait(t, `(?s)\x1b\[2J\x1b\[H.*first\r\n.*\[\d\d:\d\d:\d\d\] bob joined as peer`)
	peer.wait(t, `<size>`)
	owner.wait(t, `bob joined as peer`)
	peer.types(t, "echo sec''ond\n")
	owner.wait(t, `second\r\n`)
	watcher := w.join("eve", sid, "observer")
	watcher.wait(t, `(?s)second\r\n.*eve joined as observer`)
	peer.wait(t, `eve joined as observer`)
	watcher.types(t, "echo no''thing; t\n")
	owner.types(t, "echo thi''rd\n")
	watcher.wait(t, `third\r\n`)
	if strings.Contains(owner.text(), "nothing") {
		t.Error("an observer types")
	}
	spec := w.tracker(t, sid)
	if len(spec.Participants) != 3 || spec.Reason != "INC-7" || strings.Join(spec.Invited, " ") != "bob eve" || spec.State != "running" {
		t.Errorf("the cluster is told %+v", spec)
	}
	watcher.types(t, "\x03")
	if err := watcher.ended(t); err != nil {
		t.Errorf("the observer left: %v", err)
	}
	owner.wait(t, `eve left`)
	owner.types(t, "exit 3\n")
	var exit *sshclient.ExitError
	if err := owner.ended(t); !errors.As(err, &exit) || exit.Code != 3 {
		t.Errorf("the owner's end: %v", err)
	}
	if err := peer.ended(t); err != nil {
		t.Errorf("the peer's end: %v", err)
	}
	peer.wait(t, `the session has ended`)
	join := w.log.wait(t, event.TypeSessionJoin, event.CodeSessionJoin).(*event.SessionJoin)
	leave := w.log.wait(t, event.TypeSessionLeave, event.CodeSessionLeave).(*event.SessionLeave)
	if join.User.User != "bob" || join.Owner != "alice" || join.SessionID != sid || join.Mode != "peer" || join.Decision.Rule != "join_sessions[0]" || leave.User.User != "eve" || leave.Reason != "left" {
		t.Errorf("%+v %+v", join, leave)
	}
	end := w.log.wait(t, event.TypeSessionEnd, "").(*event.SessionEnd)
	if strings.Join(end.Participants, " ") != "alice bob eve" {
		t.Errorf("who was there: %q", end.Participants)
	}
}

// Nobody joins without a right to, and whoever comes to join does nothing else.
func TestJoinIsRefused(t *testing.T) {
	w := newWorld(t, guests("observer"))
	owner := w.shell("alice", "", true)
	owner.types(t, "echo fir''st\n")
	owner.wait(t, `first\r\n`)
	sid := w.sid(t)
	for mode, kind := range map[string]fault.Kind{"peer": fault.Denied, "moderator": fault.Denied, "": fault.Denied, "*": fault.Denied} {
		if err := w.join("bob", sid, mode).ended(t); !errors.Is(err, kind) {
			t.Errorf("as %q: %v", mode, err)
		}
	}
	if err := w.join("bob", "00000000-0000-4000-8000-000000000000", "observer").ended(t); !errors.Is(err, fault.NotFound) {
		t.Errorf("an unknown session: %v", err)
	}
	rejected := w.log.wait(t, event.TypeSessionRejected, "").(*event.SessionRejected)
	if rejected.User.User != "bob" || rejected.Decision == nil {
		t.Errorf("%+v", rejected)
	}
	id := w.identity("carol", "root")
	id.Authority.Roles = []string{"nothing"}
	_, key := w.userOf(id)
	c := w.mustClient(types.JoinLogin, key)
	if err := c.Join(t.Context(), sshclient.Join{Session: sid, Mode: "observer", Stdout: io.Discard, Stderr: io.Discard}); !errors.Is(err, fault.Denied) {
		t.Errorf("without a role: %v", err)
	}
	for _, kind := range []string{"session", "direct-tcpip", "x11"} {
		if _, _, err := c.Conn().OpenChannel(kind, ssh.Marshal(struct {
			H string
			P uint32
			O string
			Q uint32
		}{"127.0.0.1", 22, "127.0.0.1", 1})); err == nil {
			t.Errorf("a connection that joins opens %s", kind)
		}
	}
	if ok, _, _ := c.Conn().SendRequest("tcpip-forward", true, ssh.Marshal(struct {
		A string
		P uint32
	}{"127.0.0.1", 0})); ok {
		t.Error("a connection that joins listens")
	}
	own := w.mustClient("root", func() ssh.Signer { _, s := w.user("alice", "root"); return s }())
	ch, reqs, err := own.Conn().OpenChannel(types.JoinChannel, ssh.Marshal(struct{ S, M string }{sid, "peer"}))
	if err != nil {
		t.Fatalf("the owner does not join a session of her own: %v", err)
	}
	go ssh.DiscardRequests(reqs)
	ch.Close()
	if _, _, err := own.Conn().OpenChannel(types.JoinChannel, []byte{1}); err == nil {
		t.Error("rubbish is taken")
	}
}

// A moderated session waits, runs, pauses and goes on as its moderators come and go.
func TestModeratedSessionPauses(t *testing.T) {
	w := newWorld(t, guests("*"), moderated("pause"))
	owner := w.shell("alice", "", true)
	owner.wait(t, `waits for 1 person to join as moderator \(policy "four eyes"\)\. Ctrl-C cancels it`)
	sid := w.sid(t)
	if s := w.tracker(t, sid).State; s != "pending" {
		t.Errorf("it is %s", s)
	}
	owner.types(t, "echo ear''ly\n")
	watcher := w.join("eve", sid, "observer")
	watcher.wait(t, `the session waits for 1 person`)
	mod := w.join("mo", sid, "moderator")
	owner.wait(t, `everybody who must be present is`)
	owner.types(t, "echo on''e\n")
	mod.wait(t, `one\r\n`)
	if strings.Contains(owner.text(), "early") {
		t.Error("what was typed while it waited was run")
	}
	mod.types(t, "\x03")
	owner.wait(t, `pauses and waits for 1 person`)
	if s := w.tracker(t, sid).State; s != "paused" {
		t.Errorf("it is %s", s)
	}
	owner.types(t, "echo tw''o\n")
	again := w.join("mo", sid, "moderator")
	owner.wait(t, `(?s)pauses.*everybody who must be present is`)
	owner.types(t, "echo thr''ee\n")
	again.wait(t, `three\r\n`)
	if strings.Contains(owner.text(), "two") {
		t.Error("what was typed while it paused was run")
	}
	again.types(t, "t")
	owner.wait(t, `ended by the moderator mo`)
	owner.ended(t)
	if end := w.log.wait(t, event.TypeSessionEnd, "").(*event.SessionEnd); end.Reason != "moderator" {
		t.Errorf("it ended for %q", end.Reason)
	}
}

// A moderator's p pauses a session that needs none, until the moderator leaves: in
// the pause nothing is shown. Nobody else has the key.
func TestModeratorPausesASession(t *testing.T) {
	rec := &counting{grew: make(chan struct{})}
	w := newWorld(t, guests("*"), func(w *world) { w.cfg.Recorder = rec })
	file := filepath.Join(t.TempDir(), "go")
	owner := w.shell("alice", "", true)
	owner.types(t, "(until [ -e "+file+" ]; do sleep 0.02; done; echo hid''den) & echo beg''un\n")
	owner.wait(t, `begun\r\n`)
	sid := w.sid(t)
	watcher, peer := w.join("eve", sid, "observer"), w.join("pat", sid, "peer")
	mod := w.join("mo", sid, "moderator")
	owner.wait(t, `mo joined as moderator`)
	watcher.types(t, "p")
	peer.types(t, "p") // is a letter
	owner.wait(t, `(?s)mo joined as moderator\r\n.*p`)
	owner.types(t, "\x15echo on''e\n")
	watcher.wait(t, `one\r\n`)
	if strings.Contains(owner.text(), "pauses") {
		t.Errorf("it pauses: %s", owner.text())
	}
	mod.types(t, "\x1b[1;5p") // what a terminal answers is no key
	mod.types(t, "p")
	everybody := []*seat{owner, watcher, peer, mod}
	for _, s := range everybody {
		s.wait(t, `the moderator mo pauses the session; until a moderator lets it go on nothing is shown, and what is typed goes nowhere`)
	}
	if s := w.tracker(t, sid).State; s != "paused" {
		t.Errorf("it is %s", s)
	}
	if e := w.log.wait(t, event.TypeSessionPause, "").(*event.SessionPause); e.User.User != "mo" || e.Owner != "alice" || e.SessionID != sid || !e.Paused || e.Code != event.CodeSessionPause {
		t.Errorf("the log says %+v", e)
	}
	n := rec.wait(t, 0)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rec.wait(t, n+len("hidden"))
	for _, s := range everybody {
		if strings.Contains(s.text(), "hidden") {
			t.Errorf("it is shown in the pause: %s", s.text())
		}
	}
	mod.types(t, "\x03")
	owner.wait(t, `(?s)mo left, which ends their pause.*the session goes on`)
	for _, s := range everybody[:3] {
		s.wait(t, `hidden\r\n`)
	}
	if s := w.tracker(t, sid).State; s != "running" {
		t.Errorf("it is %s", s)
	}
	owner.types(t, "exit\n")
	owner.ended(t)
}

func TestModeratedSessionTerminates(t *testing.T) {
	w := newWorld(t, guests("*"), moderated("terminate"))
	owner := w.shell("alice", "echo beg''un; cat", false)
	owner.wait(t, `waits for 1 person`)
	owner.types(t, "kept\n")
	mod := w.join("mo", w.sid(t), "moderator")
	owner.wait(t, `begun\n(?s:.*)kept\n`)
	mod.wait(t, `begun\r\n(?s:.*)kept\r\n`)
	mod.stop()
	owner.ended(t)
	if end := w.log.wait(t, event.TypeSessionEnd, "").(*event.SessionEnd); end.Reason != "attendance" {
		t.Errorf("it ended for %q", end.Reason)
	}
}

// Who waits can give up; what cannot be watched is refused.
func TestModeratedSessionIsCanceled(t *testing.T) {
	w := newWorld(t, guests("*"), moderated("pause"))
	owner := w.shell("alice", "", true)
	owner.wait(t, `waits for 1 person`)
	owner.types(t, "\x03")
	owner.wait(t, `canceled before it began`)
	owner.ended(t)
	if end := w.log.wait(t, event.TypeSessionEnd, "").(*event.SessionEnd); end.Reason != "canceled" {
		t.Errorf("it ended for %q", end.Reason)
	}
	_, key := w.user("alice", "root")
	c := w.mustClient("root", key)
	if _, err := c.SFTP(); err == nil {
		t.Error("files are copied with nobody there")
	}
	if _, err := c.Dial(t.Context(), "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "require_session_join") {
		t.Errorf("a port is forwarded with nobody there: %v", err)
	}
	if err := c.Run(t.Context(), sshclient.Command{Line: "scp -f /etc/passwd", Stdout: io.Discard, Stderr: io.Discard}); err == nil {
		t.Error("the old copy protocol runs with nobody there")
	}
}

// A lock on a session ends it for everybody in it, and no other session of the
// connection; a right that goes takes the seat.
func TestLocksInSharedSessions(t *testing.T) {
	w := newWorld(t, guests("*"))
	_, key := w.user("alice", "root")
	c := w.mustClient("root", key)
	cat := func() *seat {
		return w.seat(func(ctx context.Context, in io.Reader, out io.Writer) error {
			return c.Run(ctx, sshclient.Command{Line: "echo he''re; cat", Stdin: in, Stdout: out, Stderr: out, Terminal: &sshclient.Terminal{Term: "xterm", Columns: 80, Rows: 24}})
		})
	}
	first := cat()
	first.wait(t, `here`)
	sid := w.sid(t)
	second := cat()
	second.wait(t, `here`)
	peer := w.join("bob", sid, "peer")
	peer.wait(t, `bob joined`)
	w.policy.change(func() {
		w.policy.roles["guest"].Spec.Allow.JoinSessions = nil
	})
	if err := peer.ended(t); err != nil {
		t.Logf("the peer is told %v", err)
	}
	first.wait(t, `bob left`)
	w.policy.change(func() {
		w.policy.roles["guest"].Spec.Allow.JoinSessions = []types.JoinSessions{{Name: "dev", Roles: []string{"dev"}, Kinds: []string{"ssh"}, Modes: []string{"*"}}}
	})
	peer = w.join("bob", sid, "peer")
	peer.wait(t, `bob joined`)
	l := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{Session: sid}, Message: "stop"}}
	w.policy.change(func() { w.policy.locks = []*types.Lock{l} })
	first.wait(t, `lock targeting Session:"`+sid+`" is in force: stop`)
	first.ended(t)
	peer.ended(t)
	second.types(t, "still\n")
	second.wait(t, `still\r\nstill`)
	if err := w.join("bob", sid, "peer").ended(t); err == nil {
		t.Error("a locked session is joined")
	}
	if end := w.log.wait(t, event.TypeSessionEnd, "").(*event.SessionEnd); end.Reason != "lock" {
		t.Errorf("it ended for %q", end.Reason)
	}
}

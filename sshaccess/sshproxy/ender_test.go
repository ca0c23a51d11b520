package sshproxy_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"teleport/access"
	"teleport/audit/audittest"
	"teleport/fault"
	"teleport/keys"
	"teleport/netx"
	"teleport/recorder"
	"teleport/session"
	"teleport/sshaccess/sshproxy"
	"teleport/sshclient"
	"teleport/types"
	"teleport/types/event"
)

// tapes keep what is recorded of each session.
type tapes struct {
	mu  sync.Mutex
	all map[string]*tape // by command, or "" for what has none
}

type tape struct {
	t      *tapes
	shown  string
	events string
	closed bool
}

func (t *tapes) Mode() string { return "proxy" }

func (t *tapes) Start(_ context.Context, i recorder.Info) (recorder.Recording, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all[i.Command] = &tape{t: t}
	return t.all[i.Command], nil
}

func (t *tapes) of(command string) tape {
	t.mu.Lock()
	defer t.mu.Unlock()
	if got := t.all[command]; got != nil {
		return *got
	}
	return tape{}
}

func (r *tape) add(to *string, b []byte) error {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	if r.closed {
		return io.ErrClosedPipe
	}
	*to += string(b)
	return nil
}
func (r *tape) Mode() string                           { return "proxy" }
func (r *tape) Show(_ recorder.Stream, b []byte) error { return r.add(&r.shown, b) }
func (r *tape) Resize(int, int) error                  { return r.add(&r.shown, nil) }
func (r *tape) Event(b ...[]byte) error                { return r.add(&r.events, bytes.Join(b, nil)) }
func (r *tape) Close() error {
	r.t.mu.Lock()
	defer r.t.mu.Unlock()
	r.closed = true
	return nil
}

// rules are what the proxy decides from.
type rules struct {
	mu       sync.Mutex
	role     *types.Role
	locks    []*types.Lock
	settings access.Settings
	ticks    chan struct{}
}

func (r *rules) Roles([]string) []*types.Role {
	r.mu.Lock()
	defer r.mu.Unlock()
	return []*types.Role{r.role}
}
func (r *rules) Settings() access.Settings {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settings
}
func (r *rules) Locks() []*types.Lock {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.locks
}
func (r *rules) Subscribe() (<-chan struct{}, func()) { return r.ticks, func() {} }
func (r *rules) Epoch(string) *types.UserEpochSpec    { return nil }
func (r *rules) Fresh(time.Time) bool                 { return true }
func (r *rules) Revision() uint64                     { return 1 }

// stockWorld is a proxy that ends SSH for one server.
type stockWorld struct {
	t        *testing.T
	rules    *rules
	events   *audittest.Recorder
	tapes    *tapes
	sessions *session.Registry
	trackers *session.Trackers
	sshd     *sshd
	host     ssh.Signer // of the proxy
	hostCA   ssh.Signer
	user     ssh.Signer
	ender    *sshproxy.Ender
	login    string
	spliced  sync.WaitGroup
	wrap     func(net.Conn) net.Conn // of the client's end; may be nil
}

func newStockWorld(t *testing.T, hosts ...func(w *stockWorld) ssh.Signer) *stockWorld {
	t.Helper()
	role := &types.Role{}
	role.Kind, role.Version, role.Metadata.Name = types.KindRole, "v7", "dev"
	yes := true
	role.Spec.Options.ForwardAgent = &yes
	role.Spec.Allow.Logins, role.Spec.Allow.NodeLabels = []string{"root"}, types.Labels{"*": {"*"}}
	w := &stockWorld{t: t, rules: &rules{role: role, ticks: make(chan struct{}, 1)}, events: audittest.NewRecorder(), tapes: &tapes{all: map[string]*tape{}}, sessions: session.NewRegistry(),
		trackers: session.NewTrackers(), host: signer(t), hostCA: signer(t), login: "root"}
	authority, userCA, key := signer(t), signer(t), signer(t)
	crt := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"root", types.JoinLogin}, ValidBefore: ssh.CertTimeInfinity}
	w.must(crt.SignCert(rand.Reader, userCA))
	var err error
	w.user, err = ssh.NewCertSigner(crt, key)
	w.must(err)
	if len(hosts) == 0 {
		hosts = append(hosts, func(w *stockWorld) ssh.Signer { return hostCert(t, w.hostCA, signer(t), nodeUUID) })
	}
	var shown []ssh.Signer
	for _, h := range hosts {
		shown = append(shown, h(w))
	}
	w.sshd = newSSHD(t, authority.PublicKey(), shown...)
	w.ender, err = sshproxy.NewEnder(sshproxy.EnderConfig{HostID: "proxy", HostSigners: func() []ssh.Signer { return []ssh.Signer{hostCert(t, w.hostCA, w.host, "proxy")} },
		Verify: func(*ssh.Certificate, time.Time) (*types.Identity, error) {
			id := &types.Identity{Kind: types.IdentityUser, Name: "alice", Cluster: cluster, IssuedAt: time.Now().Add(-time.Minute)}
			id.Authority = types.Authority{Roles: []string{"dev"}, Logins: []string{"root"}, Expires: time.Now().Add(time.Hour), PermitPTY: true, PermitAgent: true, PermitPortForward: true}
			return id, nil
		},
		VerifyHost: names(w.hostCA.PublicKey()),
		Certify: func(_ context.Context, _ *ssh.Certificate, key ssh.PublicKey, node, login string, _ netip.AddrPort) (*ssh.Certificate, error) {
			c := &ssh.Certificate{Key: key, CertType: ssh.UserCert, KeyId: node, ValidPrincipals: []string{login}, ValidBefore: ssh.CertTimeInfinity}
			return c, c.SignCert(rand.Reader, authority)
		},
		Bridge: func(context.Context, *ssh.Certificate, ssh.PublicKey, string, string, netip.AddrPort) (*ssh.Certificate, error) {
			return nil, fault.New(fault.Internal, "nobody here has an agent")
		},
		Dial: (&net.Dialer{}).DialContext, Policy: w.rules, Audit: w.events, Recorder: w.tapes, Sessions: w.sessions, Trackers: w.trackers, Log: slog.New(slog.DiscardHandler)})
	w.must(err)
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() { w.sessions.Serve(ctx, w.rules) })
	serving.Go(func() { w.ender.Serve(ctx) })
	t.Cleanup(func() {
		stop()
		serving.Wait()
		w.spliced.Wait()
		if n := w.sessions.Len(); n != 0 {
			t.Errorf("%d live sessions are left", n)
		}
	})
	return w
}

func (w *stockWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *stockWorld) dial() (*sshclient.Client, error) {
	n := &types.Node{Header: types.Header{Kind: types.KindNode, SubKind: types.SubKindOpenSSH, Version: "v2", Metadata: types.Metadata{Name: nodeUUID}}}
	n.Spec.Hostname, n.Spec.Addr = "plain", w.sshd.addr
	nc := w.ender.Open(sshproxy.Inbound{Node: n, Client: netip.MustParseAddrPort("192.0.2.9:1"), User: "alice", Cluster: cluster})
	carrier := w.carried(nc)
	if w.wrap != nil {
		carrier = w.wrap(carrier)
	}
	return sshclient.New(context.Background(), carrier, sshclient.Config{Login: w.login, Signers: []ssh.Signer{w.user},
		Host: sshclient.HostPrincipal(names(w.hostCA.PublicKey()), "proxy")})
}

// carried is the client's end of a connection that the proxy carries to nc, as
// both begin to speak at one time.
func (w *stockWorld) carried(nc net.Conn) net.Conn {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	w.must(err)
	far, err := l.Accept()
	w.must(err)
	w.must(errors.Join(near.(*net.TCPConn).SetReadBuffer(16<<10), far.(*net.TCPConn).SetWriteBuffer(16<<10))) // so that much does not fit
	w.spliced.Go(func() { netx.Splice(context.Background(), far, nc, netx.SpliceOptions{}) })
	return near
}

func (w *stockWorld) client() *sshclient.Client {
	w.t.Helper()
	c, err := w.dial()
	w.must(err)
	w.t.Cleanup(func() { c.Close() })
	return c
}

// run runs a command and returns what it showed.
func (w *stockWorld) run(c *sshclient.Client, command string, change ...func(*sshclient.Command)) (string, error) {
	var out strings.Builder
	cmd := sshclient.Command{Line: command, Stdout: &out, Stderr: io.Discard, Stdin: strings.NewReader("")}
	for _, f := range change {
		f(&cmd)
	}
	err := c.Run(w.t.Context(), cmd)
	return out.String(), err
}

// wait returns the events of a type, when there are n.
func (w *stockWorld) wait(n int, typ string) []event.Event {
	w.t.Helper()
	for deadline := time.After(time.Minute); ; {
		got := w.events.Events(typ)
		if len(got) >= n {
			return got
		}
		select {
		case <-deadline:
			w.t.Fatalf("%d events %s, not %d", len(got), typ, n)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestCommandsAreToldAndRecorded(t *testing.T) {
	w := newStockWorld(t)
	c := w.client()
	if out, err := w.run(c, "print this"); out != "print this" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	var exit *sshclient.ExitError
	if _, err := w.run(c, "exit 7"); err == nil || !asExit(err, &exit) || exit.Code != 7 {
		t.Errorf("%v", err)
	}
	w.wait(2, event.TypeSessionEnd)
	for _, e := range w.wait(2, event.TypeExec) {
		if x := e.(*event.Exec); x.ServerID != nodeUUID || x.ServerSubKind != types.SubKindOpenSSH || x.ExitCode != map[string]string{"print this": "0", "exit 7": "7"}[x.Command.Command] {
			t.Errorf("%+v", x)
		}
	}
	if got := w.tapes.of("print this"); got.shown != "print this" || !strings.Contains(got.events, `"exec"`) || !got.closed {
		t.Errorf("recorded: %+v", got)
	}
	for _, e := range w.wait(2, event.TypeSessionData) {
		if e.(*event.SessionData).ServerHostname != "plain" {
			t.Errorf("%+v", e)
		}
	}
}

func asExit(err error, to **sshclient.ExitError) bool {
	e, ok := err.(*sshclient.ExitError)
	*to = e
	return ok
}

// Files are told one by one, and their contents are in no recording.
func TestFilesAreTold(t *testing.T) {
	w := newStockWorld(t)
	files, err := w.client().SFTP()
	w.must(err)
	path := filepath.Join(t.TempDir(), "made")
	f, err := files.Create(path)
	w.must(err)
	_, err = f.Write([]byte("secret contents"))
	w.must(err)
	w.must(f.Close())
	if _, err := files.Stat(path + "-none"); err == nil {
		t.Error("a file that is not there is")
	}
	w.must(files.Remove(path))
	w.must(files.Close())
	w.wait(1, event.TypeSessionEnd)
	did := map[int]string{}
	for _, e := range w.events.Events(event.TypeSFTP) {
		did[e.(*event.SFTP).Action] = e.(*event.SFTP).Path
	}
	if did[event.SFTPOpen] != path || did[event.SFTPRemove] != path {
		t.Errorf("%v", did)
	}
	if sum := w.wait(1, event.TypeSFTPSummary)[0].(*event.SFTPSummary); len(sum.Files) != 1 || sum.Files[0].BytesWritten != 15 {
		t.Errorf("%+v", sum)
	}
	if got := w.tapes.of(""); strings.Contains(got.shown+got.events, "contents") || !strings.Contains(got.events, path) || !strings.Contains(got.events, `"subsystem"`) {
		t.Errorf("recorded: %+v", got)
	}
	w.rules.mu.Lock()
	no := false
	w.rules.role.Spec.Options.SSHFileCopy = &no
	w.rules.mu.Unlock()
	if _, err := w.client().SFTP(); err == nil {
		t.Error("a role without file copies copies")
	}
	if _, err := w.run(w.client(), "scp -t /tmp"); err == nil {
		t.Error("a role without file copies copies by scp")
	}
	w.wait(1, event.TypeSCP)
}

func TestPortsAreForwardedBothWays(t *testing.T) {
	w := newStockWorld(t)
	c := w.client()
	nc, err := c.Dial(t.Context(), "inside:80")
	w.must(err)
	_, err = io.WriteString(nc, "ping")
	w.must(err)
	b := make([]byte, 4)
	if _, err := io.ReadFull(nc, b); err != nil || string(b) != "ping" {
		t.Errorf("%q, %v", b, err)
	}
	nc.Close()
	l, err := c.Listen("127.0.0.1:0")
	w.must(err)
	if !strings.HasSuffix(l.Addr().String(), ":4711") {
		t.Errorf("the server listens on %s", l.Addr())
	}
	in, err := l.Accept()
	w.must(err)
	if got, err := io.ReadAll(in); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	in.Close()
	w.must(l.Close())
	codes := map[string]int{}
	for _, e := range w.wait(4, event.TypePort) {
		p := e.(*event.Port)
		codes[p.Direction+" "+p.Code+" "+p.Addr]++
		if p.Direction == "local" && p.Code == event.CodePortStop && (p.Sent != 4 || p.Received != 4) {
			t.Errorf("%+v", p)
		}
	}
	for _, want := range []string{"local " + event.CodePortStart + " inside:80", "local " + event.CodePortStop + " inside:80",
		"remote " + event.CodePortStart + " 127.0.0.1:4711", "remote " + event.CodePortStop + " 127.0.0.1:4711"} {
		if codes[want] != 1 {
			t.Errorf("%s: %d of %v", want, codes[want], codes)
		}
	}
	w.rules.mu.Lock()
	w.rules.role.Spec.Options.PortForwarding = new(bool)
	w.rules.mu.Unlock()
	if _, err := c.Dial(t.Context(), "inside:80"); err == nil {
		t.Error("a role without port forwarding forwards")
	}
	if _, err := c.Listen("127.0.0.1:0"); err == nil {
		t.Error("a role without port forwarding listens")
	}
}

func TestTheKeyAgentIsPassedOn(t *testing.T) {
	w := newStockWorld(t)
	keyring := agent.NewKeyring()
	key, err := keys.Generate(keys.Ed25519)
	w.must(err)
	w.must(keyring.Add(agent.AddedKey{PrivateKey: key, Comment: "carried along"}))
	with := func(c *sshclient.Command) { c.Agent = keyring }
	if out, err := w.run(w.client(), "agent", with); out != "carried along" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	w.wait(1, event.TypeAgentForward)
	c := w.client()
	w.events.Fail(errors.New("no disk"))
	if _, err := w.run(c, "agent", with); err == nil {
		t.Error("it is passed on although nobody could be told")
	}
	w.events.Fail(nil)
	if out, err := w.run(c, "agent", with); out != "carried along" || err != nil {
		t.Errorf("after a use that could not be told: %q, %v", out, err)
	}
	w.rules.mu.Lock()
	w.rules.role.Spec.Options.ForwardAgent = new(bool)
	w.rules.mu.Unlock()
	if out, err := w.run(w.client(), "agent", with); err == nil {
		t.Errorf("a role without the agent passes it on: %q", out)
	}
	got := w.wait(3, event.TypeAgentForward)
	if e := got[len(got)-1].(*event.AgentForward); e.Success || e.Code != event.CodeAgentForwardFail {
		t.Errorf("%+v", e)
	}
}

// The server must show a certificate for the UUID of the node.
func TestWhoTheProxyEnters(t *testing.T) {
	other := func(w *stockWorld) ssh.Signer {
		return hostCert(w.t, w.hostCA, signer(w.t), "5d5f3b8e-1f0a-4a51-9a0e-0f6f2a9c7b11", "plain", "127.0.0.1")
	}
	bare := func(w *stockWorld) ssh.Signer { return signer(w.t) }
	stranger := func(w *stockWorld) ssh.Signer { return hostCert(w.t, signer(w.t), signer(w.t), nodeUUID) }
	for name, c := range map[string]struct {
		host              func(*stockWorld) ssh.Signer
		checked, unlooked bool
	}{
		"another server, with the name and address of this one": {other, false, false},
		"a bare key":                   {bare, false, true},
		"a certificate of a stranger":  {stranger, false, true},
		"the certificate of this node": {func(w *stockWorld) ssh.Signer { return hostCert(w.t, w.hostCA, signer(w.t), nodeUUID) }, true, true},
	} {
		w := newStockWorld(t, c.host)
		for _, checks := range []bool{true, false} {
			w.rules.mu.Lock()
			w.rules.settings.Recording.ProxyChecksHostKeys = &checks
			w.rules.mu.Unlock()
			want := map[bool]bool{true: c.checked, false: c.unlooked}[checks]
			got, err := w.dial()
			if (err == nil) != want {
				t.Errorf("%s, keys checked %t: %v", name, checks, err)
			}
			if err == nil {
				got.Close()
			} else if !strings.Contains(fault.Message(err), "host") {
				t.Errorf("%s: it says %v", name, err)
			}
		}
	}
}

// What others must watch does not begin where they cannot, and nobody joins.
func TestNothingThatOthersMustWatch(t *testing.T) {
	w := newStockWorld(t)
	w.login = types.JoinLogin
	if _, err := w.dial(); err == nil || !strings.Contains(fault.Message(err), "cannot be joined") {
		t.Errorf("%v", err)
	}
	w.login = "root"
	c := w.client()
	w.rules.mu.Lock()
	w.rules.role.Spec.Allow.RequireSessionJoin = []types.RequireSessionJoin{{Name: "watched", Kinds: []string{"ssh"}, Modes: []string{"moderator"}, Count: 1, Filter: "true"}}
	w.rules.mu.Unlock()
	if _, err := w.run(c, "print"); err == nil {
		t.Error("a session began that others had to watch")
	}
	if _, err := w.dial(); err == nil || !strings.Contains(fault.Message(err), "require_session_join") {
		t.Errorf("%v", err)
	}
	w.sshd.mu.Lock()
	defer w.sshd.mu.Unlock()
	if got := w.sshd.logins; len(got) != 1 {
		t.Errorf("the server was entered by %v", got)
	}
}

// A live session is known to the cluster, and a lock on it alone ends it alone.
func TestALiveSessionIsListedAndCutAlone(t *testing.T) {
	w := newStockWorld(t)
	c := w.client()
	in, typing := io.Pipe()
	defer typing.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := w.run(c, "cat", func(cmd *sshclient.Command) { cmd.Stdin = in })
		ended <- err
	}()
	sid := w.wait(1, event.TypeSessionStart)[0].(*event.SessionStart).SessionID
	var doc *types.SessionTracker
	for deadline := time.Now().Add(time.Minute); doc == nil && time.Now().Before(deadline); {
		doc, _ = w.trackers.Find(sid)
	}
	if doc == nil || doc.Spec.HostID != "proxy" || doc.Spec.Hostname != "plain" || doc.Spec.SubKind != types.SubKindOpenSSH || doc.Spec.User != "alice" || doc.Validate() != nil {
		t.Errorf("%+v", doc)
	}
	lock := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: "l"}}}
	lock.Spec.Target.Session = sid
	w.rules.mu.Lock()
	w.rules.locks = []*types.Lock{lock}
	w.rules.mu.Unlock()
	w.rules.ticks <- struct{}{}
	if err := <-ended; err == nil {
		t.Error("it ended as if all were well")
	}
	w.wait(1, event.TypeSessionEnd)
	if _, ok := w.trackers.Find(sid); ok {
		t.Error("it is still listed")
	}
	if out, err := w.run(c, "print"); out != "print" || err != nil {
		t.Errorf("another session of the connection: %q, %v", out, err)
	}
}

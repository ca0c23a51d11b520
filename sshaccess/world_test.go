package sshaccess_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/cert"
	"teleport/cert/sshcert"
	"teleport/recorder"
	"teleport/session"
	"teleport/sshaccess"
	"teleport/sshaccess/childbin"
	"teleport/sshaccess/spawn"
	"teleport/sshclient"
	"teleport/types"
	"teleport/types/event"
)

const (
	cluster  = "example.test"
	hostUUID = "6f1d2ad0-5a0c-4d47-9a2e-0f3c9a1f0001"
)

// childPath is the helper program, built once for all tests of the package.
var childPath string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sshaccess-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	childPath = filepath.Join(dir, "userchild")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", childPath, "teleport/cmd/teleport-userchild")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the helper: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// policy is a replica that tests change.
type policy struct {
	mu       sync.Mutex
	roles    map[string]*types.Role
	locks    []*types.Lock
	settings access.Settings
	epochs   map[string]*types.UserEpochSpec
	revision uint64
	stale    bool // the copy may be out of date
	ticks    chan struct{}
}

func (p *policy) Roles(names []string) []*types.Role {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*types.Role
	for _, n := range names {
		if r := p.roles[n]; r != nil {
			out = append(out, r)
		}
	}
	return out
}
func (p *policy) Locks() []*types.Lock {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.locks
}
func (p *policy) Settings() access.Settings {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settings
}
func (p *policy) Epoch(user string) *types.UserEpochSpec {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epochs[user]
}
func (p *policy) Fresh(time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.stale
}
func (p *policy) Revision() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revision
}
func (p *policy) Subscribe() (<-chan struct{}, func()) { return p.ticks, func() {} }

// change edits the policy and tells who watches it.
func (p *policy) change(f func()) {
	p.mu.Lock()
	f()
	p.revision++
	p.mu.Unlock()
	p.ticks <- struct{}{}
}

// log keeps events in order.
type log struct {
	mu     sync.Mutex
	events []event.Event
	grew   chan struct{}
	fail   bool
	hold   chan struct{} // when not nil, a disk that keeps client.disconnect until it is closed
}

func (l *log) Emit(_ context.Context, events ...event.Event) error {
	for _, e := range events {
		if _, ok := e.(*event.ClientDisconnect); ok && l.hold != nil {
			<-l.hold
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail {
		return io.ErrShortWrite
	}
	l.events = append(l.events, events...)
	close(l.grew)
	l.grew = make(chan struct{})
	return nil
}

// wait returns the first event of a type and code that match says yes to.
func (l *log) wait(t *testing.T, typ, code string) event.Event {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		l.mu.Lock()
		for _, e := range l.events {
			if m := e.EventMeta(); m.Type == typ && (code == "" || m.Code == code) {
				l.mu.Unlock()
				return e
			}
		}
		grew := l.grew
		l.mu.Unlock()
		select {
		case <-grew:
		case <-deadline:
			t.Fatalf("no event %s %s; have %v", typ, code, l.types())
		}
	}
}

func (l *log) types() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.events {
		out = append(out, e.EventMeta().Type+" "+e.EventMeta().Code)
	}
	return out
}

func (l *log) count(typ string) int {
	n := 0
	for _, s := range l.types() {
		if strings.HasPrefix(s, typ+" ") {
			n++
		}
	}
	return n
}

type world struct {
	t      testing.TB
	policy *policy
	log    *log
	reg    *session.Registry
	addr   string
	dir    string
	trust  *cert.Trust
	userCA ssh.Signer
	hostCA ssh.Signer
	cfg    sshaccess.Config
	in     sshaccess.Inbound
	ahead  atomic.Int64 // nanoseconds by which the host's clock is before this machine's
}

// now is the host's clock.
func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func newSigner(t testing.TB) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s, priv
}

func authority(kind types.CAType, s ssh.Signer) *types.CertAuthority {
	ca := &types.CertAuthority{}
	ca.Kind, ca.SubKind, ca.Version, ca.Metadata.Name = types.KindCertAuthority, string(kind), "v2", cluster
	ca.Spec.Type, ca.Spec.Cluster, ca.Spec.Phase = kind, cluster, "standby"
	ca.Spec.Active.SSHPublic = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))
	return ca
}

func yes() types.Bool { v := true; return &v }
func no() types.Bool  { v := false; return &v }

func role(name string, logins ...string) *types.Role {
	r := &types.Role{}
	r.Kind, r.Version, r.Metadata.Name = types.KindRole, "v7", name
	r.Spec.Options.ForwardAgent = yes()
	r.Spec.Allow.Logins = logins
	r.Spec.Allow.NodeLabels = types.Labels{"*": {"*"}}
	return r
}

// newWorld is a node's SSH service on a loopback port, with CAs, one role and a log.
func newWorld(t testing.TB, change ...func(*world)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), log: &log{grew: make(chan struct{})}}
	w.reg = session.NewRegistryWithClock(w.now)
	w.policy = &policy{roles: map[string]*types.Role{"dev": role("dev", "root")}, epochs: map[string]*types.UserEpochSpec{}, ticks: make(chan struct{}, 1)}
	w.userCA, _ = newSigner(t)
	w.hostCA, _ = newSigner(t)
	trust, err := cert.NewTrust([]*types.CertAuthority{authority(types.CAUser, w.userCA), authority(types.CAHost, w.hostCA)})
	if err != nil {
		t.Fatal(err)
	}
	w.trust = trust
	child, err := childbin.Load(childPath)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Close() })
	host := w.hostSigner()
	node := &types.Node{}
	node.Kind, node.Version, node.Metadata.Name = types.KindNode, "v2", hostUUID
	node.Metadata.Labels = map[string]string{"env": "test"}
	node.Spec.Hostname = "node1"
	w.cfg = sshaccess.Config{
		HostID: hostUUID, Hostname: "node1", Cluster: cluster, Node: func() *types.Node { return node },
		HostSigners: func() []ssh.Signer { return []ssh.Signer{host} },
		Verify: func(c *ssh.Certificate, now time.Time) (*types.Identity, error) {
			return sshcert.Verify(c, trust, types.IdentityUser, now)
		},
		Policy: w.policy, Audit: w.log, Sessions: w.reg, Recorder: recorder.Off{}, Accounts: plainHost(w.dir),
		Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo})), Child: child, PortForwarding: true, FileCopy: true, Now: w.now,
	}
	for _, f := range change {
		f(w)
	}
	w.serve()
	return w
}

// plainHost is this host with /bin/sh for root, as other shells read rc files
// whose time and effects are the machine's.
func plainHost(dir string) *spawn.Accounts {
	etc := filepath.Join(dir, "etc")
	if err := os.Mkdir(etc, 0o755); err != nil {
		panic(err)
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"group":  "root:x:0:\ntty:x:5:\n",
	} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o600); err != nil {
			panic(err)
		}
	}
	return &spawn.Accounts{Root: dir}
}

// testWriter shows the service's log with the test's.
type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (w *world) serve() {
	svc, err := sshaccess.New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { defer wg.Done(); w.reg.Serve(ctx, w.policy) }()
	go func() {
		defer wg.Done()
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() {
				defer wg.Done()
				if err := svc.ServeConn(ctx, nc, w.in); err != nil {
					w.cfg.Log.Info("connection refused", "error", err)
				}
			}()
		}
	}()
	w.t.Cleanup(func() {
		cancel()
		l.Close()
		wg.Wait()
		if n := w.reg.Len(); n != 0 {
			w.t.Errorf("%d live sessions are left", n)
		}
		if a, b := w.log.count("session.start"), w.log.count("session.end"); a != b {
			w.t.Errorf("%d session.start, %d session.end", a, b)
		}
		if !w.t.Failed() {
			noChildren(w.t)
		}
	})
}

// noChildren fails when a child of this process is left, dead or alive.
func noChildren(t testing.TB) {
	t.Helper()
	out, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
	if err == nil && strings.TrimSpace(string(out)) != "" {
		t.Errorf("children left: %s", out)
	}
}

func (w *world) hostSigner() ssh.Signer {
	key, _ := newSigner(w.t)
	now := time.Now().UTC().Truncate(time.Second)
	id := &types.Identity{Kind: types.IdentityHost, Cluster: cluster, Name: hostUUID, IssuedAt: now}
	id.Authority.Expires = now.Add(time.Hour)
	id.Authority.SystemRoles = []types.SystemRole{types.RoleNode}
	id.Authority.Hostname = "node1"
	id.Authority.Principals = []string{"node1", "127.0.0.1"}
	c, err := sshcert.Sign(id, key.PublicKey(), w.hostCA, now)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(c, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) identity(name string, logins ...string) *types.Identity {
	now := time.Now().UTC().Truncate(time.Second)
	id := &types.Identity{Kind: types.IdentityUser, Cluster: cluster, Name: name, IssuedAt: now}
	id.Authority.Expires = now.Add(time.Hour)
	id.Authority.Roles = []string{"dev"}
	id.Authority.Logins = logins
	id.Authority.PermitPTY, id.Authority.PermitAgent, id.Authority.PermitPortForward = true, true, true
	return id
}

// user makes a key and certificate on disk for OpenSSH, and a signer for ours.
func (w *world) user(name string, logins ...string) (keyFile string, signer ssh.Signer) {
	return w.userOf(w.identity(name, logins...))
}

func (w *world) userOf(id *types.Identity) (string, ssh.Signer) {
	w.t.Helper()
	key, priv := newSigner(w.t)
	c, err := sshcert.Sign(id, key.PublicKey(), w.userCA, id.IssuedAt)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(c, key)
	if err != nil {
		w.t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		w.t.Fatal(err)
	}
	file := filepath.Join(w.dir, id.Name)
	w.write(file, pem.EncodeToMemory(block))
	w.write(file+".pub", ssh.MarshalAuthorizedKey(key.PublicKey()))
	w.write(file+"-cert.pub", ssh.MarshalAuthorizedKey(c))
	w.write(filepath.Join(w.dir, "known_hosts"), append([]byte("@cert-authority * "), ssh.MarshalAuthorizedKey(w.hostCA.PublicKey())...))
	return file, s
}

func (w *world) write(name string, b []byte) {
	w.t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// options are those of every OpenSSH client run against the world.
func (w *world) options(key string) []string {
	_, port, _ := net.SplitHostPort(w.addr)
	return []string{"-F", "none", "-o", "IdentityAgent=none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "UserKnownHostsFile=" + filepath.Join(w.dir, "known_hosts"), "-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlias=node1",
		"-o", "Port=" + port, "-i", key}
}

type result struct {
	out, err string
	code     int
}

// runLimit bounds a program that hangs. A hundred megabytes through the race
// detector take a minute on a busy machine.
const runLimit = 5 * time.Minute

// run runs a real client with an environment of its own.
func (w *world) run(stdin io.Reader, program string, args ...string) result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + w.dir, "LC_TEST=from-client", "TERM=xterm"}
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil || ctx.Err() != nil {
		w.t.Fatalf("%s %v did not end within %s: %v, after %d bytes of output\n%s", program, args, runLimit, err, out.Len(), errs.String())
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func (w *world) ssh(key, login string, stdin io.Reader, args ...string) result {
	w.t.Helper()
	return w.run(stdin, "ssh", append(append(w.options(key), login+"@127.0.0.1"), args...)...)
}

// client is a client of ours.
func (w *world) client(login string, s ssh.Signer) (*sshclient.Client, error) {
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	verify := func(c *ssh.Certificate) (*types.Identity, error) {
		return sshcert.Verify(c, w.trust, types.IdentityHost, time.Now())
	}
	return sshclient.New(context.Background(), nc, sshclient.Config{Login: login, Signers: []ssh.Signer{s}, Host: sshclient.HostUUID(verify, hostUUID)})
}

func (w *world) mustClient(login string, s ssh.Signer) *sshclient.Client {
	w.t.Helper()
	c, err := w.client(login, s)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

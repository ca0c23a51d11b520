package sshproxy_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/audit/audittest"
	"teleport/cert/certtest"
	"teleport/cert/sshcert"
	"teleport/netx"
	"teleport/netx/memnet"
	"teleport/recorder"
	"teleport/session"
	"teleport/sshaccess/sshproxy"
	"teleport/sshclient"
	"teleport/types"
	"teleport/types/event"
)

const (
	nodeID  = "4d5f3b8e-1f0a-4a51-9a0e-0f6f2a9c7b11"
	cluster = "example.test"
)

// view is a policy that tests change.
type view struct {
	mu    sync.Mutex
	role  *types.Role
	locks []*types.Lock
	mode  access.Settings
	epoch *types.UserEpochSpec
	stale bool
	ticks chan struct{}
}

func (v *view) Roles([]string) []*types.Role {
	v.mu.Lock()
	defer v.mu.Unlock()
	return []*types.Role{v.role}
}
func (v *view) Locks() []*types.Lock      { v.mu.Lock(); defer v.mu.Unlock(); return v.locks }
func (v *view) Settings() access.Settings { v.mu.Lock(); defer v.mu.Unlock(); return v.mode }
func (v *view) Epoch(string) *types.UserEpochSpec {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.epoch
}
func (v *view) Fresh(time.Time) bool                 { v.mu.Lock(); defer v.mu.Unlock(); return !v.stale }
func (v *view) Revision() uint64                     { return 1 }
func (v *view) Subscribe() (<-chan struct{}, func()) { return v.ticks, func() {} }

func (v *view) change(f func()) {
	v.mu.Lock()
	f()
	v.mu.Unlock()
	v.ticks <- struct{}{}
}

func dev() *types.Role {
	r := &types.Role{Header: types.Header{Kind: types.KindRole, Version: "v7", Metadata: types.Metadata{Name: "access"}}}
	r.Spec.Allow.Logins, r.Spec.Allow.NodeLabels = []string{"root"}, types.Labels{"*": {"*"}}
	return r
}

// full is an auth service without room for anybody's connection.
type full struct{}

func (full) Hold(_ context.Context, list []session.Held) ([]string, time.Duration, error) {
	return slices.Repeat([]string{"there is no room for you"}, len(list)), time.Minute, nil
}
func (full) Release(context.Context, []session.Held) error { return nil }

// endWorld is a proxy that ends SSH for a server, and that server.
type endWorld struct {
	t      *testing.T
	certs  *certtest.World
	policy *view
	events *audittest.Recorder
	ender  *sshproxy.Ender
	node   *types.Node
	ahead  atomic.Int64 // nanoseconds by which the proxy's clock is before this machine's
}

// now is the proxy's clock.
func (w *endWorld) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

func certSigner(t *testing.T, id *types.Identity, by ssh.Signer) ssh.Signer {
	t.Helper()
	own := signer(t)
	c, err := sshcert.Sign(id, own.PublicKey(), by, id.IssuedAt)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(c, own)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *endWorld) ca(kind types.CAType) ssh.Signer {
	w.t.Helper()
	s, err := ssh.NewSignerFromSigner(w.certs.SSH[kind])
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *endWorld) hostSigner(name string) ssh.Signer {
	id := certtest.Host(cluster, time.Now().UTC().Truncate(time.Second), types.RoleProxy)
	id.Name, id.Authority.Principals = name, []string{name, "plain-1", "127.0.0.1"}
	return certSigner(w.t, id, w.ca(types.CAHost))
}

func newEndWorld(t *testing.T) *endWorld {
	t.Helper()
	w := &endWorld{t: t, certs: certtest.New(t, cluster, time.Now()), events: audittest.NewRecorder(), policy: &view{role: dev(), ticks: make(chan struct{})}}
	remote, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.node = &types.Node{Header: types.Header{Kind: types.KindNode, SubKind: types.SubKindOpenSSH, Version: "v2", Metadata: types.Metadata{Name: nodeID}}}
	w.node.Spec.Addr, w.node.Spec.Hostname = remote.Addr().String(), "plain-1"
	openssh := signer(t)
	server := &ssh.ServerConfig{PublicKeyCallback: (&ssh.CertChecker{IsUserAuthority: func(k ssh.PublicKey) bool {
		return string(k.Marshal()) == string(openssh.PublicKey().Marshal())
	}}).Authenticate}
	server.AddHostKey(w.hostSigner(nodeID))
	registry, proxy := session.NewRegistryWithClock(w.now), w.hostSigner(certtest.HostUUID)
	slots := session.NewSlots(full{}, slog.New(slog.DiscardHandler))
	w.ender, err = sshproxy.NewEnder(sshproxy.EnderConfig{HostID: certtest.HostUUID, HostSigners: func() []ssh.Signer { return []ssh.Signer{proxy} },
		Verify: func(c *ssh.Certificate, now time.Time) (*types.Identity, error) {
			return sshcert.Verify(c, w.certs.Trust, types.IdentityUser, now)
		},
		VerifyHost: func(c *ssh.Certificate) (*types.Identity, error) {
			return sshcert.Verify(c, w.certs.Trust, types.IdentityHost, w.now())
		},
		Certify: func(_ context.Context, _ *ssh.Certificate, key ssh.PublicKey, _, login string, _ netip.AddrPort) (*ssh.Certificate, error) {
			c := &ssh.Certificate{Key: key, CertType: ssh.UserCert, ValidPrincipals: []string{login}, ValidBefore: ssh.CertTimeInfinity}
			return c, c.SignCert(rand.Reader, openssh)
		},
		Bridge: func(ctx context.Context, user *ssh.Certificate, key ssh.PublicKey, node, login string, client netip.AddrPort) (*ssh.Certificate, error) {
			return nil, errors.New("the server has no agent")
		},
		Dial: (&net.Dialer{}).DialContext, Policy: w.policy, Audit: w.events, Recorder: recorder.Off{}, Sessions: registry, Slots: slots,
		Log: slog.New(slog.DiscardHandler), Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { registry.Serve(ctx, w.policy) })
	all.Go(func() { slots.Serve(ctx) })
	all.Go(func() { w.ender.Serve(ctx) })
	all.Go(func() { serveRemote(remote, server) })
	t.Cleanup(func() {
		remote.Close()
		cancel()
		all.Wait()
		if n := registry.Len(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	return w
}

// serveRemote is an SSH server that greets and says back what it hears, serves
// files, and forwards.
func serveRemote(ln net.Listener, config *ssh.ServerConfig) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		all.Go(func() {
			defer nc.Close()
			_, chans, reqs, err := ssh.NewServerConn(nc, config)
			if err != nil {
				return
			}
			go ssh.DiscardRequests(reqs)
			for c := range chans {
				ch, reqs, err := c.Accept()
				if err != nil {
					return
				}
				if c.ChannelType() == "direct-tcpip" {
					go ssh.DiscardRequests(reqs)
					all.Go(func() { defer ch.Close(); io.Copy(ch, ch) })
					continue
				}
				all.Go(func() { remoteSession(ch, reqs) })
			}
		})
	}
}

func remoteSession(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer ch.Close()
	for r := range reqs {
		r.Reply(true, nil)
		switch r.Type {
		case "subsystem":
			go func() {
				if s, err := sftp.NewServer(ch); err == nil {
					s.Serve()
				}
			}()
		case "exec", "shell":
			go func() {
				io.WriteString(ch, "ready\n")
				io.Copy(ch, ch)
			}()
		}
	}
}

func (w *endWorld) identity() *types.Identity {
	id := certtest.User("alice", cluster, time.Now().UTC().Truncate(time.Second))
	id.Authority.PermitPortForward = true
	id.Proofs.AccessRequests, id.Proofs.DeviceID, id.Proofs.MFADevice = []string{"req-1"}, "dev-1", "mfa-1"
	return id
}

func (w *endWorld) client(id *types.Identity) (*sshclient.Client, error) {
	far := w.ender.Open(sshproxy.Inbound{Node: w.node, Client: netip.MustParseAddrPort("192.0.2.7:4000"), User: id.Name, Cluster: cluster})
	conn, near := memnet.Pipe()
	go netx.Splice(context.Background(), far, near, netx.SpliceOptions{}) // as the proxy's dials do, to the end of either
	c, err := sshclient.New(context.Background(), conn, sshclient.Config{Login: "root", Signers: []ssh.Signer{certSigner(w.t, id, w.ca(types.CAUser))},
		Host: sshclient.HostUUID(func(c *ssh.Certificate) (*types.Identity, error) {
			return sshcert.Verify(c, w.certs.Trust, types.IdentityHost, time.Now())
		}, certtest.HostUUID)})
	if err != nil {
		conn.Close()
	}
	return c, err
}

// screen is what a client is shown.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
	grew chan struct{}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.grew)
	s.grew = make(chan struct{})
	return s.text.Write(p)
}

func (s *screen) shows(text string) (bool, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), text), s.grew
}

// streams opens a shell, a command, a transfer and a forward, and returns how each
// ends.
func (w *endWorld) streams(c *sshclient.Client) (ends map[string]chan error, shell *screen) {
	w.t.Helper()
	ends = map[string]chan error{}
	run := func(name string, cmd sshclient.Command) *screen {
		s := &screen{grew: make(chan struct{})}
		in, keys := io.Pipe()
		w.t.Cleanup(func() { keys.Close() })
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, s, s
		end := make(chan error, 1)
		ends[name] = end
		go func() { end <- c.Run(context.Background(), cmd) }()
		for {
			ok, grew := s.shows("ready")
			if ok {
				return s
			}
			select {
			case <-grew:
			case err := <-end:
				w.t.Fatalf("%s: %v", name, err)
			}
		}
	}
	shell = run("shell", sshclient.Command{Terminal: &sshclient.Terminal{Term: "xterm", Columns: 80, Rows: 24}})
	run("command", sshclient.Command{Line: "cat"})
	files, err := c.SFTP()
	if err != nil {
		w.t.Fatal(err)
	}
	moved, nc := make(chan error, 1), make(chan error, 1)
	go func() { moved <- files.Wait() }()
	if _, err := files.Getwd(); err != nil {
		w.t.Fatal(err)
	}
	forward, err := c.Dial(context.Background(), "127.0.0.1:1")
	if err != nil {
		w.t.Fatal(err)
	}
	io.WriteString(forward, "ping")
	if _, err := io.ReadFull(forward, make([]byte, 4)); err != nil {
		w.t.Fatal(err)
	}
	go func() { _, err := forward.Read(make([]byte, 1)); nc <- err }()
	ends["transfer"], ends["forward"] = moved, nc
	return ends, shell
}

// TestWhatCutsAtTheProxy holds every kind of stream to a server without an agent
// open, and takes the right to it away, in every way, in both modes of locks.
func TestWhatCutsAtTheProxy(t *testing.T) {
	lock := func(x types.LockTarget) func(*view) {
		l := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: "l1"}}}
		l.Spec.Target, l.Spec.Message = x, "laptop stolen"
		return func(v *view) { v.locks = []*types.Lock{l} }
	}
	retype := func(edit func(*types.Role)) func(*view) {
		return func(v *view) { v.role = dev(); edit(v.role) }
	}
	for name, c := range map[string]struct {
		after  func(*view)
		reason string
	}{
		"lock on the user":           {lock(types.LockTarget{User: "alice"}), "lock"},
		"lock on the role":           {lock(types.LockTarget{Role: "access"}), "lock"},
		"lock on the login":          {lock(types.LockTarget{Login: "root"}), "lock"},
		"lock on the node":           {lock(types.LockTarget{ServerID: nodeID}), "lock"},
		"lock on the proxy":          {lock(types.LockTarget{ServerID: certtest.HostUUID}), "lock"},
		"lock on the access request": {lock(types.LockTarget{AccessRequest: "req-1"}), "lock"},
		"lock on the device":         {lock(types.LockTarget{Device: "dev-1"}), "lock"},
		"lock on the second factor":  {lock(types.LockTarget{MFADevice: "mfa-1"}), "lock"},
		"role without the login":     {retype(func(r *types.Role) { r.Spec.Allow.Logins = []string{"other"} }), "policy"},
		"role that denies":           {retype(func(r *types.Role) { r.Spec.Deny.NodeLabels = types.Labels{"*": {"*"}} }), "policy"},
		"user removed": {func(v *view) {
			v.epoch = &types.UserEpochSpec{NotBefore: time.Now().Add(time.Second), Deleted: true}
		}, "policy"},
		"max_connections":         {retype(func(r *types.Role) { r.Spec.Options.MaxConnections = 1 }), "max_connections"},
		"client_idle_timeout":     {retype(func(r *types.Role) { r.Spec.Options.ClientIdleTimeout = types.Duration(time.Second) }), "idle"},
		"disconnect_expired_cert": {retype(func(r *types.Role) { v := true; r.Spec.Options.DisconnectExpiredCert = &v }), "expired certificate"},
	} {
		for _, mode := range []string{"best_effort", "strict"} {
			t.Run(mode+"/"+name, func(t *testing.T) {
				w := newEndWorld(t)
				w.policy.mode.Auth.LockingMode = mode
				id := w.identity()
				client, err := w.client(id)
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				ends, shell := w.streams(client)
				for name, end := range ends {
					if len(end) != 0 {
						t.Errorf("%s ended by itself: %v", name, <-end)
					}
				}
				if c.reason == "expired certificate" { // that of this person is of a second at most, now that all is open
					w.ahead.Store(int64(time.Until(id.Authority.Expires) - time.Second))
				}
				w.policy.change(func() { c.after(w.policy) })
				for name, end := range ends {
					select {
					case <-end:
					case <-time.After(time.Minute):
						t.Errorf("%s goes on", name)
					}
				}
				if told, _ := shell.shows("ERROR: "); !told {
					t.Error("the person is told nothing")
				}
				w.toldOf(c.reason)
				back, err := w.client(id)
				if err != nil || c.reason == "idle" {
					return
				}
				defer back.Close()
				if _, _, err := back.Conn().OpenChannel("session", nil); err == nil {
					t.Error("and comes back")
				}
			})
		}
	}
}

// toldOf waits for the events of a connection that was cut.
func (w *endWorld) toldOf(reason string) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for len(w.events.Events(event.TypeSessionEnd)) < 3 {
		select {
		case <-pace.C:
		case <-deadline:
			w.t.Fatalf("%d sessions are told to have ended", len(w.events.Events(event.TypeSessionEnd)))
		}
	}
	for _, e := range w.events.Events(event.TypeSessionEnd) {
		if got := e.(*event.SessionEnd).Reason; got != reason {
			w.t.Errorf("a session ended for %q", got)
		}
	}
	cuts := w.events.Events(event.TypeClientDisconnect)
	if len(cuts) != 1 || cuts[0].(*event.ClientDisconnect).Reason != reason {
		w.t.Errorf("%d disconnects are told, the first %+v", len(cuts), cuts)
	}
}

// A proxy that cannot know of locks cuts in strict mode alone, and one session too
// many is refused and told.
func TestStaleLocksAtTheProxy(t *testing.T) {
	for mode, cut := range map[string]bool{"strict": true, "best_effort": false} {
		w := newEndWorld(t)
		w.policy.mode.Auth.LockingMode = mode
		client, err := w.client(w.identity())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		ends, _ := w.streams(client)
		w.policy.change(func() { w.policy.stale = true })
		if cut {
			w.toldOf("policy")
			continue
		}
		w.policy.change(func() { w.policy.role.Spec.Options.MaxSessions = 3 })
		w.policy.change(func() {}) // by now the limit counts
		if _, err := client.SFTP(); err == nil {
			t.Error("a fourth session")
		}
		if e := w.events.Events(event.TypeSessionRejected); len(e) != 1 || e[0].(*event.SessionRejected).Maximum != 3 {
			t.Errorf("told is %+v", e)
		}
		for name, end := range ends {
			if len(end) != 0 {
				t.Errorf("%s: %v", name, <-end)
			}
		}
	}
}

// Who may not have another connection enters no server.
func TestNoRoomAtTheProxy(t *testing.T) {
	w := newEndWorld(t)
	w.policy.role.Spec.Options.MaxConnections = 1
	if _, err := w.client(w.identity()); err == nil || !strings.Contains(err.Error(), "there is no room for you") {
		t.Errorf("%v", err)
	}
	told := w.events.Events(event.TypeSessionRejected)
	if len(told) != 1 || told[0].(*event.SessionRejected).Maximum != 1 || len(w.events.Events(event.TypeAuth)) != 0 {
		t.Errorf("told is %+v", told)
	}
}

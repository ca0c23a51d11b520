package inproc

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"teleport/access"
	"teleport/api/authclient"
	"teleport/api/gen/issuev1"
	"teleport/cert/tlscert"
	"teleport/join/tokenjoin"
	"teleport/keys"
	"teleport/lifecycle"
	"teleport/member"
	"teleport/session"
	"teleport/store"
	"teleport/types"
)

// Host is a process that joined: its identity, its copy of the policy, its
// presence, and the streams that it carries.
type Host struct {
	Name     string
	Member   *member.Member
	API      *authclient.Client
	Replica  *store.Replica
	Sessions *session.Registry
	Trackers *session.Trackers
	Presence *member.Announcer

	w    *World
	stop func()

	mu    sync.Mutex
	conns map[net.Conn]bool
	away  bool
	dials atomic.Int64
}

// AddHost joins a host of that name and serves it until Stop or the world's end.
func (w *World) AddHost(t *testing.T, name string) *Host {
	t.Helper()
	h := &Host{Name: name, w: w, Sessions: session.NewRegistry(), Trackers: session.NewTrackers(), conns: map[net.Conn]bool{}}
	var err error
	h.Member, err = member.New(member.Config{DataDir: t.TempDir(), Hostname: name, SystemRoles: []types.SystemRole{types.RoleNode, types.RoleInstance},
		Suite: keys.DefaultSuite, Log: quiet()})
	check(t, err)
	check(t, h.join(t.Context()))
	h.API = w.client(t, h.Member.Source(), h.dial)
	h.Replica = store.NewReplica(h.API, []string{types.KindRole, types.KindLock, types.KindCertAuthority, types.KindUserEpoch,
		types.KindClusterName, types.KindAuthPreference, types.KindNetworkingConfig, types.KindRecordingConfig}, store.ReplicaOptions{Log: quiet()})
	h.Presence = member.NewAnnouncer(member.AnnouncerConfig{Hostname: name, Version: types.Release, Services: []types.SystemRole{types.RoleNode}, Generation: 1, Sessions: h.Trackers,
		Via: member.PresenceFunc(func(ctx context.Context) (member.ControlStream, error) { return h.API.Control(ctx) }), Log: quiet()})
	check(t, h.Presence.Announce(h.node()))
	ctx, cancel := context.WithCancel(context.Background())
	again := &lifecycle.Backoff{Min: time.Second, Max: 15 * time.Second}
	group := lifecycle.New(quiet(), time.Minute)
	group.Add(lifecycle.Service{Name: "replica", Serve: h.Replica.Serve, Restart: again})
	group.Add(lifecycle.Service{Name: "presence", Serve: h.Presence.Serve, Restart: again})
	group.Add(lifecycle.Service{Name: "renewal", Serve: func(ctx context.Context) error { return h.Member.Serve(ctx, h.API) }})
	changes, unsubscribe := h.Member.Subscribe()
	group.Add(lifecycle.Service{Name: "connections", Serve: func(ctx context.Context) error { return h.API.Follow(ctx, changes) }})
	group.Add(lifecycle.Service{Name: "sessions", Serve: func(ctx context.Context) error { return h.Sessions.Serve(ctx, h.Replica) }})
	done := make(chan struct{})
	go func() { defer close(done); _ = group.Serve(ctx) }() // how it ends is seen by what it serves
	h.stop = sync.OnceFunc(func() { cancel(); <-done; unsubscribe(); _ = h.API.Close() })
	t.Cleanup(h.stop)
	<-h.Replica.Ready()
	return h
}

func (h *Host) join(ctx context.Context) error {
	src := h.Member.Source()
	src.Certificate = nil
	conf, err := tlscert.PinnedConfig(src, h.w.Auth.Trust().Pins("test"), types.RoleAuth, "h2")
	if err != nil {
		return err
	}
	api, err := authclient.New(authclient.Config{TLS: conf, Dial: func(ctx context.Context) (net.Conn, error) { return h.dial(ctx, "tcp", authAddr) }})
	if err != nil {
		return err
	}
	return errors.Join(h.Member.Join(ctx, api, tokenjoin.Method{}, types.NewSecret(NodeToken)), api.Close())
}

// Stop ends the host as TERM does.
func (h *Host) Stop() { h.stop() }

// Partition cuts the host off the network, or joins it again: what is open dies
// unseen by the other end's goodbye, and new connections are refused.
func (h *Host) Partition(away bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.away = away
	for c := range h.conns {
		c.Close()
		delete(h.conns, c)
	}
}

// Dials is how often the host dialled auth.
func (h *Host) Dials() int64 { return h.dials.Load() }

func (h *Host) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	h.dials.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.away {
		return nil, errors.New("no route")
	}
	c, err := h.w.Net.From(h.Name).DialContext(ctx, network, addr)
	if err == nil {
		h.conns[c] = true
	}
	return c, err
}

// UUID is the host's id.
func (h *Host) UUID() string { return h.Member.Identity().Name }

func (h *Host) node() *types.Node {
	n := &types.Node{Header: header(types.KindNode, "v2", h.UUID())}
	n.Spec.Hostname, n.Spec.UseTunnel = h.Name, true
	return n
}

// Stream is one use of a host.
type Stream struct {
	cut  chan error
	live *session.Live
}

// Open decides for an identity and a login, and carries a stream until it is cut.
func (h *Host) Open(t testing.TB, id *types.Identity, login string) *Stream {
	t.Helper()
	s, err := h.TryOpen(id, login)
	check(t, err)
	return s
}

// TryOpen is Open where a refusal is expected.
func (h *Host) TryOpen(id *types.Identity, login string) (*Stream, error) {
	decide := func(now time.Time) access.Decision { return h.decide(id, login, now, true) }
	d := h.decide(id, login, time.Now(), false)
	if !d.Allow {
		return nil, errors.New(d.Reasons[0].Text)
	}
	s := &Stream{cut: make(chan error, 1)}
	var err error
	s.live, err = h.Sessions.Add(session.Info{ID: uuid.NewString(), Kind: "ssh", User: id.Name, Cluster: id.Cluster, Roles: id.Authority.Roles,
		Login: login, HostIDs: []string{h.UUID()}, MFADevice: id.Proofs.MFADevice, Identity: id, Limits: d.Limits, Start: time.Now(), Decide: decide},
		func(reason error) { s.cut <- reason })
	return s, err
}

func (h *Host) decide(id *types.Identity, login string, now time.Time, live bool) access.Decision {
	n := h.node()
	return access.Decide(access.Request{Identity: id, ClientAddr: netip.MustParseAddr("192.0.2.7"), Roles: h.Replica.Roles(id.Authority.Roles),
		Locks: h.Replica.Locks(), LocksStale: !h.Replica.Fresh(now), Settings: h.Replica.Settings(), Epoch: h.Replica.Epoch(id.Name),
		Action: access.ActionLogin, Resource: n, Labels: n.AllLabels(), HostID: h.UUID(), Login: login, Live: live, Now: now})
}

// Touch says that the person did something.
func (s *Stream) Touch() { s.live.Touch() }

// Alive fails the test if the stream was cut.
func (s *Stream) Alive(t testing.TB) {
	t.Helper()
	select {
	case err := <-s.cut:
		t.Fatalf("the stream was cut: %v", err)
	default:
	}
}

// CutWithin fails the test unless the stream is cut within d of virtual time,
// and returns the reason's code.
func (s *Stream) CutWithin(t testing.TB, d time.Duration) string {
	t.Helper()
	select {
	case err := <-s.cut:
		return session.CutReason(err)
	case <-time.After(d):
		t.Fatalf("the stream lives on after %s", d)
		return ""
	}
}

// Person is the identity of a user with the role access and the login root, as a
// certificate of that life gives it. The user is made where it is missing.
func (w *World) Person(t testing.TB, name string, ttl time.Duration) *types.Identity {
	t.Helper()
	u := &types.User{Header: header(types.KindUser, "v2", name)}
	u.Spec.Roles, u.Spec.Traits = []string{"access"}, map[string][]string{"logins": {"root"}}
	_, err := authclient.Get[types.User](t.Context(), w.Admin, authclient.Ref{Kind: types.KindUser, Name: name})
	if err != nil {
		_, err = authclient.Put(t.Context(), w.Admin, authclient.Create, u)
		check(t, err)
	}
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	line, err := keys.MarshalSSHPublic(pub)
	check(t, err)
	spki, err := x509.MarshalPKIXPublicKey(pub)
	check(t, err)
	certs, err := w.Admin.SignUser(t.Context(), &issuev1.SignUserRequest{User: name, TtlSeconds: int64(ttl / time.Second),
		Keys: &issuev1.PublicKeys{SshPublic: line, TlsPublic: spki}})
	check(t, err)
	leaf, err := x509.ParseCertificate(der(t, certs.TlsCert))
	check(t, err)
	id, err := tlscert.Verify([]*x509.Certificate{leaf}, w.Auth.Trust(), time.Now(), types.IdentityUser)
	check(t, err)
	return id
}

// Lock puts a lock in force.
func (w *World) Lock(t testing.TB, target types.LockTarget) {
	t.Helper()
	l := &types.Lock{Header: header(types.KindLock, "v2", uuid.NewString()), Spec: types.LockSpec{Target: target}}
	_, err := authclient.Put(t.Context(), w.Admin, authclient.Create, l)
	check(t, err)
}

// Nodes are the names of the hosts that the cluster lists.
func (w *World) Nodes(t testing.TB) []string {
	t.Helper()
	list, err := authclient.List[types.Node](t.Context(), w.Admin, types.KindNode, authclient.ListOptions{})
	check(t, err)
	var names []string
	for _, n := range list {
		names = append(names, n.Spec.Hostname)
	}
	return names
}

// document is a resource as it travels.
func document(t testing.TB, r types.Resource) []byte {
	t.Helper()
	b, err := json.Marshal(r)
	check(t, err)
	return b
}

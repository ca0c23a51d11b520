package sshproxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/audit"
	"teleport/fault"
	"teleport/keys"
	"teleport/predicate"
	"teleport/recorder"
	"teleport/session"
	"teleport/sshclient"
	"teleport/sshserver"
	"teleport/types"
	"teleport/types/event"
)

// EnderConfig is what an Ender is built from. Fields without a remark are required.
type EnderConfig struct {
	HostID string // of this proxy
	// HostSigners returns this proxy's host keys with their certificates: whoever
	// connects sees that it is the proxy that ends the connection.
	HostSigners func() []ssh.Signer
	// Verify makes the identity of a user certificate, VerifyHost that of a server's.
	Verify     func(c *ssh.Certificate, now time.Time) (*types.Identity, error)
	VerifyHost func(c *ssh.Certificate) (*types.Identity, error)
	// Certify asks auth for a certificate of the openssh authority for key, by which
	// the bearer of user enters a node as login.
	Certify func(ctx context.Context, user *ssh.Certificate, key ssh.PublicKey, node, login string, client netip.AddrPort) (*ssh.Certificate, error)
	// Bridge asks auth for a bridge certificate for key, by which the bearer of user
	// enters a node with an agent as login.
	Bridge    func(ctx context.Context, user *ssh.Certificate, key ssh.PublicKey, node, login string, client netip.AddrPort) (*ssh.Certificate, error)
	Dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	Policy    access.View
	Audit     audit.Emitter
	Recorder  recorder.Recorder
	Sessions  *session.Registry
	Trackers  *session.Trackers    // told of every shell and command; nil: nobody is
	Slots     *session.Slots       // of users with max_connections; nil: they are refused
	Strangers *sshserver.Strangers // may be nil
	Cache     *predicate.Cache     // may be nil
	Log       *slog.Logger
	// Now is the clock that certificates and decisions go by. Nil: time.Now.
	Now func() time.Time
}

// Inbound is a connection for a server without an agent.
type Inbound struct {
	Node   *types.Node
	Client netip.AddrPort
	// User and Cluster are who came through the gate.
	User, Cluster string
}

// Ender is the SSH server for servers without an agent: it ends the SSH of the
// client, decides and records as an agent does, and speaks SSH with the server
// itself. Where the cluster records at its proxies, it is so for nodes with an
// agent too, and leaves deciding to them. Safe for concurrent use.
type Ender struct {
	cfg  EnderConfig
	open sync.WaitGroup
}

// NewEnder checks a configuration. It starts nothing.
func NewEnder(cfg EnderConfig) (*Ender, error) {
	if cfg.HostID == "" || cfg.HostSigners == nil || cfg.Verify == nil || cfg.VerifyHost == nil || cfg.Certify == nil || cfg.Bridge == nil || cfg.Dial == nil ||
		cfg.Policy == nil || cfg.Audit == nil || cfg.Recorder == nil || cfg.Sessions == nil || cfg.Log == nil {
		return nil, errors.New("sshproxy: incomplete configuration of an ender")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	e := &Ender{cfg: cfg}
	if _, err := e.newEnd(Inbound{}).server(); err != nil {
		return nil, err
	}
	_, err := e.newBridge(Inbound{}, nil).server()
	return e, err
}

// Serve blocks until ctx ends and the last connection has.
func (e *Ender) Serve(ctx context.Context) error {
	<-ctx.Done()
	e.open.Wait()
	return nil
}

// Open returns the client's end of a connection that this proxy ends. It lives
// until either end closes it.
func (e *Ender) Open(in Inbound) net.Conn { return e.pipe(in, e.newEnd(in).serve) }

// Through is Open for a node with an agent, to which agent is a connection; the
// connection is the Ender's from here on.
func (e *Ender) Through(in Inbound, agent net.Conn) net.Conn {
	return e.pipe(in, e.newBridge(in, agent).serve)
}

func (e *Ender) pipe(in Inbound, serve func(context.Context, net.Conn) error) net.Conn {
	near, far := net.Pipe()
	e.open.Go(func() {
		defer far.Close()
		if err := serve(context.Background(), far); err != nil {
			e.cfg.Log.Debug("a connection that ends here is over", "node", in.Node.Name(), "reason", err)
		}
	})
	return near
}

// end is one connection that this proxy ends.
type end struct {
	*Ender
	in     Inbound
	id     string
	srv    *sshserver.Server
	peer   *sshserver.Conn
	first  decided
	remote *sshclient.Client // the server itself, once the client may enter
	live   *session.Live
	ctx    context.Context // of the connection, for what outlives one request
	cancel context.CancelCauseFunc

	full bool // refused for max_connections, and told

	behind sync.WaitGroup // what is still told of a cut, and what forwards carry

	mu       sync.Mutex
	reason   string // why it was cut
	count    int    // session channels
	sessions map[*endSession]struct{}
	remotes  map[string]*remoteForward

	passing sync.Mutex
	agent   bool // guarded by passing: uses of the client's key agent are passed on
}

// decided keeps a decision with its input, for the log.
type decided struct {
	request  access.Request
	decision access.Decision
}

func (e *Ender) newEnd(in Inbound) *end {
	return &end{Ender: e, in: in, id: uuid.NewString(), cancel: func(error) {}, sessions: map[*endSession]struct{}{}, remotes: map[string]*remoteForward{}}
}

func (c *end) server() (*sshserver.Server, error) {
	srv, err := sshserver.New(sshserver.Config{
		HostSigners: c.cfg.HostSigners,
		Verify:      func(crt *ssh.Certificate) (*types.Identity, error) { return c.cfg.Verify(crt, c.cfg.Now()) },
		Admit:       c.admit, Authorize: c.authorize, AuthFailed: c.authFailed, Strangers: c.cfg.Strangers, Log: c.cfg.Log,
		Surface: sshserver.NewSurface().
			Channel("session", sshserver.Requires(access.ActionLogin), c.serveSession).
			Channel("direct-tcpip", sshserver.Requires(access.ActionForwardLocal), c.serveDirect).
			Global("tcpip-forward", sshserver.Requires(access.ActionForwardRemote), c.startRemote).
			Global("cancel-tcpip-forward", sshserver.Open("ends only what this connection started"), c.cancelRemote).
			Global("keepalive@openssh.com", sshserver.Open("an answer is all it asks for"), keepalive).
			Request("pty-req", sshserver.Open("checked against the decision's limits")).
			Request("window-change", sshserver.Open("of the session's own terminal")).
			Request("env", sshserver.Open("the server filters by name")).
			Request("signal", sshserver.Open("to the session's own process")).
			Request("shell", sshserver.Requires(access.ActionLogin)).
			Request("exec", sshserver.Requires(access.ActionLogin)).
			Request("auth-agent-req@openssh.com", sshserver.Requires(access.ActionForwardAgent)).
			Subsystem("sftp", sshserver.Requires(access.ActionFileCopy)),
	})
	c.srv = srv
	return srv, err
}

func (c *end) serve(ctx context.Context, nc net.Conn) error {
	srv, err := c.server()
	if err != nil {
		return err
	}
	ctx, c.cancel = context.WithCancelCause(ctx)
	c.ctx = ctx
	defer c.behind.Wait()
	defer c.cancel(nil)
	defer c.cfg.Slots.Give(c.id)
	peer, chans, reqs, err := srv.Handshake(ctx, nc, c.in.Client)
	if c.remote != nil {
		defer c.remote.Close()
	}
	if err != nil {
		return err
	}
	if err := c.file(); err != nil {
		c.rejected(fault.Message(err), 0, c.first)
		peer.SSH.Close()
		return err
	}
	defer c.live.Close()
	gone := context.AfterFunc(ctx, func() { c.remote.Close() })
	defer gone()
	c.behind.Go(func() { c.follow(ctx) })
	return srv.ServeConn(ctx, peer, chans, reqs)
}

// lastWordsThrough is how long what a server said before it left may take to the client.
const lastWordsThrough = 500 * time.Millisecond

// follow ends the connection with that to the server.
func (c *end) follow(ctx context.Context) {
	_ = c.remote.Wait() // however the server left
	t := time.NewTimer(lastWordsThrough)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	c.cancel(nil)
}

// admit is the login: gate, identity, login and node as one tuple, and then the
// way into the server, so that the client hears why there is none.
func (c *end) admit(ctx context.Context, peer *sshserver.Conn) error {
	c.peer = peer
	if peer.Identity.Name != c.in.User || peer.Identity.Cluster != c.in.Cluster {
		return fault.New(fault.Denied, "the identity inside the connection is not the one that came through the proxy")
	}
	if peer.Login == types.JoinLogin {
		return fault.New(fault.Unimplemented, "sessions on a server without an agent cannot be joined")
	}
	c.first = c.decide(access.ActionLogin, c.cfg.Now(), false)
	if err := c.may(c.first); err != nil {
		return err
	}
	if err := c.alone(); err != nil {
		return err
	}
	if err := c.take(ctx); err != nil {
		return err
	}
	return c.enter(ctx)
}

// take takes a slot for the connection where the user may have only so many.
func (c *end) take(ctx context.Context) error {
	most := c.first.decision.Limits.MaxConnections
	err := c.cfg.Slots.Take(ctx, c.held(), most)
	if c.full = err != nil; c.full {
		c.rejected(fault.Message(err), most, c.first)
	}
	return err
}

func (c *end) held() session.Held {
	return session.Held{ID: c.id, User: c.peer.Identity.Name, Credential: keys.SSHLine(c.peer.Certificate)}
}

// may turns a decision to log in into the line that the person sees. Where the
// roles want others present, nobody works alone: here there is no room to join.
func (c *end) may(d decided) error {
	if err := denied(d.decision); err != nil {
		return err
	}
	if access.RequiredAttendance(d.request.Roles, "ssh").Any() {
		return fault.New(fault.Denied, "others must be present in your sessions (require_session_join), and nobody can join on a server without an agent")
	}
	return nil
}

// enter opens SSH with the server, as the login that was asked for, with a key
// that lives as long as the connection.
func (c *end) enter(ctx context.Context) error {
	key, err := keys.Generate(keys.Ed25519)
	if err != nil {
		return err
	}
	bare, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return err
	}
	n := c.in.Node
	crt, err := c.cfg.Certify(ctx, c.peer.Certificate, bare.PublicKey(), n.Name(), c.peer.Login, c.in.Client)
	if err != nil {
		return err
	}
	signer, err := ssh.NewCertSigner(crt, bare)
	if err != nil {
		return err
	}
	conn, err := c.cfg.Dial(ctx, "tcp", n.Spec.Addr)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "server %s does not answer at %s", n.Spec.Hostname, n.Spec.Addr)
	}
	c.remote, err = sshclient.New(ctx, conn, sshclient.Config{Login: c.peer.Login, Signers: []ssh.Signer{signer}, Host: c.expected()})
	return err
}

// expected is the server that the node's document means: by its UUID alone, as
// whoever may register a server could give it the name or the address of another,
// and with them lead people there whom that one's labels keep out.
func (c *end) expected() sshclient.HostVerifier {
	v := sshclient.HostPrincipal(c.cfg.VerifyHost, c.in.Node.Name())
	if checks := c.cfg.Policy.Settings().Recording.ProxyChecksHostKeys; checks != nil && !*checks {
		v = sshclient.OrUnknown(v)
	}
	return v
}

func (c *end) authorize(_ context.Context, _ *sshserver.Conn, u sshserver.Use) error {
	a, _ := u.Need.Action()
	d := c.decide(a, c.cfg.Now(), false)
	err := denied(d.decision)
	if err == nil {
		err = c.alone()
	}
	if err != nil {
		c.refused(a, d, err)
	}
	return err
}

func (c *end) decide(a access.Action, now time.Time, live bool) decided {
	r := access.Ask(c.cfg.Policy, c.peer.Identity, c.in.Client.Addr(), now)
	n := c.in.Node
	r.Action, r.Resource, r.HostID, r.Login, r.Cache, r.Live = a, n, n.Name(), c.peer.Login, c.cfg.Cache, live
	r.Labels = n.AllLabels()
	return decided{r, access.Decide(r)}
}

// denied turns a no into the line that the person sees.
func denied(d access.Decision) error {
	if d.Allow {
		return nil
	}
	var texts []string
	for _, r := range d.Reasons {
		texts = append(texts, r.Text)
	}
	return fault.New(fault.Denied, "access denied: %s", strings.Join(texts, "; "))
}

// file puts the connection where locks and drains find it.
func (c *end) file() error {
	id := c.peer.Identity
	live, err := c.cfg.Sessions.Add(session.Info{ID: c.id, Kind: "ssh", User: id.Name, Cluster: id.Cluster, Roles: id.Authority.Roles,
		Login: c.peer.Login, Resource: "node/" + c.in.Node.Name(), HostIDs: []string{c.in.Node.Name(), c.cfg.HostID},
		MFADevice: id.Proofs.MFADevice, DeviceID: id.Proofs.DeviceID, AccessRequests: id.Proofs.AccessRequests,
		ClientAddr: c.in.Client.String(), Identity: id, Limits: c.first.decision.Limits, Start: time.Now(),
		Decide: func(now time.Time) access.Decision { return c.decide(access.ActionLogin, now, true).decision }, LimitsChanged: c.cfg.Slots.Changed,
	}, c.cut)
	if err == nil {
		c.live = live
		c.cfg.Slots.Follow(c.held(), live)
	}
	return err
}

// lastWords bounds how long a cut may wait for what is told of it.
const lastWords = 200 * time.Millisecond

// cut ends the connection for a reason: told to the log and to the person, for no
// longer than a moment, and then closed.
func (c *end) cut(why error) {
	reason := session.EndReason(why)
	c.mu.Lock()
	c.reason = reason
	open := slices.Collect(maps.Keys(c.sessions))
	c.mu.Unlock()
	var telling sync.WaitGroup
	telling.Go(func() {
		c.note(&event.ClientDisconnect{User: c.who(), Session: event.Session{SessionID: c.id}, Server: c.host(), Connection: c.wire(), Reason: reason},
			event.TypeClientDisconnect, event.CodeClientDisconnect)
	})
	telling.Go(func() {
		for _, s := range open {
			_, _ = io.WriteString(s.client.Stderr(), "\r\nERROR: "+fault.Message(why)+"\r\n") // it may be gone
		}
	})
	told := make(chan struct{})
	c.behind.Go(func() { telling.Wait(); close(told) })
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-told:
	case <-t.C:
	}
	c.cancel(why)
}

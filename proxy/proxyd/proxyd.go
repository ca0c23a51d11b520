// Package proxyd is the proxy service: it takes the connections that TLS routing
// sorted by their ALPN name and passes each on without decrypting what is inside.
// A dial goes to the agent that fronts the named resource, an API connection to
// the auth service. At the gate stands the certificate that the client showed to
// this proxy; what is inside is between client and agent. Every stream that
// passes is in the session registry, so a lock cuts it here too.
package proxyd

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"teleport/access"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx"
	"teleport/predicate"
	"teleport/session"
	"teleport/telemetry"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// Router finds resources and dials the agents that front them. visible says
// whether the caller may know of a resource at all; what it hides does not exist
// for the answer. Errors are faults: NotFound, Conflict (ambiguous, with the
// candidates), Unavailable (known, but its agent is away).
type Router interface {
	Resolve(kind, name string, visible func(types.Resource) bool) (types.Resource, error)
	Dial(ctx context.Context, r types.Resource, h dial.Header) (net.Conn, dial.Reply, error)
}

// Options configure a Proxy. Fields without a remark are required.
type Options struct {
	UUID    string
	Cluster string
	Policy  access.View
	Router  Router
	// Sessions holds every stream that passes.
	Sessions *session.Registry
	// Peer verifies the user certificate of a TLS connection.
	Peer func(tls.ConnectionState) (*types.Identity, error)
	// Auth opens a connection to the auth service that is ready for a forward
	// header: TLS with this proxy's host certificate, ALPN teleport-forward.
	Auth  func(ctx context.Context) (net.Conn, error)
	Cache *predicate.Cache // may be nil
	// Proxies lists the addresses of the cluster's proxies for clients whose
	// streams may outlive this one. Optional.
	Proxies func() []string
	// LiveSessions are those of a node: whoever may join one of them may reach it,
	// without any other right there. Nil: nobody joins through this proxy.
	LiveSessions func(node string) []*types.SessionTracker
	// Refused is told of every dial that the policy refuses, for the audit log: a
	// caller who may not know of the resource is answered that there is none. Of
	// databases and apps, it is told of names that nothing has, and of what an agent
	// refuses before it knows who is there.
	Refused func(ctx context.Context, r Refusal)
	Log     *slog.Logger
	Now     func() time.Time
}

// Refusal is a dial that was refused.
type Refusal struct {
	Caller     Caller
	Kind, Name string         // as the caller said them
	Resource   types.Resource // nil: there is none of that name
	Decision   access.Decision
	Err        error // of what no decision refused
}

// Proxy passes connections on. Safe for concurrent use.
type Proxy struct{ o Options }

// New makes a proxy; its Serve methods run it.
func New(o Options) *Proxy { return &Proxy{o} }

// Caller is who came through the gate.
type Caller struct {
	Identity *types.Identity
	// CertSHA256 is the hex hash of the certificate that was shown.
	CertSHA256 string
	Addr       netip.AddrPort
}

// ServeDials serves connections of ALPN teleport-dial until ctx ends: TLS with
// a user certificate, then a dial header, then raw bytes.
func (p *Proxy) ServeDials(ctx context.Context, ln net.Listener) error {
	return p.Serve(ctx, ln, "dial", p.serveDial)
}

// authGrace is how long connections to the auth service live on in a proxy that
// drains. Whoever holds one opens it again elsewhere; a control stream would
// hold up the drain for as long as its process runs.
const authGrace = 5 * time.Second

// ServeAuth serves connections of ALPN teleport-auth@<cluster> until ctx ends:
// inside the outer TLS runs the client's own TLS with the auth service.
func (p *Proxy) ServeAuth(ctx context.Context, ln net.Listener) error {
	life, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	leave := context.AfterFunc(ctx, func() { time.AfterFunc(authGrace, cut) })
	defer leave()
	return p.Serve(ctx, ln, "auth", func(_ context.Context, conn net.Conn) error { return p.forward(life, conn, nil) })
}

// ForwardAgent passes an agent's own traffic on to the auth service; it is a
// tunnel.RegistryOptions.Auth.
func (p *Proxy) ForwardAgent(ctx context.Context, agent *types.Identity, conn net.Conn) error {
	return p.forward(ctx, conn, agent)
}

func (p *Proxy) forward(ctx context.Context, conn net.Conn, agent *types.Identity) error {
	info := session.Info{Kind: "auth", HostIDs: []string{p.o.UUID}, Start: p.o.Now()}
	if agent != nil {
		info.HostIDs = append(info.HostIDs, agent.Name)
	}
	auth, err := p.o.Auth(ctx)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the auth service does not answer")
	}
	if err := dial.WriteForward(auth, p.o.UUID, conn.RemoteAddr(), ""); err != nil {
		auth.Close()
		return err
	}
	return p.splice(ctx, info, conn, auth, dial.Reply{})
}

func (p *Proxy) serveDial(ctx context.Context, conn net.Conn) error {
	tc, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return fault.New(fault.Internal, "a dial arrived without TLS")
	}
	h, err := dial.ReadHeader(conn) // first: an answer to unread bytes would be lost
	if err != nil {
		return err
	}
	state := tc.ConnectionState()
	id, err := p.o.Peer(state)
	if err != nil {
		return errors.Join(err, dial.Refuse(conn, err))
	}
	hash := sha256.Sum256(state.PeerCertificates[0].Raw)
	caller := Caller{Identity: id, CertSHA256: hex.EncodeToString(hash[:]), Addr: netx.AddrPort(conn.RemoteAddr())}
	target, reply, info, err := p.open(ctx, caller, *h)
	if err != nil {
		return errors.Join(err, dial.Refuse(conn, err))
	}
	if h.Verb == tunframe.Attach {
		info.ID = "" // of its own: the stream's connection of before may linger here, dead
	}
	if reply.Resume && p.o.Proxies != nil {
		reply.Proxies = p.o.Proxies()
	}
	if err := dial.WriteReply(conn, reply); err != nil {
		target.Close()
		return err
	}
	return p.splice(ctx, info, conn, target, reply)
}

// Dial opens a stream to a resource for a caller whom another part of this
// proxy has identified: the SSH jump host, a web terminal. The stream is in the
// session registry until it is closed; where that cuts it, reads tell why.
func (p *Proxy) Dial(ctx context.Context, c Caller, t dial.Target) (net.Conn, dial.Reply, error) {
	h, err := t.Header()
	if err != nil {
		return nil, dial.Reply{}, err
	}
	conn, reply, info, err := p.open(ctx, c, *h)
	if err != nil {
		return nil, dial.Reply{}, err
	}
	f := &filed{Conn: conn}
	if f.live, err = p.o.Sessions.Add(info, outlasting(reply, f.cut)); err != nil {
		conn.Close()
		return nil, dial.Reply{}, err
	}
	return f, reply, nil
}

// open finds the resource, decides whether the caller may reach it, and dials
// its agent. What the client wrote into the header beyond the name of the
// resource, and which of its agents is meant, does not count.
func (p *Proxy) open(ctx context.Context, c Caller, h dial.Header) (net.Conn, dial.Reply, session.Info, error) {
	var info session.Info
	if h.Cluster != "" && h.Cluster != p.o.Cluster {
		return nil, dial.Reply{}, info, fault.New(fault.NotFound, "the cluster %q is not known here", h.Cluster)
	}
	resource, err := p.resolve(ctx, c, h.Kind, h.Name)
	if err != nil {
		return nil, dial.Reply{}, info, err
	}
	decide := func(now time.Time) access.Decision {
		return ours(p.decide(c, resource, now, true))
	}
	d := ours(p.decide(c, resource, p.o.Now(), false))
	if !d.Allow {
		p.o.Refused(ctx, Refusal{Caller: c, Kind: h.Kind, Name: h.Name, Resource: resource, Decision: d})
		return nil, dial.Reply{}, info, refusal(d)
	}
	out := dial.New(h.Kind, resource.Head().Name())
	out.Cluster, out.Trace, out.Stream, out.Verb, out.Carrier = p.o.Cluster, h.Trace, h.Stream, h.Verb, h.Carrier
	out.Resume, out.Client = h.Resume, c.Addr
	if types.ServerKind(h.Kind) != "" { // several agents may front one: the router chooses among these alone
		out.AgentUUID = h.AgentUUID
	}
	if h.Verb == tunframe.Attach {
		out.Generation = h.Generation
	}
	out.Gateway = &dial.Gateway{Cluster: c.Identity.Cluster, User: c.Identity.Name, CertSHA256: c.CertSHA256}
	ctx, cancel := context.WithTimeout(ctx, p.dialTimeout())
	defer cancel()
	conn, reply, err := p.o.Router.Dial(ctx, resource, out)
	if err != nil {
		if kind := fault.KindOf(err); kind == fault.Denied || kind == fault.NotFound {
			p.unled(ctx, Refusal{Caller: c, Kind: h.Kind, Name: h.Name, Resource: resource, Err: err})
		}
		return nil, reply, info, err
	}
	id := c.Identity
	info = session.Info{ID: h.Stream, Kind: "tunnel", User: id.Name, Cluster: id.Cluster, Roles: id.Authority.Roles,
		Resource: h.Kind + "/" + resource.Head().Name(), HostIDs: []string{reply.AgentUUID, p.o.UUID}, MFADevice: id.Proofs.MFADevice,
		DeviceID: id.Proofs.DeviceID, AccessRequests: id.Proofs.AccessRequests, ClientAddr: c.Addr.String(), Identity: id,
		Limits: d.Limits, Start: p.o.Now(), Decide: decide}
	return conn, reply, info, nil
}

// resolve hides what the caller may not see. When that leaves nothing and the
// reason lies with the caller, not with the resource, the reason is the answer:
// whoever is locked out learns that, and not that the host does not exist.
func (p *Proxy) resolve(ctx context.Context, c Caller, kind, name string) (types.Resource, error) {
	now := p.o.Now()
	var own *access.Decision
	var hidden *Refusal
	resource, err := p.o.Router.Resolve(kind, name, func(r types.Resource) bool {
		d := p.decide(c, r, now, false)
		if !d.Allow {
			hidden = &Refusal{Caller: c, Kind: kind, Name: name, Resource: r, Decision: d}
		}
		if !d.Allow && aboutCaller(d) {
			own = &d
		}
		return d.Allow
	})
	if !errors.Is(err, fault.NotFound) {
		return resource, err
	}
	if hidden != nil {
		p.o.Refused(ctx, *hidden)
	} else {
		p.unled(ctx, Refusal{Caller: c, Kind: kind, Name: name, Err: err})
	}
	if own != nil {
		return nil, refusal(*own)
	}
	return nil, err
}

// unled tells of a dial that leads nowhere without a decision. Names of nodes are
// typed by people and resolved by programs; those of what agents front come out of a
// certificate.
func (p *Proxy) unled(ctx context.Context, r Refusal) {
	if types.ServerKind(r.Kind) != "" {
		p.o.Refused(ctx, r)
	}
}

// ours keeps of a decision's limits what can be judged from cipher text: the
// deadline. Idleness, logins and channels are the agent's to judge.
func ours(d access.Decision) access.Decision {
	d.Limits = access.Limits{Deadline: d.Limits.Deadline}
	return d
}

// Standing decides about a caller alone: whether the certificate, the locks and
// the roles' own conditions admit the caller to anything at all.
func (p *Proxy) Standing(id *types.Identity, client netip.AddrPort, now time.Time) access.Decision {
	r := access.Ask(p.o.Policy, id, client.Addr(), now)
	r.Action, r.Kind, r.Verb, r.Live, r.Cache = access.ActionRule, types.KindNode, "list", true, p.o.Cache
	d := access.Decide(r)
	d.Allow = d.Allow || !aboutCaller(d)
	return ours(d)
}

func aboutCaller(d access.Decision) bool {
	for _, r := range d.Reasons {
		switch r.Code {
		case access.CodeExpired, access.CodeLocked, access.CodeLocksStale, access.CodeUserDeleted, access.CodeReissueRequired,
			access.CodeIPNotPinned, access.CodeIPMismatch, access.CodeUsageMismatch, access.CodeRouteMismatch:
			return true
		}
	}
	return false
}

func (p *Proxy) request(c Caller, res types.Resource, now time.Time) access.Request {
	r := access.Ask(p.o.Policy, c.Identity, c.Addr.Addr(), now)
	r.Action, r.Resource, r.HostID, r.Cache = access.ActionDial, res, res.Head().Name(), p.o.Cache
	return r
}

// decide answers whether the caller may reach a resource: to use it, or to join
// a session there. What the caller then does is the agent's to decide.
func (p *Proxy) decide(c Caller, res types.Resource, now time.Time, live bool) access.Decision {
	r := p.request(c, res, now)
	r.Live = live
	d := access.Decide(r)
	if d.Allow || aboutCaller(d) || p.o.LiveSessions == nil || res.Head().Kind != types.KindNode {
		return d
	}
	for _, t := range p.o.LiveSessions(res.Head().Name()) {
		r.Action, r.Resource, r.HostID, r.Subject = access.ActionJoin, nil, res.Head().Name(), t
		if join := access.Decide(r); join.Allow {
			return join
		}
	}
	return d
}

func (p *Proxy) dialTimeout() time.Duration {
	if d := p.o.Policy.Settings().Networking.SSHDialTimeout.Std(); d > 0 {
		return d
	}
	return dial.Timeout
}

// lastWords is how long a session that ends at this proxy has to tell its person why it
// is cut, before what carries it is.
const lastWords = 400 * time.Millisecond

// outlasting is cut for what carries a session: one that ends here is cut by itself, in
// its own words. Of what ends elsewhere only cipher text passes, and is cut at once.
func outlasting(reply dial.Reply, cut func(why error)) func(why error) {
	if reply.EndsAt != tunframe.EndsAtProxy {
		return cut
	}
	return func(why error) { time.AfterFunc(lastWords, func() { cut(why) }) }
}

// splice copies until either side ends or the registry cuts the stream.
func (p *Proxy) splice(ctx context.Context, info session.Info, a, b net.Conn, reply dial.Reply) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if info.ID == "" {
		id, err := dial.NewStreamID()
		if err != nil {
			return errors.Join(err, a.Close(), b.Close())
		}
		info.ID = id
	}
	live, err := p.o.Sessions.Add(info, outlasting(reply, func(why error) { cancel(why) }))
	if err != nil {
		return errors.Join(err, a.Close(), b.Close())
	}
	defer live.Close()
	return netx.Splice(ctx, a, b, netx.SpliceOptions{})
}

// filed is a stream that leaves the registry when it is closed.
type filed struct {
	net.Conn
	live *session.Live
	why  atomic.Pointer[error] // it was cut
}

func (f *filed) cut(reason error) {
	f.why.Store(&reason)
	f.Conn.Close()
}

// Read implements net.Conn. Of a stream that was cut its error says why.
func (f *filed) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if err != nil {
		if why := f.why.Load(); why != nil {
			err = *why
		}
	}
	return n, err
}

// NetConn returns the stream.
func (f *filed) NetConn() net.Conn { return f.Conn }

func (f *filed) Close() error {
	f.live.Close()
	return f.Conn.Close()
}

// CloseWrite passes a half-close on, where the carrier knows one.
func (f *filed) CloseWrite() error {
	if w, ok := f.Conn.(netx.CloseWriter); ok {
		return w.CloseWrite()
	}
	return f.Conn.Close()
}

func (p *Proxy) log(ctx context.Context, what string, conn net.Conn, err error) {
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.Is(err, context.Canceled):
		return
	}
	p.o.Log.InfoContext(ctx, "connection ended", "route", what, telemetry.KeyAddr, conn.RemoteAddr().String(), telemetry.KeyErr, err)
}

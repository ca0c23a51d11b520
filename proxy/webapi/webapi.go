// Package webapi is what a proxy answers over HTTP: the public description of
// the cluster, logins of tsh, browser sessions, the lists that the web UI shows,
// the connection upgrade for clients behind a layer-7 balancer, and the UI's own
// files. It decides nothing by itself: proofs go to the auth service, and what a
// signed-in person sees is what access.Decide says of the identity behind the
// session cookie.
package webapi

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"teleport/access"
	"teleport/api/gen/loginv1"
	"teleport/api/rpc"
	"teleport/cert"
	"teleport/fault"
	"teleport/netx"
	"teleport/predicate"
	"teleport/proxy/appproxy"
	"teleport/tlsroute"
	"teleport/types"
)

// Auth is the part of the auth service that a proxy calls on behalf of people
// who have no certificate yet. *authclient.Client is one.
type Auth interface {
	Login(ctx context.Context, req *loginv1.LoginRequest) (*loginv1.CertsResponse, error)
	StartWebSession(ctx context.Context, req *loginv1.StartWebSessionRequest) (*loginv1.StartWebSessionResponse, error)
	UseWebSession(ctx context.Context, req *loginv1.UseWebSessionRequest) (*loginv1.CertsResponse, error)
	CheckWebSession(ctx context.Context, req *loginv1.CheckWebSessionRequest) (*loginv1.CheckWebSessionResponse, error)
	EndWebSession(ctx context.Context, req *loginv1.EndWebSessionRequest) error
	StartAppSession(ctx context.Context, req *loginv1.StartAppSessionRequest) (*loginv1.StartAppSessionResponse, error)
	GetInvite(ctx context.Context, req *loginv1.GetInviteRequest) (*loginv1.GetInviteResponse, error)
	AcceptInvite(ctx context.Context, req *loginv1.AcceptInviteRequest) (*loginv1.AcceptInviteResponse, error)
}

// Policy is the proxy's replica, as far as the web needs it.
type Policy interface {
	access.View
	Trust() *cert.Trust
	Nodes() []*types.Node
	AppServers() []*types.AppServer
}

// Options configure the handler. All fields but ForwardedFor are required.
type Options struct {
	Cluster string
	Version string
	// PublicAddr is where clients reach the cluster's proxies, host:port.
	PublicAddr string
	// MySQLListenAddr is the port of clients of MySQL, empty for none, and
	// MySQLPublicAddrs are where they reach it, where that is not this host.
	MySQLListenAddr  string
	MySQLPublicAddrs []string
	// Hosts are the other names and addresses that this proxy answers to; any IP
	// address and localhost always are.
	Hosts  []string
	Auth   Auth
	Policy Policy
	// Refused is told when a person may not open an app.
	Refused func(ctx context.Context, c rpc.Caller, r Refusal)
	// Upgrade answers a WebSocket that carries the client's own TLS, and takes the
	// stream over: tlsroute.Router.Upgrade.
	Upgrade func(w http.ResponseWriter, r *http.Request, client net.Addr) error
	// ForwardedFor are the balancers whose X-Forwarded-For is believed. From
	// elsewhere the header is a client's own, and is not looked at.
	ForwardedFor netx.Networks
	Assets       fs.FS
	Cache        *predicate.Cache // may be nil
	Log          *slog.Logger
	Now          func() time.Time
}

// Refusal is an app that somebody was not led to.
type Refusal struct {
	Host     string     // as the browser named it
	App      *types.App // nil: there is none at that host
	Decision access.Decision
	Err      error // of what no decision refused
}

// Handler serves the proxy's HTTP. Safe for concurrent use.
type Handler struct {
	o        Options
	hosts    *appproxy.Hosts
	mux      *rpc.Mux
	sessions *sessions
	files    *assets
}

// New mounts the routes.
func New(o Options) (*Handler, error) {
	h := &Handler{o: o, sessions: newSessions(o)}
	h.hosts = appproxy.NewHosts(o.Policy, o.PublicAddr, h.Ours)
	files, err := newAssets(o.Assets)
	if err != nil {
		return nil, err
	}
	h.files = files
	h.mux = rpc.NewMux(rpc.MuxConfig{Identify: h.identify, Authorizer: h, Hosts: h.Ours, Log: o.Log})
	for _, rt := range h.routes() {
		if err := h.mux.Handle(rt); err != nil {
			return nil, fault.Wrap(err, fault.Internal, "the web API cannot be served: %v", err)
		}
	}
	return h, nil
}

func (h *Handler) routes() []rpc.Route {
	open, user := rpc.Anonymous(), rpc.AnyUser()
	return []rpc.Route{
		{Pattern: "GET /webapi/ping", Permission: open, Origin: rpc.Public, Handler: h.ping},
		{Pattern: "GET /webapi/find", Permission: open, Origin: rpc.Public, Handler: h.find},
		{Pattern: "GET /webapi/auth/export", Permission: open, Origin: rpc.Public, Handler: h.export},
		{Pattern: "GET /.well-known/jwks.json", Permission: open, Origin: rpc.Public, Handler: h.jwks},
		{Pattern: "POST /webapi/ssh/certs", Permission: open, Origin: rpc.Native, Handler: h.sshCerts},
		{Pattern: "GET /webapi/connectionupgrade", Permission: open, Origin: rpc.Native, WebSocket: true, Handler: h.upgrade},

		{Pattern: "GET /webapi/invites/{token}", Permission: open, Handler: h.invite},
		{Pattern: "POST /webapi/invites/{token}", Permission: open, Handler: h.acceptInvite},
		{Pattern: "POST /webapi/sessions/web", Permission: open, Handler: h.signIn},
		{Pattern: "DELETE /webapi/sessions/web", Permission: open, Handler: h.signOut},
		{Pattern: "GET /webapi/sessions/web", Permission: user, Handler: h.whoAmI},
		{Pattern: "POST /webapi/sessions/app", Permission: user, Handler: h.launch},
		{Pattern: "GET /webapi/resources", Permission: user, Handler: h.resources},

		{Pattern: "GET /{$}", Permission: open, Origin: rpc.Public, Handler: h.home},
		{Pattern: "GET /web", Permission: open, Origin: rpc.Public, Handler: h.home},
		{Pattern: "GET /web/", Permission: open, Origin: rpc.Public, Handler: h.files.serve},
		{Pattern: "GET /favicon.svg", Permission: open, Origin: rpc.Public, Handler: h.files.serve},
	}
}

// Apps are the addresses of apps behind this proxy, none of which is its own.
func (h *Handler) Apps() *appproxy.Hosts { return h.hosts }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Strict-Transport-Security", "max-age=31536000")
	w.Header().Set("Referrer-Policy", "no-referrer")
	h.mux.ServeHTTP(w, r)
}

func (h *Handler) home(w http.ResponseWriter, r *http.Request, _ rpc.Caller) error {
	http.Redirect(w, r, "/web/", http.StatusSeeOther)
	return nil
}

// Ours reports whether a Host header means this proxy itself. It is the defence
// against DNS rebinding: a name that is none of ours does not get an answer. A bare
// address cannot be rebound.
func (h *Handler) Ours(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.Trim(name, "[]")
	if _, err := netip.ParseAddr(name); err == nil || strings.EqualFold(name, "localhost") {
		return true
	}
	public, _, err := net.SplitHostPort(h.o.PublicAddr)
	if err == nil && strings.EqualFold(name, public) {
		return true
	}
	for _, x := range slices.Concat(h.o.Hosts, []string{h.o.Cluster}) {
		if strings.EqualFold(name, x) {
			return true
		}
	}
	return false
}

// ClientAddr is the address that the person comes from: the socket's, or the
// balancer's word where the configuration trusts it.
func (h *Handler) ClientAddr(r *http.Request) (netip.AddrPort, error) {
	addr := netip.AddrPort{}
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		addr = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	// What came inside of a WebSocket was written by the client itself: the
	// balancer saw no header of it, and its socket has the client's address already.
	_, upgraded := r.Context().Value(http.LocalAddrContextKey).(tlsroute.UpgradedAddr)
	if upgraded || !h.o.ForwardedFor.Contain(addr.Addr()) {
		return addr, nil
	}
	values := r.Header.Values("X-Forwarded-For")
	switch {
	case len(values) == 0:
		return addr, nil
	case len(values) > 1 || strings.Contains(values[0], ","):
		return addr, fault.New(fault.Invalid, "X-Forwarded-For must hold exactly one address")
	}
	v := strings.TrimSpace(values[0])
	if a, err := netip.ParseAddrPort(v); err == nil {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
	}
	a, err := netip.ParseAddr(v)
	if err != nil {
		return addr, fault.New(fault.Invalid, "X-Forwarded-For does not hold an address")
	}
	return netip.AddrPortFrom(a.Unmap(), addr.Port()), nil
}

// Authorize implements rpc.Authorizer: every route that is not open is for
// signed-in people, about what is theirs. Locks and changed roles count at once.
func (h *Handler) Authorize(_ context.Context, c rpc.Caller, p rpc.Permission) error {
	if p.Level != rpc.LevelUser {
		return fault.New(fault.Denied, "this is not open to anybody")
	}
	d := access.Decide(h.request(c, nil, access.ActionRule))
	for _, reason := range d.Reasons {
		switch reason.Code {
		case access.CodeExpired, access.CodeReissueRequired, access.CodeUserDeleted:
			return fault.New(fault.Unauthenticated, "%s", reason.Text)
		case access.CodeLocked, access.CodeLocksStale, access.CodeIPMismatch, access.CodeIPNotPinned:
			return fault.New(fault.Denied, "%s", reason.Text)
		}
	}
	return nil
}

func (h *Handler) request(c rpc.Caller, r types.Resource, a access.Action) access.Request {
	req := access.Ask(h.o.Policy, c.Identity, c.Addr.Addr(), h.o.Now())
	req.Action, req.Resource, req.Kind, req.Verb, req.Cache = a, r, types.KindNode, "list", h.o.Cache
	if r != nil {
		req.HostID = r.Head().Name()
	}
	return req
}

// upgrade turns a WebSocket into the connection that a client behind a layer-7
// balancer could not open: the client's own TLS routing handshake follows in it.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request, _ rpc.Caller) error {
	addr, err := h.ClientAddr(r)
	if err != nil {
		return err
	}
	return h.o.Upgrade(w, r, net.TCPAddrFromAddrPort(addr))
}

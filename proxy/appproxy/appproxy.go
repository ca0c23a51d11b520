// Package appproxy is the proxy half of apps that people use in a browser: the one
// family whose TLS ends at the proxy. Requests for an app's address come here. Who
// has no session with the app is sent to sign in and comes back by a hand-over that
// only the same browser can complete; a session's requests go on to one of the
// app's agents, within TLS of a bridge certificate that auth gives for the
// session's own secret. What the person may do there is the agent's to decide.
//
// A session is two cookies, an id and a secret, worthless without each other. The
// proxy knows them by its copy of the sessions, so a request costs no call, any
// proxy serves any session, and an end counts here as soon as the copy has it.
package appproxy

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"embed"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"teleport/api/gen/loginv1"
	"teleport/cert"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx/http1"
	"teleport/proxy/proxyd"
	"teleport/types"
)

//go:embed assets
var assets embed.FS

// Auth is the part of the auth service that sessions with apps need.
// *authclient.Client is one.
type Auth interface {
	OpenAppSession(ctx context.Context, req *loginv1.OpenAppSessionRequest) (*loginv1.OpenAppSessionResponse, error)
	UseAppSession(ctx context.Context, req *loginv1.UseAppSessionRequest) (*loginv1.UseAppSessionResponse, error)
	EndAppSession(ctx context.Context, req *loginv1.EndAppSessionRequest) error
}

// Copy is this proxy's copy of the sessions; *store.Replica is one.
type Copy interface {
	AppSession(id string) (*types.AppSession, bool)
	Subscribe() (<-chan struct{}, func())
}

// Options are what a Server is built from. All fields are required.
type Options struct {
	// PublicAddr is where browsers reach the proxy itself, host:port.
	PublicAddr string
	Hosts      *Hosts
	Sessions   Copy
	Auth       Auth
	Trust      func() *cert.Trust
	// Dial opens a stream to a resource for a caller; it decides whether they may.
	Dial func(ctx context.Context, c proxyd.Caller, t dial.Target) (net.Conn, dial.Reply, error)
	// Agent returns the configuration of TLS to an agent, for one of the protocols.
	Agent func(uuid string, own *tls.Certificate, alpn ...string) (*tls.Config, error)
	// Peer verifies the certificate of a client that shows one.
	Peer func(tls.ConnectionState) (*types.Identity, error)
	// Bridge returns a certificate for key, by which this proxy speaks for the user
	// whose certificate is shown.
	Bridge func(ctx context.Context, user *x509.Certificate, client netip.AddrPort, key crypto.PublicKey) ([]byte, error)
	// ClientAddr is where a request comes from.
	ClientAddr func(r *http.Request) (netip.AddrPort, error)
	// Failed is told of everything that is refused here, and not beyond: what agents
	// and the gate to them refuse, they tell themselves.
	Failed func(ctx context.Context, f Failure)
	Log    *slog.Logger
	Now    func() time.Time
}

// Failure is a request that was refused.
type Failure struct {
	User string // whose session or certificate it was, where that is known
	// Proven says that the request was User's. All others are of strangers, who can
	// make any number of them.
	Proven  bool
	App     string // "" where the address is no app's
	Client  netip.AddrPort
	Request string // its id
	Err     error
}

// Server answers at the addresses of apps. Safe for concurrent use.
type Server struct {
	o        Options
	visitors visitors
	drained  chan struct{} // closed when Serve is done
}

// New makes a server. It starts nothing.
func New(o Options) *Server {
	return &Server{o: o, visitors: visitors{o: o, all: map[string]*visitor{}}, drained: make(chan struct{})}
}

// Serve ends sessions here that have ended elsewhere, until ctx ends; then it waits
// for the requests that are still open.
func (s *Server) Serve(ctx context.Context) error {
	defer close(s.drained)
	return s.visitors.serve(ctx)
}

// Drained is closed when Serve is done: no request of a session is open any more.
func (s *Server) Drained() <-chan struct{} { return s.drained }

// Handles reports whether a Host header means an app.
func (s *Server) Handles(host string) bool {
	_, ok := s.o.Hosts.ByHost(host)
	return ok
}

// Reserved paths at every app's address.
const (
	authPath   = "/x-teleport-auth"
	logoutPath = "/teleport-logout"
)

// ServeHTTP implements http.Handler for requests whose host Handles.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &visit{Context: r.Context(), w: w, r: r, id: newRequestID()}
	var err error
	if v.client, err = s.o.ClientAddr(r); err != nil {
		s.fail(v, err)
		return
	}
	app, ok := s.o.Hosts.ByHost(r.Host)
	if !ok {
		s.fail(v, fault.New(fault.NotFound, "there is no app at this address"))
		return
	}
	v.app = app
	if err := wellShaped(r); err != nil {
		s.fail(v, err)
		return
	}
	switch {
	case r.URL.Path == logoutPath:
		s.logOut(v)
	case r.URL.Path == authPath || strings.HasPrefix(r.URL.Path, authPath+"/"):
		s.handOver(v)
	default:
		if err := headFits(r); err != nil {
			s.fail(v, err)
			return
		}
		s.serveApp(v)
	}
}

// MaxHead is how many bytes the head of a request for an app may have. It is read beyond
// that, up to a bound of the server: the browser of somebody whose cookies have grown too
// large shall say so, on a page whose sheet it can get.
const MaxHead = 32 << 10

var errHead = errors.New("the head of the request is too large")

// headFits refuses a head that no agent would be shown.
func headFits(r *http.Request) error {
	n := len(r.RequestURI)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	if n <= MaxHead {
		return nil
	}
	return fault.Advise(fault.Wrap(errHead, fault.Limit, "the headers of the request have %d KiB, and %d KiB are the most", (n+1023)>>10, MaxHead>>10),
		"delete the cookies of %s in the settings of the browser", bare(r.Host))
}

// visit is one request on its way, and the context of what is sent on for it.
type visit struct {
	context.Context
	w      http.ResponseWriter
	r      *http.Request
	id     string // names it in logs
	app    *types.App
	client netip.AddrPort
	user   string   // who makes it, once known
	proven bool     // that it is theirs
	who    *visitor // whose connections it takes
	moved  int64    // bytes of its bodies
	told   bool     // why it failed is in the audit log, or is no refusal
	// While its session is open:
	patience *http1.Patience
	cancel   context.CancelCauseFunc
}

// wellShaped refuses requests that no browser makes, and that mean one thing here
// and another one behind.
func wellShaped(r *http.Request) error {
	bad := func(what string) error { return fault.New(fault.Invalid, "the request is refused: %s", what) }
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return bad("the method " + r.Method + " is not for apps")
	case r.URL.IsAbs() || r.URL.Host != "" || r.URL.Opaque != "":
		return bad("it names another host than its address")
	case !strings.HasPrefix(r.URL.Path, "/"):
		return bad("it has no path")
	case len(r.TransferEncoding) > 1 || len(r.TransferEncoding) == 1 && r.TransferEncoding[0] != "chunked":
		return bad("its transfer encoding is not known")
	case len(r.Header.Values("Content-Length")) > 1:
		return bad("it has two lengths")
	}
	if up := r.Header.Values("Upgrade"); len(up) > 0 && wantsUpgrade(r) && (len(up) != 1 || !strings.EqualFold(up[0], "websocket")) {
		return bad("only WebSockets may be upgraded to")
	}
	return nil
}

// wantsUpgrade reports whether a request asks to change the protocol.
func wantsUpgrade(r *http.Request) bool { return http1.Upgrade(r.Header) != "" }

// serveApp answers what is the app's own.
func (s *Server) serveApp(v *visit) {
	if v.r.Method == http.MethodOptions && s.preflight(v) {
		return
	}
	who, err := s.who(v)
	if err != nil {
		s.fail(v, err)
		return
	}
	if who == nil {
		s.signIn(v)
		return
	}
	defer who.leave(v)
	v.user, v.proven = who.user, true
	if wantsUpgrade(v.r) && !s.ownOrigin(v) {
		s.fail(v, fault.New(fault.Denied, "a page of another site opened this WebSocket"))
		return
	}
	s.pass(v, who)
}

// refused tells the audit log of a request that is refused, once: of all that is
// wrong with it, what counts was found first.
func (s *Server) refused(v *visit, err error) {
	if v.told {
		return
	}
	f := Failure{User: v.user, Proven: v.proven, Client: v.client, Request: v.id, Err: err}
	if v.app != nil {
		f.App = v.app.Metadata.Name
	}
	v.told = s.tell(v.r.Context(), f)
}

// tell records a failure that is a refusal; something may be down, or somebody have
// left, as well.
func (s *Server) tell(ctx context.Context, f Failure) bool {
	if !fault.Refusal(f.Err) {
		return false
	}
	s.o.Failed(context.WithoutCancel(ctx), f)
	return true
}

// Unread tells of a request that nobody can read, or that could be read in two ways:
// the server of the proxy's port has refused it, and says why. sni is what the client
// asked for in its TLS.
func (s *Server) Unread(sni string, client netip.AddrPort, why error) {
	app, ok := s.o.Hosts.ByHost(sni)
	if !ok {
		return // not one for an app
	}
	s.o.Failed(context.Background(), Failure{App: app.Metadata.Name, Client: client,
		Err: fault.New(fault.Invalid, "a request that cannot be read as one was refused: %s", fault.Message(why))})
}

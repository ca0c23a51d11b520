// Package appaccess is the app service of an agent: it takes a connection that the
// agent accepted for an app, ends the TLS in which the user, or the proxy for a
// browser's user, proves who they are, decides who may use the app and as what,
// and passes each request on to the app, which learns from headers that the agent
// alone writes who the user is. What the apps of a cloud want of a request is a
// Cloud's to know.
package appaccess

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"teleport/access"
	"teleport/agent/inside"
	"teleport/audit"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/healthcheck"
	"teleport/lifecycle"
	"teleport/netx"
	"teleport/netx/http1"
	"teleport/netx/mux"
	"teleport/predicate"
	"teleport/recorder"
	"teleport/session"
	"teleport/tunnel/tunframe"
	"teleport/types"
	"teleport/types/event"
)

// Cloud sends requests to the API of one cloud, with the agent's own credentials.
// Implementations are safe for concurrent use.
type Cloud interface {
	// Send answers a request that a decision has allowed for what u says, and fills
	// in what it learns about it. It never acts beyond the life of the identity.
	Send(r *http.Request, u Use, told *event.AppRequest) (*http.Response, error)
}

// Refuser is a Cloud whose tools hear of a refusal in a form of their own.
type Refuser interface {
	Cloud
	// Refusal is the answer to a request that was refused, or found no other.
	Refusal(r *http.Request, told *event.AppRequest, why error) *http.Response
}

// Config is what the service is built from. Fields without a remark are required.
type Config struct {
	HostID   string // UUID
	Hostname string
	Cluster  string
	// Apps returns what this agent fronts now.
	Apps func() []*types.App
	// TLS proves to users that they speak with this agent, and verifies them.
	TLS      tlscert.Source
	Policy   access.View
	Audit    audit.Emitter
	Sessions *session.Registry
	Recorder recorder.Recorder
	Dialer   netx.Dialer
	Log      *slog.Logger
	Cache    *predicate.Cache // may be nil
	// Token gets what an app is told of a user: of their certificate, or the bridge, as
	// shown inside the connection. It is asked once for a session, with a deadline.
	Token func(ctx context.Context, u Use) (token types.Secret, expires time.Time, err error)
	// Clouds answer for the apps of clouds, by types.CloudAWS and so on. An app of
	// another cloud is refused.
	Clouds map[string]Cloud
}

// Service serves connections. Safe for concurrent use.
type Service struct {
	cfg    Config
	door   *inside.Door
	codec  *event.Codec
	server *http1.Server
	// second is for connections of HTTP/2, which it is fed with.
	second *http.Server
	feed   *netx.Feed
	tokens lifecycle.Shared[*vouched]

	mu       sync.Mutex
	sessions map[sessionKey]*Session
}

// Bounds of what a client may send, and of how long it may take.
const (
	headerTimeout = 20 * time.Second
	maxHeader     = 64 << 10
	// keptIdle is how long a connection waits for its next request.
	keptIdle = 5 * time.Minute
	// onTheirWay is how long requests are taken that were sent before the agent began to
	// leave: nobody may send one again that changes something.
	onTheirWay = time.Second
)

// New checks a configuration. It starts nothing.
func New(cfg Config) (*Service, error) {
	if cfg.HostID == "" || cfg.Apps == nil || cfg.TLS.Certificate == nil || cfg.Policy == nil || cfg.Audit == nil || cfg.Sessions == nil ||
		cfg.Recorder == nil || cfg.Dialer == nil || cfg.Log == nil || cfg.Token == nil {
		return nil, errors.New("appaccess: incomplete configuration")
	}
	s := &Service{cfg: cfg, codec: event.NewCodec(), sessions: map[sessionKey]*Session{}, feed: netx.NewFeed(),
		door: inside.NewDoor(types.KindApp, "app", "tsh apps login gets one that is", cfg.TLS, tunframe.ALPNStreams, "h2", "http/1.1", tunframe.ALPNTCP)}
	s.server = &http1.Server{Handler: s, HeadTimeout: headerTimeout, BodyTimeout: bodyPause, IdleTimeout: keptIdle, WriteTimeout: bodyPause,
		MaxHead: maxHeader, Refused: s.unread, Log: cfg.Log}
	s.second = &http.Server{Handler: s, ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: maxHeader, IdleTimeout: keptIdle, DisableGeneralOptionsHandler: true,
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug), ConnContext: connContext}
	return s, nil
}

// Kind implements agentd.Service.
func (s *Service) Kind() string { return types.KindApp }

// Fronts implements agentd.Service.
func (s *Service) Fronts(name string) bool { return s.app(name) != nil }

func (s *Service) app(name string) *types.App {
	for _, a := range s.cfg.Apps() {
		if a.Metadata.Name == name {
			return a
		}
	}
	return nil
}

// Check asks whether an app is there, as nobody in particular. ctx needs a deadline.
func (s *Service) Check(ctx context.Context, app *types.App) error {
	addr, err := app.Spec.Address(0)
	if err != nil {
		return err
	}
	return healthcheck.Dial(ctx, s.cfg.Dialer, addr)
}

// Run answers the requests of the connections that Serve takes, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	left := s.cfg.Sessions.OnDrain(func() {
		time.AfterFunc(onTheirWay, func() { // until then who is told of it closes what waits, or has had an answer
			s.server.Drain()
			s.second.SetKeepAlivesEnabled(false)
		})
	})
	defer left()
	stop := context.AfterFunc(ctx, func() { s.feed.Close() })
	defer stop()
	err := s.second.Serve(s.feed)
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		err = nil
	}
	err = errors.Join(err, s.second.Close())
	s.endAll()
	s.tokens.Close()
	return err
}

// Serve implements agentd.Service.
func (s *Service) Serve(ctx context.Context, in *dial.Inbound) error {
	defer in.Close()
	if s.app(in.Header.Name) == nil {
		return s.turnedAway(ctx, in, errNotFronted(in.Header.Name))
	}
	joint := netx.Join(in)
	c := newCarried(ctx, joint)
	defer c.Close()
	conn, err := s.door.Secure(ctx, c)
	if err != nil {
		return s.turnedAway(ctx, in, err)
	}
	defer conn.Close()
	switch conn.ConnectionState().NegotiatedProtocol {
	case tunframe.ALPNStreams:
		return s.serveStreams(ctx, in, conn, joint.Over(conn))
	case "h2": // net/http wants to see TLS
		return s.take(ctx, in, conn, conn, c)
	}
	return s.take(ctx, in, conn, joint.Over(conn), c)
}

func errNotFronted(app string) error {
	return fault.New(fault.NotFound, "this agent does not front the app %q any more", app)
}

// serveStreams serves the streams of one connection, each as a connection of its
// own: it is identified and decided about anew.
func (s *Service) serveStreams(ctx context.Context, in *dial.Inbound, proof *tls.Conn, client net.Conn) error {
	if _, err := s.door.Identify(in, proof.ConnectionState()); err != nil {
		return s.turnedAway(ctx, in, err)
	}
	streams := mux.NewAcceptor(client)
	defer context.AfterFunc(ctx, streams.Close)()
	left := s.cfg.Sessions.OnDrain(streams.Leave)
	defer left()
	return streams.Serve(func(st *mux.Stream) {
		err := lifecycle.Guard(ctx, func(ctx context.Context) error {
			c := newCarried(ctx, st)
			defer c.Close()
			c.elsewhere = streams.Leave
			return s.take(ctx, in, proof, c, c)
		})
		if err != nil {
			dial.LogEnd(ctx, s.cfg.Log, in.Header, err)
		}
	})
}

// take serves one connection of a client: client, of which c tells whether it is
// alive. proof is the TLS that says whose it is.
func (s *Service) take(ctx context.Context, in *dial.Inbound, proof *tls.Conn, client net.Conn, c *carried) error {
	app := s.app(in.Header.Name)
	if app == nil {
		return s.turnedAway(ctx, in, errNotFronted(in.Header.Name))
	}
	shown := proof.ConnectionState()
	v := &visit{in: in, shown: shown.PeerCertificates[0], start: time.Now(), elsewhere: c.elsewhere}
	var err error
	if v.identity, err = s.door.Identify(in, shown); err != nil {
		return s.turnedAway(ctx, in, err)
	}
	v.app, v.route, v.spoken = app, types.AppRouteOf(v.identity.Authority.Route), shown.NegotiatedProtocol
	if v.spoken == tunframe.ALPNStreams { // as the app is
		v.spoken = "http/1.1"
		if app.Spec.TCP() {
			v.spoken = tunframe.ALPNTCP
		}
	}
	if tcp := v.spoken == tunframe.ALPNTCP; tcp != app.Spec.TCP() {
		return s.turnedAway(ctx, in, fault.New(fault.Invalid, "the app %s is reached in another way than this one", app.Metadata.Name))
	} else if tcp {
		return s.serveTCP(ctx, v, client, c)
	}
	if err := s.open(ctx, v, c); err != nil {
		s.say(v, client, app, err)
		return err
	}
	defer s.leave(v)
	defer c.live.Load().Close()
	return s.serve(ctx, v, c, client)
}

// serve answers the connection's requests until it ends or ctx does.
func (s *Service) serve(ctx context.Context, v *visit, c *carried, client net.Conn) error {
	c.visit = v
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if v.spoken != "h2" {
		s.server.ServeConn(context.WithValue(c.ctx, visitKey{}, v), client)
		return v.why.get()
	}
	if err := s.feed.Put(ctx, client); err != nil {
		return err
	}
	<-c.ctx.Done()
	v.finish()
	return v.why.get()
}

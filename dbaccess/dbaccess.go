// Package dbaccess is the database service of an agent: it takes a connection
// that the agent accepted for a database, ends the TLS in which the user proves
// who they are, decides who may be whom in which database, and hands the
// connection to the engine of the database's protocol. Identity, decision,
// limits, locks, recording, audit and draining are written here once; an engine
// knows only its dialect.
package dbaccess

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"teleport/access"
	"teleport/agent/inside"
	"teleport/audit"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/healthcheck"
	"teleport/lifecycle"
	"teleport/netx"
	"teleport/netx/mux"
	"teleport/predicate"
	"teleport/recorder"
	"teleport/session"
	"teleport/tunnel/tunframe"
	"teleport/types"
	"teleport/types/event"
)

// Engine speaks one protocol. Implementations are safe for concurrent use.
type Engine interface {
	// Serve speaks with the client and, once s.Begin has allowed it, with the
	// database, until either ends or ctx does. A client that is refused is told so
	// in its own protocol before Serve returns the error.
	Serve(ctx context.Context, s *Session) error
}

// Checker is an Engine for whose databases it takes more than a connection to see
// whether they are there.
type Checker interface {
	Engine
	// Check speaks over a connection that was made for it, which has a deadline.
	Check(ctx context.Context, conn net.Conn) error
}

// Config is what the service is built from. Fields without a remark are required.
type Config struct {
	HostID   string // UUID
	Hostname string
	Cluster  string
	// Databases returns what this agent fronts now.
	Databases func() []*types.Database
	Engines   map[string]Engine // by protocol
	// TLS proves to users that they speak with this agent, and verifies them.
	TLS    tlscert.Source
	Policy access.View
	// Credentials are how this agent logs in to databases.
	Credentials Credentials
	Audit       audit.Emitter
	Sessions    *session.Registry
	Recorder    recorder.Recorder
	Dialer      netx.Dialer
	Log         *slog.Logger
	Cache       *predicate.Cache // may be nil
}

// Login says who logs in to which database.
type Login struct {
	Database    *types.Database
	User, Name  string // in the database
	Identity    *types.Identity
	Certificate *x509.Certificate // the person's own, as shown inside the connection
	Client      netip.AddrPort    // where the person is
	// Makes is set where User is the database's admin user, who makes this one for
	// the person. Name is what that one asked for.
	Makes string
}

// Credentials gets what an agent shows to a database. Safe for concurrent use.
type Credentials interface {
	// Certificate returns a client certificate for the user in the database; nil
	// where the database wants none.
	Certificate(ctx context.Context, l Login) (*tls.Certificate, error)
	// Password returns a password or token; "" where the database wants none.
	Password(ctx context.Context, l Login) (string, error)
	// Authorities returns PEM of the authorities that a database without its own
	// is verified against.
	Authorities() []byte
}

// Service serves connections. Safe for concurrent use.
type Service struct {
	cfg   Config
	door  *inside.Door
	codec *event.Codec
	roots roots

	mu      sync.Mutex
	keys    map[CancelKey]*Session // live sessions that can be cancelled
	numbers map[numberKey]*Session // those whose clients have other numbers for them than the database
	made    map[madeKey]*made      // users that live sessions share
}

// New checks a configuration. It starts nothing.
func New(cfg Config) (*Service, error) {
	if cfg.HostID == "" || cfg.Databases == nil || len(cfg.Engines) == 0 || cfg.TLS.Certificate == nil || cfg.Policy == nil || cfg.Credentials == nil ||
		cfg.Audit == nil || cfg.Sessions == nil || cfg.Recorder == nil || cfg.Dialer == nil || cfg.Log == nil {
		return nil, errors.New("dbaccess: incomplete configuration")
	}
	return &Service{cfg: cfg, keys: map[CancelKey]*Session{}, numbers: map[numberKey]*Session{}, made: map[madeKey]*made{}, codec: event.NewCodec(),
		door: inside.NewDoor(types.KindDatabase, "database", "tsh db login gets one that is", cfg.TLS, tunframe.ALPNStreams)}, nil
}

// Kind implements agentd.Service.
func (s *Service) Kind() string { return types.KindDatabase }

// Fronts implements agentd.Service.
func (s *Service) Fronts(name string) bool { return s.database(name) != nil }

func (s *Service) database(name string) *types.Database {
	for _, d := range s.cfg.Databases() {
		if d.Metadata.Name == name {
			return d
		}
	}
	return nil
}

// Check asks whether a database is there, as nobody in particular. ctx needs a
// deadline.
func (s *Service) Check(ctx context.Context, db *types.Database) error {
	addr, err := db.Spec.Address()
	if err != nil {
		return err
	}
	checker, ok := s.cfg.Engines[db.Spec.Protocol].(Checker)
	if !ok {
		return healthcheck.Dial(ctx, s.cfg.Dialer, addr)
	}
	conn, err := s.cfg.Dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if at, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(at); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return checker.Check(ctx, conn)
}

// lastWords is how long an engine has to tell its client of a cut.
const lastWords = 200 * time.Millisecond

// Serve implements agentd.Service.
func (s *Service) Serve(ctx context.Context, in *dial.Inbound) error {
	defer in.Close()
	db := s.database(in.Header.Name)
	if db == nil {
		return fault.New(fault.NotFound, "this agent does not front the database %q any more", in.Header.Name)
	}
	engine := s.cfg.Engines[db.Spec.Protocol]
	if engine == nil {
		return fault.New(fault.Unimplemented, "this agent does not speak %s", db.Spec.Protocol)
	}
	joint := netx.Join(in)
	conn, err := s.door.Secure(ctx, joint)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := joint.Over(conn)
	if conn.ConnectionState().NegotiatedProtocol == tunframe.ALPNStreams {
		return s.serveStreams(ctx, in, conn, client, func(ctx context.Context, c net.Conn) error { return s.serve(ctx, in, conn, c, db, engine) })
	}
	return s.serve(ctx, in, conn, client, db, engine)
}

// serve serves one connection of a client: client itself, or a stream in it.
func (s *Service) serve(ctx context.Context, in *dial.Inbound, proof *tls.Conn, client net.Conn, db *types.Database, engine Engine) error {
	id, err := s.door.Identify(in, proof.ConnectionState())
	if err != nil {
		return err
	}
	x := &Session{svc: s, id: uuid.NewString(), in: in, database: db, identity: id, route: types.DatabaseRouteOf(id.Authority.Route),
		shown: proof.ConnectionState().PeerCertificates[0]}
	ctx, x.cancel = context.WithCancelCause(ctx)
	x.client = &touched{Conn: client, s: x}
	stop := context.AfterFunc(ctx, func() {
		_ = client.SetReadDeadline(time.Unix(1, 0)) // the engine wakes, and says why
		time.AfterFunc(lastWords, func() { client.Close() })
	})
	defer stop()
	defer x.end()
	err = engine.Serve(ctx, x)
	if cause := context.Cause(ctx); cause != nil {
		err = cause // the connection was closed for it
	}
	x.cancel(nil)
	return err
}

// serveStreams serves the streams of one connection, each as a connection of its
// own: it is identified and decided about anew.
func (s *Service) serveStreams(ctx context.Context, in *dial.Inbound, proof *tls.Conn, client net.Conn, serve func(context.Context, net.Conn) error) error {
	if _, err := s.door.Identify(in, proof.ConnectionState()); err != nil {
		return err
	}
	streams := mux.NewAcceptor(client)
	cut := context.AfterFunc(ctx, func() { time.AfterFunc(2*lastWords, streams.Close) })
	defer cut()
	left := s.cfg.Sessions.OnDrain(streams.Leave)
	defer left()
	return streams.Serve(func(st *mux.Stream) {
		err := lifecycle.Guard(ctx, func(ctx context.Context) error { return serve(ctx, st) })
		if err != nil {
			dial.LogEnd(ctx, s.cfg.Log, in.Header, err)
		}
	})
}

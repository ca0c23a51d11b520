package dbaccess

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"teleport/access"
	"teleport/agent/inside"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx"
	"teleport/recorder"
	"teleport/session"
	"teleport/types"
	"teleport/types/event"
)

// Session is one connection of a user to a database. Its engine calls Begin once
// it knows what the client wants, and the rest after that. Safe for concurrent
// use after Begin.
type Session struct {
	svc      *Service
	id       string
	in       *dial.Inbound
	client   net.Conn
	database *types.Database
	identity *types.Identity
	shown    *x509.Certificate
	route    types.DatabaseRoute
	cancel   context.CancelCauseFunc

	user      string // in the database
	live      *session.Live
	rec       recorder.Recording
	start     time.Time
	request   access.Request
	decision  access.Decision
	key       CancelKey
	interrupt func(ctx context.Context) error
	number    uint32 // by which the client knows the session, and
	own       uint32 // by which the database does
	common    common
	line      line
	begun     bool     // the log was told
	made      bool     // the agent made the user, or shares it
	makes     *Session // of an admin user: the session whose user it makes

	mu   sync.Mutex
	name string // the database within the server; common.database has it too
}

// common is what the events of a session share, made once.
type common struct {
	user     event.User
	session  event.Session
	server   event.Server
	wire     event.Connection
	database event.Database
}

// Client is the connection to the client, within its TLS.
func (s *Session) Client() net.Conn { return s.client }

// Database is the document of what is fronted.
func (s *Session) Database() *types.Database { return s.database }

// Route is what the client's certificate narrows.
func (s *Session) Route() types.DatabaseRoute { return s.route }

// Person is who the user of the database is in the cluster.
func (s *Session) Person() string { return s.identity.Name }

// User and Name say who is in which database, after Begin.
func (s *Session) User() string { return s.user }

// Name is the database within the server; "" where the protocol has none.
func (s *Session) Name() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name
}

// Begin decides whether the client may be this user in this database, tells the
// audit log, and files the session where locks find it. Empty names are those of
// the route; others must agree with it.
func (s *Session) Begin(ctx context.Context, user, name string) error {
	s.start = time.Now()
	err := s.decide(user, name)
	s.fill()
	if err != nil {
		s.refused(ctx, err)
		return err
	}
	info := recorder.Info{SessionID: s.id, Kind: "db", User: s.identity.Name, Login: s.user, HostID: s.svc.cfg.HostID, Hostname: s.svc.cfg.Hostname, Resource: s.database.Metadata.Name,
		Identity: s.identity, Start: s.start, Strict: s.decision.Limits.StrictRecording}
	if s.rec, err = s.svc.cfg.Recorder.Start(ctx, info); err != nil {
		s.refused(ctx, err)
		return err
	}
	if err := s.file(); err != nil {
		s.refused(ctx, err)
		return err
	}
	if s.automatic() != "" {
		if err := s.makeUser(ctx); err != nil {
			s.refused(ctx, err)
			return err
		}
	}
	s.begun = true
	return s.Emit(ctx, &event.DBStart{Connection: s.common.wire, Status: event.Status{Success: true}, Recording: s.rec.Mode(),
		Decision: access.Record(s.request, s.decision), Gateway: inside.Gateway(s.in)}, event.TypeDBStart, event.CodeDBStart)
}

// Foresee says what Begin would decide, and tells nobody. Protocols whose server
// speaks first need it: nobody makes the agent dial who would be refused.
func (s *Session) Foresee(user, name string) error { return s.decide(user, name) }

// decide holds what the client wants against its certificate, and then against
// its roles.
func (s *Session) decide(user, name string) error {
	s.user = firstOf(user, s.route.User)
	s.mu.Lock()
	s.name = firstOf(name, s.route.Name)
	s.mu.Unlock()
	err := s.agrees()
	s.request, s.decision = s.ask(time.Now(), false), access.Decision{}
	if err == nil {
		s.decision = access.Decide(s.request)
		err = inside.Denied(s.decision)
	}
	if err == nil {
		err = s.canMake()
	}
	return err
}

// Switch decides again because the client turns to another database within the
// server, and what happens from here on is told of that one.
func (s *Session) Switch(name string) error {
	if s.database.Spec.ChecksNames() && s.route.Name != "" && s.route.Name != name {
		return otherName(s.route.Name, name)
	}
	r := s.ask(time.Now(), true)
	r.DBName = name
	if err := inside.Denied(access.Decide(r)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name, s.common.database.Name = name, name
	return nil
}

// agrees holds what the client asks for against its certificate.
func (s *Session) agrees() error {
	name := s.Name()
	switch {
	case s.route.User != "" && s.user != s.route.User:
		return fault.New(fault.Denied, "the certificate is for the database user %s, not for %s", s.route.User, s.user).WithHint("tsh db login --db-user=%s", s.user)
	case s.route.Name != "" && s.database.Spec.ChecksNames() && name != s.route.Name:
		return otherName(s.route.Name, name)
	}
	return nil
}

func otherName(own, name string) error {
	return fault.New(fault.Denied, "the certificate is for the database name %s, not for %s", own, name).WithHint("tsh db login --db-name=%s", name)
}

func (s *Session) ask(now time.Time, live bool) access.Request {
	r := access.Ask(s.svc.cfg.Policy, s.identity, inside.Client(s.in), now)
	r.Action, r.Resource, r.Labels, r.HostID, r.Cache = access.ActionDatabase, s.database, s.database.AllLabels(), s.svc.cfg.HostID, s.svc.cfg.Cache
	r.Login, r.DBName, r.DBRoles, r.Live = s.user, s.Name(), s.route.Roles, live
	return r
}

// file puts the session where locks and drains find it.
func (s *Session) file() error {
	info := inside.Info(s.in, s.identity, s.svc.cfg.HostID)
	info.ID, info.Session, info.Kind, info.Login, info.Resource = s.id, s.id, "db", s.user, types.KindDatabase+"/"+s.database.Metadata.Name
	info.Limits, info.Start, info.Decide = s.decision.Limits, s.start, s.again
	info.IdleMessage = s.svc.cfg.Policy.Settings().Networking.IdleTimeoutMessage
	live, err := s.svc.cfg.Sessions.Add(info, func(why error) { s.cancel(why) })
	s.live = live
	return err
}

// end closes what Begin opened.
func (s *Session) end() {
	if s.live == nil {
		if s.rec != nil {
			s.closeRecording()
		}
		return
	}
	s.live.Close()
	s.svc.forget(s)
	s.leaveUser()
	if !s.begun {
		s.closeRecording()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), emitWithin)
	defer cancel()
	_ = s.Emit(ctx, &event.DBEnd{Connection: s.common.wire, Start: s.start, Stop: time.Now(), Recording: s.rec.Mode()}, event.TypeDBEnd, event.CodeDBEnd)
	s.closeRecording()
}

func (s *Session) closeRecording() {
	if err := errors.Join(s.catchUp(), s.rec.Close()); err != nil {
		s.svc.cfg.Log.Error("a recording could not be closed", "session", s.id, "error", err)
	}
}

// emitWithin bounds what a slow disk may cost.
const emitWithin = 10 * time.Second

func (s *Session) fill() {
	id, db, roles := s.identity, s.database, s.route.Roles
	if s.automatic() != "" {
		roles = s.decision.Limits.Database.Roles
	}
	s.common = common{
		user:    inside.User(id),
		session: event.Session{SessionID: s.id, WithMFA: id.Proofs.MFADevice},
		server:  event.Server{Namespace: "default", ServerID: s.svc.cfg.HostID, ServerHostname: s.svc.cfg.Hostname},
		wire:    event.Connection{RemoteAddr: s.in.RemoteAddr().String(), Protocol: "db"},
		database: event.Database{Service: db.Metadata.Name, Protocol: db.Spec.Protocol, Type: db.Spec.Hosting(), URI: db.Spec.URI, Name: s.Name(), DBUser: s.user,
			DBRoles: roles},
	}
}

func (s *Session) refused(ctx context.Context, why error) {
	_ = s.Emit(ctx, &event.DBStart{Connection: s.common.wire, Status: event.Status{Error: fault.Message(why)},
		Decision: access.Record(s.request, s.decision), Gateway: inside.Gateway(s.in)}, event.TypeDBStart, event.CodeDBStartFail)
}

const dialTimeout = 15 * time.Second

// Dial connects to the database.
func (s *Session) Dial(ctx context.Context) (net.Conn, error) {
	addr, err := s.database.Spec.Address()
	if err != nil {
		return nil, err
	}
	return s.DialAt(ctx, addr)
}

// DialAt connects to one of several addresses of a database, which its document
// tells, and never a client.
func (s *Session) DialAt(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := s.svc.cfg.Dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the database %s does not answer", s.database.Metadata.Name)
	}
	return c, nil
}

// Password is what the database wants beside or instead of a certificate.
func (s *Session) Password(ctx context.Context) (string, error) {
	return s.svc.cfg.Credentials.Password(ctx, s.login())
}

func (s *Session) login() Login {
	if of := s.makes; of != nil {
		l := of.login()
		l.User, l.Makes = s.user, of.user
		return l
	}
	return Login{Database: s.database, User: s.user, Name: s.name, Identity: s.identity, Certificate: s.shown, Client: netx.AddrPort(s.in.RemoteAddr())}
}

// LoginFault says what went wrong with a login, where it was not the database that
// said so in its own words.
func (s *Session) LoginFault(err error) error {
	name := s.database.Metadata.Name
	var known *fault.Error
	var untrusted *tls.CertificateVerificationError
	var alert *net.OpError
	var other tls.RecordHeaderError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &untrusted):
		return fault.Wrap(err, fault.Untrusted, "the database %s shows no certificate that its tls settings trust: %v", name, untrusted.Err)
	case errors.As(err, &alert) && alert.Op == "remote error": // as crypto/tls marks what the peer found wrong
		return fault.Wrap(err, fault.Untrusted, "the database %s does not take the agent's certificate (%v): does it know the authority in the .cas file of tctl auth sign?", name, alert.Err)
	case errors.As(err, &other):
		return fault.Wrap(err, fault.Untrusted, "the database %s does not speak TLS", name)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return fault.Wrap(err, fault.Timeout, "the database %s does not answer", name)
	}
	return fault.Wrap(err, fault.Unavailable, "the login to the database %s failed", name)
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// touched notes that a client is alive.
type touched struct {
	net.Conn
	s *Session
}

// Read implements net.Conn.
func (t *touched) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if t.s.live != nil {
		t.s.live.Touch()
	}
	return n, err
}

package appaccess

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"teleport/access"
	"teleport/agent/inside"
	"teleport/fault"
	"teleport/netx"
	"teleport/predicate"
	"teleport/recorder"
	"teleport/types"
	"teleport/types/event"
)

// Use is who uses an app, and as what, in one request.
type Use struct {
	App         *types.App
	Route       types.AppRoute
	Identity    *types.Identity
	Certificate *x509.Certificate // the person's own or the bridge, as shown inside the connection
	Client      netip.AddrPort
}

// sessionKey tells sessions apart: the id alone is a name that a certificate says.
type sessionKey [sha256.Size]byte

func keyOf(id *types.Identity, app string) (sessionKey, error) {
	text, err := json.Marshal([]any{id.Name, id.Cluster, app, id.Authority.Route, id.Authority.Roles, id.Authority.Traits, id.Proofs})
	return sha256.Sum256(text), err
}

// Session is one visit of a user to an app as this agent sees it, whatever number
// of connections it takes. Safe for concurrent use.
type Session struct {
	svc    *Service
	key    sessionKey
	id     string
	start  time.Time
	common common

	requests atomic.Int64
	chunk    chunk

	mu    sync.Mutex
	open  int         // connections
	idle  *time.Timer // ends it when there are none
	begun chan struct{}
	err   error // of the beginning
	ended bool
	way   *way // nil before the first request
	wayOf types.AppSpec

	vouched atomic.Pointer[vouched]
}

// vouched is what an app is told of who the user is.
type vouched struct {
	token types.Secret
	of    toldTo
	renew time.Time
}

// toldTo is what of an app's document its token is made for.
type toldTo struct{ uri, claims string }

// common is what the events of a session share, made once.
type common struct {
	user    event.User
	session event.Session
	server  event.Server
	wire    event.Connection
	app     event.App
}

// lingers is how long a session without connections waits for the next one.
const lingers = 5 * time.Minute

// emitWithin bounds what a slow disk may cost.
const emitWithin = 10 * time.Second

// decide decides about a connection, and files it where locks find it.
func (s *Service) decide(ctx context.Context, v *visit, c *carried) (access.Request, error) {
	request := s.ask(v, v.start, false)
	v.decision = access.Decide(request)
	err := inside.Denied(v.decision)
	if err == nil && v.app.Spec.CloudAPI() && s.cfg.Clouds[v.app.Spec.Cloud] == nil {
		err = fault.New(fault.Unimplemented, "this agent does not speak with %s", v.app.Spec.Cloud)
	}
	if err == nil {
		err = s.file(v, c)
	}
	if err != nil {
		s.refused(ctx, v, request, err)
	}
	return request, err
}

// open lets a connection in, and makes it one of its session.
func (s *Service) open(ctx context.Context, v *visit, c *carried) error {
	request, err := s.decide(ctx, v, c)
	if err != nil {
		return err
	}
	if err := s.enter(ctx, v, request); err != nil {
		c.live.Load().Close()
		return err
	}
	return nil
}

func (s *Service) ask(v *visit, now time.Time, live bool) access.Request {
	r := access.Ask(s.cfg.Policy, v.identity, inside.Client(v.in), now)
	r.Action, r.Resource, r.Labels, r.HostID, r.Cache = access.ActionApp, v.app, v.app.AllLabels(), s.cfg.HostID, s.cfg.Cache
	r.App, r.Live = v.route, live
	return r
}

// again decides about a connection that goes on: about the app as it is now.
func (s *Service) again(v *visit, now time.Time) access.Decision {
	r := s.ask(v, now, true)
	app := s.app(v.app.Metadata.Name)
	if app == nil || app.Spec.URI != v.app.Spec.URI {
		return access.Decision{Reasons: []access.Reason{{Code: access.CodeKindNotSupported, Text: "this agent does not front the app " + v.app.Metadata.Name + " as it was any more"}}}
	}
	r.Resource, r.Labels = app, app.AllLabels()
	return access.Decide(r)
}

// file puts a connection where locks and drains find it.
func (s *Service) file(v *visit, c *carried) error {
	info := inside.Info(v.in, v.identity, s.cfg.HostID)
	info.ID, info.Session, info.Kind, info.Resource = uuid.NewString(), sessionID(v), "app", types.KindApp+"/"+v.app.Metadata.Name
	info.Limits, info.Start = v.decision.Limits, v.start
	info.Decide = func(now time.Time) access.Decision { return s.again(v, now) }
	info.IdleMessage = s.cfg.Policy.Settings().Networking.IdleTimeoutMessage
	v.cut = func(why error) {
		if v.end(why) {
			time.AfterFunc(lastWords, func() { c.Close() })
			return
		}
		c.Close()
	}
	live, err := s.cfg.Sessions.Add(info, v.cut)
	if err != nil {
		return err
	}
	c.live.Store(live)
	return nil
}

// sessionID is the id that auth gave the visit, or one of the certificate where it
// has none.
func sessionID(v *visit) string {
	if id, err := uuid.Parse(v.route.SessionID); err == nil {
		return id.String()
	}
	return uuid.NewSHA1(uuid.Nil, v.shown.Raw).String()
}

// enter makes a connection one of its session, which begins with the first.
func (s *Service) enter(ctx context.Context, v *visit, request access.Request) error {
	key, err := keyOf(v.identity, v.app.Metadata.Name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	x := s.sessions[key]
	first := x == nil
	if first {
		x = &Session{svc: s, key: key, id: sessionID(v), start: v.start, begun: make(chan struct{})}
		x.fill(v)
		s.sessions[key] = x
	}
	x.mu.Lock()
	x.open++
	if x.idle != nil {
		x.idle.Stop()
		x.idle = nil
	}
	x.mu.Unlock()
	s.mu.Unlock()
	v.session = x
	if first {
		of, cancel := context.WithTimeout(context.WithoutCancel(ctx), emitWithin) // others wait for it, who do not leave with this one
		err := x.begin(of, v, request)
		cancel()
		x.mu.Lock()
		x.err = err
		x.mu.Unlock()
		close(x.begun)
	}
	select {
	case <-x.begun:
	case <-ctx.Done():
		s.leave(v)
		return context.Cause(ctx)
	}
	if x.err != nil {
		s.leave(v)
	}
	return x.err
}

// leave takes a connection out of its session.
func (s *Service) leave(v *visit) {
	x := v.session
	if x == nil {
		return
	}
	s.mu.Lock()
	x.mu.Lock()
	x.open--
	over := x.open == 0 && (x.err != nil || v.why.get() != nil)
	if x.open == 0 && !over {
		x.idle = time.AfterFunc(lingers, x.endIdle)
	}
	failed := x.err != nil
	x.mu.Unlock()
	if over && s.sessions[x.key] == x {
		delete(s.sessions, x.key)
	}
	s.mu.Unlock()
	if over && !failed {
		x.end(v.why.get())
	}
}

// endIdle ends a session that nobody came back to.
func (x *Session) endIdle() {
	s := x.svc
	s.mu.Lock()
	x.mu.Lock()
	over := x.open == 0
	x.mu.Unlock()
	if over && s.sessions[x.key] == x {
		delete(s.sessions, x.key)
	}
	s.mu.Unlock()
	if over {
		x.end(nil)
	}
}

// endAll ends the sessions of a service that stops.
func (s *Service) endAll() {
	s.mu.Lock()
	all := make([]*Session, 0, len(s.sessions))
	for _, x := range s.sessions {
		all = append(all, x)
	}
	clear(s.sessions)
	s.mu.Unlock()
	for _, x := range all {
		<-x.begun
		if x.err == nil {
			x.end(nil)
		}
	}
}

// wayTo returns the session's connections to its app, as its document is now.
func (x *Session) wayTo(app *types.App) (*way, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.way != nil && x.wayOf.URI == app.Spec.URI && x.wayOf.InsecureSkipVerify == app.Spec.InsecureSkipVerify {
		return x.way, nil
	}
	w, err := newWay(x.svc.cfg.Dialer, app)
	if err != nil {
		return nil, err
	}
	x.way.close()
	x.way, x.wayOf = w, app.Spec
	return w, nil
}

// tokenWithin bounds what a token may take.
const tokenWithin = 10 * time.Second

// identify returns the token by which the app learns who the user is, which is made
// with the first request that needs it, and kept.
func (x *Session) identify(ctx context.Context, v *visit, app *types.App) (types.Secret, error) {
	of := toldTo{app.Spec.URI, app.Spec.JWTClaims()}
	if k := x.vouched.Load(); k.good(of) {
		return k.token, nil
	}
	k, err := x.svc.tokens.Do(ctx, string(x.key[:])+of.claims+" "+of.uri, tokenWithin, func(ctx context.Context) (*vouched, error) {
		if k := x.vouched.Load(); k.good(of) { // by a call that has just ended
			return k, nil
		}
		token, expires, err := x.svc.cfg.Token(ctx, v.use(app))
		if err != nil {
			return nil, err
		}
		k := &vouched{token, of, expires}
		x.vouched.Store(k)
		return k, nil
	})
	if err != nil {
		return types.Secret{}, fault.Wrap(err, fault.Unavailable, "the app %s cannot be told who you are at the moment", app.Metadata.Name)
	}
	return k.token, nil
}

func (k *vouched) good(of toldTo) bool { return k != nil && k.of == of && time.Now().Before(k.renew) }

// use is who uses the app, and as what.
func (v *visit) use(app *types.App) Use {
	return Use{App: app, Route: v.route, Identity: v.identity, Certificate: v.shown, Client: netx.AddrPort(v.in.RemoteAddr())}
}

// traits are what templates of headers read.
func (v *visit) traits(token types.Secret) predicate.Traits {
	own := v.identity.Authority.Traits
	internal := maps.Clone(own)
	if internal == nil {
		internal = map[string][]string{}
	}
	delete(internal, "jwt") // whatever a trait of that name says
	if !token.Empty() {
		internal["jwt"] = []string{token.Reveal()}
	}
	return predicate.Traits{Internal: internal, External: own}
}

// expand expands a header's value. What is no text of a header is left out.
func (s *Service) expand(text string, traits predicate.Traits) []string {
	return slices.DeleteFunc(predicate.AppendExpanded(nil, s.cfg.Cache, text, traits), func(v string) bool {
		return strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
	})
}

func (x *Session) fill(v *visit) {
	app := v.app
	x.common = common{
		user:    inside.User(v.identity),
		session: event.Session{SessionID: x.id, WithMFA: v.identity.Proofs.MFADevice},
		server:  event.Server{Namespace: "default", ServerID: x.svc.cfg.HostID, ServerHostname: x.svc.cfg.Hostname},
		wire:    event.Connection{RemoteAddr: v.in.RemoteAddr().String(), Protocol: "app"},
		app: event.App{AppName: app.Metadata.Name, AppURI: app.Spec.URI, AppPublicAddr: firstOf(app.Spec.PublicAddr, v.route.PublicAddr),
			AppTargetPort: v.route.TargetPort},
	}
	x.chunk = chunk{x: x, info: recorder.Info{Kind: "app", User: v.identity.Name, HostID: x.svc.cfg.HostID, Hostname: x.svc.cfg.Hostname,
		Resource: app.Metadata.Name, Identity: v.identity, Strict: v.decision.Limits.StrictRecording}}
}

// begin tells the audit log, and begins the recording.
func (x *Session) begin(ctx context.Context, v *visit, request access.Request) error {
	if err := x.chunk.begin(ctx); err != nil {
		x.svc.refused(ctx, v, request, err)
		return err
	}
	return x.emit(ctx, &event.AppStart{Connection: x.common.wire, Status: event.Status{Success: true}, Recording: x.chunk.mode(),
		Decision: access.Record(request, v.decision), Gateway: inside.Gateway(v.in)}, event.TypeAppStart, event.CodeAppStart)
}

// refused tells the audit log of a connection that is not let in.
func (s *Service) refused(ctx context.Context, v *visit, request access.Request, why error) {
	x := &Session{svc: s, id: sessionID(v)}
	x.fill(v)
	_ = x.emit(ctx, &event.AppStart{Connection: x.common.wire, Status: event.Status{Error: fault.Message(why)},
		Decision: access.Record(request, v.decision), Gateway: inside.Gateway(v.in)}, event.TypeAppStart, event.CodeAppStartFail)
}

// end closes what begin opened.
func (x *Session) end(why error) {
	x.mu.Lock()
	again, w := x.ended, x.way
	x.ended, x.way = true, nil
	x.mu.Unlock()
	if again {
		return
	}
	w.close()
	ctx, cancel := context.WithTimeout(context.Background(), emitWithin)
	defer cancel()
	reason := ""
	if why != nil {
		reason = fault.Message(why)
	}
	err := errors.Join(x.emit(ctx, &event.AppEnd{Connection: x.common.wire, Start: x.start, Stop: time.Now(), Requests: x.requests.Load(), Reason: reason},
		event.TypeAppEnd, event.CodeAppEnd), x.chunk.close())
	if err != nil {
		x.svc.cfg.Log.Error("the end of a session with an app could not be kept", "session", x.id, "error", err)
	}
}

// emit puts an event of the session into the audit log's spool. What it tells must
// not happen when that fails.
func (x *Session) emit(ctx context.Context, e event.Event, typ, code string) error {
	m := e.EventMeta()
	m.Type, m.Code = typ, code
	if of, ok := e.(event.OfApp); ok {
		u, s, srv, app := of.OfApp()
		*u, *s, *srv, *app = x.common.user, x.common.session, x.common.server, x.common.app
	}
	if err := x.svc.cfg.Audit.Emit(ctx, e); err != nil {
		x.svc.cfg.Log.Error("audit event could not be kept", "event", typ, "error", err)
		return fault.Wrap(err, fault.Unavailable, "the audit log cannot be written, so nothing may happen here")
	}
	return nil
}

func firstOf(list ...string) string {
	if i := slices.IndexFunc(list, func(s string) bool { return s != "" }); i >= 0 {
		return list[i]
	}
	return ""
}

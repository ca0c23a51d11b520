package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"

	"teleport/fault"
	"teleport/netx"
)

// Authorizer answers a permission for an identified caller: locks, restrictions
// of the certificate and rules included. It is asked on every call and returns
// a fault that says why not.
type Authorizer interface {
	Authorize(ctx context.Context, c Caller, p Permission) error
}

// Limits bound what a peer may cost. Zero fields take the defaults.
type Limits struct {
	// SystemBytes bounds one message of a process of the cluster, such as a batch
	// of audit events (default 12 MiB).
	SystemBytes int
	// MessageBytes bounds one message of a user (default 2 MiB).
	MessageBytes int
	// AnonymousBytes bounds one message of an anonymous procedure (default 64 KiB).
	AnonymousBytes int
	// UnaryTimeout bounds a unary call, reading included (default 60 s).
	UnaryTimeout time.Duration
	// Anonymous is how many anonymous calls run at once (default 64); further
	// ones are refused, not queued. One client address takes a quarter of them.
	Anonymous int
	// AnonymousTimeout bounds an anonymous call, reading included (default 15 s).
	AnonymousTimeout time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.SystemBytes == 0 {
		l.SystemBytes = 12 << 20
	}
	if l.MessageBytes == 0 {
		l.MessageBytes = 2 << 20
	}
	if l.AnonymousBytes == 0 {
		l.AnonymousBytes = 64 << 10
	}
	if l.UnaryTimeout == 0 {
		l.UnaryTimeout = time.Minute
	}
	if l.Anonymous == 0 {
		l.Anonymous = 64
	}
	if l.AnonymousTimeout == 0 {
		l.AnonymousTimeout = 15 * time.Second
	}
	return l
}

// Config is what a Server is made of. All fields but Limits and Now are required.
type Config struct {
	Table      Table
	Verifier   Verifier
	Authorizer Authorizer
	Log        *slog.Logger
	Limits     Limits
	Now        func() time.Time // nil: time.Now
}

// Server mounts Connect services behind the access table. Register everything
// first, then serve; ServeHTTP may run concurrently, Register may not.
type Server struct {
	cfg       Config
	limits    Limits
	mux       *http.ServeMux
	streams   map[string]bool // registered procedures; true for streaming ones
	anonymous chan struct{}

	mu        sync.Mutex
	live      map[*liveStream]struct{}
	strangers map[netip.Prefix]int // anonymous calls under way, by client
}

// liveStream is a streaming call under way.
type liveStream struct {
	caller     Caller
	permission Permission
	cut        context.CancelCauseFunc
}

// compressFrom is the least size of an answer, in bytes, that is worth compressing:
// most are a few numbers, and a compressor is dearer than what they tell.
const compressFrom = 4 << 10

// NewServer returns a server without services.
func NewServer(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	l := cfg.Limits.withDefaults()
	return &Server{cfg: cfg, limits: l, mux: http.NewServeMux(), streams: map[string]bool{},
		anonymous: make(chan struct{}, l.Anonymous), live: map[*liveStream]struct{}{}, strangers: map[netip.Prefix]int{}}
}

// Register mounts one service. build is the generated constructor, applied to
// an implementation. It fails, and mounts nothing, when a procedure of the
// service has no declared permission.
func (s *Server) Register(service protoreflect.ServiceDescriptor, build func(...connect.HandlerOption) (string, http.Handler)) error {
	methods := service.Methods()
	for i := range methods.Len() {
		p := Procedure(methods.Get(i))
		if !s.cfg.Table[p].Declared() {
			return fmt.Errorf("procedure %s has no permission in the access table", p)
		}
	}
	path, handler := build(
		connect.WithRequestGate(s.gate),
		connect.WithInterceptors(&interceptor{s}),
		connect.WithCompressMinBytes(compressFrom),
		connect.WithConditionalHandlerOptions(func(spec connect.Spec) []connect.HandlerOption {
			limit := s.limits.MessageBytes
			switch s.cfg.Table[spec.Procedure].Level {
			case LevelAnonymous:
				limit = s.limits.AnonymousBytes
			case LevelSystem:
				limit = s.limits.SystemBytes
			}
			return []connect.HandlerOption{connect.WithReadMaxBytes(limit)}
		}),
	)
	for i := range methods.Len() {
		m := methods.Get(i)
		s.streams[Procedure(m)] = m.IsStreamingClient() || m.IsStreamingServer()
	}
	s.mux.Handle(path, handler)
	return nil
}

// ServeHTTP identifies the caller and hands over to the procedure. A path that
// is not exactly a registered procedure is not found.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	streaming, known := s.streams[r.URL.Path]
	if !known {
		http.NotFound(w, r)
		return
	}
	now := s.cfg.Now()
	caller, err := Identify(r, s.cfg.Verifier, now)
	ctx := r.Context()
	if err != nil {
		// The gate answers it in the protocol that the client speaks.
		ctx = context.WithValue(ctx, refusedKey{}, err)
	}
	ctx = WithCaller(ctx, caller)
	open := s.cfg.Table[r.URL.Path].Level == LevelAnonymous
	if !streaming {
		limit := s.limits.UnaryTimeout
		if open {
			limit = min(limit, s.limits.AnonymousTimeout)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
		// Not every ResponseWriter has deadlines; those of net/http do.
		_ = http.NewResponseController(w).SetReadDeadline(now.Add(limit))
	} else if caller.Identity != nil {
		var end func()
		ctx, end = s.track(ctx, caller, s.cfg.Table[r.URL.Path], now)
		defer end()
	}
	if open {
		leave, admitted := s.enter(caller.Addr.Addr())
		defer leave()
		if !admitted {
			ctx = context.WithValue(ctx, refusedKey{}, error(fault.New(fault.Limit, "too many unauthenticated calls at once").
				WithHint("try again in a moment")))
		}
	}
	s.mux.ServeHTTP(w, r.WithContext(ctx))
}

// enter counts an anonymous call, against all of them and against its client's
// share: one stranger that reads slowly does not keep the others out.
func (s *Server) enter(addr netip.Addr) (end func(), admitted bool) {
	client := netx.ClientNetwork(addr)
	none := func() {}
	s.mu.Lock()
	full := s.strangers[client] >= max(1, s.limits.Anonymous/4)
	if !full {
		s.strangers[client]++
	}
	s.mu.Unlock()
	if full {
		return none, false
	}
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.strangers[client]--; s.strangers[client] == 0 {
			delete(s.strangers, client)
		}
	}
	select {
	case s.anonymous <- struct{}{}:
		return func() { <-s.anonymous; leave() }, true
	default:
		leave()
		return none, false
	}
}

// track files a streaming call where Recheck finds it, and bounds it by the
// certificate that opened it.
func (s *Server) track(ctx context.Context, c Caller, p Permission, now time.Time) (context.Context, func()) {
	ctx, cut := context.WithCancelCause(ctx)
	ctx, cancel := context.WithTimeout(ctx, c.Identity.Authority.Expires.Sub(now))
	l := &liveStream{caller: c, permission: p, cut: cut}
	s.mu.Lock()
	s.live[l] = struct{}{}
	s.mu.Unlock()
	return ctx, func() {
		s.mu.Lock()
		delete(s.live, l)
		s.mu.Unlock()
		cancel()
		cut(nil)
	}
}

// Recheck authorises every live stream again and cuts those that would not be
// admitted now. Call it when locks, roles or users have changed.
func (s *Server) Recheck(ctx context.Context) {
	s.mu.Lock()
	streams := slices.Collect(maps.Keys(s.live))
	s.mu.Unlock()
	for _, l := range streams {
		err := s.cfg.Authorizer.Authorize(ctx, l.caller, l.permission)
		switch fault.KindOf(err) {
		case fault.Denied, fault.Unauthenticated:
			l.cut(err)
		}
	}
}

// Drain ends every live stream, for a server that shuts down; unary calls go on.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.live {
		l.cut(fault.New(fault.Unavailable, "the auth service is shutting down"))
	}
}

type refusedKey struct{}

// allowedKey holds the procedure that the gate admitted this call to.
type allowedKey struct{}

// gate authorises by the method's own descriptor, before any of the body is read.
func (s *Server) gate(ctx context.Context, spec connect.Spec, _ connect.Peer, _ http.Header) (out context.Context, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = nil, ToWire(s.panicked(ctx, spec.Procedure, v))
		}
	}()
	procedure := s.procedure(spec)
	if err := s.admit(ctx, procedure); err != nil {
		s.log(ctx, procedure, err)
		return nil, ToWire(err)
	}
	return context.WithValue(ctx, allowedKey{}, procedure), nil
}

// procedure names the method by its descriptor; "" when there is none, which
// nothing admits.
func (s *Server) procedure(spec connect.Spec) string {
	m, ok := spec.Schema.(protoreflect.MethodDescriptor)
	if !ok {
		return ""
	}
	return Procedure(m)
}

func (s *Server) admit(ctx context.Context, procedure string) error {
	p := s.cfg.Table[procedure]
	if !p.Declared() {
		return fault.New(fault.Denied, "this procedure is not open to anybody")
	}
	if refused, ok := ctx.Value(refusedKey{}).(error); ok {
		return refused
	}
	if p.Level == LevelAnonymous {
		return nil
	}
	c := CallerFrom(ctx)
	if c.Anonymous() {
		return fault.New(fault.Unauthenticated, "a certificate of this cluster is needed").WithHint("log in first: tsh login")
	}
	return s.cfg.Authorizer.Authorize(ctx, c, p)
}

// interceptor wraps handlers: it refuses a call that the gate has not admitted
// to this very procedure, turns panics and errors into faults on the wire, and
// logs the causes that stay here.
type interceptor struct{ s *Server }

func (i *interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (resp connect.AnyResponse, err error) {
		err = i.run(ctx, req.Spec(), func() (err error) {
			resp, err = next(ctx, req)
			return err
		})
		if err != nil {
			return nil, err
		}
		return resp, nil
	}
}

func (i *interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i *interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		return i.run(ctx, conn.Spec(), func() error { return next(ctx, conn) })
	}
}

func (i *interceptor) run(ctx context.Context, spec connect.Spec, call func() error) (err error) {
	procedure := i.s.procedure(spec)
	defer func() {
		if v := recover(); v != nil {
			err = i.s.panicked(ctx, procedure, v)
		}
		if cut := context.Cause(ctx); err != nil && isFault(cut) {
			err = cut // the reason why Recheck ended it, not that it ended
		}
		if err != nil {
			i.s.log(ctx, procedure, err)
			err = ToWire(err)
		}
	}()
	if admitted, _ := ctx.Value(allowedKey{}).(string); admitted == "" || admitted != procedure {
		return fault.New(fault.Denied, "this call was not authorised")
	}
	return call()
}

func (s *Server) panicked(ctx context.Context, procedure string, v any) error {
	s.cfg.Log.ErrorContext(ctx, "a handler panicked", "procedure", procedure, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	return fault.New(fault.Internal, "internal error")
}

func (s *Server) log(ctx context.Context, procedure string, err error) {
	level := slog.LevelDebug
	if fault.KindOf(err) == fault.Internal {
		level = slog.LevelError
	}
	c := CallerFrom(ctx)
	s.cfg.Log.Log(ctx, level, "call failed", "procedure", strings.TrimPrefix(procedure, "/"),
		"caller", c.Identity.String(), "addr", c.Addr.String(), "error", err)
}

package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"teleport/fault"
)

// Origin says from which pages a browser may call a route. The zero value is
// the strictest one.
type Origin int

const (
	// SameOrigin wants proof that a page of this very origin makes the call:
	// Sec-Fetch-Site: same-origin or, where a browser does not send that, an
	// Origin header that names this host. Everything that a cookie
	// authenticates is SameOrigin.
	SameOrigin Origin = iota
	// Native also admits programs that are no browsers (they send neither
	// header); whatever a browser sends from another site is still refused.
	Native
	// Public admits any page and program. Only GET routes without permission
	// (LevelAnonymous) may be Public.
	Public
)

// HandlerFunc answers a request of an authorised caller. An error that it
// returns before writing becomes the answer.
type HandlerFunc func(w http.ResponseWriter, r *http.Request, c Caller) error

// Route is the only way to mount an HTTP or WebSocket handler.
type Route struct {
	// Pattern is net/http's, with a method: "POST /webapi/sessions".
	Pattern    string
	Permission Permission
	Handler    HandlerFunc
	Origin     Origin
	// WebSocket marks an upgrade: it is GET, SameOrigin or Native, and has no
	// time limit of its own.
	WebSocket bool
	// BodyBytes bounds the request's body (0: 64 KiB).
	BodyBytes int64
	// Timeout bounds the whole answer (0: 30 s); ignored for WebSockets.
	Timeout time.Duration
}

// MuxConfig is what a Mux is made of. All fields are required.
type MuxConfig struct {
	// Identify says who makes a request, by certificate or by session cookie.
	// Anonymous is an answer; an error is a bad credential, which is refused. It is
	// not asked for routes that are open to anybody: a stranger's cookie costs
	// nothing there.
	Identify func(r *http.Request) (Caller, error)
	// Authorizer answers the permission of a route.
	Authorizer Authorizer
	// Hosts reports whether a Host header ("name" or "name:port") is one of
	// ours: the defence against DNS rebinding.
	Hosts func(host string) bool
	Log   *slog.Logger
}

// Mux serves Routes. Handle everything first, then serve.
type Mux struct {
	cfg MuxConfig
	mux *http.ServeMux
}

// NewMux returns a mux without routes.
func NewMux(cfg MuxConfig) *Mux { return &Mux{cfg: cfg, mux: http.NewServeMux()} }

// Handle mounts a route, or says what is wrong with it.
func (m *Mux) Handle(rt Route) (err error) {
	method, _, hasMethod := strings.Cut(rt.Pattern, " ")
	switch {
	case !hasMethod:
		return fmt.Errorf("route %q names no method", rt.Pattern)
	case !rt.Permission.Declared():
		return fmt.Errorf("route %q declares no permission", rt.Pattern)
	case rt.Handler == nil:
		return fmt.Errorf("route %q has no handler", rt.Pattern)
	case rt.Origin == Public && (method != http.MethodGet || rt.Permission.Level != LevelAnonymous):
		return fmt.Errorf("route %q is public, so it must be GET and anonymous", rt.Pattern)
	case rt.WebSocket && (method != http.MethodGet || rt.Origin == Public):
		return fmt.Errorf("route %q is a WebSocket, so it must be GET and not public", rt.Pattern)
	}
	if rt.BodyBytes == 0 {
		rt.BodyBytes = 64 << 10
	}
	if rt.Timeout == 0 {
		rt.Timeout = 30 * time.Second
	}
	defer func() { // net/http reports a bad or clashing pattern by panicking
		if v := recover(); v != nil {
			err = fmt.Errorf("route %q: %v", rt.Pattern, v)
		}
	}()
	m.mux.HandleFunc(rt.Pattern, func(w http.ResponseWriter, r *http.Request) { m.serve(rt, w, r) })
	return nil
}

// ServeHTTP implements http.Handler.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, pattern := m.mux.Handler(r)
	if pattern == "" {
		WriteError(w, fault.New(fault.NotFound, "there is nothing at this address"))
		return
	}
	m.mux.ServeHTTP(w, r)
}

func (m *Mux) serve(rt Route, w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	if rt.Origin != Public {
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
	}
	tw := &trackedWriter{ResponseWriter: w}
	known, err := m.call(rt, tw, r)
	if err == nil {
		return
	}
	level, id := slog.LevelDebug, ""
	switch kind := fault.KindOf(err); {
	case kind == fault.Internal:
		level = slog.LevelError
	case known: // they may ask why
		level = slog.LevelInfo
	}
	if level > slog.LevelDebug {
		id = uuid.NewString()
		h.Set("X-Request-Id", id)
	}
	m.cfg.Log.Log(r.Context(), level, "request failed", "request", id, "route", rt.Pattern, "addr", r.RemoteAddr, "error", err)
	if !tw.written {
		writeError(w, err, id)
	}
}

// call answers a request, or says what is wrong with it; known: it is somebody's who
// is signed in.
func (m *Mux) call(rt Route, w http.ResponseWriter, r *http.Request) (known bool, err error) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if e, ok := v.(error); ok && errors.Is(e, http.ErrAbortHandler) {
			panic(v) // net/http's own way to drop a connection
		}
		m.cfg.Log.Error("a handler panicked", "route", rt.Pattern, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		err = fault.New(fault.Internal, "internal error")
	}()
	if err := m.checkOrigin(rt, r); err != nil {
		return false, err
	}
	var c Caller
	if rt.Permission.Level != LevelAnonymous {
		if c, err = m.cfg.Identify(r); err != nil {
			return false, err
		}
		if c.Anonymous() {
			return false, fault.New(fault.Unauthenticated, "sign in first")
		}
		if err := m.cfg.Authorizer.Authorize(r.Context(), c, rt.Permission); err != nil {
			return true, err
		}
		known = true
	}
	ctx := WithCaller(r.Context(), c)
	if !rt.WebSocket {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rt.Timeout)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, rt.BodyBytes)
	}
	return known, rt.Handler(w, r.WithContext(ctx), c)
}

// checkOrigin refuses what a browser sends on behalf of another site. Apps live
// on sibling hosts, which browsers call same-site: only same-origin is ours.
func (m *Mux) checkOrigin(rt Route, r *http.Request) error {
	refused := fault.New(fault.Denied, "this request did not come from a page of this cluster")
	if !m.cfg.Hosts(r.Host) {
		return fault.New(fault.Denied, "this proxy does not answer to that host name").
			WithHint("use the cluster's public address")
	}
	if rt.Origin == Public {
		return nil
	}
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	if origin != "" && origin != "https://"+r.Host {
		return refused
	}
	switch {
	case site == "same-origin":
		return nil
	case site != "":
		return refused
	case origin != "", rt.Origin == Native:
		return nil
	}
	return refused
}

// trackedWriter knows whether an answer has begun. Unwrap keeps Flush, Hijack
// and deadlines reachable through http.ResponseController.
type trackedWriter struct {
	http.ResponseWriter
	written bool
}

func (t *trackedWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *trackedWriter) WriteHeader(code int) {
	t.written = true
	t.ResponseWriter.WriteHeader(code)
}

func (t *trackedWriter) Write(p []byte) (int, error) {
	t.written = true
	return t.ResponseWriter.Write(p)
}

// DecodeJSON reads the request's body into v: application/json, one value, no
// unknown fields, no more than the route's limit.
func DecodeJSON(r *http.Request, v any) error {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return fault.New(fault.Invalid, "the body must be application/json")
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return bodyFault(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		if err == nil {
			return fault.New(fault.Invalid, "the body has more than one value")
		}
		return bodyFault(err)
	}
	return nil
}

func bodyFault(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fault.Wrap(err, fault.Limit, "the body is larger than %d bytes", tooLarge.Limit)
	}
	return fault.Wrap(err, fault.Invalid, "the body is not the JSON expected here")
}

// WriteJSON answers 200 with v.
func WriteJSON(w http.ResponseWriter, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(append(b, '\n'))
	return err
}

// ErrorBody is the JSON of a failed request: {"error":{"kind":…}}.
type ErrorBody struct {
	Error ErrorText `json:"error"`
}

// ErrorText is a fault without its cause.
type ErrorText struct {
	Kind    fault.Kind `json:"kind"`
	Message string     `json:"message"`
	Hint    string     `json:"hint,omitempty"`
	// RequestID finds the request in the log of the process; empty: the log has none.
	RequestID string `json:"request_id,omitempty"`
}

// WriteError answers with the kind's status and the fault's kind, message and
// hint; the cause does not leave the process.
func WriteError(w http.ResponseWriter, err error) { writeError(w, err, "") }

func writeError(w http.ResponseWriter, err error, id string) {
	k := fault.KindOf(err)
	b, marshalErr := json.Marshal(ErrorBody{ErrorText{Kind: k, Message: fault.Message(err), Hint: fault.Hint(err), RequestID: id}})
	if marshalErr != nil {
		b = []byte(`{"error":{"kind":"internal","message":"internal error"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(Status(k))
	_, _ = w.Write(append(b, '\n'))
}

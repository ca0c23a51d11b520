package appproxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"teleport/fault"
	"teleport/types"
)

// How long a client may take over a piece of a body, in either direction. A
// WebSocket or an event stream may be silent for as long as its session lives.
const (
	stall     = time.Minute
	pieceSize = 32 << 10
)

// visitorKey is where a request's context has whose it is.
type visitorKey struct{}

// errorHeader is on answers that an agent gives itself, and on none of an app's
// (package appaccess).
const errorHeader = "X-Teleport-App-Error"

// newForward makes what passes requests on.
func (s *Server) newForward() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{Rewrite: s.outbound, ModifyResponse: s.inbound, Transport: perVisitor{}, ErrorHandler: s.broken,
		BufferPool: &pieces{}, ErrorLog: slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug)}
}

// pieces lends the buffers through which bodies pass.
type pieces struct{ pool sync.Pool }

func (p *pieces) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, pieceSize)
}

func (p *pieces) Put(b []byte) { p.pool.Put(&b) }

// perVisitor sends a request over the connections of whose it is.
type perVisitor struct{}

func (perVisitor) RoundTrip(r *http.Request) (*http.Response, error) {
	v, ok := r.Context().Value(visitorKey{}).(*visit)
	if !ok {
		return nil, fault.New(fault.Internal, "a request without a session")
	}
	return v.who.transport.RoundTrip(r)
}

// pass sends a request on, and ends it when its session ends.
func (s *Server) pass(v *visit, who *visitor) {
	who.renew(v.client)
	v.who = who
	ctx, cancel := context.WithCancelCause(v.r.Context())
	defer cancel(nil)
	control := http.NewResponseController(v.w)
	stop := context.AfterFunc(who.ctx, func() {
		cancel(context.Cause(who.ctx))
		past := time.Unix(1, 0)
		_, _ = control.SetReadDeadline(past), control.SetWriteDeadline(past) // of a client that neither reads nor writes
	})
	defer stop()
	// The server's own deadline is for whole requests of its API.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		s.fail(v, err)
		return
	}
	ctx = context.WithValue(context.WithValue(ctx, visitorKey{}, v), clientKey{}, v.client)
	r := v.r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &patientBody{ReadCloser: r.Body, control: control, ended: who.ctx}
	}
	s.forward.ServeHTTP(&patientWriter{ResponseWriter: v.w, control: control, ended: who.ctx}, r)
}

// patientBody reads a body for as long as something of it comes.
type patientBody struct {
	io.ReadCloser
	control *http.ResponseController
	ended   context.Context
	until   time.Time
}

func (b *patientBody) Read(p []byte) (int, error) {
	if now := time.Now(); b.until.Sub(now) < stall/2 && b.ended.Err() == nil {
		b.until = now.Add(stall)
		if err := b.control.SetReadDeadline(b.until); err != nil {
			return 0, err
		}
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil { // the whole of it has come: what follows may be silent
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// patientWriter writes for as long as the client takes something.
type patientWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	ended   context.Context
	until   time.Time
}

func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *patientWriter) Write(p []byte) (int, error) {
	if now := time.Now(); w.until.Sub(now) < stall/2 && w.ended.Err() == nil {
		w.until = now.Add(stall)
		if err := w.control.SetWriteDeadline(w.until); err != nil {
			return 0, err
		}
	}
	return w.ResponseWriter.Write(p)
}

// passes reports whether clients set a header for an app: not those that say who the
// user is and where a request comes from, and not what belongs to one connection.
func passes(name string) bool {
	return !types.ReservedHeader(name) && types.HeaderKey(name) != "x-request-id"
}

// outbound builds the request that the agent gets, its headers from empty.
func (s *Server) outbound(p *httputil.ProxyRequest) {
	v, ok := p.In.Context().Value(visitorKey{}).(*visit)
	if !ok {
		return
	}
	before, h := p.Out.Header, http.Header{}
	for name, values := range before {
		if passes(name) {
			h[name] = values
		}
	}
	if wantsUpgrade(p.In) && before.Get("Upgrade") != "" {
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", "websocket")
	}
	if te := before.Get("Te"); te != "" {
		h.Set("Te", "trailers")
	}
	stripCookies(h)
	if _, has := before["User-Agent"]; !has {
		h["User-Agent"] = nil // so that none is made up
	}
	h.Set("X-Forwarded-For", v.client.Addr().String())
	h.Set("X-Forwarded-Host", p.In.Host)
	h.Set("X-Forwarded-Proto", "https")
	h.Set(requestID, v.id)
	p.Out.Header, p.Out.Host = h, p.In.Host
	p.Out.URL = &url.URL{Scheme: "https", Host: agentHost, Path: p.In.URL.Path, RawPath: p.In.URL.RawPath, RawQuery: p.In.URL.RawQuery}
}

// agentHost stands for the app's agents in the address of a request; who it is, the
// dial of the session finds.
const agentHost = "agent.invalid"

// stripCookies takes our own cookies out of a request.
func stripCookies(h http.Header) {
	fields := h["Cookie"]
	if !slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(f, ourCookies) }) {
		return
	}
	var kept []string
	for _, field := range fields {
		for part := range strings.SplitSeq(field, ";") {
			if part = strings.TrimSpace(part); part != "" && !strings.HasPrefix(part, ourCookies) {
				kept = append(kept, part)
			}
		}
	}
	delete(h, "Cookie")
	if len(kept) > 0 {
		h["Cookie"] = []string{strings.Join(kept, "; ")}
	}
}

// maxFault bounds what an agent says of a refusal.
const maxFault = 64 << 10

// inbound looks at the answer of an agent before it goes to the client.
func (s *Server) inbound(resp *http.Response) error {
	if word := resp.Header.Get(errorHeader); word != "" {
		return readFault(word, resp.Body)
	}
	resp.Header.Del("Alt-Svc") // it would lead browsers past this port
	if cookies := resp.Header["Set-Cookie"]; len(cookies) > 0 {
		resp.Header["Set-Cookie"] = slices.DeleteFunc(cookies, func(c string) bool { return strings.HasPrefix(strings.TrimSpace(c), ourCookies) })
	}
	return nil
}

// ended reports the cause of a request that its session's end has cut.
func ended(v *visit) error {
	if v.who != nil && v.who.ctx.Err() != nil {
		return context.Cause(v.who.ctx)
	}
	return nil
}

// broken answers a request that did not get an answer of the app.
func (s *Server) broken(_ http.ResponseWriter, r *http.Request, err error) {
	v, ok := r.Context().Value(visitorKey{}).(*visit)
	if !ok {
		return
	}
	v.told = true // by whoever refused it beyond, if somebody did
	if why := ended(v); why != nil {
		err = why
	}
	if errors.Is(err, context.Canceled) && v.r.Context().Err() != nil {
		return // the client has left
	}
	if fault.KindOf(err) == fault.Internal {
		err = fault.Advise(fault.Wrap(err, fault.Unavailable, "the connection to the app was lost"), "try again in a moment")
	}
	s.fail(v, err)
}

// ownOrigin reports whether a WebSocket was opened by a page of the app, or of one
// that its CORS settings name and let use cookies: browsers send them with every
// WebSocket. Programs send no origin.
func (s *Server) ownOrigin(v *visit) bool {
	origin, c := v.r.Header.Get("Origin"), v.app.Spec.CORS
	return origin == "" || origin == "https://"+v.r.Host || c != nil && c.AllowCredentials && slices.Contains(c.AllowedOrigins, origin)
}

func allowsOrigin(c *types.AppCORS, origin string) bool {
	return c != nil && (slices.Contains(c.AllowedOrigins, origin) || slices.Contains(c.AllowedOrigins, "*") && !c.AllowCredentials)
}

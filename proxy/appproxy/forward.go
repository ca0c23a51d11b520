package appproxy

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"teleport/fault"
	"teleport/netx/http1"
	"teleport/types"
)

// How long a client may take over a piece of a body, in either direction. A
// WebSocket or an event stream may be silent for as long as its session lives.
const stall = time.Minute

// errorHeader is on answers that an agent gives itself, and on none of an app's
// (package appaccess).
const errorHeader = "X-Teleport-App-Error"

// pass sends a request on, and ends it when its session ends.
func (s *Server) pass(v *visit, who *visitor) {
	who.renew(v.client)
	if c, ok := v.w.(http1.Canceler); ok {
		v.cancel = c.Cancel
	} else { // HTTP/2
		ctx, cancel := context.WithCancelCause(v.Context)
		defer cancel(nil)
		v.Context, v.cancel = ctx, cancel
	}
	if v.r.ProtoMajor > 1 { // the server's own deadline is for whole requests of its API
		if err := http.NewResponseController(v.w).SetReadDeadline(time.Time{}); err != nil {
			s.fail(v, err)
			return
		}
	}
	v.patience = http1.NewPatience(v.w, stall)
	defer func() { v.moved = v.patience.End() }()
	if err := who.join(v); err != nil {
		s.fail(v, err)
		return
	}
	out := s.outbound(v)
	if out.Body != nil && out.Body != http.NoBody {
		out.Body = v.patience.Body(out.Body)
	}
	hop := http1.Hop{Send: who.agents.Send, Look: s.inbound}
	if err := hop.Pass(v.patience.Writer(v.w), out); err != nil {
		s.broken(v, err)
	}
}

// cut ends a request whose session has ended.
func (v *visit) cut(why error) {
	v.cancel(why)
	v.patience.Cut() // of a client that neither reads nor writes
}

// Value implements context.Context: of the requests to the agent, which tell dials
// whom they are for.
func (v *visit) Value(key any) any {
	if key == (clientKey{}) {
		return v.client
	}
	return v.Context.Value(key)
}

// outbound builds the request that the agent gets, its headers from empty.
func (s *Server) outbound(v *visit) *http.Request {
	r := v.r
	wants := http1.Take(r.Header)
	h := make(http.Header, len(r.Header)+4)
	for name, values := range r.Header {
		if !types.OwnHeader(name) {
			h[name] = values
		}
	}
	if wants.Upgrade != "" {
		wants.Upgrade = "websocket" // wellShaped lets in no other
	}
	wants.Put(h)
	delete(h, "Expect") // it is met here
	stripCookies(h)
	own := [...]string{v.client.Addr().String(), r.Host, "https", v.id}
	h["X-Forwarded-For"], h["X-Forwarded-Host"], h["X-Forwarded-Proto"], h[requestID] = own[0:1:1], own[1:2:2], own[2:3:3], own[3:4:4]
	out := r.WithContext(v)
	out.Header, out.Close = h, false
	maps.DeleteFunc(out.Trailer, func(name string, _ []string) bool { return types.OwnHeader(name) })
	out.URL = &url.URL{Scheme: "https", Host: agentHost, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	return out
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
	keepCookies(resp.Header)
	if cookies := resp.Header["Set-Cookie"]; len(cookies) > 0 {
		resp.Header["Set-Cookie"] = slices.DeleteFunc(cookies, func(c string) bool { return strings.HasPrefix(strings.TrimSpace(c), ourCookies) })
	}
	return nil
}

// keepCookies leaves of what an app wants cleared what is its own: browsers clear cookies
// for the whole of a registrable domain (Clear-Site-Data, section 3.1), which may be the
// proxy's, and its people would be signed out everywhere.
func keepCookies(h http.Header) {
	values := h["Clear-Site-Data"]
	if len(values) == 0 {
		return
	}
	var kept []string
	for _, value := range values {
		for what := range strings.SplitSeq(value, ",") {
			switch what = strings.TrimSpace(what); what {
			case `"cache"`, `"storage"`, `"executionContexts"`, `"clientHints"`, `"prefetchCache"`, `"prerenderCache"`:
				kept = append(kept, what)
			case `"*"`:
				kept = append(kept, `"cache"`, `"storage"`)
			}
		}
	}
	delete(h, "Clear-Site-Data")
	if len(kept) > 0 {
		h["Clear-Site-Data"] = []string{strings.Join(kept, ", ")}
	}
}

// ended reports the cause of a request that its session's end has cut, or has kept
// from the agent: a certificate that was good when we looked may be over when the
// agent does, whose refusal comes with what is read first (RFC 8446, section 2).
func ended(v *visit) error {
	switch {
	case v.who == nil:
		return nil
	case v.who.ctx.Err() != nil:
		return context.Cause(v.who.ctx)
	}
	return v.who.over()
}

// broken answers a request that did not get an answer of the app.
func (s *Server) broken(v *visit, err error) {
	v.told = true // by whoever refused it beyond, if somebody did
	paused := v.patience.Err()
	if why := ended(v); why != nil {
		err, paused = why, nil
	}
	if paused == nil && errors.Is(err, context.Canceled) && v.r.Context().Err() != nil {
		return // the client has left
	}
	switch {
	case paused != nil:
		err = fault.Advise(fault.Wrap(paused, fault.Timeout, "nothing more of what you sent has come for a minute"), "send it again")
	case fault.KindOf(err) == fault.Internal:
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

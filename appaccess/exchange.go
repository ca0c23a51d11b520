package appaccess

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/uuid"

	"teleport/api/rpc"
	"teleport/fault"
	"teleport/netx"
	"teleport/netx/http1"
	"teleport/types"
	"teleport/types/event"
)

// exchange is one request of a visit and its answer.
type exchange struct {
	svc      *Service
	visit    *visit
	app      *types.App // as it is now
	way      *way       // nil for clouds
	asked    string     // the host that the client named
	wants    http1.Asked
	patience *http1.Patience // nil for what may be silent
	first    http1.Canceler  // the answer, of HTTP/1.1
	token    types.Secret
	told     event.AppRequest
	noted    bool // the log has it
}

// ServeHTTP implements http.Handler for the connections of Serve.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v, ok := r.Context().Value(visitKey{}).(*visit)
	if !ok || !v.begin() {
		panic(http.ErrAbortHandler) // nobody was identified, or the connection has ended
	}
	defer v.requests.Done()
	x := &exchange{svc: s, visit: v, app: s.app(v.app.Metadata.Name), asked: r.Host, wants: http1.Take(r.Header)}
	if !strings.EqualFold(x.wants.Upgrade, "websocket") {
		x.wants.Upgrade = "" // nobody would see what goes on in another protocol
	}
	x.told = event.AppRequest{Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, RequestID: x.requestID(r), Upgrade: strings.ToLower(x.wants.Upgrade)}
	v.session.requests.Add(1)
	w.Header().Set(HeaderRequestID, x.told.RequestID)
	if err := x.prepare(r); err != nil {
		x.fail(w, r, err)
		return
	}
	if to := x.entry(r); to != "" {
		if err := x.note(r.Context(), http.StatusFound, nil); err != nil {
			x.fail(w, r, err)
			return
		}
		http.Redirect(w, r, to, http.StatusFound)
		return
	}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") { // which may say nothing for long
		x.pass(w, w, r)
		return
	}
	x.patience = http1.NewPatience(w, bodyPause)
	defer x.patience.End()
	if r.ContentLength != 0 {
		r.Body = x.patience.Body(r.Body)
	}
	if x.first, ok = w.(http1.Canceler); ok {
		defer v.answered()
		if err := v.await(x); err != nil {
			x.fail(w, r, err)
			return
		}
	}
	x.pass(x.patience.Writer(w), w, r)
}

// pass passes the request on and its answer back, to w. Through own, which is before it,
// the client of a request that was cut hears why.
func (x *exchange) pass(w, own http.ResponseWriter, r *http.Request) {
	hop := http1.Hop{Send: x.send, Look: x.answer}
	err := hop.Pass(w, x.outbound(r))
	if err == nil {
		return
	}
	if why := x.visit.why.get(); why != nil {
		w, err = own, why
		own.Header().Set("Connection", "close")
	}
	x.fail(w, r, err)
}

// cut ends a request of HTTP/1.1 whose session has ended.
func (x *exchange) cut(why error) {
	x.first.Cancel(why)
	x.patience.Cut() // of a client that neither reads nor writes
}

// uuidSize is that of a UUID in its one usual form.
const uuidSize = 36

// requestID is the one that the proxy gave a browser's request, or a new one.
func (x *exchange) requestID(r *http.Request) string {
	if x.bridged() {
		if said := r.Header.Get(HeaderRequestID); len(said) == uuidSize && uuid.Validate(said) == nil {
			return strings.ToLower(said)
		}
	}
	return uuid.NewString()
}

// prepare refuses what is not a request for this app, and finds the way there.
func (x *exchange) prepare(r *http.Request) (err error) {
	switch {
	case x.app == nil:
		return errNotFronted(x.visit.app.Metadata.Name)
	case r.Method == http.MethodConnect || r.RequestURI == "*" || !strings.HasPrefix(r.URL.Path, "/"):
		return fault.New(fault.Invalid, "a request names a path within the app")
	case r.URL.Host != "" && !strings.EqualFold(r.URL.Host, r.Host):
		return fault.New(fault.Invalid, "a request names one host")
	case x.app.Spec.CloudAPI():
		return nil
	}
	if x.app.Spec.JWT() {
		if x.token, err = x.visit.session.identify(r.Context(), x.visit, x.app); err != nil {
			return err
		}
	}
	if x.way, err = x.visit.session.wayTo(x.app); err != nil {
		return err
	}
	return x.ownName(r)
}

// bridged reports whether a proxy speaks, which knows the names of apps.
func (x *exchange) bridged() bool { return x.visit.identity.Kind == types.IdentityBridge }

// entry is where somebody is sent who opens the app's root, "" for all others: the
// path in the app's URI.
func (x *exchange) entry(r *http.Request) string {
	if x.way == nil || r.URL.Path != "/" || r.Method != http.MethodGet && r.Method != http.MethodHead || x.wants.Upgrade != "" {
		return ""
	}
	if p := x.way.target.EscapedPath(); p != "" && p != "/" && !strings.HasPrefix(p, "//") {
		return p
	}
	return ""
}

// outbound makes the request that the app gets, its headers from empty.
func (x *exchange) outbound(r *http.Request) *http.Request {
	out := r.WithContext(r.Context())
	u := *r.URL
	out.URL, out.Header, out.Close = &u, forwarded(r.Header), false
	x.wants.Put(out.Header)
	delete(out.Header, "Expect") // it is met here
	maps.DeleteFunc(out.Trailer, func(name string, _ []string) bool { return types.OwnHeader(name) })
	own := [...]string{x.told.RequestID, x.client(r), x.asked, "https", x.token.Reveal()}
	out.Header[HeaderRequestID] = own[0:1:1]
	if _, has := out.Header["User-Agent"]; !has {
		out.Header["User-Agent"] = nil // so that none is made up
	}
	if x.way == nil {
		return out // a cloud's request is made anew
	}
	u.Scheme, u.Host, out.Host = x.way.target.Scheme, x.way.target.Host, x.way.target.Host
	out.Header["X-Forwarded-For"], out.Header["X-Forwarded-Host"], out.Header["X-Forwarded-Proto"] = own[1:2:2], own[2:3:3], own[3:4:4]
	if !x.token.Empty() {
		out.Header[HeaderAssertion] = own[4:5:5]
	}
	x.change(out)
	if origin := out.Header.Get("Origin"); origin != "" && !strings.EqualFold(out.Host, x.asked) {
		out.Header.Set("Origin", originOf(origin, x.asked, x.way.target.Scheme+"://"+out.Host))
	}
	return out
}

// client is the address that the app is told.
func (x *exchange) client(r *http.Request) string {
	if x.bridged() {
		said := r.Header.Get("X-Forwarded-For")
		switch a, err := netip.ParseAddr(said); {
		case err != nil:
		case a.Is4():
			return said // which can be written in one way
		default:
			return a.String()
		}
	}
	return netx.AddrPort(x.visit.in.RemoteAddr()).Addr().String()
}

// change makes the changes that the app's document asks for.
func (x *exchange) change(out *http.Request) {
	if x.app.Spec.Rewrite == nil {
		return
	}
	traits := x.visit.traits(x.token)
	for _, h := range x.app.Spec.Rewrite.Headers {
		unsay(out.Header, h.Name) // nobody says it themselves, least of all who has no such trait
		unsay(out.Trailer, h.Name)
		values := x.svc.expand(h.Value, traits)
		if len(values) == 0 {
			x.svc.cfg.Log.Debug("a header is left out, as the user has no such trait", "app", x.app.Metadata.Name, "header", h.Name)
			continue
		}
		if strings.EqualFold(h.Name, "Host") {
			out.Host = values[0]
			continue
		}
		for _, value := range values {
			out.Header.Add(h.Name, value)
		}
	}
}

// send gets the answer, of the app or of a cloud.
func (x *exchange) send(r *http.Request, early http1.Early) (*http.Response, error) {
	if x.way != nil {
		return x.way.send(r, early)
	}
	cloud := x.svc.cfg.Clouds[x.app.Spec.Cloud]
	return cloud.Send(r, x.visit.use(x.app), &x.told)
}

// answer changes what the client gets, once the log has it.
func (x *exchange) answer(resp *http.Response) error {
	if err := x.note(resp.Request.Context(), resp.StatusCode, nil); err != nil {
		resp.Body.Close()
		return err
	}
	answered(resp.Header)
	resp.Header.Del(HeaderRequestID) // it is there already
	spec := &x.app.Spec
	if spec.Rewrite != nil {
		if to := resp.Header.Get("Location"); to != "" && resp.StatusCode >= 300 && resp.StatusCode < 400 {
			resp.Header.Set("Location", relocated(to, x.public(), spec.Rewrite.Redirect))
		}
	}
	if spec.CORS != nil {
		share(resp.Header, resp.Request.Header.Get("Origin"), spec.CORS)
	}
	return nil
}

// public is the host under which the client reaches the app.
func (x *exchange) public() string { return firstOf(x.asked, x.app.Spec.PublicAddr) }

// note tells the audit log and the recording of the request.
func (x *exchange) note(ctx context.Context, status int, why error) error {
	if x.noted {
		return nil
	}
	x.noted = true
	e := &x.told // which nobody changes any more
	e.StatusCode, e.Success = status, why == nil
	code := event.CodeAppRequest
	if why != nil {
		e.Error, code = fault.Message(why), event.CodeAppRequestFail
	}
	ctx = context.WithoutCancel(ctx)
	if err := x.visit.session.emit(ctx, e, event.TypeAppRequest, code); err != nil {
		return err
	}
	return x.visit.session.chunk.add(ctx, e)
}

// failure is the body of an answer of the agent itself.
type failure struct {
	Error struct {
		Code      string `json:"code"`
		Message   string `json:"message"`
		RequestID string `json:"request_id"`
	} `json:"error"`
}

// fail answers for an app that did not, and tells the log.
func (x *exchange) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, word := http.StatusBadGateway, "app_down"
	var known *fault.Error
	var slow net.Error
	switch {
	case x.patience != nil && x.patience.Err() != nil:
		status, word = http.StatusRequestTimeout, "slow_body"
		err = fault.Wrap(err, fault.Timeout, "nothing more of the request's body has come for %s", bodyPause)
	case errors.As(err, &known):
		status, word = statusOf(known.Kind), string(known.Kind)
	case errors.As(err, &slow) && slow.Timeout(), errors.Is(err, context.DeadlineExceeded):
		status, word = http.StatusGatewayTimeout, "app_slow"
		err = fault.Wrap(err, fault.Timeout, "the app %s does not answer", x.visit.app.Metadata.Name)
	case errors.Is(err, http1.ErrAnswer):
		err = fault.Wrap(err, fault.Unavailable, "the app %s does not answer as an app does", x.visit.app.Metadata.Name)
	case errors.Is(err, context.Canceled), errors.Is(err, io.ErrUnexpectedEOF) && r.Context().Err() != nil, x.patience != nil && x.patience.Broke():
		word = string(fault.Canceled)
		err = fault.Wrap(err, fault.Canceled, "the client went away")
	default:
		err = fault.Wrap(err, fault.Unavailable, "the app %s cannot be reached", x.visit.app.Metadata.Name)
	}
	if noted := x.note(r.Context(), status, err); noted != nil {
		x.svc.cfg.Log.Error("a request that failed could not be kept", "session", x.visit.session.id, "error", noted)
	}
	if x.refuse(w, r, err) {
		return
	}
	var body failure
	body.Error.Code, body.Error.Message, body.Error.RequestID = word, fault.Message(err), x.told.RequestID
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set(HeaderError, word)
	if word == "app_down" && !x.bridged() {
		h.Set("Connection", "close") // the next may come to an agent that reaches it
		x.visit.unreached()
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may be gone
}

// refuse answers the tool of a cloud in the form that it reads, and reports whether
// it did: a browser's proxy reads ours.
func (x *exchange) refuse(w http.ResponseWriter, r *http.Request, why error) bool {
	if x.app == nil || x.bridged() {
		return false
	}
	cloud, ok := x.svc.cfg.Clouds[x.app.Spec.Cloud].(Refuser)
	if !ok {
		return false
	}
	resp := cloud.Refusal(r, &x.told, why)
	defer resp.Body.Close()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // the client may be gone
	return true
}

// bodyPause is how long a client may do nothing about a body that has begun, in
// either direction.
const bodyPause = 2 * time.Minute

// statusOf is how HTTP says a kind of fault of a gateway: what is wrong behind it is
// nothing that the client could mend.
func statusOf(k fault.Kind) int {
	switch k {
	case fault.Untrusted, fault.Canceled, fault.Internal:
		return http.StatusBadGateway
	}
	return rpc.Status(k)
}

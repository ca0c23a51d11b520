package appproxy

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"teleport/api/rpc"
	"teleport/fault"
	"teleport/netx/http1"
	"teleport/telemetry"
	"teleport/types"
)

// pagePolicy is the Content-Security-Policy of the few pages that the proxy itself
// shows at an app's address: own script and style sheet, nothing inline.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " +
	"frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

func securePage(h http.Header) {
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Strict-Transport-Security", "max-age=31536000")
}

// requestID names a request: in the log of this proxy, in the audit log of the
// agent, and on every page and answer that says what went wrong.
const requestID = "X-Request-Id"

// The agent takes a UUID, and makes an id of its own of anything else.
func newRequestID() string { return uuid.NewString() }

// fail answers a request with what went wrong: a page for a person, JSON for a
// program. A person whose session is over is led to the sign-in instead.
func (s *Server) fail(v *visit, err error) {
	kind := fault.KindOf(err)
	s.refused(v, err)
	if kind == fault.Unauthenticated && v.app != nil && !strings.HasPrefix(v.r.URL.Path, authPath) && wantsPage(v.r) {
		s.signIn(v)
		return
	}
	id, name := v.id, ""
	if v.app != nil {
		name = v.app.Metadata.Name
	}
	s.o.Log.InfoContext(v.r.Context(), "a request for an app failed", "request", id, telemetry.KeyResource, name, telemetry.KeyUser, v.user,
		telemetry.KeyClient, v.client.String(), "method", v.r.Method, "path", v.r.URL.EscapedPath(), telemetry.KeyErr, err)
	h := v.w.Header()
	securePage(h)
	h.Set(requestID, id)
	if !readsPage(v.r) {
		s.allow(v) // a page of an allowed origin may read why
		writeFault(v.w, err, id)
		return
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(statusOf(err))
	_, _ = v.w.Write(s.notice(v, err).page(id))
}

// statusOf is how HTTP says what went wrong.
func statusOf(err error) int {
	switch {
	case errors.Is(err, http1.ErrPaused):
		return http.StatusRequestTimeout // the client's own time, and not the app's
	case errors.Is(err, errHead):
		return http.StatusRequestHeaderFieldsTooLarge
	}
	return rpc.Status(fault.KindOf(err))
}

// faultBody is the JSON of a request that failed.
type faultBody struct {
	Error struct {
		Kind      fault.Kind `json:"kind"`
		Message   string     `json:"message"`
		Hint      string     `json:"hint,omitempty"`
		RequestID string     `json:"request_id,omitempty"`
	} `json:"error"`
}

func writeFault(w http.ResponseWriter, err error, id string) {
	var b faultBody
	b.Error.Kind, b.Error.Message, b.Error.Hint, b.Error.RequestID = fault.KindOf(err), fault.Message(err), fault.Hint(err), id
	text, marshalErr := json.Marshal(b)
	if marshalErr != nil {
		text = []byte(`{"error":{"kind":"internal","message":"internal error"}}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(statusOf(err))
	_, _ = w.Write(append(text, '\n'))
}

// readFault is what an agent says of a request that did not reach the app; word is
// a kind of fault, or that the app is down or slow.
func readFault(word string, body io.Reader) error {
	kind := fault.Kind(word)
	switch {
	case word == "app_slow":
		kind = fault.Timeout
	case !kind.Valid():
		kind = fault.Unavailable
	}
	var b faultBody
	text, err := io.ReadAll(io.LimitReader(body, maxFault))
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err != nil || b.Error.Message == "" {
		return errors.Join(fault.New(fault.Unavailable, "the app's agent refused the request"), err)
	}
	said := fault.New(kind, "%s", b.Error.Message)
	switch word {
	case "app_down":
		return said.WithHint("its agent is there, and gets no good answer from the app behind it")
	case "app_slow":
		return said.WithHint("it was reached, and has not begun to answer in time")
	}
	return said
}

// preflight answers a browser that asks, without a cookie, whether a page of
// another origin may call the app. It reports whether the request was one.
func (s *Server) preflight(v *visit) bool {
	method := v.r.Header.Get("Access-Control-Request-Method")
	if method == "" || v.r.Header.Get("Origin") == "" {
		return false
	}
	if _, _, ok := pair(v.r); ok { // no browser sends cookies with a preflight
		return false
	}
	c := v.app.Spec.CORS
	wanted := strings.FieldsFunc(strings.ToLower(v.r.Header.Get("Access-Control-Request-Headers")), func(r rune) bool { return r == ',' || r == ' ' })
	if !s.allow(v) || !allowsMethod(c, method) || slices.ContainsFunc(wanted, func(h string) bool { return !allowsHeader(c, h) }) {
		s.fail(v, fault.New(fault.Denied, "pages of %.200s may not call this app so", v.r.Header.Get("Origin")).
			WithHint("the app's cors settings say who may"))
		return true
	}
	h := v.w.Header()
	h.Set("Access-Control-Allow-Methods", strings.Join(append([]string{"GET", "HEAD", "POST"}, c.AllowedMethods...), ", "))
	if len(wanted) > 0 {
		h.Set("Access-Control-Allow-Headers", strings.Join(wanted, ", "))
	}
	if c.MaxAge > 0 {
		h.Set("Access-Control-Max-Age", strconv.Itoa(c.MaxAge))
	}
	v.w.WriteHeader(http.StatusNoContent)
	return true
}

// allow lets a page of an origin that the app's settings name read an answer.
func (s *Server) allow(v *visit) bool {
	origin := v.r.Header.Get("Origin")
	if v.app == nil || origin == "" || !allowsOrigin(v.app.Spec.CORS, origin) {
		return false
	}
	h := v.w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Add("Vary", "Origin")
	if v.app.Spec.CORS.AllowCredentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	return true
}

// allowsMethod also admits the methods that need no preflight.
func allowsMethod(c *types.AppCORS, method string) bool {
	return slices.Contains([]string{"GET", "HEAD", "POST"}, method) || slices.Contains(c.AllowedMethods, method) || slices.Contains(c.AllowedMethods, "*")
}

func allowsHeader(c *types.AppCORS, name string) bool {
	return slices.ContainsFunc(c.AllowedHeaders, func(h string) bool { return h == "*" || strings.EqualFold(h, name) })
}

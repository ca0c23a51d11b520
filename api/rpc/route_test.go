package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"teleport/fault"
	"teleport/types"
)

func newMux(t *testing.T, caller Caller) *Mux {
	t.Helper()
	return NewMux(MuxConfig{
		Identify: func(*http.Request) (Caller, error) { return caller, nil },
		Authorizer: authorizer(func(c Caller, p Permission) error {
			if c.Identity.Name == "alice" && p.Level == LevelUser {
				return nil
			}
			return fault.New(fault.Denied, "denied")
		}),
		Hosts: func(h string) bool { return h == "proxy.example" },
		Log:   slog.New(slog.DiscardHandler),
	})
}

func ok(w http.ResponseWriter, _ *http.Request, _ Caller) error {
	return WriteJSON(w, map[string]string{"ok": "yes"})
}

func alice() Caller {
	return Caller{Identity: &types.Identity{Kind: types.IdentityUser, Name: "alice", Cluster: "example"}}
}

func TestRoutesWithoutPermissionDoNotMount(t *testing.T) {
	m := newMux(t, Caller{})
	for name, rt := range map[string]Route{
		"no permission":          {Pattern: "GET /a", Handler: ok},
		"no roles":               {Pattern: "GET /b", Handler: ok, Permission: System()},
		"no method":              {Pattern: "/c", Handler: ok, Permission: AnyUser()},
		"no handler":             {Pattern: "GET /d", Permission: AnyUser()},
		"public with permission": {Pattern: "GET /e", Handler: ok, Permission: AnyUser(), Origin: Public},
		"public post":            {Pattern: "POST /f", Handler: ok, Permission: Anonymous(), Origin: Public},
		"public websocket":       {Pattern: "GET /g", Handler: ok, Permission: Anonymous(), Origin: Public, WebSocket: true},
		"bad pattern":            {Pattern: "GET /{", Handler: ok, Permission: AnyUser()},
	} {
		if err := m.Handle(rt); err == nil {
			t.Errorf("%s: mounted", name)
		}
	}
	rt := Route{Pattern: "GET /twice", Handler: ok, Permission: AnyUser()}
	if err := m.Handle(rt); err != nil {
		t.Fatal(err)
	}
	if err := m.Handle(rt); err == nil {
		t.Error("the same pattern twice")
	}
}

func TestOriginChecks(t *testing.T) {
	m := newMux(t, alice())
	for _, rt := range []Route{
		{Pattern: "POST /strict", Handler: ok, Permission: AnyUser()},
		{Pattern: "POST /native", Handler: ok, Permission: Anonymous(), Origin: Native},
		{Pattern: "GET /public", Handler: ok, Permission: Anonymous(), Origin: Public},
		{Pattern: "GET /ws", Handler: ok, Permission: AnyUser(), WebSocket: true},
	} {
		if err := m.Handle(rt); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		target, host, site, origin string
		want                       int
	}{
		{"POST /strict", "proxy.example", "same-origin", "https://proxy.example", 200},
		{"POST /strict", "proxy.example", "", "https://proxy.example", 200},
		{"POST /strict", "proxy.example", "", "", 403},
		{"POST /strict", "proxy.example", "same-site", "https://app.proxy.example", 403},
		{"POST /strict", "proxy.example", "same-origin", "https://evil.example", 403},
		{"POST /strict", "proxy.example", "cross-site", "", 403},
		{"POST /strict", "proxy.example", "none", "", 403},
		{"POST /strict", "proxy.example", "", "null", 403},
		{"POST /strict", "evil.example", "same-origin", "https://evil.example", 403}, // DNS rebinding
		{"POST /native", "proxy.example", "", "", 200},
		{"POST /native", "proxy.example", "cross-site", "https://evil.example", 403},
		{"GET /public", "proxy.example", "cross-site", "https://evil.example", 200},
		{"GET /ws", "proxy.example", "", "https://evil.example", 403},
		{"GET /ws", "proxy.example", "", "", 403},
		{"GET /ws", "proxy.example", "same-origin", "https://proxy.example", 200},
		{"GET /nowhere", "proxy.example", "", "", 404},
	} {
		method, path, _ := strings.Cut(c.target, " ")
		r := httptest.NewRequest(method, path, nil)
		r.Host = c.host
		if c.site != "" {
			r.Header.Set("Sec-Fetch-Site", c.site)
		}
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%+v: %d %s", c, w.Code, w.Body)
		}
	}
}

func TestPermissionOfRoutes(t *testing.T) {
	for name, c := range map[string]struct {
		caller Caller
		want   int
	}{"nobody": {Caller{}, 401}, "alice": {alice(), 200},
		"bob": {Caller{Identity: &types.Identity{Kind: types.IdentityUser, Name: "bob"}}, 403}} {
		m := newMux(t, c.caller)
		if err := m.Handle(Route{Pattern: "GET /x", Handler: ok, Permission: AnyUser(), Origin: Native}); err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/x", nil)
		r.Host = "proxy.example"
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

func TestDecodeJSONIsStrict(t *testing.T) {
	type body struct {
		Name string `json:"name"`
	}
	for in, kind := range map[string]fault.Kind{
		`{"name":"a"}`: "", `{"name":"a"} `: "", `{"name":"a","x":1}`: fault.Invalid, `{"name":"a"}{}`: fault.Invalid,
		``: fault.Invalid, `[`: fault.Invalid, `{"name":"` + strings.Repeat("a", 100) + `"}`: fault.Limit,
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(in))
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
		r.Body = http.MaxBytesReader(nil, r.Body, 64)
		var b body
		if err := DecodeJSON(r, &b); fault.KindOf(err) != kind {
			t.Errorf("%.20q: %v", in, err)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"name":"a"}`))
	r.Header.Set("Content-Type", "text/plain") // what a form of another site can send
	if err := DecodeJSON(r, &body{}); !errors.Is(err, fault.Invalid) {
		t.Errorf("text/plain: %v", err)
	}
}

func TestRouteErrorsAndPanics(t *testing.T) {
	m := newMux(t, alice())
	handlers := map[string]HandlerFunc{
		"GET /panic": func(http.ResponseWriter, *http.Request, Caller) error { panic("boom") },
		"GET /fault": func(http.ResponseWriter, *http.Request, Caller) error {
			return fault.New(fault.NotFound, "no such node").WithHint("tsh ls")
		},
		"GET /plain": func(http.ResponseWriter, *http.Request, Caller) error { return errors.New("secret cause") },
	}
	for p, h := range handlers {
		if err := m.Handle(Route{Pattern: p, Handler: h, Permission: AnyUser(), Origin: Native}); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]struct {
		code int
		body string
	}{"/panic": {500, "internal error"}, "/fault": {404, `"hint":"tsh ls"`}, "/plain": {500, "internal error"}} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "proxy.example"
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		if w.Code != want.code || !strings.Contains(w.Body.String(), want.body) || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// Whoever is signed in and is refused hears of an id that finds the log; strangers do
// not fill it.
func TestFailuresAreFoundInTheLog(t *testing.T) {
	var log bytes.Buffer
	m := newMux(t, alice())
	m.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	refuse := func(http.ResponseWriter, *http.Request, Caller) error {
		return fault.New(fault.Denied, "no role allows it")
	}
	for _, rt := range []Route{{Pattern: "GET /own", Handler: refuse, Permission: AnyUser(), Origin: Native}, {Pattern: "GET /open", Handler: refuse, Permission: Anonymous(), Origin: Native}} {
		if err := m.Handle(rt); err != nil {
			t.Fatal(err)
		}
	}
	for path, site := range map[string]string{"/own": "same-origin", "/open": "same-origin", "/own?": "cross-site"} {
		log.Reset()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = "proxy.example"
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		var b ErrorBody
		if err := json.Unmarshal(w.Body.Bytes(), &b); err != nil || w.Code != http.StatusForbidden || b.Error.RequestID != w.Header().Get("X-Request-Id") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
		if id := b.Error.RequestID; (path == "/own") != (id != "") || (id != "") != strings.Contains(log.String(), "request="+id) || id == "" && log.Len() > 0 {
			t.Errorf("%s: %q, and the log has %s", path, id, &log)
		}
	}
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add(`{"name":"a"}`)
	f.Add(`{"name":"a"}{}`)
	f.Add(`[[[[`)
	f.Fuzz(func(t *testing.T, in string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(in))
		r.Header.Set("Content-Type", "application/json")
		var v struct {
			Name string `json:"name"`
		}
		if err := DecodeJSON(r, &v); err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.Limit {
				t.Errorf("%v", err)
			}
		}
	})
}

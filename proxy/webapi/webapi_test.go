package webapi

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"teleport/api/gen/loginv1"
	"teleport/fault"
	"teleport/types"
)

const linkOf = "0123456789abcdef0123456789abcdef"

// links is an auth service with one invite besides its session.
type links struct {
	*auth
	asked    []string
	accepted *loginv1.AcceptInviteRequest
	bearer   string // of the session that an accepted link begins; "" begins none
}

func (l *links) GetInvite(_ context.Context, r *loginv1.GetInviteRequest) (*loginv1.GetInviteResponse, error) {
	l.asked = append(l.asked, r.Token)
	if r.Token != linkOf {
		return nil, fault.New(fault.NotFound, "this link is not valid any more")
	}
	return &loginv1.GetInviteResponse{User: "bob", Cluster: cluster, Purpose: "invite", OtpSecret: "JBSWY3DPEHPK3PXP",
		OtpUrl: "otpauth://totp/c.example.com:bob?secret=JBSWY3DPEHPK3PXP&issuer=c.example.com", ExpiresUnix: 42}, nil
}

func (l *links) AcceptInvite(_ context.Context, r *loginv1.AcceptInviteRequest) (*loginv1.AcceptInviteResponse, error) {
	l.accepted = r
	return &loginv1.AcceptInviteResponse{User: "bob", Bearer: l.bearer, ExpiresUnix: time.Now().Add(time.Hour).Unix()}, nil
}

// town is a policy with nodes and roles.
type town struct {
	*replica
	nodes []*types.Node
	roles []*types.Role
}

func (p *town) Nodes() []*types.Node         { return p.nodes }
func (p *town) Roles([]string) []*types.Role { return p.roles }

func withBody(r *http.Request, contentType, body string) *http.Request {
	r.Header.Set("Content-Type", contentType)
	r.Body = io.NopCloser(strings.NewReader(body))
	r.ContentLength = int64(len(body))
	return r
}

// answer reads the JSON of a reply, which must have the status wanted.
func answer(t *testing.T, rec *httptest.ResponseRecorder, status int) map[string]any {
	t.Helper()
	if rec.Code != status {
		t.Fatalf("%d %s, want %d", rec.Code, rec.Body, status)
	}
	out := map[string]any{}
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil {
		t.Fatalf("%s: %v", rec.Body, err)
	}
	return out
}

// errorKind is the kind in {"error":{…}}, which holds no more than three fields.
func errorKind(t *testing.T, rec *httptest.ResponseRecorder, status int) string {
	t.Helper()
	e, _ := answer(t, rec, status)["error"].(map[string]any)
	for field := range e {
		if !slices.Contains([]string{"kind", "message", "hint"}, field) {
			t.Errorf("an error has the field %s", field)
		}
	}
	kind, _ := e["kind"].(string)
	return kind
}

// Whatever a cookie authenticates, and every proof, is for pages of this origin.
func TestOtherSitesAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	for _, rt := range w.h.routes() {
		method, path, _ := strings.Cut(rt.Pattern, " ")
		if !strings.HasPrefix(path, "/webapi/sessions") && !strings.HasPrefix(path, "/webapi/invites") && path != "/webapi/resources" {
			continue
		}
		path = strings.Replace(path, "{token}", linkOf, 1)
		for name, headers := range map[string][2]string{
			"no header at all":          {"", ""},
			"a sibling host":            {"same-site", ""},
			"a sibling host's origin":   {"same-site", "https://app.proxy.example.com:3080"},
			"another site":              {"cross-site", "https://evil.example"},
			"an address typed":          {"none", ""},
			"a lying origin":            {"same-origin", "https://evil.example"},
			"an opaque origin":          {"", "null"},
			"our name on another port":  {"", "https://proxy.example.com:8443"},
			"our name without its TLS":  {"", "http://proxy.example.com:3080"},
			"a header we do not expect": {"same-origin, cross-site", ""},
		} {
			r := withBody(w.request(method, path, w.auth.bearer), "application/json", "{}")
			r.Header.Del("Sec-Fetch-Site")
			if headers[0] != "" {
				r.Header.Set("Sec-Fetch-Site", headers[0])
			}
			if headers[1] != "" {
				r.Header.Set("Origin", headers[1])
			}
			if kind := errorKind(t, w.do(r), http.StatusForbidden); kind != "denied" {
				t.Errorf("%s from %s: %s", rt.Pattern, name, kind)
			}
		}
	}
	if w.auth.ended {
		t.Error("another site ended the session")
	}
}

func TestBodiesAreJSONOfOurShapeAndSize(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{"/webapi/sessions/web", "/webapi/invites/" + linkOf, "/webapi/ssh/certs"} {
		for name, c := range map[string]struct {
			contentType, body string
			status            int
		}{
			"a form":            {"application/x-www-form-urlencoded", "user=alice", http.StatusBadRequest},
			"plain text":        {"text/plain", `{"password":"x"}`, http.StatusBadRequest},
			"no type":           {"", `{"password":"x"}`, http.StatusBadRequest},
			"no JSON":           {"application/json", "user=alice", http.StatusBadRequest},
			"nothing":           {"application/json", "", http.StatusBadRequest},
			"an unknown field":  {"application/json", `{"passw0rd":"x"}`, http.StatusBadRequest},
			"two values":        {"application/json", `{"password":"x"}{}`, http.StatusBadRequest},
			"a wrong type":      {"application/json", `{"password":1}`, http.StatusBadRequest},
			"more than 64 KiB":  {"application/json", `{"password":"` + strings.Repeat("x", 65<<10) + `"}`, http.StatusTooManyRequests},
			"too much trailing": {"application/json", `{"password":"x"}` + strings.Repeat(" ", 65<<10), http.StatusTooManyRequests},
		} {
			rec := w.do(withBody(w.request("POST", path, ""), c.contentType, c.body))
			if rec.Code != c.status {
				t.Errorf("%s, %s: %d %s", path, name, rec.Code, rec.Body)
			}
			if len(rec.Result().Cookies()) != 0 {
				t.Errorf("%s, %s: a cookie", path, name)
			}
		}
	}
}

func TestOtherMethodsFindNothing(t *testing.T) {
	w := newWorld(t, nil)
	for path, methods := range map[string][]string{
		"/webapi/ping":               {"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"},
		"/webapi/sessions/web":       {"PUT", "PATCH", "OPTIONS"},
		"/webapi/invites/" + linkOf:  {"PUT", "DELETE", "OPTIONS"},
		"/webapi/resources":          {"POST", "PUT", "DELETE"},
		"/web/login":                 {"POST", "PUT"},
		"/webapi/nothing":            {"GET"},
		"/webapi/sessions/web/other": {"GET"},
	} {
		for _, m := range methods {
			rec := w.do(w.request(m, path, w.auth.bearer))
			if rec.Code != http.StatusNotFound && rec.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d %s", m, path, rec.Code, rec.Body)
			}
		}
	}
}

func TestLinks(t *testing.T) {
	var l *links
	w := newWorld(t, func(o *Options) { l = &links{auth: o.Auth.(*auth)}; o.Auth = l })
	for _, bad := range []string{"x", strings.Repeat("a", 129), "..%2f..%2fetc", "%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00%00", strings.Repeat("é", 16)} {
		for _, method := range []string{"GET", "POST"} {
			rec := w.do(withBody(w.request(method, "/webapi/invites/"+bad, ""), "application/json", "{}"))
			if rec.Code != http.StatusNotFound {
				t.Errorf("%s %q: %d %s", method, bad, rec.Code, rec.Body)
			}
		}
	}
	if len(l.asked) != 0 {
		t.Errorf("auth was asked about %q", l.asked)
	}
	if kind := errorKind(t, w.do(w.request("GET", "/webapi/invites/"+strings.Repeat("f", 32), "")), http.StatusNotFound); kind != "not_found" {
		t.Error(kind)
	}
	rec := w.do(w.request("GET", "/webapi/invites/"+linkOf, ""))
	in := answer(t, rec, http.StatusOK)
	if in["user"] != "bob" || in["cluster"] != cluster || in["purpose"] != "invite" || in["otp_secret"] != "JBSWY3DPEHPK3PXP" || in["expires"] != 42.0 {
		t.Errorf("%v", in)
	}
	if cc := rec.Header().Get("Cache-Control"); cc != "no-store" {
		t.Errorf("the secret may be stored: %s", cc)
	}
	img, err := png.Decode(base64.NewDecoder(base64.StdEncoding, strings.NewReader(in["otp_qr"].(string))))
	if err != nil || img.Bounds().Dx() != qrSize || img.Bounds().Dy() != qrSize {
		t.Errorf("QR code: %v", err)
	}
	rec = w.do(withBody(w.request("POST", "/webapi/invites/"+linkOf, ""), "application/json", `{"password":"correct horse","otp":"123456"}`))
	if out := answer(t, rec, http.StatusOK); out["user"] != "bob" || l.accepted.Password != "correct horse" || l.accepted.Otp != "123456" ||
		l.accepted.ClientAddr != "192.0.2.1:4000" || out["signed_in"] != false || len(rec.Result().Cookies()) != 0 {
		t.Errorf("%v, auth heard %v", out, l.accepted)
	}
	l.bearer = "a bearer"
	rec = w.do(withBody(w.request("POST", "/webapi/invites/"+linkOf, ""), "application/json", `{"password":"correct horse","otp":"123456"}`))
	c := rec.Result().Cookies()
	if out := answer(t, rec, http.StatusOK); out["signed_in"] != true || len(c) != 1 || c[0].Name != CookieName || c[0].Value != "a bearer" ||
		!c[0].HttpOnly || !c[0].Secure || c[0].SameSite != http.SameSiteStrictMode {
		t.Errorf("%v with cookies %v", out, c)
	}
	if strings.Contains(rec.Body.String(), "a bearer") {
		t.Error("the bearer is where scripts can read it")
	}
}

func TestSigningOut(t *testing.T) {
	w := newWorld(t, nil)
	answer(t, w.do(w.request("GET", "/webapi/sessions/web", w.auth.bearer)), http.StatusOK)
	rec := w.do(w.request("DELETE", "/webapi/sessions/web", w.auth.bearer))
	answer(t, rec, http.StatusOK)
	c := rec.Result().Cookies()
	if len(c) != 1 || c[0].Name != CookieName || c[0].Value != "" || c[0].MaxAge >= 0 || !c[0].Secure || c[0].Path != "/" {
		t.Errorf("cookie %v", c)
	}
	if got := rec.Header().Get("Clear-Site-Data"); got != `"cache", "storage"` {
		t.Errorf("Clear-Site-Data: %s", got)
	}
	if !w.auth.ended {
		t.Error("auth was not told")
	}
	if kind := errorKind(t, w.do(w.request("GET", "/webapi/resources", w.auth.bearer)), http.StatusUnauthorized); kind != "unauthenticated" {
		t.Error(kind)
	}
	// Once more, and without a cookie: nobody is worse off.
	answer(t, w.do(w.request("DELETE", "/webapi/sessions/web", w.auth.bearer)), http.StatusOK)
	answer(t, w.do(w.request("DELETE", "/webapi/sessions/web", "")), http.StatusOK)
}

func TestWhoAmI(t *testing.T) {
	editor := &types.Role{Header: types.Header{Kind: types.KindRole, Version: types.V8, Metadata: types.Metadata{Name: "editor"}},
		Spec: types.RoleSpec{Allow: types.RoleConditions{Rules: []types.Rule{{Resources: []string{types.KindToken}, Verbs: []string{"create"}}}}}}
	for name, c := range map[string]struct {
		roles []*types.Role
		may   bool
	}{"an editor": {[]*types.Role{editor}, true}, "nobody in particular": {nil, false}} {
		w := newWorld(t, func(o *Options) { o.Policy = &town{replica: o.Policy.(*replica), roles: c.roles} })
		me := answer(t, w.do(w.request("GET", "/webapi/sessions/web", w.auth.bearer)), http.StatusOK)
		if me["user"] != "alice" || me["cluster"] != cluster || me["proxy"] != "proxy.example.com:3080" || me["version"] != "1.0.0" {
			t.Errorf("%v", me)
		}
		// Of the session, not of the ten-minute certificate behind it.
		if in := int64(me["expires"].(float64)) - w.now.Unix(); in != 8*3600 {
			t.Errorf("%s: the session ends in %d s", name, in)
		}
		rights, _ := me["rights"].(map[string]any)
		if (rights["token"] != nil) != c.may {
			t.Errorf("%s: rights %v", name, rights)
		}
	}
}

// Only what a person asks for puts off the idle limit.
func TestTimersDoNotKeepASessionAlive(t *testing.T) {
	w := newWorld(t, nil)
	for _, timer := range []bool{false, true, true, false} {
		r := w.request("GET", "/webapi/resources", w.auth.bearer)
		if timer {
			r.Header.Set("X-Teleport-Background", "1")
		}
		if rec := w.do(r); rec.Code != http.StatusOK {
			t.Fatal(rec.Code)
		}
		w.now = w.now.Add(2 * recheck)
	}
	if want := []bool{false, true, true, false}; !slices.Equal(w.auth.background, want) {
		t.Errorf("auth heard background=%v, want %v", w.auth.background, want)
	}
}

func TestResourcesAreThoseThatRolesAllow(t *testing.T) {
	node := func(name, env string) *types.Node {
		n := &types.Node{Header: types.Header{Kind: types.KindNode, Version: "v2", Metadata: types.Metadata{Name: "id-" + name, Labels: map[string]string{"env": env}}}}
		n.Spec = types.NodeSpec{Hostname: name, UseTunnel: true, ServerVersion: "1.2.3"}
		return n
	}
	dev := &types.Role{Header: types.Header{Kind: types.KindRole, Version: types.V8, Metadata: types.Metadata{Name: "dev"}},
		Spec: types.RoleSpec{Allow: types.RoleConditions{Logins: []string{"root"}, NodeLabels: types.Labels{"env": {"dev"}}}}}
	p := &town{nodes: []*types.Node{node("web", "dev"), node("vault", "prod")}, roles: []*types.Role{dev}}
	w := newWorld(t, func(o *Options) { p.replica = o.Policy.(*replica); o.Policy = p })
	rec := w.do(w.request("GET", "/webapi/resources", w.auth.bearer))
	items, _ := answer(t, rec, http.StatusOK)["items"].([]any)
	if len(items) != 1 || strings.Contains(rec.Body.String(), "vault") {
		t.Fatalf("%s", rec.Body)
	}
	got, err := json.Marshal(items[0])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"id-web","kind":"node","labels":{"env":"dev"},"logins":["root"],"name":"web","tunnel":true,"version":"1.2.3"}`
	if string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	p.roles = nil
	if body := w.do(w.request("GET", "/webapi/resources", w.auth.bearer)).Body.String(); body != "{\"items\":[]}\n" {
		t.Errorf("without roles: %s", body)
	}
}

// What clients of such a cluster read before they know anybody.
func TestPublicDescription(t *testing.T) {
	w := newWorld(t, nil)
	find := answer(t, w.do(w.request("GET", "/webapi/find", "")), http.StatusOK)
	ping := answer(t, w.do(w.request("GET", "/webapi/ping", "")), http.StatusOK)
	for name, a := range map[string]map[string]any{"find": find, "ping": ping} {
		proxy, _ := a["proxy"].(map[string]any)
		ssh, _ := proxy["ssh"].(map[string]any)
		if a["cluster_name"] != cluster || a["server_version"] != "1.0.0" || proxy["tls_routing_enabled"] != true || ssh["public_addr"] != "proxy.example.com:3080" {
			t.Errorf("%s: %v", name, a)
		}
	}
	auth, _ := ping["auth"].(map[string]any)
	if find["auth"] != nil || auth["type"] != "local" || auth["second_factor"] != "otp" || auth["allow_local"] != true || auth["default_session_ttl"] != "12h0m0s" {
		t.Errorf("ping says of signing in: %v; find: %v", auth, find["auth"])
	}
	for kind, want := range map[string]string{"user": "ssh-", "host": "@cert-authority *." + cluster + " ssh-", "tls-host": "-----BEGIN CERTIFICATE-----"} {
		rec := w.do(w.request("GET", "/webapi/auth/export?type="+kind, ""))
		if body := rec.Body.String(); rec.Code != http.StatusOK || !strings.HasPrefix(body, want) || strings.Contains(body, "PRIVATE") {
			t.Errorf("export of %s: %d %s", kind, rec.Code, body)
		}
	}
	for _, bad := range []string{"", "?type=", "?type=jwt-private", "?type=user%00"} {
		if rec := w.do(w.request("GET", "/webapi/auth/export"+bad, "")); rec.Code != http.StatusBadRequest {
			t.Errorf("export%s: %d", bad, rec.Code)
		}
	}
	rec := w.do(w.request("GET", "/", ""))
	if rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/web/" {
		t.Errorf("/: %d %s", rec.Code, rec.Header().Get("Location"))
	}
}

func packed(t *testing.T, s string) []byte {
	t.Helper()
	var b strings.Builder
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}

func TestFilesOfTheUI(t *testing.T) {
	script := strings.Repeat("let x;", 100)
	w := newWorld(t, func(o *Options) {
		o.Assets = fstest.MapFS{".keep": {}, "favicon.svg": {Data: []byte("<svg/>")},
			"index.html":         {Data: []byte(`<meta nonce="__CSP_NONCE__"><script nonce="__CSP_NONCE__">`)},
			"signin.html":        {Data: []byte("sign in __CSP_NONCE__")},
			"assets/a-1.js":      {Data: []byte(script)},
			"assets/a-1.js.gz":   {Data: packed(t, script)},
			"assets/f-2.woff2":   {Data: []byte("font")},
			"assets/odd.unknown": {Data: []byte("?")}}
	})
	get := func(path string, headers ...string) *httptest.ResponseRecorder {
		r := w.request("GET", path, "")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return w.do(r)
	}

	plain := get("/web/assets/a-1.js")
	if plain.Body.String() != script || plain.Header().Get("Content-Encoding") != "" ||
		plain.Header().Get("Cache-Control") != "public, max-age=31536000, immutable" || plain.Header().Get("Vary") != "Accept-Encoding" {
		t.Errorf("plain: %v", plain.Header())
	}
	for accept, want := range map[string]string{"gzip": "gzip", "br, gzip;q=0.8": "gzip", "gzip;q=0": "", "gzip; q=0.000": "", "xgzip": "", "identity": "", "": ""} {
		rec := get("/web/assets/a-1.js", "Accept-Encoding", accept)
		if got := rec.Header().Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: %q", accept, got)
		}
	}
	if rec := get("/web/assets/a-1.js", "If-None-Match", plain.Header().Get("ETag")); rec.Code != http.StatusNotModified || rec.Body.Len() != 0 {
		t.Errorf("unchanged: %d", rec.Code)
	}
	for path, want := range map[string]string{"/web/assets/a-1.js": "text/javascript; charset=utf-8", "/web/assets/f-2.woff2": "font/woff2",
		"/web/assets/odd.unknown": "application/octet-stream", "/favicon.svg": "image/svg+xml", "/web/login": "text/html; charset=utf-8"} {
		if got := get(path).Header().Get("Content-Type"); got != want {
			t.Errorf("%s is %s", path, got)
		}
	}
	for _, missing := range []string{"/web/assets/gone.js", "/web/assets/a-1.js.map", "/web/assets/"} {
		if rec := get(missing); rec.Code != http.StatusNotFound {
			t.Errorf("%s: %d", missing, rec.Code)
		}
	}
}

// Each answer with a document has its own nonce, in the policy and in the page,
// and signing in has a document of its own.
func TestDocuments(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Assets = fstest.MapFS{"index.html": {Data: []byte("app __CSP_NONCE__ __CSP_NONCE__")}, "signin.html": {Data: []byte("signin __CSP_NONCE__")}}
	})
	inPolicy := regexp.MustCompile(`style-src-elem 'self' 'nonce-([A-Z2-7]{26})'`)
	seen := map[string]bool{}
	for path, want := range map[string]string{"/web/": "app", "/web/cluster/c/resources": "app", "/web/nothing": "app", "/web/index.html": "app",
		"/web/login": "signin", "/web/invite/" + linkOf: "signin", "/web/reset/" + linkOf: "signin", "/web/bye": "signin"} {
		rec := w.do(w.request("GET", path, ""))
		m := inPolicy.FindStringSubmatch(rec.Header().Get("Content-Security-Policy"))
		body := rec.Body.String()
		if rec.Code != http.StatusOK || m == nil || !strings.HasPrefix(body, want) || !strings.Contains(body, m[1]) || strings.Contains(body, noncePlace) {
			t.Errorf("%s: %d %s %v", path, rec.Code, body, rec.Header())
			continue
		}
		if seen[m[1]] {
			t.Errorf("%s: the nonce came before", path)
		}
		seen[m[1]] = true
		if cc := rec.Header().Get("Cache-Control"); cc != "no-store" {
			t.Errorf("%s: Cache-Control %s", path, cc)
		}
	}
	none := newWorld(t, func(o *Options) { o.Assets = fstest.MapFS{".keep": {}} })
	if kind := errorKind(t, none.do(none.request("GET", "/web/", "")), http.StatusNotFound); kind != "not_found" {
		t.Error(kind)
	}
}

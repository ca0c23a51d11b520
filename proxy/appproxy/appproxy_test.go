package appproxy_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"teleport/cert/certtest"
	"teleport/fault"
	"teleport/proxy/appproxy"
	"teleport/types"
)

// A person who opens an app goes to the sign-in and comes back to the same page,
// with two cookies that no script reads and no other host gets.
func TestSignIn(t *testing.T) {
	w := newWorld(t)
	c := w.browser()
	resp, _ := w.do(c, "GET", wiki+"/a%2Fb?x=1&y=%20", "", pageHeaders)
	if want := "https://proxy.test:3080/web/launch/wiki.proxy.test?path=" + url.QueryEscape("/a%2Fb?x=1&y=%20"); resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != want {
		t.Fatalf("%s to %s", resp.Status, resp.Header.Get("Location"))
	}
	state := w.begin(c, wiki)
	secret, ok := appproxy.StateSecret(state)
	if !ok {
		t.Fatalf("state %q", state)
	}
	bearer := w.start("wiki", "alice", secret.Reveal(), nil)
	page, body := w.do(c, "GET", wiki+"/x-teleport-auth/finish", "", pageHeaders)
	csp := page.Header.Get("Content-Security-Policy")
	if page.StatusCode != 200 || !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(body, "<script>") || !strings.Contains(body, "/x-teleport-auth/finish.js") {
		t.Errorf("the page: %s %q %s", page.Status, csp, body)
	}
	resp, body = w.finish(c, wiki, `{"state":"`+state+`","session":"`+bearer+`","path":"/a%2Fb?x=1"}`, nil)
	var next struct{ Next string }
	if json.Unmarshal([]byte(body), &next) != nil || next.Next != "/a%2Fb?x=1" {
		t.Fatalf("%s %s", resp.Status, body)
	}
	halves := 0
	for _, k := range resp.Cookies() {
		if !strings.HasPrefix(k.Name, "__Host-grv_app_") || !k.Secure || !k.HttpOnly || k.Path != "/" || k.Domain != "" {
			t.Errorf("cookie %+v", k)
		}
		if strings.HasPrefix(k.Name, "__Host-grv_app_session") && k.MaxAge > 3000 && k.MaxAge <= 3600 && k.SameSite == http.SameSiteNoneMode {
			halves++
		}
	}
	if halves != 2 {
		t.Errorf("cookies %v", resp.Cookies())
	}
	if _, body := w.do(c, "GET", wiki+next.Next, "", pageHeaders); body != "hello /a%2Fb?x=1" {
		t.Errorf("the app: %s", body)
	}
	for range 5 {
		w.do(c, "GET", wiki+"/", "", nil)
	}
	if w.uses != 1 || w.dials != 1 {
		t.Errorf("%d calls of auth and %d dials for 6 requests", w.uses, w.dials)
	}
}

// Programs are told that they need a session, in their own form, and are never led
// to a page; a preflight gets what the app's settings say.
func TestWithoutASession(t *testing.T) {
	w := newWorld(t, app("wiki", func(s *types.AppSpec) {
		s.CORS = &types.AppCORS{AllowedOrigins: []string{"https://pages.test"}, AllowedMethods: []string{"PUT"}, AllowedHeaders: []string{"X-Own"}, AllowCredentials: true, MaxAge: 60}
	}))
	for name, c := range map[string]struct {
		method  string
		headers map[string]string
	}{
		"no HTML":     {"GET", map[string]string{"Accept": "application/json"}},
		"no Accept":   {"GET", nil},
		"XHR":         {"GET", map[string]string{"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"}},
		"fetch":       {"GET", map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "cors"}},
		"POST":        {"POST", map[string]string{"Accept": "application/json"}},
		"XHR, posted": {"POST", map[string]string{"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"}},
		"a WebSocket": {"GET", map[string]string{"Accept": "text/html", "Connection": "Upgrade", "Upgrade": "websocket"}},
		"OPTIONS":     {"OPTIONS", map[string]string{"Accept": "*/*"}},
	} {
		w.failed = nil
		resp, body := w.do(w.browser(), c.method, wiki+"/x", "", c.headers)
		var b struct {
			Error struct {
				Kind      fault.Kind `json:"kind"`
				RequestID string     `json:"request_id"`
			}
		}
		if resp.StatusCode != http.StatusUnauthorized || json.Unmarshal([]byte(body), &b) != nil || b.Error.Kind != fault.Unauthenticated ||
			b.Error.RequestID == "" || resp.Header.Get("X-Request-Id") != b.Error.RequestID || resp.Header.Get("Location") != "" {
			t.Errorf("%s: %s %s", name, resp.Status, body)
		}
		if f := w.failed; len(f) != 1 || f[0].Proven || f[0].App != "wiki" || f[0].Request != b.Error.RequestID || !errors.Is(f[0].Err, fault.Unauthenticated) {
			t.Errorf("%s: told %+v", name, f)
		}
	}
	// A form that a person sends cannot be led through a sign-in: they hear so.
	if resp, body := w.do(w.browser(), "POST", wiki+"/x", "text", pageHeaders); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "<h1>What you sent did not reach wiki</h1>") ||
		!strings.Contains(body, "reload this page: the browser sends it once more.") || !strings.Contains(body, `href="/" target="_blank" rel="noopener"`) || !strings.Contains(body, resp.Header.Get("X-Request-Id")) || resp.Header.Get("Location") != "" {
		t.Errorf("a form: %s %s", resp.Status, body)
	}
	ask := func(origin, method, headers string) (*http.Response, string) {
		return w.do(w.browser(), "OPTIONS", wiki+"/x", "", map[string]string{"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers})
	}
	resp, _ := ask("https://pages.test", "PUT", "x-own")
	if h := resp.Header; resp.StatusCode != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != "https://pages.test" || h.Get("Access-Control-Allow-Credentials") != "true" ||
		!strings.Contains(h.Get("Access-Control-Allow-Methods"), "PUT") || h.Get("Access-Control-Max-Age") != "60" {
		t.Errorf("preflight: %s %v", resp.Status, h)
	}
	w.failed = nil
	for _, r := range [][3]string{{"https://evil.test", "GET", ""}, {"https://pages.test", "DELETE", ""}, {"https://pages.test", "GET", "x-other"}, {"null", "GET", ""}} {
		if resp, _ := ask(r[0], r[1], r[2]); resp.StatusCode != http.StatusForbidden || strings.Contains(r[0], "evil") && resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight %v: %s", r, resp.Status)
		}
	}
	if len(w.failed) != 4 {
		t.Errorf("4 preflights were refused, and told %+v", w.failed)
	}
	if w.dials != 0 || w.uses != 0 {
		t.Error("a request without a session went on")
	}
}

// What is not the whole pair of a session with this very app opens nothing, costs
// no call, and is told.
func TestCookiesThatOpenNothing(t *testing.T) {
	w := newWorld(t)
	mine := w.start("wiki", "alice", "", nil)
	vaults, bobs := w.start("vault", "alice", "", nil), w.start("wiki", "bob", "", nil)
	pinned := w.start("wiki", "pia", "", func(s *types.AppSession) { s.Spec.PinnedIP = certAddr(t) })
	old := w.start("wiki", "olga", "", func(s *types.AppSession) { s.Spec.Expires = time.Now().Add(-time.Second) })
	pending := w.start("wiki", "penny", strings.Repeat("00", 32), nil)
	cookies := func(id, secret string) string {
		var c []string
		if id != "" {
			c = append(c, "__Host-grv_app_session="+id)
		}
		if secret != "" {
			c = append(c, "__Host-grv_app_session_subject="+secret)
		}
		return strings.Join(c, "; ")
	}
	id, secret, _ := strings.Cut(mine, ".")
	bobID, bobSecret, _ := strings.Cut(bobs, ".")
	whole := func(bearer string) string { id, secret, _ := strings.Cut(bearer, "."); return cookies(id, secret) }
	if resp, body := w.do(w.browser(), "GET", wiki+"/", "", map[string]string{"Cookie": whole(mine)}); resp.StatusCode != 200 {
		t.Fatalf("the right pair: %s %s", resp.Status, body)
	}
	uses := w.uses
	for name, c := range map[string]struct {
		cookie string
		told   int // of whom it was; otherwise that there is no session
	}{
		"only the id":               {cookies(id, ""), 0},
		"only the secret":           {cookies("", secret), 0},
		"the secret of another":     {cookies(id, bobSecret), 1},
		"the id of another":         {cookies(bobID, secret), 1},
		"of another app":            {whole(vaults), 1},
		"pinned to elsewhere":       {whole(pinned), 1},
		"expired":                   {whole(old), 0},
		"not taken over yet":        {whole(pending), 0},
		"a pair that nobody made":   {cookies(strings.Repeat("0", 32), strings.Repeat("1", 32)), 0},
		"in capitals":               {cookies(strings.ToUpper(id), strings.ToUpper(secret)), 0},
		"two ids":                   {cookies(id, secret) + "; " + cookies(bobID, ""), 0},
		"two secrets":               {cookies(id, secret) + "; " + cookies("", bobSecret), 0},
		"the state of a hand-over":  {"__Host-grv_app_auth_state_" + id + "=" + secret, 0},
		"the cookie of the proxy":   {"__Host-session=" + mine, 0},
		"the same without a prefix": {"grv_app_session=" + id + "; grv_app_session_subject=" + secret, 0},
	} {
		w.failed = nil
		resp, body := w.do(w.browser(), "GET", wiki+"/", "", map[string]string{"Cookie": c.cookie})
		if resp.StatusCode != http.StatusUnauthorized || len(w.failed) != 1 || w.failed[0].Proven || (w.failed[0].User != "") != (c.told > 0) {
			t.Errorf("%s: %s %s, told %+v", name, resp.Status, body, w.failed)
		}
		if resp, _ := w.do(w.browser(), "GET", wiki+"/", "", map[string]string{"Cookie": c.cookie, "Accept": "text/html"}); resp.StatusCode != http.StatusFound {
			t.Errorf("%s: a person gets %s", name, resp.Status)
		}
	}
	if w.uses != uses {
		t.Errorf("%d calls of auth", w.uses-uses)
	}
}

// A hand-over is of the browser that began it, of this app, and of one time.
func TestHandOverIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		body    func(state, bearer string) string
		at      string
		headers map[string]string
		other   bool // another browser brings it
		before  bool // it was done once
	}{
		"another browser":   {other: true},
		"a second time":     {before: true},
		"at another app":    {at: "https://vault.proxy.test:3080"},
		"from another site": {headers: map[string]string{"Origin": "https://evil.test"}},
		"from a sibling":    {headers: map[string]string{"Origin": "https://vault.proxy.test:3080", "Sec-Fetch-Site": "same-site"}},
		"no origin at all":  {headers: map[string]string{"Origin": "", "Sec-Fetch-Site": ""}},
		"as a form":         {headers: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}},
		"no state":          {body: func(_, b string) string { return `{"session":"` + b + `"}` }},
		"a state of its own": {body: func(_, b string) string {
			return `{"state":"` + strings.Repeat("0", 64) + "_" + strings.Repeat("0", 32) + `","session":"` + b + `"}`
		}},
		"half a session": {body: func(s, b string) string { return `{"state":"` + s + `","session":"` + b[:32] + `"}` }},
		"a session of nobody's": {body: func(s, _ string) string {
			return `{"state":"` + s + `","session":"` + strings.Repeat("0", 32) + "." + strings.Repeat("0", 32) + `"}`
		}},
		"too long": {body: func(s, b string) string {
			return `{"state":"` + s + `","session":"` + b + `","path":"/` + strings.Repeat("a", 20<<10) + `"}`
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			state := w.begin(b, wiki)
			secret, _ := appproxy.StateSecret(state)
			bearer := w.start("wiki", "alice", secret.Reveal(), nil)
			body := `{"state":"` + state + `","session":"` + bearer + `"}`
			if c.before {
				w.finish(b, wiki, body, nil)
			}
			if c.other {
				b = w.browser()
			}
			if c.body != nil {
				body = c.body(state, bearer)
			}
			at := wiki
			if c.at != "" {
				at = c.at
			}
			resp, said := w.finish(b, at, body, c.headers)
			if resp.StatusCode < 400 || len(w.failed) > 1 || len(w.failed) == 0 && name != "a second time" && name != "at another app" {
				t.Fatalf("%s %s, told %+v", resp.Status, said, w.failed)
			}
			for _, k := range resp.Cookies() {
				if k.MaxAge > 0 {
					t.Errorf("a cookie %+v", k)
				}
			}
			want := http.StatusUnauthorized
			if c.before { // what came first holds
				want = http.StatusOK
			}
			if resp, _ := w.do(b, "GET", at+"/", "", nil); resp.StatusCode != want {
				t.Errorf("and then: %s", resp.Status)
			}
		})
	}
}

// What a hand-over brought opens nothing afterwards, and strangers who make one up
// cost no call of auth.
func TestHandOverIsSpent(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn()
	id, secret := hex32("alicewikiid"), hex32("alicewikisecret")
	if resp, _ := w.do(w.browser(), "GET", wiki+"/", "", map[string]string{"Cookie": "__Host-grv_app_session=" + id + "; __Host-grv_app_session_subject=" + secret}); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("what the hand-over brought: %s", resp.Status)
	}
	if resp, _ := w.do(c, "GET", wiki+"/", "", nil); resp.StatusCode != http.StatusOK {
		t.Errorf("what it was traded for: %s", resp.Status)
	}
	w.opens, w.ends = 0, 0
	b := w.browser()
	state := w.begin(b, wiki)
	for _, session := range []string{id + "." + secret, id + "." + strings.Repeat("0", 32)} {
		for _, s := range []string{state, strings.Repeat("0", 64) + "_" + strings.Repeat("0", 32), ""} {
			if resp, body := w.finish(b, wiki, `{"state":"`+s+`","session":"`+session+`"}`, nil); resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s %s", resp.Status, body)
			}
		}
	}
	if w.opens != 0 || w.ends != 0 {
		t.Errorf("%d and %d calls of auth", w.opens, w.ends)
	}
}

// Nobody is led elsewhere by a sign-in.
func TestNoOpenRedirect(t *testing.T) {
	for _, p := range []string{"", "//evil.test", "/\\evil.test", "https://evil.test", "evil.test", "/%2f/evil.test\n", "javascript:alert(1)", "/ x", "/\t/evil.test",
		"/x-teleport-auth?path=/", "/x-teleport-auth/finish", "/teleport-logout", "/a#b", "///x", "/" + strings.Repeat("a", 5000), "/%zz"} {
		if got := appproxy.CleanPath(p); got != "/" {
			t.Errorf("%q leads to %q", p, got)
		}
	}
	for _, p := range []string{"/", "/a/b?c=//d", "/%2F%2Fevil.test", "/?next=https://elsewhere.test"} {
		if got := appproxy.CleanPath(p); got != p {
			t.Errorf("%q became %q", p, got)
		}
	}
	for _, l := range []string{"evil.test/x", "a b", "a@b", "a:1", "A", strings.Repeat("a,", 17)} {
		if got := (appproxy.Trip{Apps: l}).Clean().Apps; got != "" {
			t.Errorf("the hosts %q became %q", l, got)
		}
	}
}

// A sign-in that was to lead out goes to the app's root, and is told.
func TestOpenRedirectIsTold(t *testing.T) {
	w := newWorld(t)
	c := w.browser()
	resp, _ := w.do(c, "GET", wiki+"/x-teleport-auth?path=%2F%2Fevil.test&apps=evil.test/x", "", pageHeaders)
	u, err := url.Parse(resp.Header.Get("Location"))
	must(t, err)
	if strings.Contains(u.String(), "evil") || u.Query().Get("path") != "/" || len(w.failed) != 1 || w.failed[0].Proven || !strings.Contains(w.failed[0].Err.Error(), "evil.test") {
		t.Errorf("it leads to %s, told %+v", u, w.failed)
	}
	secret, _ := appproxy.StateSecret(u.Query().Get("state"))
	bearer := w.start("wiki", "alice", secret.Reveal(), nil)
	resp, body := w.finish(c, wiki, `{"state":"`+u.Query().Get("state")+`","session":"`+bearer+`","path":"https://evil.test"}`, nil)
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"next":"/"`) || len(w.failed) != 2 {
		t.Errorf("%s %s, told %+v", resp.Status, body, w.failed)
	}
	w.failed = nil
	if _, body := w.do(c, "GET", wiki+"/x-teleport-auth?path=%2Fa%3Fb%3D1", "", pageHeaders); len(w.failed) != 0 {
		t.Errorf("%s: told %+v", body, w.failed)
	}
}

// FuzzCleanPath: whatever it gives is a path of the same host.
func FuzzCleanPath(f *testing.F) {
	for _, s := range []string{"/", "//x", "/\\x", "/a?b#c", "/%2f/x", "/.//x"} {
		f.Add(s)
	}
	base, err := url.Parse(wiki + "/deep/page")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, p string) {
		u, err := base.Parse(appproxy.CleanPath(p))
		if err != nil || u.Host != base.Host || u.Scheme != "https" || u.User != nil {
			t.Errorf("%q leads to %v (%v)", p, u, err)
		}
	})
}

// What the app sees comes from the proxy, and what the browser says of that is dropped.
func TestHeaders(t *testing.T) {
	w := newWorld(t)
	var got http.Header
	var host string
	w.app = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		got, host = r.Header.Clone(), r.Host
		rw.Header().Add("Set-Cookie", "__Host-grv_app_session=fixed; Path=/; Secure")
		rw.Header().Add("Set-Cookie", "own=1")
		rw.Header().Set("Alt-Svc", `h3=":443"`)
		rw.WriteHeader(http.StatusTeapot)
	})
	c := w.signedIn()
	resp, _ := w.do(c, "POST", wiki+"/", "body", map[string]string{"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.test", "Forwarded": "for=evil", "X-Real-IP": "203.0.113.9",
		"Teleport-Jwt-Assertion": "forged", "Cf-Access-Token": "forged", "X-Teleport-User": "root", "X-Request-Id": "forged", "Proxy-Authorization": "x",
		"X_Forwarded_For": "203.0.113.9", "X_Real.IP": "203.0.113.9", "Teleport_Jwt_Assertion": "forged", "X_Request_Id": "forged",
		"Connection": "X-Own-Hop", "X-Own-Hop": "1", "Keep-Alive": "5", "X-Own": "kept", "Cookie": "theirs=2; __Host-grv_app_auth_state_x=3"})
	for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "wiki.proxy.test:3080", "X-Forwarded-Proto": "https", "Forwarded": "", "X-Real-Ip": "",
		"Teleport-Jwt-Assertion": "", "Cf-Access-Token": "", "X-Teleport-User": "", "Proxy-Authorization": "", "X-Own-Hop": "", "Keep-Alive": "", "X-Own": "kept", "Cookie": "theirs=2"} {
		if v := strings.Join(got.Values(name), "|"); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	for name := range got { // an app that reads variables of CGI takes them for ours
		if strings.Contains(name, "_") {
			t.Errorf("%s: %q arrived", name, got[name])
		}
	}
	if id := got.Get("X-Request-Id"); uuid.Validate(id) != nil || host != "wiki.proxy.test:3080" {
		t.Errorf("request %q, host %q", id, host)
	}
	if set := resp.Header["Set-Cookie"]; resp.StatusCode != http.StatusTeapot || len(set) != 1 || set[0] != "own=1" || resp.Header.Get("Alt-Svc") != "" {
		t.Errorf("the answer: %s %v", resp.Status, resp.Header)
	}
}

// An app that wants cookies cleared would sign its people out of the proxy.
func TestAnAppClearsWhatIsItsOwn(t *testing.T) {
	w := newWorld(t)
	var says []string
	w.app = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.Header()["Clear-Site-Data"] = says })
	c := w.signedIn()
	for _, row := range []struct {
		says []string
		want string
	}{
		{nil, ""},
		{[]string{`"cookies"`}, ""},
		{[]string{`"*"`}, `"cache", "storage"`},
		{[]string{`"cache","cookies" , "storage"`}, `"cache", "storage"`},
		{[]string{`"cookies"`, `"executionContexts"`}, `"executionContexts"`},
		{[]string{`"cook\ies", cookies, "later"`}, ""},
	} {
		says = row.says
		resp, _ := w.do(c, "GET", wiki+"/", "", nil)
		if got := strings.Join(resp.Header["Clear-Site-Data"], "|"); resp.StatusCode != http.StatusOK || got != row.want {
			t.Errorf("%q: %s %q, want %q", row.says, resp.Status, got, row.want)
		}
	}
}

// Requests that leave the app, or mean two things, go nowhere.
func TestShapesThatAreRefused(t *testing.T) {
	w := newWorld(t)
	bearer := w.start("wiki", "alice", "", nil)
	id, secret, _ := strings.Cut(bearer, ".")
	cookie := "Cookie: __Host-grv_app_session=" + id + "; __Host-grv_app_session_subject=" + secret + "\r\n"
	for name, c := range map[string]struct {
		request string
		want    string
	}{
		"as it should be":         {"GET / HTTP/1.1\r\nHost: wiki.proxy.test\r\n", "200"},
		"another host":            {"GET https://vault.proxy.test/ HTTP/1.1\r\nHost: wiki.proxy.test\r\n", "400"},
		"CONNECT":                 {"CONNECT vault.proxy.test:443 HTTP/1.1\r\nHost: wiki.proxy.test\r\n", "40"},
		"TRACE":                   {"TRACE / HTTP/1.1\r\nHost: wiki.proxy.test\r\n", "400"},
		"no app":                  {"GET / HTTP/1.1\r\nHost: other.test\r\n", "404"},
		"two hosts":               {"GET / HTTP/1.1\r\nHost: wiki.proxy.test\r\nHost: vault.proxy.test\r\n", "400"},
		"two lengths":             {"POST / HTTP/1.1\r\nHost: wiki.proxy.test\r\nContent-Length: 3\r\nContent-Length: 5\r\n", "400"},
		"an unknown coding":       {"POST / HTTP/1.1\r\nHost: wiki.proxy.test\r\nTransfer-Encoding: gzip, chunked\r\n", "501"},
		"a coding with a tab":     {"POST / HTTP/1.1\r\nHost: wiki.proxy.test\r\nTransfer-Encoding : chunked\r\n", "400"},
		"another protocol":        {"GET / HTTP/1.1\r\nHost: wiki.proxy.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", "400"},
		"a huge header":           {"GET / HTTP/1.1\r\nHost: wiki.proxy.test\r\nX-A: " + strings.Repeat("a", 2<<20) + "\r\n", "431"},
		"the reserved paths":      {"PUT /x-teleport-auth HTTP/1.1\r\nHost: wiki.proxy.test\r\n", "404"},
		"another reserved path":   {"GET /x-teleport-auth/../../etc HTTP/1.1\r\nHost: wiki.proxy.test\r\n", "404"},
		"a dot at the host's end": {"GET / HTTP/1.1\r\nHost: WIKI.proxy.test.\r\n", "200"},
	} {
		conn := w.raw()
		must(t, conn.HandshakeContext(t.Context()))
		go func() { _, _ = io.WriteString(conn, c.request+cookie+"\r\n") }() // of a huge one not all is read
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || !strings.HasPrefix(resp.Status, c.want) {
			t.Errorf("%s: %v %v", name, resp, err)
		}
		conn.Close()
	}
}

// A refusal of the gate, an agent's word and a lost agent are told to a person on a
// page and to a program as JSON, with the same request id as the log.
func TestWhatPeopleRead(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn()
	w.do(c, "GET", wiki+"/", "", nil)
	say := func(word, message string) {
		w.app = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("X-Teleport-App-Error", word)
			rw.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(rw, `{"error":{"code":"`+word+`","message":"`+message+`"}}`)
		})
	}
	for name, k := range map[string]struct {
		word, message string
		status        int
		title         string
	}{
		"down":    {"app_down", "the app wiki cannot be reached", 503, "wiki cannot be reached"},
		"slow":    {"app_slow", "the app wiki does not answer", 504, "wiki does not answer"},
		"denied":  {"denied", "no role allows <wiki>", 403, "You may not use wiki"},
		"strange": {"denied", "", 503, "wiki cannot be reached"},
	} {
		say(k.word, k.message)
		resp, page := w.do(c, "GET", wiki+"/", "", pageHeaders)
		if resp.StatusCode != k.status || !strings.Contains(page, "<h1>"+k.title) || strings.Contains(page, "<wiki>") || !strings.Contains(page, resp.Header.Get("X-Request-Id")) ||
			!strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %s %s", name, resp.Status, page)
		}
		if resp, body := w.do(c, "GET", wiki+"/", "", nil); resp.StatusCode != k.status || !strings.Contains(body, `"request_id":"`) {
			t.Errorf("%s: %s %s", name, resp.Status, body)
		}
	}
	w.deny = fault.New(fault.Denied, "access denied: the user is locked")
	w.mu.Lock()
	for _, conn := range w.conns {
		conn.Close()
	}
	w.mu.Unlock()
	resp, page := w.do(c, "GET", wiki+"/", "", pageHeaders)
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(page, "the user is locked") {
		t.Errorf("locked: %s %s", resp.Status, page)
	}
}

// Clients that show the certificate of tsh apps login need no cookies; any other
// certificate opens nothing.
func TestByCertificate(t *testing.T) {
	w := newWorld(t)
	user := func(edit func(*types.Identity)) tls.Certificate {
		id := certtest.User("alice", clusterName, time.Now())
		id.Authority.Route = &types.Route{Kind: types.KindApp, Name: "wiki"}
		edit(id)
		return *w.sign(id, types.CAUser)
	}
	c := w.browser(user(func(*types.Identity) {}))
	for range 3 {
		if resp, body := w.do(c, "GET", wiki+"/x", "", nil); body != "hello /x" {
			t.Fatalf("%s %s", resp.Status, body)
		}
	}
	if w.dials != 1 {
		t.Errorf("%d dials", w.dials)
	}
	for name, own := range map[string]tls.Certificate{
		"for another app": user(func(id *types.Identity) { id.Authority.Route.Name = "vault" }),
		"for a database":  user(func(id *types.Identity) { id.Authority.Route.Kind = types.KindDatabase }),
		"for everything":  user(func(id *types.Identity) { id.Authority.Route = nil }),
		"of a host":       *w.sign(certtest.Host(clusterName, time.Now(), types.RoleApp), types.CAHost),
		"pinned":          user(func(id *types.Identity) { id.Authority.PinnedIP = certAddr(t) }),
		"expired": user(func(id *types.Identity) {
			id.IssuedAt, id.Authority.Expires = time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
		}),
	} {
		if resp, body := w.do(w.browser(own), "GET", wiki+"/", "", nil); resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %s %s", name, resp.Status, body)
		}
	}
	if w.dials != 1 {
		t.Errorf("%d dials", w.dials)
	}
}

// A certificate that is over opens nothing, and is said to be: when the proxy looks at
// it, and when the agent does.
func TestACertificateThatIsOver(t *testing.T) {
	for name, c := range map[string]struct{ left, slow time.Duration }{
		"before": {-time.Minute, 0}, "on the way to the agent": {time.Minute, time.Hour},
	} {
		w := newWorld(t)
		id := certtest.User("alice", clusterName, time.Now())
		id.Authority.Route = &types.Route{Kind: types.KindApp, Name: "wiki"}
		id.IssuedAt, id.Authority.Expires = time.Now().Add(-time.Hour), time.Now().Add(c.left)
		w.slow = c.slow
		called := false
		w.app = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true })
		resp, body := w.do(w.browser(*w.sign(id, types.CAUser)), "PUT", wiki+"/x", "text", nil)
		if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "the certificate expired at") || !strings.Contains(body, "tsh apps login wiki") || called {
			t.Errorf("%s: %s %s", name, resp.Status, body)
		}
		told := len(w.failed) == 1 && w.failed[0].App == "wiki" && strings.Contains(fault.Message(w.failed[0].Err), "the certificate expired at")
		if atAgent := c.slow > 0; told == atAgent { // who tells the log of what it refuses
			t.Errorf("%s: the log has %v", name, w.failed)
		}
	}
}

// A page asks for many things at once: auth is asked once.
func TestRequestsTogetherTakeOneBridge(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn()
	w.mu.Lock()
	w.crowd, w.gate = 20, make(chan struct{})
	w.mu.Unlock()
	var work sync.WaitGroup
	for range 20 {
		work.Go(func() {
			if _, body := w.do(c, "GET", wiki+"/x", "", nil); body != "hello /x" {
				t.Errorf("the app says %s", body)
			}
		})
	}
	work.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.uses != 1 {
		t.Errorf("auth was asked %d times", w.uses)
	}
}

// While auth is away, sessions go on with the bridges that they have; who comes
// anew hears why not.
func TestAuthIsAway(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn()
	w.do(c, "GET", wiki+"/", "", nil)
	w.away = fault.New(fault.Unavailable, "the auth service does not answer")
	if _, body := w.do(c, "GET", wiki+"/y", "", nil); body != "hello /y" {
		t.Errorf("a session that was known: %s", body)
	}
	id, secret, _ := strings.Cut(w.start("wiki", "bob", "", nil), ".")
	resp, body := w.do(w.browser(), "GET", wiki+"/", "", map[string]string{"Cookie": "__Host-grv_app_session=" + id + "; __Host-grv_app_session_subject=" + secret})
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "auth service does not answer") {
		t.Errorf("another: %s %s", resp.Status, body)
	}
}

// Log-out ends the session here and at auth, clears both cookies, and touches no
// session of anybody else.
func TestLogOut(t *testing.T) {
	w := newWorld(t)
	c := w.signedIn()
	other := w.start("vault", "alice", "", nil)
	resp, _ := w.do(c, "GET", wiki+"/teleport-logout", "", pageHeaders)
	if resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != "https://proxy.test:3080/web/bye/wiki.proxy.test" || len(resp.Cookies()) != 2 {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	if resp, _ := w.do(c, "GET", wiki+"/", "", nil); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("after it: %s", resp.Status)
	}
	id, _, _ := strings.Cut(other, ".")
	if resp, _ := w.do(w.browser(), "DELETE", wiki+"/teleport-logout", "", map[string]string{"Cookie": "__Host-grv_app_session=" + id + "; __Host-grv_app_session_subject=" + strings.Repeat("0", 32)}); resp.StatusCode != http.StatusNoContent {
		t.Errorf("half a pair: %s", resp.Status)
	}
	if _, ok := w.AppSession(id); !ok {
		t.Error("half a pair ended a session")
	}
}

// An app never takes the proxy's own name or another's; the names that are left go
// to nobody while two claim them.
func TestHostsAreUnique(t *testing.T) {
	w := newWorld(t, app("wiki", nil), app("vault", func(s *types.AppSpec) { s.PublicAddr = "wiki.proxy.test" }),
		app("thief", func(s *types.AppSpec) { s.PublicAddr = "proxy.test" }),
		app("a", func(s *types.AppSpec) { s.PublicAddr = "shared.test" }), app("b", func(s *types.AppSpec) { s.PublicAddr = "Shared.test" }), app("c", func(s *types.AppSpec) { s.PublicAddr = "shared.test" }),
		app("own", func(s *types.AppSpec) { s.PublicAddr = "own.test" }), app("own", func(s *types.AppSpec) { s.PublicAddr = "own.test" }),
		app("db", func(s *types.AppSpec) { s.URI = "tcp://127.0.0.1:5432" }))
	for host, want := range map[string]string{"wiki.proxy.test": "wiki", "WIKI.proxy.test:3080": "wiki", "proxy.test": "", "shared.test": "", "own.test": "own", "db.proxy.test": "", "nothing.test": "", "": ""} {
		a, ok := w.apps.ByHost(host)
		if ok != (want != "") || ok && a.Metadata.Name != want {
			t.Errorf("%q is %v", host, a)
		}
	}
	if _, ok := w.apps.ByName("own"); !ok || len(w.apps.Apps()) != 7 {
		t.Errorf("%d apps", len(w.apps.Apps()))
	}
	if _, ok := w.apps.ByName("db"); ok {
		t.Error("a TCP app has a page")
	}
}

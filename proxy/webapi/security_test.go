package webapi

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"teleport/access"
	"teleport/api/gen/loginv1"
	"teleport/api/rpc"
	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/netx"
	"teleport/tlsroute"
	"teleport/types"
)

const cluster = "c.example.com"

// auth is an auth service with one session, which tests end.
type auth struct {
	*certtest.World
	t      *testing.T
	now    func() time.Time
	bearer string

	mu            sync.Mutex
	ended         bool
	minted, asked int
	addrs         []string
	background    []bool
	started       []*loginv1.StartAppSessionRequest
}

func (a *auth) answer(bearer, addr string) error {
	a.addrs = append(a.addrs, addr)
	if a.ended || bearer != a.bearer {
		return fault.New(fault.Unauthenticated, "the session has ended")
	}
	return nil
}

func (a *auth) UseWebSession(_ context.Context, r *loginv1.UseWebSessionRequest) (*loginv1.CertsResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.answer(r.Bearer, r.ClientAddr); err != nil {
		return nil, err
	}
	a.minted++
	pub, err := x509.ParsePKIXPublicKey(r.Keys.TlsPublic)
	if err != nil {
		return nil, err
	}
	id := certtest.User("alice", cluster, a.now())
	id.Authority.Expires = a.now().Add(10 * time.Minute)
	der, err := tlscert.Sign(id, pub, a.Certs[types.CAUser], a.TLS[types.CAUser], a.now())
	return &loginv1.CertsResponse{TlsCert: tlscert.PEM(der)}, err
}

func (a *auth) CheckWebSession(_ context.Context, r *loginv1.CheckWebSessionRequest) (*loginv1.CheckWebSessionResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	a.background = append(a.background, r.Background)
	return &loginv1.CheckWebSessionResponse{ExpiresUnix: a.now().Add(8 * time.Hour).Unix()}, a.answer(r.Bearer, r.ClientAddr)
}

func (a *auth) EndWebSession(_ context.Context, r *loginv1.EndWebSessionRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = a.ended || r.Bearer == a.bearer
	return nil
}

func (a *auth) Login(_ context.Context, r *loginv1.LoginRequest) (*loginv1.CertsResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &loginv1.CertsResponse{User: r.User}, a.answer(a.bearer, r.ClientAddr)
}

func (a *auth) StartWebSession(_ context.Context, r *loginv1.StartWebSessionRequest) (*loginv1.StartWebSessionResponse, error) {
	return &loginv1.StartWebSessionResponse{Bearer: a.bearer, User: r.User, ExpiresUnix: a.now().Add(time.Hour).Unix()}, nil
}

func (a *auth) StartAppSession(_ context.Context, r *loginv1.StartAppSessionRequest) (*loginv1.StartAppSessionResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started = append(a.started, r)
	return &loginv1.StartAppSessionResponse{Bearer: strings.Repeat("12", 16) + "." + strings.Repeat("34", 16), User: "alice"}, a.answer(r.Bearer, r.ClientAddr)
}

func (a *auth) GetInvite(context.Context, *loginv1.GetInviteRequest) (*loginv1.GetInviteResponse, error) {
	return nil, fault.New(fault.NotFound, "this link is not valid any more")
}

func (a *auth) AcceptInvite(context.Context, *loginv1.AcceptInviteRequest) (*loginv1.AcceptInviteResponse, error) {
	return nil, fault.New(fault.NotFound, "this link is not valid any more")
}

// replica is a policy that tests change.
type replica struct {
	trust *cert.Trust
	locks []*types.Lock
	apps  []*types.AppServer
}

func (p *replica) Roles([]string) []*types.Role           { return nil }
func (p *replica) Locks() []*types.Lock                   { return p.locks }
func (p *replica) Settings() access.Settings              { return access.Settings{} }
func (p *replica) Epoch(user string) *types.UserEpochSpec { return nil }
func (p *replica) Fresh(time.Time) bool                   { return true }
func (p *replica) Revision() uint64                       { return 1 }
func (p *replica) Trust() *cert.Trust                     { return p.trust }
func (p *replica) Nodes() []*types.Node                   { return nil }
func (p *replica) AppServers() []*types.AppServer         { return p.apps }

type world struct {
	t      *testing.T
	auth   *auth
	policy *replica
	h      *Handler
	now    time.Time

	refused []string // apps
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, now: time.Now().Truncate(time.Second)}
	w.auth = &auth{World: certtest.New(t, cluster, w.now), t: t, now: func() time.Time { return w.now },
		bearer: strings.Repeat("ab", 16) + "." + strings.Repeat("cd", 16)}
	w.policy = &replica{trust: w.auth.Trust}
	o := Options{Cluster: cluster, Version: "1.0.0", PublicAddr: "proxy.example.com:3080", Hosts: []string{"alias.example.com"},
		Auth: w.auth, Policy: w.policy, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now },
		Upgrade: func(http.ResponseWriter, *http.Request, net.Addr) error { return nil },
		Refused: func(_ context.Context, _ rpc.Caller, r Refusal) {
			why := fault.Message(r.Err)
			if r.Err == nil {
				why = r.Decision.Reasons[0].Code
			}
			w.refused = append(w.refused, why)
		},
		Assets: fstest.MapFS{"index.html": {Data: []byte("<p>app</p>")}, "signin.html": {Data: []byte("<p>sign in</p>")},
			"assets/a.js": {Data: []byte("1")}}}
	if change != nil {
		change(&o)
	}
	var err error
	if w.h, err = New(o); err != nil {
		t.Fatal(err)
	}
	return w
}

// request is one of a page of ours, with the cookie where bearer is not empty.
func (w *world) request(method, path, bearer string) *http.Request {
	r := httptest.NewRequest(method, "https://proxy.example.com:3080"+path, nil)
	r.Host = "proxy.example.com:3080"
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.RemoteAddr = "192.0.2.1:4000"
	if bearer != "" {
		r.AddCookie(&http.Cookie{Name: CookieName, Value: bearer})
	}
	return r
}

func (w *world) do(r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	w.h.ServeHTTP(rec, r)
	return rec
}

// TestRouteTable holds every route of the proxy's HTTP with what it asks of its
// caller. A new route changes it: decide, then record it with UPDATE_GOLDEN=1.
func TestRouteTable(t *testing.T) {
	w := newWorld(t, nil)
	names := map[rpc.Origin]string{rpc.SameOrigin: "same origin", rpc.Native: "native", rpc.Public: "public"}
	var out strings.Builder
	for _, rt := range w.h.routes() {
		fmt.Fprintf(&out, "%-40s %-10s %-12s websocket=%t\n", rt.Pattern, rt.Permission, names[rt.Origin], rt.WebSocket)
		if rt.Permission.Level == rpc.LevelAnonymous {
			continue
		}
		method, path, _ := strings.Cut(rt.Pattern, " ")
		for _, bearer := range []string{"", "x", strings.Repeat("00", 16) + "." + strings.Repeat("00", 16)} {
			if rec := w.do(w.request(method, path, bearer)); rec.Code != http.StatusUnauthorized {
				t.Errorf("%s with the cookie %q: %d", rt.Pattern, bearer, rec.Code)
			}
		}
	}
	const path = "testdata/routes.golden"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != out.String() {
		t.Errorf("%s differs (%v):\n%s", path, err, out.String())
	}
}

// A session that ended at another proxy ends here within a second, and asking
// about it mints nothing.
func TestASignOutElsewhereCountsWithinASecond(t *testing.T) {
	w := newWorld(t, nil)
	get := func() int { return w.do(w.request("GET", "/webapi/sessions/web", w.auth.bearer)).Code }
	for range 30 {
		if code := get(); code != http.StatusOK {
			t.Fatalf("a live session: %d", code)
		}
		w.now = w.now.Add(500 * time.Millisecond)
	}
	if w.auth.minted != 1 || w.auth.asked < 10 || w.auth.asked > 15 {
		t.Errorf("in 15 s: %d certificates, %d questions", w.auth.minted, w.auth.asked)
	}
	w.auth.ended = true
	w.now = w.now.Add(time.Second)
	if code := get(); code != http.StatusUnauthorized {
		t.Errorf("a second after the sign-out: %d", code)
	}
	w.auth.ended = false
	w.now = w.now.Add(6 * time.Minute)
	if code := get(); code != http.StatusOK || w.auth.minted != 2 {
		t.Errorf("%d, %d certificates", code, w.auth.minted)
	}
}

// A lock counts with the next request, whatever is remembered.
func TestALockCountsAtOnce(t *testing.T) {
	w := newWorld(t, nil)
	if rec := w.do(w.request("GET", "/webapi/resources", w.auth.bearer)); rec.Code != http.StatusOK {
		t.Fatal(rec.Code)
	}
	w.policy.locks = []*types.Lock{{Spec: types.LockSpec{Target: types.LockTarget{User: "alice"}}}}
	if rec := w.do(w.request("GET", "/webapi/resources", w.auth.bearer)); rec.Code != http.StatusForbidden {
		t.Errorf("locked: %d", rec.Code)
	}
}

// What anybody may fetch costs the auth service nothing, whatever cookie comes
// with it; and a cookie that cannot be one is not asked about.
func TestStrangersCookiesCostNothing(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{"/web/", "/webapi/ping", "/webapi/find", "/webapi/auth/export?type=host"} {
		if rec := w.do(w.request("GET", path, strings.Repeat("00", 16)+"."+strings.Repeat("00", 16))); rec.Code != http.StatusOK {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
	for _, bad := range []string{"x", strings.Repeat("a", 600), "../" + w.auth.bearer, strings.ToUpper(w.auth.bearer)} {
		w.do(w.request("GET", "/webapi/sessions/web", bad))
	}
	if len(w.auth.addrs) != 0 {
		t.Errorf("auth was asked %d times", len(w.auth.addrs))
	}
}

// The client's address is the socket's, or what a listed balancer says; a client that
// came inside of a WebSocket wrote its headers itself, and has its address by now.
func TestNobodyChoosesTheirAddress(t *testing.T) {
	inside := context.WithValue(context.Background(), http.LocalAddrContextKey, net.Addr(tlsroute.UpgradedAddr{Addr: &net.TCPAddr{}}))
	for _, c := range []struct {
		name    string
		trust   string // the balancer
		ctx     context.Context
		headers []string
		want    string
	}{
		{"no balancer", "", context.Background(), []string{"203.0.113.9"}, "192.0.2.1:4000"},
		{"a balancer", "192.0.2.0/28", context.Background(), []string{"203.0.113.9"}, "203.0.113.9:4000"},
		{"no header", "192.0.2.0/28", context.Background(), nil, "192.0.2.1:4000"},
		{"two headers", "192.0.2.0/28", context.Background(), []string{"203.0.113.9", "198.51.100.1"}, "invalid"},
		{"a list", "192.0.2.0/28", context.Background(), []string{"203.0.113.9, 198.51.100.1"}, "invalid"},
		{"not the balancer", "192.0.2.8/32", context.Background(), []string{"203.0.113.9"}, "192.0.2.1:4000"},
		{"not the balancer, two headers", "192.0.2.8/32", context.Background(), []string{"203.0.113.9", "198.51.100.1"}, "192.0.2.1:4000"},
		{"inside of an upgrade", "192.0.2.0/28", inside, []string{"203.0.113.9"}, "192.0.2.1:4000"},
	} {
		w := newWorld(t, func(o *Options) {
			if c.trust != "" {
				o.ForwardedFor = netx.Networks{netip.MustParsePrefix(c.trust)}
			}
		})
		r := w.request("POST", "/webapi/ssh/certs", "").WithContext(c.ctx)
		r.Header.Set("Content-Type", "application/json")
		r.Body = io.NopCloser(strings.NewReader(`{"user":"alice"}`))
		for _, h := range c.headers {
			r.Header.Add("X-Forwarded-For", h)
		}
		w.do(r)
		got := "invalid"
		if len(w.auth.addrs) == 1 {
			got = w.auth.addrs[0]
		}
		if got != c.want {
			t.Errorf("%s: auth hears %q, want %q", c.name, got, c.want)
		}
	}
}

func TestOnlyOurNamesAreAnswered(t *testing.T) {
	w := newWorld(t, nil)
	for host, want := range map[string]int{"proxy.example.com:3080": 200, "PROXY.example.com": 200, "alias.example.com:1": 200, cluster: 200,
		"127.0.0.1:3080": 200, "[::1]:3080": 200, "localhost:3080": 200,
		"evil.example.com": 403, "proxy.example.com.evil.example": 403, "127.0.0.1.evil.example": 403, "": 403} {
		r := w.request("GET", "/webapi/ping", "")
		r.Host = host
		if rec := w.do(r); rec.Code != want {
			t.Errorf("Host %q: %d, want %d", host, rec.Code, want)
		}
	}
}

// Pages run no script but their own files, and the cookie goes nowhere else.
func TestPagesAndCookies(t *testing.T) {
	w := newWorld(t, nil)
	for _, path := range []string{"/web/", "/web/login", "/web/invite/x", "/web/launch/wiki.proxy.example.com", "/web/index.html", "/web/signin.html", "/web/../secret"} {
		rec := w.do(w.request("GET", path, ""))
		csp := rec.Header().Get("Content-Security-Policy")
		if rec.Code != http.StatusOK {
			continue
		}
		for _, need := range []string{"default-src 'none'", "script-src 'self'", "base-uri 'none'", "form-action '", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(csp, need) {
				t.Errorf("%s: the policy %q lacks %s", path, csp, need)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s", path, csp)
		}
		for _, h := range []string{"X-Content-Type-Options", "Strict-Transport-Security", "Referrer-Policy", "Cross-Origin-Opener-Policy"} {
			if rec.Header().Get(h) == "" {
				t.Errorf("%s has no %s", path, h)
			}
		}
	}
	r := w.request("POST", "/webapi/sessions/web", "")
	r.Header.Set("Content-Type", "application/json")
	r.Body = io.NopCloser(strings.NewReader(`{"user":"alice","password":"p","otp":"1"}`))
	rec := w.do(r)
	cookies := rec.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d %s, cookies %v", rec.Code, rec.Body, cookies)
	}
	if c := cookies[0]; !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteStrictMode {
		t.Errorf("cookie %v", c)
	}
	if strings.Contains(rec.Body.String(), w.auth.bearer) {
		t.Error("the bearer stands in the body, where a script reads it")
	}
}

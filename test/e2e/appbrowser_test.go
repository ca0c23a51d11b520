package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"teleport/test/cluster"
)

// appHost is the name of the proxies in tests of apps; apps are below it.
const appHost = "portal.example"

// browsing is a browser as far as HTTP goes: it keeps cookies and dials one of the
// proxies for every name.
type browsing struct {
	t      *testing.T
	c      *cluster.Cluster
	client *http.Client
	at     atomic.Int32 // the proxy that it dials
	port   string       // of the proxies' public address
	from   net.Addr     // its own, where that counts
}

// withApps is a cluster whose proxies have a name, and an agent that fronts apps.
func withApps(t *testing.T, proxies int, apps ...map[string]any) *cluster.Cluster {
	t.Helper()
	return withAppsIn(t, nil, proxies, apps...)
}

// withAppsIn is the same in an environment of its processes.
func withAppsIn(t *testing.T, env []string, proxies int, apps ...map[string]any) *cluster.Cluster {
	t.Helper()
	port := cluster.FreePort(t)
	c := cluster.New(t, cluster.Opts{Env: env, Proxies: proxies, Config: func(_ string, d cluster.Doc) {
		if d.Get("proxy_service.enabled") == true {
			d.Set("proxy_service.public_addr", appHost+":"+port)
		}
	}})
	addAppAgent(t, c, "app-1", apps...)
	heardOf(t, c, apps)
	return c
}

// heardOf waits until each proxy knows the addresses of apps: what an agent fronts is
// told after it is ready.
func heardOf(t *testing.T, c *cluster.Cluster, apps []map[string]any) {
	t.Helper()
	b := newBrowsing(t, c)
	for i, p := range c.Proxies {
		b.turn(int32(i)) //nolint:gosec // there are two at most
		for _, a := range apps {
			name, _ := a["name"].(string)
			if uri, _ := a["uri"].(string); strings.HasPrefix(uri, "tcp://") {
				continue // which browsers do not open
			}
			cluster.Until(t, within, p.Name+" to hear of the app "+name, func() bool {
				resp, _ := b.do("GET", b.url(name, "/x-teleport-auth/finish"), nil)
				return resp.StatusCode == http.StatusOK
			})
		}
	}
}

func addAppAgent(t *testing.T, c *cluster.Cluster, name string, apps ...map[string]any) *cluster.Process {
	t.Helper()
	token := write(t, c.Dir+"/token-"+name, c.Token(t, "app")+"\n")
	return c.AddAgent(t, name, func(d cluster.Doc) {
		var list []any
		for _, a := range apps {
			list = append(list, a)
		}
		d.Set("ssh_service.enabled", false).Set("app_service.enabled", true).Set("app_service.apps", list).Set("teleport.join_params.token_name", token)
	})
}

func newBrowsing(t *testing.T, c *cluster.Cluster) *browsing {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browsing{t: t, c: c}
	public, ok := c.Proxies[0].Conf.Get("proxy_service.public_addr").(string)
	if !ok {
		t.Fatal("the proxy has no name")
	}
	_, b.port, _ = net.SplitHostPort(public)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DialContext: b.dial, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	b.client = &http.Client{Jar: jar, Transport: tr, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return b
}

func (b *browsing) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{LocalAddr: b.from}).DialContext(ctx, "tcp", b.c.Proxies[b.at.Load()].WebAddr)
}

// turn has it dial another proxy from now on.
func (b *browsing) turn(proxy int32) {
	b.at.Store(proxy)
	b.client.CloseIdleConnections()
}

func (b *browsing) url(app, path string) string {
	return "https://" + app + "." + appHost + ":" + b.port + path
}

func (b *browsing) do(method, to string, body io.Reader, headers ...string) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, to, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(text)
}

// page opens an address as a person does.
func (b *browsing) page(to string) (*http.Response, string) {
	b.t.Helper()
	return b.do("GET", to, nil, "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
}

// call is a call of a page of the proxy.
func (b *browsing) call(method, path string, body any) (int, map[string]any) {
	b.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, answer := b.do(method, "https://"+appHost+":"+b.port+path, bytes.NewReader(text), "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin")
	out := map[string]any{}
	if err := json.Unmarshal([]byte(answer), &out); err != nil {
		b.t.Fatalf("%s %s: %s %s", method, path, resp.Status, answer)
	}
	return resp.StatusCode, out
}

func (b *browsing) signIn(p *cluster.Person) {
	b.t.Helper()
	if status, out := b.call("POST", "/webapi/sessions/web", map[string]string{"user": p.Name, "password": p.Password, "otp": p.OTP(b.t)}); status != 200 {
		b.t.Fatalf("sign-in: %v", out)
	}
}

// launch does what the launcher page does with its address, and returns where it
// sends the browser.
func (b *browsing) launch(at *url.URL) (string, map[string]any) {
	b.t.Helper()
	q := at.Query()
	_, out := b.call("POST", "/webapi/sessions/app", map[string]any{"host": strings.TrimPrefix(at.Path, "/web/launch/"), "path": q.Get("path"), "apps": q.Get("apps"),
		"as": q.Get("as"), "chain": q.Get("chain") != "", "state": q.Get("state")})
	to, _ := out["url"].(string)
	return to, out
}

// open follows a person's way from an app's address through the launcher back to it,
// and returns what is there.
func (b *browsing) open(to string) (*http.Response, string) {
	b.t.Helper()
	for range 20 {
		u, err := url.Parse(to)
		if err != nil {
			b.t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(u.Path, "/web/launch/"):
			var out map[string]any
			if to, out = b.launch(u); to == "" {
				b.t.Fatalf("the launcher says %v", out)
			}
		case u.Path == "/x-teleport-auth/finish":
			q, err := url.ParseQuery(u.Fragment)
			if err != nil {
				b.t.Fatal(err)
			}
			b.c.Secret(strings.SplitN(q.Get("session"), ".", 2)[1], "secret of a session with an app")
			body, err := json.Marshal(map[string]string{"state": q.Get("state"), "session": q.Get("session"), "path": q.Get("path"), "apps": q.Get("apps")})
			if err != nil {
				b.t.Fatal(err)
			}
			origin := u.Scheme + "://" + u.Host
			resp, text := b.do("POST", origin+"/x-teleport-auth", bytes.NewReader(body), "Content-Type", "application/json", "Origin", origin)
			var next struct{ Next string }
			if err := json.Unmarshal([]byte(text), &next); err != nil || next.Next == "" {
				b.t.Fatalf("the hand-over: %s %s", resp.Status, text)
			}
			if to = next.Next; strings.HasPrefix(to, "/") {
				to = origin + to
			}
		default:
			resp, text := b.page(to)
			if resp.StatusCode != http.StatusFound {
				return resp, text
			}
			to = resp.Header.Get("Location")
		}
	}
	b.t.Fatal("there is no end of redirects")
	return nil, ""
}

// intranet is an app of the house: it tells what it is asked, echoes a WebSocket,
// never ends an event stream, and sums uploads.
func intranet(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		switch r.URL.Path {
		case "/events":
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: one\n\n")
			_ = c.Flush()
			<-r.Context().Done()
		case "/ws":
			conn, buf, err := c.Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = buf.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = buf.Flush()
			_, _ = io.Copy(conn, buf)
		case "/endless":
			for b := make([]byte, 64<<10); r.Context().Err() == nil; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		case "/sum":
			h := sha256.New()
			_, _ = io.Copy(h, r.Body)
			_, _ = io.WriteString(w, hex.EncodeToString(h.Sum(nil)))
		default:
			_, _ = io.WriteString(w, "asked for "+r.URL.RequestURI()+" with cookies <"+r.Header.Get("Cookie")+"> from "+r.Header.Get("X-Forwarded-For")+" at "+r.Header.Get("X-Forwarded-Host"))
		}
	})}
	go s.Serve(ln) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { s.Close() })
	return "http://" + ln.Addr().String()
}

// live opens a stream of the app, which answers with a status.
func (b *browsing) live(app, path, headers string, status int) net.Conn {
	b.t.Helper()
	conn, resp := b.raw(app, path, headers)
	if resp.StatusCode != status {
		b.t.Fatalf("%s of %s: %s", path, app, resp.Status)
	}
	return conn
}

// raw opens a stream of the app and reads the head of its answer.
func (b *browsing) raw(app, path string, headers string) (net.Conn, *http.Response) {
	b.t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{LocalAddr: b.from}, "tcp", b.c.Proxies[b.at.Load()].WebAddr,
		&tls.Config{InsecureSkipVerify: true, ServerName: app + "." + appHost, NextProtos: []string{"http/1.1"}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	u, _ := url.Parse(b.url(app, path))
	var cookies []string
	for _, k := range b.client.Jar.Cookies(u) {
		cookies = append(cookies, k.Name+"="+k.Value)
	}
	_, err = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+u.Host+"\r\nCookie: "+strings.Join(cookies, "; ")+"\r\n"+headers+"\r\n")
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return conn, resp
}

// soon bounds what takes a second where the machine has nothing else to do.
const soon = 20 * time.Second

// isCut fails the test unless a connection is cut soon.
func isCut(t *testing.T, what string, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	for b := make([]byte, 64<<10); ; {
		if _, err := conn.Read(b); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s is not cut within %s", what, soon)
			}
			return
		}
	}
}

const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"

// TestAnAppInABrowser: a person opens an app's address, signs in, comes back to the
// page that was asked for, uploads, and signs out, which cuts what is open.
func TestAnAppInABrowser(t *testing.T) {
	t.Parallel()
	uri := intranet(t)
	c := withApps(t, 0, map[string]any{"name": "wiki", "uri": uri, "labels": map[string]string{"env": "dev"}},
		map[string]any{"name": "down", "uri": "http://127.0.0.1:" + cluster.FreePort(t)})
	alice := c.User(t, "alice", []string{"access"}, nil)
	b := newBrowsing(t, c)
	// Not signed in: the launcher sends to the sign-in, and programs hear 401.
	resp, _ := b.page(b.url("wiki", "/page?x=1"))
	launcher, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || resp.StatusCode != http.StatusFound || launcher.Host != appHost+":"+b.port || launcher.Path != "/web/launch/wiki."+appHost {
		t.Fatalf("%s to %s", resp.Status, launcher)
	}
	if _, out := b.launch(launcher); out["error"] == nil {
		t.Fatalf("the launcher lets nobody in: %v", out)
	}
	if resp, text := b.do("GET", b.url("wiki", "/page"), nil, "Accept", "application/json"); resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Location") != "" {
		t.Errorf("a program: %s %s", resp.Status, text)
	}
	b.signIn(alice)
	resp, text := b.open(b.url("wiki", "/page?x=1"))
	if resp.StatusCode != 200 || text != "asked for /page?x=1 with cookies <> from 127.0.0.1 at wiki."+appHost+":"+b.port {
		t.Fatalf("%s %s", resp.Status, text)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 2<<20)
	sum := sha256.Sum256(big)
	if resp, text := b.do("PUT", b.url("wiki", "/sum"), bytes.NewReader(big)); text != hex.EncodeToString(sum[:]) {
		t.Errorf("upload: %s %s", resp.Status, text)
	}
	// An app that is down, and one that is not there, are told so.
	if resp, text := b.open(b.url("down", "/")); resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusBadGateway || !strings.Contains(text, "down cannot be reached") ||
		!strings.Contains(text, resp.Header.Get("X-Request-Id")) {
		t.Errorf("the app that is down: %s %s", resp.Status, text)
	} else {
		id := resp.Header.Get("X-Request-Id")
		cluster.Until(t, within, "the request "+id+", which the page names, in the log", func() bool {
			return slices.ContainsFunc(c.Events(t, 3, "app.session.request", "alice"), func(e map[string]any) bool { return e["request_id"] == id })
		})
	}
	// Signing out of the app cuts what is open of it.
	ws := b.live("wiki", "/ws", upgrade, http.StatusSwitchingProtocols)
	stream := b.live("wiki", "/events", "", http.StatusOK)
	if resp, _ := b.page(b.url("wiki", "/teleport-logout")); resp.StatusCode != http.StatusFound {
		t.Errorf("log-out: %s", resp.Status)
	}
	for name, conn := range map[string]net.Conn{"the WebSocket": ws, "the event stream": stream} {
		isCut(t, name, conn)
	}
	if resp, _ := b.do("GET", b.url("wiki", "/"), nil); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("after it: %s", resp.Status)
	}
	// Signed in at the proxy still, it opens again without another sign-in; a sign-out
	// there, and a lock, cut everything.
	b.open(b.url("wiki", "/"))
	download := b.live("wiki", "/endless", "", http.StatusOK)
	if status, out := b.call("DELETE", "/webapi/sessions/web", nil); status != 200 {
		t.Fatalf("sign-out: %v", out)
	}
	isCut(t, "the download", download)
	b.signIn(alice)
	b.open(b.url("wiki", "/"))
	ws = b.live("wiki", "/ws", upgrade, http.StatusSwitchingProtocols)
	c.Tctl("lock", "--user=alice", "--message=enough").OK(t)
	isCut(t, "the WebSocket of a locked user", ws)
	resp, text = b.page(b.url("wiki", "/"))
	if resp.StatusCode == 200 || strings.Contains(text, "asked for") {
		t.Errorf("a locked user: %s %s", resp.Status, text)
	}
}

// TestAnAppByAnyProxy: who signed in through one proxy is served by the other, also
// while and after either restarts.
func TestAnAppByAnyProxy(t *testing.T) {
	t.Parallel()
	uri := intranet(t)
	c := withApps(t, 2, map[string]any{"name": "wiki", "uri": uri}, map[string]any{"name": "base", "uri": uri},
		map[string]any{"name": "suite", "uri": uri, "required_apps": []string{"base", "wiki"}})
	alice := c.User(t, "alice", []string{"access"}, nil)
	b := newBrowsing(t, c)
	b.signIn(alice)
	if resp, text := b.open(b.url("wiki", "/a")); resp.StatusCode != 200 || !strings.HasPrefix(text, "asked for /a ") {
		t.Fatalf("%s %s", resp.Status, text)
	}
	ask := func(what string) {
		t.Helper()
		cluster.Until(t, within, what, func() bool {
			resp, text := b.do("GET", b.url("wiki", "/b"), nil)
			if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusFound {
				t.Fatalf("%s: a new sign-in is asked for: %s", what, text)
			}
			return resp.StatusCode == 200
		})
	}
	ask("the first proxy")
	b.turn(1)
	// A request waits half a second for a session that this proxy has not heard of.
	cluster.Until(t, within, "the other proxy to hear of the session", func() bool {
		resp, _ := b.do("GET", b.url("wiki", "/b"), nil)
		return resp.StatusCode == http.StatusOK
	})
	ask("the other proxy")
	c.Proxies[0].Term(t)
	ask("the other proxy, alone")
	c.Proxies[0].Start(t)
	b.turn(0)
	ask("the first proxy, started anew")
	c.Proxies[1].Term(t)
	ask("the first proxy, alone")
	// One visit opens what an app needs too.
	if resp, text := b.open(b.url("suite", "/deep?q=1")); resp.StatusCode != 200 || !strings.HasPrefix(text, "asked for /deep?q=1 ") {
		t.Fatalf("%s %s", resp.Status, text)
	}
	if resp, text := b.do("GET", b.url("base", "/"), nil); resp.StatusCode != 200 {
		t.Errorf("the app that it needs: %s %s", resp.Status, text)
	}
}

// TestWhoMayNotOpenAnApp: whoever has no role for an app is told why, and the log has it.
func TestWhoMayNotOpenAnApp(t *testing.T) {
	t.Parallel()
	c := withApps(t, 0, map[string]any{"name": "wiki", "uri": intranet(t), "labels": map[string]string{"env": "prod"}})
	write(t, c.Dir+"/dev.yaml", "kind: role\nversion: v8\nmetadata: {name: dev}\nspec: {allow: {app_labels: {env: dev}}}\n")
	c.Tctl("create", c.Dir+"/dev.yaml").OK(t)
	bob := c.User(t, "bob", []string{"dev"}, nil)
	b := newBrowsing(t, c)
	b.signIn(bob)
	status, out := b.call("POST", "/webapi/sessions/app", map[string]any{"host": "wiki." + appHost, "path": "/"})
	said, _ := out["error"].(map[string]any)
	if status != http.StatusForbidden || said["message"] == nil {
		t.Fatalf("%d %v", status, out)
	}
	for _, e := range c.Events(t, 1, "auth", "bob") {
		if e["resource_name"] != "wiki" || e["error"] == "" {
			t.Errorf("the log has %v", e)
		}
	}
	for _, host := range []string{"nothing." + appHost, appHost, "evil.test", "wiki." + appHost + ".evil.test", ""} {
		if status, out := b.call("POST", "/webapi/sessions/app", map[string]any{"host": host}); status != http.StatusNotFound {
			t.Errorf("%q: %d %v", host, status, out)
		}
	}
}

// TestJupyterInChromium: a notebook server from Debian is used in Chromium through
// the proxy: sign-in, an upload, a computation over a WebSocket, log-out.
func TestJupyterInChromium(t *testing.T) {
	t.Parallel()
	cluster.Need(t, "chromium", "chromium")
	node := cluster.Need(t, "node", "nodejs")
	port := cluster.FreePort(t)
	c := withApps(t, 0, map[string]any{"name": "jupyter", "uri": "http://127.0.0.1:" + port}, map[string]any{"name": "down", "uri": "http://127.0.0.1:" + cluster.FreePort(t)},
		map[string]any{"name": "lacks", "uri": "http://127.0.0.1:" + port, "required_apps": []string{"jupyter", "nowhere"}})
	alice := c.User(t, "alice", []string{"access"}, nil)
	home := t.TempDir()
	alice.Go(t, cluster.Need(t, "jupyter-notebook", "jupyter-notebook"), "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port="+port, "--port-retries=0",
		"--NotebookApp.token=", "--NotebookApp.password=", "--notebook-dir="+home)
	answers(t, "the notebook server", port)
	script, err := filepath.Abs("../../web/e2e/apps.mjs")
	if err != nil {
		t.Fatal(err)
	}
	b := newBrowsing(t, c)
	_, web, _ := net.SplitHostPort(c.Proxies[0].WebAddr)
	out := alice.Run(cluster.Command{Path: node, Args: []string{script}, Limit: browserLimit, Dir: filepath.Dir(filepath.Dir(script)), Env: []string{
		"TELEPORT_URL=https://" + appHost + ":" + b.port, "TELEPORT_APP=" + b.url("jupyter", ""), "TELEPORT_DOWN=" + b.url("down", ""), "TELEPORT_LACKS=" + b.url("lacks", ""),
		"TELEPORT_HOSTS=MAP *." + appHost + " 127.0.0.1:" + web + ",MAP " + appHost + " 127.0.0.1:" + web,
		"TELEPORT_USER=" + alice.Name, "TELEPORT_PASSWORD=" + alice.Password, "TELEPORT_OTP_SECRET=" + alice.OTPSecret(), "SHOTS=" + os.Getenv("SHOTS")}}).OK(t)
	t.Log(out)
	if _, err := os.Stat(home + "/figures.csv"); err != nil {
		t.Error(err)
	}
	c.Events(t, 5, "app.session.request", "alice")
}

// TestStolenAppCookies: of a session with an app nothing is of use but the whole
// pair, at that app, while it lives; and a hand-over works once.
func TestStolenAppCookies(t *testing.T) {
	t.Parallel()
	uri := intranet(t)
	c := withApps(t, 0, map[string]any{"name": "wiki", "uri": uri}, map[string]any{"name": "vault", "uri": uri})
	alice, bob := c.User(t, "alice", []string{"access"}, nil), c.User(t, "bob", []string{"access"}, nil)
	pairOf := func(b *browsing, app string) (id, secret string) {
		u, err := url.Parse(b.url(app, "/"))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range b.client.Jar.Cookies(u) {
			switch k.Name {
			case "__Host-grv_app_session":
				id = k.Value
			case "__Host-grv_app_session_subject":
				secret = k.Value
			}
		}
		if id == "" || secret == "" {
			t.Fatalf("no session with %s", app)
		}
		return id, secret
	}
	a, b := newBrowsing(t, c), newBrowsing(t, c)
	a.signIn(alice)
	a.open(a.url("wiki", "/"))
	a.open(a.url("vault", "/"))
	b.signIn(bob)
	b.open(b.url("wiki", "/"))
	id, secret := pairOf(a, "wiki")
	vaultID, vaultSecret := pairOf(a, "vault")
	bobID, bobSecret := pairOf(b, "wiki")
	thief := newBrowsing(t, c)
	try := func(id, secret string) int {
		resp, _ := thief.do("GET", thief.url("wiki", "/"), nil, "Cookie", "__Host-grv_app_session="+id+"; __Host-grv_app_session_subject="+secret)
		return resp.StatusCode
	}
	for name, pair := range map[string][2]string{"another app's": {vaultID, vaultSecret}, "the id with another's secret": {id, bobSecret}, "another's id": {bobID, secret},
		"another app's secret": {id, vaultSecret}, "the id alone": {id, ""}, "the secret alone": {"", secret}, "exchanged": {secret, id}} {
		if status := try(pair[0], pair[1]); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	if status := try(id, secret); status != http.StatusOK { // a pair is a bearer's, where logins are not pinned
		t.Errorf("the whole pair: %d", status)
	}
	// A hand-over that was seen on its way, or is done twice, opens nothing.
	resp, _ := a.page(a.url("wiki", "/x-teleport-auth?path=/"))
	at, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	done, _ := a.launch(at)
	finish, err := url.Parse(done)
	if err != nil {
		t.Fatal(err)
	}
	q, err := url.ParseQuery(finish.Fragment)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"state": q.Get("state"), "session": q.Get("session")})
	if err != nil {
		t.Fatal(err)
	}
	post := func(b *browsing) int {
		resp, _ := b.do("POST", b.url("wiki", "/x-teleport-auth"), bytes.NewReader(body), "Content-Type", "application/json", "Origin", "https://"+finish.Host)
		return resp.StatusCode
	}
	if status := post(thief); status != http.StatusForbidden {
		t.Errorf("a hand-over in another browser: %d", status)
	}
	if status := post(a); status == http.StatusOK { // the attempt has ended it
		t.Errorf("the same in its own browser, afterwards: %d", status)
	}
	a.page(a.url("wiki", "/teleport-logout"))
	if status := try(id, secret); status != http.StatusUnauthorized {
		t.Errorf("the whole pair after log-out: %d", status)
	}
	if status := try(bobID, bobSecret); status != http.StatusOK {
		t.Errorf("and that of somebody else: %d", status)
	}
	c.Events(t, 3, "auth", "alice") // the refusals
}

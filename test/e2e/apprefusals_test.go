package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/client/identityfile"
	"teleport/dial"
	"teleport/netx/alpndial"
	"teleport/test/cluster"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// refusals walks what is refused of apps, and finds each in the audit log.
type refusals struct {
	*cluster.Cluster
	t     *testing.T
	alice *cluster.Person
	n     int
	seen  map[string]bool // events that were there before
}

// stranger is a browser of an address of its own: the log takes so much of each.
func (r *refusals) stranger() *browsing {
	b := newBrowsing(r.t, r.Cluster)
	r.n++
	b.from = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(20+r.n))}
	return b
}

// signedIn is such a browser in which alice is signed in.
func (r *refusals) signedIn() *browsing {
	b := r.stranger()
	b.signIn(r.alice)
	return b
}

// told waits for an event that was not there before, and says why what was refused.
func (r *refusals) told(name, user, app, why string) {
	r.t.Helper()
	var last []map[string]any
	found := cluster.Poll(within, func() bool {
		var fresh map[string]any
		out := r.Tctl("audit", "ls", "--format=json", "--limit=1000", "--type=auth")
		if last = nil; out.Code != 0 || json.Unmarshal([]byte(out.Stdout), &last) != nil {
			return false
		}
		for _, e := range last {
			// Others may be late ones of what was done before.
			if id := fmt.Sprint(e["uid"]); !r.seen[id] && strings.Contains(fmt.Sprint(e["error"]), why) && (user == "" || fmt.Sprint(e["user"]) == user) &&
				e["resource_kind"] == types.KindApp && e["resource_name"] == app {
				fresh = e
				r.seen[id] = true
			}
		}
		return fresh != nil
	})
	if !found {
		r.t.Errorf("%s: of %q by %s at %s the log has nothing: %v", name, why, user, app, last)
	}
}

// state begins a hand-over in a browser and brings it to the app's door.
func (r *refusals) state(b *browsing, app string) (body []byte, origin string) {
	r.t.Helper()
	resp, _ := b.page(b.url(app, "/x-teleport-auth?path=/"))
	at, err := url.Parse(resp.Header.Get("Location"))
	if err != nil {
		r.t.Fatal(err)
	}
	to, said := b.launch(at)
	finish, err := url.Parse(to)
	if err != nil || to == "" {
		r.t.Fatalf("the launcher says %v", said)
	}
	q, err := url.ParseQuery(finish.Fragment)
	if err != nil {
		r.t.Fatal(err)
	}
	if body, err = json.Marshal(map[string]string{"state": q.Get("state"), "session": q.Get("session")}); err != nil {
		r.t.Fatal(err)
	}
	return body, "https://" + finish.Host
}

func (r *refusals) post(b *browsing, app string, body []byte, origin string) int {
	r.t.Helper()
	resp, _ := b.do("POST", b.url(app, "/x-teleport-auth"), bytes.NewReader(body), "Content-Type", "application/json", "Origin", origin)
	return resp.StatusCode
}

// gate opens a dial for alice's log-in, and within it TLS with her certificate for
// another app.
func (r *refusals) gate(app string, shown *tls.Certificate) error {
	file := filepath.Join(r.alice.Home, "identity")
	r.Tctl("auth", "sign", "--user="+r.alice.Name, "--out="+file, "--ttl=10m", "--overwrite").OK(r.t)
	cred, err := identityfile.ReadFile(file)
	if err != nil {
		return err
	}
	trust, err := cert.NewTrust(cred.HostAuthorities())
	if err != nil {
		return err
	}
	as := func(own func() *tls.Certificate) tlscert.Source {
		return tlscert.Source{Certificate: own, Trust: func() *cert.Trust { return trust }, Now: time.Now}
	}
	c := &dial.Client{Proxy: &alpndial.Dialer{ProxyAddr: r.Proxies[0].WebAddr, Insecure: true}, TLS: func(context.Context) (*tls.Config, error) {
		return tlscert.ClientConfig(as(cred.TLSCertificate), tlscert.Server{Cluster: r.Name, Role: types.RoleProxy}, tunframe.ALPNDial)
	}}
	conn, reply, err := c.Dial(r.t.Context(), dial.Target{Kind: types.KindApp, Name: app})
	if err != nil {
		return err
	}
	defer conn.Close()
	config, err := tlscert.ClientConfig(as(func() *tls.Certificate { return shown }), tlscert.Server{Cluster: r.Name, UUID: reply.AgentUUID}, "http/1.1")
	if err != nil {
		return err
	}
	inner := tls.Client(conn, config)
	if err := inner.HandshakeContext(r.t.Context()); err != nil {
		return err
	}
	if _, err := io.WriteString(inner, "GET / HTTP/1.1\r\nHost: "+app+"\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	if answer, err := io.ReadAll(inner); err != nil || len(answer) == 0 {
		return fmt.Errorf("it was closed: %w", err)
	}
	return nil
}

// TestEveryRefusalOfAnAppIsInTheLog walks the doors of apps: whoever is refused at
// one is in the audit log, with who it was as far as that is known, and why.
func TestEveryRefusalOfAnAppIsInTheLog(t *testing.T) {
	t.Parallel()
	uri := intranet(t)
	c := withApps(t, 0, map[string]any{"name": "wiki", "uri": uri, "labels": map[string]string{"env": "dev"},
		"cors": map[string]any{"allowed_origins": []string{"https://pages.test"}}},
		map[string]any{"name": "vault", "uri": uri, "labels": map[string]string{"env": "dev"}},
		map[string]any{"name": "payroll", "uri": uri, "labels": map[string]string{"env": "prod"}},
		map[string]any{"name": "console", "cloud": "AWS", "labels": map[string]string{"env": "dev"}})
	write(t, c.Dir+"/dev.yaml", "kind: role\nversion: v8\nmetadata: {name: dev}\nspec: {allow: {app_labels: {env: dev}, aws_role_arns: ['arn:aws:iam::123456789012:role/reader']}}\n")
	c.Tctl("create", c.Dir+"/dev.yaml").OK(t)
	r := &refusals{Cluster: c, t: t, alice: c.User(t, "alice", []string{"dev"}, nil), seen: map[string]bool{}}
	r.alice.Login(t)
	bob := c.User(t, "bob", []string{"dev"}, nil)
	cluster.Until(t, within, "the apps", func() bool { return strings.Contains(r.alice.Tsh("apps", "ls").Stdout, "vault") })
	r.alice.Tsh("apps", "login", "wiki").OK(t)
	paths := strings.Fields(r.alice.Tsh("apps", "config", "wiki", "--format=cert").OK(t) + " " + r.alice.Tsh("apps", "config", "wiki", "--format=key").OK(t))
	wikis, err := tls.LoadX509KeyPair(paths[0], paths[1])
	if err != nil {
		t.Fatal(err)
	}
	owner, other := r.signedIn(), r.stranger()
	other.signIn(bob)
	owner.open(owner.url("wiki", "/"))
	owner.open(owner.url("vault", "/"))
	other.open(other.url("wiki", "/"))
	pairs := map[string][2]string{"wiki": owner.appCookies("wiki"), "vault": owner.appCookies("vault"), "bob": other.appCookies("wiki")}
	withPair := func(id, secret string) func() int {
		return func() int {
			b := r.stranger()
			resp, _ := b.do("GET", b.url("wiki", "/"), nil, "Cookie", "__Host-grv_app_session="+id+"; __Host-grv_app_session_subject="+secret)
			return resp.StatusCode
		}
	}
	ask := func(method, path string, headers ...string) func() int {
		return func() int {
			b := r.stranger()
			resp, _ := b.do(method, b.url("wiki", path), nil, headers...)
			return resp.StatusCode
		}
	}
	launch := func(of map[string]any) func() int {
		return func() int {
			status, _ := owner.call("POST", "/webapi/sessions/app", of)
			return status
		}
	}
	dialled := func(app string) func() int {
		return func() int {
			if err := r.gate(app, &wikis); err == nil {
				return http.StatusOK
			}
			return http.StatusForbidden
		}
	}
	stranger, alice := "<nil>", "alice"
	for _, x := range []struct {
		name, user, app, why string
		status               int
		act                  func() int
	}{
		{"a program without a session", stranger, "wiki", "no session with this app", 401, ask("GET", "/api", "Accept", "application/json")},
		{"the cookies of another app", alice, "wiki", "the session is with another app", 401, withPair(pairs["vault"][0], pairs["vault"][1])},
		{"the second cookie of another user", alice, "wiki", "the secret is not that of the session", 401, withPair(pairs["wiki"][0], pairs["bob"][1])},
		{"a WebSocket of another site", alice, "wiki", "a page of another site opened this WebSocket", 403, func() int {
			_, resp := owner.raw("wiki", "/ws", upgrade+"Origin: https://evil.test\r\n")
			return resp.StatusCode
		}},
		{"a page that may not call", stranger, "wiki", "may not call this app so", 403, ask("OPTIONS", "/", "Origin", "https://evil.test", "Access-Control-Request-Method", "PUT")},
		{"a way out of the app", stranger, "wiki", "was to lead elsewhere", 302, ask("GET", "/x-teleport-auth?path=%2F%2Fevil.test")},
		{"a hand-over from another site", stranger, "wiki", "did not come from a page of this app", 403, ask("POST", "/x-teleport-auth", "Origin", "https://evil.test")},
		{"a hand-over of another browser", alice, "wiki", "did not begin in this browser", 403, func() int {
			body, origin := r.state(owner, "wiki")
			return r.post(r.stranger(), "wiki", body, origin)
		}},
		{"a hand-over that is replayed", stranger, "wiki", "is over, or was done before", 403, func() int {
			body, origin := r.state(owner, "wiki")
			if status := r.post(owner, "wiki", body, origin); status != http.StatusOK {
				return status
			}
			return r.post(owner, "wiki", body, origin)
		}},
		{"a request of two lengths", stranger, "wiki", "cannot be read as one", 400, func() int {
			_, resp := r.stranger().raw("wiki", "/", "Content-Length: 3\r\nContent-Length: 5\r\n")
			return resp.StatusCode
		}},
		{"the launcher, without a role", alice, "payroll", "", 403, launch(map[string]any{"host": "payroll." + appHost})},
		{"the launcher, of no app", alice, "nothing." + appHost, "there is no app at", 404, launch(map[string]any{"host": "nothing." + appHost})},
		{"the launcher, with half a state", alice, "wiki", "is not complete", 400, launch(map[string]any{"host": "wiki." + appHost, "state": "12"})},
		{"the launcher, to another site", alice, "wiki", "was to lead elsewhere", 200, launch(map[string]any{"host": "wiki." + appHost, "path": "https://evil.test/"})},
		{"a role of a cloud", alice, "console", "arn:aws:iam::123456789012:role/admin", 403, launch(map[string]any{"host": "console." + appHost, "as": "arn:aws:iam::123456789012:role/admin"})},
		{"a certificate of another app, at its address", alice, "vault", "the certificate is not for this app", 403, func() int {
			b := r.stranger()
			b.client.Transport = &http.Transport{DialContext: b.dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{wikis}}}
			resp, _ := b.do("GET", b.url("vault", "/"), nil)
			return resp.StatusCode
		}},
		{"a certificate of another app, in a dial", alice, "vault", "the certificate is not for this app", 403, dialled("vault")},
		{"a dial without a role", alice, "payroll", "", 403, dialled("payroll")},
		{"a dial of no app", alice, "nothing", "nothing", 403, dialled("nothing")},
		{"a locked user", alice, "wiki", "lock", 403, func() int {
			owner.open(owner.url("wiki", "/"))
			c.Tctl("lock", "--user=alice", "--message=leaves", "--ttl=1h").OK(t)
			status := 0
			cluster.Until(t, within, "the lock", func() bool {
				resp, _ := owner.do("GET", owner.url("wiki", "/"), nil)
				status = resp.StatusCode
				return status != http.StatusOK && status != http.StatusServiceUnavailable // of one that was under way at the agent
			})
			if status == http.StatusUnauthorized { // who is locked has no session any more
				status = http.StatusForbidden
			}
			return status
		}},
	} {
		r.past()
		if status := x.act(); status != x.status {
			t.Errorf("%s: %d, not %d", x.name, status, x.status)
		}
		r.told(x.name, x.user, x.app, x.why)
	}
}

// past makes what is in the log now the past.
func (r *refusals) past() {
	r.t.Helper()
	for _, e := range r.Events(r.t, 0, "auth", "") {
		r.seen[fmt.Sprint(e["uid"])] = true
	}
}

// appCookies are the two of a session with an app.
func (b *browsing) appCookies(app string) [2]string {
	b.t.Helper()
	u, err := url.Parse(b.url(app, "/"))
	if err != nil {
		b.t.Fatal(err)
	}
	named := map[string]string{}
	for _, k := range b.client.Jar.Cookies(u) {
		named[k.Name] = k.Value
	}
	pair := [2]string{named["__Host-grv_app_session"], named["__Host-grv_app_session_subject"]}
	if pair[0] == "" || pair[1] == "" {
		b.t.Fatalf("no session with %s", app)
	}
	return pair
}

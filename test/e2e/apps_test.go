package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"teleport/test/cluster"
	"teleport/test/pgserver"
)

const appRole = `kind: role
version: v7
metadata: {name: apps}
spec:
  options: {max_session_ttl: 8h}
  allow:
    app_labels: {env: test}
`

// mall is a cluster whose agent fronts a web app and a PostgreSQL as a tcp app.
type mall struct {
	*cluster.Cluster
	web   *httptest.Server
	pg    *pgserver.Server
	alice *cluster.Person
	agent *cluster.Process
}

func newMall(t *testing.T, o cluster.Opts) *mall {
	t.Helper()
	m := &mall{Cluster: cluster.New(t, o), web: httptest.NewServer(http.HandlerFunc(serveWiki)), pg: pgserver.Start(t)}
	t.Cleanup(m.web.Close)
	m.pg.Kill()
	m.pg.Configure(t, "host all all 127.0.0.1/32 trust", "")
	m.pg.Run(t)
	token := m.Token(t, "app")
	m.agent = m.AddAgent(t, "app-1", func(d cluster.Doc) {
		d.Set("ssh_service.enabled", false).Set("app_service.enabled", true)
		d.Set("teleport.join_params.token_name", token)
		d.Set("app_service.apps", []any{
			map[string]any{"name": "wiki", "description": "Pages of the shop", "uri": m.web.URL, "labels": map[string]any{"env": "test"},
				"rewrite": map[string]any{"headers": []any{"X-Team: {{internal.logins}}"}}},
			map[string]any{"name": "shop-db", "uri": "tcp://127.0.0.1", "labels": map[string]any{"env": "test"},
				"tcp_ports": []any{map[string]any{"port": 1}, map[string]any{"port": number(t, m.pg.Port)}}},
			map[string]any{"name": "payroll", "uri": m.web.URL, "labels": map[string]any{"env": "prod"}}})
		d.Set("app_service.resources", []any{map[string]any{"labels": map[string]any{"env": "test"}}})
	})
	m.TctlIn(appRole, "create", "-f").OK(t)
	m.alice = m.User(t, "alice", []string{"apps"}, []string{"shop"})
	m.alice.Login(t)
	cluster.Until(t, within, "the apps in the lists", func() bool {
		out := m.alice.Tsh("apps", "ls").Stdout
		return strings.Contains(out, "wiki") && strings.Contains(out, "shop-db") && strings.Contains(m.Tctl("apps", "ls").Stdout, "payroll")
	})
	return m
}

func number(t *testing.T, s string) int {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func serveWiki(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case "/who":
		_, _ = io.WriteString(w, r.Header.Get("Teleport-Jwt-Assertion"))
	case "/upload":
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d bytes", n)
	default:
		fmt.Fprintf(w, "%s %s for %s of %s", r.Method, r.URL.RequestURI(), r.Header.Get("X-Forwarded-Host"), r.Header.Get("X-Team"))
	}
}

// opened opens tsh proxy app and returns where it listens.
func (m *mall) opened(t *testing.T, app, target string) (*cluster.Live, string) {
	t.Helper()
	port := cluster.FreePort(t)
	live := m.alice.StartTsh(t, "proxy", "app", app, "--port="+port+target)
	live.WaitFor(t, "127.0.0.1:"+port)
	return live, port
}

// TestCurlThroughTshProxyApp does what people do with a web app and curl.
func TestCurlThroughTshProxyApp(t *testing.T) {
	t.Parallel()
	m := newMall(t, cluster.Opts{})
	contains(t, m.alice.Tsh("apps", "ls").OK(t), "wiki", "Pages of the shop", "HTTP", "TCP", "shop-db")
	if out := m.alice.Tsh("apps", "ls").OK(t); strings.Contains(out, "payroll") {
		t.Errorf("%s", out)
	}
	contains(t, m.Tctl("apps", "ls").OK(t), "app-1", "payroll")
	contains(t, m.Tctl("access", "explain", "alice", "app/wiki").OK(t), "ALLOWED: alice, app on app/wiki", "By role   apps")
	contains(t, m.Tctl("access", "explain", "alice", "app/payroll").OK(t), "DENIED: alice, app on app/payroll")
	contains(t, m.Tctl("access", "plan", "--delete=apps").OK(t), "3 apps", "Apps", "use")
	_, port := m.opened(t, "wiki", "")
	curl := func(args ...string) cluster.Result {
		return m.alice.Run(cluster.Command{Path: cluster.Need(t, "curl", "curl"), Args: append([]string{"-sS", "--max-time", "60"}, args...)})
	}
	at := "http://127.0.0.1:" + port
	contains(t, curl(at+"/page?a=1&b=2").OK(t), "GET /page?a=1&b=2 for 127.0.0.1:"+port+" of shop")
	contains(t, curl("-H", "X-Forwarded-Host: evil", at+"/").OK(t), "for 127.0.0.1:"+port+" of shop")
	contains(t, curl("--data-binary", "@-", at+"/upload").OK(t), "0 bytes")
	stream := m.alice.Go(t, cluster.Need(t, "curl", "curl"), "-sSN", at+"/events")
	stream.WaitFor(t, "data: 1")
	if stream.Ended() {
		t.Error("the stream ended by itself")
	}
	m.Tctl("lock", "--user=alice", "--ttl=1h", "--message=leaves").OK(t)
	locked := time.Now()
	stream.Wait(t)
	if took := time.Since(locked); took > 30*time.Second {
		t.Errorf("the stream was cut after %s", took)
	}
	starts := m.Events(t, 1, "app.session.start", "alice")
	if starts[0]["code"] != "T2007I" || starts[0]["app_name"] != "wiki" {
		t.Errorf("%v", starts[0])
	}
	requests := m.Events(t, 4, "app.session.request", "alice")
	if requests[0]["status_code"] != float64(200) || requests[0]["method"] == "" {
		t.Errorf("%v", requests[0])
	}
	m.Events(t, 1, "app.session.end", "alice")
	contains(t, m.alice.Tsh("proxy", "app", "payroll").Exit(t, 4).Stderr, "lock")
}

// TestAnAppVerifiesWhoComes: an app that has a library for tokens and the address of
// the proxy knows who the user is, and a token of the client's own making never arrives.
func TestAnAppVerifiesWhoComes(t *testing.T) {
	t.Parallel()
	m := newMall(t, cluster.Opts{})
	_, port := m.opened(t, "wiki", "")
	curl := func(args ...string) string {
		return m.alice.Run(cluster.Command{Path: cluster.Need(t, "curl", "curl"), Args: append([]string{"-sS", "--max-time", "60"}, args...)}).OK(t)
	}
	token := curl("-H", "Teleport-Jwt-Assertion: forged", "http://127.0.0.1:"+port+"/who")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(curl("-k", "https://"+m.ProxyAddr()+"/.well-known/jwks.json")), &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%v, %v", set, err)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(set.Keys[0].Algorithm)})
	if err != nil {
		t.Fatalf("%q: %v", token, err)
	}
	var claims jwt.Claims
	var ours struct {
		Username string              `json:"username"`
		Roles    []string            `json:"roles"`
		Traits   map[string][]string `json:"traits"`
	}
	if err := parsed.Claims(set, &claims, &ours); err != nil {
		t.Fatal(err)
	}
	if err := claims.Validate(jwt.Expected{Issuer: m.Cluster.Name, Subject: "alice", AnyAudience: jwt.Audience{m.web.URL}, Time: time.Now()}); err != nil {
		t.Errorf("%+v: %v", claims, err)
	}
	if ours.Username != "alice" || !slices.Equal(ours.Roles, []string{"apps"}) || !slices.Equal(ours.Traits["logins"], []string{"shop"}) {
		t.Errorf("%+v", ours)
	}
	if again := curl("http://127.0.0.1:" + port + "/who"); again != token {
		t.Error("a token was made for a request")
	}
}

// TestPsqlThroughATCPApp: psql reaches the port that is named, and no other one.
func TestPsqlThroughATCPApp(t *testing.T) {
	t.Parallel()
	m := newMall(t, cluster.Opts{})
	_, port := m.opened(t, "shop-db", ":"+m.pg.Port)
	address := url.URL{Scheme: "postgres", User: url.User("postgres"), Host: "127.0.0.1:" + port, Path: "postgres"}
	out := m.alice.Run(cluster.Command{Path: cluster.Need(t, "psql", "postgresql-client"), Args: []string{address.String(), "-X", "-A", "-t", "-c", "select 40+2"}})
	contains(t, out.OK(t), "42")
	contains(t, m.alice.Tsh("proxy", "app", "shop-db", "--port=0:22").Exit(t, 2).Stderr, "has no port 22")
	contains(t, m.alice.Tsh("proxy", "app", "payroll").Exit(t, 5).Stderr, "or you may not see it")
	ends := m.Events(t, 1, "app.session.end", "alice")
	if ends[0]["app_name"] != "shop-db" || ends[0]["bytes_received"] == nil {
		t.Errorf("%v", ends[0])
	}
}

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestTheDebugApp: an agent shows in a browser what an app would hear of its user, and
// reaches no app at an address that its file leaves out.
func TestTheDebugApp(t *testing.T) {
	t.Parallel()
	c := withApps(t, 0, map[string]any{"name": "wiki", "uri": intranet(t)})
	token := write(t, c.Dir+"/token-debug", c.Token(t, "app")+"\n")
	c.AddAgent(t, "app-2", func(d cluster.Doc) {
		d.Set("ssh_service.enabled", false).Set("app_service.enabled", true).Set("teleport.join_params.token_name", token).
			Set("app_service.apps", []any{map[string]any{"name": "metadata", "uri": intranet(t)}}).
			Set("app_service.debug_app", true).Set("app_service.denied_hosts", []any{"169.254.0.0/16", "127.0.0.1"})
	})
	alice := c.User(t, "alice", []string{"access"}, nil)
	alice.Login(t)
	cluster.Until(t, within, "the apps", func() bool {
		out := alice.Tsh("apps", "ls").Stdout
		return strings.Contains(out, "dumper") && strings.Contains(out, "metadata")
	})
	b := newBrowsing(t, c)
	b.signIn(alice)
	b.open(b.url("dumper", "/"))
	resp, text := b.do("GET", b.url("dumper", "/some?thing=1"), nil, "X-Own", "mine", "X-Real-Ip", "203.0.113.9")
	if resp.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", resp.Status, text)
	}
	contains(t, text, "GET /some?thing=1 HTTP/1.1\nHost: dumper.invalid\n", "X-Own: mine\n", "X-Forwarded-For: 127.0.0.1\n", "X-Forwarded-Host: dumper."+appHost,
		"Teleport-Jwt-Assertion: ", "(the signature is not shown)")
	for _, word := range []string{"203.0.113.9", "__Host-grv_app_session"} {
		if strings.Contains(text, word) {
			t.Errorf("the app hears %s: %s", word, text)
		}
	}
	b.open(b.url("metadata", "/"))
	resp, text = b.do("GET", b.url("metadata", "/latest"), nil, "Accept", "application/json")
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(text, "this agent may not reach the address of the app") {
		t.Errorf("%s: %s", resp.Status, text)
	}
	cluster.Until(t, within, "both requests that were refused in the log", func() bool {
		refused := 0
		for _, e := range c.Events(t, 1, "app.session.request", "alice") {
			if e["app_name"] != "metadata" {
				continue
			}
			if refused++; e["code"] != "T2009E" {
				t.Fatalf("%v", e)
			}
		}
		return refused == 2
	})
}

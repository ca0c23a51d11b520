package appaccess_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"teleport/appaccess/apptest"
	"teleport/types"
	"teleport/types/event"
)

// TestPagesOfOthersGetNothing: a page whose own name somebody lets lead to this machine
// is of the same origin, for its browser, as the port of tsh proxy app. Programs may
// call the app what they like, and so may a proxy, which knows the names of apps.
func TestPagesOfOthersGetNothing(t *testing.T) {
	const browser = "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0"
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") }))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL, PublicAddr: "wiki.corp.example.com"}, nil)
	alice, proxy := apptest.User("alice", types.AppRoute{}), apptest.Bridge("alice", types.AppRoute{})
	clients := map[*types.Identity]*http.Client{alice: w.Client(alice), proxy: w.Client(proxy)}
	for _, c := range []struct {
		who         *types.Identity
		agent, host string
		want        int
	}{
		{alice, browser, "evil.example.org:8080", 403},
		{alice, browser, "wiki.evil.example.org", 403},
		{alice, browser, "127.0.0.1.evil.example.org:8080", 403},
		{alice, browser, "127.0.0.1:8080", 200},
		{alice, browser, "[::1]:8080", 200},
		{alice, browser, "localhost:8080", 200},
		{alice, browser, "Wiki.Localhost:8080", 200},
		{alice, browser, "wiki:8080", 200},
		{alice, browser, "host.docker.internal:8080", 200},
		{alice, browser, "WIKI.corp.example.com:8080", 200},
		{alice, "curl/8.14.1", "evil.example.org:8080", 200},
		{alice, "", "evil.example.org:8080", 200},
		{proxy, browser, "wiki.proxy.example.org", 200},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://wiki/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = c.host
		r.Header.Set("User-Agent", c.agent)
		resp, err := clients[c.who].Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.want || (string(body) == "secret") != (c.want == 200) {
			t.Errorf("%s by %.10q as %v: %s %s", c.host, c.agent, c.who.Kind, resp.Status, body)
		}
	}
	refused := 0
	for _, e := range w.Log.Events(event.TypeAppRequest) {
		if e.EventMeta().Code == event.CodeAppRequestFail {
			refused++
		}
	}
	if refused != 3 {
		t.Errorf("told of %d", refused)
	}
}

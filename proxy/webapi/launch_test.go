package webapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"teleport/proxy/appproxy"
	"teleport/types"
)

const (
	stateSecret = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
	stateOf     = stateSecret + "_00112233445566778899aabbccddeeff"
)

func appServer(name string, edit func(*types.App)) *types.AppServer {
	a := types.App{Header: types.Header{Kind: types.KindApp, Version: "v3", Metadata: types.Metadata{Name: name, Labels: map[string]string{"env": "dev"}}},
		Spec: types.AppSpec{URI: "http://127.0.0.1:1"}}
	if edit != nil {
		edit(&a)
	}
	return &types.AppServer{Spec: types.AppServerSpec{App: a, Version: "1.2.3"}}
}

// withApps is a proxy with apps and alice's role for those of env=dev.
func withApps(t *testing.T) *world {
	dev := &types.Role{Header: types.Header{Kind: types.KindRole, Version: types.V8, Metadata: types.Metadata{Name: "dev"}},
		Spec: types.RoleSpec{Allow: types.RoleConditions{AppLabels: types.Labels{"env": {"dev"}}, AWSRoleARNs: []string{"arn:aws:iam::1:role/read"},
			GCPServiceAccounts: []string{"read@p.iam.gserviceaccount.com"}}}}
	p := &town{roles: []*types.Role{dev}}
	w := newWorld(t, func(o *Options) { p.replica = o.Policy.(*replica); o.Policy = p })
	w.policy.apps = []*types.AppServer{
		appServer("wiki", nil), appServer("wiki", nil),
		appServer("vault", func(a *types.App) { a.Metadata.Labels = map[string]string{"env": "prod"} }),
		appServer("suite", func(a *types.App) { a.Spec.RequiredApps = []string{"wiki", "vault", "nothing", "other"} }),
		appServer("other", func(a *types.App) { a.Spec.PublicAddr = "other.test" }),
		appServer("thief", func(a *types.App) { a.Spec.PublicAddr = "proxy.example.com" }),
		appServer("console", func(a *types.App) { a.Spec.URI, a.Spec.Cloud = "https://console.aws.amazon.com", types.CloudAWS }),
		appServer("desk", func(a *types.App) {
			a.Spec.URI, a.Spec.Cloud, a.Spec.RequiredApps = "https://console.aws.amazon.com", types.CloudAWS, []string{"wiki", "console"}
		}),
		appServer("gcp", func(a *types.App) { a.Spec.URI, a.Spec.Cloud = "cloud://GCP", types.CloudGCP }),
		appServer("line", func(a *types.App) { a.Spec.URI = "tcp://127.0.0.1:5432" }),
	}
	return w
}

func (w *world) launch(body, bearer string) *httptest.ResponseRecorder {
	return w.do(withBody(w.request("POST", "/webapi/sessions/app", bearer), "application/json", body))
}

// The launcher leads to an app twice: to begin, and with a session for the state
// that the browser got there.
func TestLaunch(t *testing.T) {
	w := withApps(t)
	first := answer(t, w.launch(`{"host":"wiki.proxy.example.com","path":"/a?b=1"}`, w.auth.bearer), http.StatusOK)
	if first["url"] != "https://wiki.proxy.example.com:3080/x-teleport-auth?path=%2Fa%3Fb%3D1" || len(w.auth.started) != 0 {
		t.Fatalf("%v", first)
	}
	second := answer(t, w.launch(`{"host":"wiki.proxy.example.com","path":"/a?b=1","state":"`+stateOf+`"}`, w.auth.bearer), http.StatusOK)
	u, err := url.Parse(second["url"].(string))
	if err != nil || u.Host != "wiki.proxy.example.com:3080" || u.Path != "/x-teleport-auth/finish" || u.RawQuery != "" {
		t.Fatalf("%v", second)
	}
	q, err := url.ParseQuery(u.Fragment)
	if err != nil || q.Get("state") != stateOf || q.Get("session") != strings.Repeat("12", 16)+"."+strings.Repeat("34", 16) || q.Get("path") != "/a?b=1" {
		t.Errorf("%v", q)
	}
	if s := w.auth.started; len(s) != 1 || s[0].App != "wiki" || s[0].State != stateSecret || s[0].Bearer != w.auth.bearer || s[0].ClientAddr != "192.0.2.1:4000" {
		t.Errorf("auth was asked for %v", s)
	}
	// What the app needs comes first, as far as the person may open it; then itself.
	chain := answer(t, w.launch(`{"host":"suite.proxy.example.com","path":"/x"}`, w.auth.bearer), http.StatusOK)
	if want := "https://wiki.proxy.example.com:3080/x-teleport-auth?apps=other.test%2Csuite.proxy.example.com&path=%2Fx"; chain["url"] != want {
		t.Errorf("%v", chain)
	}
	if on := answer(t, w.launch(`{"host":"suite.proxy.example.com","path":"/x","chain":true}`, w.auth.bearer), http.StatusOK); on["url"] != "https://suite.proxy.example.com:3080/x-teleport-auth?path=%2Fx" {
		t.Errorf("%v", on)
	}
	as := answer(t, w.launch(`{"host":"console.proxy.example.com","as":"arn:aws:iam::1:role/read","state":"`+stateOf+`"}`, w.auth.bearer), http.StatusOK)
	if s := w.auth.started[1]; types.AppRouteOf(&types.Route{Params: s.Params}).AWSRoleARN != "arn:aws:iam::1:role/read" {
		t.Errorf("%v: %v", as, s)
	}
}

// What an app needs and does not open with it keeps nobody from the rest: the person
// is told, and of what was refused the log.
func TestWhatAnAppNeedsIsLeftOut(t *testing.T) {
	w := withApps(t)
	out := answer(t, w.launch(`{"host":"suite.proxy.example.com"}`, w.auth.bearer), http.StatusOK)
	why := map[string]string{}
	list, _ := out["without"].([]any)
	for _, x := range list {
		m, _ := x.(map[string]any)
		why[m["app"].(string)] = m["why"].(string)
	}
	if len(why) != 2 || !strings.Contains(why["nothing"], "no agent fronts it") || !strings.Contains(why["vault"], "none of your roles allows it") {
		t.Errorf("without %v", list)
	}
	if len(w.refused) != 1 || w.refused[0] != "no_role_matches" {
		t.Errorf("the log has %v", w.refused)
	}
	if on := answer(t, w.launch(`{"host":"suite.proxy.example.com","chain":true}`, w.auth.bearer), http.StatusOK); on["without"] != nil || len(w.refused) != 1 {
		t.Errorf("told again on the way: %v, %v", on, w.refused)
	}
	// A console is opened as a role, which the way of another has none for; the role of
	// this one is kept for it.
	out = answer(t, w.launch(`{"host":"desk.proxy.example.com","as":"arn:aws:iam::1:role/read"}`, w.auth.bearer), http.StatusOK)
	list, _ = out["without"].([]any)
	u, err := url.Parse(out["url"].(string))
	if err != nil || len(list) != 1 || u.Host != "wiki.proxy.example.com:3080" || u.Query().Get("apps") != "desk.proxy.example.com" || u.Query().Get("as") != "arn:aws:iam::1:role/read" {
		t.Errorf("%v", out)
	}
}

// However many apps one needs, the way ends at itself, and is one that is followed.
func TestAVisitEndsAtItsApp(t *testing.T) {
	for _, n := range []int{1, types.MaxRequiredApps, types.MaxRequiredApps + 1, 3 * types.MaxRequiredApps} {
		w := withApps(t)
		need := []string{"hub", "hub"} // itself, and each once
		for i := range n {
			name := "need-" + strconv.Itoa(i)
			need = append(need, name, name)
			w.policy.apps = append(w.policy.apps, appServer(name, nil))
		}
		w.policy.apps = append(w.policy.apps, appServer("hub", func(a *types.App) { a.Spec.RequiredApps = need }))
		out := answer(t, w.launch(`{"host":"hub.proxy.example.com","path":"/x"}`, w.auth.bearer), http.StatusOK)
		u, err := url.Parse(out["url"].(string))
		if err != nil {
			t.Fatal(err)
		}
		trip := appproxy.Trip{Path: u.Query().Get("path"), Apps: u.Query().Get("apps")}
		hosts := strings.Split(trip.Apps, ",")
		if err := trip.Strays(); err != nil || u.Host != "need-0.proxy.example.com:3080" || len(hosts) != min(n, types.MaxRequiredApps) || hosts[len(hosts)-1] != "hub.proxy.example.com" {
			t.Errorf("%d apps: %v: %v", n, out, err)
		}
	}
}

// Nobody is led anywhere but to an app that they may use, and a session is made of
// nothing but a state.
func TestLaunchIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		status int
		told   string // in the log; "" is nothing
	}{
		"no right":              {`{"host":"vault.proxy.example.com"}`, http.StatusForbidden, "_"},
		"no right, a state":     {`{"host":"vault.proxy.example.com","state":"` + stateOf + `"}`, http.StatusForbidden, "_"},
		"no such app":           {`{"host":"nothing.proxy.example.com"}`, http.StatusNotFound, "there is no app at"},
		"another site":          {`{"host":"evil.test"}`, http.StatusNotFound, "there is no app at"},
		"the proxy itself":      {`{"host":"proxy.example.com"}`, http.StatusNotFound, "there is no app at"},
		"a TCP app":             {`{"host":"line.proxy.example.com"}`, http.StatusNotFound, "there is no app at"},
		"no host":               {`{}`, http.StatusNotFound, "there is no app at"},
		"half a state":          {`{"host":"wiki.proxy.example.com","state":"` + stateSecret + `"}`, http.StatusBadRequest, "is not complete"},
		"a role not allowed":    {`{"host":"console.proxy.example.com","as":"arn:aws:iam::1:role/admin"}`, http.StatusForbidden, "_"},
		"no role":               {`{"host":"console.proxy.example.com"}`, http.StatusForbidden, "_"},
		"a cloud's API":         {`{"host":"gcp.proxy.example.com","as":"read@p.iam.gserviceaccount.com"}`, http.StatusNotImplemented, ""},
		"a cloud's API, no as":  {`{"host":"gcp.proxy.example.com"}`, http.StatusForbidden, "_"},
		"a field of its own":    {`{"host":"wiki.proxy.example.com","user":"root"}`, http.StatusBadRequest, ""},
		"a way out in the path": {`{"host":"wiki.proxy.example.com","path":"//evil.test","apps":"evil.test/x"}`, http.StatusOK, "elsewhere"},
	} {
		w := withApps(t)
		rec := w.launch(c.body, w.auth.bearer)
		if rec.Code != c.status || len(w.auth.started) != 0 || !(len(w.refused) == 0 && c.told == "" || len(w.refused) == 1 && c.told != "" && strings.Contains(w.refused[0], c.told)) || strings.Contains(rec.Body.String(), "evil.test/x") || strings.Contains(rec.Body.String(), "%2F%2Fevil") {
			t.Errorf("%s: %d %s, refused %v", name, rec.Code, rec.Body, w.refused)
		}
		if rec := w.launch(c.body, ""); rec.Code != http.StatusUnauthorized {
			t.Errorf("%s, not signed in: %d", name, rec.Code)
		}
	}
}

// The list has the apps that the person may see, and how to open them.
func TestAppsAreListed(t *testing.T) {
	w := withApps(t)
	ill := func(name, status, why string) *types.AppServer {
		s := appServer(name, nil)
		s.Status.TargetHealth = types.TargetHealth{Status: status, LastError: why}
		return s
	}
	w.policy.apps = append(w.policy.apps,
		appServer("lines", func(a *types.App) {
			a.Spec.URI, a.Spec.TCPPorts = "tcp://127.0.0.1", []types.AppPort{{Port: 7001}, {Port: 7100, EndPort: 7110}}
		}),
		appServer("azure", func(a *types.App) { a.Spec.URI, a.Spec.Cloud = "cloud://Azure", types.CloudAzure }),
		ill("down", types.HealthUnhealthy, "connection refused"), ill("down", types.HealthUnhealthy, ""),
		ill("half", types.HealthUnhealthy, "connection refused"), ill("half", types.HealthHealthy, ""))
	items, _ := answer(t, w.do(w.request("GET", "/webapi/resources", w.auth.bearer)), http.StatusOK)["items"].([]any)
	var names []string
	for _, x := range items {
		r, _ := x.(map[string]any)
		names = append(names, r["name"].(string))
		launch, _ := r["launch"].(string)
		switch r["name"] {
		case "wiki":
			if launch != "/web/launch/wiki.proxy.example.com" || r["address"] != "https://wiki.proxy.example.com:3080" {
				t.Errorf("%v", r)
			}
		case "console":
			if logins, _ := r["logins"].([]any); len(logins) != 1 || r["cloud"] != "AWS" {
				t.Errorf("%v", r)
			}
		case "line", "thief", "azure", "gcp": // no page of a browser
			if launch != "" || r["address"] != nil {
				t.Errorf("%v", r)
			}
		case "lines":
			if ports, _ := json.Marshal(r["ports"]); launch != "" || r["type"] != "TCP" || string(ports) != `["7001","7100-7110"]` {
				t.Errorf("%v", r)
			}
		case "down", "half": // one agent that reaches it is enough
			if want := map[any]any{"down": "connection refused", "half": nil}[r["name"]]; r["ill"] != want {
				t.Errorf("%v", r)
			}
		}
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "azure console desk down gcp half line lines other suite thief wiki" {
		t.Errorf("listed: %s", got)
	}
}

package appaccess_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"teleport/appaccess"
	"teleport/appaccess/apptest"
	"teleport/cert/jwtcert"
	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

// soon is how long a cut may take here, where other tests have the machine too.
const soon = 10 * time.Second

// get asks the app for a path, and returns the answer and its body.
func get(t *testing.T, c *http.Client, path string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://wiki.example.test"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// TestRequest: a request reaches the app with what the agent alone says of the user,
// and the log tells of the session and of the request, in this order.
func TestRequest(t *testing.T) {
	var got *http.Request
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		http.SetCookie(w, &http.Cookie{Name: "own", Value: "1"})
		w.Header().Add("Set-Cookie", appaccess.CookiePrefix+"app_session=stolen; Secure; Path=/")
		w.Header().Set("X-Teleport-App-Error", "denied")
		_, _ = io.WriteString(w, "hello")
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL, Rewrite: &types.AppRewrite{Headers: []types.AppHeader{
		{Name: "X-Login", Value: "{{internal.logins}}"}, {Name: "X-None", Value: "{{external.none}}"}, {Name: "X-Fixed", Value: "yes"}}}}, nil)
	id := apptest.User("alice", types.AppRoute{})
	id.Authority.Traits = map[string][]string{"logins": {"root", "ubuntu"}}
	c := w.Client(id)
	resp, body := get(t, c, "/page%2Fone?a=1;b=2", "X-Forwarded-For", "9.9.9.9", "X-Teleport-User", "bob", "Teleport-Jwt-Assertion", "forged", "X-None", "forged",
		"X_None", "forged", "X_login", "root", "X.Fixed", "no", "X_Forwarded_For", "9.9.9.9", "Teleport_Jwt.Assertion", "forged", "X_Request_Id", "forged", "X_Kept", "yes",
		"Cookie", "a=b; "+appaccess.CookiePrefix+"app_session=secret; c=d", "Proxy-Authorization", "Basic x", "X-Fixed", "no", "Accept", "text/html")
	if resp.StatusCode != http.StatusOK || body != "hello" {
		t.Fatalf("%s %q", resp.Status, body)
	}
	want := map[string][]string{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Host": {"wiki.example.test"}, "X-Forwarded-Proto": {"https"}, "X-Teleport-User": nil,
		"X-None": nil, "X_kept": {"yes"}, "Cookie": {"a=b; c=d"}, "Proxy-Authorization": nil, "X-Login": {"root", "ubuntu"}, "X-Fixed": {"yes"}, "Accept": {"text/html"}}
	for name := range got.Header { // an app that reads variables of CGI takes them for ours
		if strings.ContainsAny(name, "_.") && name != "X_kept" {
			t.Errorf("%s: %q arrived", name, got.Header[name])
		}
	}
	for name, values := range want {
		if !slices.Equal(got.Header[name], values) {
			t.Errorf("%s: %q, not %q", name, got.Header[name], values)
		}
	}
	if got.URL.EscapedPath() != "/page%2Fone" || got.URL.RawQuery != "a=1;b=2" || got.Host != strings.TrimPrefix(app.URL, "http://") {
		t.Errorf("the app was asked for %s at %s", got.URL, got.Host)
	}
	if set := resp.Header["Set-Cookie"]; !slices.Equal(set, []string{"own=1"}) || resp.Header.Get(appaccess.HeaderError) != "" {
		t.Errorf("the answer has %v", resp.Header)
	}
	events := w.Log.Events()
	if len(events) != 2 {
		t.Fatalf("%d events", len(events))
	}
	start, ok := events[0].(*event.AppStart)
	if !ok || start.Code != event.CodeAppStart || start.SessionID != apptest.SessionID || start.AppName != apptest.App || start.User.User != "alice" || !start.Decision.Allow {
		t.Errorf("%+v", events[0])
	}
	req, ok := events[1].(*event.AppRequest)
	if !ok || req.Method != "GET" || req.Path != "/page%2Fone" || req.Query != "a=1;b=2" || req.StatusCode != 200 || req.RequestID != resp.Header.Get(appaccess.HeaderRequestID) {
		t.Errorf("%+v", events[1])
	}
}

// TestRefusals: whoever may not is told in the log, by a start that failed, and
// reaches nothing.
func TestRefusals(t *testing.T) {
	reached := false
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	other := apptest.User("alice", types.AppRoute{})
	other.Authority.Route = types.AppRoute{}.Route("payroll")
	wrong := apptest.Bridge("alice", types.AppRoute{})
	wrong.Authority.ProxyUUID = apptest.HostID
	none := apptest.User("alice", types.AppRoute{})
	none.Authority.Route = nil
	for what, x := range map[string]struct {
		id    *types.Identity
		roles func(*types.RoleSpec)
		told  bool // who it is; otherwise the log has what was shown instead
	}{
		"no role":           {apptest.User("alice", types.AppRoute{}), func(r *types.RoleSpec) { r.Allow.AppLabels = types.Labels{"env": {"prod"}} }, true},
		"a deny":            {apptest.User("alice", types.AppRoute{}), func(r *types.RoleSpec) { r.Deny.AppLabels = types.Labels{"env": {"test"}} }, true},
		"a role of a cloud": {apptest.User("alice", types.AppRoute{AWSRoleARN: "arn:aws:iam::123456789012:role/x"}), func(*types.RoleSpec) {}, true},
		"a port":            {apptest.User("alice", types.AppRoute{TargetPort: 22}), func(*types.RoleSpec) {}, true},
		"another app":       {other, func(*types.RoleSpec) {}, false},
		"no app":            {none, func(*types.RoleSpec) {}, false},
		"another's bridge":  {wrong, func(*types.RoleSpec) {}, false},
	} {
		w.Role(x.roles)
		before, others := len(w.Log.Events(event.TypeAppStart)), len(w.Log.Events(event.TypeAuth))
		resp, err := w.Client(x.id).Get("https://wiki.example.test/")
		if err == nil {
			resp.Body.Close()
			if !x.told || resp.StatusCode != http.StatusForbidden || resp.Header.Get(appaccess.HeaderError) != "denied" {
				t.Errorf("%s was let in: %s", what, resp.Status)
			}
		} else if x.told {
			t.Errorf("%s does not hear why: %v", what, err)
		}
		if x.told {
			w.Await(func() bool { return len(w.Log.Events(event.TypeAppStart)) > before })
			if e := w.Log.Events(event.TypeAppStart)[before].(*event.AppStart); e.Code != event.CodeAppStartFail || e.Decision.Allow || e.Error == "" {
				t.Errorf("%s: %+v", what, e)
			}
			continue
		}
		w.Await(func() bool { return len(w.Log.Events(event.TypeAuth)) > others })
		if e := w.Log.Events(event.TypeAuth)[others].(*event.AuthFail); e.User.User != "alice" || e.ResourceName != apptest.App || !strings.Contains(e.Error, "certificate") {
			t.Errorf("%s: %+v", what, e)
		}
	}
	if reached {
		t.Error("the app was reached")
	}
}

// TestUnreadableRequests: what passes for a request of a session is in its log, and
// reaches nothing.
func TestUnreadableRequests(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			t.Error("the app was reached")
		}
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	for name, c := range map[string]struct{ ask, why string }{
		"two lengths":      {"POST /a HTTP/1.1\r\nHost: wiki\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabc", "two lengths"},
		"an unknown code":  {"POST /a HTTP/1.1\r\nHost: wiki\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "encoding of the request is not known"},
		"after a good one": {"GET / HTTP/1.1\r\nHost: wiki\r\n\r\nPOST /a HTTP/1.1\r\nHost: wiki\r\nTransfer-Encoding : chunked\r\n\r\n", "no name and value"},
		"no path":          {"OPTIONS * HTTP/1.1\r\nHost: wiki\r\nConnection: close\r\n\r\n", "within the app"},
		"a proxy's method": {"CONNECT vault:443 HTTP/1.1\r\nHost: wiki\r\nConnection: close\r\n\r\n", "within the app"},
	} {
		before := len(w.Log.Events(event.TypeAppRequest))
		conn, err := w.Dial(t.Context(), apptest.User("alice", types.AppRoute{}), "http/1.1")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, c.ask)
		_, _ = io.ReadAll(conn)
		conn.Close()
		list := w.Log.Events(event.TypeAppRequest)[before:]
		if len(list) == 0 {
			t.Errorf("%s is not told", name)
			continue
		}
		if e := list[len(list)-1].(*event.AppRequest); e.Code != event.CodeAppRequestFail || e.User.User != "alice" || e.AppName != apptest.App || !strings.Contains(e.Error, c.why) {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// TestLockCutsAStream: a lock ends what is open within a second, and the end is told
// with its reason.
func TestLockCutsAStream(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	resp, err := w.Client(apptest.User("alice", types.AppRoute{})).Get("https://wiki.example.test/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 9)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "data: 1\n\n" {
		t.Fatalf("%q %v", first, err)
	}
	lock := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{User: "alice"}}}
	locked := time.Now()
	w.Policy.Change(func() { w.Policy.LockList = append(w.Policy.LockList, lock) })
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the stream ended well")
	}
	if took := time.Since(locked); took > soon {
		t.Errorf("it took %s", took)
	}
	w.Await(func() bool { return len(w.Log.Events(event.TypeAppEnd)) == 1 })
	if e := w.Log.Events(event.TypeAppEnd)[0].(*event.AppEnd); e.Reason == "" || e.Requests != 1 {
		t.Errorf("%+v", e)
	}
}

// TestAppDown: the client hears what is wrong, with the id that finds the log.
func TestAppDown(t *testing.T) {
	app := httptest.NewServer(nil)
	app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	resp, body := get(t, w.Client(apptest.User("alice", types.AppRoute{})), "/")
	id := resp.Header.Get(appaccess.HeaderRequestID)
	if resp.StatusCode != http.StatusBadGateway || resp.Header.Get(appaccess.HeaderError) != "app_down" || !strings.Contains(body, id) || strings.Contains(body, "127.0.0.1") {
		t.Errorf("%s %v %s", resp.Status, resp.Header, body)
	}
	list := w.Log.Events(event.TypeAppRequest)
	if len(list) != 1 || list[0].(*event.AppRequest).Code != event.CodeAppRequestFail || list[0].(*event.AppRequest).RequestID != id {
		t.Errorf("%+v", list)
	}
}

// TestLogBroken: what cannot be told does not happen.
func TestLogBroken(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") }))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	c := w.Client(apptest.User("alice", types.AppRoute{}))
	get(t, c, "/")
	w.Log.Break(context.DeadlineExceeded)
	if resp, body := get(t, c, "/"); resp.StatusCode != http.StatusServiceUnavailable || strings.Contains(body, "secret") {
		t.Errorf("%s %s", resp.Status, body)
	}
}

// TestToken: the app learns who the user is from a token that is made once for a
// session; one that wants none gets none, and without a token nothing is sent on.
func TestToken(t *testing.T) {
	var got http.Header
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() }))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL, Rewrite: &types.AppRewrite{Headers: []types.AppHeader{{Name: "Authorization", Value: "Bearer {{internal.jwt}}"}}}}, nil)
	id := apptest.User("alice", types.AppRoute{})
	id.Authority.Traits = map[string][]string{"jwt": {"forged"}, "team": {"shop"}}
	for range 3 {
		get(t, w.Client(id), "/", "Teleport-Jwt-Assertion", "forged", "Authorization", "Bearer forged")
	}
	token := got.Get(appaccess.HeaderAssertion)
	c, err := jwtcert.Verify(token, w.CAs.Trust, apptest.Cluster, app.URL, time.Now())
	if err != nil || c.Subject != "alice" || !slices.Equal(c.Traits["team"], []string{"shop"}) || got.Get("Authorization") != "Bearer "+token {
		t.Errorf("%+v %v %v", c, err, got)
	}
	if n := w.Tokens.Load(); n != 1 {
		t.Errorf("%d tokens were made", n)
	}
	off := false
	w.Spec(types.AppSpec{URI: app.URL, Rewrite: &types.AppRewrite{JWT: &off}})
	get(t, w.Client(apptest.User("bob", types.AppRoute{})), "/", "Teleport-Jwt-Assertion", "forged")
	if values := got[appaccess.HeaderAssertion]; values != nil {
		t.Errorf("%q", values)
	}
}

// TestNoToken: an app that is to know who comes hears of nobody whom auth does not vouch for.
func TestNoToken(t *testing.T) {
	reached := false
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, func(c *appaccess.Config) {
		c.Token = func(context.Context, appaccess.Use) (types.Secret, time.Time, error) {
			return types.Secret{}, time.Time{}, fault.New(fault.Denied, "no")
		}
	})
	if resp, _ := get(t, w.Client(apptest.User("alice", types.AppRoute{})), "/"); resp.StatusCode < 400 || reached {
		t.Errorf("%s, reached: %v", resp.Status, reached)
	}
}

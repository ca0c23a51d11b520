package appaccess_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"teleport/appaccess"
	"teleport/appaccess/apptest"
	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

// TestHosts: where an app may be counts for the address that is dialled, however it was
// named.
func TestHosts(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	loop, ten, six := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0")
	for name, c := range map[string]struct {
		hosts appaccess.Hosts
		to    string
		let   bool
	}{
		"no limits":                     {appaccess.Hosts{}, "127.0.0.1", true},
		"allowed":                       {appaccess.Hosts{Allowed: []netip.Prefix{ten, loop}}, "127.0.0.1", true},
		"another is allowed":            {appaccess.Hosts{Allowed: []netip.Prefix{ten}}, "127.0.0.1", false},
		"denied":                        {appaccess.Hosts{Denied: []netip.Prefix{ten, loop}}, "127.0.0.1", false},
		"another is denied":             {appaccess.Hosts{Denied: []netip.Prefix{ten}}, "127.0.0.1", true},
		"denied, by a name":             {appaccess.Hosts{Denied: []netip.Prefix{loop, six}}, "localhost", false},
		"denied, in the form of IPv6":   {appaccess.Hosts{Denied: []netip.Prefix{loop}}, "::ffff:127.0.0.1", false},
		"allowed, in the form of IPv6":  {appaccess.Hosts{Allowed: []netip.Prefix{loop}}, "::ffff:127.0.0.1", true},
		"none of IPv4, by that of IPv6": {appaccess.Hosts{Allowed: []netip.Prefix{six}}, "127.0.0.1", false},
	} {
		conn, err := c.hosts.Dialer().DialContext(t.Context(), "tcp", net.JoinHostPort(c.to, port))
		if err == nil {
			conn.Close()
		}
		if (err == nil) != c.let || !c.let && !errors.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAnAppElsewhere: an app that is where none may be is not reached, and who asks for
// it and the log hear why; its health too.
func TestAnAppElsewhere(t *testing.T) {
	called := false
	app := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer app.Close()
	spec := types.AppSpec{URI: app.URL}
	w := apptest.New(t, spec, func(c *appaccess.Config) {
		c.Dialer = appaccess.Hosts{Denied: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}.Dialer()
	})
	resp, text := get(t, w.Client(apptest.User("alice", types.AppRoute{})), "/")
	const said = "this agent may not reach the address of the app"
	if resp.StatusCode != http.StatusForbidden || resp.Header.Get(appaccess.HeaderError) != "denied" || !strings.Contains(text, said) || called {
		t.Errorf("%s %v %s", resp.Status, resp.Header, text)
	}
	if e, ok := w.Log.Events(event.TypeAppRequest)[0].(*event.AppRequest); !ok || e.Success || !strings.Contains(e.Error, said) {
		t.Errorf("the log has %+v", e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := w.Service.Check(ctx, &types.App{Spec: spec}); err == nil || !strings.Contains(err.Error(), said) {
		t.Errorf("its health: %v", err)
	}
}

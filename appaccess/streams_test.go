package appaccess_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"teleport/appaccess/apptest"
	"teleport/netx/mux"
	"teleport/tunnel/tunframe"
	"teleport/types"
	"teleport/types/event"
)

// streams opens one connection of an identity, and a client whose connections are
// streams in it.
func streams(t *testing.T, w *apptest.World, id *types.Identity) (*mux.Opener, *http.Client) {
	t.Helper()
	conn, err := w.Dial(t.Context(), id, tunframe.ALPNStreams)
	if err != nil {
		t.Fatal(err)
	}
	o := mux.NewOpener(conn, nil)
	tr := &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return o.Open() }, DisableCompression: true}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		o.Close()
	})
	return o, &http.Client{Transport: tr}
}

// TestStreamsOfOneConnection: each is decided about by itself, and all of them are one
// session.
func TestStreamsOfOneConnection(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	defer app.Close()
	w := apptest.New(t, types.AppSpec{URI: app.URL}, nil)
	o, _ := streams(t, w, apptest.User("alice", types.AppRoute{}))
	for _, path := range []string{"/1", "/2", "/3"} {
		st, err := o.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		_, _ = io.WriteString(st, "GET "+path+" HTTP/1.0\r\nHost: wiki\r\n\r\n")
		if said, err := io.ReadAll(st); err != nil || !strings.HasSuffix(string(said), path) {
			t.Errorf("%q %v", said, err)
		}
	}
	starts, asked := w.Log.Events(event.TypeAppStart), w.Log.Events(event.TypeAppRequest)
	if len(starts) != 1 || len(asked) != 3 {
		t.Errorf("%d sessions with %d requests", len(starts), len(asked))
	}
}

// TestAStreamOfWhoMayNot: the identity of the connection is not enough.
func TestAStreamOfWhoMayNot(t *testing.T) {
	w := apptest.New(t, types.AppSpec{URI: "http://127.0.0.1:1"}, nil)
	stranger := apptest.User("mallory", types.AppRoute{})
	stranger.Authority.Roles = nil
	_, c := streams(t, w, stranger)
	resp, err := c.Get("https://wiki/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Error(resp.Status)
	}
	if list := w.Log.Events(event.TypeAppStart); len(list) != 1 || list[0].EventMeta().Code != event.CodeAppStartFail {
		t.Errorf("told %v", list)
	}
}

// TestWhoDoesNotReachTheAppLetsGo: an agent before an app that is down sends a person's
// further connections elsewhere. A proxy finds the way for itself.
func TestWhoDoesNotReachTheAppLetsGo(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: wiki\r\nConnection: close\r\n\r\n"
	for name, c := range map[string]struct {
		scheme string
		who    *types.Identity
		goes   bool
	}{
		"a person, web": {"http", apptest.User("alice", types.AppRoute{}), true},
		"a person, tcp": {"tcp", apptest.User("alice", types.AppRoute{}), true},
		"a proxy":       {"http", apptest.Bridge("alice", types.AppRoute{}), false},
	} {
		t.Run(name, func(t *testing.T) {
			down, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			down.Close()
			w := apptest.New(t, types.AppSpec{URI: c.scheme + "://" + down.Addr().String()}, nil)
			o, _ := streams(t, w, c.who)
			st, err := o.Open()
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			if _, err := io.WriteString(st, get); err != nil && c.scheme == "http" { // a tcp stream may have been reset
				t.Fatal(err)
			}
			said, _ := io.ReadAll(st) // as above
			if web := c.scheme == "http"; web != strings.Contains(string(said), "app_down") {
				t.Errorf("%q", said)
			}
			// It has been told before the end of what was said.
			next, err := o.Open()
			if c.goes && err == nil {
				t.Error("another connection comes to this agent")
			}
			if err == nil {
				next.Close()
			} else if !c.goes {
				t.Error(err)
			}
		})
	}
}

package tshcmd

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"teleport/client/profile"
	"teleport/types"
)

// An app is shown at the address that a browser can open: the proxies' own, whatever
// address a log-in used.
func TestAddressOfAnApp(t *testing.T) {
	web := &types.App{Header: types.Header{Metadata: types.Metadata{Name: "wiki"}}, Spec: types.AppSpec{URI: "http://localhost:1"}}
	own := &types.App{Header: web.Header, Spec: types.AppSpec{URI: "http://localhost:1", PublicAddr: "Docs.Example.net"}}
	line := &types.App{Header: web.Header, Spec: types.AppSpec{URI: "tcp://localhost:1"}}
	for _, c := range []struct {
		login, public string
		app           *types.App
		host, url     string
	}{
		{"10.0.0.7:3080", "proxy.example.com:3080", web, "wiki.proxy.example.com", "https://wiki.proxy.example.com:3080"},
		{"10.0.0.7:3080", "proxy.example.com:443", web, "wiki.proxy.example.com", "https://wiki.proxy.example.com"},
		{"internal.lan:443", "Proxy.example.com:8443", web, "wiki.proxy.example.com", "https://wiki.proxy.example.com:8443"},
		{"proxy.example.com:3080", "", web, "wiki.proxy.example.com", "https://wiki.proxy.example.com:3080"},
		{"10.0.0.7:3080", "proxy.example.com:3080", own, "docs.example.net", "https://docs.example.net:3080"},
		{"10.0.0.7:3080", "proxy.example.com:443", line, "wiki.proxy.example.com", ""},
	} {
		p := &profile.Profile{WebProxyAddr: c.login, PublicAddr: c.public}
		if host, url := publicHost(p, c.app), appURL(p, c.app); host != c.host || url != c.url {
			t.Errorf("%s, %s, %s: %s %s", c.login, c.public, c.app.Spec.PublicAddr, host, url)
		}
	}
}

// With an identity file, or a log-in of old, the proxy is asked how browsers know it.
func TestAddressOfTheProxiesIsLearned(t *testing.T) {
	for said, learned := range map[string]string{
		"proxy.example.com:3080": "proxy.example.com:3080", "192.0.2.1:443": "192.0.2.1:443", "": "", "proxy.example.com": "",
		"proxy.example.com:0": "", "proxy.example.com/x:1": "", "a b:443": "",
	} {
		srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"cluster_name":"example","server_version":"1.0.0","proxy":{"ssh":{"public_addr":%q}}}`, said)
		}))
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		for _, c := range []struct{ cluster, known, want string }{
			{"example", "", learned}, {"another", "", ""}, {"example", "known.example.com:443", "known.example.com:443"},
		} {
			s := &session{profile: &profile.Profile{WebProxyAddr: srv.Listener.Addr().String(), Cluster: c.cluster, PublicAddr: c.known}}
			a := new(app)
			if a.learnAddr(t.Context(), s); s.profile.PublicAddr != c.known {
				t.Errorf("%q is believed of whom nobody can verify", s.profile.PublicAddr)
			}
			a.global.insecure = true
			a.learnAddr(t.Context(), s)
			if s.profile.PublicAddr != c.want {
				t.Errorf("%q in %s: learned %q", said, c.cluster, s.profile.PublicAddr)
			}
		}
		srv.Close()
	}
	s := &session{profile: &profile.Profile{WebProxyAddr: "127.0.0.1:1", Cluster: "example"}}
	new(app).learnAddr(t.Context(), s) // nobody is there, and nothing is known
	if s.profile.BrowserAddr() != "127.0.0.1:1" {
		t.Errorf("%q", s.profile.BrowserAddr())
	}
}

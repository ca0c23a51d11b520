package types

import (
	"strings"
	"testing"

	"teleport/fault"
)

// What is wrong with an app is said in one clear line, with the field that it is in.
func TestBadApps(t *testing.T) {
	many := make([]string, MaxRequiredApps+1)
	for i := range many {
		many[i] = "a"
	}
	for name, c := range map[string]struct {
		edit func(*App)
		want string
	}{
		"no name":             {func(a *App) { a.Metadata.Name = "" }, "metadata.name"},
		"a name of two":       {func(a *App) { a.Metadata.Name = "a.b" }, "metadata.name"},
		"a name that ends":    {func(a *App) { a.Metadata.Name = "a-" }, `must not begin or end with "-"`},
		"no uri":              {func(a *App) { a.Spec.URI = "" }, "spec.uri: it is missing"},
		"no scheme":           {func(a *App) { a.Spec.URI = "localhost" }, "spec.uri"},
		"another scheme":      {func(a *App) { a.Spec.URI = "ssh://a" }, `the scheme "ssh" is not http, https, tcp or cloud`},
		"a password":          {func(a *App) { a.Spec.URI = "http://u:p@a" }, "it must hold no user, no query and no fragment"},
		"a query":             {func(a *App) { a.Spec.URI = "http://a/?q=1" }, "it must hold no user, no query and no fragment"},
		"a bad port":          {func(a *App) { a.Spec.URI = "http://a:0" }, `"0" is no usable port`},
		"tcp without a port":  {func(a *App) { a.Spec.URI = "tcp://a" }, "a tcp app names its port, or tcp_ports"},
		"tcp with two":        {func(a *App) { a.Spec.URI, a.Spec.TCPPorts = "tcp://a:1", []AppPort{{Port: 2}} }, "it names a port, and so does tcp_ports"},
		"a range of none":     {func(a *App) { a.Spec.URI, a.Spec.TCPPorts = "tcp://a", []AppPort{{Port: 9, EndPort: 8}} }, "spec.tcp_ports[0]: 9 to 8 is no range of ports"},
		"ports of the web":    {func(a *App) { a.Spec.URI, a.Spec.TCPPorts = "http://a", []AppPort{{Port: 2}} }, "spec.tcp_ports: is only for a tcp app"},
		"another cloud":       {func(a *App) { a.Spec.URI = "cloud://Mars" }, "is not cloud://AWS"},
		"an address":          {func(a *App) { a.Spec.PublicAddr = "192.0.2.1" }, `spec.public_addr: "192.0.2.1" is not the name of a host`},
		"a port in a name":    {func(a *App) { a.Spec.PublicAddr = "a.example.com:443" }, "spec.public_addr"},
		"needs too many":      {func(a *App) { a.Spec.RequiredApps = many }, "spec.required_apps: 17 apps are more than the 16 that one visit opens"},
		"needs no app":        {func(a *App) { a.Spec.RequiredApps = []string{"a", "b.c"} }, "spec.required_apps[1]"},
		"a redirect's port":   {func(a *App) { a.Spec.Rewrite = &AppRewrite{Redirect: []string{"a:80"}} }, "spec.rewrite.redirect[0]"},
		"the proxy's header":  {func(a *App) { a.Spec.Rewrite = &AppRewrite{Headers: []AppHeader{{"x_forwarded_for", "me"}}} }, "the header x_forwarded_for is not to be rewritten"},
		"no header":           {func(a *App) { a.Spec.Rewrite = &AppRewrite{Headers: []AppHeader{{"X Y", "me"}}} }, `"X Y" is not the name of a header`},
		"a header of two":     {func(a *App) { a.Spec.Rewrite = &AppRewrite{Headers: []AppHeader{{"X-Y", "a\r\nb: c"}}} }, "holds a control character"},
		"every origin":        {func(a *App) { a.Spec.CORS = &AppCORS{AllowedOrigins: []string{"*"}, AllowCredentials: true} }, "would open the app to every page"},
		"an origin's path":    {func(a *App) { a.Spec.CORS = &AppCORS{AllowedOrigins: []string{"https://a/b"}} }, "is not an origin"},
		"no method":           {func(a *App) { a.Spec.CORS = &AppCORS{AllowedMethods: []string{"GET POST"}} }, "is not the name of a method or header"},
		"aws of none":         {func(a *App) { a.Spec.AWS = &AppAWS{ExternalID: "1"} }, "spec.aws: is only for an app whose cloud is AWS"},
		"a rewrite of tcp":    {func(a *App) { a.Spec.URI, a.Spec.Rewrite = "tcp://a:1", &AppRewrite{} }, "a tcp app has no rewrite"},
		"endpoints of no one": {func(a *App) { a.Spec.CloudEndpoints = map[string]string{"s3": "https://a"} }, "is only for an app that is a cloud"},
	} {
		a := &App{Header: Header{Kind: KindApp, Version: "v3", Metadata: Metadata{Name: "wiki"}}, Spec: AppSpec{URI: "http://localhost:8080"}}
		if err := a.Validate(); err != nil {
			t.Fatal(err)
		}
		c.edit(a)
		err := a.Validate()
		if said := fault.Message(err); err == nil || fault.KindOf(err) != fault.Invalid || !strings.Contains(said, c.want) || strings.ContainsAny(said, "\r\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Ports are read as they are written.
func TestPortsOfApps(t *testing.T) {
	for text, ok := range map[string]bool{"1": true, "65535": true, "8000-8010": true, "0": false, "65536": false, "8010-8000": false,
		"8000-8000": false, "8000-0": false, "-1": false, "": false, "a": false, "1-2-3": false} {
		p, err := ParseAppPort(text)
		if (err == nil) != ok || ok && p.String() != text {
			t.Errorf("%q: %v %v", text, p, err)
		}
	}
	s := AppSpec{URI: "tcp://a", TCPPorts: []AppPort{{Port: 22}, {Port: 8000, EndPort: 8010}}}
	for port, has := range map[int]bool{22: true, 23: false, 7999: false, 8000: true, 8005: true, 8010: true, 8011: false} {
		if s.HasPort(port) != has {
			t.Errorf("port %d: %t", port, !has)
		}
	}
}

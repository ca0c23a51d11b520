package config

import (
	"fmt"
	"strings"
	"testing"

	"teleport/fault"
	"teleport/types"
)

const appAgent = "version: v3\nteleport: {nodename: n, proxy_server: p:443}\nauth_service: {enabled: no}\nproxy_service: {enabled: no}\nssh_service: {enabled: no}\n"

// What is wrong with an app of the file is said in one line, with the app's name.
func TestBadAppsOfTheFile(t *testing.T) {
	for text, want := range map[string]string{
		"[{name: wiki}]": `app_service.apps "wiki": spec.uri: `,
		"[{name: wiki, uri: 'http://a'}, {name: wiki, uri: 'http://b'}]":                       `app_service.apps names "wiki" twice`,
		"[{name: Wiki, uri: 'http://a'}]":                                                      `metadata.name: "Wiki" must hold only a-z, 0-9 and "-"`,
		"[{name: w, uri: 'ftp://a'}]":                                                          `the scheme "ftp" is not http, https, tcp or cloud`,
		"[{name: w, uri: 'http://a', rewrite: {headers: ['no colon']}}]":                       `app_service.apps "w": `,
		"[{name: w, uri: 'http://a', rewrite: {headers: ['X-Forwarded-For: me']}}]":            `the header X-Forwarded-For is not to be rewritten`,
		"[{name: w, uri: 'http://a', commands: [{name: l, command: [date], period: 1s}]}]":     `app_service.apps "w": `,
		"[{name: w, uri: 'http://a', commands: [{name: l, period: 1m}]}]":                      `app_service.apps "w": `,
		"[{name: w, uri: 'tcp://a:1', rewrite: {jwt: no}}]":                                    `a tcp app has no rewrite`,
		"[{name: w, uri: 'http://a', tcp_ports: [{port: 1}]}]":                                 `spec.tcp_ports: is only for a tcp app`,
		"[{name: w, uri: 'http://a', cloud: Mars}]":                                            `Mars`,
		"[{name: w, cloud: AWS, cloud_endpoints: {s3: 'http://s3.example.com'}}]":              `is not https, nor of this machine`,
		"[{name: w, uri: 'http://a', public_addr: 192.0.2.1}]":                                 `spec.public_addr: "192.0.2.1" is not the name of a host`,
		"[{name: w, uri: 'http://a', required_apps: [a, B]}]":                                  `spec.required_apps[1]: "B" must hold only`,
		"[{name: w, uri: 'http://a', required_apps: [a" + strings.Repeat(", a", 16) + "]}]":    `17 apps are more than the 16 that one visit opens`,
		"[{name: dumper, uri: 'http://a'}], debug_app: yes":                                    `app_service.apps names "dumper", which is the name of the one that debug_app adds`,
		"[], denied_hosts: [10.0.0.0/8]":                                                       `app_service is enabled and fronts nothing`,
		"[{name: w, uri: 'http://a'}], allowed_hosts: [10.0.0.1], denied_hosts: [10.0.0.2]":    `app_service has allowed_hosts and denied_hosts`,
		"[{name: w, uri: 'http://a'}], allowed_hosts: [a.example.com]":                         `app_service.allowed_hosts: "a.example.com" is no address and no network`,
		"[{name: w, uri: 'http://a'}], denied_hosts: [10.0.0.0/40]":                            `app_service.denied_hosts: "10.0.0.0/40" is no address and no network`,
		"[{name: w, uri: 'http://a'}], denied_hosts: ['::ffff:10.0.0.0/104']":                  `is no address and no network`,
		"[{name: w, uri: 'http://a'}], denied_hosts: ['fe80::1%eth0']":                         `is no address and no network`,
		"[{name: w, uri: 'http://a', cors: {allowed_origins: ['*'], allow_credentials: yes}}]": `spec.cors: any origin and allow_credentials together`,
	} {
		f, err := Parse("f.yaml", []byte(appAgent+"app_service: {enabled: yes, apps: "+text+"}\n"))
		if err == nil {
			_, err = Build(f, Flags{})
		}
		if said := fault.Message(err); err == nil || fault.KindOf(err) != fault.Invalid || !strings.Contains(said, want) || strings.ContainsAny(said, "\n") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// The flags of a start add one app to those of the file, and never change one.
func TestAppOfFlags(t *testing.T) {
	file := appAgent + "app_service: {enabled: yes, apps: [{name: wiki, uri: 'http://file'}]}\n"
	for name, c := range map[string]struct {
		file  string
		flags Flags
		want  string // name=uri of all, or what is wrong
	}{
		"alone":             {"", Flags{ProxyServer: "p:443", AppName: "shop", AppURI: "http://flag", AppPublicAddr: "shop.example.com"}, "shop=http://flag"},
		"beside the file's": {file, Flags{AppName: "shop", AppURI: "http://flag"}, "wiki=http://file shop=http://flag"},
		"the file's own":    {file, Flags{AppName: "wiki", AppURI: "http://flag"}, "wiki=http://file"},
		"no name":           {file, Flags{AppURI: "http://flag"}, "--app-uri and --app-public-addr are of an app that --app-name names"},
		"no name, address":  {"", Flags{ProxyServer: "p:443", AppPublicAddr: "a.example.com"}, "of an app that --app-name names"},
		"no uri":            {"", Flags{ProxyServer: "p:443", AppName: "shop"}, `app_service.apps "shop": spec.uri: `},
		"the role alone":    {"", Flags{ProxyServer: "p:443", Roles: "app"}, "fronts nothing"},
	} {
		var f *File
		var err error
		if c.file != "" {
			if f, err = Parse("f.yaml", []byte(c.file)); err != nil {
				t.Fatal(err)
			}
		}
		c.flags.Nodename = "n"
		got, err := Build(f, c.flags)
		if err != nil {
			if !strings.Contains(fault.Message(err), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var apps []string
		for _, a := range got.App.Apps {
			apps = append(apps, a.Metadata.Name+"="+a.Spec.URI)
		}
		if strings.Join(apps, " ") != c.want || c.flags.AppPublicAddr != "" && got.App.Apps[0].Spec.PublicAddr != c.flags.AppPublicAddr {
			t.Errorf("%s: %v", name, apps)
		}
	}
}

// Where apps may be, and the one that shows headers.
func TestHostsAndTheDebugAppOfTheFile(t *testing.T) {
	f, err := Parse("f.yaml", []byte(appAgent+"app_service: {enabled: yes, debug_app: yes, allowed_hosts: [10.0.0.0/8, 192.0.2.1, '2001:db8::/32', '::1', '::ffff:192.0.2.2']}\n"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Build(f, Flags{})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.App.AllowedHosts); got != "[10.0.0.0/8 192.0.2.1/32 2001:db8::/32 ::1/128 192.0.2.2/32]" || len(c.App.DeniedHosts) != 0 {
		t.Errorf("%s, and not %v", got, c.App.DeniedHosts)
	}
	if !c.App.Debug || len(c.App.Apps) != 1 || c.App.Apps[0].Metadata.Name != "dumper" {
		t.Errorf("%+v", c.App)
	}
	if at, err := c.App.Apps[0].Spec.Address(0); err != nil || at != types.DebugAppAddr {
		t.Errorf("it is at %s %v", at, err)
	}
}

package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teleport/fault"
)

const agentFile = `version: v3
teleport:
  nodename: web-1
  data_dir: /var/lib/agent
  proxy_server: proxy.example.com
  join_params: {method: token, token_name: 0123456789abcdef}
  ca_pin: sha256:` + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" + `
auth_service: {enabled: no}
proxy_service: {enabled: no}
ssh_service:
  enabled: yes
  labels: {env: prod}
  commands:
  - {name: arch, command: [uname, -m], period: 1h}
`

func TestAnAgentsFile(t *testing.T) {
	f, err := Parse("teleport.yaml", []byte(agentFile))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Build(f, Flags{})
	if err != nil {
		t.Fatal(err)
	}
	if c.Auth != nil || c.Proxy != nil || c.SSH == nil {
		t.Errorf("services of %v", c)
	}
	if c.ProxyServer != "proxy.example.com:3080" || c.Token.Reveal() != "0123456789abcdef" || len(c.CAPins) != 1 {
		t.Errorf("joins by %q with %d pins", c.ProxyServer, len(c.CAPins))
	}
	if got := c.SSH.Commands[0].Period.Std(); got != time.Hour {
		t.Errorf("period %v", got)
	}
}

func TestNoFileIsAOneMachineCluster(t *testing.T) {
	c, err := Build(nil, Flags{Nodename: "box"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Auth == nil || c.Proxy == nil || c.SSH == nil {
		t.Errorf("got %v", c)
	}
}

func TestWrongFilesSayWhereAndWhatToDo(t *testing.T) {
	tests := []struct{ name, text, message, hint string }{
		{"typo", "version: v3\nteleport:\n  nodenam: a\n", `f.yaml:3:3: unknown key "nodenam" under teleport`, `Did you mean "nodename"?`},
		{"misplaced", "version: v3\nteleport:\n  labels: {a: b}\n", `f.yaml:3:3: unknown key "labels" under teleport`, `"labels" belongs under ssh_service or db_service.resources or app_service.apps or app_service.resources.`},
		{"top", "version: v3\nauth_servce: {enabled: no}\n", `f.yaml:2:1: unknown key "auth_servce" at the top of the file`, `Did you mean "auth_service"?`},
		{"list", "version: v3\nssh_service:\n  commands:\n  - {nme: x}\n", `f.yaml:4:6: unknown key "nme" under ssh_service.commands`, `Did you mean "name"?`},
		{"version", "teleport: {nodename: a}\n", `f.yaml: version is ""`, "version: v3"},
		{"syntax", "version: v3\nteleport:\n  a: b: c\n", "f.yaml:3:6: ", ""},
		{"empty", "", "f.yaml is empty", ""},
		{"bool", "version: v3\nssh_service: {enabled: perhaps}\n", `"perhaps" is neither yes nor no`, ""},
		{"duration", "version: v3\nteleport: {shutdown_delay: 5}\n", `"5" is not a duration`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(tt.text))
			if !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.message) || !strings.Contains(fault.Hint(err), tt.hint) {
				t.Errorf("got %v (hint %q), want %q (hint %q)", err, fault.Hint(err), tt.message, tt.hint)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

func TestWrongCombinations(t *testing.T) {
	tests := []struct{ name, text, message string }{
		{"two ways to join", "teleport: {nodename: n, auth_server: a, proxy_server: b}\nauth_service: {enabled: no}\nproxy_service: {enabled: no}", "both set"},
		{"no way to join", "teleport: {nodename: n}\nauth_service: {enabled: no}", "does not say how to reach one"},
		{"auth joins", "teleport: {nodename: n, auth_server: a}", "joins only one cluster"},
		{"short token", "teleport: {nodename: n}\nauth_service: {tokens: ['node:abc']}", "shorter than 16"},
		{"unknown token role", "teleport: {nodename: n}\nauth_service: {tokens: ['king:abcdefghijklmnop']}", "unknown role"},
		{"bad pin", "teleport: {nodename: n, ca_pin: 'sha256:zz'}", "ca_pin"},
		{"bad name", "teleport: {nodename: '-n'}", "must start with"},
		{"later family", "teleport: {nodename: n}\nkubernetes_service: {enabled: yes}", "does not have that service"},
		{"nothing to front", "teleport: {nodename: n}\ndb_service: {enabled: yes}", "fronts nothing"},
		{"everything or nothing", "teleport: {nodename: n}\ndb_service: {enabled: yes, resources: [{}]}", "needs labels"},
		{"a database twice", "teleport: {nodename: n}\ndb_service: {enabled: yes, databases: [{name: a, protocol: postgres, uri: 'h:1'}, {name: a, protocol: mysql, uri: 'h:2'}]}", "twice"},
		{"a database without address", "teleport: {nodename: n}\ndb_service: {enabled: yes, databases: [{name: a, protocol: postgres}]}", "db_service.databases"},
		{"a protocol that nobody speaks", "teleport: {nodename: n}\ndb_service: {enabled: yes, databases: [{name: a, protocol: postgre, uri: 'h:1'}]}", "protocol"},
		{"nothing", "teleport: {nodename: n}\nauth_service: {enabled: no}\nproxy_service: {enabled: no}\nssh_service: {enabled: no}", "no service"},
		{"bad address", "teleport: {nodename: n, diag_addr: 'x'}", "host:port"},
		{"fast command", "teleport: {nodename: n}\nssh_service: {commands: [{name: a, command: [ls], period: 1s}]}", "at least 1m"},
		{"two tokens", "teleport: {nodename: n, auth_token: a, join_params: {token_name: b}}", "keep one"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := Parse("f.yaml", []byte("version: v3\n"+tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Build(f, Flags{}); !errors.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), tt.message) {
				t.Errorf("got %v, want %q", err, tt.message)
			}
		})
	}
}

func TestATokenMayBeAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Build(nil, Flags{Nodename: "n", Roles: "node", ProxyServer: "p:1", Token: path})
	if err != nil || c.Token.Reveal() != "0123456789abcdef" {
		t.Errorf("token file: %v", err)
	}
	if _, err := Build(nil, Flags{Nodename: "n", Token: path + "x"}); !errors.Is(err, fault.Invalid) {
		t.Errorf("missing token file: %v", err)
	}
}

func TestAFileWinsOverFlagsAndSettingsKeepTheirOrigin(t *testing.T) {
	f, err := Parse("f", []byte("version: v3\nteleport: {nodename: file}\nauth_service: {session_recording: off, client_idle_timeout: 5m}\n"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Build(f, Flags{Nodename: "flag"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Nodename != "file" {
		t.Errorf("nodename %q", c.Nodename)
	}
	if len(c.Auth.FileOrigin) != 2 || c.Auth.Networking.Spec.ClientIdleTimeout.Std() != 5*time.Minute {
		t.Errorf("file fixes %v", c.Auth.FileOrigin)
	}
}

func TestWhatConfigureWritesIsAccepted(t *testing.T) {
	samples := []Sample{
		{Roles: []string{"auth", "proxy", "node"}, Nodename: "a", ClusterName: "c.example.com", PublicAddr: "c.example.com:443"},
		{Roles: []string{"node"}, Nodename: "n", Token: "yes: no", ProxyServer: "p:443", Labels: map[string]string{"a": "#b"}},
		{Roles: []string{"proxy"}, Nodename: "p", AuthServer: "auth:3025", CertFile: "/c", KeyFile: "/k"},
		{Roles: []string{"app"}, Nodename: "a", ProxyServer: "p:443"},
		{Roles: []string{"app", "db"}, Nodename: "a", ProxyServer: "p:443"},
		{Roles: []string{"app"}, Nodename: "a", ProxyServer: "p:443", App: SampleApp{Name: "wiki", URI: "http://localhost:80", PublicAddr: "wiki.example.com", Labels: map[string]string{"env": "no: yes"}}},
	}
	for _, s := range samples {
		text, err := s.YAML()
		if err != nil {
			t.Fatal(err)
		}
		f, err := Parse("sample", text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		c, err := Build(f, Flags{})
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if c.Token.Reveal() != s.Token || c.Nodename != s.Nodename {
			t.Errorf("%s came back as %v", text, c)
		}
		if c.App != nil && (len(c.App.Apps) == 1) == (len(c.App.Matchers) == 1) { // one, or all
			t.Errorf("%s fronts %v, %v", text, c.App.Apps, c.App.Matchers)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(agentFile))
	f.Add([]byte("version: v3\nssh_service: [1, {a: &x *x}]\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Parse("fuzz", b)
		if err == nil {
			_, _ = Build(file, Flags{Nodename: "n"})
		}
	})
}

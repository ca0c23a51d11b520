package config

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Sample is what teleport configure knows before it writes a file.
type Sample struct {
	Roles       []string // auth, proxy, node, db, app
	Nodename    string
	DataDir     string
	ClusterName string
	PublicAddr  string
	CertFile    string
	KeyFile     string
	Token       string
	AuthServer  string
	ProxyServer string
	CAPins      []string
	JoinMethod  string
	Labels      map[string]string
	DB          SampleDB
	App         SampleApp
}

// YAML writes a file of version v3 that Parse accepts. Each section says
// whether its service runs, so that nothing depends on a default.
func (s Sample) YAML() ([]byte, error) {
	has := func(r string) bool { return slices.Contains(s.Roles, r) }
	t := yaml.MapSlice{{Key: "nodename", Value: s.Nodename}, {Key: "data_dir", Value: first(s.DataDir, DefaultDataDir)}}
	if s.Token != "" {
		t = append(t, yaml.MapItem{Key: "join_params", Value: yaml.MapSlice{
			{Key: "token_name", Value: s.Token}, {Key: "method", Value: first(s.JoinMethod, "token")}}})
	}
	for _, kv := range []struct{ k, v string }{{"proxy_server", s.ProxyServer}, {"auth_server", s.AuthServer}} {
		if kv.v != "" {
			t = append(t, yaml.MapItem{Key: kv.k, Value: kv.v})
		}
	}
	if len(s.CAPins) > 0 {
		t = append(t, yaml.MapItem{Key: "ca_pin", Value: s.CAPins})
	}
	t = append(t, yaml.MapItem{Key: "log", Value: yaml.MapSlice{{Key: "output", Value: "stderr"}, {Key: "severity", Value: "INFO"}}})

	auth := yaml.MapSlice{enabled(has("auth"))}
	if has("auth") {
		auth = append(auth, yaml.MapItem{Key: "listen_addr", Value: "0.0.0.0:" + PortAuth})
		if s.ClusterName != "" {
			auth = append(auth, yaml.MapItem{Key: "cluster_name", Value: s.ClusterName})
		}
	}
	proxy := yaml.MapSlice{enabled(has("proxy"))}
	if has("proxy") {
		proxy = append(proxy, yaml.MapItem{Key: "web_listen_addr", Value: "0.0.0.0:" + webPort(s.PublicAddr)})
		if s.PublicAddr != "" {
			proxy = append(proxy, yaml.MapItem{Key: "public_addr", Value: s.PublicAddr})
		}
		if s.CertFile != "" {
			proxy = append(proxy, yaml.MapItem{Key: "https_keypairs", Value: []yaml.MapSlice{
				{{Key: "key_file", Value: s.KeyFile}, {Key: "cert_file", Value: s.CertFile}}}})
		}
	}
	ssh := yaml.MapSlice{enabled(has("node"))}
	if has("node") && len(s.Labels) > 0 {
		ssh = append(ssh, yaml.MapItem{Key: "labels", Value: s.Labels})
	}
	doc := yaml.MapSlice{{Key: "version", Value: "v3"}, {Key: "teleport", Value: t},
		{Key: "auth_service", Value: auth}, {Key: "proxy_service", Value: proxy}, {Key: "ssh_service", Value: ssh}}
	if has("db") {
		doc = append(doc, yaml.MapItem{Key: "db_service", Value: s.DB.section()})
	}
	if has("app") {
		doc = append(doc, yaml.MapItem{Key: "app_service", Value: s.App.section()})
	}
	b, err := yaml.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return append([]byte("# Written by teleport configure. The keys are explained in docs/config.md.\n"), b...), nil
}

func enabled(b bool) yaml.MapItem {
	return yaml.MapItem{Key: "enabled", Value: map[bool]string{true: "yes", false: "no"}[b]}
}

func webPort(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i > 0 && !strings.HasSuffix(addr, "]") {
		return addr[i+1:]
	}
	return PortWeb
}

package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// Doc is a teleport.yaml under construction.
type Doc map[string]any

// Set writes a value at a dotted path, making the sections on the way:
// Set("auth_service.client_idle_timeout", "1m").
func (d Doc) Set(path string, value any) Doc {
	keys := strings.Split(path, ".")
	at := map[string]any(d)
	for _, k := range keys[:len(keys)-1] {
		next, ok := at[k].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[k] = next
		}
		at = next
	}
	at[keys[len(keys)-1]] = value
	return d
}

// Get reads the value at a dotted path; nil where nothing stands.
func (d Doc) Get(path string) any {
	var at any = map[string]any(d)
	for k := range strings.SplitSeq(path, ".") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[k]
	}
	return at
}

func (d Doc) write(path string) error {
	b, err := yaml.Marshal(map[string]any(d))
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// base is what each process has: its own data directory, no port but a Unix
// socket to ask for readiness, and a log that tells everything.
func (c *Cluster) base(nodename string) Doc {
	d := Doc{"version": "v3"}
	d.Set("teleport.nodename", nodename).Set("teleport.log.severity", "DEBUG")
	for _, s := range []string{"auth_service", "proxy_service", "ssh_service"} {
		d.Set(s+".enabled", false)
	}
	return d
}

func (c *Cluster) authConfig(t testing.TB) Doc {
	d := c.base("auth")
	d.Set("auth_service.enabled", true).Set("auth_service.listen_addr", port(t)).Set("auth_service.cluster_name", c.Name)
	if c.opts.Proxies == 0 {
		d.Set("proxy_service.enabled", true).Set("proxy_service.web_listen_addr", port(t))
	}
	if c.opts.OneProcess {
		d.Set("ssh_service.enabled", true)
	}
	return d
}

func (c *Cluster) proxyConfig(t testing.TB, name string) Doc {
	t.Helper()
	d := c.base(name)
	d.Set("teleport.auth_server", c.Auth.AuthAddr)
	d.Set("proxy_service.enabled", true).Set("proxy_service.web_listen_addr", port(t))
	return c.joining(t, d, "proxy")
}

func (c *Cluster) agentConfig(t testing.TB, name string, tweaks []func(Doc)) Doc {
	t.Helper()
	d := c.base(name)
	d.Set("teleport.proxy_server", c.ProxyAddr())
	d.Set("ssh_service.enabled", true)
	d = c.joining(t, d, "node")
	for _, tweak := range tweaks {
		tweak(d)
	}
	return d
}

func (c *Cluster) joining(t testing.TB, d Doc, role string) Doc {
	t.Helper()
	token := c.Token(t, role)
	path := filepath.Join(c.Dir, "token-"+unique())
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return d.Set("teleport.join_params.method", "token").Set("teleport.join_params.token_name", path).
		Set("teleport.ca_pin", c.CAPin(t))
}

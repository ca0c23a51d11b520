package e2e

import (
	"net"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestCurlWithACertificateOfAnApp: curl reaches an app at its own address with the
// files of tsh apps login, until the person may not use it any more.
func TestCurlWithACertificateOfAnApp(t *testing.T) {
	t.Parallel()
	c := withApps(t, 0, map[string]any{"name": "wiki", "uri": intranet(t), "labels": map[string]string{"env": "dev"}}, map[string]any{"name": "vault", "uri": intranet(t)})
	alice := c.User(t, "alice", []string{"access"}, nil)
	alice.Login(t)
	cluster.Until(t, within, "the app in tsh apps ls", func() bool { return strings.Contains(alice.Tsh("apps", "ls").Stdout, "wiki") })
	contains(t, alice.Tsh("apps", "login", "wiki").OK(t), "--no-alpn", "--cert", "--key", "https://wiki.")
	file := func(what string) string {
		return strings.TrimSpace(alice.Tsh("apps", "config", "wiki", "--format="+what).OK(t))
	}
	_, port, err := net.SplitHostPort(c.Proxies[0].Conf.Get("proxy_service.public_addr").(string))
	if err != nil {
		t.Fatal(err)
	}
	_, web, err := net.SplitHostPort(c.Proxies[0].WebAddr)
	if err != nil {
		t.Fatal(err)
	}
	curl := func(app, path string) cluster.Result {
		host := app + "." + appHost + ":" + port
		return alice.Run(cluster.Command{Path: cluster.Need(t, "curl", "curl"), Args: []string{"-sS", "-k", "--max-time", "20", "--no-alpn", "--cert", file("cert"), "--key", file("key"),
			"--connect-to", host + ":127.0.0.1:" + web, "-w", " [%{http_code}]", "https://" + host + path}})
	}
	contains(t, curl("wiki", "/page?x=1").OK(t), "asked for /page?x=1 with cookies <> from 127.0.0.1 at wiki."+appHost, "[200]")
	contains(t, curl("vault", "/").OK(t), "the certificate is not for this app", "[403]")
	c.Tctl("lock", "--user=alice", "--ttl=1h", "--message=leaves").OK(t)
	cluster.Until(t, within, "the lock", func() bool { return !strings.Contains(curl("wiki", "/").Stdout, "[200]") })
	contains(t, curl("wiki", "/").OK(t), "leaves")
}

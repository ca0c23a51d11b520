package e2e

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestRedisCLIThroughTheCluster sets up mutual TLS as tctl says, and reaches the
// server by redis-cli over tsh proxy db.
func TestRedisCLIThroughTheCluster(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Opts{})
	port := redisServer(t, c)
	token := c.Token(t, "db")
	c.AddAgent(t, "db-1", func(d cluster.Doc) {
		d.Set("ssh_service.enabled", false).Set("db_service.enabled", true)
		d.Set("teleport.join_params.token_name", token)
		d.Set("db_service.databases", []any{map[string]any{"name": "cache", "protocol": "redis", "uri": "localhost:" + port, "static_labels": map[string]any{"env": "test"}}})
	})
	c.TctlIn(shopRole, "create", "-f").OK(t)
	alice := c.User(t, "alice", []string{"shop"}, nil)
	alice.Login(t)
	reached(t, alice, "cache")
	near := cluster.FreePort(t)
	live := alice.StartTsh(t, "proxy", "db", "cache", "--tunnel", "--db-user=alice", "--port="+near)
	live.WaitFor(t, "127.0.0.1:"+near)
	cli := func(port string, words ...string) string {
		return alice.Run(cluster.Command{Path: cluster.Need(t, "redis-cli", "redis-tools"), Args: append([]string{"-p", port}, words...)}).Stdout
	}
	contains(t, cli(near, "ACL", "WHOAMI"), "alice")
	contains(t, cli(near, "SET", "k", "a value"), "OK")
	contains(t, cli(near, "GET", "k"), "a value")
	contains(t, cli(near, "AUTH", "default", "x"), "NOPERM access denied")
	other := cluster.FreePort(t)
	alice.StartTsh(t, "proxy", "db", "cache", "--tunnel", "--db-user=bob", "--port="+other).WaitFor(t, "127.0.0.1:"+other)
	contains(t, cli(other, "GET", "k"), "no role that matches it has bob in db_users")
	contains(t, alice.Tsh("db", "connect", "cache", "--db-user=alice", "--", "ACL", "WHOAMI").OK(t), "alice")
	contains(t, alice.Tsh("db", "login", "cache", "--db-user=alice").OK(t), "Logged in to cache (redis) as alice, until ", "  tsh proxy db cache\n")
	contains(t, alice.Tsh("db", "env").Exit(t, 2).Stderr, "programs for redis do not find the proxy without tsh", "tsh proxy db cache")
	raw := alice.StartTsh(t, "proxy", "db", "--port="+cluster.FreePort(t))
	raw.WaitFor(t, "  redis-cli")
	paste := regexp.MustCompile(`(?m)^  (redis-cli .*)$`).FindStringSubmatch(raw.Out.String())[1]
	shell := func(line string) string {
		return alice.Run(cluster.Command{Path: cluster.Need(t, "sh", "dash"), Args: []string{"-c", line}}).Stdout
	}
	contains(t, shell(paste+" ACL WHOAMI"), "alice")
	contains(t, shell(regexp.MustCompile(`--cert \S+ --key \S+`).ReplaceAllString(paste, "")+" PING 2>&1"), "rror")
	cluster.Until(t, within, "the commands in the audit log", func() bool {
		log := c.Tctl("audit", "search", "db.session.query", "--format=json").Stdout
		return strings.Contains(log, `SET k \"a value\"`) && strings.Contains(log, "AUTH default ***")
	})
}

// redisServer runs a server that has mutual TLS as tctl prints it, and returns its
// port. alice may do everything there.
func redisServer(t *testing.T, c *cluster.Cluster) (port string) {
	t.Helper()
	dir, port := t.TempDir(), cluster.FreePort(t)
	said := c.Tctl("auth", "sign", "--format=redis", "--host=localhost", "--out="+filepath.Join(dir, "server"), "--ttl=2190h").OK(t)
	conf := "bind 127.0.0.1\nsave \"\"\ndir " + dir + "\n"
	for _, m := range regexp.MustCompile(`(?m)^  (port|tls-[a-z-]+|aclfile) (.*)$`).FindAllStringSubmatch(said, -1) {
		switch m[1] {
		case "tls-port":
			m[2] = port
		case "aclfile":
			m[2] = write(t, filepath.Join(dir, "users.acl"), "user default off\nuser alice on nopass ~* &* +@all\n")
		}
		conf += m[1] + " " + m[2] + "\n"
	}
	server := exec.Command(cluster.Need(t, "redis-server", "redis-server"), write(t, filepath.Join(dir, "redis.conf"), conf))
	server.Dir = dir
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	answers(t, "redis-server", port)
	return port
}

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// direct makes an agent's configuration one of direct mode: it joins at auth and
// listens on an address of its own.
func direct(c *cluster.Cluster, addr string) func(cluster.Doc) {
	return func(d cluster.Doc) {
		delete(d["teleport"].(map[string]any), "proxy_server")
		d.Set("teleport.auth_server", c.Auth.AuthAddr).Set("ssh_service.listen_addr", addr)
	}
}

// TestAHostThatListensIsReachedAllThreeWays has an agent without a tunnel.
func TestAHostThatListensIsReachedAllThreeWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	addr := "127.0.0.2:" + cluster.FreePort(t)
	agent := w.AddAgent(t, "db-1", direct(w.Cluster, addr))
	to := w.os.Name + "@db-1"
	var list string
	cluster.Until(t, within, "db-1 in the list", func() bool {
		list = w.alice.Tsh("ls").OK(t)
		return strings.Contains(list, "db-1")
	})
	contains(t, list, addr)
	found(t, w.alice, "db-1")
	if out := w.alice.Tsh("ssh", to, "echo by tsh").OK(t); out != "by tsh\n" {
		t.Errorf("tsh: %q", out)
	}
	config := write(t, filepath.Join(w.alice.Home, "ssh_config"), w.alice.Tsh("config").OK(t)+"\nHost *\n    User "+w.os.Name+"\n")
	ssh := func(p *cluster.Person, args ...string) cluster.Result {
		return p.Run(cluster.Command{Path: cluster.Need(t, "ssh", "openssh-client"), Args: append([]string{"-F", config}, args...)})
	}
	_, port, _ := strings.Cut(addr, ":")
	ways := map[string][]string{
		"ProxyCommand": {"db-1." + w.Name},
		"-J":           {"-J", w.ProxyAddr(), "db-1." + w.Name},
		"plain":        {"-p", port, "db-1"},
		"by address":   {"127.0.0.2"},
	}
	for name, args := range ways {
		if out := ssh(w.alice, append(args, "echo out; exit 3")...).Exit(t, 3).Stdout; out != "out\n" {
			t.Errorf("%s: %q", name, out)
		}
	}
	// A restart keeps the port, and a session that came without a proxy.
	live := w.alice.Go(t, "/usr/bin/ssh", "-F", config, "-p", port, "db-1", "echo started; read word; echo still here, $word")
	live.WaitFor(t, "started")
	agent.HUP(t)
	if out := ssh(w.alice, "-p", port, "db-1", "echo by the new one").OK(t); out != "by the new one\n" {
		t.Errorf("after HUP: %q", out)
	}
	if out := w.alice.Tsh("ssh", to, "echo by tsh").OK(t); out != "by tsh\n" {
		t.Errorf("tsh after HUP: %q", out)
	}
	if _, err := fmt.Fprintln(live.In, "and heard"); err != nil {
		t.Error(err)
	}
	live.Wait(t)
	contains(t, live.Out.String(), "still here, and heard")
	w.Events(t, 1, "session.end", "alice")
	w.refusals(t, ssh, port)
}

// refusals are who does not get in at the host's own port.
func (w *world) refusals(t *testing.T, ssh func(*cluster.Person, ...string) cluster.Result, port string) {
	t.Helper()
	w.Tctl("create", "-f", write(t, filepath.Join(w.Dir, "role.yaml"), fmt.Sprintf(`kind: role
version: v7
metadata: {name: elsewhere}
spec:
  allow: {logins: ['%s'], node_labels: {env: elsewhere}}
`, w.os.Name))).OK(t)
	bob := w.User(t, "bob", []string{"elsewhere"}, nil)
	bob.Login(t)
	config := write(t, filepath.Join(bob.Home, "ssh_config"), bob.Tsh("config").OK(t))
	r := bob.Run(cluster.Command{Path: "/usr/bin/ssh", Args: []string{"-F", config, "-p", port, "-o", "HostKeyAlias=db-1." + w.Name,
		"-o", "UserKnownHostsFile=" + filepath.Join(bob.Home, ".tsh", "known_hosts"), w.os.Name + "@127.0.0.2", "true"}}).Exit(t, 255)
	if strings.Contains(r.Stdout, "out") {
		t.Errorf("bob: %s", r)
	}
	key := filepath.Join(bob.Home, "key")
	bob.Run(cluster.Command{Path: "/usr/bin/ssh-keygen", Args: []string{"-q", "-t", "ed25519", "-N", "", "-f", key}}).OK(t)
	contains(t, bob.Run(cluster.Command{Path: "/usr/bin/ssh", Args: []string{"-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-i", key, "-p", port, "root@127.0.0.2", "true"}}).Exit(t, 255).Stderr, "Permission denied")
	w.Tctl("lock", "--user=alice", "--message=laptop stolen").OK(t)
	cluster.Until(t, within, "the lock", func() bool { return ssh(w.alice, "-p", port, "db-1", "true").Code == 255 })
}

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

const agentless = "4d5f3b8e-1f0a-4a51-9a0e-0f6f2a9c7b11"

// startSSHD runs Debian's sshd, which trusts the openssh authority of the cluster
// and shows a certificate of its host authority, and registers it.
func (w *world) startSSHD(t *testing.T, name string) {
	t.Helper()
	sshd := cluster.Need(t, "sshd", "openssh-server")
	dir := filepath.Join(w.Dir, name)
	addr := "127.0.0.3:" + cluster.FreePort(t)
	host, port, _ := strings.Cut(addr, ":")
	authority := write(t, filepath.Join(dir, "ca.pub"), w.Tctl("auth", "export", "--type=openssh").OK(t))
	w.Tctl("auth", "sign", "--host="+agentless+","+name+","+host, "--format=openssh", "--out="+filepath.Join(dir, "host")).OK(t)
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	config := write(t, filepath.Join(dir, "sshd_config"), fmt.Sprintf("Port %s\nListenAddress %s\nHostKey %s\nHostCertificate %s\nTrustedUserCAKeys %s\n"+
		"PidFile none\nUsePAM yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\nStrictModes no\n",
		port, host, filepath.Join(dir, "host"), filepath.Join(dir, "host-cert.pub"), authority))
	w.alice.Go(t, sshd, "-D", "-e", "-f", config)
	w.Tctl("create", "-f", write(t, filepath.Join(dir, "node.yaml"), fmt.Sprintf(`kind: node
version: v2
sub_kind: openssh
metadata: {name: %s, labels: {env: plain}}
spec: {addr: '%s', hostname: %s}
`, agentless, addr, name))).OK(t)
}

// TestAServerWithoutAnAgent is Debian's sshd, reached by tsh.
func TestAServerWithoutAnAgent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	w.startSSHD(t, "plain-1")
	to := w.os.Name + "@plain-1"
	cluster.Until(t, within, "plain-1 to answer", func() bool { return w.alice.Tsh("ssh", to, "true").Code == 0 })
	r := w.alice.Tsh("ssh", to, "echo out; echo err >&2; id -un; exit 7").Exit(t, 7)
	if r.Stdout != "out\n"+w.os.Name+"\n" || !strings.Contains(r.Stderr, "err\n") {
		t.Errorf("%s", r)
	}
	contains(t, w.alice.Tsh("ssh", "-t", to, "tty; echo terminal").OK(t), "/dev/pts", "terminal")
	local := write(t, filepath.Join(w.alice.Home, "file"), strings.Repeat("0123456789", 100_000))
	w.alice.Tsh("scp", local, to+":copied").OK(t)
	if b, err := os.ReadFile(filepath.Join(w.os.Home, "copied")); err != nil || len(b) != 1_000_000 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	config := write(t, filepath.Join(w.alice.Home, "ssh_config"), w.alice.Tsh("config").OK(t)+"\nHost *\n    User "+w.os.Name+"\n")
	for name, via := range map[string][]string{"ProxyCommand": nil, "-J": {"-J", w.ProxyAddr()}} {
		args := append([]string{"-F", config}, append(via, "plain-1."+w.Name, "echo by ssh")...)
		if out := w.alice.Run(cluster.Command{Path: cluster.Need(t, "ssh", "openssh-client"), Args: args}).OK(t); out != "by ssh\n" {
			t.Errorf("%s: %q", name, out)
		}
	}
	var atTerminal any
	cluster.Until(t, within, "the session at a terminal in the log", func() bool {
		for _, e := range w.Events(t, 1, "session.start", "alice") {
			if e["server_id"] != agentless || e["server_sub_kind"] != "openssh" || e["login"] != w.os.Name || e["session_recording"] != "proxy" {
				t.Fatalf("%v", e)
			}
			if e["initial_command"] == "tty; echo terminal" {
				atTerminal = e["sid"]
			}
		}
		return atTerminal != nil
	})
	// The proxy has recorded it, as there is no agent that could.
	cluster.Until(t, within, "the recording", func() bool {
		r := w.alice.Tsh("play", fmt.Sprint(atTerminal), "--format=text")
		return r.Code == 0 && strings.Contains(r.Stdout, "/dev/pts") && strings.Contains(r.Stdout, "terminal")
	})
	// Another login, and a person whose roles say no.
	contains(t, w.alice.Tsh("ssh", "root@plain-1", "true").Exit(t, 255).Stderr, "access denied")
	w.Tctl("create", "-f", write(t, filepath.Join(w.Dir, "role.yaml"), fmt.Sprintf(`kind: role
version: v7
metadata: {name: elsewhere}
spec:
  allow: {logins: ['%s'], node_labels: {env: elsewhere}}
`, w.os.Name))).OK(t)
	bob := w.User(t, "bob", []string{"elsewhere"}, nil)
	bob.Login(t)
	contains(t, bob.Tsh("ssh", to, "true").Exit(t, 255).Stderr, "there is no node")
	// A lock ends what runs.
	live := w.alice.StartTsh(t, "ssh", to, "echo started; exec sleep 600")
	cluster.Until(t, within, "the session", func() bool { return strings.Contains(live.Out.String(), "started") })
	w.Tctl("lock", "--user=alice", "--message=laptop stolen").OK(t)
	if code := live.Wait(t); code != 255 {
		t.Errorf("a locked person's session ended with %d: %s", code, live.Errs)
	}
	contains(t, live.Errs.String(), "laptop stolen")
}

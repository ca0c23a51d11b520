package e2e

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"teleport/test/cluster"
)

func itoa(n int) string { return strconv.Itoa(n) }

// TestAnOrdinaryAccount looks at what a session is on the server: the account
// and nothing of the agent.
func TestAnOrdinaryAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	member := w.OSUser(t, "/bin/bash", "users", "games")
	w.Tctl("users", "update", "alice", "--set-logins="+w.os.Name+","+member.Name).OK(t)
	w.alice.Login(t, "--force")
	run := func(cmd string) string {
		t.Helper()
		return strings.TrimSpace(w.alice.Tsh("ssh", member.Name+"@"+w.node.Name, cmd).OK(t))
	}

	want := strings.TrimSpace(cluster.Run(cluster.Command{Path: "/usr/bin/id", Args: []string{member.Name}}).OK(t))
	if got := run("id"); got != want || !strings.Contains(got, "(games)") {
		t.Errorf("id: %q, not %q", got, want)
	}
	for cmd, want := range map[string]string{
		"umask": "0022", "pwd": member.Home, "echo $HOME": member.Home, "echo $USER $LOGNAME": member.Name + " " + member.Name,
		"echo $SHELL": "/bin/bash", "ps -o comm= -p $$; :": "bash", "grep -E '^(Cap(Inh|Prm|Eff|Amb))' /proc/self/status | cut -f2 | sort -u": "0000000000000000",
		"stat -c %u:%g /proc/self/": fmt.Sprintf("%d:%d", member.UID, member.GID),
	} {
		if got := run(cmd); got != want {
			t.Errorf("%s: %q, not %q", cmd, got, want)
		}
	}

	env := run("env")
	contains(t, env, "SSH_TELEPORT_USER=alice", "SSH_TELEPORT_CLUSTER_NAME=test", "SSH_SESSION_ID=")
	if strings.Contains(env, cluster.AgentCanary) || strings.Contains(env, "TELEPORT_GENERATION") || strings.Contains(env, "NOTIFY_SOCKET") {
		t.Errorf("the agent's environment was inherited:\n%s", env)
	}
	// ls itself opens the directory, as descriptor 3.
	fds := run("exec ls -l /proc/self/fd")
	for _, line := range strings.Split(fds, "\n")[1:] {
		f := strings.Fields(line)
		fd, target := f[len(f)-3], f[len(f)-1]
		if n, err := strconv.Atoi(fd); err != nil || n > 3 || n == 3 && !strings.HasPrefix(target, "/proc/") {
			t.Errorf("descriptor %s -> %s was inherited", fd, target)
		}
	}
	// A process of the account cannot reach into the agent's.
	if out := w.alice.Tsh("ssh", member.Name+"@"+w.node.Name, "cat /proc/"+itoa(w.node.PID())+"/environ; kill -9 "+itoa(w.node.PID())); out.Code == 0 {
		t.Errorf("the agent is open to its users: %s", out)
	}
}

func TestALoginThatIsNotAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	r := w.alice.Tsh("ssh", "root@"+w.node.Name, "id").Exit(t, 255)
	contains(t, r.Stderr, "ERROR:", "root")
	if strings.Contains(r.Stdout+r.Stderr, "uid=") {
		t.Errorf("it ran: %s", r)
	}
	// The agent decides for itself, whatever the client does.
	e := w.Events(t, 1, "auth", "alice")[0]
	if e["success"] == true || e["login"] != "root" {
		t.Errorf("the refusal was recorded as %v", e)
	}
	if _, err := user.Lookup("nobody-of-that-name"); err == nil {
		t.Fatal("unexpected account")
	}
	w.Tctl("users", "update", "alice", "--set-logins=nobody-of-that-name").OK(t)
	w.alice.Login(t, "--force")
	r = w.alice.Tsh("ssh", "nobody-of-that-name@"+w.node.Name, "id").Exit(t, 255)
	contains(t, r.Stderr, "nobody-of-that-name")
}

func TestServersThatAreNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	r := w.alice.Tsh("ssh", w.os.Name+"@no-such-node", "true").Exit(t, 255)
	contains(t, r.Stderr, "ERROR:", "no-such-node")

	twin := w.AddAgent(t, w.node.Name)
	cluster.Until(t, within, "the twin to be known", func() bool { r = w.ssh("true"); return r.Code == 255 })
	contains(t, r.Stderr, w.node.UUID(t), twin.UUID(t))
	for _, p := range []*cluster.Process{w.node, twin} {
		out := w.alice.Tsh("ssh", w.os.Name+"@"+p.UUID(t), "echo $SSH_TELEPORT_HOST_UUID").OK(t)
		if strings.TrimSpace(out) != p.UUID(t) {
			t.Errorf("asked for %s, got %s", p.UUID(t), out)
		}
	}
	twin.Term(t)
	cluster.Until(t, within, "the twin to be forgotten", func() bool { return w.ssh("true").Code == 0 })
	r = w.alice.Tsh("ssh", w.os.Name+"@"+twin.UUID(t), "true").Exit(t, 255)
	contains(t, r.Stderr, "ERROR:", twin.UUID(t))
}

// TestTheHostCertificate reads an agent's certificate with OpenSSH's own tool.
func TestTheHostCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{Name: "example.com"})
	var text string
	err := filepath.WalkDir(w.node.DataDir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || text != "" {
			return err
		}
		b, err := os.ReadFile(path)
		if i := strings.Index(string(b), "-cert-v01@openssh.com "); err == nil && i >= 0 {
			start := strings.LastIndexAny(string(b[:i]), "\n\"") + 1
			line, _, _ := strings.Cut(string(b[start:]), "\n")
			text = strings.TrimRight(strings.ReplaceAll(line, `\n`, ""), `",`)
		}
		return err
	})
	if err != nil || text == "" {
		t.Fatalf("no SSH certificate in the data directory (%v)", err)
	}
	path := write(t, filepath.Join(w.Dir, "cert.pub"), text+"\n")
	out := cluster.Run(cluster.Command{Path: cluster.Need(t, "ssh-keygen", "openssh-client"), Args: []string{"-L", "-f", path}}).OK(t)
	contains(t, out, "host certificate", w.node.UUID(t), "node-1", "example.com", "Valid: from", " to ", "Node")
	if strings.Contains(out, "forever") {
		t.Errorf("it never expires:\n%s", out)
	}
}

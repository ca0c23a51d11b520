package e2e

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
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

	// A host name belongs to one live host: whoever comes second is not found by it.
	twin := w.AddAgent(t, w.node.Name)
	cluster.Until(t, within, "the refusal to be logged", func() bool {
		return strings.Contains(twin.Log(), "belongs to the live host "+w.node.UUID(t))
	})
	if out := w.ssh("echo $SSH_TELEPORT_HOST_UUID").OK(t); strings.TrimSpace(out) != w.node.UUID(t) {
		t.Errorf("the name leads to %s", out)
	}
	twin.Term(t)

	// Labels may mean several.
	labels := func(d cluster.Doc) { d.Set("ssh_service.labels", map[string]any{"env": "prod"}) }
	both := []*cluster.Process{w.AddAgent(t, "web-1", labels), w.AddAgent(t, "web-2", labels)}
	cluster.Until(t, within, "both to be known", func() bool {
		r = w.alice.Tsh("ssh", w.os.Name+"@env=prod") // a shell is on one
		return r.Code == 255 && strings.Contains(r.Stderr, "web-2")
	})
	contains(t, r.Stderr, both[0].UUID(t), both[1].UUID(t), "web-1")
	for _, p := range both {
		out := w.alice.Tsh("ssh", w.os.Name+"@"+p.UUID(t), "echo $SSH_TELEPORT_HOST_UUID").OK(t)
		if strings.TrimSpace(out) != p.UUID(t) {
			t.Errorf("asked for %s, got %s", p.UUID(t), out)
		}
	}

	// One goes away: what is left is meant, and the other is said to be away.
	both[0].Kill9(t)
	r = w.alice.Tsh("ssh", w.os.Name+"@web-1", "true").Exit(t, 255)
	contains(t, r.Stderr, "ERROR:", "web-1")
	both[0].Start(t)
	both[1].Term(t)
	if !cluster.Poll(within, func() bool {
		r = w.alice.Tsh("ssh", w.os.Name+"@env=prod", "true")
		return r.Code == 0
	}) {
		t.Errorf("a host that stopped is still meant: %s", r)
	}
}

// certLine is an SSH certificate as authorized_keys has it, wherever it stands.
var certLine = regexp.MustCompile(`(ssh|ecdsa)-[a-z0-9-]+-cert-v01@openssh\.com [A-Za-z0-9+/=]+`)

// TestTheHostCertificate reads an agent's certificate with OpenSSH's own tool.
func TestTheHostCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{Name: "example.com"})
	var text string
	err := filepath.WalkDir(w.node.DataDir, func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file of events that are sent is removed
		}
		if err != nil || !d.Type().IsRegular() || text != "" {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if found := certLine.Find(b); err == nil && found != nil {
			text = string(found)
		}
		return err
	})
	if err != nil || text == "" {
		t.Fatalf("no SSH certificate in the data directory (%v)", err)
	}
	path := write(t, filepath.Join(w.Dir, "cert.pub"), text+"\n")
	out := cluster.Run(cluster.Command{Path: cluster.Need(t, "ssh-keygen", "openssh-client"), Args: []string{"-L", "-f", path}}).OK(t)
	contains(t, out, "host certificate", w.node.UUID(t), "node-1", "example.com", "Valid: from", " to ", "teleport-system-roles", hex.EncodeToString([]byte("Node")))
	if strings.Contains(out, "forever") {
		t.Errorf("it never expires:\n%s", out)
	}
}

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestAccessExplains asks a real cluster why, as an administrator and as the
// person in question.
func TestAccessExplains(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	contains(t, w.Tctl("access", "explain", "alice", "node/"+w.node.Name, "--login="+w.os.Name).OK(t),
		"ALLOWED", "By role   access, its labels", "policy revision", "editor", "max_session_ttl")
	contains(t, w.Tctl("access", "explain", "alice", "node/"+w.node.Name, "--login=root").OK(t), "DENIED", "login_not_in_certificate")
	w.User(t, "carol", []string{"access"}, []string{w.os.Name}).Login(t)
	var e struct {
		Decision struct {
			Allow bool   `json:"allow"`
			Role  string `json:"role"`
		} `json:"decision"`
		Logins []string `json:"logins"`
	}
	out := w.alice.Tctl("access", "explain", "carol", "node/"+w.node.Name, "--format=json", "--auth-server="+w.ProxyAddr(), "--insecure").OK(t)
	if err := json.Unmarshal([]byte(out), &e); err != nil || !e.Decision.Allow || e.Decision.Role != "access" || len(e.Logins) != 1 {
		t.Errorf("%v: %s", err, out)
	}
	w.Tctl("lock", "--user=carol", "--message=gone").OK(t)
	contains(t, w.Tctl("access", "explain", "carol", "node/"+w.node.Name).OK(t), "DENIED", "gone")
	w.Tctl("access", "explain", "nobody", "node/"+w.node.Name).Exit(t, 5)
	contains(t, w.Tctl("access", "explain", "alicf", "node/"+w.node.Name).Exit(t, 5).Stderr, `"alice"`)
	contains(t, w.Tctl("access", "explain", "alice", "node/"+w.node.Name+"x").Exit(t, 5).Stderr, w.node.Name)
	w.Tctl("access", "explain", "alice", "node/"+w.node.Name, "--at=2001-01-01", "--action=file_copy").Exit(t, 2)
}

// TestAccessPlansARoleChange shows what would be lost, and which sessions of the
// past would have been refused, without a change.
func TestAccessPlansARoleChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	w.ssh("true").OK(t)
	w.Events(t, 1, "session.end", "alice")
	path := write(t, filepath.Join(w.alice.Home, "access.yaml"), `kind: role
version: v8
metadata:
  name: access
spec:
  allow:
    logins: ["{{internal.logins}}"]
    node_labels: {env: nowhere}
`)
	out := w.Tctl("access", "plan", path, "--days=1").OK(t)
	contains(t, out, "The role access would be updated.", "Lost: 1 login, each of one user on one node", "Gained: nothing", "access to "+w.node.Name, "1 of them would have been refused", "no_role_matches")
	contains(t, w.Tctl("access", "plan", "--delete=access", "--format=json").OK(t), `"lost_count": 1`)
	w.Tctl("access", "plan", "--delete=acces").Exit(t, 5)
	w.ssh("true").OK(t) // nothing was changed
}

// TestOneCommandOnThreeServers runs a command by labels, into lines and files.
func TestOneCommandOnThreeServers(t *testing.T) {
	t.Parallel()
	fleet := func(d cluster.Doc) { d.Set("ssh_service.labels", map[string]any{"fleet": "web"}) }
	w := newWorld(t, cluster.Opts{})
	w.AddAgent(t, "first", fleet)
	w.AddAgent(t, "second", fleet)
	w.AddAgent(t, "third", fleet)
	cluster.Until(t, within, "all three in the list", func() bool { return strings.Count(w.alice.Tsh("ls", "fleet=web", "--format=names").Stdout, "\n") == 3 })
	r := w.alice.Tsh("ssh", w.os.Name+"@fleet=web", "id -un; exit 4").Exit(t, 4)
	contains(t, r.Stdout, "first: "+w.os.Name+"\n", "second: "+w.os.Name+"\n", "third: "+w.os.Name+"\n")
	contains(t, r.Stderr, "3 servers: 0 succeeded, 3 failed", "  third: exit status 4")
	dir := filepath.Join(w.alice.Home, "logs")
	w.alice.Tsh("ssh", "--log-dir="+dir, w.os.Name+"@fleet=web", "echo hello").OK(t)
	if b, err := os.ReadFile(filepath.Join(dir, "second.stdout")); err != nil || string(b) != "hello\n" {
		t.Errorf("%q %v", b, err)
	}
	w.alice.Tsh("ssh", w.os.Name+"@fleet=web").Exit(t, 255) // a shell is on one
	contains(t, w.alice.Tsh("latency", "ssh", w.os.Name+"@second", "--samples=2").OK(t), "median: client–proxy")
	contains(t, w.Tctl("get", "nodes", "--query=hasPrefix(name, \"sec\")", "--format=text").OK(t), "fleet=web")
	// A lock ends it on all.
	live := w.alice.StartTsh(t, "ssh", w.os.Name+"@fleet=web", "echo ready; sleep 300")
	live.WaitFor(t, "third: ready")
	w.Tctl("lock", "--user=alice").OK(t)
	if code := live.Wait(t); code != 255 {
		t.Errorf("a locked person's command ended with %d", code)
	}
}

package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"teleport/test/cluster"
)

// TestTshSSHFlags are the ways in which people call tsh ssh.
func TestTshSSHFlags(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	labelled := w.AddAgent(t, "db-1", func(d cluster.Doc) {
		d.Set("ssh_service.labels", map[string]any{"env": "prod", "role": "db"})
		d.Set("ssh_service.commands", []any{map[string]any{"name": "arch", "command": []any{"/bin/uname", "-m"}, "period": "1h"}})
	})
	cluster.Until(t, within, "db-1 to answer", func() bool { return w.alice.Tsh("ssh", w.os.Name+"@db-1", "true").Code == 0 }) // the proxy hears of it in its own time
	uuid := "echo $SSH_TELEPORT_HOST_UUID"
	for name, args := range map[string][]string{
		"by labels":         {w.os.Name + "@env=prod,role=db", uuid},
		"by UUID":           {w.os.Name + "@" + labelled.UUID(t), uuid},
		"by name.cluster":   {w.os.Name + "@db-1.test", uuid},
		"with -l":           {"-l", w.os.Name, "db-1", uuid},
		"with -o User":      {"-o", "User=" + w.os.Name, "db-1", uuid},
		"with its only one": {"db-1", uuid},
		"after --":          {w.os.Name + "@db-1", "--", uuid},
	} {
		t.Run(name, func(t *testing.T) {
			if out := w.alice.Tsh(append([]string{"ssh"}, args...)...).OK(t); strings.TrimSpace(out) != labelled.UUID(t) {
				t.Errorf("it reached %q", out)
			}
		})
	}
	for cmd, code := range map[string]int{"exit 0": 0, "exit 1": 1, "exit 255": 255, "kill -TERM $$": 128 + 15, "kill -KILL $$": 128 + 9, "no-such-command": 127} {
		w.ssh(cmd).Exit(t, code)
	}
	if out := w.alice.TshIn("line\n", "ssh", w.to, "cat").OK(t); out != "line\n" {
		t.Errorf("stdin: %q", out)
	}
	if out := w.alice.TshIn("line\n", "ssh", "-n", w.to, "cat").OK(t); out != "" {
		t.Errorf("-n reads %q", out)
	}
	if out := w.alice.Tsh("ssh", "-t", w.to, "tty").OK(t); !strings.HasPrefix(out, "/dev/pts/") {
		t.Errorf("-t: %q", out)
	}
	if out := w.alice.Tsh("ssh", "-o", "SetEnv=LC_X=1", w.to, "echo $LC_X").OK(t); out != "1\n" {
		t.Errorf("SetEnv: %q", out)
	}
	if out := w.alice.TshIn("echo from a shell\nexit 4\n", "ssh", w.to).Exit(t, 4).Stdout; !strings.Contains(out, "from a shell") {
		t.Errorf("a shell without a terminal: %q", out)
	}
}

// TestTshLs looks for servers. The word that it looks for is in no UUID, which is
// searched too.
func TestTshLs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	w.AddAgent(t, "shop-1", func(d cluster.Doc) { d.Set("ssh_service.labels", map[string]any{"env": "prod"}) })
	cluster.Until(t, within, "both servers", func() bool {
		return len(strings.Fields(w.alice.Tsh("ls", "--format=names").Stdout)) == 2
	})
	for _, args := range [][]string{{"env=prod"}, {"--search=shop"}, {"--query=labels[\"env\"] == \"prod\""}} {
		if out := w.alice.Tsh(append([]string{"ls", "--format=names"}, args...)...).OK(t); out != "shop-1\n" {
			t.Errorf("%v: %q", args, out)
		}
	}
	for _, f := range []string{"text", "json", "yaml"} {
		contains(t, w.alice.Tsh("ls", "--format="+f).OK(t), "node-1", "shop-1", "prod")
	}
	w.alice.Tsh("ls", "--query=nonsense(").Exit(t, 2)

	// A role sees what its labels allow, and nothing else exists for it.
	w.TctlIn("kind: role\nversion: v7\nmetadata: {name: prod}\nspec:\n  allow: {logins: ["+w.os.Name+"], node_labels: {env: '^pr.*$'}}\n"+
		"  deny: {node_labels: {secret: '*'}}\n", "create").OK(t)
	w.AddAgent(t, "hidden", func(d cluster.Doc) {
		d.Set("ssh_service.labels", map[string]any{"env": "prod", "secret": "yes"})
	})
	cluster.Until(t, within, "the hidden one to answer who may see it", func() bool { return w.alice.Tsh("ssh", w.os.Name+"@hidden", "true").Code == 0 })
	bob := w.User(t, "bob", []string{"prod"}, nil)
	bob.Login(t)
	if out := bob.Tsh("ls", "--format=names").OK(t); out != "shop-1\n" {
		t.Errorf("bob sees %q", out)
	}
	missing := bob.Tsh("ssh", w.os.Name+"@no-such", "true").Exit(t, 255).Stderr
	hidden := bob.Tsh("ssh", w.os.Name+"@hidden", "true").Exit(t, 255).Stderr
	if strings.ReplaceAll(hidden, "hidden", "no-such") != missing {
		t.Errorf("a hidden server shows:\n%s\nand one that is not there:\n%s", hidden, missing)
	}
}

// TestTshLoginToFiles makes files for other programs instead of a profile.
func TestTshLoginToFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	id := filepath.Join(w.Dir, "alice.pem")
	w.alice.Login(t, "--out="+id)
	w.alice.Tsh("logout").OK(t)
	w.alice.Tsh("ls").Exit(t, 3)
	contains(t, w.alice.Tsh("-i", id, "--proxy="+w.ProxyAddr(), "ls").OK(t), w.node.Name)
	w.alice.Tsh("-i", id, "--proxy="+w.ProxyAddr(), "ssh", w.to, "true").OK(t)
}

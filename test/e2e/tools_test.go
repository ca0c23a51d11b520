package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"teleport/test/cluster"
)

// fleet is a world of three servers with an agent and one without, and what
// "tsh config" prints of them in a file.
type fleet struct {
	*world
	config string
	hosts  []string
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{world: newWorld(t, cluster.Opts{Agents: 3})}
	for _, a := range f.Agents {
		f.hosts = append(f.hosts, a.Name+"."+f.Name)
	}
	f.startSSHD(t, "plain-1")
	f.hosts = append(f.hosts, "plain-1."+f.Name)
	cluster.Until(t, within, "plain-1 to answer", func() bool { return f.alice.Tsh("ssh", f.os.Name+"@plain-1", "true").Code == 0 })
	f.config = write(t, filepath.Join(f.alice.Home, "ssh_config"), f.alice.Tsh("config").OK(t))
	return f
}

// TestAnsibleAndRsyncOnAFleet runs Debian's ansible on all servers at once, as it
// comes: it copies its modules by sftp and keeps its connections open for more.
// Then rsync copies a tree to each of them at one time, and back.
func TestAnsibleAndRsyncOnAFleet(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	t.Run("ansible", func(t *testing.T) { f.ansible(t) })
	t.Run("rsync", func(t *testing.T) { f.rsync(t) })
}

func (f *fleet) ansible(t *testing.T) {
	ansible := cluster.Need(t, "ansible", "ansible-core")
	dir := filepath.Join(f.alice.Home, "plays")
	inventory := write(t, filepath.Join(dir, "hosts"), "[fleet]\n"+strings.Join(f.hosts, "\n")+"\n")
	// The path of a socket is short, whatever the home is.
	control, err := os.MkdirTemp("", "cp")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(control) })
	write(t, filepath.Join(dir, "ansible.cfg"), fmt.Sprintf(`[defaults]
inventory = %s
remote_user = %s
interpreter_python = auto_silent
forks = 8
timeout = 60
[ssh_connection]
ssh_args = -F %s -o ControlMaster=auto -o ControlPersist=60s
control_path_dir = %s
`, inventory, f.os.Name, f.config, control))
	run := func(args ...string) string {
		t.Helper()
		return f.alice.Run(cluster.Command{Path: ansible, Args: append([]string{"fleet"}, args...), Dir: dir, Limit: 6 * within,
			Env: []string{"ANSIBLE_CONFIG=" + filepath.Join(dir, "ansible.cfg"), "ANSIBLE_NOCOLOR=1"}}).OK(t)
	}
	if out := run("-m", "ping"); strings.Count(out, `"ping": "pong"`) != len(f.hosts) {
		t.Errorf("not everyone said pong:\n%s", out)
	}
	// Over the connections that are open.
	out := run("-m", "shell", "-a", "id -un; echo to-stderr >&2")
	if strings.Count(out, f.os.Name) != len(f.hosts) || strings.Count(out, "rc=0") != len(f.hosts) || strings.Count(out, "to-stderr") != len(f.hosts) {
		t.Errorf("%s", out)
	}
	local := write(t, filepath.Join(dir, "payload"), strings.Repeat("payload\n", 10_000))
	run("-m", "copy", "-a", "src="+local+" dest=~/payload-{{ inventory_hostname }} mode=0640")
	for _, h := range f.hosts {
		info, err := os.Stat(filepath.Join(f.os.Home, "payload-"+h))
		if err != nil || info.Size() != 80_000 || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v, %v", h, info, err)
		}
	}
	for _, e := range f.Events(t, 2*len(f.hosts), "session.start", "alice") {
		if e["login"] != f.os.Name {
			t.Errorf("%v", e)
		}
	}
	// The masters would stay for a minute.
	sockets, err := filepath.Glob(filepath.Join(control, "*"))
	if err != nil || len(sockets) != len(f.hosts) {
		t.Errorf("%d connections are kept open for %d servers (%v)", len(sockets), len(f.hosts), err)
	}
	for _, s := range sockets {
		f.alice.Run(cluster.Command{Path: "/usr/bin/ssh", Args: []string{"-F", f.config, "-o", "ControlPath=" + s, "-O", "exit", f.hosts[0]}}).OK(t)
	}
}

func (f *fleet) rsync(t *testing.T) {
	rsync := cluster.Need(t, "rsync", "rsync")
	tree, data := filepath.Join(f.alice.Home, "tree"), strings.Repeat("0123456789abcdef", 1<<16)
	for _, name := range []string{"one", "sub/file two", "sub/deeper/three"} {
		write(t, filepath.Join(tree, name), name+data)
	}
	shell := "ssh -F " + f.config + " -l " + f.os.Name
	var all sync.WaitGroup
	for _, h := range f.hosts {
		all.Go(func() {
			there, back := h+":rs-"+h+"/", filepath.Join(f.alice.Home, "back-"+h)
			for _, args := range [][]string{
				{"-a", "-e", shell, tree + "/", there},
				{"-a", "--checksum", "--itemize-changes", "-e", shell, tree + "/", there}, // nothing to send
				{"-az", "-e", shell, there, back + "/"},
			} {
				if r := f.alice.Run(cluster.Command{Path: rsync, Args: args}); r.Code != 0 || r.Stdout != "" {
					t.Errorf("%s: %s", h, r)
					return
				}
			}
			if r := f.alice.Run(cluster.Command{Path: "/usr/bin/diff", Args: []string{"-r", tree, back}}); r.Code != 0 {
				t.Errorf("%s: what came back is not what was sent: %s", h, r)
			}
		})
	}
	all.Wait()
}

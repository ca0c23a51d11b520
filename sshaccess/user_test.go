package sshaccess_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"teleport/sshaccess/spawn"
	"teleport/sshclient"
)

// hostUser makes a user of this host for one test, with a group beside its own.
func hostUser(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes a user, so it must run as root")
	}
	name := fmt.Sprintf("tssh%d", os.Getpid())
	run := func(args ...string) {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("useradd", "-m", "-s", "/bin/sh", "-G", "games,tty", name)
	t.Cleanup(func() { run("userdel", "-r", "-f", name) })
	return name
}

func TestOrdinaryUser(t *testing.T) {
	name := hostUser(t)
	w := newWorld(t, func(w *world) {
		w.policy.roles["dev"] = role("dev", name)
		w.cfg.PermitUserEnv = true
		w.cfg.Accounts = &spawn.Accounts{}
	})
	key, s := w.user("alice", name)
	home := "/home/" + name
	if err := os.Mkdir(filepath.Join(home, ".tsh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".tsh", "environment"), []byte("# mine\nMINE=1\nLD_PRELOAD=/x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := w.ssh(key, name, nil, "id -un; id -Gn; pwd; umask; echo $HOME $SHELL $0 $MINE; grep -E '^(Uid|Gid|TracerPid)' /proc/self/status; ls /proc/self/fd | tr '\\n' ' '; env | grep -c LD_")
	lines := strings.Split(r.out, "\n")
	if len(lines) < 9 {
		t.Fatalf("%+v", r)
	}
	want := []string{name, "", home, "0022", home + " /bin/sh sh 1"}
	for i, x := range want {
		if x != "" && lines[i] != x {
			t.Errorf("line %d is %q, want %q", i, lines[i], x)
		}
	}
	for _, g := range []string{name, "games", "tty"} {
		if !strings.Contains(" "+lines[1]+" ", " "+g+" ") {
			t.Errorf("group %s is missing in %q", g, lines[1])
		}
	}
	if !strings.Contains(r.out, "TracerPid:\t0") || !strings.HasSuffix(r.out, "0 1 2 3 0\n") {
		t.Errorf("tracer, descriptors or LD_: %q", r.out)
	}
	testUserFiles(t, w, key, name)
	testUserSockets(t, w.mustClient(name, s), name)
}

// testUserFiles: files are the user's, and others' are out of reach.
func testUserFiles(t *testing.T, w *world, key, name string) {
	t.Helper()
	src := filepath.Join(w.dir, "source")
	if err := os.WriteFile(src, []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	r := w.run(nil, "scp", append(append([]string{"-s"}, w.options(key)...), src, name+"@127.0.0.1:copied")...)
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	out, err := exec.Command("stat", "-c", "%U %a", "/home/"+name+"/copied").Output()
	if err != nil || string(out) != name+" 644\n" {
		t.Errorf("%v %q", err, out)
	}
	for _, how := range []string{"-s", "-O"} {
		r = w.run(nil, "scp", append(append([]string{how}, w.options(key)...), name+"@127.0.0.1:/etc/shadow", w.dir+"/stolen")...)
		if r.code == 0 {
			t.Errorf("scp %s read /etc/shadow as %s", how, name)
		}
	}
	w.log.wait(t, "sftp", "TS001E")
}

// testUserSockets: what listens and dials is the user.
func testUserSockets(t *testing.T, c *sshclient.Client, name string) {
	t.Helper()
	if l, err := c.Listen("127.0.0.1:81"); err == nil {
		l.Close()
		if b, _ := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start"); strings.TrimSpace(string(b)) == "1024" {
			t.Error("an ordinary user listens on port 81")
		}
	}
	nc, err := c.Dial(context.Background(), echo(t))
	if err != nil {
		t.Fatal(err)
	}
	roundTrip(t, nc)
	var out bytes.Buffer
	if err := c.Run(context.Background(), sshclient.Command{Line: "tty; stat -c %U $(tty)", Stdout: &out, Terminal: &sshclient.Terminal{Term: "xterm", Columns: 80, Rows: 24}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), name) {
		t.Errorf("the terminal is not the user's: %q", out.String())
	}
}

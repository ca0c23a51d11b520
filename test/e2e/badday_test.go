package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"golang.org/x/sys/unix"

	"teleport/test/cluster"
)

// bad is something that goes wrong: how the command ends and what it says. Each
// says it in one line, and in one more what to do.
type bad struct {
	name string
	run  cluster.Result
	code int
	says string
	hint string
}

// check holds an end against what it must be, and against what no end may be.
func (b bad) check(t *testing.T) {
	t.Helper()
	text := b.run.Stderr
	if b.run.Code != b.code || !strings.Contains(text, "ERROR: ") || !strings.Contains(text, b.says) || !strings.Contains(text, b.hint) {
		t.Errorf("%s: want code %d, %q and %q\n%s", b.name, b.code, b.says, b.hint, b.run)
	}
	for _, never := range []string{"goroutine ", "panic", "internal error", "strconv.", "%!"} {
		if strings.Contains(text, never) {
			t.Errorf("%s: %q in what a person reads\n%s", b.name, never, b.run)
		}
	}
	if n := strings.Count(text[max(strings.Index(text, "ERROR: "), 0):], "\n"); n > 2 {
		t.Errorf("%s: %d lines where two say it\n%s", b.name, n, b.run)
	}
}

func TestAPersonMakesMistakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	bob := w.User(t, "bob", []string{"access"}, []string{w.os.Name})
	login := func(user, answers string, flags ...string) cluster.Result {
		return bob.TshIn(answers, append([]string{"login", "--proxy=" + w.ProxyAddr(), "--user=" + user}, flags...)...)
	}
	noIdentity := write(t, filepath.Join(w.Dir, "no-identity"), "nothing of use\n")
	for _, b := range []bad{
		{"wrong password", login("bob", "wrong\n123456\n", "--insecure"), 4, "the user name, password or code is wrong", "hint: "},
		{"unknown user, in the same words", login("nobody", "wrong\n123456\n", "--insecure"), 4, "the user name, password or code is wrong", "hint: "},
		{"the answers end", login("bob", "", "--insecure"), 2, "the input ended", "one line on standard input"},
		{"a code that is none", login("bob", "x\nabc\n", "--insecure"), 2, "a one-time code has six to eight digits", "hint: "},
		{"a certificate nobody vouches for", login("bob", "x\n123456\n"), 4, "does not trust", "--insecure"},
		{"no proxy there", bob.Tsh("login", "--proxy=127.0.0.1:1", "--user=bob"), 6, "127.0.0.1:1 cannot be reached", "check the address"},
		{"not logged in", bob.Tsh("ls"), 3, "you are not logged in", "tsh login"},
		{"an unknown command", bob.Tsh("shh"), 2, `tsh has no command "shh"`, "did you mean tsh scp, or tsh ssh?"},
		{"an unknown flag", bob.Tsh("ls", "--frmat=json"), 2, "unknown flag: --frmat", "tsh ls --help"},
		{"a flag that wants a number", bob.Tsh("login", "--ttl=long"), 2, `--ttl "long" is not a number`, "tsh login --help"},
		{"an argument too many", bob.Tsh("logout", "now"), 2, `tsh logout takes no argument`, "hint: "},
		{"no identity file", bob.Tsh("-i", noIdentity, "--proxy="+w.ProxyAddr(), "ls"), 2, "is not an identity file", "tsh login --out"},
		{"an unknown node", w.alice.Tsh("ssh", w.os.Name+"@nowhere", "true"), 255, `there is no node "nowhere", or you may not see it`, "tsh ls"},
		{"a login that is not allowed", w.alice.Tsh("ssh", "daemon@"+w.node.Name, "true"), 255, "access denied", "these logins: " + w.os.Name},
		{"a name longer than a line", w.alice.Tsh("ssh", "x y@"+strings.Repeat("a", 9000)), 255, "characters) …", "hint: "},
		{"a local file that is not there", w.alice.Tsh("scp", "/nowhere", w.to+":x"), 1, "/nowhere does not exist", ""},
	} {
		b.check(t)
	}
	logged(t, w.Cluster, "T1000W", "T3007W") // failed log-in, refused login
}

// logged waits for events by their codes.
func logged(t *testing.T, c *cluster.Cluster, codes ...string) {
	t.Helper()
	for _, code := range codes {
		cluster.Until(t, within, code+" in the log", func() bool { return strings.Contains(c.Tctl("audit", "ls").OK(t), code) })
	}
}

func TestAnAdministratorMakesMistakes(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Opts{})
	c.User(t, "alice", []string{"access"}, []string{"root"})
	role := "kind: role\nversion: v8\nmetadata: {name: x}\nspec:\n"
	create := func(text string) cluster.Result {
		return c.Tctl("create", write(t, filepath.Join(c.Dir, "doc.yaml"), text))
	}
	for _, b := range []bad{
		{"an unknown command", c.Tctl("user", "ls"), 2, `tctl has no command "user"`, "did you mean tctl users?"},
		{"an unknown command below", c.Tctl("users", "lst"), 2, `tctl users has no command "lst"`, "tctl users ls"},
		{"a name with a space", c.Tctl("users", "add", "b c", "--roles=access"), 2, `must not hold ' '`, ""},
		{"a name that is no text", c.Tctl("users", "add", "a\xffb", "--roles=access"), 2, `name "a\xffb" must not hold`, ""},
		{"a name without end", c.Tctl("users", "add", strings.Repeat("a", 400), "--roles=access"), 2, "longer than 128 characters", ""},
		{"a name that is a path", c.Tctl("users", "add", "../x", "--roles=access"), 2, "must not start with", ""},
		{"no roles", c.Tctl("users", "add", "bob"), 2, "needs --roles", "--help"},
		{"a role that does not exist", c.Tctl("users", "add", "bob", "--roles=nope"), 2, `there is no role named "nope"`, "tctl get roles"},
		{"a role that does not exist, later", c.Tctl("users", "update", "alice", "--set-roles=nope"), 2, `there is no role named "nope"`, "tctl get roles"},
		{"a user that is there", c.Tctl("users", "add", "alice", "--roles=access"), 2, `user "alice" exists already`, "tctl users reset"},
		{"an unknown kind", c.Tctl("get", "rols"), 5, `no kind of resource called "rols"`, `did you mean "role"?`},
		{"no such resource", c.Tctl("get", "role/nope"), 5, `there is no role named "nope"`, ""},
		{"a lock in the past", c.Tctl("lock", "--user=alice", "--ttl=-5m"), 2, "--ttl -5m0s is not a time to come", "leave it out"},
		{"a time that is none", c.Tctl("tokens", "add", "--ttl=soon"), 2, `--ttl "soon" is not a duration`, "--help"},
		{"a type that is none", c.Tctl("tokens", "add", "--type=nod"), 2, `unknown type "nod"`, "node, proxy"},
		{"no --out", c.Tctl("auth", "sign", "--user=alice"), 2, "needs --out", "--help"},
		{"an --out nowhere", c.Tctl("auth", "sign", "--user=alice", "--out=/nowhere/x"), 2, "the directory of --out=/nowhere/x does not exist", ""},
		{"no file", c.Tctl("create", "/nowhere"), 2, "cannot read /nowhere: it does not exist", ""},
		{"a directory", c.Tctl("create", "/tmp"), 2, "cannot read /tmp: it is a directory", ""},
		{"a file without end", c.Tctl("create", "/dev/zero"), 2, "/dev/zero is larger than 4 MiB", ""},
		{"an empty file", create(""), 2, "doc.yaml holds no document", ""},
		{"no text", create("\xff\xfe\x00"), 2, "doc.yaml:1: ", ""},
		{"an unknown key", create(role + "  allow:\n    node_label: {a: b}\n"), 2, "doc.yaml:6: spec.allow.node_label: unknown key", `did you mean "node_labels"?`},
		{"an unknown kind in a file", create(strings.Replace(role, "role", "rol", 1)), 2, `doc.yaml:1: kind: there is no kind of resource called "rol"`, `did you mean "role"?`},
		{"an unknown version", create(strings.Replace(role, "v8", "v99", 1)), 2, `doc.yaml:2: version: role has no version "v99"`, "known versions"},
		{"a tab", create(role + "\tallow: {}\n"), 2, "doc.yaml:5: a tab stands where spaces must", "indented with spaces"},
		{"nesting without end", create(strings.Repeat("[", 100000)), 2, "nested too deeply", ""},
		{"nobody answers", c.Tctl("--auth-server=127.0.0.1:1", "status"), 6, "the auth service at 127.0.0.1:1 does not answer", "Is it running?"},
	} {
		b.check(t)
	}
	if out := c.Tctl("users", "ls").OK(t); strings.Contains(out, "bob") {
		t.Errorf("a refused user is there:\n%s", out)
	}
}

// writeDoc writes a configuration.
func writeDoc(t *testing.T, path string, conf cluster.Doc) string {
	t.Helper()
	b, err := yaml.Marshal(map[string]any(conf))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, path, string(b))
}

// start runs teleport until it gives up.
func start(c *cluster.Cluster, args ...string) cluster.Result {
	return cluster.Run(cluster.Command{Path: filepath.Join(c.Bin(), "teleport"), Args: append([]string{"start"}, args...),
		Env: []string{"HOME=" + c.Dir, "PATH=" + os.Getenv("PATH")}, Dir: c.Dir})
}

func TestAHostThatMayNotJoin(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Opts{Agents: 1})
	dir := filepath.Join(c.Dir, "host")
	join := func(token, pin string) cluster.Result {
		return start(c, "--roles=node", "--proxy="+c.ProxyAddr(), "--data-dir="+dir, "--token="+token, "--ca-pin="+pin)
	}
	pin, node := c.CAPin(t), c.Token(t, "node")
	gone := c.Token(t, "node")
	c.Tctl("tokens", "rm", gone).OK(t)
	for _, b := range []bad{
		{"no token", join("", pin), 3, "has not joined the cluster yet, and no join token", "tctl tokens add"},
		{"an unknown token", join("0123456789abcdef0123456789abcdef", pin), 4, "the join token is not valid", "tctl tokens add"},
		{"a token that was removed", join(gone, pin), 4, "the join token is not valid", "tctl tokens add"},
		{"a token of another role", join(c.Token(t, "proxy"), pin), 4, "does not allow the role Node", "it allows: Proxy"},
		{"a pin of another cluster", join(node, "sha256:"+strings.Repeat("0", 64)), 4, "the CA pin does not match", "tctl status"},
		{"half a pin", join(node, "sha256:00"), 2, "64 hexadecimal digits", "tctl status"},
		{"a token file that is not there", join("/nowhere", pin), 2, "cannot read the token file /nowhere: it does not exist", ""},
		{"no role", start(c, "--roles=nod"), 2, `unknown role "nod"`, "auth, proxy, node"},
		{"an unknown command", cluster.Run(cluster.Command{Path: filepath.Join(c.Bin(), "teleport"), Args: []string{"strat"}}), 2, `no command "strat"`, "teleport start"},
	} {
		b.check(t)
	}
	if _, err := os.Stat(filepath.Join(dir, "proc", "identity.json")); err == nil {
		t.Error("a host that may not join has an identity")
	}
	logged(t, c, "TJ002E")

	agent := c.Agents[0]
	agent.Term(t)
	identity := filepath.Join(agent.DataDir, "proc", "identity.json")
	for _, d := range []damage{
		{identity, "{", 2, "identity.json is damaged", "join again"},
		{identity, "", 2, "identity.json is damaged", "join again"},
		{filepath.Join(agent.DataDir, "generation"), "x", 2, "does not hold a number", "larger"},
		{agent.ConfigPath, "version: v3\nteleport:\n  nodname: a\n", 2, `teleport.yaml:3:3: unknown key "nodname"`, `Did you mean "nodename"?`},
		{agent.ConfigPath, "version: v3\nteleport: [\n", 2, "teleport.yaml:2:", ""},
		{agent.ConfigPath, "", 2, "teleport.yaml is empty", "teleport configure"},
	} {
		d.check(t, c, agent)
	}
	agent.Start(t)
}

// damage is a file that is not what it was.
type damage struct {
	path, content string
	code          int
	says, hint    string
}

// check puts the damage in place, starts the process on it, and mends it again.
func (d damage) check(t *testing.T, c *cluster.Cluster, p *cluster.Process) {
	t.Helper()
	good, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, d.path, d.content)
	bad{"damaged " + filepath.Base(d.path), start(c, "-c", p.ConfigPath), d.code, d.says, d.hint}.check(t)
	if now, err := os.ReadFile(d.path); err != nil || string(now) != d.content {
		t.Errorf("%s was changed by a process that could not use it", d.path)
	}
	write(t, d.path, string(good))
}

func TestAnAuthHostHasABadDay(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Opts{})
	auth := c.Auth
	other := func(change func(cluster.Doc)) cluster.Result {
		conf := cluster.Doc{"version": "v3"}
		conf.Set("teleport.data_dir", filepath.Join(c.Dir, "second")).Set("auth_service.listen_addr", "127.0.0.1:0").
			Set("proxy_service.enabled", false).Set("ssh_service.enabled", false)
		change(conf)
		return start(c, "-c", writeDoc(t, filepath.Join(c.Dir, "second.yaml"), conf))
	}
	for _, b := range []bad{
		{"a port already taken", other(func(d cluster.Doc) { d.Set("auth_service.listen_addr", auth.AuthAddr) }), 6, "another process uses that port", "ss -ltnp"},
		{"an address of another host", other(func(d cluster.Doc) { d.Set("auth_service.listen_addr", "192.0.2.1:3025") }), 2, "this host does not have that address", "0.0.0.0"},
		{"a data directory in use", other(func(d cluster.Doc) { d.Set("teleport.data_dir", auth.DataDir) }), 6, "is in use by", "another data directory"},
		{"no data directory possible", other(func(d cluster.Doc) { d.Set("teleport.data_dir", "/proc/nowhere") }), 6, "cannot make the data directory", ""},
	} {
		b.check(t)
	}
	auth.Term(t)
	db := filepath.Join(auth.DataDir, "backend", "teleport.sqlite")
	for _, d := range []damage{
		{db, strings.Repeat("garbage ", 2000), 6, "teleport.sqlite is", "backup"},
		{filepath.Join(auth.DataDir, "proc", "keystore.key"), "x", 2, "keystore.key is damaged", "Restore it from a backup"},
		{filepath.Join(auth.DataDir, "proc", "keystore.key"), strings.Repeat("x", 32), 4, "does not open with this sealing key", "sealing key"},
		{filepath.Join(auth.DataDir, "host_uuid"), "x\n", 2, "host_uuid does not hold a host UUID", "backup"},
	} {
		d.check(t, c, auth)
	}
	for _, m := range []struct{ path, says string }{
		{filepath.Join(auth.DataDir, "proc", "keystore.key"), "keystore.key: it does not exist"},
		{db, "belongs to a cluster that was started before"},
	} {
		if err := os.Rename(m.path, m.path+".away"); err != nil {
			t.Fatal(err)
		}
		bad{"lost " + filepath.Base(m.path), start(c, "-c", auth.ConfigPath), 2, m.says, "backup"}.check(t)
		if err := os.Rename(m.path+".away", m.path); err != nil {
			t.Fatal(err)
		}
	}
	auth.Start(t)
	c.Tctl("audit", "verify").OK(t)
}

// disk mounts a small disk of its own for the test.
func disk(t *testing.T, dir, size string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Fatalf("this test mounts a small disk, as root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func TestADiskIsFullOrReadOnly(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Opts{})
	dir := filepath.Join(c.Dir, "disk")
	disk(t, dir, "64k")
	conf := cluster.Doc{"version": "v3"}
	conf.Set("teleport.data_dir", filepath.Join(dir, "data")).Set("auth_service.listen_addr", "127.0.0.1:0").
		Set("proxy_service.enabled", false).Set("ssh_service.enabled", false)
	path := writeDoc(t, filepath.Join(c.Dir, "disk.yaml"), conf)
	bad{"a full disk", start(c, "-c", path), 6, "is full", "free space"}.check(t)

	agent := []string{"--roles=node", "--proxy=" + c.ProxyAddr(), "--data-dir=" + filepath.Join(dir, "agent"), "--token=" + c.Token(t, "node"), "--ca-pin=" + c.CAPin(t)}
	fill(t, filepath.Join(dir, "fill"))
	bad{"an agent on a full disk", start(c, agent...), 6, "the disk is full", "free some space"}.check(t)

	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	bad{"a read-only disk", start(c, "-c", path), 6, "read-only", ""}.check(t)
	bad{"an agent on a read-only disk", start(c, agent...), 6, "read-only", ""}.check(t)
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(e.Name(), ".") {
			t.Errorf("a half-written file is left: %s", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// fill writes until nothing fits any more.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
}

func TestAProfileIsDamaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	home := filepath.Join(w.alice.Home, ".tsh")
	err := filepath.WalkDir(home, func(path string, e os.DirEntry, err error) error {
		// Public halves are for people, and the lock holds nothing.
		if err != nil || e.IsDir() || filepath.Base(path) == "alice.pub" || e.Name() == ".lock" {
			return err
		}
		good, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, content := range []string{"", "\x00\xff\x1b[2J no file of ours"} {
			write(t, path, content)
			r := w.alice.Tsh("ssh", w.to, "true")
			bad{"damaged " + e.Name(), r, 255, "", "hint: "}.check(t)
			if strings.Contains(r.Stderr, "\x1b") {
				t.Errorf("damaged %s moves the cursor", e.Name())
			}
		}
		write(t, path, string(good))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.ssh("true").OK(t)
}

func TestStandardOutputIsClosedOrFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	sh := func(script string) cluster.Result {
		return w.alice.Run(cluster.Command{Path: cluster.Need(t, "bash", "bash"), Args: []string{"--norc", "-c", "set -o pipefail; " + script}})
	}
	for _, cmd := range []string{"tsh ls", "tsh status", "tctl get roles", "tctl audit ls", "tsh ssh " + w.to + " 'seq 100000'"} {
		if r := sh(cmd + " | head -c 1 >/dev/null"); r.Code != 141 && r.Code != 0 {
			t.Errorf("%s into a closed pipe: %s", cmd, r)
		}
		if r := sh(cmd + " >/dev/full"); r.Code == 0 || strings.Contains(r.Stderr, "internal error") {
			t.Errorf("%s onto a full disk: %s", cmd, r)
		}
	}
}

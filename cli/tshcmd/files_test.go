package tshcmd_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"teleport/cli/tshcmd"
	"teleport/client/clienttest"
	"teleport/types"
)

func otherClusterHost(t *testing.T) ssh.Signer {
	t.Helper()
	_, s := clienttest.NewCA(t, cluster).Host(t, "30000000-0000-4000-8000-000000000004", "foreign", types.RoleNode)
	return s
}

func TestScp(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	here, there := t.TempDir(), t.TempDir()
	big := strings.Repeat("0123456789abcdef", 100_000)
	write(t, filepath.Join(here, "big"), big)
	write(t, filepath.Join(here, "tree/a/one"), "1")
	write(t, filepath.Join(here, "tree/two"), "2")
	if err := os.Chmod(filepath.Join(here, "tree/two"), 0o700); err != nil {
		t.Fatal(err)
	}
	ok := func(args ...string) {
		t.Helper()
		if r := w.tsh("", append([]string{"scp"}, args...)...); r.code != 0 || r.err != "" {
			t.Errorf("scp %v: %+v", args, r)
		}
	}
	ok(here+"/big", "root@web-1:"+there+"/copy")
	same(t, filepath.Join(there, "copy"), big)
	ok("root@web-1:"+there+"/copy", here+"/back")
	same(t, filepath.Join(here, "back"), big)
	ok("-r", here+"/tree", "root@web-1:"+there)
	same(t, filepath.Join(there, "tree/a/one"), "1")
	if info, err := os.Stat(filepath.Join(there, "tree/two")); err != nil || info.Mode().Perm()&0o100 == 0 {
		t.Errorf("the mode was lost: %v, %v", info.Mode(), err)
	}
	ok("-r", "root@web-1:"+there+"/tree", here+"/tree2")
	same(t, filepath.Join(here, "tree2/two"), "2")
	if err := os.Mkdir(filepath.Join(here, "into"), 0o700); err != nil {
		t.Fatal(err)
	}
	ok("root@web-1:"+there+"/tree/t*", "root@web-1:"+there+"/copy", here+"/into")
	same(t, filepath.Join(here, "into/two"), "2")
	same(t, filepath.Join(here, "into/copy"), big)
	write(t, filepath.Join(here, "big"), "shorter")
	ok(here+"/big", "root@web-1:"+there+"/copy")
	same(t, filepath.Join(there, "copy"), "shorter")
	noLeftovers(t, here)
	noLeftovers(t, there)
}

func TestScpRefusals(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "a")
	write(t, filepath.Join(dir, "keep"), "old")
	for _, c := range []struct {
		code       int
		args, want string
	}{
		{1, dir + "/missing root@web-1:" + dir, "does not exist"},
		{1, "root@web-1:" + dir + "/missing " + dir + "/keep", "does not exist"},
		{1, dir + " root@web-1:" + dir + "/x", "add -r"},
		{1, dir + "/a " + dir + "/keep root@web-1:" + dir + "/keep", "not a directory"},
		{1, "root@web-1:" + dir + "/no* " + dir, "nothing on the server matches"},
		{1, dir + "/a root@web-1:/nonexistent/dir/a", "does not exist"},
		{255, dir + "/a " + dir + "/b", "one side is on one server"},
		{255, "root@web-1:a root@db-1:b", "one side is on one server"},
		{255, dir + "/a root@nowhere:", "no server is called"},
	} {
		r := w.tsh("", append([]string{"scp"}, strings.Fields(c.args)...)...)
		if r.code != c.code || !strings.Contains(r.err, c.want) {
			t.Errorf("scp %s: %+v", c.args, r)
		}
	}
	same(t, filepath.Join(dir, "keep"), "old")
	noLeftovers(t, dir)
}

func TestForwarding(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	if r := w.tsh("through -W", "ssh", "-W", echo.Addr().String(), "root@web-1"); r.code != 0 || r.out != "through -W" {
		t.Errorf("-W: %+v", r)
	}
	r, out := io.Pipe()
	in, stdin := io.Pipe()
	code := make(chan int)
	go func() {
		code <- tshcmd.Run(t.Context(), []string{"ssh", "-L", "0:" + echo.Addr().String(), "-D", "0", "root@web-1", "cat"}, in, io.Discard, out,
			[]string{"TELEPORT_HOME=" + w.home})
	}()
	notes := bufio.NewReader(r)
	var local, socks int
	line := readLine(t, notes)
	if _, err := fmt.Sscanf(line, "Allocated port %d here", &local); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	line = readLine(t, notes)
	if _, err := fmt.Sscanf(line, "Allocated port %d here", &socks); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	speak(t, local, nil)
	host, port, _ := net.SplitHostPort(echo.Addr().String())
	var p int
	if _, err := fmt.Sscan(port, &p); err != nil {
		t.Fatal(err)
	}
	speak(t, socks, append(append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...), byte(p>>8), byte(p)))
	stdin.Close()
	if c := <-code; c != 0 {
		t.Errorf("ended with %d", c)
	}
}

// speak checks that a port leads to the echo server, by way of a SOCKS request
// where one is given.
func speak(t *testing.T, port int, socks []byte) {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	if socks != nil {
		if _, err := c.Write(socks); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 12)); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Error(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
		t.Errorf("port %d answers %q, %v", port, got, err)
	}
}

func TestProxySSH(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	r := w.tsh("", "proxy", "ssh", "--cluster="+cluster, "root@web-1.example:3022")
	if !strings.HasPrefix(r.out, "SSH-2.0-") {
		t.Errorf("%+v", r)
	}
}

func TestIdentityFile(t *testing.T) {
	w := newWorld(t)
	id := filepath.Join(t.TempDir(), "alice.pem")
	if r := w.logIn("--out=" + id); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if info, err := os.Stat(id); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if r := w.tsh("", "status"); r.code != 3 {
		t.Errorf("a log-in to a file left a profile: %+v", r)
	}
	if r := w.tsh("", "-i", id, "--proxy="+w.addr, "ls", "--format=names"); r.code != 0 || r.out != "db-1\nweb-1\n" {
		t.Errorf("ls: %+v", r)
	}
	if r := w.tsh("", "-i", id, "--proxy="+w.addr, "ssh", "root@web-1", "exit 3"); r.code != 3 {
		t.Errorf("ssh: %+v", r)
	}
	if r := w.tsh("", "-i", id, "ls"); r.code != 2 || !strings.Contains(r.err, "--proxy") {
		t.Errorf("no proxy: %+v", r)
	}
	if r := w.logIn("--out=" + id); r.code != 2 || !strings.Contains(r.err, "--overwrite") {
		t.Errorf("second log-in: %+v", r)
	}
	if err := os.Chmod(id, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := w.tsh("", "-i", id, "--proxy="+w.addr, "ls"); r.code != 4 || !strings.Contains(r.err, "chmod 600") {
		t.Errorf("readable by others: %+v", r)
	}
}

// The printed configuration must mean to OpenSSH what it says.
func TestConfigForOpenSSH(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	r := w.tsh("", "config")
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	path := filepath.Join(t.TempDir(), "ssh config")
	write(t, path, r.out)
	node := sshG(t, path, "web-1.example")
	for k, v := range map[string]string{"port": "3022", "userknownhostsfile": w.home + "/known_hosts", "identityfile": w.home + "/keys/127.0.0.1/alice",
		"certificatefile": w.home + "/keys/127.0.0.1/alice-ssh/example-cert.pub", "identitiesonly": "yes"} {
		if node[k] != v {
			t.Errorf("%s is %q, not %q", k, node[k], v)
		}
	}
	if c := node["proxycommand"]; !strings.HasSuffix(c, "proxy ssh --cluster=example --proxy="+w.addr+" '%r@%h:%p'") || !strings.Contains(c, "TELEPORT_HOME="+w.home) {
		t.Errorf("proxycommand is %q", c)
	}
	_, port, _ := net.SplitHostPort(w.addr)
	proxy := sshG(t, path, "127.0.0.1")
	if proxy["port"] != port || proxy["proxycommand"] != "" || proxy["hostkeyalias"] != "proxy.example" {
		t.Errorf("the proxy's stanza: port %q, proxycommand %q, hostkeyalias %q", proxy["port"], proxy["proxycommand"], proxy["hostkeyalias"])
	}
	if other := sshG(t, path, "elsewhere.org"); other["port"] != "22" || other["certificatefile"] != "" {
		t.Errorf("a foreign host is touched: %v", other["certificatefile"])
	}
}

// OpenSSH itself, through tsh proxy ssh, with the printed configuration.
func TestOpenSSH(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	config := filepath.Join(t.TempDir(), "config")
	write(t, config, w.tsh("", "config").out)
	cmd := exec.CommandContext(t.Context(), "ssh", "-F", config, "root@web-1.example", "cat; echo err >&2; exit 4")
	cmd.Env = append(os.Environ(), asTsh+"=1")
	cmd.Stdin = strings.NewReader("through OpenSSH")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != 4 || out.String() != "through OpenSSH" || errs.String() != "err\n" {
		t.Errorf("%v: %q, %q", err, out.String(), errs.String())
	}
	cmd = exec.CommandContext(t.Context(), "ssh", "-F", config, "root@nowhere.example", "true")
	cmd.Env = append(os.Environ(), asTsh+"=1")
	if text, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 255 || !strings.Contains(string(text), "no server is called") {
		t.Errorf("unknown server: %s", text)
	}
}

func sshG(t *testing.T, config, host string) map[string]string {
	t.Helper()
	out, err := exec.Command("ssh", "-G", "-F", config, host).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh -G: %v\n%s", err, out)
	}
	m := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		m[k] = v
	}
	return m
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %d bytes, not the %d expected (%v)", path, len(got), len(want), err)
	}
}

func noLeftovers(t *testing.T, dir string) {
	t.Helper()
	if list, _ := filepath.Glob(filepath.Join(dir, ".*.part")); len(list) > 0 {
		t.Errorf("left behind: %v", list)
	}
}

func readLine(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}

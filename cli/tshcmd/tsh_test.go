package tshcmd_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teleport/cli/tshcmd"
	"teleport/client/profile"
)

func TestLogin(t *testing.T) {
	w := newWorld(t)
	w.ping["auth"].(map[string]any)["message_of_the_day"] = "Be \x1b[31mcareful."
	if r := w.tsh("", "status"); r.code != 3 || !strings.Contains(r.err, "not logged in") {
		t.Errorf("status before: %+v", r)
	}
	if r := w.tsh("wrong\n000000\n", "login", "--proxy="+w.addr, "--user=alice", "--insecure"); r.code != 3 ||
		!strings.Contains(r.err, "ERROR: invalid credentials\nhint: check") {
		t.Errorf("wrong password: %+v", r)
	}
	if r := w.tsh(password+"\n", "login", "--proxy="+w.addr, "--user=alice", "--insecure"); r.code != 2 || !strings.Contains(r.err, "the input ended") {
		t.Errorf("no code: %+v", r)
	}
	if r := w.tsh(password+"\n"+otpCode+"\n", "login", "--proxy="+w.addr, "--user=alice"); r.code != 4 || !strings.Contains(r.err, "--insecure") {
		t.Errorf("self-signed certificate: %+v", r)
	}
	w.ping["proxy"] = map[string]any{"ssh": map[string]any{"public_addr": "portal.example.com:3080"}}
	r := w.logIn()
	if r.code != 0 || !strings.Contains(r.out, "> Proxy:       "+w.addr) || !strings.Contains(r.err, `Be \x1b[31mcareful.`) || strings.Contains(r.err, "\x1b") {
		t.Fatalf("login: %+v", r)
	}
	if dir, err := profile.Open(w.home); err != nil {
		t.Error(err)
	} else if p, err := dir.Current(); err != nil || p.PublicAddr != "portal.example.com:3080" {
		t.Errorf("the proxies' own address is kept as %v: %v", p, err)
	}
	if r := w.tsh("", "login", "--proxy="+w.addr); r.code != 0 {
		t.Errorf("a log-in that is valid needs no password: %+v", r)
	}
	if r := w.tsh("", "status", "--format=json"); r.code != 0 {
		t.Errorf("status: %+v", r)
	} else {
		var list []struct {
			User   string   `json:"username"`
			Logins []string `json:"logins"`
			Roles  []string `json:"roles"`
			Active bool     `json:"active"`
		}
		if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list) != 1 || list[0].User != "alice" || !list[0].Active ||
			strings.Join(list[0].Logins, ",") != "root,deploy" || strings.Join(list[0].Roles, ",") != "access" {
			t.Errorf("status says %s (%v)", r.out, err)
		}
	}
	if r := w.tsh("", "logout"); r.code != 0 {
		t.Errorf("logout: %+v", r)
	}
	if r := w.tsh("", "status"); r.code != 3 {
		t.Errorf("status after: %+v", r)
	}
}

func TestExpiredLogin(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	w.ttl = -time.Hour
	if r := w.logIn("--force"); r.code != 3 || !strings.Contains(r.err, "expired") {
		t.Errorf("a certificate that has ended was kept: %+v", r)
	}
}

func TestTTL(t *testing.T) {
	w := newWorld(t)
	if r := w.logIn("--ttl=5"); r.code != 0 || !strings.Contains(r.out, "4m left") && !strings.Contains(r.out, "5m left") {
		t.Errorf("%+v", r)
	}
	if r := w.logIn("--ttl=-1"); r.code != 2 {
		t.Errorf("%+v", r)
	}
}

func TestClientTooOld(t *testing.T) {
	w := newWorld(t)
	w.ping["min_client_version"] = "99.0.0"
	if r := w.logIn(); r.code != 2 || !strings.Contains(r.err, "99.0.0") {
		t.Errorf("%+v", r)
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	if r := w.tsh("", "ls"); r.code != 3 {
		t.Errorf("without a log-in: %+v", r)
	}
	w.mustLogIn()
	want := "Node Name Address  Labels\n--------- -------- -----------------\ndb-1      ⟵ Tunnel env=test\nweb-1     ⟵ Tunnel env=prod,role=web\n"
	if r := w.tsh("", "ls"); r.code != 0 || r.out != want {
		t.Errorf("ls: %+v", r)
	}
	for args, want := range map[string]string{
		"ls --format=names":                   "db-1\nweb-1\n",
		"ls --format=names env=prod":          "web-1\n",
		"ls --format=names env=prod,role=db":  "",
		"ls --format=names --search=db":       "db-1\n",
		"ls --format=names env=prod role=web": "web-1\n",
	} {
		if r := w.tsh("", strings.Fields(args)...); r.code != 0 || r.out != want {
			t.Errorf("%s: %+v", args, r)
		}
	}
	r := w.tsh("", "ls", "--format=json", "env=test")
	var nodes []struct {
		Kind string `json:"kind"`
		Spec struct {
			Hostname string `json:"hostname"`
		} `json:"spec"`
	}
	if err := json.Unmarshal([]byte(r.out), &nodes); err != nil || len(nodes) != 1 || nodes[0].Kind != "node" || nodes[0].Spec.Hostname != "db-1" {
		t.Errorf("json: %v\n%s", err, r.out)
	}
	if r := w.tsh("", "ls", "--format=yaml", "env=test"); !strings.Contains(r.out, "hostname: db-1") {
		t.Errorf("yaml: %s", r.out)
	}
	if r := w.tsh("", "ls", "--format=json", "env=none"); strings.TrimSpace(r.out) != "[]" {
		t.Errorf("empty json: %q", r.out)
	}
	if r := w.tsh("", "ls", "notalabel"); r.code != 2 {
		t.Errorf("bad label: %+v", r)
	}
	if r := w.tsh("", "__complete", "ssh", "root@w"); !strings.HasPrefix(r.out, "root@web-1\n") {
		t.Errorf("completion: %+v", r)
	}
}

func TestSSH(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	for _, c := range []struct {
		name, stdin, args string
		line              string
		code              int
		out, err          string
	}{
		{"streams and code", "", "root@web-1 --", "echo out; echo err >&2; exit 7", 7, "out\n", "err\n"},
		{"success", "", "root@web-1", "true", 0, "", ""},
		{"by UUID", "", "root@30000000-0000-4000-8000-000000000001", "echo hi", 0, "hi\n", ""},
		{"by label", "", "root@env=prod", "echo hi", 0, "hi\n", ""},
		{"name as OpenSSH has it", "", "root@web-1.example", "echo hi", 0, "hi\n", ""},
		{"stdin", "some text", "root@web-1", "cat", 0, "some text", ""},
		{"no stdin", "some text", "-n root@web-1", "cat", 0, "", ""},
		{"login by flag", "", "-l root web-1", "echo hi", 0, "hi\n", ""},
		{"flags behind the host", "", "web-1 -l root", "echo hi", 0, "hi\n", ""},
		{"login by setting", "", "-o User=root web-1", "echo hi", 0, "hi\n", ""},
		{"environment", "", "-o SetEnv=A=b root@web-1", "echo $A $LC_TEST", 0, "b yes\n", ""},
		{"signal", "", "root@web-1", "kill -TERM $$", 143, "", ""},
		{"a command's own flags", "", "root@web-1", "echo -n -l x", 0, "-l x", ""},
	} {
		r := w.tsh(c.stdin, append(append([]string{"ssh"}, strings.Fields(c.args)...), c.line)...)
		if r.code != c.code || r.out != c.out || r.err != c.err {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

func TestSSHRefusals(t *testing.T) {
	w := newWorld(t)
	if r := w.tsh("", "ssh", "root@web-1", "true"); r.code != 255 || !strings.Contains(r.err, "not logged in") {
		t.Errorf("no log-in: %+v", r)
	}
	w.mustLogIn()
	w.addNode("30000000-0000-4000-8000-000000000003", "liar", nil).claims = "30000000-0000-4000-8000-000000000001"
	w.nodes["wanted"] = &node{uuid: "30000000-0000-4000-8000-000000000001", hostname: "wanted", signer: w.nodes["web-1"].signer}
	w.addNode("30000000-0000-4000-8000-000000000004", "foreign", nil).signer = otherClusterHost(t)
	for _, c := range []struct{ args, want string }{
		{"root@nowhere", "no server is called \"nowhere\""},
		{"deploy@web-1", "does not let you in as \"deploy\""},
		{"mallory@web-1", "your certificate is good for these logins: root, deploy"},
		{"root@liar", "the host that answered is 30000000-0000-4000-8000-000000000003"},
		{"root@wanted", "not for wanted"},
		{"root@foreign", "not to be trusted"},
		{"root@", "does not name a server"},
		{"root@-oProxyCommand=x", "does not name a server"},
		{"-o Nonsense=1 root@web-1", "Nonsense is not known"},
		{"-L nonsense root@web-1", "is not a forwarding"},
	} {
		r := w.tsh("", append(append([]string{"ssh"}, strings.Fields(c.args)...), "true")...)
		if r.code != 255 || !strings.Contains(r.err, c.want) || !strings.HasPrefix(r.err, "ERROR: ") {
			t.Errorf("%s: %+v", c.args, r)
		}
	}
}

func TestUserWithoutLogins(t *testing.T) {
	w := newWorld(t)
	w.noSSH = true
	w.mustLogIn()
	if r := w.tsh("", "ls", "--format=names"); r.code != 0 || r.out == "" {
		t.Errorf("ls: %+v", r)
	}
	if r := w.tsh("", "ssh", "root@web-1", "true"); r.code != 255 || !strings.Contains(r.err, "allow no login") {
		t.Errorf("ssh: %+v", r)
	}
}

func TestWrongUse(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		args string
		code int
	}{
		{"nonsense", 2}, {"ls --nonsense", 2}, {"ls --format=xml", 2}, {"login extra arguments", 2}, {"login --proxy=a/b", 2},
		{"completion tcsh", 2}, {"-i /nonexistent status", 2}, {"ssh", 255}, {"scp a", 255}, {"proxy ssh", 255}, {"config -p 0", 2},
	} {
		if r := w.tsh("", strings.Fields(c.args)...); r.code != c.code || !strings.HasPrefix(r.err, "ERROR: ") {
			t.Errorf("%s: %+v", c.args, r)
		}
	}
	for _, args := range []string{"", "--help", "ssh --help", "version --client", "completion bash", "completion zsh", "completion fish"} {
		if r := w.tsh("", strings.Fields(args)...); r.code != 0 || r.out == "" {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

func TestVersion(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	r := w.tsh("", "version", "--format=json")
	if r.code != 0 || !strings.Contains(r.out, `"proxyVersion": "0.1.0"`) {
		t.Errorf("%+v", r)
	}
}

func TestEnvAndClusters(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	if r := w.tsh("", "env"); r.code != 0 || !strings.Contains(r.out, "export TELEPORT_PROXY="+w.addr+"\n") {
		t.Errorf("env: %+v", r)
	}
	if r := w.tsh("", "clusters", "-q"); r.code != 0 || r.out != cluster+"\n" {
		t.Errorf("clusters: %+v", r)
	}
	if r := w.run("", []string{"TELEPORT_HOME=" + w.home, "TELEPORT_CLUSTER=other"}, "ls"); r.code != 5 || !strings.Contains(r.err, "other") {
		t.Errorf("another cluster: %+v", r)
	}
}

func TestBadDays(t *testing.T) {
	w := newWorld(t)
	id := filepath.Join(t.TempDir(), "id")
	if r := w.logIn("--out=" + id); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if r := w.tsh("", "-i", id, "--proxy=127.0.0.1:1", "ls"); r.code != 6 || !strings.Contains(r.err, "127.0.0.1:1") {
		t.Errorf("no proxy there: %+v", r)
	}
	if r := w.tsh("", "login", "--proxy=127.0.0.1:1"); r.code != 6 || !strings.Contains(r.err, "cannot be reached") {
		t.Errorf("login without a proxy: %+v", r)
	}
	w.mustLogIn()
	if err := os.Chmod(w.home, 0o777); err != nil {
		t.Fatal(err)
	}
	if r := w.tsh("", "ls"); r.code != 4 || !strings.Contains(r.err, "chmod 700") {
		t.Errorf("a profile others can write: %+v", r)
	}
	if err := os.Chmod(w.home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.home, "keys/127.0.0.1/alice.key"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.tsh("", "ls"); r.code != 2 || !strings.HasPrefix(r.err, "ERROR: ") {
		t.Errorf("a damaged key: %+v", r)
	}
	if r := w.tsh("", "logout"); r.code != 0 {
		t.Errorf("logout of a damaged profile: %+v", r)
	}
	if r := w.logIn(); r.code != 0 {
		t.Errorf("login after that: %+v", r)
	}
}

// A person who interrupts knows that; the exit code is a shell's for SIGINT.
func TestInterrupt(t *testing.T) {
	w := newWorld(t)
	w.mustLogIn()
	ctx, cancel := context.WithCancelCause(t.Context())
	r, out := io.Pipe()
	code := make(chan int)
	var errs bytes.Buffer
	go func() {
		code <- tshcmd.Run(ctx, []string{"ssh", "-n", "root@web-1", "echo here; exec cat /dev/zero >/dev/null"}, nil, out, &errs, []string{"TELEPORT_HOME=" + w.home})
	}()
	if line := readLine(t, bufio.NewReader(r)); line != "here\n" {
		t.Errorf("%q", line)
	}
	cancel(errors.New("interrupt signal received"))
	if c := <-code; c != 130 || errs.Len() > 0 {
		t.Errorf("ended with %d: %s", c, errs.String())
	}
}

package sshaccess_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"teleport/types/event"
)

func TestOpenSSHCommand(t *testing.T) {
	w := newWorld(t)
	key, _ := w.user("alice", "root")
	r := w.ssh(key, "root", nil, "echo out; echo err >&2; exit 7")
	if r.out != "out\n" || r.err != "err\n" || r.code != 7 {
		t.Fatalf("%+v", r)
	}
	start := w.log.wait(t, "session.start", "T2000I").(*event.SessionStart)
	if start.User.User != "alice" || start.Login != "root" || !start.Decision.Allow || start.Decision.Role != "dev" || start.Command == "" {
		t.Errorf("session.start says %+v", start)
	}
	exec := w.log.wait(t, "exec", "T3002I").(*event.Exec)
	if exec.ExitCode != "7" || !strings.HasPrefix(exec.Command.Command, "echo out") {
		t.Errorf("exec says %+v", exec)
	}
	end := w.log.wait(t, "session.end", "T2004I").(*event.SessionEnd)
	if end.SessionID != start.SessionID || end.Reason != "exit" {
		t.Errorf("session.end says %+v", end)
	}
	data := w.log.wait(t, "session.data", "T2006I").(*event.SessionData)
	if data.BytesTransmitted != 8 {
		t.Errorf("session.data says %+v", data)
	}
}

func TestOpenSSHSignal(t *testing.T) {
	w := newWorld(t)
	key, _ := w.user("alice", "root")
	if r := w.ssh(key, "root", nil, "kill -TERM $$"); r.code != 255 {
		t.Errorf("ssh reports 255 for an exit-signal, got %+v", r)
	}
}

func TestOpenSSHInput(t *testing.T) {
	w := newWorld(t)
	key, _ := w.user("alice", "root")
	if r := w.ssh(key, "root", strings.NewReader("one\ntwo\n"), "cat; echo done"); r.out != "one\ntwo\ndone\n" {
		t.Fatalf("%+v", r)
	}
	if r := w.ssh(key, "root", strings.NewReader("echo from a shell\nexit 4\n")); r.out != "from a shell\n" || r.code != 4 {
		t.Fatalf("shell without a terminal: %+v", r)
	}
}

func TestOpenSSHTerminal(t *testing.T) {
	w := newWorld(t)
	key, _ := w.user("alice", "root")
	r := w.run(nil, "ssh", append(append([]string{"-tt"}, w.options(key)...), "root@127.0.0.1", "stty size; tty; echo $TERM; echo err >&2; exit 3")...)
	lines := strings.Split(strings.ReplaceAll(r.out, "\r", ""), "\n")
	if r.code != 3 || len(lines) < 4 || !strings.HasPrefix(lines[1], "/dev/pts/") || lines[2] != "xterm" || lines[3] != "err" {
		t.Fatalf("%+v", r)
	}
}

func TestOpenSSHEnvironment(t *testing.T) {
	t.Setenv("AGENT_CANARY", "must-not-travel")
	w := newWorld(t)
	key, _ := w.user("alice", "root")
	r := w.run(nil, "ssh", append(append([]string{"-o", "SendEnv=LC_TEST", "-o", "SetEnv=FOO=bar LD_PRELOAD=/tmp/x.so PATH=/evil BASH_ENV=/evil"}, w.options(key)...),
		"root@127.0.0.1", "env; umask")...)
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	for _, want := range []string{"LC_TEST=from-client", "FOO=bar", "HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/sh",
		"SSH_TELEPORT_USER=alice", "SSH_TELEPORT_CLUSTER_NAME=" + cluster, "SSH_TELEPORT_HOST_UUID=" + hostUUID, "SSH_CONNECTION=127.0.0.1 ", "SSH_SESSION_ID="} {
		if !strings.Contains("\n"+r.out, "\n"+want) {
			t.Errorf("missing %s in\n%s", want, r.out)
		}
	}
	for _, never := range []string{"LD_PRELOAD", "/evil", "AGENT_CANARY", "GOPATH"} {
		if strings.Contains(r.out, never) {
			t.Errorf("%s travelled:\n%s", never, r.out)
		}
	}
	if !strings.HasSuffix(r.out, "0022\n") {
		t.Errorf("umask: %q", r.out[len(r.out)-10:])
	}
}

func TestOpenSSHNoDescriptors(t *testing.T) {
	// A descriptor without close-on-exec, as a service manager hands over.
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	leak(t, f)
	w := newWorld(t)
	key, _ := w.user("alice", "root")
	r := w.ssh(key, "root", nil, "ls /proc/self/fd")
	// 3 is the directory that ls itself reads.
	if strings.Fields(r.out) == nil || strings.Join(strings.Fields(r.out), " ") != "0 1 2 3" {
		t.Fatalf("descriptors: %q", r.out)
	}
}

func TestOpenSSHLoginNotAllowed(t *testing.T) {
	w := newWorld(t)
	key, _ := w.user("alice", "root", "nobody")
	r := w.ssh(key, "nobody", nil, "id")
	if r.code != 255 || !strings.Contains(r.err, "Permission denied") || r.out != "" {
		t.Fatalf("%+v", r)
	}
	e := w.log.wait(t, "auth", "T3007W").(*event.AuthFail)
	if e.User.User != "alice" || e.Login != "nobody" || e.Success || e.Decision == nil || e.Decision.Allow {
		t.Errorf("auth event says %+v", e)
	}
	if n := w.log.count("session.start"); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

// ledger makes n reproducible bytes and their hash.
func ledger(t *testing.T, name string, n int64) string {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	src := rand.NewChaCha8([32]byte{1})
	if _, err := io.CopyN(io.MultiWriter(f, h), src, n); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func sum(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

const bulk = 100 << 20

func TestOpenSSHBinarySafe(t *testing.T) {
	w := newWorld(t)
	key, _ := w.user("alice", "root")
	src := filepath.Join(t.TempDir(), "ledger")
	want := ledger(t, src, bulk)
	in, err := os.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r := w.ssh(key, "root", in, "sha256sum")
	if !strings.HasPrefix(r.out, want) {
		t.Fatalf("up: %+v", r)
	}
	r = w.ssh(key, "root", nil, "cat "+src)
	if got := sha256.Sum256([]byte(r.out)); hex.EncodeToString(got[:]) != want {
		t.Fatalf("down: %d bytes, code %d, %s", len(r.out), r.code, r.err)
	}
}

func TestOpenSSHCopies(t *testing.T) {
	w := newWorld(t)
	key, _ := w.user("alice", "root")
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	want := ledger(t, src, 8<<20+13)
	opts := w.options(key)
	remote := "root@127.0.0.1:"
	batch := filepath.Join(dir, "batch")
	w.write(batch, []byte(fmt.Sprintf("put %s %s/sftp-up\nget %s/sftp-up %s/sftp-down\nmkdir %s/d\nrename %s/d %s/e\nls %s\nrmdir %s/e\n", src, dir, dir, dir, dir, dir, dir, dir, dir)))
	for name, args := range map[string][]string{
		"scp-s-up":  append(append([]string{"scp", "-s", "-p"}, opts...), src, remote+dir+"/scp-s-up"),
		"scp-O-up":  append(append([]string{"scp", "-O", "-p"}, opts...), src, remote+dir+"/scp-O-up"),
		"scp-s-dn":  append(append([]string{"scp", "-s"}, opts...), remote+src, dir+"/scp-s-dn"),
		"scp-O-dn":  append(append([]string{"scp", "-O"}, opts...), remote+src, dir+"/scp-O-dn"),
		"sftp-down": append(append([]string{"sftp", "-b", batch}, opts...), "root@127.0.0.1"),
		"rsync-up":  {"rsync", "-e", "ssh " + strings.Join(opts, " "), src, remote + dir + "/rsync-up"},
		"rsync-dn":  {"rsync", "-e", "ssh " + strings.Join(opts, " "), remote + src, dir + "/rsync-dn"},
	} {
		if r := w.run(nil, args[0], args[1:]...); r.code != 0 {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		if got := sum(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s: the copy differs", name)
		}
	}
	up := w.log.wait(t, "scp", "T3005I").(*event.SCP)
	if up.Path != dir+"/scp-O-up" || up.Action != "upload" || up.Length < 8<<20 {
		t.Errorf("scp says %+v", up)
	}
	w.log.wait(t, "scp", "T3004I")
	for _, code := range []string{"TS001I", "TS009I", "TS010I", "TS012I", "TS013I", "TS016I", "TS007I"} {
		w.log.wait(t, "sftp", code)
	}
	s := w.log.wait(t, "sftp_summary", "TS021I").(*event.SFTPSummary)
	if len(s.Files) == 0 {
		t.Errorf("summary says %+v", s)
	}
	w.log.wait(t, "subsystem", "T3001I")
}

func TestFileCopyDenied(t *testing.T) {
	w := newWorld(t)
	w.policy.roles["dev"].Spec.Options.SSHFileCopy = no()
	key, _ := w.user("alice", "root")
	for _, how := range []string{"-s", "-O"} {
		r := w.run(nil, "scp", append(append([]string{how}, w.options(key)...), "/etc/hostname", "root@127.0.0.1:/tmp/never")...)
		if r.code == 0 {
			t.Errorf("scp %s was allowed: %+v", how, r)
		}
	}
	w.log.wait(t, "sftp", "TS020E")
	w.log.wait(t, "scp", "T3010E")
	if _, err := os.Stat("/tmp/never"); err == nil {
		t.Error("the file was copied")
	}
}

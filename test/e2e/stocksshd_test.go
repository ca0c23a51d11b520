package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"teleport/test/cluster"
)

// stock is Debian's sshd as it comes, with keys of its own, and nothing of any
// cluster.
type stock struct {
	config, key, addr string
	live              *cluster.Live
}

func (w *world) stockSSHD(t *testing.T, host string) *stock {
	t.Helper()
	sshd := cluster.Need(t, "sshd", "openssh-server")
	dir := t.TempDir()
	port := cluster.FreePort(t)
	s := &stock{key: filepath.Join(dir, "host_key"), addr: host + ":" + port}
	s.newKey(t, w)
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Fatal(err)
	}
	s.config = write(t, filepath.Join(dir, "sshd_config"), fmt.Sprintf("# Of this host.\nPort %s\nListenAddress %s\nHostKey %s\nPidFile %s\n"+
		"UsePAM yes\nPasswordAuthentication no\nSubsystem sftp internal-sftp\nStrictModes no\nMatch User nobody\n    ForceCommand true\n",
		port, host, s.key, filepath.Join(dir, "pid")))
	s.live = w.alice.Go(t, sshd, "-D", "-e", "-f", s.config)
	cluster.Until(t, within, "sshd to take HUP", func() bool { // which would end it before
		pid, err := os.ReadFile(filepath.Join(dir, "pid"))
		return err == nil && strings.HasSuffix(string(pid), "\n")
	})
	return s
}

// newKey gives the host another key.
func (s *stock) newKey(t *testing.T, w *world) {
	t.Helper()
	for _, path := range []string{s.key, s.key + ".pub"} {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	w.alice.Run(cluster.Command{Path: cluster.Need(t, "ssh-keygen", "openssh-client"), Args: []string{"-q", "-t", "ed25519", "-N", "", "-f", s.key}}).OK(t)
}

// join runs teleport join openssh on the host, as root.
func (w *world) joinSSHD(t *testing.T, s *stock, data string, flags ...string) cluster.Result {
	t.Helper()
	args := append([]string{"join", "openssh", "--proxy-server=" + w.ProxyAddr(), "--token=" + w.Token(t, "node"),
		"--openssh-config=" + s.config, "--data-dir=" + data}, flags...)
	if !slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "--ca-pin") }) {
		args = append(args, "--ca-pin="+w.CAPin(t))
	}
	return w.alice.Run(cluster.Command{Path: filepath.Join(w.Bin(), "teleport"), Args: args})
}

// TestAStockServerJoins makes Debian's sshd a node, from nothing to a recorded
// session, without an agent and without a restart of its sessions.
func TestAStockServerJoins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	s := w.stockSSHD(t, "127.0.0.4")
	data := filepath.Join(t.TempDir(), "teleport")
	before, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	out := w.joinSSHD(t, s, data, "--nodename=stock-1", "--labels=env=plain,tier=1", "--address="+s.addr).OK(t)
	contains(t, out, "stock-1 at "+s.addr, "cluster "+w.Name, "valid until", "HUP to process")
	after, err := os.ReadFile(s.config)
	if want := "Include " + filepath.Join(data, "openssh", "sshd.conf") + "\n" + string(before); err != nil || string(after) != want {
		t.Errorf("the configuration is\n%s", after)
	}
	to := w.os.Name + "@stock-1"
	cluster.Until(t, within, "stock-1 to answer", func() bool { return w.alice.Tsh("ssh", to, "true").Code == 0 })
	contains(t, w.alice.Tsh("ssh", "-t", to, "tty; echo seen").OK(t), "/dev/pts", "seen")
	contains(t, w.alice.Tsh("ls", "tier=1").OK(t), "stock-1")
	cluster.Until(t, within, "the recording", func() bool {
		for _, e := range w.Events(t, 1, "session.end", "alice") {
			if r := w.alice.Tsh("play", fmt.Sprint(e["sid"]), "--format=text"); r.Code == 0 && strings.Contains(r.Stdout, "seen") {
				return true
			}
		}
		return false
	})
	// Again, with other labels: sshd_config stays as it is, what runs goes on.
	live := w.alice.StartTsh(t, "ssh", to, "echo started; read line; echo got $line")
	live.WaitFor(t, "started")
	w.joinSSHD(t, s, data, "--nodename=stock-1", "--labels=env=other", "--address="+s.addr).OK(t)
	if again, err := os.ReadFile(s.config); err != nil || string(again) != string(after) {
		t.Errorf("joined again, the configuration is\n%s", again)
	}
	if _, err := fmt.Fprintln(live.In, "more"); err != nil {
		t.Error(err)
	}
	live.WaitFor(t, "got more")
	cluster.Until(t, within, "the new label", func() bool { return strings.Contains(w.alice.Tsh("ls", "env=other").Stdout, "stock-1") })
	if n := strings.Count(w.Tctl("nodes", "ls", "--format=json").OK(t), `"stock-1"`); n != 1 {
		t.Errorf("it is registered %d times", n)
	}
	w.joinRefusals(t)
	w.unknownHostKey(t, s, to)
}

// joinRefusals are the runs that must change nothing, and say why.
func (w *world) joinRefusals(t *testing.T) {
	t.Helper()
	other := w.stockSSHD(t, "127.0.0.5")
	before, err := os.ReadFile(other.config)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		flags []string
		says  string
	}{
		"the name of another":  {[]string{"--nodename=stock-1", "--address=" + other.addr}, "belongs to the live host"},
		"no such file":         {[]string{"--openssh-config=/nowhere/sshd_config"}, "/nowhere/sshd_config"},
		"a program that isn't": {[]string{"--sshd=/nowhere/sshd"}, "/nowhere/sshd"},
		"a wrong pin":          {[]string{"--ca-pin=sha256:" + strings.Repeat("0", 64)}, "CA pin"},
		"an address no port":   {[]string{"--address=10.0.0.9"}, "spec.addr"},
	} {
		r := w.joinSSHD(t, other, filepath.Join(t.TempDir(), "d"), append([]string{"--nodename=stock-2", "--address=" + other.addr}, c.flags...)...)
		if r.Code == 0 || !strings.Contains(r.Stderr, c.says) || strings.Count(r.Stderr, "ERROR") != 1 {
			t.Errorf("%s: %s", name, r)
		}
	}
	if after, err := os.ReadFile(other.config); err != nil || string(after) != string(before) {
		t.Errorf("refused, the configuration is\n%s", after)
	}
	// What sshd does not take is not left there.
	write(t, other.config, string(before)+"Rubbish yes\n")
	r := w.joinSSHD(t, other, filepath.Join(t.TempDir(), "d"), "--nodename=stock-2", "--address="+other.addr)
	if r.Code == 0 || !strings.Contains(r.Stderr, "sshd says: ") {
		t.Errorf("%s", r)
	}
}

// unknownHostKey puts another machine in the server's place: the proxy does not
// enter it, unless the cluster says that host keys are not checked.
func (w *world) unknownHostKey(t *testing.T, s *stock, to string) {
	t.Helper()
	s.newKey(t, w)
	if err := s.live.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	var r cluster.Result
	cluster.Until(t, within, "the other host key", func() bool {
		r = w.alice.Tsh("ssh", to, "true")
		return r.Code == 255 && strings.Contains(r.Stderr, "no common algorithm for host key") // no certificate is for the new one
	})
	w.Tctl("create", "-f", write(t, filepath.Join(w.Dir, "recording.yaml"), `kind: session_recording_config
version: v2
spec: {mode: node, proxy_checks_host_keys: false}
`)).OK(t)
	cluster.Until(t, within, "host keys not to be checked", func() bool { return w.alice.Tsh("ssh", to, "true").Code == 0 })
}

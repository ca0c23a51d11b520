package e2e

import (
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"teleport/test/cluster"
)

// openssh is a world whose person has what "tsh config" prints in a file, and
// runs OpenSSH with it and with nothing of this machine's own settings.
type openssh struct {
	*world
	config string
	host   string // the node's name in that configuration
}

func newOpenSSH(t *testing.T, o cluster.Opts) *openssh {
	t.Helper()
	w := newWorld(t, o)
	s := &openssh{world: w, host: w.node.Name + "." + w.Name}
	s.config = write(t, filepath.Join(w.alice.Home, "ssh_config"), w.alice.Tsh("config").OK(t)+"\nHost *\n    User "+w.os.Name+"\n")
	return s
}

// run runs an OpenSSH program with the configuration.
func (s *openssh) run(t *testing.T, program, pkg string, args ...string) cluster.Result {
	t.Helper()
	return s.alice.Run(cluster.Command{Path: cluster.Need(t, program, pkg), Args: append([]string{"-F", s.config}, args...)})
}

func (s *openssh) ssh(t *testing.T, args ...string) cluster.Result {
	t.Helper()
	return s.run(t, "ssh", "openssh-client", args...)
}

func TestOpenSSHRunsCommands(t *testing.T) {
	t.Parallel()
	s := newOpenSSH(t, cluster.Opts{})
	for name, via := range map[string][]string{
		"ProxyCommand": nil,
		"-J":           {"-J", s.ProxyAddr()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append(via, s.host)
			r := s.ssh(t, append(args, "echo out; echo err >&2; exit 7")...).Exit(t, 7)
			if r.Stdout != "out\n" || r.Stderr != "err\n" {
				t.Errorf("the streams do not stand apart: %s", r)
			}
			// A command that a signal ends: OpenSSH knows of it by exit-signal, and ends with 255.
			r = s.ssh(t, append(args, "kill -TERM $$")...).Exit(t, 255)
			if r = s.ssh(t, append([]string{"-v"}, append(args, "kill -TERM $$")...)...); !strings.Contains(r.Stderr, "exit-signal") {
				t.Errorf("no exit-signal was sent: %s", r)
			}
			if out := s.ssh(t, append([]string{"-o", "SetEnv=LC_TEST=from-here"}, append(args, "echo $LC_TEST")...)...).OK(t); out != "from-here\n" {
				t.Errorf("SetEnv: %q", out)
			}
			if out := s.ssh(t, append([]string{"-tt"}, append(args, "tty >/dev/null && echo terminal")...)...).OK(t); !strings.Contains(out, "terminal") {
				t.Errorf("-tt: %q", out)
			}
			if out := s.alice.Run(cluster.Command{Path: "/usr/bin/ssh", Args: append([]string{"-F", s.config}, append(args, "wc -c")...),
				Stdin: strings.Repeat("x", 1<<20)}).OK(t); strings.TrimSpace(out) != "1048576" {
				t.Errorf("stdin: %q", out)
			}
		})
	}
}

func TestOpenSSHCopiesFiles(t *testing.T) {
	t.Parallel()
	s := newOpenSSH(t, cluster.Opts{})
	data := make([]byte, 3<<20)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	local := write(t, filepath.Join(s.alice.Home, "tree", "sub", "file one"), string(data))
	same := func(path string) {
		t.Helper()
		if b, err := os.ReadFile(path); err != nil || string(b) != string(data) {
			t.Errorf("%s: %d bytes, not the %d that were sent (%v)", path, len(b), len(data), err)
		}
	}
	for name, flag := range map[string]string{"scp by SFTP": "-s", "scp by its own protocol": "-O"} {
		t.Run(name, func(t *testing.T) {
			remote, back := "up"+flag, filepath.Join(s.alice.Home, "back"+flag)
			s.run(t, "scp", "openssh-client", "-q", "-r", "-p", flag, filepath.Join(s.alice.Home, "tree"), s.host+":"+remote).OK(t)
			same(filepath.Join(s.os.Home, remote, "sub", "file one"))
			s.run(t, "scp", "openssh-client", "-q", "-r", flag, s.host+":"+remote, back).OK(t)
			same(filepath.Join(back, "sub", "file one"))
			info, err := os.Stat(filepath.Join(s.os.Home, remote, "sub", "file one"))
			if err != nil || info.Mode().Perm() != 0o600 || info.Sys().(*syscall.Stat_t).Uid != uint32(s.os.UID) {
				t.Errorf("%v %v", info, err)
			}
			s.run(t, "scp", "openssh-client", "-q", flag, s.host+":no-such-file", back).Exit(t, 1)
		})
	}
	t.Run("sftp", func(t *testing.T) {
		batch := write(t, filepath.Join(s.alice.Home, "batch"), "mkdir d\nput \""+local+"\" d/f\nrename d/f d/g\nls -l d\nget d/g "+filepath.Join(s.alice.Home, "got")+"\nsymlink g d/l\nrm d/l\n")
		contains(t, s.run(t, "sftp", "openssh-client", "-b", batch, s.host).OK(t), "g")
		same(filepath.Join(s.alice.Home, "got"))
	})
	t.Run("rsync", func(t *testing.T) {
		rsync := cluster.Need(t, "rsync", "rsync")
		for range 2 { // the second has nothing to send
			s.alice.Run(cluster.Command{Path: rsync, Args: []string{"-a", "-e", "ssh -F " + s.config, filepath.Join(s.alice.Home, "tree") + "/", s.host + ":rs/"}}).OK(t)
		}
		same(filepath.Join(s.os.Home, "rs", "sub", "file one"))
	})
	events := s.Events(t, 1, "sftp", "alice")
	if events[0]["login"] != s.os.Name {
		t.Errorf("%v", events[0])
	}
}

// TestAgentForwarding uses a key of this person's agent on the server.
func TestAgentForwarding(t *testing.T) {
	t.Parallel()
	s := newOpenSSH(t, cluster.Opts{})
	sock := filepath.Join(s.alice.Home, "agent")
	agent := s.alice.Go(t, cluster.Need(t, "ssh-agent", "openssh-client"), "-D", "-a", sock)
	key := filepath.Join(s.alice.Home, "key")
	s.alice.Run(cluster.Command{Path: "/usr/bin/ssh-keygen", Args: []string{"-q", "-t", "ed25519", "-N", "", "-C", "carried-along", "-f", key}}).OK(t)
	env := []string{"SSH_AUTH_SOCK=" + sock}
	cluster.Until(t, within, "the agent", func() bool {
		return s.alice.Run(cluster.Command{Path: "/usr/bin/ssh-add", Args: []string{"-q", key}, Env: env}).Code == 0
	})
	for name, c := range map[string]cluster.Command{
		"ssh -A":     {Path: "/usr/bin/ssh", Args: []string{"-F", s.config, "-A", s.host}},
		"tsh ssh -A": {Path: filepath.Join(s.Bin(), "tsh"), Args: []string{"ssh", "-A", s.to}},
	} {
		c.Env = env
		with := c
		with.Args = append(with.Args[:len(with.Args):len(with.Args)], "ssh-add -l; stat -c '%U %a' $SSH_AUTH_SOCK $(dirname $SSH_AUTH_SOCK)")
		contains(t, s.alice.Run(with).OK(t), "carried-along", s.os.Name+" 700")
		without := c
		without.Args = []string{}
		for _, a := range append(c.Args, "echo agent=$SSH_AUTH_SOCK") {
			if a != "-A" {
				without.Args = append(without.Args, a)
			}
		}
		if out := s.alice.Run(without).OK(t); out != "agent=\n" {
			t.Errorf("%s: without -A there is %q", name, out)
		}
	}
	if agent.Ended() {
		t.Error("the agent ended")
	}
}

// TestForwardedPorts reaches a server through each kind of forwarding.
func TestForwardedPorts(t *testing.T) {
	t.Parallel()
	s := newOpenSSH(t, cluster.Opts{})
	curl := cluster.Need(t, "curl", "curl")
	const page = "HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"
	target := listen(t, func(c net.Conn) {
		b := make([]byte, 4096)
		if _, err := c.Read(b); err == nil {
			_, _ = c.Write([]byte(page)) // curl judges
		}
	})
	fetch := func(t *testing.T, live *cluster.Live, args ...string) {
		t.Helper()
		var r cluster.Result
		if !cluster.Poll(within, func() bool {
			r = s.alice.Run(cluster.Command{Path: curl, Args: append([]string{"-sS", "-m", "10"}, args...)})
			return r.Stdout == "hello\n" || live.Ended()
		}) || r.Stdout != "hello\n" {
			t.Fatalf("%s\nforwarder: %s%s", r, live.Out, live.Errs)
		}
	}
	clients := map[string]func(t *testing.T, flags ...string) *cluster.Live{
		"tsh": func(t *testing.T, flags ...string) *cluster.Live {
			return s.alice.StartTsh(t, append(append([]string{"ssh", "-N"}, flags...), s.to)...)
		},
		"ssh": func(t *testing.T, flags ...string) *cluster.Live {
			return s.alice.Go(t, "/usr/bin/ssh", append(append([]string{"-F", s.config, "-N", "-o", "ExitOnForwardFailure=yes"}, flags...), s.host)...)
		},
	}
	for name, start := range clients {
		t.Run(name, func(t *testing.T) {
			for _, flag := range []string{"-L", "-R", "-D"} {
				here := cluster.FreePort(t)
				spec := "127.0.0.1:" + here
				if flag != "-D" {
					spec += ":" + target
				}
				live := start(t, flag, spec)
				if flag == "-D" {
					fetch(t, live, "--socks5-hostname", "127.0.0.1:"+here, "http://"+target+"/")
				} else {
					fetch(t, live, "http://127.0.0.1:"+here+"/")
				}
				if err := live.Process.Signal(syscall.SIGTERM); err != nil {
					t.Error(err)
				}
				live.Wait(t)
			}
		})
	}
	s.Events(t, 2, "port", "alice")
	// A role may take it away.
	s.Tctl("create", "-f", write(t, filepath.Join(s.Dir, "role.yaml"), `kind: role
version: v7
metadata: {name: noforward}
spec:
  options: {port_forwarding: false}
  allow: {logins: ['`+s.os.Name+`'], node_labels: {'*': '*'}}
`)).OK(t)
	bob := s.User(t, "bob", []string{"noforward"}, nil)
	bob.Login(t)
	here := cluster.FreePort(t)
	live := bob.StartTsh(t, "ssh", "-N", "-L", "127.0.0.1:"+here+":"+target, s.to)
	cluster.Until(t, within, "the listener of tsh", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+here)
		if err != nil {
			return live.Ended()
		}
		return c.Close() == nil
	})
	if r := s.alice.Run(cluster.Command{Path: curl, Args: []string{"-sS", "-m", "10", "http://127.0.0.1:" + here + "/"}}); strings.Contains(r.Stdout, "hello") {
		t.Errorf("a role without port forwarding forwards: %s", r)
	}
}

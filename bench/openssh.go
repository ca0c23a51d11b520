package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// openSSH is the peer: one sshd as jump host and one as target.
type openSSH struct {
	dir          string
	jump, target *server
	addr         [2]string
	login        string
}

const sshdConfig = `Port %s
ListenAddress 127.0.0.1
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UseDNS no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
X11Forwarding no
MaxStartups 1000
MaxSessions 1000
Ciphers aes128-gcm@openssh.com
LogLevel ERROR
`

const sshConfig = `Host jump
  HostName 127.0.0.1
  Port %s
Host target
  HostName 127.0.0.1
  Port %s
  ProxyJump jump
Host *
  User %s
  IdentityFile %s
  IdentitiesOnly yes
  UserKnownHostsFile %s
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  Ciphers aes128-gcm@openssh.com
  BatchMode yes
  UpdateHostKeys no
  LogLevel ERROR
`

// startOpenSSH makes keys and starts both servers. The directory must be one that
// the login user may enter.
func startOpenSSH(ctx context.Context, dir, login string) (*openSSH, error) {
	o := &openSSH{dir: dir, login: login}
	// sshd wants the directory of its unprivileged half, which a package's unit makes.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return nil, err
	}
	for _, key := range []string{"host", "user"} {
		if _, err := output(exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", o.path(key))); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(o.path("user.pub"), 0o644); err != nil {
		return nil, err
	}
	var known []byte
	hostKey, err := os.ReadFile(o.path("host.pub"))
	if err != nil {
		return nil, err
	}
	servers := []**server{&o.jump, &o.target}
	for i, name := range []string{"jump", "target"} {
		if o.addr[i], err = freePort(); err != nil {
			return nil, err
		}
		_, port, _ := net.SplitHostPort(o.addr[i])
		known = fmt.Appendf(known, "[127.0.0.1]:%s %s", port, hostKey)
		text := fmt.Sprintf(sshdConfig, port, o.path("host"), o.path("user.pub"))
		if err := os.WriteFile(o.path(name+".conf"), []byte(text), 0o600); err != nil {
			return nil, err
		}
		if *servers[i], err = serve(dir, name, nil, "/usr/sbin/sshd", "-D", "-e", "-f", o.path(name+".conf")); err != nil {
			return nil, err
		}
		if err := (*servers[i]).await(ctx, 10*time.Second, func() bool { return answers(o.addr[i]) }); err != nil {
			return o, err
		}
	}
	if err := os.WriteFile(o.path("known"), known, 0o600); err != nil {
		return o, err
	}
	_, p1, _ := net.SplitHostPort(o.addr[0])
	_, p2, _ := net.SplitHostPort(o.addr[1])
	text := fmt.Sprintf(sshConfig, p1, p2, login, o.path("user"), o.path("known"))
	if err := os.WriteFile(o.path("config"), []byte(text), 0o600); err != nil {
		return o, err
	}
	return o, os.WriteFile(o.path("classic"), []byte(text+"  KexAlgorithms curve25519-sha256\n"), 0o600)
}

func (o *openSSH) path(name string) string { return filepath.Join(o.dir, name) }

// ssh runs a line on the target through the jump host.
func (o *openSSH) ssh(line string) *exec.Cmd {
	cmd := exec.Command("ssh", "-F", o.path("config"), "-J", "jump", "target", line)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "SHELL=/bin/sh"} // ssh starts the way to the jump host with $SHELL
	return cmd
}

func (o *openSSH) stop() {
	if o != nil {
		o.jump.stop()
		o.target.stop()
	}
}

func answers(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	return c.Close() == nil
}

package sshaccess

import (
	"context"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/crypto/ssh"

	"teleport/sshaccess/spawn"
	"teleport/types"
)

const (
	envMost      = 128 // variables a client may set
	envNameMost  = 128
	envValueMost = 32 << 10
	envFileMost  = 64 << 10
)

// neverSet are variables that change what programs load, whom they believe to
// be, or what a shell runs before it does what it was told. A trailing star
// matches a prefix.
var neverSet = []string{
	"LD_*", "DYLD_*", "GLIBC_*", "MALLOC_*", "GCONV_PATH", "LOCPATH", "NLSPATH", "TZDIR", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS", "GETCONF_DIR",
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "MAIL", "PWD", "OLDPWD", "TMPDIR", "UID", "EUID", "GROUPS",
	"IFS", "ENV", "CDPATH", "FPATH", "ZDOTDIR", "FIGNORE", "PS4", "PROMPT_COMMAND", "BASH_*", "BASHOPTS", "SHELLOPTS", "INPUTRC", "TERMINFO*", "TERMCAP",
	"PERL*", "PYTHON*", "RUBY*", "NODE_*", "JAVA_*", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS",
	"GIT_SSH*", "GIT_EXEC_PATH", "GIT_CONFIG*", "GIT_PAGER", "GIT_EDITOR", "GIT_EXTERNAL_DIFF", "GIT_PROXY_COMMAND", "GIT_ASKPASS", "GIT_TEMPLATE_DIR",
	"LESSOPEN", "LESSCLOSE", "LESSKEY*", "VIMINIT", "EXINIT", "LUA_*", "OPENSSL_*", "SSLKEYLOGFILE",
	"SSH_*", "SUDO_*", "TELEPORT*", "KRB5*", "XAUTHORITY", "DISPLAY", "DBUS_*", "XDG_RUNTIME_DIR",
}

// maySet reports whether a client may set a variable.
func maySet(name string) bool {
	if name == "" || len(name) > envNameMost || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_') {
			return false
		}
	}
	for _, n := range neverSet {
		if prefix, star := strings.CutSuffix(n, "*"); name == n || star && strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

func maySetValue(v string) bool {
	return len(v) <= envValueMost && !strings.ContainsAny(v, "\x00\n")
}

func (s *channel) setEnv(payload []byte) bool {
	var m struct{ Name, Value string }
	if ssh.Unmarshal(payload, &m) != nil || s.done != nil {
		return false
	}
	switch m.Name {
	case types.ReasonEnv:
		return s.setReason(m.Value)
	case types.InviteEnv:
		return s.setInvited(m.Value)
	case types.RequirementsEnv:
		s.askedWho = m.Value != ""
		return true
	}
	if len(s.env) >= envMost || !maySet(m.Name) || !maySetValue(m.Value) {
		return false
	}
	s.env = append(s.env, m.Name+"="+m.Value)
	return true
}

// environment builds the whole environment of the session's process. Nothing of
// the agent's own is in it, and what we say comes last, where it wins.
func (s *channel) environment(ctx context.Context, d spawn.Defaults) []string {
	cn, a := s.cn, s.cn.acct
	env := slices.Clone(s.env)
	if cn.svc.cfg.PermitUserEnv {
		env = append(env, cn.userEnvironment(ctx)...)
	}
	path := d.Path
	if a.UID == 0 {
		path = d.RootPath
	}
	env = append(env, "HOME="+a.Home, "USER="+a.Name, "LOGNAME="+a.Name, "SHELL="+a.Shell, "PATH="+path)
	if d.MailDir != "" {
		env = append(env, "MAIL="+filepath.Join(d.MailDir, a.Name))
	}
	client, local := cn.in.ClientAddr, cn.local
	if !local.IsValid() {
		local = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	}
	if client.IsValid() {
		from := client.Addr().String() + " " + strconv.Itoa(int(client.Port()))
		port := strconv.Itoa(int(local.Port()))
		env = append(env, "SSH_CLIENT="+from+" "+port, "SSH_CONNECTION="+from+" "+local.Addr().String()+" "+port)
	}
	s.mu.Lock()
	if s.term != nil {
		env = append(env, "TERM="+s.ask.Term, "SSH_TTY="+s.term.Name)
	}
	s.mu.Unlock()
	cn.mu.Lock()
	if cn.agent != "" {
		env = append(env, "SSH_AUTH_SOCK="+cn.agent)
	}
	cn.mu.Unlock()
	env = append(env, "SSH_SESSION_ID="+s.id, "SSH_TELEPORT_USER="+cn.peer.Identity.Name,
		"SSH_TELEPORT_CLUSTER_NAME="+cn.svc.cfg.Cluster, "SSH_TELEPORT_HOST_UUID="+cn.svc.cfg.HostID)
	if cn.svc.cfg.ProxyAddr != nil {
		env = append(env, "SSH_SESSION_WEBPROXY_ADDR="+cn.svc.cfg.ProxyAddr())
	}
	return lastWins(env)
}

// lastWins drops earlier settings of a name: which of two a program takes is
// its own choice otherwise.
func lastWins(env []string) []string {
	seen := make(map[string]bool, len(env))
	out := make([]string, 0, len(env))
	for _, kv := range slices.Backward(env) {
		name, _, _ := strings.Cut(kv, "=")
		if !seen[name] {
			seen[name] = true
			out = append(out, kv)
		}
	}
	slices.Reverse(out)
	return out
}

// userEnvironment reads ~/.tsh/environment as the user: the agent itself walks
// no path that a user may rearrange.
func (cn *conn) userEnvironment(ctx context.Context) []string {
	p, err := newPipes()
	if err != nil {
		return nil
	}
	defer p.closeOurs()
	stop := context.AfterFunc(ctx, p.closeOurs)
	defer stop()
	proc, err := spawn.Start(spawn.Spec{
		Account: cn.acct, Program: "/bin/cat", Args: []string{"cat", "--", filepath.Join(cn.acct.Home, ".tsh", "environment")},
		Dir: "/", Umask: 0o077, Env: []string{"PATH=/usr/bin:/bin"}, Stdin: p.theirs[0], Stdout: p.theirs[1], Stderr: p.theirs[2],
	})
	p.closeTheirs()
	if err != nil {
		return nil
	}
	b, _ := io.ReadAll(io.LimitReader(p.ours[1], envFileMost)) //nolint:errcheck // what could be read counts
	proc.Signal(syscall.SIGKILL)                               //nolint:errcheck // gone already is usual
	proc.Wait()                                                //nolint:errcheck // reaps it
	return parseEnvironment(string(b))
}

// parseEnvironment reads name=value lines; # starts a comment, nothing expands.
func parseEnvironment(text string) []string {
	var env []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, "=")
		if ok && !strings.HasPrefix(line, "#") && len(env) < envMost && maySet(name) && maySetValue(value) {
			env = append(env, line)
		}
	}
	return env
}

package sshaccess

import (
	"log/slog"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/types"
)

// policyless is enough to build a server that nobody uses.
func policyless() Config {
	return Config{HostID: "h", Node: func() *types.Node { return &types.Node{} }, HostSigners: func() []ssh.Signer { return nil }, Log: slog.New(slog.DiscardHandler)}
}

// TestSurface holds all that a client may ask of a node, with what it takes. A
// new line is a decision: every one that acts needs an action of access.
func TestSurface(t *testing.T) {
	srv, err := (&Service{cfg: policyless()}).newConn(Inbound{}, nil).server()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"channel direct-tcpip: " + string(access.ActionForwardLocal),
		"channel join-session@teleport: " + string(access.ActionJoin),
		"channel session: " + string(access.ActionLogin),
		"global cancel-tcpip-forward: open: ends only what this connection started",
		"global keepalive@openssh.com: open: an answer is all it asks for",
		"global tcpip-forward: " + string(access.ActionForwardRemote),
		"request auth-agent-req@openssh.com: " + string(access.ActionForwardAgent),
		"request env: open: filtered by name",
		"request exec: " + string(access.ActionLogin),
		"request pty-req: open: checked against the decision's limits",
		"request shell: " + string(access.ActionLogin),
		"request signal: open: to the session's own process",
		"request subsystem sftp: " + string(access.ActionFileCopy),
		"request window-change: open: of the session's own terminal",
	}
	if got := srv.Surface(); !slices.Equal(got, want) {
		t.Errorf("the surface of a node is\n%q, not\n%q", got, want)
	}
}

// TestEnvironmentList tries what a client may set: names that change what a
// program loads or runs are refused, whatever the shell is.
func TestEnvironmentList(t *testing.T) {
	for _, name := range []string{"LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "PATH", "HOME", "SHELL", "IFS", "ENV", "BASH_ENV",
		"BASH_FUNC_x%%", "PYTHONPATH", "PERL5LIB", "NODE_OPTIONS", "GIT_SSH_COMMAND", "SSH_AUTH_SOCK", "SSH_TELEPORT_USER", "TELEPORT_X", "LESSOPEN",
		"A=B", "", "1A", "A B", "Ä"} {
		if maySet(name) {
			t.Errorf("a client may set %q", name)
		}
	}
	for _, name := range []string{"LANG", "LC_ALL", "FOO", "COLORTERM", "GIT_AUTHOR_NAME", "EDITOR"} {
		if !maySet(name) {
			t.Errorf("a client may not set %q", name)
		}
	}
}

package sshproxy

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/session"
	"teleport/types"
)

type nowhere struct{}

func (nowhere) Dial(context.Context, *types.Identity, netip.AddrPort, string) (net.Conn, error) {
	return nil, net.ErrClosed
}

// A jump host offers one thing, and an answer to keepalives.
func TestSurface(t *testing.T) {
	s, err := New(Config{Verify: func(*ssh.Certificate, time.Time) (*types.Identity, error) { return nil, net.ErrClosed }, Router: nowhere{},
		Sessions: session.NewRegistry(), HostSigners: func() []ssh.Signer { return nil }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"channel direct-tcpip: dial", "global keepalive@openssh.com: open: an answer is all it asks for"}
	if got := s.srv.Surface(); !slices.Equal(got, want) {
		t.Errorf("the surface of a jump host is %q", got)
	}
}

// What a client may ask where the proxy ends SSH for a server without an agent.
func TestSurfaceOfAnEnd(t *testing.T) {
	srv, err := (&Ender{cfg: EnderConfig{HostSigners: func() []ssh.Signer { return nil }, Log: slog.New(slog.DiscardHandler)}}).newEnd(Inbound{}).server()
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"channel direct-tcpip: forward_local", "channel session: login",
		"global cancel-tcpip-forward: open: ends only what this connection started",
		"global keepalive@openssh.com: open: an answer is all it asks for", "global tcpip-forward: forward_remote",
		"request auth-agent-req@openssh.com: forward_agent", "request env: open: the server filters by name", "request exec: login",
		"request pty-req: open: checked against the decision's limits", "request shell: login",
		"request signal: open: to the session's own process", "request subsystem sftp: file_copy",
		"request window-change: open: of the session's own terminal",
	}
	if got := srv.Surface(); !slices.Equal(got, want) {
		t.Errorf("it offers %q", got)
	}
	if _, err := NewEnder(EnderConfig{}); err == nil {
		t.Error("an ender of nothing is made")
	}
}

// What passes on to a node's agent, which decides about it.
func TestSurfaceOfABridge(t *testing.T) {
	e := &Ender{cfg: EnderConfig{HostSigners: func() []ssh.Signer { return nil }, Log: slog.New(slog.DiscardHandler)}}
	srv, err := e.newBridge(Inbound{}, nil).server()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, what := range []string{"channel direct-tcpip", "channel join-session@teleport", "channel session", "global cancel-tcpip-forward",
		"global keepalive@openssh.com", "global tcpip-forward", "request auth-agent-req@openssh.com", "request env", "request exec", "request pty-req",
		"request shell", "request signal", "request subsystem sftp", "request window-change"} {
		why := ": open: the agent decides"
		if what == "global keepalive@openssh.com" {
			why = ": open: an answer is all it asks for"
		}
		want = append(want, what+why)
	}
	if got := srv.Surface(); !slices.Equal(got, want) {
		t.Errorf("it offers %q", got)
	}
}

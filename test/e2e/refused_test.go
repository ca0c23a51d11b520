package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/client/identityfile"
	"teleport/dial"
	"teleport/netx/alpndial"
	"teleport/test/cluster"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// claim has the bearer of an identity file ask for somebody's stream through the
// proxy, and returns what the agent says to that.
func (s *survivors) claim(t *testing.T, file string, target dial.Target) string {
	t.Helper()
	cred, err := identityfile.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := cert.NewTrust(cred.HostAuthorities())
	if err != nil {
		t.Fatal(err)
	}
	c := &dial.Client{Proxy: &alpndial.Dialer{ProxyAddr: s.Proxies[0].WebAddr, Insecure: true}, TLS: func(context.Context) (*tls.Config, error) {
		return tlscert.ClientConfig(tlscert.Source{Certificate: cred.TLSCertificate, Trust: func() *cert.Trust { return trust }, Now: time.Now},
			tlscert.Server{Cluster: s.Name, Role: types.RoleProxy}, tunframe.ALPNDial)
	}}
	conn, _, err := c.Dial(t.Context(), target)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(io.LimitReader(conn, 4<<10))
	if err != nil {
		t.Errorf("the agent does not end it: %v", err)
	}
	return string(b)
}

// signed makes an identity file that is good for a minute.
func (s *survivors) signed(t *testing.T, who *cluster.Person) string {
	t.Helper()
	out := filepath.Join(who.Home, "identity")
	s.Tctl("auth", "sign", "--user="+who.Name, "--out="+out, "--ttl=1m").OK(t)
	return out
}

// TestWhoMayNotGoOnWithASession: somebody else who knows its name, its own
// person from another address than the pinned one, one who comes too late, and
// one whose certificate has ended meanwhile. Each is told why, the log has it,
// and a session that may go on does.
func TestWhoMayNotGoOnWithASession(t *testing.T) {
	t.Parallel()
	l := newLink(t)
	s := behindLink(t, l, func(process string, conf cluster.Doc) {
		if process == "node-1" {
			conf.Set("ssh_service.detached_session_timeout", "20s")
		}
	})
	node := s.Agents[0]
	s.TctlIn("kind: role\nversion: v8\nmetadata: {name: pinned}\nspec:\n  options: {pin_source_ip: true}\n"+
		"  allow: {logins: ["+s.login+"], node_labels: {'*': '*'}}\n", "create").OK(t)
	pia, mallory := s.User(t, "pia", []string{"pinned"}, nil), s.User(t, "mallory", []string{"access"}, []string{s.login})
	pia.Login(t, "--proxy="+l.addr)
	eve := s.User(t, "eve", []string{"access"}, []string{s.login})
	alice, pinned, late := s.counting(t, s.alice, node), s.counting(t, pia, node), s.counting(t, s.alice, node)

	start := s.Events(t, 1, "session.start", "alice")[0]
	gateway, ok := start["gateway"].(map[string]any)
	if !ok || gateway["stream"] == nil {
		t.Fatalf("session.start names no stream: %v", start)
	}
	stolen := dial.Target{Cluster: s.Name, Kind: types.KindNode, Name: node.UUID(t), Stream: fmt.Sprint(gateway["stream"]), Generation: 1, Resume: true}
	if told := s.claim(t, s.signed(t, mallory), stolen); !strings.Contains(told, "somebody else") {
		t.Errorf("mallory was told %q", told)
	}
	if e := s.Events(t, 1, "session.attach", "mallory")[0]; e["code"] != "TXS03W" || e["owner"] != "alice" || e["stream"] != stolen.Stream {
		t.Errorf("the log says %v", e)
	}

	ending := count(t, "a session whose certificate ends", eve.StartTsh(t, "-i", s.signed(t, eve), "--proxy="+l.addr, "ssh", s.at(node), echoLoop))
	ends := time.Now().Add(time.Minute)
	// Everybody comes from elsewhere now, one of them later than is allowed.
	if err := late.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	l.move("127.0.0.7")
	l.CutAll()
	if told := pinned.isCut(t); !strings.Contains(told, "pinned to another address") {
		t.Errorf("pia was told %q", told)
	}
	alice.moves(t)
	ending.moves(t)
	cluster.Until(t, patience, "the session of who is late to end", func() bool {
		for _, e := range s.Events(t, 1, "session.detach", "alice") {
			if e["code"] == "TXS02W" {
				return true
			}
		}
		return false
	})
	if err := late.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// By its own clock, or by the agent's word.
	if told := late.isCut(t); !strings.Contains(told, "longer than the session is kept") && !strings.Contains(told, "the session is gone") {
		t.Errorf("who was late was told %q", told)
	}

	cluster.Poll(time.Until(ends), func() bool { return ending.Ended() })
	l.CutAll()
	if told := ending.isCut(t); !strings.Contains(told, "expired") {
		t.Errorf("who has no certificate any more was told %q", told)
	}
	alice.finish(t)
}

package sshproxy_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/fault"
	"teleport/netx/memnet"
	"teleport/session"
	"teleport/sshaccess/sshproxy"
	"teleport/types"
)

func signer(t *testing.T) ssh.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// nodes is a router that knows one node, which answers what it hears.
type nodes struct{ asked []string }

func (n *nodes) Dial(_ context.Context, id *types.Identity, _ netip.AddrPort, target string) (net.Conn, error) {
	n.asked = append(n.asked, id.Name+" "+target)
	if target != "node1:3022" {
		return nil, fault.New(fault.NotFound, "no node %q", target).WithHint("tsh ls shows the nodes")
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		io.Copy(theirs, theirs)
	}()
	return ours, nil
}

// jumper is a client at a jump host.
func jumper(t *testing.T, router sshproxy.Router, reg *session.Registry, decide func(*types.Identity, netip.AddrPort, time.Time) access.Decision) (*ssh.Client, <-chan error) {
	host, key, ca := signer(t), signer(t), signer(t)
	c := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"root"}, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	cs, err := ssh.NewCertSigner(c, key)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := sshproxy.New(sshproxy.Config{
		HostSigners: func() []ssh.Signer { return []ssh.Signer{host} },
		Verify: func(*ssh.Certificate, time.Time) (*types.Identity, error) {
			return &types.Identity{Kind: types.IdentityUser, Name: "alice"}, nil
		},
		Router: router, Sessions: reg, Decide: decide, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	near, far := memnet.Pipe()
	done := make(chan error, 1)
	go func() { done <- srv.ServeConn(context.Background(), far, netip.MustParseAddrPort("192.0.2.9:1")) }()
	conn, chans, reqs, err := ssh.NewClientConn(near, "proxy", &ssh.ClientConfig{User: "whoever", Auth: []ssh.AuthMethod{ssh.PublicKeys(cs)},
		HostKeyCallback: ssh.FixedHostKey(host.PublicKey())})
	if err != nil {
		t.Fatal(err)
	}
	return ssh.NewClient(conn, chans, reqs), done
}

// A jump that a lock cuts lets what it carries tell its person first, for less than a
// second, and opens nothing any more.
func TestAJumpIsCutAfterWhatItCarries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locked atomic.Bool
		reg := session.NewRegistry()
		client, done := jumper(t, &nodes{}, reg, func(*types.Identity, netip.AddrPort, time.Time) access.Decision {
			return access.Decision{Allow: !locked.Load()}
		})
		nc, err := client.Dial("tcp", "node1:3022")
		if err != nil {
			t.Fatal(err)
		}
		locked.Store(true)
		if n := reg.Recheck(); n != 1 {
			t.Errorf("%d were cut", n)
		}
		began := time.Now()
		if _, err := io.WriteString(nc, "bye"); err != nil {
			t.Error(err)
		}
		if b := make([]byte, 3); func() bool { _, err := io.ReadFull(nc, b); return err != nil || string(b) != "bye" }() {
			t.Error("the last words were lost")
		}
		if _, err := client.Dial("tcp", "node1:3022"); err == nil {
			t.Error("a jump that is cut opens something")
		}
		<-done
		if took := time.Since(began); took >= time.Second {
			t.Errorf("it was cut after %s", took)
		}
	})
}

func TestJumpHost(t *testing.T) {
	router, reg := &nodes{}, session.NewRegistry()
	client, done := jumper(t, router, reg, nil)
	nc, err := client.Dial("tcp", "node1:3022")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(nc, "ping")
	if b := make([]byte, 4); func() bool { _, err := io.ReadFull(nc, b); return err != nil || string(b) != "ping" }() {
		t.Error("no echo")
	}
	nc.Close()
	if _, err := client.Dial("tcp", "169.254.169.254:80"); err == nil || !strings.Contains(err.Error(), "no node") || !strings.Contains(err.Error(), "tsh ls") {
		t.Errorf("an address that is no node: %v", err)
	}
	for _, kind := range []string{"session", "auth-agent@openssh.com", "direct-streamlocal@openssh.com", "forwarded-tcpip", "x11"} {
		if _, _, err := client.OpenChannel(kind, nil); err == nil {
			t.Errorf("the proxy opened a %s channel", kind)
		}
	}
	if ok, _, _ := client.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
		A string
		P uint32
	}{"127.0.0.1", 0})); ok {
		t.Error("the proxy listens for a client")
	}
	client.Close()
	if err := <-done; err != nil || reg.Len() != 0 {
		t.Errorf("%v, %d live", err, reg.Len())
	}
}

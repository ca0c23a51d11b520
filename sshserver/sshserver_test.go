package sshserver_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/fault"
	"teleport/sshserver"
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

// certified signs a user certificate whose key id is the user's name.
func certified(t *testing.T, ca ssh.Signer, name string, kind uint32, principals ...string) ssh.Signer {
	t.Helper()
	key := signer(t)
	c := &ssh.Certificate{Key: key.PublicKey(), CertType: kind, KeyId: name, ValidPrincipals: principals, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(c, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type server struct {
	cfg   sshserver.Config
	mu    sync.Mutex
	names []string        // admitted, in order
	conn  *sshserver.Conn // as the last handler saw it
	uses  []sshserver.Use
	fails []sshserver.Failure
}

func newServer(t *testing.T, ca ssh.Signer) *server {
	s := &server{}
	host := signer(t)
	s.cfg = sshserver.Config{
		HostSigners: func() []ssh.Signer { return []ssh.Signer{host} },
		Verify: func(c *ssh.Certificate) (*types.Identity, error) {
			if string(c.SignatureKey.Marshal()) != string(ca.PublicKey().Marshal()) {
				return nil, fault.New(fault.Untrusted, "not our CA")
			}
			return &types.Identity{Kind: types.IdentityUser, Name: c.KeyId}, nil
		},
		Admit: func(_ context.Context, c *sshserver.Conn) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.names = append(s.names, c.Identity.Name)
			if c.Login == "banned" {
				return fault.New(fault.Denied, "banned may not come in")
			}
			return nil
		},
		Authorize: func(_ context.Context, _ *sshserver.Conn, u sshserver.Use) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.uses = append(s.uses, u)
			if a, _ := u.Need.Action(); a != access.ActionLogin {
				return fault.New(fault.Denied, "no %s here", a)
			}
			return nil
		},
		AuthFailed: func(_ context.Context, f sshserver.Failure) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.fails = append(s.fails, f)
		},
		Surface: sshserver.NewSurface().
			Channel("good", sshserver.Requires(access.ActionLogin), func(_ context.Context, c *sshserver.Conn, nc ssh.NewChannel) {
				s.mu.Lock()
				s.conn = c
				s.mu.Unlock()
				ch, reqs, err := nc.Accept()
				if err != nil {
					return
				}
				ssh.DiscardRequests(reqs)
				ch.Close()
			}).
			Channel("denied", sshserver.Requires(access.ActionForwardLocal), func(context.Context, *sshserver.Conn, ssh.NewChannel) { panic("reached") }).
			Channel("panics", sshserver.Requires(access.ActionLogin), func(context.Context, *sshserver.Conn, ssh.NewChannel) { panic("hostile message") }),
		Log: slog.New(slog.DiscardHandler),
	}
	return s
}

// dial connects with keys tried in order.
func (s *server) dial(t *testing.T, login string, keys ...ssh.Signer) (*ssh.Client, error) {
	t.Helper()
	srv, err := sshserver.New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		srv.Serve(context.Background(), nc, netip.MustParseAddrPort("192.0.2.1:5"))
	}()
	c, err := ssh.Dial("tcp", l.Addr().String(), &ssh.ClientConfig{Config: sshserver.Algorithms(), User: login, Auth: []ssh.AuthMethod{ssh.PublicKeys(keys...)},
		HostKeyCallback: func(string, net.Addr, ssh.PublicKey) error { return nil }})
	t.Cleanup(func() {
		if c != nil {
			c.Close()
		}
		l.Close()
		<-done
	})
	return c, err
}

func TestRegistrationNeedsPermission(t *testing.T) {
	ok := sshserver.Requires(access.ActionLogin)
	h := func(context.Context, *sshserver.Conn, ssh.NewChannel) {}
	g := func(context.Context, *sshserver.Conn, *ssh.Request) ([]byte, error) { return nil, nil }
	for name, s := range map[string]*sshserver.Surface{
		"channel":   sshserver.NewSurface().Channel("x", sshserver.Permission{}, h),
		"global":    sshserver.NewSurface().Global("x", sshserver.Permission{}, g),
		"request":   sshserver.NewSurface().Request("x", sshserver.Permission{}),
		"subsystem": sshserver.NewSurface().Subsystem("x", sshserver.Permission{}),
		"open":      sshserver.NewSurface().Request("x", sshserver.Open("")),
		"handler":   sshserver.NewSurface().Channel("x", ok, nil),
		"twice":     sshserver.NewSurface().Subsystem("x", ok).Subsystem("x", ok),
	} {
		if s.Err() == nil {
			t.Errorf("%s: registered", name)
		}
		cfg := newServer(t, signer(t)).cfg
		cfg.Surface = s
		if _, err := sshserver.New(cfg); err == nil {
			t.Errorf("%s: a server was built of it", name)
		}
	}
}

func TestChannels(t *testing.T) {
	ca := signer(t)
	s := newServer(t, ca)
	c, err := s.dial(t, "root", certified(t, ca, "alice", ssh.UserCert, "root"))
	if err != nil {
		t.Fatal(err)
	}
	ch, _, err := c.OpenChannel("good", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	got := s.conn
	s.mu.Unlock()
	if got.Identity.Name != "alice" || got.Login != "root" || got.ClientAddr.String() != "192.0.2.1:5" {
		t.Errorf("%+v", got)
	}
	ch.Close()
	for _, kind := range []string{"denied", "unknown"} {
		var oc *ssh.OpenChannelError
		if _, _, err := c.OpenChannel(kind, nil); !errors.As(err, &oc) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if ok, _, _ := c.SendRequest("unknown", true, nil); ok {
		t.Error("unknown global request granted")
	}
	if _, _, err := c.OpenChannel("panics", nil); err == nil {
		t.Error("panics was opened")
	}
	c.Wait() // a panic ends the connection and nothing else
}

// TestOfferedKeyGrantsNothing is CVE-2024-45337: the first key is good and only
// offered (its owner cannot sign), the second is the one that is proved.
func TestOfferedKeyGrantsNothing(t *testing.T) {
	ca := signer(t)
	s := newServer(t, ca)
	admin := certified(t, ca, "admin", ssh.UserCert, "root")
	mallory := certified(t, ca, "mallory", ssh.UserCert, "root")
	c, err := s.dial(t, "root", onlyOffers{admin}, mallory)
	if err == nil {
		defer c.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.names) != 1 || s.names[0] != "mallory" {
			t.Fatalf("the connection belongs to %v", s.names)
		}
		return
	}
	// The client gave up on its own failing key: no identity may have been made.
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.names) != 0 {
		t.Fatalf("admitted %v", s.names)
	}
}

// onlyOffers has a public key but not its private half.
type onlyOffers struct{ ssh.Signer }

func (onlyOffers) Sign(io.Reader, []byte) (*ssh.Signature, error) {
	return nil, errors.New("no private key")
}

func TestRefusedCredentials(t *testing.T) {
	ca := signer(t)
	for name, key := range map[string]ssh.Signer{
		"bare key":       signer(t),
		"host cert":      certified(t, ca, "x", ssh.HostCert, "root"),
		"no principals":  certified(t, ca, "x", ssh.UserCert),
		"another CA":     certified(t, signer(t), "x", ssh.UserCert, "root"),
		"not admitted":   certified(t, ca, "x", ssh.UserCert, "banned"),
		"CA key as user": ca,
	} {
		s := newServer(t, ca)
		if _, err := s.dial(t, "banned", key); err == nil {
			t.Errorf("%s: came in", name)
		}
	}
}

func TestFailureIsTold(t *testing.T) {
	ca := signer(t)
	s := newServer(t, ca)
	if _, err := s.dial(t, "banned", certified(t, ca, "x", ssh.UserCert, "banned")); err == nil {
		t.Fatal("came in")
	}
	deadline := time.After(time.Minute)
	for {
		s.mu.Lock()
		n := len(s.fails)
		s.mu.Unlock()
		if n == 1 {
			break
		}
		select {
		case <-deadline:
			t.Fatal("no failure was told")
		case <-time.After(time.Millisecond):
		}
	}
	if f := s.fails[0]; f.User != "banned" || f.Identity == nil || !strings.Contains(f.Err.Error(), "banned") {
		t.Errorf("%+v", f)
	}
}

func TestAlgorithms(t *testing.T) {
	a := sshserver.Algorithms()
	if a.Ciphers[0] != ssh.CipherAES128GCM {
		t.Error("AES-GCM is not first")
	}
	for _, c := range a.Ciphers {
		if !strings.Contains(c, "gcm") {
			t.Errorf("%s is open to prefix truncation", c)
		}
	}
	for _, alg := range slices.Concat(sshserver.UserKeyAlgorithms(), a.KeyExchanges) {
		if strings.Contains(alg, "sha1") || strings.HasPrefix(alg, "sk-") || alg == ssh.KeyAlgoRSA {
			t.Errorf("%s is offered", alg)
		}
	}
}

func TestChannelBudget(t *testing.T) {
	ca := signer(t)
	s := newServer(t, ca)
	s.cfg.Budget.Channels = 2
	c, err := s.dial(t, "root", certified(t, ca, "alice", ssh.UserCert, "root"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := c.OpenChannel("good", nil); err != nil {
			t.Fatal(err)
		}
	}
	var oc *ssh.OpenChannelError
	if _, _, err := c.OpenChannel("good", nil); !errors.As(err, &oc) || oc.Reason != ssh.ResourceShortage {
		t.Errorf("%v", err)
	}
}

func TestHandshakeDeadline(t *testing.T) {
	s := newServer(t, signer(t))
	s.cfg.Budget.Handshake = 50 * time.Millisecond
	srv, err := sshserver.New(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	if err := srv.Serve(context.Background(), theirs, netip.AddrPort{}); err == nil {
		t.Error("a silent peer was served")
	}
}

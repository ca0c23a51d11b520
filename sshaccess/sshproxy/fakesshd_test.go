package sshproxy_test

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"teleport/sshserver"
	"teleport/types"
)

// sshd is a stock SSH server as far as the proxy sees one: it trusts one authority
// for users, shows the keys that it was given, and does what it is asked.
type sshd struct {
	t         *testing.T
	addr      string
	authority ssh.PublicKey
	hosts     []ssh.Signer
	all       sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	logins []string // of those who entered
}

func newSSHD(t *testing.T, authority ssh.PublicKey, hosts ...ssh.Signer) *sshd {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{t: t, addr: l.Addr().String(), authority: authority, hosts: hosts}
	s.all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, nc)
			s.mu.Unlock()
			s.all.Go(func() { s.serve(nc) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, nc := range s.conns {
			nc.Close()
		}
		s.mu.Unlock()
		s.all.Wait()
	})
	return s
}

func (s *sshd) serve(nc net.Conn) {
	defer nc.Close()
	checker := &ssh.CertChecker{IsUserAuthority: func(k ssh.PublicKey) bool { return string(k.Marshal()) == string(s.authority.Marshal()) }}
	conf := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if crt, ok := key.(*ssh.Certificate); ok {
			return checker.Authenticate(c, crt)
		}
		return nil, io.ErrNoProgress
	}}
	for _, h := range s.hosts {
		conf.AddHostKey(h)
	}
	conn, chans, reqs, err := ssh.NewServerConn(nc, conf)
	if err != nil {
		return
	}
	defer conn.Close()
	s.mu.Lock()
	s.logins = append(s.logins, conn.User())
	s.mu.Unlock()
	s.all.Go(func() { s.globals(conn, reqs) })
	for c := range chans {
		switch c.ChannelType() {
		case "session":
			s.all.Go(func() { s.session(conn, c) })
		case "direct-tcpip":
			s.all.Go(func() { echo(c) })
		default:
			c.Reject(ssh.UnknownChannelType, "")
		}
	}
}

func echo(nc ssh.NewChannel) {
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	go ssh.DiscardRequests(reqs)
	io.Copy(ch, ch)
	ch.Close()
}

// globals answers a listener by one connection to it that says hello.
func (s *sshd) globals(conn *ssh.ServerConn, reqs <-chan *ssh.Request) {
	for r := range reqs {
		var m struct {
			Addr string
			Port uint32
		}
		if r.Type != "tcpip-forward" || ssh.Unmarshal(r.Payload, &m) != nil {
			r.Reply(r.Type == "cancel-tcpip-forward", nil)
			continue
		}
		if m.Port == 0 {
			m.Port = 4711
		}
		r.Reply(m.Addr == "127.0.0.1", ssh.Marshal(struct{ P uint32 }{m.Port}))
		s.all.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			s.all.Go(func() { _ = conn.Wait(); cancel() })
			// Again and again, as who asked begins to listen a moment after the answer.
			for range 200 {
				ch, reqs, err := sshserver.OpenChannel(ctx, conn, "forwarded-tcpip", ssh.Marshal(struct {
					A string
					P uint32
					O string
					Q uint32
				}{m.Addr, m.Port, "192.0.2.1", 99}))
				if err == nil {
					go ssh.DiscardRequests(reqs)
					io.WriteString(ch, "hello")
					ch.CloseWrite()
					io.Copy(io.Discard, ch)
					ch.Close()
				} else if _, refused := err.(*ssh.OpenChannelError); !refused {
					return
				}
			}
		})
	}
}

func (s *sshd) session(conn *ssh.ServerConn, nc ssh.NewChannel) {
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	for r := range reqs {
		var m struct{ Text string }
		switch r.Type {
		case "exec":
			ssh.Unmarshal(r.Payload, &m)
			r.Reply(true, nil)
			go ssh.DiscardRequests(reqs)
			code := s.exec(conn, ch, m.Text)
			ch.SendRequest("exit-status", false, ssh.Marshal(struct{ C uint32 }{code}))
			return
		case "subsystem":
			r.Reply(true, nil)
			go ssh.DiscardRequests(reqs)
			if srv, err := sftp.NewServer(ch); err == nil {
				srv.Serve()
			}
			return
		default:
			r.Reply(true, nil)
		}
	}
}

// exec knows some commands: "agent" lists the keys of the client's agent, "exit N"
// does, "cat" gives its input back, "much" prints much, "leave" prints something and
// ends the connection with itself, and all else is printed.
func (s *sshd) exec(conn *ssh.ServerConn, ch ssh.Channel, text string) uint32 {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "exit":
		n, _ := strconv.Atoi(rest)
		return uint32(n)
	case "cat":
		io.Copy(ch, ch)
	case "much":
		io.WriteString(ch, strings.Repeat("x", muchOutput))
	case "leave":
		io.WriteString(ch, strings.Repeat("x", someOutput))
		ch.SendRequest("exit-status", false, ssh.Marshal(struct{ C uint32 }{7}))
		conn.Close()
	case "agent":
		a, reqs, err := conn.OpenChannel("auth-agent@openssh.com", nil)
		if err != nil {
			return 1
		}
		go ssh.DiscardRequests(reqs)
		list, err := agent.NewClient(a).List()
		if err != nil || len(list) != 1 {
			return 2
		}
		io.WriteString(ch, list[0].Comment)
		a.Close()
	default:
		io.WriteString(ch, text)
	}
	return 0
}

// hostCert is a host certificate of an authority for names.
func hostCert(t *testing.T, ca, key ssh.Signer, names ...string) ssh.Signer {
	t.Helper()
	c := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.HostCert, KeyId: names[0] + "." + cluster, ValidPrincipals: names,
		ValidAfter: uint64(time.Now().Add(-time.Minute).Unix()), ValidBefore: uint64(time.Now().Add(time.Hour).Unix())}
	if err := c.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(c, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	nodeUUID = "4d5f3b8e-1f0a-4a51-9a0e-0f6f2a9c7b11"
)

// names makes the identity of any certificate that an authority signed: what a
// certificate of the cluster says in full is cert/sshcert's to test.
func names(authority ssh.PublicKey) func(c *ssh.Certificate) (*types.Identity, error) {
	return func(c *ssh.Certificate) (*types.Identity, error) {
		if string(c.SignatureKey.Marshal()) != string(authority.Marshal()) {
			return nil, io.ErrNoProgress
		}
		return &types.Identity{Kind: types.IdentityHost, Cluster: cluster, Name: c.ValidPrincipals[0]}, nil
	}
}

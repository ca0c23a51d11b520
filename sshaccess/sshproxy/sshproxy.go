// Package sshproxy is the proxy's half of SSH: a jump host for clients that know
// nothing of dials, such as ssh -J. It takes user certificates and one thing
// only, direct-tcpip to a node, where "host:port" is a key to look up among the
// registered nodes and never an address to connect to. Everything else is
// refused; no process, file or forward exists here.
package sshproxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/fault"
	"teleport/netx"
	"teleport/session"
	"teleport/sshserver"
	"teleport/types"
)

// Router finds a node and dials it. The target is host:port as the client wrote
// it. Decisions about the dial are the router's, as it is who knows the node;
// its faults are shown to the person.
type Router interface {
	Dial(ctx context.Context, id *types.Identity, client netip.AddrPort, target string) (net.Conn, error)
}

// Config is what a jump host is built from. Fields without a remark are required.
type Config struct {
	HostSigners func() []ssh.Signer
	Verify      func(c *ssh.Certificate, now time.Time) (*types.Identity, error)
	Router      Router
	Sessions    *session.Registry
	// Decide makes the decision of a live connection again. Nil is never asked.
	Decide func(id *types.Identity, client netip.AddrPort, now time.Time) access.Decision
	// AuthFailed is told of refused connections, for the audit log. Optional.
	AuthFailed func(ctx context.Context, f sshserver.Failure)
	// Strangers bounds how often AuthFailed is told of strangers. Optional.
	Strangers *sshserver.Strangers
	HostID    string
	Log       *slog.Logger
	Budget    sshserver.Budget // zero fields take the defaults
}

// Server is a jump host. Safe for concurrent use.
type Server struct {
	cfg Config
	srv *sshserver.Server
}

// New checks a configuration. It starts nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Verify == nil || cfg.Router == nil || cfg.Sessions == nil {
		return nil, errors.New("sshproxy: Verify, Router and Sessions are required")
	}
	s := &Server{cfg: cfg}
	srv, err := sshserver.New(sshserver.Config{
		HostSigners: cfg.HostSigners,
		Verify:      func(c *ssh.Certificate) (*types.Identity, error) { return cfg.Verify(c, time.Now()) },
		Admit:       s.admit,
		Authorize:   s.authorize,
		AuthFailed:  cfg.AuthFailed,
		Strangers:   cfg.Strangers,
		Log:         cfg.Log,
		Budget:      cfg.Budget,
		Surface: sshserver.NewSurface().
			Channel("direct-tcpip", sshserver.Requires(access.ActionDial), s.dial).
			Global("keepalive@openssh.com", sshserver.Open("an answer is all it asks for"), keepalive),
	})
	s.srv = srv
	return s, err
}

func keepalive(context.Context, *sshserver.Conn, *ssh.Request) ([]byte, error) { return nil, nil }

// outlast is how long a jump goes on that is cut: what it carries is cut beside it, and
// tells its person why. Nothing new is opened over it.
const outlast = 500 * time.Millisecond

// ServeConn serves one client until it leaves or ctx ends, and closes nc.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn, client netip.AddrPort) error {
	defer nc.Close()
	c, chans, reqs, err := s.srv.Handshake(ctx, nc, client)
	if err != nil {
		return err
	}
	id := c.Identity
	info := session.Info{
		ID: uuid.NewString(), Kind: "jump", User: id.Name, Cluster: id.Cluster, Roles: id.Authority.Roles, Login: c.Login,
		HostIDs: []string{s.cfg.HostID, id.Authority.ProxyUUID}, MFADevice: id.Proofs.MFADevice, DeviceID: id.Proofs.DeviceID,
		AccessRequests: id.Proofs.AccessRequests, ClientAddr: client.String(), Identity: id, Start: time.Now(),
	}
	if s.cfg.Decide != nil {
		info.Decide = func(now time.Time) access.Decision { return s.cfg.Decide(id, client, now) }
		info.Limits = info.Decide(info.Start).Limits
	}
	live, err := s.cfg.Sessions.Add(info, func(error) { time.AfterFunc(outlast, func() { c.SSH.Close() }) })
	if err != nil {
		c.SSH.Close()
		return err
	}
	defer live.Close()
	c.Data = live
	return s.srv.ServeConn(ctx, c, chans, reqs)
}

// admit lets a client in whose certificate opens nodes: it may be anyone's who
// is not locked. The login is the node's to judge, as its name here is the
// client's idea of a name on the proxy.
func (s *Server) admit(_ context.Context, c *sshserver.Conn) error { return s.decide(c) }

// authorize asks again for each channel.
func (s *Server) authorize(_ context.Context, c *sshserver.Conn, _ sshserver.Use) error {
	return s.decide(c)
}

func (s *Server) decide(c *sshserver.Conn) error {
	if s.cfg.Decide == nil {
		return nil
	}
	if d := s.cfg.Decide(c.Identity, c.ClientAddr, time.Now()); !d.Allow {
		for _, r := range d.Reasons {
			return fault.New(fault.Denied, "access denied: %s", r.Text)
		}
		return fault.New(fault.Denied, "access denied")
	}
	return nil
}

func (s *Server) dial(ctx context.Context, c *sshserver.Conn, nc ssh.NewChannel) {
	var m struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if ssh.Unmarshal(nc.ExtraData(), &m) != nil || !ValidTarget(m.Host) || m.Port > 65535 {
		reject(nc, "malformed node name")
		return
	}
	target := net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
	node, err := s.cfg.Router.Dial(ctx, c.Identity, c.ClientAddr, target)
	if err != nil {
		msg := fault.Message(err)
		if h := fault.Hint(err); h != "" {
			msg += " (" + h + ")"
		}
		reject(nc, msg)
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		node.Close()
		return
	}
	go ssh.DiscardRequests(reqs)
	var o netx.SpliceOptions
	if live, ok := c.Data.(*session.Live); ok {
		o.Touch = live.Touch
	}
	// The bytes are the client's SSH with the node: ciphertext here.
	if err := netx.Splice(ctx, ch, node, o); err != nil {
		s.cfg.Log.Debug("a connection to a node broke", "reason", err)
	}
}

func reject(nc ssh.NewChannel, msg string) {
	nc.Reject(ssh.ConnectionFailed, msg) //nolint:errcheck // the connection is gone then
}

// ValidTarget reports whether a name may be looked up: what host names, UUIDs
// and addresses consist of.
func ValidTarget(h string) bool {
	if h == "" || len(h) > 255 {
		return false
	}
	for i := range len(h) {
		c := h[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_' || c == ':') {
			return false
		}
	}
	return true
}

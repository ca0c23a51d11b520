// Package sshaccess is the SSH service of an agent: it takes a connection that
// the agent accepted for it, speaks SSH with the client itself, decides every
// use of the connection from the replica, runs shells and commands as the login
// user, serves files and forwards, and tells the audit log before it acts.
package sshaccess

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/audit"
	"teleport/predicate"
	"teleport/recorder"
	"teleport/session"
	"teleport/sshaccess/childbin"
	"teleport/sshaccess/spawn"
	"teleport/sshserver"
	"teleport/types"
)

// Config is what the service is built from. Fields without a remark are required.
type Config struct {
	HostID   string // UUID
	Hostname string
	Cluster  string
	// Node returns this host's document as it stands now, labels included.
	Node func() *types.Node
	// HostSigners returns the host keys with their certificates, as they are now.
	HostSigners func() []ssh.Signer
	// Verify makes the identity of a user certificate (cert/sshcert.Verify with
	// the trust of the replica).
	Verify func(c *ssh.Certificate, now time.Time) (*types.Identity, error)
	// VerifyBridge makes that of a bridge certificate, by which a proxy speaks for
	// a user. Nil takes none.
	VerifyBridge func(c *ssh.Certificate, now time.Time) (*types.Identity, error)
	Policy       access.View
	Audit        audit.Emitter
	Sessions     *session.Registry
	// Trackers are told of every shell and command. Nil: nobody is.
	Trackers *session.Trackers
	// Slots count the connections of users with max_connections. Nil: such users
	// are refused.
	Slots    *session.Slots
	Recorder recorder.Recorder
	Accounts *spawn.Accounts
	Log      *slog.Logger
	// Child serves files and sockets as the user. Nil refuses both.
	Child *childbin.Binary
	// PortForwarding, FileCopy and PermitUserEnv are the node's own switches.
	PortForwarding bool
	FileCopy       bool
	PermitUserEnv  bool
	// ProxyAddr is what SSH_SESSION_WEBPROXY_ADDR says. Optional.
	ProxyAddr func() string
	Budget    sshserver.Budget // zero fields take the defaults
	// Strangers bounds how often the log is told of peers without a good
	// certificate. Optional.
	Strangers *sshserver.Strangers
	Cache     *predicate.Cache // may be nil
	// Now is the clock that certificates and decisions go by. Nil: time.Now.
	Now func() time.Time
}

// Inbound is what the dial header said about a connection.
type Inbound struct {
	ClientAddr netip.AddrPort
	// Gateway is who came through the gate. Nil when the client dialled this
	// host directly, without a gate.
	Gateway *Gateway
	// ProxyID is the UUID of the proxy that carried the dial, if any, as its own
	// certificate says.
	ProxyID string
	// Stream is the dial's id, for logs.
	Stream string
	// Kept is how long the client may be without a connection, in which it cannot
	// answer. 0: not at all.
	Kept time.Duration
}

// Gateway is the identity that the proxy verified before the dial.
type Gateway struct {
	User, Cluster string
	// CertSHA256 is the hash of the certificate shown at the gate, for the log. It
	// is not compared: that certificate is X.509, the one inside the connection is
	// SSH, and the two belong together by the identity that both carry. Empty when
	// the gate was opened by an SSH certificate.
	CertSHA256 string
}

// Service serves connections. Safe for concurrent use.
type Service struct {
	cfg Config

	mu   sync.Mutex
	live map[string]*channel // by session id: those that can be joined
	// named are the ids in use that proxies gave.
	named map[string]struct{}
}

// New checks a configuration. It starts nothing.
func New(cfg Config) (*Service, error) {
	if cfg.HostID == "" || cfg.Node == nil || cfg.HostSigners == nil || cfg.Verify == nil || cfg.Policy == nil ||
		cfg.Audit == nil || cfg.Sessions == nil || cfg.Recorder == nil || cfg.Accounts == nil || cfg.Log == nil {
		return nil, errors.New("sshaccess: incomplete configuration")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Trackers == nil {
		cfg.Trackers = session.NewTrackers()
	}
	s := &Service{cfg: cfg, live: map[string]*channel{}, named: map[string]struct{}{}}
	// A handler without a permission shows here, not at the first connection.
	if _, err := s.newConn(Inbound{}, nil).server(); err != nil {
		return nil, err
	}
	return s, nil
}

// ServeConn serves one connection until it ends or ctx does, and closes it. It
// returns when no process and no goroutine of it is left.
func (s *Service) ServeConn(ctx context.Context, nc net.Conn, in Inbound) error {
	defer nc.Close()
	if !in.ClientAddr.IsValid() {
		in.ClientAddr = addrPort(nc.RemoteAddr())
	}
	cn := s.newConn(in, nc.LocalAddr())
	srv, err := cn.server()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cn.ctx, cn.cancel = ctx, cancel
	defer s.cfg.Slots.Give(cn.id)
	c, chans, reqs, err := srv.Handshake(ctx, nc, in.ClientAddr)
	if err != nil {
		return err
	}
	if err := cn.file(c); err != nil {
		c.SSH.Close()
		return err
	}
	defer cn.end()
	return srv.ServeConn(ctx, c, chans, reqs)
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok && t != nil {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

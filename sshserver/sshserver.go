// Package sshserver is the SSH server (RFC 4251 to 4254) that jump host, tunnel
// end and agents share: user certificates only, a closed list of what a peer may
// ask, a permission declared by every entry of that list and decided at one
// place before its handler runs, and a budget per connection. It knows no shell,
// no tunnel and no role: those are the handlers and the policy it is given.
//
// Handlers see an ssh.Conn and ssh.NewChannel, never a *ssh.ServerConn, so that
// the same handlers can later serve channels that come over another carrier.
package sshserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/types"
)

// Config is what a server is built from. Fields without a remark are required.
type Config struct {
	// HostSigners returns the host keys to show, each with its certificate. It is
	// asked on every connection, so that a renewed certificate is seen.
	HostSigners func() []ssh.Signer
	// Verify makes the identity from a certificate, or says why not. It runs for
	// offered keys too, so it must not have effects.
	Verify func(cert *ssh.Certificate) (*types.Identity, error)
	// Bridges takes identities of kind bridge from Verify, beside users': only
	// where a proxy may speak for a user.
	Bridges bool
	// Admit has the last word on a connection after the peer has proved its key:
	// login and identity together. Nil admits every verified identity.
	Admit func(ctx context.Context, c *Conn) error
	// Authorize decides on one use of the surface. It is called with every
	// channel, global request, session request and subsystem whose permission is
	// an action.
	Authorize func(ctx context.Context, c *Conn, u Use) error
	// AuthFailed is told of each connection that did not authenticate. Optional.
	AuthFailed func(ctx context.Context, f Failure)
	// Strangers bounds how often AuthFailed is told of peers without a good
	// certificate. Nil does not.
	Strangers *Strangers
	Surface   *Surface
	Log       *slog.Logger
	// Banner is the message of the day, shown before authentication. Optional.
	Banner func() string
	// KeepAlive says how often a client is asked for an answer, and how many
	// unanswered questions end the connection. Optional; 0 never asks.
	KeepAlive func() (every time.Duration, tries int)
	Budget    Budget
}

// Use is one thing a peer wants, for Config.Authorize.
type Use struct {
	Kind string // channel, global, request, subsystem
	Name string
	Need Permission
}

// Failure describes a connection that was refused during authentication. What
// the peer chose of it is bounded and printable.
type Failure struct {
	User       string
	ClientAddr netip.AddrPort
	// Identity is set when the certificate itself was good.
	Identity *types.Identity
	Err      error
	// Count is how many refusals a sum stands for; 0 is one, told by itself.
	Count uint64
}

// Budget bounds what one connection may use. Zero fields take the defaults.
type Budget struct {
	Handshake      time.Duration // from accept to authenticated; 15 s
	AuthTries      int           // keys a peer may offer; 6
	Channels       int           // open at one time; 64
	GlobalRequests int           // per second; 20, with a burst of twice that
}

func (b Budget) orDefaults() Budget {
	if b.Handshake <= 0 {
		b.Handshake = 15 * time.Second
	}
	if b.AuthTries <= 0 {
		b.AuthTries = 6
	}
	if b.Channels <= 0 {
		b.Channels = 64
	}
	if b.GlobalRequests <= 0 {
		b.GlobalRequests = 20
	}
	return b
}

// Conn is an authenticated connection as handlers see it. All fields are fixed
// before the first handler runs.
type Conn struct {
	// SSH is the connection; closing it ends everything on it.
	SSH ssh.Conn
	// Identity is what the certificate of the final authentication says.
	Identity *types.Identity
	// Certificate is that certificate.
	Certificate *ssh.Certificate
	// Login is the SSH user name asked for.
	Login      string
	ClientAddr netip.AddrPort
	// Data is the owner's own state of this connection, set in Admit.
	Data any
}

// Server serves connections. Its methods are safe for concurrent use.
type Server struct {
	cfg Config
}

// New checks a configuration. It starts nothing.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.HostSigners == nil || cfg.Verify == nil || cfg.Authorize == nil || cfg.Surface == nil || cfg.Log == nil:
		return nil, errors.New("sshserver: HostSigners, Verify, Authorize, Surface and Log are required")
	case cfg.Surface.Err() != nil:
		return nil, cfg.Surface.Err()
	}
	cfg.Budget = cfg.Budget.orDefaults()
	return &Server{cfg: cfg}, nil
}

// Serve takes over one connection: handshake, then its channels and requests,
// until the peer leaves or ctx ends; then it closes nc and waits for the
// handlers. clientAddr is the true address of the client, which may differ from
// nc's when the connection came through a proxy. The error is nil when an
// authenticated peer simply left.
func (s *Server) Serve(ctx context.Context, nc net.Conn, clientAddr netip.AddrPort) error {
	c, chans, reqs, err := s.Handshake(ctx, nc, clientAddr)
	if err != nil {
		return err
	}
	return s.ServeConn(ctx, c, chans, reqs)
}

// Surface lists what the server offers, a line each with its permission, sorted:
// for tests that hold the list, and for people.
func (s *Server) Surface() []string { return s.cfg.Surface.lines() }

// Allowed decides on a request or subsystem ("subsystem", name) of a session
// channel: a name that is not on the surface is refused.
func (s *Server) Allowed(ctx context.Context, c *Conn, kind, name string) error {
	key := name
	if kind == "subsystem" {
		key = subsystemKey(name)
	}
	need := s.cfg.Surface.requests[key]
	return s.authorize(ctx, c, Use{Kind: kind, Name: name, Need: need})
}

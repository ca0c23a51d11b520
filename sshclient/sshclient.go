// Package sshclient is SSH as a client (RFC 4251 to 4254), for tsh and for
// tests: commands with exit codes and signals, terminals, forwards in both
// directions, a key agent passed on, SFTP. A client cannot be built without
// something that verifies the host: there is no "accept any" here, and OrUnknown,
// which comes near to it, is for an operator to choose.
package sshclient

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"teleport/fault"
	"teleport/netx"
	"teleport/types"
)

// VerifyCert makes the identity that a host certificate speaks of, or says why
// it is not to be trusted (cert/sshcert.Verify with kind host).
type VerifyCert func(c *ssh.Certificate) (*types.Identity, error)

// HostVerifier decides whether the host is the one that was meant. Its zero
// value refuses every host; the constructors below are the only way to another.
type HostVerifier struct {
	verify VerifyCert
	match  func(id *types.Identity, c *ssh.Certificate) error
	// unknown accepts hosts that nobody vouches for.
	unknown bool
}

// HostUUID accepts the one host with this UUID, whatever it calls itself.
func HostUUID(verify VerifyCert, uuid string) HostVerifier {
	return HostVerifier{verify: verify, match: func(id *types.Identity, _ *ssh.Certificate) error {
		if uuid == "" || id.Name != uuid {
			return fault.New(fault.Untrusted, "the host that answered is %s, not %s", id.Name, uuid)
		}
		return nil
	}}
}

// HostPrincipal accepts hosts whose certificate names them so.
func HostPrincipal(verify VerifyCert, names ...string) HostVerifier {
	return HostVerifier{verify: verify, match: func(_ *types.Identity, c *ssh.Certificate) error {
		for _, n := range names {
			if n != "" && slices.Contains(c.ValidPrincipals, n) {
				return nil
			}
		}
		return fault.New(fault.Untrusted, "the host that answered does not go by the name %v", names)
	}}
}

// HostRole accepts hosts that have a system role, such as the proxy.
func HostRole(verify VerifyCert, role types.SystemRole) HostVerifier {
	return HostVerifier{verify: verify, match: func(id *types.Identity, _ *ssh.Certificate) error {
		if !id.HasSystemRole(role) {
			return fault.New(fault.Untrusted, "the host that answered is not a %s", role)
		}
		return nil
	}}
}

// OrUnknown accepts what v does, and hosts of which nobody knows anything: those
// that show a bare key, or a certificate that does not verify. Whoever has a
// certificate that verifies must still be who was meant.
func OrUnknown(v HostVerifier) HostVerifier {
	v.unknown = true
	return v
}

func (v HostVerifier) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	c, ok := key.(*ssh.Certificate)
	if !ok && v.unknown {
		return nil
	}
	if !ok || c.CertType != ssh.HostCert || len(c.ValidPrincipals) == 0 {
		return fault.New(fault.Untrusted, "the host did not show a host certificate")
	}
	id, err := v.verify(c)
	if err != nil && v.unknown {
		return nil
	}
	if err != nil {
		return fault.Wrap(err, fault.Untrusted, "the host's certificate is not to be trusted: %s", fault.Message(err))
	}
	if id == nil || id.Kind != types.IdentityHost {
		return fault.New(fault.Untrusted, "the host's certificate is not a host's")
	}
	return v.match(id, c)
}

// Config says who connects, and to whom.
type Config struct {
	Login string
	// Signers are the user's keys with their certificates.
	Signers []ssh.Signer
	Host    HostVerifier
	// Banner shows the server's message before authentication. Optional.
	Banner  func(text string)
	Timeout time.Duration // of the handshake; 0 is 30 s
}

// Client is an SSH connection. Safe for concurrent use.
type Client struct {
	ssh   *ssh.Client
	mu    sync.Mutex
	agent bool // auth-agent channels are served
}

// New speaks SSH over nc and authenticates. It owns nc from here on.
func New(ctx context.Context, nc net.Conn, cfg Config) (*Client, error) {
	if cfg.Host.verify == nil || cfg.Host.match == nil {
		nc.Close()
		return nil, errors.New("sshclient: a client needs a host verifier")
	}
	timeout := cfg.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	var hostErr error
	conf := &ssh.ClientConfig{
		Config: algorithms(), User: cfg.Login, Auth: []ssh.AuthMethod{ssh.PublicKeys(cfg.Signers...)},
		HostKeyAlgorithms: hostKeyAlgorithms(cfg.Host.unknown), ClientVersion: "SSH-2.0-Teleport",
		HostKeyCallback: func(name string, addr net.Addr, key ssh.PublicKey) error {
			hostErr = cfg.Host.check(name, addr, key)
			return hostErr
		},
	}
	var banner string
	conf.BannerCallback = func(text string) error {
		banner = text
		if cfg.Banner != nil {
			cfg.Banner(text)
		}
		return nil
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	if err := nc.SetDeadline(time.Now().Add(timeout)); err != nil {
		nc.Close()
		return nil, err
	}
	conn, chans, reqs, err := ssh.NewClientConn(netx.ForSSH(nc), "", conf)
	if err != nil {
		nc.Close()
		return nil, explain(ctx, err, hostErr, banner)
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, err
	}
	return &Client{ssh: ssh.NewClient(conn, chans, reqs)}, nil
}

// Conn returns the connection itself, for channels of other protocols.
func (c *Client) Conn() ssh.Conn { return c.ssh.Conn }

// Incoming returns the channels of a type that the server opens, until the
// connection ends; nil where that type was asked for before. Types that nobody
// asks for are refused.
func (c *Client) Incoming(kind string) <-chan ssh.NewChannel { return c.ssh.HandleChannelOpen(kind) }

// Wait returns when the connection has ended.
func (c *Client) Wait() error { return c.ssh.Wait() }

// Close ends the connection and everything on it.
func (c *Client) Close() error { return c.ssh.Close() }

// Keepalive asks the server for an answer, any answer.
func (c *Client) Keepalive() error {
	_, _, err := c.ssh.SendRequest("keepalive@openssh.com", true, nil)
	return err
}

// serveAgent lets the server's side reach keys, from now on.
func (c *Client) serveAgent(keys agent.Agent) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.agent {
		return nil
	}
	if err := agent.ForwardToAgent(c.ssh, keys); err != nil {
		return fault.Wrap(err, fault.Internal, "cannot forward the key agent")
	}
	c.agent = true
	return nil
}

// explain turns a failed handshake into a line for a person. What the server
// said before it refused is the best reason there is.
func explain(ctx context.Context, err, hostErr error, banner string) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case hostErr != nil:
		return hostErr
	}
	if why, ok := cutRefusal(banner); ok {
		return fault.Wrap(err, fault.Denied, "%s", why)
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return fault.Wrap(err, fault.Timeout, "the host did not complete the SSH handshake in time")
	}
	return fault.Wrap(err, fault.Unauthenticated, "the host did not accept the SSH connection: %s", oneLine(err.Error()))
}

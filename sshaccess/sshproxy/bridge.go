package sshproxy

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/keys"
	"teleport/netx"
	"teleport/sshclient"
	"teleport/sshserver"
	"teleport/types"
)

// bridge is one connection to a node with an agent that this proxy ends, as the
// cluster records at its proxies. Towards the agent it speaks for the person, with
// a bridge certificate and a key that lives as long as the connection. The agent
// decides and tells the log, as ever; what it shows passes the recorder here.
type bridge struct {
	*end
	agent net.Conn
	tried bool  // the agent was asked: its connection is good for one handshake
	why   error // why it let nobody in
	told  bool  // and that it has told the log of it
}

func (e *Ender) newBridge(in Inbound, agent net.Conn) *bridge {
	return &bridge{end: e.newEnd(in), agent: agent}
}

// server lists what may be asked of a node through here. Each thing is asked of
// the agent, which decides about it.
func (c *bridge) server() (*sshserver.Server, error) {
	decides := sshserver.Open("the agent decides")
	srv, err := sshserver.New(sshserver.Config{
		HostSigners: c.cfg.HostSigners,
		Verify:      func(crt *ssh.Certificate) (*types.Identity, error) { return c.cfg.Verify(crt, c.cfg.Now()) },
		Admit:       c.admit,
		Authorize: func(context.Context, *sshserver.Conn, sshserver.Use) error {
			return fault.New(fault.Denied, "the proxy decides nothing here")
		},
		AuthFailed: c.notAdmitted, Strangers: c.cfg.Strangers, Log: c.cfg.Log, KeepAlive: c.keepAlive,
		Surface: sshserver.NewSurface().
			Channel("session", decides, c.serveSession).
			Channel(types.JoinChannel, decides, c.serveJoin).
			Channel("direct-tcpip", decides, c.serveForward).
			Global("tcpip-forward", decides, c.passOn).
			Global("cancel-tcpip-forward", decides, c.passOn).
			Global("keepalive@openssh.com", sshserver.Open("an answer is all it asks for"), keepalive).
			Request("pty-req", decides).
			Request("window-change", decides).
			Request("env", decides).
			Request("signal", decides).
			Request("shell", decides).
			Request("exec", decides).
			Request("auth-agent-req@openssh.com", decides).
			Subsystem("sftp", decides),
	})
	c.srv = srv
	return srv, err
}

// keepAlive is what agents ask of clients, where those speak with them.
func (c *bridge) keepAlive() (time.Duration, int) {
	n := c.cfg.Policy.Settings().Networking
	return cmp.Or(n.KeepAliveInterval.Std(), 5*time.Minute), cmp.Or(n.KeepAliveCountMax, 3)
}

func (c *bridge) serve(ctx context.Context, nc net.Conn) error {
	defer c.agent.Close()
	srv, err := c.server()
	if err != nil {
		return err
	}
	ctx, c.cancel = context.WithCancelCause(ctx)
	defer c.cancel(nil)
	peer, chans, reqs, err := srv.Handshake(ctx, nc, c.in.Client)
	if c.remote != nil {
		defer c.remote.Close()
	}
	if err != nil {
		return err
	}
	gone := context.AfterFunc(ctx, func() { c.remote.Close() })
	defer gone()
	var behind sync.WaitGroup
	defer func() { c.cancel(nil); c.remote.Close(); behind.Wait() }()
	for _, kind := range []string{"forwarded-tcpip", "auth-agent@openssh.com"} {
		in := c.remote.Incoming(kind)
		behind.Go(func() { c.carryBack(ctx, in) })
	}
	behind.Go(func() { c.follow(ctx) })
	return srv.ServeConn(ctx, peer, chans, reqs)
}

// admit lets in whom the gate let in and the agent does.
func (c *bridge) admit(ctx context.Context, peer *sshserver.Conn) error {
	c.peer = peer
	if peer.Identity.Name != c.in.User || peer.Identity.Cluster != c.in.Cluster {
		return fault.New(fault.Denied, "the identity inside the connection is not the one that came through the proxy")
	}
	if !c.tried {
		c.tried = true
		c.why = c.cross(ctx)
	}
	return c.why
}

// cross opens SSH with the agent, for the person and as the login asked for.
func (c *bridge) cross(ctx context.Context) error {
	key, err := keys.Generate(keys.Ed25519)
	if err != nil {
		return err
	}
	bare, err := ssh.NewSignerFromSigner(key)
	if err != nil {
		return err
	}
	crt, err := c.cfg.Bridge(ctx, c.peer.Certificate, bare.PublicKey(), c.in.Node.Name(), c.peer.Login, c.in.Client)
	if err != nil {
		return err
	}
	signer, err := ssh.NewCertSigner(crt, bare)
	if err != nil {
		return err
	}
	c.remote, err = sshclient.New(ctx, c.agent, sshclient.Config{Login: c.peer.Login, Signers: []ssh.Signer{signer},
		Host: sshclient.HostUUID(c.cfg.VerifyHost, c.in.Node.Name())})
	c.told = errors.Is(err, fault.Denied) // in the agent's own words
	return err
}

func (c *bridge) notAdmitted(ctx context.Context, f sshserver.Failure) {
	if !c.told {
		c.authFailed(ctx, f)
	}
}

// refuse passes the agent's reason on, where there is one.
func refuse(nc ssh.NewChannel, err error) {
	var open *ssh.OpenChannelError
	if errors.As(err, &open) {
		nc.Reject(open.Reason, open.Message) //nolint:errcheck // the connection is gone then
		return
	}
	reject(nc, "the host has left")
}

// passOn asks the agent, and answers as it does.
func (c *bridge) passOn(_ context.Context, _ *sshserver.Conn, r *ssh.Request) ([]byte, error) {
	ok, reply, err := c.remote.Conn().SendRequest(r.Type, true, r.Payload)
	if err == nil && !ok {
		err = fault.New(fault.Denied, "the host refused %s", r.Type)
	}
	return reply, err
}

// serveForward passes a channel on that carries bytes and nothing else.
func (c *bridge) serveForward(ctx context.Context, _ *sshserver.Conn, nc ssh.NewChannel) {
	carry(ctx, nc, c.remote.Conn())
}

// carry opens at the other end what nc asks for, and copies between both.
func carry(ctx context.Context, nc ssh.NewChannel, to ssh.Conn) {
	far, reqs, err := sshserver.OpenChannel(ctx, to, nc.ChannelType(), nc.ExtraData())
	if err != nil {
		refuse(nc, err)
		return
	}
	defer far.Close()
	go ssh.DiscardRequests(reqs)
	near, own, err := nc.Accept()
	if err != nil {
		return
	}
	defer near.Close()
	go ssh.DiscardRequests(own)
	_ = netx.Splice(ctx, near, far, netx.SpliceOptions{}) // either end left
}

// backMost bounds the channels that an agent holds open to one client.
const backMost = 128

// carryBack takes what the agent opens towards the client: connections that came
// to a remote forward, and the client's key agent.
func (c *bridge) carryBack(ctx context.Context, in <-chan ssh.NewChannel) {
	var open sync.WaitGroup
	defer open.Wait()
	slots := make(chan struct{}, backMost)
	for nc := range in {
		select {
		case slots <- struct{}{}:
		default:
			nc.Reject(ssh.ResourceShortage, "too many open channels on this connection") //nolint:errcheck // the connection is gone then
			continue
		}
		open.Go(func() {
			defer func() { <-slots }()
			carry(ctx, nc, c.peer.SSH)
		})
	}
}

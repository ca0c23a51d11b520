package assembly

import (
	"context"
	"net"
	"net/netip"

	"golang.org/x/crypto/ssh"

	"teleport/api/gen/issuev1"
	"teleport/cert/sshcert"
	"teleport/dial"
	"teleport/fault"
	"teleport/keys"
	"teleport/sshaccess/sshproxy"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// openSSH opens a connection to a server without an agent: its SSH ends here. Such
// a stream cannot be taken up again: it is a new one's turn to decide.
func (r nodeRouter) openSSH(n *types.Node, h dial.Header) (net.Conn, dial.Reply, error) {
	if h.Verb != tunframe.Open || h.Gateway == nil {
		return nil, dial.Reply{}, fault.New(fault.Unimplemented, "a connection to a server without an agent cannot be resumed")
	}
	conn := r.ender.Open(sshproxy.Inbound{Node: n, Client: h.Client, User: h.Gateway.User, Cluster: h.Gateway.Cluster})
	return conn, dial.Reply{AgentUUID: n.Name(), Hostname: n.Spec.Hostname, EndsAt: tunframe.EndsAtProxy}, nil
}

// recordedHere opens a connection to a node with an agent, where the cluster
// records at its proxies: the client's SSH ends here. Such a stream is not offered
// for resumption, as the session ends with its recorder.
func (r nodeRouter) recordedHere(ctx context.Context, n *types.Node, h dial.Header) (net.Conn, dial.Reply, error) {
	if h.Gateway == nil {
		return nil, dial.Reply{}, fault.New(fault.Internal, "a dial without a gate")
	}
	h.Resume = 0
	agent, reply, err := r.DialNode(ctx, n, h)
	if err != nil {
		return nil, reply, err
	}
	reply.EndsAt, reply.Resume, reply.Keep = tunframe.EndsAtProxy, false, 0
	return r.ender.Through(sshproxy.Inbound{Node: n, Client: h.Client, User: h.Gateway.User, Cluster: h.Gateway.Cluster}, agent), reply, nil
}

// buildEnder makes the SSH server for servers without an agent, and for those with
// one where the cluster records at its proxies.
func (x *proxyParts) buildEnder() error {
	p := x.p
	record, err := p.recorder(true)
	if err != nil {
		return err
	}
	x.ender, err = sshproxy.NewEnder(sshproxy.EnderConfig{HostID: x.uuid, Verify: p.verifyUser, Certify: p.certifyOpenSSH, Bridge: p.bridge,
		HostSigners: func() []ssh.Signer { return []ssh.Signer{p.member.SSHSigner()} },
		VerifyHost: func(c *ssh.Certificate) (*types.Identity, error) {
			return sshcert.Verify(c, p.replica.Trust(), types.IdentityHost, p.clock.Now())
		},
		Dial: (&net.Dialer{}).DialContext, Policy: p.replica, Audit: p.writer, Recorder: record, Sessions: p.sessions, Trackers: p.trackers, Slots: p.slots,
		Strangers: p.strangers, Cache: p.decisions, Log: p.log, Now: p.clock.Now})
	return err
}

// certifyOpenSSH asks auth for what a server without an agent takes.
func (p *Process) certifyOpenSSH(ctx context.Context, user *ssh.Certificate, key ssh.PublicKey, node, login string, client netip.AddrPort) (*ssh.Certificate, error) {
	resp, err := p.client.OpenSSH(ctx, &issuev1.OpenSSHRequest{UserCert: keys.SSHLine(user), SshPublic: keys.SSHLine(key),
		Node: node, Login: login, ClientAddr: client.String()})
	if err != nil {
		return nil, err
	}
	return keys.ParseSSHCert(resp.SshCert)
}

// bridge asks auth for the certificate by which this proxy speaks for a user to
// the agent of a node.
func (p *Process) bridge(ctx context.Context, user *ssh.Certificate, key ssh.PublicKey, node, login string, client netip.AddrPort) (*ssh.Certificate, error) {
	resp, err := p.client.Bridge(ctx, &issuev1.BridgeRequest{UserCert: keys.SSHLine(user), SshPublic: keys.SSHLine(key),
		Node: node, Login: login, ClientAddr: client.String()})
	if err != nil {
		return nil, err
	}
	return keys.ParseSSHCert(resp.SshCert)
}

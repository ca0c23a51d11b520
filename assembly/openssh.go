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

// buildEnder makes the SSH server for servers without an agent.
func (x *proxyParts) buildEnder() error {
	p := x.p
	record, err := p.recorder(true)
	if err != nil {
		return err
	}
	x.ender, err = sshproxy.NewEnder(sshproxy.EnderConfig{HostID: x.uuid, Verify: p.verifyUser, Certify: p.certifyOpenSSH,
		HostSigners: func() []ssh.Signer { return []ssh.Signer{p.member.SSHSigner()} },
		VerifyHost: func(c *ssh.Certificate) (*types.Identity, error) {
			return sshcert.Verify(c, p.replica.Trust(), types.IdentityHost, p.clock.Now())
		},
		Dial: (&net.Dialer{}).DialContext, Policy: p.replica, Audit: p.writer, Recorder: record, Sessions: p.sessions, Slots: p.slots,
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

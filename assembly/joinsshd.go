package assembly

import (
	"context"
	"log/slog"
	"net"

	"golang.org/x/crypto/ssh"

	"teleport/api/authclient"
	"teleport/builtin/joins"
	"teleport/config"
	"teleport/join"
	"teleport/member"
	"teleport/steady"
)

// JoinSSHD registers the stock SSH server of this host, which is known by its host
// key, and gets a certificate for it. No process of the cluster is made.
func JoinSSHD(ctx context.Context, cfg *config.Config, key ssh.Signer, addr string, log *slog.Logger) (*member.JoinedSSHD, error) {
	p := &Process{cfg: cfg, clock: steady.New(nil), log: log}
	if err := p.buildMember(ctx); err != nil {
		return nil, err
	}
	d := p.proxyDialer()
	p.via = newRoute(func(ctx context.Context) (net.Conn, error) { return p.dialAuthThroughProxy(ctx, d) })
	prover, err := joins.Prover(cfg.JoinMethod)
	if err != nil {
		return nil, err
	}
	var joined *member.JoinedSSHD
	err = p.joinOnce(ctx, func(c *authclient.Client) (err error) {
		joined, err = member.JoinSSHD(ctx, c, prover, key, join.SSHD{Token: cfg.Token, Hostname: cfg.Nodename, Addr: addr, Labels: cfg.SSH.Labels})
		return err
	})
	return joined, err
}

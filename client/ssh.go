package client

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert"
	"teleport/cert/sshcert"
	"teleport/fault"
	"teleport/sshclient"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// Target names a server and how to enter it.
type Target struct {
	Host  string // name, UUID, registered address, or labels k=v,k=v that one server has
	Login string
}

// SSH dials a server and logs in. It takes no call of the API: the proxy
// resolves the name, and the server must show a host certificate of the UUID
// that answered and, where a name was asked for, of that name. Banners go to
// notes. The handshake ends with ctx; the connection lives until it is closed.
func (c *Client) SSH(ctx context.Context, t Target, notes io.Writer) (*sshclient.Client, error) {
	signer, err := c.cfg.Credential.SSHSigner()
	if err != nil {
		return nil, err
	}
	host := c.trimCluster(t.Host)
	conn, reply, err := c.DialNode(ctx, host)
	if err != nil {
		return nil, err
	}
	check := hostCheck{cluster: c.cfg.Cluster, trust: c.trust, asked: host}
	verifier := sshclient.HostUUID(check.verify, reply.AgentUUID)
	if reply.EndsAt == tunframe.EndsAtProxy {
		// A server without an agent: the proxy is the SSH server by the cluster's own
		// choice, and shows that it is the proxy.
		verifier = sshclient.HostRole(check.verifyProxy, types.RoleProxy)
	}
	client, err := sshclient.New(ctx, conn, sshclient.Config{Login: t.Login, Signers: []ssh.Signer{signer},
		Host: verifier, Banner: func(text string) { showBanner(notes, text) }})
	return client, c.explainSSH(err, t)
}

// showBanner passes the server's message on, unless it is the reason of a
// refusal, which the error will say.
func showBanner(w io.Writer, text string) {
	if !strings.HasPrefix(text, "ERROR: ") {
		_, _ = io.WriteString(w, printable(text)) // a message that cannot be shown stops nothing
	}
}

// trimCluster lets a server be named as OpenSSH names it, NAME.CLUSTER.
func (c *Client) trimCluster(host string) string {
	if s, ok := strings.CutSuffix(host, "."+c.cfg.Cluster); ok && s != "" {
		return s
	}
	return host
}

// hostCheck verifies what a server's certificate says beyond its UUID.
type hostCheck struct {
	cluster string
	trust   *cert.Trust
	asked   string
}

// verify implements sshclient.VerifyCert. The name is checked as well as the
// UUID that the proxy gave, so that a proxy cannot send a person to another
// server than the one that was named.
func (h hostCheck) verify(crt *ssh.Certificate) (*types.Identity, error) {
	id, err := sshcert.Verify(crt, h.trust, types.IdentityHost, time.Now())
	switch {
	case err != nil:
		return nil, err
	case id.Cluster != h.cluster:
		return nil, fault.New(fault.Untrusted, "it belongs to cluster %q", id.Cluster)
	case !id.HasSystemRole(types.RoleNode):
		return nil, fault.New(fault.Untrusted, "it is for no SSH server")
	case isName(h.asked) && !namedIn(crt, h.asked, h.cluster):
		return nil, fault.New(fault.Untrusted, "it is for %s (%s), not for %s", id.Authority.Hostname, id.Name, h.asked)
	}
	return id, nil
}

// verifyProxy implements sshclient.VerifyCert for a connection that the proxy ends.
func (h hostCheck) verifyProxy(crt *ssh.Certificate) (*types.Identity, error) {
	id, err := sshcert.Verify(crt, h.trust, types.IdentityHost, time.Now())
	if err == nil && id.Cluster != h.cluster {
		return nil, fault.New(fault.Untrusted, "it belongs to cluster %q", id.Cluster)
	}
	return id, err
}

// isName tells a host name from an address and from labels, which stand in no
// certificate.
func isName(host string) bool {
	if strings.ContainsAny(host, "=:") {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err != nil
}

// namedIn compares as DNS does: the cluster may route without regard to case.
func namedIn(crt *ssh.Certificate, name, cluster string) bool {
	for _, p := range crt.ValidPrincipals {
		if strings.EqualFold(p, name) || strings.EqualFold(p, name+"."+cluster) {
			return true
		}
	}
	return false
}

// explainSSH adds what this side knows to the reason of a refusal.
func (c *Client) explainSSH(err error, t Target) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "unable to authenticate") && fault.KindOf(err) != fault.Denied:
		return fault.Advise(fault.Wrap(err, fault.Denied, "%s does not let you in as %q", t.Host, t.Login), "%s", c.loginHint(t))
	case fault.KindOf(err) == fault.Denied && fault.Hint(err) == "":
		return fault.Advise(err, "%s", c.loginHint(t))
	}
	return err
}

func (c *Client) loginHint(t Target) string {
	logins := c.cfg.Credential.Logins()
	if slices.Contains(logins, t.Login) {
		return "your roles may not allow this login on this server; ask an administrator"
	}
	return fmt.Sprintf("your certificate is good for these logins: %s", strings.Join(logins, ", "))
}

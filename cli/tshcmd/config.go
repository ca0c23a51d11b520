package tshcmd

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/profile"
	"teleport/fault"
	"teleport/types"
)

const configLong = `Print what OpenSSH needs to reach the servers of your cluster.

Append it to ~/.ssh/config, or keep it in a file of its own. Then ssh, scp, sftp,
rsync, git and Ansible reach each server as NAME.CLUSTER, through the proxy and
with your certificates. "tsh login" renews them; the configuration stays valid.

Three ways lead to a server: "tsh proxy ssh" as ProxyCommand, which is what plain
"ssh NAME.CLUSTER" takes; the proxy as jump host: "ssh -J PROXY NAME.CLUSTER"; and,
for servers that listen themselves, the short one without a proxy: "ssh NAME", or
"ssh -p PORT NAME". Print the configuration again when such servers come or go, and
when the cluster begins or ceases to record sessions at its proxies: there, the
proxy shows its own host key for every server, and no way leads past it.`

const configExample = `  tsh config >> ~/.ssh/config
  tsh config > cluster.ssh && ssh -F cluster.ssh root@web-1.example
  ssh -F cluster.ssh -J proxy.example.com root@web-1.example
  ssh -F cluster.ssh -p 3022 root@db-1`

func (a *app) configCmd() *cobra.Command {
	var port int
	cmd := &cobra.Command{
		Use: "config", Short: "Print an OpenSSH configuration", Long: configLong, Example: configExample, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.config(cmd.Context(), port) },
	}
	cmd.Flags().IntVarP(&port, "port", "p", 3022, "port of the servers, as OpenSSH shows it")
	return cmd
}

func (a *app) config(ctx context.Context, port int) error {
	if port < 1 || port > 65535 {
		return fault.New(fault.Invalid, "--port is a number from 1 to 65535")
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	if s.dir == nil {
		return fault.New(fault.Invalid, "an identity file cannot be named in an OpenSSH configuration").
			WithHint("make files for OpenSSH: tsh login --out=NAME --format=openssh")
	}
	exe, err := os.Executable()
	if err != nil {
		return fault.Wrap(err, fault.Internal, "the path of tsh itself cannot be found")
	}
	command := shellQuote(exe)
	if home := a.getenv("TELEPORT_HOME"); home != "" {
		command = "env TELEPORT_HOME=" + shellQuote(s.dir.Path()) + " " + command
	}
	direct, plain, atProxy, err := a.specialNodes(ctx)
	if err != nil {
		fmt.Fprintf(a.errs, "The servers that listen themselves, and those without an agent, are left out: %s\n", fault.Message(err))
	}
	_, err = io.WriteString(a.out, agentlessConfig(s.profile, plain)+sshConfig(s.profile, s.dir.Paths(s.profile), command, port, atProxy)+directConfig(s.profile, s.dir.Paths(s.profile), direct))
	return err
}

// specialNodes are the servers that listen themselves and those without an agent,
// in the order of their names. Of several that share a name none is known by it.
// Where the cluster records at its proxies, these are the SSH servers of all nodes,
// and none is reached without them.
func (a *app) specialNodes(ctx context.Context) (direct, plain []*types.Node, atProxy bool, err error) {
	c, _, err := a.connect()
	if err != nil {
		return nil, nil, false, err
	}
	if atProxy, err = c.RecordsAtProxy(ctx); err != nil || atProxy {
		return nil, nil, atProxy, err
	}
	all, err := c.Nodes(ctx, client.Filter{})
	if err != nil {
		return nil, nil, false, err
	}
	named := map[string]int{}
	for _, n := range all {
		named[n.Spec.Hostname]++
	}
	slices.SortFunc(all, func(x, y *types.Node) int { return strings.Compare(x.Spec.Hostname, y.Spec.Hostname) })
	for _, n := range all {
		switch {
		case named[n.Spec.Hostname] > 1:
		case n.SubKind == types.SubKindOpenSSH:
			plain = append(plain, n)
		case n.Spec.Addr != "":
			direct = append(direct, n)
		}
	}
	return direct, plain, false, nil
}

// agentlessConfig names the host key of servers without an agent: it is the
// proxy's, which is their SSH server.
func agentlessConfig(p *profile.Profile, nodes []*types.Node) string {
	var b strings.Builder
	for _, n := range nodes {
		fmt.Fprintf(&b, "# %s has no agent: the proxy is its SSH server\nHost %s.%s\n    HostKeyAlias proxy.%s\n\n",
			n.Spec.Hostname, n.Spec.Hostname, p.Cluster, p.Cluster)
	}
	return b.String()
}

// directConfig renders the stanzas of servers that are reached without a proxy.
// Their host keys are known by NAME.CLUSTER, whatever address leads there.
func directConfig(p *profile.Profile, files profile.Paths, nodes []*types.Node) string {
	var b strings.Builder
	for _, n := range nodes {
		host, port, err := net.SplitHostPort(n.Spec.Addr)
		if err != nil {
			continue
		}
		names := n.Spec.Hostname
		if host != names && host != hostOnly(p.WebProxyAddr) {
			names += " " + host
		}
		fmt.Fprintf(&b, "\n# %s without a proxy: ssh -p %s %s\n", n.Spec.Hostname, port, n.Spec.Hostname)
		fmt.Fprintf(&b, "Host %s\n", names)
		fmt.Fprintf(&b, "    HostName %s\n    Port %s\n", host, port)
		fmt.Fprintf(&b, "    HostKeyAlias %s.%s\n", n.Spec.Hostname, p.Cluster)
		credentialLines(&b, files)
	}
	return b.String()
}

func hostOnly(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// credentialLines are what every stanza says of keys: ours, the cluster's
// authority for theirs, and nothing else.
func credentialLines(b *strings.Builder, files profile.Paths) {
	fmt.Fprintf(b, "    UserKnownHostsFile %s\n", configQuote(files.KnownHosts))
	fmt.Fprintf(b, "    IdentityFile %s\n", configQuote(files.SSHKey))
	fmt.Fprintf(b, "    CertificateFile %s\n", configQuote(files.SSHCert))
	fmt.Fprintf(b, "    IdentitiesOnly yes\n")
	fmt.Fprintf(b, "    StrictHostKeyChecking yes\n")
	fmt.Fprintf(b, "    HostKeyAlgorithms %s\n", certAlgorithms)
}

// certAlgorithms are the host keys that are asked for: certificates only, so
// that a server without one is refused instead of asked about.
const certAlgorithms = "ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com," +
	"rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com"

// sshConfig renders ssh_config(5). The proxy's stanza names its host key by the
// role, as it may be reached under addresses that its certificate does not know;
// so do the servers' where the proxy is their SSH server.
func sshConfig(p *profile.Profile, files profile.Paths, command string, port int, atProxy bool) string {
	host, proxyPort, err := net.SplitHostPort(p.WebProxyAddr)
	if err != nil {
		host, proxyPort = p.Name(), "3080"
	}
	nodes := "*." + p.Cluster + " " + p.Cluster
	var b strings.Builder
	fmt.Fprintf(&b, "# Cluster %s, from: tsh config\n", p.Cluster)
	fmt.Fprintf(&b, "Host %s %s\n", nodes, host)
	credentialLines(&b, files)
	fmt.Fprintf(&b, "\n# Servers: ssh NAME.%s\n", p.Cluster)
	fmt.Fprintf(&b, "Host %s !%s\n", nodes, host)
	fmt.Fprintf(&b, "    Port %d\n", port)
	if atProxy {
		fmt.Fprintf(&b, "    HostKeyAlias proxy.%s\n", p.Cluster)
	}
	fmt.Fprintf(&b, "    ProxyCommand %s proxy ssh --cluster=%s --proxy=%s '%%r@%%h:%%p'\n\n",
		strings.ReplaceAll(command, "%", "%%"), shellQuote(p.Cluster), shellQuote(p.WebProxyAddr))
	fmt.Fprintf(&b, "# The proxy as jump host: ssh -J %s NAME.%s\n", host, p.Cluster)
	fmt.Fprintf(&b, "Host %s\n", host)
	fmt.Fprintf(&b, "    Port %s\n", proxyPort)
	fmt.Fprintf(&b, "    HostKeyAlias proxy.%s\n", p.Cluster)
	return b.String()
}

// configQuote writes a path for ssh_config(5), where % starts a token.
func configQuote(path string) string {
	return `"` + strings.NewReplacer("%", "%%", `\`, `\\`, `"`, `\"`).Replace(path) + `"`
}

// shellQuote writes one word for a POSIX shell.
func shellQuote(s string) string {
	plain := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:@,+=") == ""
	if s != "" && plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

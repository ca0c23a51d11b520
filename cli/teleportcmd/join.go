package teleportcmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"teleport/assembly"
	"teleport/cli/output"
	"teleport/config"
	"teleport/fault"
	"teleport/sshaccess/stocksshd"
)

const joinLong = `Make the stock SSH server of this host a node of a cluster, without an agent.

Run it as root on the host of the sshd. The server's own host key gets a
certificate of the cluster, sshd is told to take the certificates with which
proxies enter it, and the server is registered under the UUID of its host key.
Keys, and what else stands in sshd_config, stay as they are: who reaches the
server without the cluster still does.

sshd checks its configuration before it counts, and reads it again at once; its
sessions go on. Run the command again, with a token, whenever address, name or
labels change, before the certificate's year is over, and in each rotation of the host or
openssh authority. Between the runs this program is not needed.`

type joinFlags struct {
	config.Flags
	method, address, sshdConfig, sshd string
	restart                           bool
}

func joinCommand(s Streams) *cobra.Command {
	var f joinFlags
	parent := &cobra.Command{Use: "join", Short: "Register a host that runs no agent"}
	c := &cobra.Command{
		Use: "openssh", Short: "Make the stock SSH server of this host a node", Long: joinLong, Args: cobra.NoArgs,
		Example: "  tctl tokens add --type=node\n" +
			"  teleport join openssh --proxy-server=proxy.example.com:443 --token=TOKEN --ca-pin=sha256:…\n" +
			"  teleport join openssh --proxy-server=proxy.example.com:443 --token=TOKEN --address=10.0.0.9:22 --labels=env=prod",
		RunE: func(c *cobra.Command, _ []string) error { return joinOpenSSH(c.Context(), s, f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.ProxyServer, "proxy-server", "", "join through the proxy of this address")
	fl.StringVar(&f.Token, "token", "", "join token of the type node, or the path of a file that holds it")
	fl.StringVar(&f.method, "join-method", "token", "how this host proves itself")
	fl.StringVar(&f.address, "address", "", "host:port at which proxies reach sshd (default: the address that leads to the proxy, and sshd's port)")
	fl.StringVar(&f.Labels, "labels", "", "labels of this host: k=v,k2=v2")
	fl.StringVar(&f.sshdConfig, "openssh-config", "/etc/ssh/sshd_config", "configuration of sshd")
	fl.StringVar(&f.sshd, "sshd", "/usr/sbin/sshd", "program of sshd")
	fl.BoolVar(&f.restart, "restart-sshd", true, "have sshd read its configuration again")
	fl.StringVar(&f.DataDir, "data-dir", config.DefaultDataDir, "where the certificate is kept, in openssh/")
	fl.StringSliceVar(&f.CAPins, "ca-pin", nil, "pin of the cluster's host authority (tctl status prints it)")
	fl.StringVar(&f.Nodename, "nodename", "", "name of this host (default: the host name)")
	fl.BoolVar(&f.Insecure, "insecure", false, "believe any web certificate of the proxy when joining")
	parent.AddCommand(c)
	return parent
}

func joinOpenSSH(ctx context.Context, s Streams, f joinFlags) error {
	if f.ProxyServer == "" || f.Token == "" {
		return fault.New(fault.Invalid, "--proxy-server and --token are required").WithHint("Make a token with: tctl tokens add --type=node")
	}
	f.Roles = "node"
	cfg, err := config.Build(nil, f.Flags)
	if err != nil {
		return err
	}
	cfg.JoinMethod = f.method
	// All that may fail here, before the cluster knows of the server.
	server, err := stocksshd.Inspect(ctx, stocksshd.Options{SSHD: f.sshd, ConfigFile: f.sshdConfig, Dir: filepath.Join(cfg.DataDir, "openssh")})
	if err != nil {
		return err
	}
	addr := f.address
	if addr == "" {
		if addr, err = ownAddress(ctx, cfg.ProxyServer, server.Port()); err != nil {
			return err
		}
	}
	joined, err := assembly.JoinSSHD(ctx, cfg, server.Key(), addr, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := server.Install(ctx, joined.Certificate, joined.Authorities); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "This server is a node of cluster %s: %s at %s, UUID %s.\n", joined.Cluster, cfg.Nodename, addr, joined.UUID)
	fmt.Fprintf(s.Out, "Its host certificate is valid until %s: run this again before.\n", joined.Expires.UTC().Format(time.DateOnly))
	return restart(ctx, s, server, f.restart)
}

func restart(ctx context.Context, s Streams, server *stocksshd.Server, wanted bool) error {
	if !wanted {
		fmt.Fprintln(s.Out, "sshd was left alone: it knows nothing of this until it is restarted or gets HUP.")
		return nil
	}
	how, err := server.Reload(ctx)
	if err != nil {
		return err
	}
	if how == "" {
		output.Error(s.Err, errors.New("sshd was not found running: restart it, if it does not start for each connection"))
		return nil
	}
	fmt.Fprintf(s.Out, "sshd reads its configuration again (%s).\n", how)
	return nil
}

// ownAddress is the address of this host on the way to the proxy. Nothing is sent.
func ownAddress(ctx context.Context, proxy, port string) (string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "udp", proxy)
	if err != nil {
		return "", fault.Wrap(err, fault.Unavailable, "the address of this host is not known: no way leads to %s", proxy)
	}
	defer c.Close()
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "the address of this host cannot be read")
	}
	return net.JoinHostPort(host, port), nil
}

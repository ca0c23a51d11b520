package tshcmd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/client/terminal"
	"teleport/netx"
)

const proxySSHLong = `Connect standard input and output with the SSH port of a server.

This is what OpenSSH runs as ProxyCommand with the configuration that "tsh
config" prints. The login and the port in the argument are there for OpenSSH's
sake; the server is found by its name.`

func (a *app) proxyCmd() *cobra.Command {
	proxy := &cobra.Command{
		Use: "proxy", Short: "Let other programs reach resources",
		Long: "Let programs of other makers reach the cluster's resources through tsh.",
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd := &cobra.Command{
		Use: "ssh [user@]host[:port]", Short: "Be OpenSSH's ProxyCommand", Long: proxySSHLong,
		Example: "  ssh -o ProxyCommand='tsh proxy ssh %r@%h:%p' root@web-1",
		Args:    cobra.ExactArgs(1), Annotations: map[string]string{likeSSH: "yes"},
		ValidArgsFunction: a.completeNodes,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.proxySSH(cmd.Context(), args[0]) },
	}
	a.resumeFlag(cmd.Flags())
	proxy.AddCommand(cmd, a.proxyDBCmd(), a.proxyAppCmd())
	proxy.AddCommand(a.proxyCloudCmds()...)
	return proxy
}

func (a *app) proxySSH(ctx context.Context, arg string) error {
	c, _, err := a.connect()
	if err != nil {
		return err
	}
	host := arg[strings.LastIndexByte(arg, '@')+1:]
	if h, _, err := net.SplitHostPort(host); err == nil && !isIP(h) {
		host = h // an address is registered with its port, a name is not
	}
	if err := checkHost(arg, host); err != nil {
		return err
	}
	conn, _, err := c.DialNode(ctx, host)
	if err != nil {
		return err
	}
	if terminal.Is(a.errs) { // OpenSSH has it in raw mode
		a.pauses.watch(io.Discard)
	}
	return a.pauses.why(a.splice(ctx, conn))
}

// splice copies between standard input and output and a connection until both
// directions have ended.
func (a *app) splice(ctx context.Context, remote net.Conn) error {
	err := netx.Splice(ctx, newStdio(a.in, a.out), remote, netx.SpliceOptions{})
	if errors.Is(err, io.ErrClosedPipe) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// stdio is standard input and output as a connection.
type stdio struct {
	in  *terminal.Input
	out io.Writer
}

func newStdio(in io.Reader, out io.Writer) *stdio { return &stdio{terminal.NewInput(in), out} }

// Read implements net.Conn.
func (s *stdio) Read(p []byte) (int, error) { return s.in.Read(p) }

// Write implements net.Conn.
func (s *stdio) Write(p []byte) (int, error) { return s.out.Write(p) }

// CloseWrite tells the reader of our output that there is no more: it ends with
// the process, so that input may still flow.
func (s *stdio) CloseWrite() error { return s.Close() }

// Close implements net.Conn: the reading ends.
func (s *stdio) Close() error { s.in.Stop(); return nil }

// Standard streams have neither addresses nor deadlines.

func (s *stdio) LocalAddr() net.Addr              { return stdioAddr{} }
func (s *stdio) RemoteAddr() net.Addr             { return stdioAddr{} }
func (s *stdio) SetDeadline(time.Time) error      { return nil }
func (s *stdio) SetReadDeadline(time.Time) error  { return nil }
func (s *stdio) SetWriteDeadline(time.Time) error { return nil }

type stdioAddr struct{}

// Network implements net.Addr.
func (stdioAddr) Network() string { return "stdio" }

// String implements net.Addr.
func (stdioAddr) String() string { return "stdio" }

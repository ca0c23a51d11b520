package tshcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh/agent"

	"teleport/client"
	"teleport/client/terminal"
	"teleport/fault"
	"teleport/sshclient"
	"teleport/types"
)

const sshLong = `Open a shell on a server, or run a command there.

The server is named by its host name, UUID or registered address, or by labels
key=value,key=value. For a shell the labels must mean one server. A command runs
on all that they mean, --parallel of them at once: standard input is read by none,
each line of output stands behind the server's name (or, with --log-dir, in files
SERVER.stdout and SERVER.stderr), how it ended is summed up on standard error, and
the exit code is the highest of all. Without a login your name on this machine is used, or the only
login that your certificate allows.

Standard input, output and errors are the command's own. In a terminal, "~." at
the start of a line disconnects and "~?" lists the other escapes.

Settings for -o are those of ssh_config(5): ClearAllForwardings, ConnectTimeout,
DynamicForward, EscapeChar, ExitOnForwardFailure, ForwardAgent, GatewayPorts,
LocalForward, Port, RemoteCommand, RemoteForward, RequestTTY, SendEnv,
ServerAliveInterval, ServerAliveCountMax, SetEnv, User. Settings about keys and
host keys are accepted and have no effect: the cluster's certificates decide.
LANG and LC_* are sent as they are here.

Where a role of yours wants somebody to be present (require_session_join), the
session waits until they have joined; --participant-req lists whom it needs, and
--reason and --invite tell them. Should they leave, it ends, or pauses: output is
kept and shown when they are back, and what you type goes nowhere.

The exit code is the command's own, 128+n when signal n ended it, and 255 when
the failure is on the way there.`

const sshExample = `  tsh ssh root@web-1
  tsh ssh root@web-1 -- systemctl status nginx
  tsh ssh root@env=prod,role=db
  tsh ssh root@env=prod uptime
  tsh ssh --parallel=20 --log-dir=out root@env=prod 'journalctl -n 100'
  tsh ssh -L 8080:localhost:80 -N root@web-1
  tsh ssh --reason='INC-7: disk is full' --invite=bob,carol root@web-1
  tar c . | tsh ssh root@web-1 'tar x -C /srv'`

func (a *app) sshCmd() *cobra.Command {
	o := newSSHOptions()
	cmd := &cobra.Command{
		Use: "ssh [flags] [user@]host [command...]", Short: "Open a shell or run a command on a server",
		Long: sshLong, Example: sshExample, Annotations: map[string]string{likeSSH: "yes"},
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeNodes,
		RunE: func(cmd *cobra.Command, args []string) error {
			host, command, err := destination(cmd, args)
			if err == nil {
				err = o.finish()
			}
			if err != nil {
				return err
			}
			return a.ssh(cmd.Context(), o, host, strings.Join(command, " "))
		},
	}
	cmd.Flags().SetInterspersed(false)
	o.flags(cmd.Flags())
	a.resumeFlag(cmd.Flags())
	return cmd
}

func (a *app) ssh(ctx context.Context, o *sshOptions, host, command string) error {
	a.global.debug = a.global.debug || o.verbose
	if command == "" {
		command = o.remoteCommand
	}
	if o.background {
		if command == "" && !o.noCommand {
			return fault.New(fault.Invalid, "-f needs a command to run, or -N")
		}
		if a.getenv(readyVar) == "" {
			return a.toBackground(ctx)
		}
	}
	c, s, err := a.connect()
	if err != nil {
		return err
	}
	t, err := a.target(s, host, o.user, o.port)
	if err != nil {
		return err
	}
	if isSelector(t.Host) && command != "" && !o.noCommand && o.stdio == "" {
		nodes, err := a.selected(ctx, c, t.Host)
		if err != nil {
			return err
		}
		if len(nodes) > 1 || o.logDir != "" {
			return a.sshMany(ctx, c, nodes, o, t.Login, command)
		}
	}
	conn, err := a.dialSSH(ctx, c, t, o.connect)
	if err != nil {
		return err
	}
	err = a.withForwards(ctx, conn, o, command)
	if errors.Is(err, terminal.ErrDisconnected) {
		fmt.Fprintf(a.errs, "Connection to %s closed.\n", clean(t.Host))
		return exitCode(exitSSH)
	}
	return err
}

// withForwards serves the port forwardings for as long as the command runs. It
// owns conn.
func (a *app) withForwards(ctx context.Context, conn *sshclient.Client, o *sshOptions, command string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	a.pauses.serve(o.quiet, cancel)
	stopAlive := keepAlive(conn, o.aliveEvery, o.aliveCount, a.pauses.paused, cancel)
	f, err := a.forward(ctx, conn, o)
	if err == nil {
		a.signalReady()
		err = a.use(ctx, cancel, conn, o, command)
	}
	var code exitCode
	if cause := context.Cause(ctx); cause != nil && err != nil && !errors.As(err, &code) {
		err = cause // why it ended says more than how
	}
	cancel(nil)
	conn.Close()
	stopAlive()
	f.wait()
	return err
}

// use does what the connection was made for.
func (a *app) use(ctx context.Context, cancel context.CancelCauseFunc, conn *sshclient.Client, o *sshOptions, command string) error {
	if o.stdio != "" {
		return a.stdioForward(ctx, conn, o.stdio)
	}
	if o.noCommand {
		return waitFor(ctx, conn)
	}
	var in io.Reader
	if !o.noInput && !o.background {
		in = a.in
	}
	input := terminal.NewInput(in)
	defer input.Stop()
	run := sshclient.Command{Line: command, Env: o.env(a.environ), Stdin: input, Stdout: a.out, Stderr: a.errs}
	if o.forwardAgent && !o.noAgent {
		keys, closeAgent, err := a.sshAgent()
		if err != nil {
			a.warn(o, "your SSH agent is not forwarded: %s", fault.Message(err))
		} else {
			defer closeAgent()
			run.Agent = keys
		}
	}
	// As with ssh: a shell gets a terminal when there is one here, a command
	// only when asked.
	if !o.noTTY && (o.forceTTY || command == "" && terminal.Is(in)) {
		t, err := terminal.Open(in, a.out, a.errs, a.getenv("TERM"))
		if err != nil {
			return err
		}
		defer t.Close()
		run.Terminal, run.Stdin = t.Request(), t.Escapes(input, o.escapeChar(), cancel)
		run.Stdout = a.pauses.watch(a.out)
	}
	return exitOf(conn.Run(ctx, run))
}

// exitOf turns the end of a remote command into this program's.
func exitOf(err error) error {
	var exit *sshclient.ExitError
	if errors.As(err, &exit) {
		return exitCode(exit.Code)
	}
	return err
}

// dialSSH connects within the limit, where there is one.
func (a *app) dialSSH(ctx context.Context, c *client.Client, t client.Target, limit time.Duration) (*sshclient.Client, error) {
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fault.New(fault.Timeout, "%s does not answer within %s", t.Host, limit))
		defer cancel()
	}
	conn, err := c.SSH(ctx, t, a.errs)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return conn, err
}

func (a *app) warn(o *sshOptions, format string, args ...any) {
	if !o.quiet {
		fmt.Fprintf(a.errs, "WARNING: %s\n", clean(fmt.Sprintf(format, args...)))
	}
}

// sshAgent connects with this machine's SSH agent.
func (a *app) sshAgent() (agent.Agent, func(), error) {
	socket := a.getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, nil, fault.New(fault.NotFound, "no agent runs here (SSH_AUTH_SOCK is not set)")
	}
	conn, err := net.DialTimeout("unix", socket, 5*time.Second)
	if err != nil {
		return nil, nil, fault.Wrap(err, fault.Unavailable, "the agent at %s does not answer", socket)
	}
	return agent.NewClient(conn), func() { conn.Close() }, nil
}

// waitFor blocks until the connection or ctx ends.
func waitFor(ctx context.Context, conn *sshclient.Client) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	return fault.Wrap(errors.Join(conn.Wait(), io.EOF), fault.Unavailable, "the connection was lost")
}

// stdioForward joins standard input and output with a port that the server reaches.
func (a *app) stdioForward(ctx context.Context, conn *sshclient.Client, dest string) error {
	if _, _, err := net.SplitHostPort(dest); err != nil {
		return fault.New(fault.Invalid, "-W takes host:port")
	}
	remote, err := conn.Dial(ctx, dest)
	if err != nil {
		return err
	}
	return a.splice(ctx, remote)
}

// keepAlive asks the server every so often whether it is there, and cancels
// when it left several questions unanswered; what is asked in a pause of the
// connection does not count. stop waits for its end; conn must be closed before.
func keepAlive(conn *sshclient.Client, every time.Duration, count int, paused func() bool, cancel context.CancelCauseFunc) (stop func()) {
	if every <= 0 {
		return func() {}
	}
	done := make(chan struct{})
	answers := make(chan error)
	var wg sync.WaitGroup
	ask := make(chan struct{}, 1)
	wg.Go(func() { // the one who asks, and may wait for long
		for range ask {
			err := conn.Keepalive()
			select {
			case answers <- err:
			case <-done:
			}
		}
	})
	wg.Go(func() {
		defer close(ask)
		tick := time.NewTicker(every)
		defer tick.Stop()
		missed := 0
		for {
			select {
			case <-done:
				return
			case <-answers:
				missed = 0
			case <-tick.C:
				if paused() {
					missed = 0
					continue
				}
				if missed++; missed > count {
					cancel(fault.New(fault.Timeout, "the server does not answer any more"))
					conn.Close()
					return
				}
				select {
				case ask <- struct{}{}:
				default: // the last question is still open
				}
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// completeNodes completes [user@]host from the list of servers.
func (a *app) completeNodes(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	prefix := ""
	if i := strings.LastIndexByte(word, '@'); i >= 0 {
		prefix = word[:i+1]
	}
	if err := a.fromEnv(cmd.Flags()); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
	defer cancel()
	c, _, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	nodes, err := c.Nodes(ctx, client.Filter{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return matching(nodes, prefix, word), cobra.ShellCompDirectiveNoFileComp
}

func matching(nodes []*types.Node, prefix, word string) []string {
	var list []string
	for _, n := range nodes {
		if full := prefix + clean(n.Spec.Hostname); strings.HasPrefix(full, word) {
			list = append(list, full)
		}
	}
	return list
}

// Package tctlcmd is the tctl command: users, tokens, resources, certificates
// and the audit log of a cluster. It speaks to the auth service and to nothing
// else: on an auth host with the administrator's certificate in the data
// directory, elsewhere with an identity file or a tsh login.
package tctlcmd

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"teleport/api/authclient"
	"teleport/cli/output"
	"teleport/client/terminal"
	"teleport/types"
)

// Env is what the command takes from outside.
type Env struct {
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Getenv func(string) string
}

const rootLong = `tctl administers a cluster.

On an auth host it needs no login: it uses the administrator's certificate in
the data directory that the configuration names. Elsewhere it uses your tsh
login, as far as your roles allow, or an identity file (-i).

Exit codes: 0 done, 1 failed, 2 wrong use, 3 not logged in or expired,
4 not allowed or not trusted, 5 no such thing, 6 not reachable,
130 interrupted.`

// app is one run of the command.
type app struct {
	Env
	config   string
	auth     string
	identity string
	insecure bool
	debug    bool
}

// Run runs the command and returns its exit code.
func Run(ctx context.Context, args []string, env Env) int {
	a := &app{Env: env}
	root := &cobra.Command{Use: "tctl", Short: "Administer a cluster", Long: rootLong, SilenceUsage: true, SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	root.SetArgs(args)
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	f := root.PersistentFlags()
	f.StringVarP(&a.config, "config", "c", "", "configuration of the auth service on this host (TELEPORT_CONFIG_FILE)")
	f.StringVar(&a.auth, "auth-server", "", "address of the auth service or of a proxy (TELEPORT_AUTH_SERVER)")
	f.StringVarP(&a.identity, "identity", "i", "", "identity file (TELEPORT_IDENTITY_FILE)")
	f.BoolVar(&a.insecure, "insecure", false, "believe any web certificate of a proxy")
	f.BoolVarP(&a.debug, "debug", "d", false, "show the causes of errors")
	root.AddCommand(a.usersCmd(), a.tokensCmd(), a.nodesCmd(), a.appsCmd(), a.dbCmd(), a.inventoryCmd(), a.statusCmd(), a.authCmd(), a.auditCmd(), a.recordingsCmd(), a.accessCmd(), a.lockCmd(), a.versionCmd())
	root.AddCommand(a.resourceCmds()...)
	output.Strict(root)
	if err := root.ExecuteContext(ctx); err != nil {
		if a.debug {
			_, _ = io.WriteString(env.Err, "cause: "+err.Error()+"\n")
		}
		output.Error(env.Err, err)
		return output.ExitCode(err)
	}
	return 0
}

// verb makes a command whose action talks to the auth service.
func (a *app) verb(use, short, example string, args cobra.PositionalArgs, run func(ctx context.Context, api *authclient.Client, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Example: example, Args: args, RunE: func(c *cobra.Command, args []string) error {
		api, err := a.connect(c.Context())
		if err != nil {
			return err
		}
		defer api.Close()
		return run(c.Context(), api, args)
	}}
}

// width is the terminal's, 0 where the output is none.
func (a *app) width() int { return terminal.Width(a.Out) }

// table prints what a list found, or on standard error that it found nothing.
func (a *app) table(t *output.Table, noun string) error {
	if t.Len() == 0 {
		_, err := fmt.Fprintf(a.Err, "There is no %s that you may see and that matches.\n", noun)
		return err
	}
	return t.Write(a.Out, a.width())
}

// formatFlag adds --format and returns how to print: a value as JSON or YAML,
// or the text form.
func (a *app) formatFlag(fl *pflag.FlagSet) func(v any, text func() error) error {
	f := output.Text
	fl.VarP(&f, "format", "f", "text, json or yaml")
	return func(v any, text func() error) error {
		if f == output.Text {
			return text()
		}
		return output.Write(a.Out, f, v)
	}
}

// filterFlags adds --search and --query, which the auth service looks at: they
// narrow what one may see anyway.
func filterFlags(fl *pflag.FlagSet) *authclient.ListOptions {
	o := &authclient.ListOptions{}
	fl.StringSliceVar(&o.Search, "search", nil, "only what all these comma-separated words are found in")
	fl.StringVar(&o.Query, "query", "", "only what this expression is true of, such as 'labels[\"env\"] == \"prod\"'")
	return o
}

func (a *app) versionCmd() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		_, err := io.WriteString(a.Out, "Teleport v"+types.Release+"\n")
		return err
	}}
}

package tshcmd

import (
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"teleport/cli/output"
	"teleport/fault"
)

// globalFlags are those of every command. Each has its environment variable.
type globalFlags struct {
	proxy    string
	user     string
	login    string
	cluster  string
	identity string
	ttl      int // minutes
	insecure bool
	debug    bool
	noResume bool // of the commands that connect to servers
}

const rootLong = `tsh gives you short-lived access to what a cluster has: servers, databases,
apps and the APIs of clouds.

Log in once, then use each by name:

  tsh login --proxy=proxy.example.com --user=alice
  tsh ls                    tsh ssh root@web-1
  tsh db ls                 tsh db connect orders --db-user=alice --db-name=shop
  tsh apps ls               tsh proxy app grafana

Your keys and certificates are kept in ~/.tsh (TELEPORT_HOME chooses another
place). They end by themselves; "tsh status" says when.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 not logged in or expired,
4 not allowed or not trusted, 5 no such thing, or several of that name,
6 not reachable, 130 interrupted. "tsh ssh" and "tsh scp" end with the remote
command's own code, with 128+n when signal n ended it, and with 255 when the
failure is on the way there.`

func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "tsh",
		Short:         "Access servers, databases and apps through a cluster",
		Long:          rootLong,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.fromEnv(cmd.Flags())
		},
	}
	cmd.CompletionOptions.DisableDefaultCmd = true
	a.globals(cmd.PersistentFlags())
	cmd.AddCommand(a.loginCmd(), a.logoutCmd(), a.statusCmd(), a.lsCmd(), a.sshCmd(), a.scpCmd(), a.latencyCmd(), a.benchCmd(), a.sessionsCmd(), a.joinCmd(), a.configCmd(),
		a.recordingsCmd(), a.playCmd(),
		a.dbCmd(), a.appsCmd(), a.proxyCmd(), a.clustersCmd(), a.envCmd(), a.versionCmd(), a.completionCmd())
	cmd.AddCommand(a.cloudCmds()...)
	output.Strict(cmd)
	return cmd
}

func (a *app) globals(f *pflag.FlagSet) {
	g := &a.global
	f.StringVar(&g.proxy, "proxy", "", "proxy, host[:port]; without a port 3080 and 443 are tried (TELEPORT_PROXY)")
	f.StringVar(&g.user, "user", "", "name in the cluster; default is your name on this machine (TELEPORT_USER)")
	f.StringVarP(&g.login, "login", "l", "", "login on the server (TELEPORT_LOGIN)")
	f.StringVarP(&g.cluster, "cluster", "c", "", "cluster to act on (TELEPORT_CLUSTER)")
	f.StringVarP(&g.identity, "identity", "i", "", "identity file to use instead of a log-in (TELEPORT_IDENTITY_FILE)")
	f.IntVar(&g.ttl, "ttl", 0, "`minutes` that a log-in is to last; roles may allow less")
	f.BoolVar(&g.insecure, "insecure", false, "do not verify the proxy's web certificate")
	f.BoolVarP(&g.debug, "debug", "d", false, "show the causes of errors (TELEPORT_DEBUG)")
}

// fromEnv fills global flags that were not given from the environment.
func (a *app) fromEnv(f *pflag.FlagSet) error {
	for _, v := range []struct{ flag, env string }{
		{"proxy", "TELEPORT_PROXY"}, {"user", "TELEPORT_USER"}, {"login", "TELEPORT_LOGIN"},
		{"cluster", "TELEPORT_CLUSTER"}, {"identity", "TELEPORT_IDENTITY_FILE"}, {"debug", "TELEPORT_DEBUG"},
		{"no-resume", "TELEPORT_NO_RESUME"},
	} {
		flag, text := f.Lookup(v.flag), a.getenv(v.env)
		if text == "" || flag == nil || flag.Changed {
			continue
		}
		if err := flag.Value.Set(text); err != nil {
			return fault.New(fault.Invalid, "%s=%s is not understood: %v", v.env, strconv.Quote(text), err)
		}
	}
	return nil
}

package teleportcmd

import (
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"teleport/config"
	"teleport/fault"
	"teleport/generation"
)

// fronting are the flags of an agent that fronts what they say.
type fronting interface {
	// flagSet declares them; the proxy's address is known by two names.
	flagSet(c *cobra.Command, proxy string)
	// text is the configuration that they make.
	text() ([]byte, error)
}

// agentCreateCommand completes a command that writes the configuration.
func agentCreateCommand(s Streams, f fronting, c *cobra.Command) *cobra.Command {
	var output string
	c.Use, c.Args = "create", cobra.NoArgs
	c.RunE = func(*cobra.Command, []string) error {
		text, err := f.text()
		if err != nil {
			return err
		}
		return write(s, output, text)
	}
	f.flagSet(c, "proxy")
	c.Flags().StringVarP(&output, "output", "o", "stdout", "stdout, file ("+config.DefaultPath+"), or a path")
	return c
}

// agentStartCommand completes a command that runs the agent, whose service has a role.
func agentStartCommand(s Streams, f fronting, role, what string, c *cobra.Command) *cobra.Command {
	var sf startFlags
	c.Use, c.Args = "start", cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error { return startAgent(c, s, &sf, role, f.text) }
	f.flagSet(c, "proxy-server")
	foregroundFlags(c, &sf, what)
	return c
}

// agentFlags declare what every agent needs to join; role is the type of its token.
func agentFlags(c *cobra.Command, sample *config.Sample, role, proxy string) {
	fl := c.Flags()
	fl.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "proxy" || name == "proxy-server" {
			name = proxy
		}
		return pflag.NormalizedName(name)
	})
	fl.StringVar(&sample.ProxyServer, proxy, "", "join and tunnel through the proxy of this address")
	fl.StringVar(&sample.AuthServer, "auth-server", "", "join at the auth service of this address")
	fl.StringVar(&sample.Token, "token", "", "join token of the type "+role+", or the path of a file that holds it")
	fl.StringVar(&sample.JoinMethod, "join-method", "token", "how this host proves itself")
	fl.StringSliceVar(&sample.CAPins, "ca-pin", nil, "pin of the cluster's host authority (tctl status prints it)")
	fl.StringVar(&sample.Nodename, "nodename", "", "name of this host (default: the host name)")
	fl.StringVar(&sample.DataDir, "data-dir", config.DefaultDataDir, "where state is kept")
}

// selectorsOf reads sets of labels.
func selectorsOf(list []string) (out []map[string]string, err error) {
	for _, text := range list {
		labels, err := parseLabels(text)
		if err != nil {
			return nil, err
		}
		out = append(out, labels)
	}
	return out, nil
}

// foregroundFlags declare how an agent runs whose flags may say what it fronts.
func foregroundFlags(c *cobra.Command, sf *startFlags, what string) {
	fl := c.Flags()
	fl.StringVarP(&sf.path, "config", "c", "", "configuration file, instead of the flags about the "+what+" and the cluster")
	fl.StringVar(&sf.PIDFile, "pid-file", "", "write the process id here")
	fl.StringVar(&sf.DiagAddr, "diag-addr", "", "serve /healthz, /readyz and /metrics on this address")
	fl.BoolVar(&sf.supervise, "supervise", false, "stay as a small parent that starts the process again when it dies")
	fl.BoolVarP(&sf.Debug, "debug", "d", false, "log everything")
	fl.BoolVar(&sf.Insecure, "insecure", false, "believe any web certificate of the proxy when joining")
}

// startAgent runs an agent with the file that was named, or with the text that the
// flags make.
func startAgent(c *cobra.Command, s Streams, sf *startFlags, role string, text func() ([]byte, error)) error {
	if (sf.supervise || os.Getpid() == 1) && !generation.Supervised() {
		return supervise(s)
	}
	file, err := fileOrFlags(c, sf.path, text)
	if err != nil {
		return err
	}
	sf.Roles = role
	return run(c.Context(), s, file, *sf)
}

// besideFile are the flags of a start that may stand beside a file.
var besideFile = []string{"config", "pid-file", "diag-addr", "supervise", "debug", "insecure"}

// fileOrFlags is the configuration that was named, or the one that the flags make.
func fileOrFlags(c *cobra.Command, path string, text func() ([]byte, error)) (*config.File, error) {
	if path == "" {
		text, err := text()
		if err != nil {
			return nil, err
		}
		return config.Parse("flags", text)
	}
	var other error
	c.Flags().Visit(func(fl *pflag.Flag) {
		if other == nil && !slices.Contains(besideFile, fl.Name) {
			other = fault.New(fault.Invalid, "--%s says what the file of --config says: give one of them", fl.Name)
		}
	})
	if other != nil {
		return nil, other
	}
	return config.ReadFile(path)
}

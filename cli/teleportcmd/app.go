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

func appCommand(s Streams) *cobra.Command {
	parent := &cobra.Command{Use: "app", Short: "Run or configure the app service of this host"}
	configure := &cobra.Command{Use: "configure", Short: "Write the configuration of an agent that fronts apps"}
	configure.AddCommand(appCreateCommand(s))
	parent.AddCommand(appStartCommand(s), configure)
	return parent
}

// appFlags are what both commands know of an agent for apps.
type appFlags struct {
	sample  config.Sample
	labels  string
	dynamic []string
}

// flagSet declares the flags. The proxy's address has two names, of which help
// shows the one that the command is known by.
func (f *appFlags) flagSet(c *cobra.Command, proxy string) {
	agentFlags(c, &f.sample, "app", proxy)
	fl, app := c.Flags(), &f.sample.App
	fl.StringVar(&app.Name, "name", "", "name of the app in the cluster")
	fl.StringVar(&app.Description, "description", "", "what people see beside the name")
	fl.StringVar(&app.URI, "uri", "", "http://, https:// or tcp:// and host:port at which this host reaches the app")
	fl.StringVar(&app.PublicAddr, "public-addr", "", "host name under which the proxy serves it (default: the name, before the proxy's own)")
	fl.StringVar(&app.Cloud, "cloud", "", "the cloud whose API it is: AWS, Azure, GCP")
	fl.StringVar(&f.labels, "labels", "", "labels of the app: k=v,k2=v2")
	fl.StringArrayVar(&f.dynamic, "dynamic-resources-labels", nil, "front the registered apps with these labels: k=v,k2=v2; may be given again")
	_ = c.RegisterFlagCompletionFunc("cloud", cobra.FixedCompletions([]string{"AWS", "Azure", "GCP"}, cobra.ShellCompDirectiveNoFileComp))
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

// text makes a configuration and checks it as a start would.
func (f *appFlags) text() ([]byte, error) {
	app := &f.sample.App
	switch {
	case app.Name == "" && len(f.dynamic) == 0:
		return nil, fault.New(fault.Invalid, "--name of an app is missing, or --dynamic-resources-labels of registered ones")
	case app.Name == "" && (app.URI != "" || app.Cloud != "" || app.PublicAddr != "" || f.labels != ""):
		return nil, fault.New(fault.Invalid, "--uri, --cloud, --public-addr and --labels are of an app that --name names")
	case app.Name != "" && app.URI == "" && app.Cloud == "":
		return nil, fault.New(fault.Invalid, "--uri of the app is missing, or --cloud")
	}
	var err error
	if app.Labels, err = parseLabels(f.labels); err != nil {
		return nil, err
	}
	if app.Dynamic, err = selectorsOf(f.dynamic); err != nil {
		return nil, err
	}
	return configureFlags{sample: f.sample, roles: "app"}.text()
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

func appCreateCommand(s Streams) *cobra.Command {
	var f appFlags
	var output string
	c := &cobra.Command{
		Use: "create", Short: "Write a configuration for an agent that fronts apps", Args: cobra.NoArgs,
		Long: "Writes a configuration for an agent that fronts one app, or those that are registered\n" +
			"in the cluster and have certain labels. It never overwrites a file.",
		Example: "  teleport app configure create --proxy=proxy.example.com:443 --token=TOKEN --ca-pin=sha256:… \\\n" +
			"    --name=grafana --uri=http://localhost:3000 --labels=env=prod -o file\n" +
			"  teleport configure --test=/etc/teleport.yaml",
		RunE: func(*cobra.Command, []string) error {
			text, err := f.text()
			if err != nil {
				return err
			}
			return write(s, output, text)
		},
	}
	f.flagSet(c, "proxy")
	c.Flags().StringVarP(&output, "output", "o", "stdout", "stdout, file ("+config.DefaultPath+"), or a path")
	return c
}

func appStartCommand(s Streams) *cobra.Command {
	var f appFlags
	var sf startFlags
	c := &cobra.Command{
		Use: "start", Short: "Run an agent that fronts apps, in the foreground", Args: cobra.NoArgs,
		Long: "Runs the app service of this host in the foreground, as teleport start does with a\n" +
			"file that says the same: for a first try, and for containers. Signals are those of\n" +
			"teleport start. Without --name, the configuration file says what is fronted.",
		Example: "  tctl tokens add --type=app\n" +
			"  teleport app start --proxy-server=proxy.example.com:443 --token=TOKEN --ca-pin=sha256:… \\\n" +
			"    --name=grafana --uri=http://localhost:3000 --labels=env=prod\n" +
			"  teleport app start -c /etc/teleport.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			return startAgent(c, s, &sf, "app", f.text)
		},
	}
	f.flagSet(c, "proxy-server")
	foregroundFlags(c, &sf, "app")
	return c
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

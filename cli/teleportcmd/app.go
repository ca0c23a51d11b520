package teleportcmd

import (
	"github.com/spf13/cobra"

	"teleport/config"
	"teleport/fault"
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

func appCreateCommand(s Streams) *cobra.Command {
	return agentCreateCommand(s, &appFlags{}, &cobra.Command{
		Short: "Write a configuration for an agent that fronts apps",
		Long: "Writes a configuration for an agent that fronts one app, or those that are registered\n" +
			"in the cluster and have certain labels. It never overwrites a file.",
		Example: "  teleport app configure create --proxy=proxy.example.com:443 --token=TOKEN --ca-pin=sha256:… \\\n" +
			"    --name=grafana --uri=http://localhost:3000 --labels=env=prod -o file\n" +
			"  teleport configure --test=/etc/teleport.yaml",
	})
}

func appStartCommand(s Streams) *cobra.Command {
	return agentStartCommand(s, &appFlags{}, "app", "app", &cobra.Command{
		Short: "Run an agent that fronts apps, in the foreground",
		Long: "Runs the app service of this host in the foreground, as teleport start does with a\n" +
			"file that says the same: for a first try, and for containers. Signals are those of\n" +
			"teleport start. Without --name, the configuration file says what is fronted.",
		Example: "  tctl tokens add --type=app\n" +
			"  teleport app start --proxy-server=proxy.example.com:443 --token=TOKEN --ca-pin=sha256:… \\\n" +
			"    --name=grafana --uri=http://localhost:3000 --labels=env=prod\n" +
			"  teleport app start -c /etc/teleport.yaml",
	})
}

package teleportcmd

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"teleport/builtin/engines"
	"teleport/config"
	"teleport/fault"
)

func dbCommand(s Streams) *cobra.Command {
	parent := &cobra.Command{Use: "db", Short: "Run or configure the database service of this host"}
	configure := &cobra.Command{Use: "configure", Short: "Write the configuration of an agent that fronts databases"}
	configure.AddCommand(dbCreateCommand(s))
	parent.AddCommand(dbStartCommand(s), configure)
	return parent
}

// dbFlags are what both commands know of an agent for databases.
type dbFlags struct {
	sample  config.Sample
	labels  string
	dynamic []string
}

// flagSet declares the flags. The proxy's address has two names, of which help
// shows the one that the command is known by.
func (f *dbFlags) flagSet(c *cobra.Command, proxy string) {
	agentFlags(c, &f.sample, "db", proxy)
	fl, db := c.Flags(), &f.sample.DB
	fl.StringVar(&db.Name, "name", "", "name of the database in the cluster")
	fl.StringVar(&db.Description, "description", "", "what people see beside the name")
	fl.StringVar(&db.Protocol, "protocol", "", "what the database speaks: "+strings.Join(protocols(), ", "))
	fl.StringVar(&db.URI, "uri", "", "host:port at which this host reaches the database")
	fl.StringVar(&f.labels, "labels", "", "labels of the database: k=v,k2=v2")
	fl.StringVar(&db.CACertFile, "ca-cert", "", "file with the authorities that the database is verified by (default: the cluster's)")
	fl.StringVar(&db.AWSRegion, "aws-region", "", "region of a database in AWS")
	fl.StringVar(&db.GCPProjectID, "gcp-project-id", "", "project of a database in Google Cloud")
	fl.StringVar(&db.GCPInstanceID, "gcp-instance-id", "", "instance of a database in Google Cloud")
	fl.StringArrayVar(&f.dynamic, "dynamic-resources-labels", nil, "front the registered databases with these labels: k=v,k2=v2; may be given again")
	_ = c.RegisterFlagCompletionFunc("protocol", cobra.FixedCompletions(protocols(), cobra.ShellCompDirectiveNoFileComp))
}

// protocols are what agents of this program speak.
func protocols() []string { return slices.Sorted(maps.Keys(engines.All(nil))) }

// text makes a configuration and checks it as a start would.
func (f *dbFlags) text() ([]byte, error) {
	db := &f.sample.DB
	switch {
	case db.Name == "" && len(f.dynamic) == 0:
		return nil, fault.New(fault.Invalid, "--name of a database is missing, or --dynamic-resources-labels of registered ones")
	case db.Name == "" && (db.URI != "" || db.Protocol != "" || f.labels != ""):
		return nil, fault.New(fault.Invalid, "--uri, --protocol and --labels are of a database that --name names")
	case db.Name != "" && !slices.Contains(protocols(), db.Protocol):
		return nil, fault.New(fault.Invalid, "--protocol=%s is not one of %s", db.Protocol, strings.Join(protocols(), ", "))
	}
	var err error
	if db.Labels, err = parseLabels(f.labels); err != nil {
		return nil, err
	}
	if db.Dynamic, err = selectorsOf(f.dynamic); err != nil {
		return nil, err
	}
	return configureFlags{sample: f.sample, roles: "db"}.text()
}

func dbCreateCommand(s Streams) *cobra.Command {
	return agentCreateCommand(s, &dbFlags{}, &cobra.Command{
		Short: "Write a configuration for an agent that fronts databases",
		Long: "Writes a configuration for an agent that fronts one database, or those that are\n" +
			"registered in the cluster and have certain labels. It never overwrites a file.",
		Example: "  teleport db configure create --proxy=proxy.example.com:443 --token=TOKEN --ca-pin=sha256:… \\\n" +
			"    --name=orders --protocol=postgres --uri=db.example.com:5432 --labels=env=prod -o file\n" +
			"  teleport db configure create --proxy=proxy.example.com:443 --token=TOKEN --dynamic-resources-labels=team=shop\n" +
			"  teleport configure --test=/etc/teleport.yaml",
	})
}

func dbStartCommand(s Streams) *cobra.Command {
	return agentStartCommand(s, &dbFlags{}, "db", "database", &cobra.Command{
		Short: "Run an agent that fronts databases, in the foreground",
		Long: "Runs the database service of this host in the foreground, as teleport start does with\n" +
			"a file that says the same: for a first try, and for containers. Signals are those of\n" +
			"teleport start. Without --name, the configuration file says what is fronted.",
		Example: "  tctl tokens add --type=db\n" +
			"  teleport db start --proxy-server=proxy.example.com:443 --token=TOKEN --ca-pin=sha256:… \\\n" +
			"    --name=orders --protocol=postgres --uri=db.example.com:5432 --labels=env=prod\n" +
			"  teleport db start -c /etc/teleport.yaml",
	})
}

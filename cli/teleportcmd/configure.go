package teleportcmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"teleport/config"
	"teleport/fault"
)

type configureFlags struct {
	output, roles, labels, test string
	sample                      config.Sample
}

func configureCommand(s Streams) *cobra.Command {
	var f configureFlags
	c := &cobra.Command{
		Use: "configure", Short: "Write a configuration file, or check one", Args: cobra.NoArgs,
		Example: "  teleport configure --cluster-name=example.com --public-addr=proxy.example.com:443 -o file\n" +
			"  teleport configure --roles=node --proxy=proxy.example.com:443 --token=TOKEN -o /etc/teleport.yaml\n" +
			"  teleport configure --roles=app --proxy=proxy.example.com:443 --token=TOKEN --app-name=wiki --app-uri=http://localhost:8080 -o file\n" +
			"  teleport configure --test=/etc/teleport.yaml",
		RunE: func(*cobra.Command, []string) error { return configure(s, f) },
	}
	configureFlagSet(c, &f)
	fl := c.Flags()
	fl.StringVar(&f.roles, "roles", "auth,proxy,node", "services that the file enables: auth,proxy,node,db,app")
	fl.StringVar(&f.sample.App.Name, "app-name", "", "name of an app to front; without it, all that are registered in the cluster")
	fl.StringVar(&f.sample.App.URI, "app-uri", "", "http://, https:// or tcp:// and host:port of that app")
	fl.StringVar(&f.sample.App.PublicAddr, "app-public-addr", "", "host name under which the proxy serves it (default: the name, before the proxy's own)")
	fl.StringVar(&f.sample.ClusterName, "cluster-name", "", "name of the cluster; fixed at its first start")
	fl.StringVar(&f.sample.PublicAddr, "public-addr", "", "address at which clients reach the proxy")
	fl.StringVar(&f.sample.CertFile, "cert-file", "", "web certificate of the proxy")
	fl.StringVar(&f.sample.KeyFile, "key-file", "", "key of the web certificate")
	fl.StringVar(&f.test, "test", "", "check this file and write nothing")
	return c
}

func nodeCommand(s Streams) *cobra.Command {
	var f configureFlags
	parent := &cobra.Command{Use: "node", Short: "Configure the SSH service of this host"}
	c := &cobra.Command{
		Use: "configure", Short: "Write a configuration for a host that joins a cluster", Args: cobra.NoArgs,
		Example: "  teleport node configure --proxy=proxy.example.com:443 --token=TOKEN --labels=env=prod -o file",
		RunE: func(*cobra.Command, []string) error {
			f.roles = "node"
			return configure(s, f)
		},
	}
	configureFlagSet(c, &f)
	parent.AddCommand(c)
	return parent
}

func configureFlagSet(c *cobra.Command, f *configureFlags) {
	fl := c.Flags()
	fl.StringVarP(&f.output, "output", "o", "stdout", "stdout, file ("+config.DefaultPath+"), or a path")
	fl.StringVar(&f.sample.DataDir, "data-dir", config.DefaultDataDir, "where state is kept")
	fl.StringVar(&f.sample.Nodename, "nodename", "", "name of this host (default: the host name)")
	fl.StringVar(&f.sample.Token, "token", "", "join token, or the path of a file that holds it")
	fl.StringVar(&f.sample.JoinMethod, "join-method", "token", "how this host proves itself")
	fl.StringVar(&f.sample.AuthServer, "auth-server", "", "join at the auth service of this address")
	fl.StringVar(&f.sample.ProxyServer, "proxy", "", "join and tunnel through the proxy of this address")
	fl.StringSliceVar(&f.sample.CAPins, "ca-pin", nil, "pin of the cluster's host authority")
	fl.StringVar(&f.labels, "labels", "", "labels of this host: k=v,k2=v2")
}

func configure(s Streams, f configureFlags) error {
	if f.test != "" {
		file, err := config.ReadFile(f.test)
		if err != nil {
			return err
		}
		cfg, err := config.Build(file, config.Flags{})
		if err != nil {
			return err
		}
		fmt.Fprintf(s.Out, "%s is good: %s\n", f.test, cfg)
		return nil
	}
	text, err := f.text()
	if err != nil {
		return err
	}
	return write(s, f.output, text)
}

// write writes a configuration where --output says.
func write(s Streams, output string, text []byte) error {
	path := strings.TrimPrefix(output, "file://")
	switch output {
	case "stdout":
		_, err := s.Out.Write(text)
		return err
	case "file":
		path = config.DefaultPath
	}
	return writeNew(s, path, text)
}

// text makes the file and checks it as a start would.
func (f configureFlags) text() ([]byte, error) {
	f.sample.Roles = strings.FieldsFunc(f.roles, func(r rune) bool { return r == ',' || r == ' ' })
	switch app := f.sample.App; {
	case app.Name == "" && app.URI+app.PublicAddr != "":
		return nil, fault.New(fault.Invalid, "--app-uri and --app-public-addr are of an app that --app-name names")
	case app.Name != "" && !slices.Contains(f.sample.Roles, "app"):
		return nil, fault.New(fault.Invalid, "--app-name is for the app service").WithHint("add app to --roles")
	}
	if f.sample.Nodename == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "cannot read the host name; give --nodename")
		}
		f.sample.Nodename = host
	}
	var err error
	if f.sample.Labels, err = parseLabels(f.labels); err != nil {
		return nil, err
	}
	text, err := f.sample.YAML()
	if err != nil {
		return nil, err
	}
	file, err := config.Parse("configuration", text)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(f.sample.Token, "/") {
		return text, nil // the token's file need not exist yet
	}
	_, err = config.Build(file, config.Flags{Roles: f.roles})
	return text, err
}

// parseLabels reads k=v,k2=v2; "" is none.
func parseLabels(s string) (map[string]string, error) {
	if s == "" {
		return nil, nil // no labels
	}
	labels := map[string]string{}
	for kv := range strings.SplitSeq(s, ",") {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, fault.New(fault.Invalid, "label %q is not written key=value", kv)
		}
		labels[strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	return labels, nil
}

// writeNew never overwrites a configuration.
func writeNew(s Streams, path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fault.New(fault.AlreadyExists, "%s exists already", path).WithHint("Remove it first, or choose another --output.")
	}
	if err != nil {
		return fault.Unwritable(err, path)
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fault.Unwritable(err, path), os.Remove(path))
	}
	fmt.Fprintf(s.Out, "Wrote %s. Start it with: teleport start -c %s\n", path, path)
	return nil
}

package tshcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/localproxy"
	"teleport/fault"
	"teleport/types"
)

const dbLong = `Work with the databases that you may reach.

Programs of other makers speak with a database through tsh: it listens on this
machine, and what comes there travels to the database's agent within your
certificate, which names that one database. The database sees a short-lived
certificate of the agent's; there is no password anywhere.`

const dbConnectExample = `  tsh db ls
  tsh db connect orders --db-user=alice --db-name=shop
  tsh proxy db orders --tunnel --db-user=alice --db-name=shop --port=5433`

// dbFlags choose who one is in a database.
type dbFlags struct {
	user, name string
	roles      []string
	port       string
	tunnel     bool
}

func (a *app) dbCmd() *cobra.Command {
	db := &cobra.Command{Use: "db", Short: "Use databases", Long: dbLong, Example: dbConnectExample, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var ls lsFlags
	list := &cobra.Command{Use: "ls [label=value,...]", Short: "List databases", Args: cobra.ArbitraryArgs,
		Long: "List the databases that you may see and that an agent fronts at the moment.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.dbLs(cmd.Context(), ls, args) }}
	a.formatFlag(list, &ls.format, textFormat, jsonFormat, yamlFormat, namesFormat)
	list.Flags().StringVar(&ls.query, "query", "", "show only what this expression is true of")
	list.Flags().StringVar(&ls.search, "search", "", "show only what all these comma-separated words are found in")
	list.Flags().BoolVarP(&ls.verbose, "verbose", "v", false, "show agents, addresses, health and whole labels")
	var f dbFlags
	connect := &cobra.Command{Use: "connect NAME [-- ARGS...]", Short: "Connect with the database's own client", Args: cobra.MinimumNArgs(1),
		Long:              "Start the database's own client (psql, mariadb or mysql) on a database. Arguments after -- are the client's.",
		Example:           "  tsh db connect orders --db-user=alice --db-name=shop -- -c 'select 1'",
		ValidArgsFunction: a.completeDatabases,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.dbConnect(cmd.Context(), f, args[0], args[1:]) }}
	dbUserFlags(connect, &f)
	db.AddCommand(list, connect)
	return db
}

func dbUserFlags(cmd *cobra.Command, f *dbFlags) {
	cmd.Flags().StringVarP(&f.user, "db-user", "u", "", "user in the database")
	cmd.Flags().StringVarP(&f.name, "db-name", "n", "", "database within the server")
	cmd.Flags().StringSliceVarP(&f.roles, "db-roles", "r", nil, "roles in the database, where its users are made automatically (default: all that yours allow)")
}

func (a *app) proxyDBCmd() *cobra.Command {
	var f dbFlags
	cmd := &cobra.Command{Use: "db NAME", Short: "Let database clients reach a database", Args: cobra.ExactArgs(1),
		Long: `Listen on this machine for clients of a database, until it is interrupted.

Every program that can connect to the port has your access to this one database:
it stays on this machine's loopback address.`,
		Example:           "  tsh proxy db orders --tunnel --db-user=alice --db-name=shop --port=5433",
		ValidArgsFunction: a.completeDatabases,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.proxyDB(cmd.Context(), f, args[0]) }}
	dbUserFlags(cmd, &f)
	cmd.Flags().StringVarP(&f.port, "port", "p", "0", "port to listen on; 0 is any that is free")
	cmd.Flags().BoolVar(&f.tunnel, "tunnel", true, "carry your certificate for the client, which then needs none")
	return cmd
}

func (a *app) dbLs(ctx context.Context, f lsFlags, args []string) error {
	if err := checkFormat(f.format, textFormat, jsonFormat, yamlFormat, namesFormat); err != nil {
		return err
	}
	filter := client.Filter{Query: f.query, Search: words(f.search)}
	var err error
	if filter.Labels, err = parseLabels(args); err != nil {
		return err
	}
	c, _, err := a.connect()
	if err != nil {
		return err
	}
	servers, err := c.Databases(ctx, filter)
	if err != nil {
		return err
	}
	switch f.format {
	case jsonFormat, yamlFormat:
		docs := make([]*types.Database, 0, len(servers))
		for _, s := range servers {
			docs = append(docs, &s.Spec.Database)
		}
		return a.writeDocs(f.format, docs)
	case namesFormat:
		for _, s := range servers {
			fmt.Fprintln(a.out, clean(s.Spec.Database.Metadata.Name))
		}
		return nil
	}
	if len(servers) == 0 {
		fmt.Fprintln(a.errs, "There is no database that you may reach and that matches.")
		return nil
	}
	head := []string{"Name", "Protocol", "Description", "Labels"}
	if f.verbose {
		head = append(head, "Address", "Agent", "Health")
	}
	rows := make([][]string, 0, len(servers))
	for _, s := range servers {
		d := &s.Spec.Database
		row := []string{d.Metadata.Name, d.Spec.Protocol, d.Metadata.Description, labelText(d.AllLabels(), f.verbose)}
		if f.verbose {
			row = append(row, d.Spec.URI, s.Spec.Hostname, s.Status.TargetHealth.String())
		}
		rows = append(rows, row)
	}
	return a.writeTable(head, rows)
}

func (a *app) completeDatabases(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, _, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	servers, err := c.Databases(cmd.Context(), client.Filter{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, s := range servers {
		names = append(names, s.Spec.Database.Metadata.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// database finds one by name.
func (a *app) database(ctx context.Context, c *client.Client, name string) (*types.Database, error) {
	servers, err := c.Databases(ctx, client.Filter{})
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(servers, func(s *types.DatabaseServer) bool { return s.Spec.Database.Metadata.Name == name })
	if i < 0 {
		return nil, fault.New(fault.NotFound, "there is no database %q, or you may not see it", name).WithHint("tsh db ls lists what you can reach")
	}
	return &servers[i].Spec.Database, nil
}

// localServer serves programs of this machine.
type localServer interface {
	Serve(ctx context.Context, ln net.Listener) error
}

// local is how programs of this machine reach one database.
type local struct {
	db    *types.Database
	ln    net.Listener
	proxy localServer
	env   []string // what a client must have in its environment
}

func (a *app) notLetThrough(err error) {
	fmt.Fprintf(a.errs, "tsh: a connection was not let through: %s\n", fault.Message(err))
}

// way opens a local listener through which one database is reached.
func (a *app) way(ctx context.Context, f dbFlags, name string) (*local, error) {
	c, s, err := a.connect()
	if err != nil {
		return nil, err
	}
	d, err := a.database(ctx, c, name)
	if err != nil {
		return nil, err
	}
	if f.user == "" {
		return nil, fault.New(fault.Invalid, "name the user in the database").WithHint("--db-user=…")
	}
	route := types.DatabaseRoute{User: f.user, Name: f.name, Roles: f.roles}
	way := localproxy.NewLasting(c.Database(name, route), func() (localproxy.Way, error) {
		c, err := a.sameAgain(s)
		if err != nil {
			return nil, err
		}
		return c.Database(name, route), nil
	}, func(why error) {
		fmt.Fprintf(a.errs, "tsh: %s; connections wait until you log in again: tsh login --proxy=%s --user=%s\n", fault.Message(why), s.profile.WebProxyAddr, s.profile.User)
	})
	ln, err := localproxy.Listen(ctx, cmp.Or(f.port, "0"))
	if err != nil {
		return nil, err
	}
	l := &local{db: d, ln: ln}
	if d.Spec.Protocol == "dynamodb" {
		l.proxy, l.env = a.signedWay(d, way.Dial)
	} else {
		l.proxy = localproxy.New(localproxy.Options{Dial: way.Dial, Failed: a.notLetThrough})
	}
	return l, nil
}

// sameAgain makes a client of a newer log-in of the same person to the same proxy.
func (a *app) sameAgain(s *session) (*client.Client, error) {
	c, now, err := a.connect()
	if err != nil {
		return nil, err
	}
	if now.profile.WebProxyAddr != s.profile.WebProxyAddr || now.cred.User() != s.cred.User() {
		return nil, fault.New(fault.Unauthenticated, "your log-in to %s has ended, and you are now %s at %s", s.profile.WebProxyAddr, now.cred.User(), now.profile.WebProxyAddr)
	}
	return c, nil
}

// nativeClient is the database's own program, and its arguments for an address.
func nativeClient(d *types.Database, f dbFlags, addr net.Addr) ([]string, error) {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return nil, err
	}
	switch d.Spec.Protocol {
	case "postgres", "cockroachdb":
		return []string{"psql", "host=" + host + " port=" + port + " user=" + quoted(f.user) + " dbname=" + quoted(cmp.Or(f.name, f.user)) + " sslmode=disable"}, nil
	case "dynamodb":
		return awsClient(addr), nil
	case "mysql":
		argv := append(mysqlClient(), "--protocol=TCP", "--host="+host, "--port="+port, "--user="+f.user)
		if f.name != "" {
			argv = append(argv, "--database="+f.name)
		}
		return argv, nil
	}
	return nil, fault.New(fault.Unimplemented, "tsh does not know the client of %s", d.Spec.Protocol).WithHint("tsh proxy db %s --tunnel lets yours in", d.Metadata.Name)
}

// databaseURL is the address as libraries and graphical clients take it; "" where
// the protocol has no such form.
func databaseURL(d *types.Database, f dbFlags, addr net.Addr) string {
	switch d.Spec.Protocol {
	case "postgres", "cockroachdb":
		u := url.URL{Scheme: "postgres", User: url.User(f.user), Host: addr.String(), Path: "/" + cmp.Or(f.name, f.user), RawQuery: "sslmode=disable"}
		return u.String()
	}
	return ""
}

// mysqlClient is MariaDB's program where it is installed, which may want TLS, and
// else MySQL's, which does without where none is offered: it is around the
// connection already.
func mysqlClient() []string {
	if _, err := exec.LookPath("mariadb"); err == nil {
		return []string{"mariadb", "--skip-ssl"}
	}
	return []string{"mysql"}
}

// quoted is a value of a libpq connection string.
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func (a *app) dbConnect(ctx context.Context, f dbFlags, name string, args []string) error {
	l, err := a.way(ctx, f, name)
	if err != nil {
		return err
	}
	defer l.ln.Close()
	if l.db.Spec.Protocol == "dynamodb" && len(args) == 0 {
		return noCommand(name)
	}
	argv, err := nativeClient(l.db, f, l.ln.Addr())
	if err != nil {
		return err
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fault.New(fault.NotFound, "the program %s is not installed on this machine", argv[0])
	}
	// Ctrl-C is the client's, where it cancels a statement: it ends nothing here.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- l.proxy.Serve(ctx, l.ln) }()
	cmd := exec.Command(path, append(argv[1:], args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.out, a.errs
	if l.env != nil {
		cmd.Env = forAWS(a.environ, l.env)
	}
	err = cmd.Run()
	stop()
	<-served
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitCode(exit.ExitCode()) // it has said why
	}
	return err
}

func (a *app) proxyDB(ctx context.Context, f dbFlags, name string) error {
	if !f.tunnel {
		return fault.New(fault.Unimplemented, "a client with its own certificate is not served by this version").WithHint("leave --tunnel on")
	}
	l, err := a.way(ctx, f, name)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "Started an authenticated tunnel for the %s database %q on %s.\n", l.db.Spec.Protocol, name, l.ln.Addr())
	if l.env != nil {
		a.printAWS(l.env, l.ln.Addr())
	} else if argv, err := nativeClient(l.db, f, l.ln.Addr()); err == nil {
		for i := range argv {
			argv[i] = shellQuote(argv[i])
		}
		fmt.Fprintf(a.out, "\nUse one of the following:\n\n  %s\n", strings.Join(argv, " "))
		if address := databaseURL(l.db, f, l.ln.Addr()); address != "" {
			fmt.Fprintf(a.out, "  %s\n", address)
		}
	}
	if f.port == "0" {
		fmt.Fprintf(a.errs, "To have the same port each time, use --port.\n")
	}
	return l.proxy.Serve(ctx, l.ln)
}

package tshcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/profile"
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
	labels     string
	query      string
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
	db.AddCommand(list, a.dbConnectCmd(), a.dbLoginCmd(), a.dbLogoutCmd(), a.dbEnvCmd(), a.dbConfigCmd(), a.dbExecCmd())
	return db
}

func (a *app) dbConnectCmd() *cobra.Command {
	var f dbFlags
	cmd := &cobra.Command{Use: "connect [NAME] [-- ARGS...]", Short: "Connect with the database's own client", Args: cobra.ArbitraryArgs,
		Long: `Start the database's own client (psql, cockroach, mariadb or mysql, redis-cli,
aws) on a database. Arguments after -- are the client's. What is not given is as
you logged in to the database, where you did.`,
		Example:           "  tsh db connect orders --db-user=alice --db-name=shop -- -c 'select 1'",
		ValidArgsFunction: a.completeDatabases,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
				name, args = args[0], args[1:]
			}
			return a.dbConnect(cmd.Context(), f, name, args)
		}}
	dbUserFlags(cmd, &f)
	return cmd
}

func dbUserFlags(cmd *cobra.Command, f *dbFlags) {
	cmd.Flags().StringVarP(&f.user, "db-user", "u", "", "user in the database")
	cmd.Flags().StringVarP(&f.name, "db-name", "n", "", "database within the server")
	cmd.Flags().StringSliceVarP(&f.roles, "db-roles", "r", nil, "roles in the database, where its users are made automatically (default: all that yours allow)")
	cmd.Flags().StringVar(&f.labels, "labels", "", "choose the database that has these labels: key=value,...")
	cmd.Flags().StringVar(&f.query, "query", "", "choose the database that this expression is true of")
}

// first is the name that was given, if any.
func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
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
	c, session, err := a.connect()
	if err != nil {
		return err
	}
	servers, err := c.Databases(ctx, filter)
	if err != nil {
		return err
	}
	switch f.format {
	case jsonFormat, yamlFormat:
		return a.writeDocs(f.format, databasesOf(servers))
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
	users, err := c.DatabaseUsers(ctx, databasesOf(servers))
	if err != nil {
		return err
	}
	head := []string{"Name", "Protocol", "Description", "Allowed Users", "Labels"}
	if f.verbose {
		head = append(head, "Address", "Agent", "Health")
	}
	active, err := a.activeDatabases(session)
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(servers))
	for _, s := range servers {
		d := &s.Spec.Database
		row := []string{marked(active, d.Metadata.Name), d.Spec.Protocol, d.Metadata.Description, allowedText(users[d.Metadata.Name], f.verbose), labelText(d.AllLabels(), f.verbose)}
		if f.verbose {
			row = append(row, d.Spec.URI, s.Spec.Hostname, s.Status.TargetHealth.String())
		}
		rows = append(rows, row)
	}
	return errors.Join(a.writeTable(head, rows), a.tellActive(session, active))
}

func databasesOf(servers []*types.DatabaseServer) []*types.Database {
	docs := make([]*types.Database, 0, len(servers))
	for _, s := range servers {
		docs = append(docs, &s.Spec.Database)
	}
	return docs
}

// mostUsers are shown of those that one may be, where not all are asked for.
const mostUsers = 5

// allowedText is as whom one may enter a database.
func allowedText(users []string, all bool) string {
	names := make([]string, 0, len(users))
	for _, u := range users {
		names = append(names, clean(u))
	}
	if n := len(names); n > mostUsers && !all {
		names = append(names[:mostUsers:mostUsers], fmt.Sprintf("and %d more", n-mostUsers))
	}
	return strings.Join(names, ", ")
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

// choose finds the database that is meant, and as whom it is used: as the flags
// say, else as the person logged in to it.
func (a *app) choose(ctx context.Context, c *client.Client, s *session, f dbFlags, name string) (*types.Database, types.DatabaseRoute, error) {
	var nobody types.DatabaseRoute
	active, err := a.activeDatabases(s)
	if err != nil {
		return nil, nobody, err
	}
	if name == "" && f.labels == "" && f.query == "" {
		db, err := onlyOne(active)
		if err != nil {
			return nil, nobody, err
		}
		name = db.Name
	}
	d, err := a.database(ctx, c, f, name)
	if err != nil {
		return nil, nobody, err
	}
	route, err := f.route(active, d, s.cred.User())
	return d, route, err
}

// route is as whom a database is used. Where its users are made automatically,
// one is there by one's own name.
func (f dbFlags) route(active []*profile.Database, d *types.Database, self string) (types.DatabaseRoute, error) {
	route := types.DatabaseRoute{User: f.user, Name: f.name, Roles: f.roles}
	if i := slices.IndexFunc(active, func(db *profile.Database) bool { return db.Name == d.Metadata.Name }); i >= 0 && f.user == "" {
		route.User, route.Name = active[i].User, cmp.Or(f.name, active[i].Database)
		if len(f.roles) == 0 {
			route.Roles = active[i].Roles
		}
	}
	if route.User == "" && d.Spec.AdminUser != nil {
		route.User = self
	}
	if route.User == "" {
		return route, fault.New(fault.Invalid, "name the user in the database").WithHint("--db-user=…")
	}
	return route, nil
}

// database finds one by name, or the only one with the labels of the flags.
func (a *app) database(ctx context.Context, c *client.Client, f dbFlags, name string) (*types.Database, error) {
	server, err := findFronted(ctx, c.Databases, sought{labels: f.labels, query: f.query, name: name}, "database", "tsh db ls")
	if err != nil {
		return nil, err
	}
	return &server.Spec.Database, nil
}

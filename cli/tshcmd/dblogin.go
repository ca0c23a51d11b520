package tshcmd

import (
	"context"
	"crypto"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/dbclient"
	"teleport/client/profile"
	"teleport/fault"
	"teleport/types"
)

const dbLoginLong = `Get a certificate for one database, as one of its users, into files of your
profile, for programs that show it themselves. It ends with your log-in.

Programs of PostgreSQL then reach the database at the proxy's own port, without
tsh: a section of ~/.pg_service.conf (PGSERVICEFILE) is written for them. So do
those of MySQL and MariaDB, by groups in ~/.my.cnf, where the proxy has a port for
them. Without, and for Redis, they go through "tsh proxy db"; all others need its
--tunnel. A program that has the files has your access to this one database.`

func (a *app) dbLoginCmd() *cobra.Command {
	var f dbFlags
	cmd := &cobra.Command{Use: "login [NAME]", Short: "Get a certificate for a database", Args: cobra.MaximumNArgs(1), Long: dbLoginLong,
		Example:           "  tsh db login orders --db-user=alice --db-name=shop\n  psql service=CLUSTER-orders",
		ValidArgsFunction: a.completeDatabases,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.dbLogin(cmd.Context(), f, first(args)) }}
	dbUserFlags(cmd, &f)
	return cmd
}

func (a *app) dbLogin(ctx context.Context, f dbFlags, name string) error {
	c, s, err := a.connect()
	if err != nil {
		return err
	}
	d, route, err := a.choose(ctx, c, s, f, name)
	if err != nil {
		return err
	}
	db, err := a.keepDatabase(ctx, c, s, d, route)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "Logged in to %s (%s) as %s, until %s.\n", db.Name, db.Protocol, whom(db), db.Expires.Local().Format(clock))
	fmt.Fprintf(a.out, "\nUse one of the following:\n\n")
	if db.ServerName != "" {
		svc, _ := service(s.profile, db)
		err := a.writeService(s, db, svc)
		if err == nil {
			fmt.Fprintf(a.out, "  %s\n", shellLine(svc.Argv))
		} else {
			defer fmt.Fprintf(a.errs, "tsh: ~/%s was not changed: %s\nhint: tsh db config --format=cmd prints a line that does without\n", svc.File, fault.Message(err))
		}
	}
	fmt.Fprintf(a.out, "  tsh db connect %s\n", db.Name)
	if client.Native(db.Protocol) && db.ServerName == "" {
		fmt.Fprintf(a.out, "  tsh proxy db %s\n", db.Name)
	}
	return nil
}

// clock is how moments of today and tomorrow are written.
const clock = "2006-01-02 15:04"

func whom(db *profile.Database) string {
	if db.Database == "" {
		return clean(db.User)
	}
	return clean(db.User) + " in " + clean(db.Database)
}

// keepDatabase gets a certificate and stores it.
func (a *app) keepDatabase(ctx context.Context, c *client.Client, s *session, d *types.Database, route types.DatabaseRoute) (*profile.Database, error) {
	if s.dir == nil {
		return nil, fault.New(fault.Invalid, "beside an identity file there is no profile to keep certificates of databases in").
			WithHint("tsh proxy db %s --tunnel needs none", d.Metadata.Name)
	}
	db := &profile.Database{Name: d.Metadata.Name, Protocol: d.Spec.Protocol, User: route.User, Database: route.Name, Roles: route.Roles}
	if err := a.nameProxy(ctx, c, s, db); err != nil {
		return nil, err
	}
	made, err := c.DatabaseCertificate(ctx, db.Name, route)
	if err != nil {
		return nil, err
	}
	key, ok := made.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fault.New(fault.Internal, "the key of a certificate cannot be kept")
	}
	db.Expires = made.Leaf.NotAfter
	return db, s.dir.SaveDatabase(s.profile, db, made.Leaf, key)
}

// nameProxy finds out by which name programs verify the proxy at its port, where
// they can come there.
func (a *app) nameProxy(ctx context.Context, c *client.Client, s *session, db *profile.Database) error {
	addr := portOf(s.profile, db.Protocol)
	if addr == "" {
		return nil
	}
	host := profile.HostOf(addr)
	name, named, err := c.NativeName(ctx, host)
	if err != nil {
		return err
	}
	if named || dbclient.IsAddress(host) && dbclient.Postgres(db.Protocol) { // whose programs can be given an address beside the name
		db.ServerName = name
		return nil
	}
	fmt.Fprintf(a.errs, "tsh: the proxy's certificate is not for %s, so programs cannot verify it there; name it in the proxy's public_addr, or use tsh proxy db\n", host)
	return nil
}

// portOf is where programs of a protocol find the proxy without tsh; empty for
// nowhere.
func portOf(p *profile.Profile, protocol string) string {
	switch {
	case p.UpgradeNeeded:
		return ""
	case dbclient.Postgres(protocol):
		return p.WebProxyAddr
	case protocol == "mysql":
		return p.MySQLProxyAddr
	}
	return ""
}

// nativeTarget is what a program with the files of a database reaches.
func nativeTarget(s *session, db *profile.Database) dbclient.Target {
	files := s.dir.DatabasePaths(s.profile, db.Name)
	return dbclient.Target{Protocol: db.Protocol, Name: db.Name, User: db.User, Database: db.Database, Addr: portOf(s.profile, db.Protocol),
		Files: &dbclient.Files{CA: files.CA, Cert: files.Cert, Key: files.Key, ServerName: db.ServerName}}
}

// activeDatabases are those whose certificates live.
func (a *app) activeDatabases(s *session) ([]*profile.Database, error) {
	if s.dir == nil {
		return nil, nil
	}
	all, err := s.dir.Databases(s.profile)
	now := time.Now()
	return slices.DeleteFunc(all, func(db *profile.Database) bool { return !now.Before(db.Expires) }), err
}

// onlyOne is the database that is meant where none is named.
func onlyOne(active []*profile.Database) (*profile.Database, error) {
	switch len(active) {
	case 0:
		return nil, fault.New(fault.Invalid, "no database was named, and you are logged in to none").WithHint("tsh db ls lists what you can reach")
	case 1:
		return active[0], nil
	}
	var names strings.Builder
	for _, db := range active {
		names.WriteString("\n" + db.Name)
	}
	return nil, fault.New(fault.Conflict, "you are logged in to several databases:%s", names.String()).WithHint("name the one that you mean")
}

// loggedIn finds the database that is meant among those with a live certificate,
// as the flags say; where there is none, it logs in.
func (a *app) loggedIn(ctx context.Context, c *client.Client, s *session, f dbFlags, name string) (*profile.Database, error) {
	if f.user == "" && f.name == "" && f.labels == "" && f.query == "" && len(f.roles) == 0 {
		if db, err := a.active(s, name); err == nil {
			return db, nil
		}
	}
	d, route, err := a.choose(ctx, c, s, f, name)
	if err != nil {
		return nil, err
	}
	return a.keepDatabase(ctx, c, s, d, route)
}

// active finds one of those with a live certificate.
func (a *app) active(s *session, name string) (*profile.Database, error) {
	list, err := a.activeDatabases(s)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return onlyOne(list)
	}
	i := slices.IndexFunc(list, func(db *profile.Database) bool { return db.Name == name })
	if i < 0 {
		return nil, fault.New(fault.NotFound, "you are not logged in to a database %q", name).WithHint("tsh db login %s --db-user=…", name)
	}
	return list[i], nil
}

func (a *app) dbLogoutCmd() *cobra.Command {
	return &cobra.Command{Use: "logout [NAME]", Short: "Forget the certificates of databases", Args: cobra.MaximumNArgs(1),
		Long: `Delete the certificate and key of a database, and the section that programs find
it by. Without a name, those of all databases.`,
		ValidArgsFunction: a.completeActive,
		RunE:              func(_ *cobra.Command, args []string) error { return a.dbLogout(first(args)) }}
}

func (a *app) dbLogout(name string) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	gone := 0
	if s.dir != nil {
		if gone, err = a.forgetDatabases(s.dir, s.profile, name); err != nil {
			return err
		}
	}
	switch {
	case gone > 0:
	case name != "":
		return fault.New(fault.NotFound, "you are not logged in to a database %q", name)
	default:
		fmt.Fprintln(a.out, "You are not logged in to a database.")
	}
	return nil
}

// forgetDatabases deletes what a profile has of one database, or of all.
func (a *app) forgetDatabases(dir *profile.Dir, p *profile.Profile, name string) (gone int, err error) {
	all, err := dir.Databases(p)
	if err != nil {
		return 0, err
	}
	for _, db := range all {
		if name != "" && name != db.Name {
			continue
		}
		if err := a.dropService(p, db); err != nil {
			return gone, err
		}
		if err := dir.RemoveDatabase(p, db.Name); err != nil {
			return gone, err
		}
		gone++
		fmt.Fprintf(a.out, "Logged out of the database %s.\n", db.Name)
	}
	return gone, nil
}

// completeActive completes the names of databases that one is logged in to.
func (a *app) completeActive(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := a.open()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	list, _ := a.activeDatabases(s)
	for _, db := range list {
		names = append(names, db.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// marked is a database's name in a list: behind ">" where one is logged in to it.
func marked(active []*profile.Database, name string) string {
	if slices.ContainsFunc(active, func(db *profile.Database) bool { return db.Name == name }) {
		return "> " + name
	}
	return name
}

// tellActive says how each is connected to.
func (a *app) tellActive(s *session, active []*profile.Database) error {
	for _, db := range active {
		argv := []string{"tsh", "db", "connect", db.Name}
		if db.ServerName != "" {
			svc, _ := service(s.profile, db)
			argv = svc.Argv
		}
		if _, err := fmt.Fprintf(a.out, "\n> %s as %s, until %s:\n  %s\n", clean(db.Name), whom(db), db.Expires.Local().Format(clock), shellLine(argv)); err != nil {
			return err
		}
	}
	return nil
}

// atPort is the database that programs reach at the proxy's port, or says why not.
func (a *app) atPort(name string) (*session, *profile.Database, error) {
	s, err := a.valid()
	if err != nil {
		return nil, nil, err
	}
	db, err := a.active(s, name)
	if err != nil {
		return nil, nil, err
	}
	addr := portOf(s.profile, db.Protocol)
	switch {
	case !client.Native(db.Protocol):
		return nil, nil, fault.New(fault.Invalid, "programs for %s need a tunnel", db.Protocol).WithHint("tsh proxy db %s --tunnel", db.Name)
	case s.profile.UpgradeNeeded:
		return nil, nil, fault.New(fault.Invalid, "a load balancer stands before the proxy, which programs do not pass without tsh").WithHint("tsh proxy db %s", db.Name)
	case addr == "" && db.Protocol == "mysql":
		return nil, nil, fault.New(fault.Invalid, "the proxy had no port for programs of MySQL when you logged in").
			WithHint("tsh proxy db %s, or log in anew once the proxy has mysql_listen_addr", db.Name)
	case addr == "":
		return nil, nil, fault.New(fault.Invalid, "programs for %s do not find the proxy without tsh", db.Protocol).WithHint("tsh proxy db %s", db.Name)
	case db.ServerName == "":
		return nil, nil, fault.New(fault.Invalid, "the proxy's certificate is not for %s, so programs cannot verify it there", profile.HostOf(addr)).
			WithHint("name it in the proxy's public_addr and log in to the database again, or use tsh proxy db %s", db.Name)
	}
	return s, db, nil
}

func (a *app) dbEnvCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "env [NAME]", Short: "Print the environment for a database's programs", Args: cobra.MaximumNArgs(1),
		Long: `Print what a POSIX shell evaluates so that psql, pg_dump, mariadb and libraries
reach a database that you logged in to, at the proxy's port and without tsh.`,
		Example:           "  eval \"$(tsh db env orders)\" && psql",
		ValidArgsFunction: a.completeActive,
		RunE:              func(_ *cobra.Command, args []string) error { return a.dbEnv(format, first(args)) }}
	a.formatFlag(cmd, &format, textFormat, jsonFormat, yamlFormat)
	return cmd
}

func (a *app) dbEnv(format, name string) error {
	if err := checkFormat(format, textFormat, jsonFormat, yamlFormat); err != nil {
		return err
	}
	s, db, err := a.atPort(name)
	if err != nil {
		return err
	}
	env := nativeTarget(s, db).Env()
	if svc, ok := service(s.profile, db); ok && env == nil {
		env = [][2]string{svc.Setting}
	}
	if format != textFormat {
		doc := make(map[string]string, len(env))
		for _, kv := range env {
			doc[kv[0]] = kv[1]
		}
		return a.writeDocs(format, doc)
	}
	for _, kv := range env {
		if _, err := fmt.Fprintf(a.out, "export %s=%s\n", kv[0], shellQuote(kv[1])); err != nil {
			return err
		}
	}
	return nil
}

// commandFormat is the line that starts a program.
const commandFormat = "cmd"

func (a *app) dbConfigCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "config [NAME]", Short: "Print where a database is, for graphical clients", Args: cobra.MaximumNArgs(1),
		Long: `Print the address and the files of a database that you logged in to, as clients
with windows ask for them. --format=cmd prints the line that starts psql or mariadb.`,
		Example:           "  tsh db config orders\n  eval \"$(tsh db config --format=cmd orders)\"",
		ValidArgsFunction: a.completeActive,
		RunE:              func(_ *cobra.Command, args []string) error { return a.dbConfig(format, first(args)) }}
	a.formatFlag(cmd, &format, textFormat, commandFormat, jsonFormat, yamlFormat)
	return cmd
}

func (a *app) dbConfig(format, name string) error {
	if err := checkFormat(format, textFormat, commandFormat, jsonFormat, yamlFormat); err != nil {
		return err
	}
	s, db, err := a.atPort(name)
	if err != nil {
		return err
	}
	t := nativeTarget(s, db)
	if format == commandFormat {
		argv, err := t.Argv(installed)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, shellLine(argv))
		return err
	}
	host, port, err := net.SplitHostPort(t.Addr)
	if err != nil {
		return err
	}
	doc := struct {
		Name     string `json:"name"`
		Host     string `json:"host"`
		Port     string `json:"port"`
		User     string `json:"user"`
		Database string `json:"database,omitempty"`
		CA       string `json:"ca"`
		Cert     string `json:"cert"`
		Key      string `json:"key"`
	}{db.Name, host, port, db.User, db.Database, t.Files.CA, t.Files.Cert, t.Files.Key}
	if format != textFormat {
		return a.writeDocs(format, doc)
	}
	_, err = fmt.Fprintf(a.out, "Name:     %s\nHost:     %s\nPort:     %s\nUser:     %s\nDatabase: %s\nCA:       %s\nCert:     %s\nKey:      %s\n",
		doc.Name, doc.Host, doc.Port, clean(doc.User), clean(doc.Database), doc.CA, doc.Cert, doc.Key)
	return err
}

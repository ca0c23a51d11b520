package tshcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/dbclient"
	"teleport/client/localproxy"
	"teleport/fault"
	"teleport/types"
)

const proxyDBLong = `Listen on this machine for clients of a database, until it is interrupted.

With --tunnel, tsh carries your certificate for them: they need none, and every
program that can connect to the port has your access to this one database. It
stays on this machine's loopback address.

Without it, clients show the certificate of "tsh db login" themselves, which is
made where there is none: a program without its key reaches nothing.`

func (a *app) proxyDBCmd() *cobra.Command {
	var f dbFlags
	cmd := &cobra.Command{Use: "db [NAME]", Short: "Let database clients reach a database", Args: cobra.MaximumNArgs(1), Long: proxyDBLong,
		Example:           "  tsh proxy db orders --tunnel --db-user=alice --db-name=shop --port=5433\n  tsh proxy db orders --port=5433",
		ValidArgsFunction: a.completeDatabases,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.proxyDB(cmd.Context(), f, first(args)) }}
	dbUserFlags(cmd, &f)
	cmd.Flags().StringVarP(&f.port, "port", "p", "0", "port to listen on; 0 is any that is free")
	cmd.Flags().BoolVar(&f.tunnel, "tunnel", false, "carry your certificate for the client, which then needs none")
	return cmd
}

// localServer serves programs of this machine.
type localServer interface {
	Serve(ctx context.Context, ln net.Listener) error
}

// local is how programs of this machine reach one database.
type local struct {
	target dbclient.Target
	ln     net.Listener
	proxy  localServer
	env    []string // what a client must have in its environment
	close  func()   // ends what leads to the database; may be nil
}

// serve serves until ctx ends.
func (l *local) serve(ctx context.Context) error {
	if l.close != nil {
		defer l.close()
	}
	return l.proxy.Serve(ctx, l.ln)
}

func (a *app) notLetThrough(err error) {
	fmt.Fprintf(a.errs, "tsh: a connection was not let through: %s\n", fault.Message(err))
}

func (a *app) cut(why error) {
	fmt.Fprintf(a.errs, "tsh: a connection was cut: %s\n", fault.Message(why))
}

// way opens a local listener through which one database is reached without a
// certificate.
func (a *app) way(ctx context.Context, f dbFlags, name string) (*local, error) {
	c, s, err := a.connect()
	if err != nil {
		return nil, err
	}
	d, route, err := a.choose(ctx, c, s, f, name)
	if err != nil {
		return nil, err
	}
	ln, err := localproxy.Listen(ctx, cmp.Or(f.port, "0"))
	if err != nil {
		return nil, err
	}
	return a.tunnel(c, s, d, route, ln), nil
}

// tunnel serves a listener by the log-in of a session, and those after it.
func (a *app) tunnel(c *client.Client, s *session, d *types.Database, route types.DatabaseRoute, ln net.Listener) *local {
	name := d.Metadata.Name
	way := localproxy.NewLasting(c.Database(name, route), func() (localproxy.Way, error) {
		c, err := a.sameAgain(s)
		if err != nil {
			return nil, err
		}
		return c.Database(name, route), nil
	}, func(why error) {
		fmt.Fprintf(a.errs, "tsh: %s; connections wait until you log in again: tsh login --proxy=%s --user=%s\n", fault.Message(why), s.profile.WebProxyAddr, s.profile.User)
	})
	l := &local{ln: ln, target: targetOf(d, route, ln.Addr().String()), close: way.Close}
	if d.Spec.Protocol == "dynamodb" {
		l.proxy, l.env = a.signedWay(d, way.Dial)
	} else {
		l.proxy = localproxy.New(localproxy.Options{Dial: way.Dial, Failed: a.notLetThrough, Cut: a.cut})
	}
	return l
}

func targetOf(d *types.Database, route types.DatabaseRoute, addr string) dbclient.Target {
	return dbclient.Target{Protocol: d.Spec.Protocol, Name: d.Metadata.Name, User: route.User, Database: route.Name, Addr: addr}
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

// installed reports whether this machine has a program.
func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

func (a *app) dbConnect(ctx context.Context, f dbFlags, name string, args []string) error {
	l, err := a.way(ctx, f, name)
	if err != nil {
		return err
	}
	defer l.ln.Close()
	if l.target.Protocol == "dynamodb" && len(args) == 0 {
		return noCommand(l.target.Name)
	}
	argv, err := l.target.Argv(installed)
	if err != nil {
		return err
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fault.New(fault.NotFound, "the program %s is not installed on this machine", argv[0]).WithHint("tsh proxy db %s --tunnel lets others in", l.target.Name)
	}
	cmd := exec.Command(path, append(argv[1:], args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.out, a.errs
	if l.env != nil {
		cmd.Env = forAWS(a.environ, l.env)
	}
	// Ctrl-C is the client's, where it cancels a statement: it ends nothing here.
	err = l.during(context.WithoutCancel(ctx), cmd.Run)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitCode(exit.ExitCode()) // it has said why
	}
	return err
}

// during serves as long as work takes.
func (l *local) during(ctx context.Context, work func() error) error {
	ctx, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- l.serve(ctx) }()
	err := work()
	stop()
	<-served
	return err
}

func (a *app) proxyDB(ctx context.Context, f dbFlags, name string) error {
	open, what := a.rawWay, "a proxy"
	if f.tunnel {
		open, what = a.way, "an authenticated tunnel"
	}
	l, err := open(ctx, f, name)
	if err != nil {
		return err
	}
	defer l.ln.Close()
	fmt.Fprintf(a.out, "Started %s for the %s database %q on %s.\n", what, l.target.Protocol, l.target.Name, l.ln.Addr())
	if l.env != nil {
		a.printAWS(l.env, l.target)
	} else {
		a.printTarget(l.target)
	}
	if f.port == "0" {
		fmt.Fprintf(a.errs, "To have the same port each time, use --port.\n")
	}
	return l.serve(ctx)
}

// printTarget prints what a person pastes to reach it.
func (a *app) printTarget(t dbclient.Target) {
	if t.Files != nil {
		fmt.Fprintf(a.out, "Clients show their own certificate:\n\n  CA:   %s\n  Cert: %s\n  Key:  %s\n", t.Files.CA, t.Files.Cert, t.Files.Key)
	}
	if argv, err := t.Argv(installed); err == nil {
		fmt.Fprintf(a.out, "\nUse one of the following:\n\n  %s\n", shellLine(argv))
	}
	if address := t.URL(); address != "" {
		fmt.Fprintf(a.out, "  %s\n", address)
	}
}

// shellLine is a command as a shell takes it.
func shellLine(argv []string) string {
	words := make([]string, len(argv))
	for i, w := range argv {
		words[i] = shellQuote(w)
	}
	return strings.Join(words, " ")
}

// rawWay opens a local listener through which clients reach the proxy's port, and
// show their own certificate.
func (a *app) rawWay(ctx context.Context, f dbFlags, name string) (*local, error) {
	c, s, err := a.connect()
	if err != nil {
		return nil, err
	}
	db, err := a.loggedIn(ctx, c, s, f, name)
	if err != nil {
		return nil, err
	}
	if !client.Native(db.Protocol) {
		return nil, fault.New(fault.Invalid, "clients of %s cannot show a certificate of their own", db.Protocol).WithHint("tsh proxy db %s --tunnel", db.Name)
	}
	ln, err := localproxy.Listen(ctx, cmp.Or(f.port, "0"))
	if err != nil {
		return nil, err
	}
	target := nativeTarget(s, db)
	target.Addr = ln.Addr().String()
	dial := func(ctx context.Context) (net.Conn, error) { return c.DialNative(ctx, db.Protocol) }
	return &local{ln: ln, target: target, proxy: localproxy.New(localproxy.Options{Dial: dial, Failed: a.notLetThrough})}, nil
}

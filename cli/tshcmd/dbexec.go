package tshcmd

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/ceremony"
	"teleport/client/localproxy"
	"teleport/client/profile"
	"teleport/fault"
	"teleport/types"
)

const dbExecLong = `Run one query on several databases, by psql and mariadb or mysql: those that
--dbs names, or those that --search, --labels and --query choose. You are asked
first which they are; --no-confirm does without.

Each line of output begins with the name of its database. With --output-dir, the
output of each goes to a file NAME.output there, and summary.json tells how it
ended where. The exit code is 1 where the query failed on any of them.`

const dbExecExample = `  tsh db exec 'select count(*) from items' --dbs=orders,archive -u alice -n shop
  tsh db exec analyze --labels=env=prod -u alice -n shop --parallel=5 --no-confirm`

// mostExec is how many databases a query runs on at once.
const mostExec = 10

// execFlags are those of tsh db exec.
type execFlags struct {
	dbFlags
	dbs       []string
	search    string
	parallel  int
	dir       string
	confirm   bool
	noConfirm bool
}

func (a *app) dbExecCmd() *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{Use: "exec QUERY", Short: "Run a query on several databases", Args: cobra.ExactArgs(1), Long: dbExecLong, Example: dbExecExample,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.dbExec(cmd.Context(), f, args[0]) }}
	dbUserFlags(cmd, &f.dbFlags)
	cmd.Flags().StringSliceVar(&f.dbs, "dbs", nil, "run on these databases: name,...")
	cmd.Flags().StringVar(&f.search, "search", "", "run where all these comma-separated words are found in the database's name or labels")
	cmd.Flags().IntVar(&f.parallel, "parallel", 1, fmt.Sprintf("databases at once, 1 to %d", mostExec))
	cmd.Flags().StringVar(&f.dir, "output-dir", "", "write outputs and a summary to this `directory`")
	cmd.Flags().BoolVar(&f.confirm, "confirm", true, "ask before the query runs")
	cmd.Flags().BoolVar(&f.noConfirm, "no-confirm", false, "do not ask")
	_ = cmd.RegisterFlagCompletionFunc("dbs", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return a.completeDatabases(cmd, nil, word)
	})
	return cmd
}

func (f execFlags) check(query string) error {
	chosen := f.search != "" || f.labels != "" || f.query != ""
	switch {
	case strings.TrimSpace(query) == "":
		return fault.New(fault.Invalid, "the query is empty")
	case f.parallel < 1 || f.parallel > mostExec:
		return fault.New(fault.Invalid, "--parallel takes a number from 1 to %d", mostExec)
	case len(f.dbs) == 0 && !chosen:
		return fault.New(fault.Invalid, "no database was named").WithHint("--dbs=NAME,…, or --search, --labels or --query")
	case len(f.dbs) > 0 && chosen:
		return fault.New(fault.Invalid, "--dbs names databases, and --search, --labels and --query choose them: use one way")
	}
	return nil
}

func (a *app) dbExec(ctx context.Context, f execFlags, query string) error {
	if err := f.check(query); err != nil {
		return err
	}
	c, s, err := a.connect()
	if err != nil {
		return err
	}
	list, err := a.toExec(ctx, c, f)
	if err != nil {
		return err
	}
	active, err := a.activeDatabases(s)
	if err != nil {
		return err
	}
	x := &execution{a: a, c: c, s: s, query: query, lines: &many{a: a}}
	for _, d := range list {
		route, err := f.route(active, d, s.cred.User())
		if err != nil {
			return err
		}
		x.jobs = append(x.jobs, &job{db: d, route: route})
	}
	if f.confirm && !f.noConfirm {
		if err := a.confirmExec(ctx, x.jobs); err != nil {
			return err
		}
	}
	if f.dir != "" {
		if err := os.MkdirAll(f.dir, 0o700); err != nil {
			return fault.Unwritable(err, f.dir)
		}
		if x.dir, err = os.OpenRoot(f.dir); err != nil {
			return fault.Unwritable(err, f.dir)
		}
		defer x.dir.Close()
	}
	a.pauses.serve(true, func(error) {}) // of many connections none is worth a word
	x.run(ctx, f.parallel)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return x.sumUp()
}

// toExec lists the databases that a query is to run on, in order of their names.
// A name that is not there is an error; what was chosen and speaks another
// protocol is left out.
func (a *app) toExec(ctx context.Context, c *client.Client, f execFlags) ([]*types.Database, error) {
	filter := client.Filter{Query: f.query, Search: words(f.search)}
	if f.labels != "" {
		var err error
		if filter.Labels, err = parseLabels([]string{f.labels}); err != nil {
			return nil, err
		}
	}
	servers, err := c.Databases(ctx, filter)
	if err != nil {
		return nil, err
	}
	var list []*types.Database
	missing := slices.Clone(f.dbs)
	for _, s := range servers {
		d := &s.Spec.Database
		name := d.Metadata.Name
		missing = slices.DeleteFunc(missing, func(n string) bool { return n == name })
		_, err := targetOf(d, types.DatabaseRoute{}, "").Batch("", installed)
		switch {
		case len(f.dbs) > 0 && !slices.Contains(f.dbs, name):
		case err == nil:
			list = append(list, d)
		case len(f.dbs) > 0:
			return nil, fault.Wrap(err, fault.Invalid, "%s: %s", name, fault.Message(err))
		default:
			fmt.Fprintf(a.errs, "tsh: %s is left out: %s\n", name, fault.Message(err))
		}
	}
	if len(missing) > 0 {
		return nil, fault.New(fault.NotFound, "there is no database %q, or you may not see it", missing[0]).WithHint("tsh db ls lists what you can reach")
	}
	if len(list) == 0 {
		return nil, fault.New(fault.NotFound, "there is no database that you may reach and that matches").WithHint("tsh db ls lists what you can reach")
	}
	return list, nil
}

func (a *app) confirmExec(ctx context.Context, jobs []*job) error {
	for _, j := range jobs {
		db := &profile.Database{User: j.route.User, Database: j.route.Name}
		fmt.Fprintf(a.errs, "  %s, as %s\n", j.db.Metadata.Name, whom(db))
	}
	ask := ceremony.New(a.in, a.errs)
	if !ask.Interactive() {
		return fault.New(fault.Invalid, "nobody can be asked, as the standard input is no terminal").WithHint("--no-confirm runs the query without asking")
	}
	yes, err := ask.Confirm(ctx, "Run the query on "+counted(len(jobs))+"?")
	if err == nil && !yes {
		err = fault.New(fault.Canceled, "nothing was run")
	}
	return err
}

// job is a query on one database, and how it ended there.
type job struct {
	db    *types.Database
	route types.DatabaseRoute
	took  time.Duration
	err   error
}

// execution runs one query on several databases.
type execution struct {
	a     *app
	c     *client.Client
	s     *session
	query string
	jobs  []*job
	dir   *os.Root // nil: output goes to this program's own
	lines *many    // whose lock keeps lines whole

	mu   sync.Mutex
	done int
}

func (x *execution) run(ctx context.Context, parallel int) {
	next := make(chan *job)
	var wg sync.WaitGroup
	for range min(parallel, len(x.jobs)) {
		wg.Go(func() {
			for j := range next {
				began := time.Now()
				j.err = x.one(ctx, j)
				j.took = time.Since(began)
				x.progress(ctx, j)
			}
		})
	}
	for _, j := range x.jobs {
		next <- j // once ctx has ended, each fails at once
	}
	close(next)
	wg.Wait()
}

// progress tells of each database whose output is not to be seen.
func (x *execution) progress(ctx context.Context, j *job) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.done++
	if x.dir == nil || ctx.Err() != nil {
		return
	}
	how := "done"
	if j.err != nil {
		how = "failed"
	}
	fmt.Fprintf(x.a.errs, "[%d/%d] %s: %s in %s\n", x.done, len(x.jobs), j.db.Metadata.Name, how, j.took.Round(time.Millisecond))
}

// one runs the query on one database, through a tunnel of its own.
func (x *execution) one(ctx context.Context, j *job) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	out, errs, done, err := x.streams(j.db.Metadata.Name)
	if err != nil {
		return err
	}
	ln, err := localproxy.Listen(ctx, "0")
	if err != nil {
		return errors.Join(err, done())
	}
	defer ln.Close()
	l := x.a.tunnel(x.c, x.s, j.db, j.route, ln)
	argv, err := l.target.Batch(x.query, installed)
	if err != nil {
		return errors.Join(err, done())
	}
	words := &said{}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, io.MultiWriter(errs, words)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // the statement too
	cmd.WaitDelay = 5 * time.Second
	err = l.during(context.WithoutCancel(ctx), cmd.Run)
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		err = fault.New(fault.NotFound, "the program %s is not installed on this machine", argv[0])
	case errors.As(err, &exit):
		err = fault.Wrap(err, fault.Invalid, "%s", words.why(exit.Error()))
	}
	return errors.Join(err, done())
}

// streams are where the output for a database goes, and what ends them.
func (x *execution) streams(name string) (out, errs io.Writer, done func() error, err error) {
	if x.dir != nil {
		file := name + ".output"
		f, err := x.dir.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, nil, fault.Unwritable(err, file)
		}
		return f, f, f.Close, nil
	}
	o, e := &lineWriter{m: x.lines, to: x.a.out, prefix: name + ": "}, &lineWriter{m: x.lines, to: x.a.errs, prefix: name + ": "}
	return o, e, func() error { return errors.Join(o.flush(), e.flush()) }, nil
}

// execSummary is summary.json.
type execSummary struct {
	Query     string         `json:"query"`
	Total     int            `json:"total"`
	Succeeded int            `json:"succeeded"`
	Failed    int            `json:"failed"`
	Databases []execDatabase `json:"databases"`
}

type execDatabase struct {
	Name     string  `json:"name"`
	Protocol string  `json:"protocol"`
	User     string  `json:"db_user"`
	Database string  `json:"db_name,omitempty"`
	Success  bool    `json:"success"`
	Error    string  `json:"error,omitempty"`
	Output   string  `json:"output"`
	Seconds  float64 `json:"seconds"`
}

// sumUp tells how it ended where, and makes the exit code.
func (x *execution) sumUp() error {
	sum := execSummary{Query: x.query, Total: len(x.jobs)}
	for _, j := range x.jobs {
		name := j.db.Metadata.Name
		d := execDatabase{Name: name, Protocol: j.db.Spec.Protocol, User: j.route.User, Database: j.route.Name, Success: j.err == nil,
			Output: name + ".output", Seconds: j.took.Round(time.Millisecond).Seconds()}
		if j.err == nil {
			sum.Succeeded++
		} else {
			d.Error = fault.Message(j.err)
			sum.Failed++
		}
		sum.Databases = append(sum.Databases, d)
	}
	if x.dir != nil {
		data, err := json.MarshalIndent(sum, "", "  ")
		if err == nil {
			err = fault.Unwritable(x.dir.WriteFile("summary.json", append(data, '\n'), 0o600), "summary.json")
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(x.a.errs, "%s: %d succeeded, %d failed\n", counted(sum.Total), sum.Succeeded, sum.Failed)
	for _, d := range sum.Databases {
		if !d.Success {
			fmt.Fprintf(x.a.errs, "  %s: %s\n", d.Name, clean(d.Error))
		}
	}
	if sum.Failed > 0 {
		return exitCode(1)
	}
	return nil
}

// said keeps the beginning of what a program said of a failure.
type said struct{ text bytes.Buffer }

// mostSaid bounds it, in bytes.
const mostSaid = 2 << 10

// Write implements io.Writer.
func (s *said) Write(p []byte) (int, error) {
	s.text.Write(p[:min(len(p), mostSaid-s.text.Len())])
	return len(p), nil
}

// why is the line that says so, else the first, else other.
func (s *said) why(other string) string {
	first := ""
	for line := range strings.Lines(s.text.String()) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "ERROR") || strings.Contains(line, "error:") {
			return line
		}
		first = cmp.Or(first, line)
	}
	return cmp.Or(first, other)
}

// counted is a number of databases in words.
func counted(n int) string {
	if n == 1 {
		return "1 database"
	}
	return fmt.Sprintf("%d databases", n)
}

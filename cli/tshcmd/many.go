package tshcmd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"teleport/client"
	"teleport/fault"
	"teleport/sshclient"
	"teleport/types"
)

// Bounds of a command on many servers.
const (
	defaultParallel = 10
	maxParallel     = 100
	maxLine         = 64 << 10 // bytes that are kept back for the rest of a line
)

// isSelector tells labels from the name of one server.
func isSelector(host string) bool { return strings.Contains(host, "=") }

// selected lists the servers that labels mean, in order of their names.
func (a *app) selected(ctx context.Context, c *client.Client, host string) ([]*types.Node, error) {
	labels, err := parseLabels([]string{host})
	if err != nil {
		return nil, err
	}
	nodes, err := c.Nodes(ctx, client.Filter{Labels: labels})
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, fault.New(fault.NotFound, "no server that you may reach has the labels %s", clean(host)).WithHint("list servers with their labels: tsh ls")
	}
	slices.SortFunc(nodes, func(x, y *types.Node) int {
		return cmp.Or(cmp.Compare(x.Spec.Hostname, y.Spec.Hostname), cmp.Compare(x.Name(), y.Name()))
	})
	return nodes, nil
}

// many runs one command on several servers.
type many struct {
	a       *app
	c       *client.Client
	o       *sshOptions
	login   string
	command string
	logs    *os.Root // nil: output goes to this program's own

	mu sync.Mutex // of the lines that are written
}

// outcome is how it ended on one server.
type outcome struct {
	host string
	code int
	err  error // why it did not run, or not to its end
}

// sshMany runs a command on all servers, several at once, and sums up. The exit
// code is the highest of the command's; 255 where it could not be run.
func (a *app) sshMany(ctx context.Context, c *client.Client, nodes []*types.Node, o *sshOptions, login, command string) error {
	switch {
	case o.parallel < 1 || o.parallel > maxParallel:
		return fault.New(fault.Invalid, "--parallel takes a number from 1 to %d", maxParallel)
	case len(o.local)+len(o.remote)+len(o.dynamic) > 0 || o.forceTTY || o.forwardAgent && !o.noAgent || o.background:
		return fault.New(fault.Invalid, "these labels mean %d servers, and -L, -R, -D, -A, -f and -t are for one", len(nodes))
	}
	a.pauses.serve(true, func(error) {}) // of many connections none is worth a word
	m := &many{a: a, c: c, o: o, login: login, command: command}
	if o.logDir != "" {
		if err := os.MkdirAll(o.logDir, 0o700); err != nil {
			return fault.Unwritable(err, o.logDir)
		}
		root, err := os.OpenRoot(o.logDir)
		if err != nil {
			return fault.Unwritable(err, o.logDir)
		}
		defer root.Close()
		m.logs = root
	}
	all := m.runAll(ctx, nodes)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return m.sumUp(all)
}

func (m *many) runAll(ctx context.Context, nodes []*types.Node) []outcome {
	names := shownHosts(nodes)
	all := make([]outcome, len(nodes))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(m.o.parallel, len(nodes)) {
		wg.Go(func() {
			for i := range next {
				all[i] = m.run(ctx, nodes[i], names[i])
			}
		})
	}
	for i := range nodes {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	wg.Wait()
	return all
}

// shownHosts names servers for people and files: by host name, and by UUID too
// where two have the same.
func shownHosts(nodes []*types.Node) []string {
	count := map[string]int{}
	for _, n := range nodes {
		count[n.Spec.Hostname]++
	}
	names := make([]string, len(nodes))
	for i, n := range nodes {
		name := n.Spec.Hostname
		if name == "" || count[name] > 1 {
			name = strings.Trim(name+"-"+n.Name(), "-")
		}
		names[i] = strings.Map(func(r rune) rune {
			if r == '.' || r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
				return r
			}
			return '_'
		}, name)
	}
	return names
}

func (m *many) run(ctx context.Context, n *types.Node, name string) outcome {
	out, errs, done, err := m.streams(name)
	if err != nil {
		return outcome{name, exitSSH, err}
	}
	err = m.runOne(ctx, n, out, errs)
	err = errors.Join(err, done())
	var exit *sshclient.ExitError
	switch {
	case err == nil:
		return outcome{host: name}
	case errors.As(err, &exit):
		return outcome{name, exit.Code, err}
	}
	return outcome{name, exitSSH, err}
}

func (m *many) runOne(ctx context.Context, n *types.Node, out, errs io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := m.a.dialSSH(ctx, m.c, client.Target{Host: n.Name(), Login: m.login}, m.o.connect)
	if err != nil {
		return err
	}
	stop := keepAlive(conn, m.o.aliveEvery, m.o.aliveCount, func() bool { return false }, cancel)
	err = conn.Run(ctx, sshclient.Command{Line: m.command, Env: m.o.env(m.a.environ), Stdout: out, Stderr: errs})
	conn.Close()
	stop()
	return err
}

// streams are where a server's output goes, and what ends them.
func (m *many) streams(name string) (out, errs io.Writer, done func() error, err error) {
	if m.logs == nil {
		o, e := &lineWriter{m: m, to: m.a.out, prefix: name + ": "}, &lineWriter{m: m, to: m.a.errs, prefix: name + ": "}
		return o, e, func() error { return errors.Join(o.flush(), e.flush()) }, nil
	}
	o, err := m.logs.OpenFile(name+".stdout", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, nil, fault.Unwritable(err, name+".stdout")
	}
	e, err := m.logs.OpenFile(name+".stderr", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		o.Close()
		return nil, nil, nil, fault.Unwritable(err, name+".stderr")
	}
	return o, e, func() error { return errors.Join(o.Close(), e.Close()) }, nil
}

// lineWriter writes whole lines with a server's name before each, so that those
// of two servers never mix.
type lineWriter struct {
	m      *many
	to     io.Writer
	prefix string
	held   []byte // the beginning of a line
}

// Write implements io.Writer. One goroutine writes.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.held = append(w.held, p...)
	var ready bytes.Buffer
	for {
		i := bytes.IndexByte(w.held, '\n')
		if i < 0 && len(w.held) < maxLine {
			break
		}
		if i < 0 {
			i = len(w.held) - 1 // a line without end is cut
		}
		ready.WriteString(w.prefix)
		ready.Write(bytes.TrimSuffix(w.held[:i+1], []byte("\n")))
		ready.WriteByte('\n')
		w.held = w.held[i+1:]
	}
	return len(p), w.put(ready.Bytes())
}

// flush writes what has no line end.
func (w *lineWriter) flush() error {
	if len(w.held) == 0 {
		return nil
	}
	_, err := w.Write([]byte("\n"))
	return err
}

func (w *lineWriter) put(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	_, err := w.to.Write(b)
	return err
}

// sumUp tells on stderr how it ended where, and makes the exit code.
func (m *many) sumUp(all []outcome) error {
	worst, failed := 0, 0
	for _, o := range all {
		if o.code != 0 {
			failed++
		}
		worst = max(worst, o.code)
	}
	fmt.Fprintf(m.a.errs, "%d servers: %d succeeded, %d failed\n", len(all), len(all)-failed, failed)
	for _, o := range all {
		if o.code == 0 {
			continue
		}
		text := fault.Message(o.err)
		var exit *sshclient.ExitError
		if errors.As(o.err, &exit) {
			text = exit.Error()
		}
		fmt.Fprintf(m.a.errs, "  %s: %s\n", o.host, clean(text))
	}
	if worst == 0 {
		return nil
	}
	return exitCode(min(worst, exitSSH))
}

// Package nodelabels keeps a node's labels: the fixed ones, and those whose
// value is what a command printed, run again at its period.
package nodelabels

import (
	"context"
	"io"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"teleport/fault"
	"teleport/types"
)

const (
	// ShortestPeriod is the least that a command label may ask for.
	ShortestPeriod = time.Minute
	runWithin      = 10 * time.Second
	valueMost      = 1024
)

// Runner runs command labels. Safe for concurrent use.
type Runner struct {
	mu     sync.Mutex
	labels map[string]types.CommandLabel
	change func()
}

// New checks the labels. change, when set, is called after a value has changed.
// It starts nothing.
func New(labels map[string]types.CommandLabel, change func()) (*Runner, error) {
	r := &Runner{labels: make(map[string]types.CommandLabel, len(labels)), change: change}
	for name, l := range labels {
		if len(l.Command) == 0 || l.Command[0] == "" {
			return nil, fault.New(fault.Invalid, "the command label %q has no command", name)
		}
		if l.Period.Std() < ShortestPeriod {
			return nil, fault.New(fault.Invalid, "the period of the command label %q is %s, the least is %s", name, l.Period.Std(), ShortestPeriod)
		}
		l.Result = ""
		r.labels[name] = l
	}
	return r, nil
}

// Labels returns the labels with the values of now.
func (r *Runner) Labels() map[string]types.CommandLabel {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]types.CommandLabel, len(r.labels))
	for k, v := range r.labels {
		out[k] = v
	}
	return out
}

// RunOnce runs every command once, so that a node does not register without
// its values.
func (r *Runner) RunOnce(ctx context.Context) {
	var wg sync.WaitGroup
	for name, l := range r.Labels() {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r.set(name, run(ctx, l.Command))
		}()
	}
	wg.Wait()
}

// Serve runs each command at its period until ctx ends.
func (r *Runner) Serve(ctx context.Context) error {
	var wg sync.WaitGroup
	for name, l := range r.Labels() {
		wg.Add(1)
		go func() {
			defer wg.Done()
			t := time.NewTicker(l.Period.Std())
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-t.C:
					r.set(name, run(ctx, l.Command))
				}
			}
		}()
	}
	wg.Wait()
	return nil
}

func (r *Runner) set(name, value string) {
	r.mu.Lock()
	l := r.labels[name]
	changed := l.Result != value
	l.Result = value
	r.labels[name] = l
	r.mu.Unlock()
	if changed && r.change != nil {
		r.change()
	}
}

// run returns the first line that a command prints, or why it failed: a value
// that says so is found sooner than a label that is not there.
func run(ctx context.Context, argv []string) string {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.WaitDelay = time.Second
	var out limited
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return clean("error: " + err.Error())
	}
	line, _, _ := strings.Cut(string(out.b), "\n")
	return clean(line)
}

// limited keeps the first bytes and takes the rest silently.
type limited struct{ b []byte }

var _ io.Writer = (*limited)(nil)

func (l *limited) Write(p []byte) (int, error) {
	if room := valueMost - len(l.b); room > 0 {
		l.b = append(l.b, p[:min(len(p), room)]...)
	}
	return len(p), nil
}

func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s[:min(len(s), valueMost)])
}

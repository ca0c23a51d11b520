package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commandLimit bounds each command of a test, so that a hang ends as a failure.
const commandLimit = 3 * time.Minute

// Command is one run of a program.
type Command struct {
	Path  string
	Args  []string
	Env   []string // all of its environment
	Dir   string
	Stdin string
	Limit time.Duration // 0: commandLimit
}

// Result is how a program ended.
type Result struct {
	Stdout, Stderr string
	Code           int // -1: it did not start or was killed
	cmd            string
	err            error
}

// Run runs a program to its end.
func Run(c Command) Result {
	if c.Limit == 0 {
		c.Limit = commandLimit
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Limit)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Path, c.Args...)
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Env, c.Dir, strings.NewReader(c.Stdin), &out, &errs
	// The whole group ends at the limit: a grandchild would hold the streams open.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	r := Result{Stdout: out.String(), Stderr: errs.String(), Code: cmd.ProcessState.ExitCode(), cmd: cmd.String()}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		r.err = fmt.Errorf("killed after %s", c.Limit)
	case err != nil && !errors.As(err, &exit):
		r.err = err
	}
	return r
}

// OK fails the test unless the program ended with 0, and returns what it printed.
func (r Result) OK(t testing.TB) string {
	t.Helper()
	r.Exit(t, 0)
	return r.Stdout
}

// Exit fails the test unless the program ended with the code.
func (r Result) Exit(t testing.TB, code int) Result {
	t.Helper()
	if r.Code != code || r.err != nil {
		t.Fatalf("%s\nended with %d (%v), not %d\nstdout: %s\nstderr: %s", r.cmd, r.Code, r.err, code, clip(r.Stdout), clip(r.Stderr))
	}
	return r
}

// String is the whole of it, for messages.
func (r Result) String() string {
	return fmt.Sprintf("%s: code %d (%v)\nstdout: %s\nstderr: %s", r.cmd, r.Code, r.err, clip(r.Stdout), clip(r.Stderr))
}

func clip(s string) string {
	if len(s) > 4000 {
		return s[:2000] + "\n…\n" + s[len(s)-2000:]
	}
	return s
}

// baseEnv is the environment of what tests run: nothing of this program's own
// but the path.
func baseEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "LANG=C.UTF-8", "TERM=xterm"}
}

// Need finds a program that a test talks to, or fails with the package that has it.
func Need(t testing.TB, program, pkg string) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("this test needs %s: install the package %s (test/peers does)", program, pkg)
	return ""
}

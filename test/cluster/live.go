package cluster

import (
	"bytes"
	"context"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Live is a command that runs beside the test.
type Live struct {
	*exec.Cmd
	In   io.WriteCloser
	Out  *Output
	Errs *Output
	done chan struct{}
}

// StartTsh starts tsh and returns at once. The test's end kills it.
func (p *Person) StartTsh(t testing.TB, args ...string) *Live {
	t.Helper()
	return p.Go(t, filepath.Join(p.c.bin, "tsh"), args...)
}

// Go starts any command in this person's environment. The test's end kills it.
func (p *Person) Go(t testing.TB, path string, args ...string) *Live {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &Live{Cmd: exec.CommandContext(ctx, path, args...), Out: &Output{}, Errs: &Output{}, done: make(chan struct{})}
	l.Cmd.Env, l.Cmd.Dir, l.Cmd.Stdout, l.Cmd.Stderr = p.Env(), p.Home, l.Out, l.Errs
	l.Cmd.WaitDelay = 5 * time.Second
	var err error
	if l.In, err = l.Cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := l.Cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(l.done)
		_ = l.Cmd.Wait() // Wait below tells the code
	}()
	t.Cleanup(func() { cancel(); <-l.done })
	return l
}

// Wait returns the exit code, and fails the test if the end does not come.
func (l *Live) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-l.done:
		return l.Cmd.ProcessState.ExitCode()
	case <-time.After(commandLimit):
		t.Fatalf("%s did not end\nstdout: %s\nstderr: %s", l.Cmd, clip(l.Out.String()), clip(l.Errs.String()))
		return -1
	}
}

// Ended reports whether the command has ended.
func (l *Live) Ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// WaitFor returns when the command has printed the text.
func (l *Live) WaitFor(t testing.TB, text string) {
	t.Helper()
	if !Poll(commandLimit, func() bool { return strings.Contains(l.Out.String(), text) || l.Ended() }) ||
		!strings.Contains(l.Out.String(), text) {
		t.Fatalf("%s did not print %q\nstdout: %s\nstderr: %s", l.Cmd, text, clip(l.Out.String()), clip(l.Errs.String()))
	}
}

// Output collects what a running command prints.
type Output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String is what was printed so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

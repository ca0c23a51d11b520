// Package tshcmd is the command line of tsh, the client for people: log in, list
// servers, open shells, copy files, and set OpenSSH up to do the same. One file
// holds one noun. The help texts in it are the reference documentation.
package tshcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"teleport/cli/output"
	"teleport/fault"
)

// exitSSH is how ssh, scp and proxy ssh end when the failure is ours and not the
// remote command's. The other codes are those of package output.
const exitSSH = 255

// app is one run of tsh: its streams, environment and global flags.
type app struct {
	in      io.Reader
	out     io.Writer
	errs    io.Writer
	getenv  func(string) string
	environ []string
	args    []string
	global  globalFlags
	pauses  *pauses
}

// exitCode ends a command with a code and without a message: a remote command
// failed, or the message was already shown.
type exitCode int

func (e exitCode) Error() string { return "exit" }

// Run executes one command line and returns its exit code. Args are without the
// program's name, env is in the form of os.Environ. Canceling ctx interrupts it.
// Nothing outside of the arguments is touched except files, the network, and,
// where in and out are a terminal, its mode, which is restored.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	a := &app{in: stdin, out: serial(stdout), errs: serial(stderr), getenv: lookup(env), environ: env, args: args}
	a.pauses = &pauses{notes: a.errs}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return a.finish(ctx, cmd, err)
}

// finish shows an error and chooses the exit code.
func (a *app) finish(ctx context.Context, cmd *cobra.Command, err error) int {
	var code exitCode
	switch {
	case err == nil:
		return output.ExitOK
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil, fault.KindOf(err) == fault.Canceled:
		return output.ExitInterrupted // by the person, who knows
	}
	if a.global.debug {
		fmt.Fprintln(a.errs, "cause: "+clean(err.Error()))
	}
	output.Error(a.errs, err)
	if cmd != nil && cmd.Annotations[likeSSH] != "" {
		return exitSSH
	}
	return output.ExitCode(err)
}

// likeSSH marks commands whose own failures end with 255, as OpenSSH's do.
const likeSSH = "exit-like-ssh"

// clean keeps text that came from elsewhere from moving the cursor.
func clean(s string) string { return output.Clean(strings.TrimSpace(s)) }

// serial lets goroutines share a writer that is no file: the notes of a
// forwarding and the errors of a remote command go to the same stream.
func serial(w io.Writer) io.Writer {
	if _, ok := w.(*os.File); ok {
		return w
	}
	return &serialWriter{w: w}
}

type serialWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (s *serialWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func lookup(env []string) func(string) string {
	m := make(map[string]string, len(env))
	for _, e := range env {
		k, v, _ := strings.Cut(e, "=")
		m[k] = v
	}
	return func(k string) string { return m[k] }
}

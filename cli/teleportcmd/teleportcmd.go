// Package teleportcmd is the teleport command: it starts services, writes and
// checks configurations, and prints what an operator asks of a host.
package teleportcmd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"teleport/cli/output"
	"teleport/fault"
	"teleport/types"
)

// Streams are the standard streams of the command.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Run runs the command and returns its exit code.
func Run(ctx context.Context, args []string, s Streams) int {
	root := &cobra.Command{
		Use:   "teleport",
		Short: "Run the services of a cluster",
		Long: "teleport runs any mix of the services of a cluster in one process: the auth service\n" +
			"(certificate authority and state), the proxy service (the public door), and those\n" +
			"that give access to this host (SSH) and to what it reaches (databases, apps).\n\n" +
			"Without a configuration, teleport start runs auth, proxy and SSH on this machine.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 wrong use, configuration or file, 3 not joined or\n" +
			"expired, 4 not allowed or not trusted, 5 no such thing, 6 something needed does not\n" +
			"answer or has no room, 130 interrupted. After 2, 3 and 4 a person must act: starting\n" +
			"again does not help.",
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.AddCommand(startCommand(s), configureCommand(s), joinCommand(s), nodeCommand(s), dbCommand(s), appCommand(s), statusCommand(s), installCommand(s), debugCommand(s), versionCommand(s))
	output.Strict(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return output.ExitOK
	}
	if code := exitCode(0); errors.As(err, &code) {
		return int(code) // of a supervised process, which has said why itself
	}
	return report(s.Err, err)
}

// exitCode is the end of a process that ran under this one.
type exitCode int

// Error implements error.
func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// report says what is wrong and chooses the exit code.
func report(w io.Writer, err error) int {
	if fault.KindOf(err) == fault.Internal {
		err = errors.New(err.Error()) // at this terminal sits the operator: the cause is for them
	}
	output.Error(w, err)
	return output.ExitCode(err)
}

func versionCommand(s Streams) *cobra.Command {
	var raw bool
	c := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		if raw {
			fmt.Fprintln(s.Out, types.Release)
			return nil
		}
		fmt.Fprintf(s.Out, "Teleport v%s\n", types.Release)
		return nil
	}}
	c.Flags().BoolVar(&raw, "raw", false, "print the number only")
	return c
}

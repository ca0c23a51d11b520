package tshcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/terminal"
	"teleport/fault"
	"teleport/sshclient"
	"teleport/types"
)

const joinLong = `Join a live session that somebody has on a server. "tsh sessions ls" lists those
that you may join, with their ids; the first characters of an id suffice.

As an observer you see what its owner sees. As a peer you also type; as a
moderator you see, "p" pauses the session and lets it go on, and "t" ends it.
Everybody in it is told that you came, and as what. Observers and moderators
leave with Ctrl-C, peers with "~." at the start of a line.

The terminal has the size of its owner's: make yours at least as large.`

const joinExample = `  tsh sessions ls
  tsh join 4f1d2c3b
  tsh join --mode=moderator 4f1d2c3b-0000-4000-8000-000000000000`

func (a *app) joinCmd() *cobra.Command {
	var mode string
	cmd := &cobra.Command{
		Use: "join [flags] SESSION", Short: "Join a live session", Long: joinLong, Example: joinExample,
		Annotations: map[string]string{likeSSH: "yes"}, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.join(cmd.Context(), args[0], mode) },
	}
	modes := []string{"observer", "moderator", "peer"}
	cmd.Flags().StringVarP(&mode, "mode", "m", "observer", "`mode` to join in: "+strings.Join(modes, ", "))
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions(modes, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) join(ctx context.Context, id, mode string) error {
	if !slices.Contains([]string{"observer", "moderator", "peer"}, mode) {
		return fault.New(fault.Invalid, "nobody joins as %q", mode).WithHint("join as observer, moderator or peer")
	}
	c, _, err := a.connect()
	if err != nil {
		return err
	}
	t, err := findSession(ctx, c, id)
	if err != nil {
		return err
	}
	if t.Spec.SubKind == types.SubKindOpenSSH { // the server knows nothing of parties
		return fault.New(fault.Unimplemented, "sessions on a server without an agent cannot be joined")
	}
	conn, err := a.dialSSH(ctx, c, client.Target{Host: t.Spec.HostID, Login: types.JoinLogin}, 0)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = a.attend(ctx, cancel, conn, t, mode)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause
	}
	if errors.Is(err, terminal.ErrDisconnected) {
		fmt.Fprintln(a.errs, "You left the session.")
		return nil
	}
	return exitOf(err)
}

// findSession finds the one live session whose id begins so.
func findSession(ctx context.Context, c *client.Client, id string) (*types.SessionTracker, error) {
	list, err := c.Sessions(ctx, client.Filter{})
	if err != nil {
		return nil, err
	}
	var found []*types.SessionTracker
	for _, t := range list {
		if t.Name() == id {
			return t, nil
		}
		if id != "" && strings.HasPrefix(t.Name(), id) {
			found = append(found, t)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fault.New(fault.Conflict, "the ids of %d live sessions begin with %q", len(found), id).WithHint("give more of the id; tsh sessions ls shows them")
	}
	return nil, fault.New(fault.NotFound, "there is no live session %q that you may join", id).WithHint("tsh sessions ls shows those that there are")
}

// attend sits in the session with this terminal, where there is one.
func (a *app) attend(ctx context.Context, cancel context.CancelCauseFunc, conn *sshclient.Client, t *types.SessionTracker, mode string) error {
	input := terminal.NewInput(a.in)
	defer input.Stop()
	j := sshclient.Join{Session: t.Name(), Mode: mode, Stdin: input, Stdout: a.out, Stderr: a.errs}
	if terminal.Is(a.in) {
		term, err := terminal.Open(a.in, a.out, a.errs, a.getenv("TERM"))
		if err != nil {
			return err
		}
		defer term.Close()
		j.Stdin = term.Escapes(input, '~', cancel)
		own := term.Request()
		f := &fitting{out: a.out, notes: a.errs, keys: joinKeys[mode], own: sshclient.Size{Columns: own.Columns, Rows: own.Rows}}
		j.Stdout, j.Resized = f, f.resized
	}
	return conn.Join(ctx, j)
}

// joinKeys say in a line which keys mean something in which mode.
var joinKeys = map[string]string{
	"observer":  "you watch; Ctrl-C leaves",
	"moderator": "you moderate; p pauses and goes on, t ends the session for everybody, Ctrl-C leaves",
	"peer":      "you type too; ~. at the start of a line leaves",
}

// fitting tells whoever joins, once and below the first screen, which keys mean
// something, and that the owner's terminal is larger than this one.
type fitting struct {
	out, notes io.Writer
	keys       string
	own        sshclient.Size

	mu    sync.Mutex
	shown bool
	size  sshclient.Size // of the owner's terminal
	told  bool
}

// Write implements io.Writer.
func (f *fitting) Write(p []byte) (int, error) {
	n, err := f.out.Write(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.shown && f.keys != "" {
		fmt.Fprintf(f.notes, "\r\n[%s]\r\n", f.keys)
	}
	f.shown = true
	f.tell()
	return n, err
}

func (f *fitting) resized(s sshclient.Size) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size = s
	f.tell()
}

func (f *fitting) tell() {
	if f.told || !f.shown || f.own.Columns >= f.size.Columns && f.own.Rows >= f.size.Rows {
		return
	}
	f.told = true
	fmt.Fprintf(f.notes, "\r\n[the terminal of this session is %dx%d, yours only %dx%d: make it larger and join again]\r\n",
		f.size.Columns, f.size.Rows, f.own.Columns, f.own.Rows)
}

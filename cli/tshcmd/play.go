package tshcmd

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"teleport/cli/output"
	"teleport/client/playback"
	"teleport/client/terminal"
	"teleport/fault"
	"teleport/sshclient"
)

const playLong = `Play a recorded session, by its id or from a file of "tsh recordings export".

At a terminal the session is shown as it was, in its own time:

` + playback.KeyHelp + `

What was recorded is painted, not sent: nothing in it reaches your terminal. A
window that is smaller than the recorded one shows a part, and says so.

Of a session with a database or an app it tells what was asked and how that ended:
each statement or request, then "→" with the rows or the status, or "✗" with the
error. "." goes to the next of them. Long ones are shown in part; --format=text has
them whole.

Where the output is no terminal, or with --format=text, the lines that were
shown or told are printed; --format=json and yaml print the records.`

const playExample = `  tsh play 6a7c2c8e-4d6f-4c4e-9b52-7d1c0a1f5a11
  tsh play --speed=4x --skip-idle-time 6a7c2c8e-4d6f-4c4e-9b52-7d1c0a1f5a11
  tsh play --from=12m30s --paused 6a7c2c8e-4d6f-4c4e-9b52-7d1c0a1f5a11
  tsh play session.cast`

const ptyFormat = "pty"

type playFlags struct {
	format string
	speed  string
	skip   bool
	paused bool
	from   time.Duration
	timed  bool // one of the flags that only mean something in time was given
}

func (a *app) playCmd() *cobra.Command {
	var f playFlags
	cmd := &cobra.Command{Use: "play SESSION|FILE", Short: "Play a recorded session", Long: playLong, Example: playExample,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeRecordings,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{"speed", "skip-idle-time", "from", "paused"} {
				f.timed = f.timed || cmd.Flags().Changed(name)
			}
			return a.play(cmd.Context(), f, args[0])
		}}
	formats := []string{ptyFormat, textFormat, jsonFormat, yamlFormat}
	cmd.Flags().StringVarP(&f.format, "format", "f", "", "output: "+strings.Join(formats, ", ")+"; default is pty at a terminal, else text")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	speeds := []string{"0.5x", "1x", "2x", "4x", "8x"}
	cmd.Flags().StringVar(&f.speed, "speed", "1x", "how fast, from 0.5x to 8x")
	_ = cmd.RegisterFlagCompletionFunc("speed", cobra.FixedCompletions(speeds, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().BoolVar(&f.skip, "skip-idle-time", false, "shorten the times in which nothing was shown to a second")
	cmd.Flags().BoolVar(&f.paused, "paused", false, "begin with a still picture")
	cmd.Flags().DurationVar(&f.from, "from", 0, "begin there: 90s, 12m30s")
	return cmd
}

func (a *app) play(ctx context.Context, f playFlags, name string) error {
	atTerminal := terminal.Is(a.out)
	if f.format == "" {
		f.format = textFormat
		if atTerminal {
			f.format = ptyFormat
		}
	}
	if err := checkFormat(f.format, ptyFormat, textFormat, jsonFormat, yamlFormat); err != nil {
		return err
	}
	speed, err := parseSpeed(f.speed)
	if err != nil {
		return err
	}
	if f.from < 0 {
		return fault.New(fault.Invalid, "--from must not be negative")
	}
	switch {
	case f.format == ptyFormat && !atTerminal:
		return fault.New(fault.Invalid, "--format=pty needs a terminal").WithHint("--format=text prints the lines that were shown")
	case f.format != ptyFormat && f.timed:
		return fault.New(fault.Invalid, "--from, --paused, --speed and --skip-idle-time are for playing at a terminal; %s is printed whole", f.format)
	}
	src, done, err := a.recording(name)
	if err != nil {
		return err
	}
	defer done()
	if f.format != ptyFormat {
		return playback.Export(ctx, src, f.format, output.Named{Writer: a.out, Name: "the output"}, nil)
	}
	return a.playAtTerminal(ctx, src, playback.Player{Start: f.from, Speed: speed, SkipIdle: f.skip, Paused: f.paused})
}

// playAtTerminal plays with the terminal raw, and gives it back as it was.
func (a *app) playAtTerminal(ctx context.Context, src playback.Source, p playback.Player) error {
	t, err := terminal.Open(a.in, a.out, a.errs, a.getenv("TERM"))
	if err != nil {
		return err
	}
	defer t.Close()
	size := t.Request()
	p.Source, p.Out, p.Sizes, p.Suspend = src, a.out, size.Sizes, t.Suspend
	p.Size = sshclient.Size{Columns: size.Columns, Rows: size.Rows}
	if terminal.Is(a.in) {
		input := terminal.NewInput(a.in)
		typed, over := make(chan playback.Key), make(chan struct{})
		var reader sync.WaitGroup
		reader.Go(func() { playback.ReadKeys(input, over, typed) })
		defer reader.Wait()
		defer input.Stop()
		defer close(over)
		p.Keys = typed
	}
	err = p.Play(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func parseSpeed(s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(strings.ToLower(s), "x"), 64)
	if err != nil || !(v >= playback.MinSpeed && v <= playback.MaxSpeed) {
		return 0, fault.New(fault.Invalid, "--speed=%s is not a speed from 0.5x to 8x", s)
	}
	return v, nil
}

package tshcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/api/authclient"
	"teleport/api/gen/recordingv1"
	"teleport/cli/output"
	"teleport/client/playback"
	"teleport/client/terminal"
	"teleport/fault"
)

func (a *app) recordingsCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "recordings", Short: "List and export recorded sessions", Aliases: []string{"recording"}}
	cmd.AddCommand(a.recordingsLsCmd(), a.recordingsExportCmd())
	return cmd
}

const recordingsLsLong = `List the recorded sessions that you may read, the newest first.

Without --from-utc, --to-utc and --last it is those of the last 24 hours.
"State" tells whether a recording is stored, still arriving, abandoned (its
server died; it ends where that did) or broken.

--query takes an expression over name (the session's id) and what --format=json
shows: resource.user, login, hostname, resource (a database), participants, kind,
state, interactive.`

const recordingsLsExample = `  tsh recordings ls
  tsh recordings ls --last=168h --limit=500
  tsh recordings ls --query='resource.hostname == "web-1" && contains(resource.participants, "bob")'
  tsh recordings ls --from-utc=2026-01-31 --to-utc=2026-02-01 --format=json
  tsh play $(tsh recordings ls --format=names | head -1)`

func (a *app) recordingsLsCmd() *cobra.Command {
	var format string
	var span output.TimeRange
	var query string
	var limit int
	cmd := &cobra.Command{Use: "ls", Short: "List recorded sessions", Long: recordingsLsLong, Example: recordingsLsExample, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.recordingsLs(cmd.Context(), span, query, limit, format)
		}}
	a.formatFlag(cmd, &format, textFormat, jsonFormat, yamlFormat, namesFormat)
	span.Flags(cmd.Flags())
	cmd.Flags().StringVar(&query, "query", "", "show only what this expression is true of")
	cmd.Flags().IntVar(&limit, "limit", 50, "at most this many")
	return cmd
}

func (a *app) recordingsLs(ctx context.Context, span output.TimeRange, query string, limit int, format string) error {
	if err := checkFormat(format, textFormat, jsonFormat, yamlFormat, namesFormat); err != nil {
		return err
	}
	if limit < 1 {
		return fault.New(fault.Invalid, "--limit must be at least 1")
	}
	from, to, err := span.Parse(time.Now(), 24*time.Hour)
	if err != nil {
		return err
	}
	api, err := a.api()
	if err != nil {
		return err
	}
	defer api.Close()
	req := &recordingv1.ListRequest{FromUnixNano: output.UnixNano(from), ToUnixNano: output.UnixNano(to), Query: query}
	list, more, err := playback.List(ctx, api, req, limit)
	if err != nil {
		return err
	}
	return a.writeRecordings(list, more, format)
}

func (a *app) writeRecordings(list []playback.Entry, more bool, format string) error {
	switch format {
	case jsonFormat, yamlFormat:
		return a.writeDocs(format, list)
	case namesFormat:
		for _, r := range list {
			fmt.Fprintln(a.out, clean(r.SessionID))
		}
		return nil
	}
	if len(list) == 0 {
		fmt.Fprintln(a.errs, "There is no recording of this time that you may read and that matches.")
		return nil
	}
	rows := make([][]string, 0, len(list))
	for _, r := range list {
		people := r.Participants
		if len(people) == 0 {
			people = []string{r.User}
		}
		rows = append(rows, []string{r.SessionID, r.Kind, strings.Join(people, ", "), r.Where(), r.Start.Format(output.Minute), r.Long(), r.State})
	}
	if err := a.writeTable([]string{"Session ID", "Kind", "Participants", "Where", "Start (UTC)", "Length", "State"}, rows); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(a.errs, "There are more than %d; see them with --limit.\n", len(list))
	}
	return nil
}

// api opens the auth service's API with the log-in in use.
func (a *app) api() (*authclient.Client, error) {
	c, _, err := a.connect()
	if err != nil {
		return nil, err
	}
	return c.API()
}

// completeRecordings offers the sessions of the last days.
func (a *app) completeRecordings(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if err := a.fromEnv(cmd.Flags()); err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	api, err := a.api()
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
	defer cancel()
	list, _, err := playback.List(ctx, api, &recordingv1.ListRequest{FromUnixNano: time.Now().Add(-7 * 24 * time.Hour).UnixNano()}, 100)
	if err != nil {
		return nil, cobra.ShellCompDirectiveDefault
	}
	var found []string
	for _, r := range list {
		if strings.HasPrefix(r.SessionID, prefix) {
			found = append(found, clean(r.SessionID)+"\t"+clean(r.User+" as "+r.Where()+", "+r.Start.Format(time.DateTime)))
		}
	}
	return found, cobra.ShellCompDirectiveDefault // a file is played too
}

const recordingsExportLong = `Write a recorded session for other programs.

The formats:
  asciicast  version 2, for asciinema and players like it
  text       the lines that were on the screen, without escape sequences; of a
             session with a database, statements and how they ended
  json       the session in the first line, then one record a line

An asciicast may be played with tsh play too.`

const recordingsExportExample = `  tsh recordings export 6a7c2c8e-4d6f-4c4e-9b52-7d1c0a1f5a11 -o session.cast
  asciinema play session.cast
  tsh recordings export 6a7c2c8e-4d6f-4c4e-9b52-7d1c0a1f5a11 --format=text | grep -n error`

func (a *app) recordingsExportCmd() *cobra.Command {
	var format, out string
	cmd := &cobra.Command{Use: "export SESSION", Short: "Write a recorded session as asciicast, text or JSON", Long: recordingsExportLong, Example: recordingsExportExample,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeRecordings,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(format, playback.Asciicast, playback.Text, playback.JSON); err != nil {
				return err
			}
			src, done, err := a.recording(args[0])
			if err != nil {
				return err
			}
			defer done()
			return a.export(cmd.Context(), src, format, out)
		}}
	formats := []string{playback.Asciicast, playback.Text, playback.JSON}
	cmd.Flags().StringVarP(&format, "format", "f", playback.Asciicast, "output: "+strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().StringVarP(&out, "out", "o", "", "write to this file, which must not exist")
	return cmd
}

// recording finds what a person means: a file, or a session by its id.
func (a *app) recording(name string) (src playback.Source, done func(), err error) {
	switch info, err := os.Stat(name); {
	case err != nil:
	case info.Mode().IsRegular():
		return playback.File{Path: name}, func() {}, nil
	case strings.ContainsAny(name, "/\\"):
		return nil, nil, fault.New(fault.Invalid, "%q is no file", name)
	}
	if strings.ContainsAny(name, "/\\") || strings.HasSuffix(name, ".cast") {
		return nil, nil, fault.New(fault.NotFound, "there is no file %q", name)
	}
	api, err := a.api()
	if err != nil {
		return nil, nil, err
	}
	return playback.Remote{API: api, SessionID: name}, func() { api.Close() }, nil
}

func (a *app) export(ctx context.Context, src playback.Source, format, path string) error {
	if path == "" {
		return playback.Export(ctx, src, format, output.Named{Writer: a.out, Name: "the output"}, nil)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.Unwritable(err, path)
	}
	p := &progress{out: a.errs, on: terminal.Is(a.errs)}
	err = playback.Export(ctx, src, format, output.Named{Writer: f, Name: path}, p.show)
	p.clear()
	if err = errors.Join(err, fault.Unwritable(f.Close(), path)); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// progress tells a person at a terminal how far a long export is.
type progress struct {
	out   io.Writer
	on    bool
	last  time.Time
	shown bool
}

func (p *progress) show(done, of time.Duration) {
	now := time.Now()
	if p.last.IsZero() {
		p.last = now // nothing for what takes less than a moment
	}
	if !p.on || now.Sub(p.last) < 500*time.Millisecond {
		return
	}
	p.last, p.shown = now, true
	fmt.Fprintf(p.out, "\r%s of %s written\x1b[K", playback.Clock(done), playback.Clock(of))
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}

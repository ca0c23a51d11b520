package tctlcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/api/authclient"
	"teleport/api/gen/recordingv1"
	"teleport/cli/output"
	"teleport/client/playback"
	"teleport/fault"
)

func (a *app) recordingsCmd() *cobra.Command {
	c := &cobra.Command{Use: "recordings", Short: "List, search and download recorded sessions, and rotate their keys"}
	c.AddCommand(a.recordingsLs(), a.recordingsSearch(), a.recordingsDownload(), a.recordingKeys())
	return c
}

func (a *app) recordingsLs() *cobra.Command {
	var span output.TimeRange
	var user, host, query string
	var limit int
	var show func(any, func() error) error
	c := a.verb("ls", "List recorded sessions, the newest first", "  tctl recordings ls --last=168h --user=alice", cobra.NoArgs, func(ctx context.Context, api *authclient.Client, _ []string) error {
		from, to, err := span.Parse(time.Now(), 24*time.Hour)
		if err != nil {
			return err
		}
		if limit < 1 {
			return fault.New(fault.Invalid, "--limit must be at least 1")
		}
		req := &recordingv1.ListRequest{FromUnixNano: output.UnixNano(from), ToUnixNano: output.UnixNano(to), User: user, Host: host, Query: query}
		list, more, err := playback.List(ctx, api, req, limit)
		if err != nil {
			return err
		}
		return show(list, func() error {
			if len(list) == 0 {
				fmt.Fprintln(a.Err, "There is no recording of this time that you may read and that matches.")
				return nil
			}
			t := output.NewTable("Session ID", "Kind", "User", "Participants", "Where", "Start (UTC)", "Length", "Bytes", "State").Whole()
			for _, r := range list {
				t.Row(r.SessionID, r.Kind, r.User, strings.Join(r.Participants, ", "), r.Where(), r.Start.Format(output.Minute), r.Long(), fmt.Sprint(r.Size), r.State)
			}
			if err := t.Write(a.Out, a.width()); err != nil || !more {
				return err
			}
			fmt.Fprintf(a.Err, "There are more than %d; see them with --limit.\n", len(list))
			return nil
		})
	})
	span.Flags(c.Flags())
	c.Flags().StringVar(&user, "user", "", "sessions of this user")
	c.Flags().StringVar(&host, "host", "", "sessions on this host: UUID or name")
	c.Flags().StringVar(&query, "query", "", "only what this expression is true of, such as 'resource.state == \"abandoned\"'")
	c.Flags().IntVar(&limit, "limit", 100, "at most this many")
	show = a.formatFlag(c.Flags())
	return c
}

// hit is a place where a text was shown.
type hit struct {
	SessionID string  `json:"session_id"`
	User      string  `json:"user"`
	Hostname  string  `json:"hostname"`
	Start     string  `json:"start"`
	At        float64 `json:"at"`            // seconds since the session's start
	Row       int32   `json:"row,omitempty"` // of a screen; sessions with a database have none
	Column    int32   `json:"column,omitempty"`
	Line      string  `json:"line"`
	Play      string  `json:"play"`
}

const searchLong = `Find text that was shown on the screens of recorded sessions, and statements that
were sent to databases.

Words are found wherever they stood: placed by cursor moves, written in pieces,
wrapped over the right margin, erased again. Text inside of escape sequences,
such as window titles, was not shown and is not found. Without capital letters
in TEXT, capitals do not matter. Of sessions with a database, statements and how
they ended are found, as tsh play tells them; rows are not recorded.

A recording is searched once its index is made, soon after the session ended.
The search itself stands in the audit log.`

func (a *app) recordingsSearch() *cobra.Command {
	var span output.TimeRange
	var user string
	var limit int
	var show func(any, func() error) error
	c := a.verb("search TEXT", "Find text that was shown in recorded sessions", "  tctl recordings search 'rm -rf' --last=720h\n  tctl recordings search passwd --user=alice --format=json", cobra.ExactArgs(1), func(ctx context.Context, api *authclient.Client, args []string) error {
		from, to, err := span.Parse(time.Now(), 0)
		if err != nil {
			return err
		}
		if limit < 1 {
			return fault.New(fault.Invalid, "--limit must be at least 1")
		}
		hits := []hit{}
		req := &recordingv1.SearchRequest{Text: args[0], FromUnixNano: output.UnixNano(from), ToUnixNano: output.UnixNano(to), User: user, Limit: int32(min(limit, 10000))}
		err = api.SearchRecordings(ctx, req, func(m *recordingv1.SearchResponse) error {
			hits = append(hits, hitsOf(m)...)
			return nil
		})
		if err != nil {
			return err
		}
		inOrder(hits)
		return show(hits, func() error { return a.printHits(hits, args[0]) })
	})
	c.Long = searchLong
	span.Flags(c.Flags())
	c.Flags().StringVar(&user, "user", "", "sessions of this user")
	c.Flags().IntVar(&limit, "limit", 50, "at most this many sessions")
	show = a.formatFlag(c.Flags())
	return c
}

func hitsOf(m *recordingv1.SearchResponse) []hit {
	r := playback.EntryOf(m.Recording)
	list := make([]hit, 0, len(m.Hits))
	for _, h := range m.Hits {
		at := time.Duration(h.AtNano)
		if r.Kind == "db" {
			h.Row, h.Column = 0, 0
		}
		list = append(list, hit{SessionID: r.SessionID, User: r.User, Hostname: r.Hostname, Start: r.Start.Format(time.RFC3339), At: at.Seconds(),
			Row: h.Row, Column: h.Column, Line: h.Line, Play: fmt.Sprintf("tsh play --from=%s %s", at.Truncate(time.Millisecond), r.SessionID)})
	}
	return list
}

// inOrder brings the hits of each session into the order in which they were shown:
// they are found when a line is complete.
func inOrder(hits []hit) {
	place := map[string]int{}
	for _, h := range hits {
		if _, ok := place[h.SessionID]; !ok {
			place[h.SessionID] = len(place)
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(place[a.SessionID], place[b.SessionID]), cmp.Compare(a.At, b.At))
	})
}

// printHits shows a line for each place, of which a terminal sees as much as fits
// around the text, and below it how to see it.
func (a *app) printHits(hits []hit, text string) error {
	if len(hits) == 0 {
		fmt.Fprintln(a.Err, "It was not shown in any recording that you may read.")
		return nil
	}
	last, width := "", a.width()
	for _, h := range hits {
		if h.SessionID != last {
			if last != "" {
				fmt.Fprintln(a.Out)
			}
			last = h.SessionID
			fmt.Fprintf(a.Out, "%s\n%s on %s, %s\n", output.Clean(h.SessionID), output.Clean(h.User), output.Clean(h.Hostname), h.Start)
		}
		line := output.Clean(strings.TrimSpace(h.Line))
		at := playback.Clock(time.Duration(h.At * float64(time.Second)))
		if width > 0 {
			line = output.Around(line, output.Clean(text), width-len("  ")-len(at)-len("  "))
		}
		place := ""
		if h.Row > 0 {
			place = fmt.Sprintf("row %d, column %d: ", h.Row, h.Column)
		}
		fmt.Fprintf(a.Out, "  %s  %s\n    %s%s\n", at, line, place, output.Clean(h.Play))
	}
	return nil
}

func (a *app) recordingsDownload() *cobra.Command {
	var out string
	c := a.verb("download SESSION", "Write a recording as it is stored: encrypted, and provable", "  tctl recordings download 6a7c2c8e-4d6f-4c4e-9b52-7d1c0a1f5a11 -o session.rec", cobra.ExactArgs(1), func(ctx context.Context, api *authclient.Client, args []string) error {
		if out == "" {
			return writeRecording(ctx, api, args[0], output.Named{Writer: a.Out, Name: "the output"})
		}
		f, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return fault.Unwritable(err, out)
		}
		if err = errors.Join(writeRecording(ctx, api, args[0], output.Named{Writer: f, Name: out}), fault.Unwritable(f.Close(), out)); err != nil {
			return errors.Join(err, os.Remove(out))
		}
		return nil
	})
	c.Flags().StringVarP(&out, "out", "o", "", "write to this file, which must not exist")
	return c
}

func writeRecording(ctx context.Context, api *authclient.Client, id string, w io.Writer) error {
	return api.FetchRecording(ctx, id, 0, func(b []byte) error {
		_, err := w.Write(b)
		return err
	})
}

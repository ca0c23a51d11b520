package tshcmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"teleport/cli/output"
	"teleport/client"
	"teleport/fault"
	"teleport/types"
)

const sessionsLong = `List the live sessions that you may see: your own, those that you were invited
to, and those that your roles let you join or read.

Join one with: tsh join ID

--query takes an expression over name (the id) and resource.spec.*, such as
resource.spec.user, login, hostname, state, session_kind and reason.`

const sessionsExample = `  tsh sessions ls
  tsh sessions ls --query='resource.spec.user == "alice"'
  tsh sessions ls --format=json`

type sessionsFlags struct {
	kind   string
	format string
	query  string
	search string
}

func (a *app) sessionsCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "sessions", Short: "Live sessions", RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var f sessionsFlags
	ls := &cobra.Command{
		Use: "ls", Short: "List live sessions", Long: sessionsLong, Example: sessionsExample, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.sessionsLs(cmd.Context(), f) },
	}
	a.formatFlag(ls, &f.format, textFormat, jsonFormat, yamlFormat, namesFormat)
	ls.Flags().StringVar(&f.kind, "kind", "", "show only sessions of these comma-separated kinds: ssh, k8s, db, app, desktop")
	ls.Flags().StringVar(&f.query, "query", "", "show only what this expression is true of")
	ls.Flags().StringVar(&f.search, "search", "", "show only what all these comma-separated words are found in")
	cmd.AddCommand(ls)
	return cmd
}

func (a *app) sessionsLs(ctx context.Context, f sessionsFlags) error {
	if err := checkFormat(f.format, textFormat, jsonFormat, yamlFormat, namesFormat); err != nil {
		return err
	}
	kinds, err := sessionKinds(f.kind)
	if err != nil {
		return err
	}
	c, _, err := a.connect()
	if err != nil {
		return err
	}
	list, err := c.Sessions(ctx, client.Filter{Query: f.query, Search: words(f.search)})
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(t *types.SessionTracker) bool { return len(kinds) > 0 && !slices.Contains(kinds, t.Spec.Kind) })
	slices.SortFunc(list, func(x, y *types.SessionTracker) int {
		if n := x.Spec.Created.Compare(y.Spec.Created); n != 0 {
			return n
		}
		return strings.Compare(x.Name(), y.Name())
	})
	return a.writeSessions(list, f.format)
}

func sessionKinds(s string) ([]string, error) {
	kinds := words(s)
	known := []string{"ssh", "k8s", "db", "app", "desktop"}
	for _, k := range kinds {
		if !slices.Contains(known, k) {
			return nil, fault.New(fault.Invalid, "there is no kind of session called %q", k).WithHint("kinds are: %s", strings.Join(known, ", "))
		}
	}
	return kinds, nil
}

func (a *app) writeSessions(list []*types.SessionTracker, format string) error {
	switch format {
	case jsonFormat, yamlFormat:
		if list == nil {
			list = []*types.SessionTracker{}
		}
		return a.writeDocs(format, list)
	case namesFormat:
		for _, t := range list {
			fmt.Fprintln(a.out, clean(t.Name()))
		}
		return nil
	}
	if len(list) == 0 {
		fmt.Fprintln(a.errs, "There is no live session that you may see and that matches.")
		return nil
	}
	rows := make([][]string, 0, len(list))
	for _, t := range list {
		var present []string
		for _, p := range t.Spec.Participants {
			present = append(present, p.User)
		}
		rows = append(rows, []string{t.Name(), t.Spec.Kind, t.Spec.State, t.Spec.Login + "@" + t.Spec.Hostname, t.Spec.Created.Local().Format(output.Minute),
			t.Spec.User, strings.Join(present, ","), t.Spec.Reason})
	}
	return a.writeTable([]string{"ID", "Kind", "State", "Where", "Started", "Owner", "Present", "Reason"}, rows)
}

// words splits a comma-separated list; empty parts are dropped.
func words(s string) []string {
	var list []string
	for w := range strings.SplitSeq(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			list = append(list, w)
		}
	}
	return list
}

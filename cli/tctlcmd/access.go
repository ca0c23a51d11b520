package tctlcmd

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/access"
	"teleport/api/authclient"
	"teleport/api/gen/accessv1"
	"teleport/cli/output"
	"teleport/fault"
)

func (a *app) accessCmd() *cobra.Command {
	c := &cobra.Command{Use: "access", Short: "Ask why somebody may or may not do something, and what a change of roles would do"}
	c.AddCommand(a.accessExplain(), a.accessPlan())
	return c
}

const explainLong = `Explain decides one use of one resource for a user, as a certificate of a login
of now would make it, and prints the decision, the role and the rule behind it,
what each role says, and who set each limit.

Nodes are named by host name or UUID; their actions are dial, login,
forward_local, forward_remote, forward_agent, file_copy, x11 and list. Databases
are named as tsh db ls does; their actions are dial, database and list. Apps are
named as tsh apps ls does; their actions are dial, app and list, and --as says as
which role or identity that of a cloud is used. Of any kind the verbs list, read, readnosecrets, create, update and delete are actions
too.

Everybody may ask about themselves. About others may ask who reads users and the
kind in question. The answer is printed and the exit code is 0 whether access is
allowed or not.`

func (a *app) accessExplain() *cobra.Command {
	var login, action, at, ip, dbUser, dbName, as string
	var dbRoles []string
	var show func(any, func() error) error
	c := a.verb("explain USER KIND[/NAME]", "Tell why a user may or may not do something",
		"  tctl access explain alice node/web-1 --login=root\n  tctl access explain alice node/web-1 --login=root --action=file_copy --client-ip=192.0.2.7\n"+
			"  tctl access explain alice db/orders --db-user=app --db-name=shop\n"+
			"  tctl access explain alice app/aws --as=arn:aws:iam::123456789012:role/reader\n"+
			"  tctl access explain alice role/editor --action=update\n  tctl access explain alice node/web-1 --login=root --at=2026-12-24T18:00:00Z",
		cobra.ExactArgs(2), func(ctx context.Context, api *authclient.Client, args []string) error {
			_, ref, err := parseRef(args[1])
			if err != nil {
				return err
			}
			if login != "" && dbUser != "" || as != "" && login+dbUser != "" {
				return fault.New(fault.Invalid, "--login is about nodes, --db-user about databases, and --as about apps").WithHint("keep one")
			}
			when, err := output.ParseTime(at)
			if err != nil {
				return err
			}
			e, err := api.Explain(ctx, &accessv1.ExplainRequest{User: args[0], Kind: ref.Kind, Name: ref.Name,
				Action: action, Login: cmp.Or(login, dbUser, as), DbName: dbName, DbRoles: dbRoles, AtUnixNano: output.UnixNano(when), ClientIp: ip})
			if err != nil {
				return err
			}
			return show(e, func() error { return a.printExplanation(e) })
		})
	c.Long = explainLong
	fl := c.Flags()
	fl.StringVar(&login, "login", "", "the login on the node")
	fl.StringVar(&dbUser, "db-user", "", "the user in the database")
	fl.StringVar(&dbName, "db-name", "", "the database within the server")
	fl.StringVar(&as, "as", "", "the role or identity in the cloud of the app")
	fl.StringSliceVar(&dbRoles, "db-roles", nil, "roles that an automatic user asks for, comma separated")
	fl.StringVar(&action, "action", "", "what is done (default: login or dial on a node, database or dial on a database, app on an app, read of other documents)")
	fl.StringVar(&at, "at", "", "decide for this time: 2026-01-31T12:00:00Z (default: now)")
	fl.StringVar(&ip, "client-ip", "", "decide for a user at this address")
	show = a.formatFlag(fl)
	return c
}

func (a *app) printExplanation(e *access.Explanation) error {
	verdict := "DENIED"
	if e.Decision.Allow {
		verdict = "ALLOWED"
	}
	what := e.Kind
	if name := e.Shown; name != "" && name != e.Name {
		what += "/" + name + " (" + e.Name + ")"
	} else if e.Name != "" {
		what += "/" + e.Name
	}
	line := verdict + ": " + e.User + ", " + e.Action + " on " + what
	if e.Login != "" {
		line += " as " + e.Login
	}
	if e.DBName != "" {
		line += ", in its database " + e.DBName
	}
	lines := []string{line, ""}
	for _, r := range e.Decision.Reasons {
		lines = append(lines, "Because   "+r.Text+" ["+r.Code+"]")
	}
	if e.Decision.Role != "" {
		lines = append(lines, "By role   "+e.Decision.Role+", its "+e.Decision.Rule)
	}
	if len(e.Logins) > 0 {
		lines = append(lines, "Logins    "+strings.Join(e.Logins, ", "))
	}
	lines = append(lines, "Decided   for "+e.At.UTC().Format(time.RFC3339)+", from policy revision "+cmp.Or(e.Decision.Policy, "-"))
	for _, l := range lines {
		if _, err := fmt.Fprintln(a.Out, output.Clean(l)); err != nil {
			return err
		}
	}
	return a.printSays(e)
}

// printSays prints what each role says, and who set which limit.
func (a *app) printSays(e *access.Explanation) error {
	if len(e.Roles) > 0 {
		fmt.Fprintln(a.Out)
		t := output.NewTable("Role", "Alone", "What it says")
		for _, r := range e.Roles {
			alone := "nothing"
			switch {
			case r.Denies:
				alone = "denies"
			case r.Allows:
				alone = "allows"
			}
			for i, why := range r.Reasons {
				if i == 0 {
					t.Row(r.Role, alone, why.Text)
				} else {
					t.Row("", "", why.Text)
				}
			}
		}
		if err := t.Write(a.Out, a.width()); err != nil {
			return err
		}
	}
	if !e.Decision.Allow {
		return nil
	}
	return a.printLimits(e.Limits)
}

// printLimits prints the limits that somebody set, and names the others.
func (a *app) printLimits(limits []access.LimitOrigin) error {
	t := output.NewTable("Limit", "Value", "Set by")
	set, unset := 0, []string(nil)
	for _, l := range limits {
		switch {
		case len(l.Roles) > 0:
			t.Row(l.Name, l.Value, "role "+strings.Join(l.Roles, ", "))
		case l.From != access.FromDefault:
			t.Row(l.Name, l.Value, l.From)
		default:
			unset = append(unset, l.Name+" "+l.Value)
			continue
		}
		set++
	}
	fmt.Fprintln(a.Out)
	if set > 0 {
		if err := t.Write(a.Out, a.width()); err != nil {
			return err
		}
	}
	if len(unset) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(a.Out, "By default: "+output.Clean(strings.Join(unset, ", ")))
	return err
}

package tctlcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/access"
	"teleport/api/authclient"
	"teleport/api/gen/accessv1"
	"teleport/cli/output"
	"teleport/fault"
	"teleport/types"
)

const planLong = `Plan compares the roles in a file with those that the cluster has, and prints who
would gain or lose which login on which nodes, whom they may be in which databases,
and which apps they may use, as what in a cloud. Nothing is written.

Roles in the file are created, or take the place of the role of their name;
--delete takes roles away. With --days the sessions of the last days in the
audit log are decided again, each with what it was decided from then: those that
the new roles would have refused are listed with the reason.

Of a database, "app in shop" is the user app in its database shop, and * whatever
user or database roles do not name. Of an app of no cloud, "use" is all there is.

Second factors and devices count as shown. What users have from approved requests
and what locks forbid is left out.`

func (a *app) accessPlan() *cobra.Command {
	var remove []string
	var days, limit int
	var show func(any, func() error) error
	c := a.verb("plan [FILE.yaml]", "Tell what a change of roles would give and take, before it is made",
		"  tctl access plan roles.yaml --days=30\n  tctl access plan --delete=contractors", cobra.MaximumNArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) error {
			req := &accessv1.PlanRequest{Delete: remove, Days: int32(min(max(days, -1), 1<<20))}
			if len(args)+len(remove) == 0 {
				return fault.New(fault.Invalid, "say which roles would change").
					WithHint("tctl access plan FILE.yaml, or --delete=ROLE; the file - is standard input")
			}
			if len(args) > 0 {
				var err error
				if req.Roles, err = a.readRoles(args); err != nil {
					return err
				}
			}
			p, err := api.PlanAccess(ctx, req)
			if err != nil {
				return err
			}
			return show(p, func() error { return a.printPlan(p, max(limit, 1)) })
		})
	c.Long = planLong
	fl := c.Flags()
	fl.StringSliceVar(&remove, "delete", nil, "roles that go, comma separated")
	fl.IntVar(&days, "days", 0, "decide the sessions of this many days again")
	fl.IntVar(&limit, "limit", 50, "print at most this many lines of each list")
	show = a.formatFlag(fl)
	return c
}

func (a *app) readRoles(args []string) ([][]byte, error) {
	docs, err := a.readFile(args)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, d := range docs {
		if d.Head().Kind != types.KindRole {
			return nil, fault.New(fault.Invalid, "a plan is made of roles; %s %q is none", d.Head().Kind, d.Head().Name())
		}
		b, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func (a *app) printPlan(p *access.Plan, limit int) error {
	for _, r := range p.Roles {
		fmt.Fprintf(a.Out, "The role %s would be %sd.\n", output.Clean(r.Role), r.Change)
	}
	fmt.Fprintf(a.Out, "Compared for %s on %s, %s and %s, from policy revision %s.\n", counted(p.Users, "user"),
		counted(p.Resources-p.Databases-p.Apps, "node"), counted(p.Databases, "database"), counted(p.Apps, "app"), output.Clean(p.Policy))
	for _, part := range []struct {
		title string
		count int
		list  []access.Shift
	}{{"Lost", p.LostCount, p.Lost}, {"Gained", p.GainedCount, p.Gained}} {
		if part.count == 0 {
			fmt.Fprintf(a.Out, "\n%s: nothing\n", part.title)
			continue
		}
		fmt.Fprintf(a.Out, "\n%s: %s, each of one user on one node, database or app\n", part.title, counted(part.count, "login"))
		if err := a.printShifts(part.list, limit); err != nil {
			return err
		}
	}
	if p.Past == nil {
		return nil
	}
	return a.printPast(p.Past, limit)
}

func (a *app) printShifts(list []access.Shift, limit int) error {
	shown := list[:min(limit, len(list))]
	for _, part := range []struct{ kind, logins, resources string }{{types.KindNode, "Logins", "Nodes"}, {types.KindDatabase, "As", "Databases"}, {types.KindApp, "As", "Apps"}} {
		t, rows := output.NewTable("User", part.logins, part.resources, "Which"), 0
		for _, s := range shown {
			if s.Kind != part.kind {
				continue
			}
			which := strings.Join(s.Resources, ", ")
			if more := s.Count - len(s.Resources); more > 0 {
				which += fmt.Sprintf(" and %d more", more)
			}
			t.Row(s.User, strings.Join(s.Logins, ", "), fmt.Sprint(s.Count), which)
			rows++
		}
		if rows == 0 {
			continue
		}
		if err := t.Write(a.Out, a.width()); err != nil {
			return err
		}
	}
	return a.more(len(list) - limit)
}

func (a *app) more(n int) error {
	if n <= 0 {
		return nil
	}
	_, err := fmt.Fprintf(a.Out, "… and %d more lines; see --limit and --format=json\n", n)
	return err
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (a *app) printPast(p *access.Past, limit int) error {
	refused := fmt.Sprintf("%d of them would have been refused", p.Refused)
	if p.Refused == 0 {
		refused = "none of them would have been refused"
	}
	fmt.Fprintf(a.Out, "\nSessions since %s: %d; %s", p.From.UTC().Format(time.DateOnly), p.Sessions, refused)
	if p.Already > 0 {
		fmt.Fprintf(a.Out, ", %d are refused by the present roles already", p.Already)
	}
	if p.Unreadable > 0 {
		fmt.Fprintf(a.Out, ", %d were recorded without all that is needed to tell", p.Unreadable)
	}
	fmt.Fprintln(a.Out)
	if len(p.List) == 0 {
		return nil
	}
	t := output.NewTable("Time (UTC)", "User", "Login", "On", "Session", "Why")
	for _, s := range p.List[:min(limit, len(p.List))] {
		t.Row(s.Time.UTC().Format(time.DateTime), s.User, s.Login, s.Host, s.SessionID, s.Reason.Text+" ["+s.Reason.Code+"]")
	}
	if err := t.Write(a.Out, a.width()); err != nil {
		return err
	}
	return a.more(max(p.Refused, len(p.List)) - limit)
}

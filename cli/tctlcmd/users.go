package tctlcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"teleport/api/authclient"
	"teleport/api/gen/accountv1"
	"teleport/cli/output"
	"teleport/fault"
	"teleport/types"
)

func (a *app) usersCmd() *cobra.Command {
	c := &cobra.Command{Use: "users", Short: "Manage the people of the cluster"}
	c.AddCommand(a.usersAdd(), a.usersLs(), a.usersUpdate(), a.usersReset(), a.usersUnlock(), a.usersRm())
	return c
}

// traitFlags are the traits that have a flag of their own.
var traitFlags = []struct{ flag, trait, help string }{
	{"logins", "logins", "OS logins on nodes"},
	{"windows-logins", "windows_logins", "Windows logins"},
	{"kubernetes-groups", "kubernetes_groups", "Kubernetes groups"},
	{"kubernetes-users", "kubernetes_users", "Kubernetes users"},
	{"db-users", "db_users", "database users"},
	{"db-names", "db_names", "database names"},
	{"aws-role-arns", "aws_role_arns", "AWS roles"},
	{"azure-identities", "azure_identities", "Azure identities"},
	{"gcp-service-accounts", "gcp_service_accounts", "GCP service accounts"},
	{"host-user-uid", "host_user_uid", "UID of host users made for this user"},
	{"host-user-gid", "host_user_gid", "GID of host users made for this user"},
}

// addTraitFlags adds one list flag for each trait under a prefix.
func addTraitFlags(fl *pflag.FlagSet, prefix string) func(map[string][]string) map[string][]string {
	values := make([][]string, len(traitFlags))
	for i, t := range traitFlags {
		fl.StringSliceVar(&values[i], prefix+t.flag, nil, t.help+", comma separated")
	}
	return func(traits map[string][]string) map[string][]string {
		for i, t := range traitFlags {
			if !fl.Changed(prefix + t.flag) {
				continue
			}
			if traits == nil {
				traits = map[string][]string{}
			}
			traits[t.trait] = values[i]
		}
		return traits
	}
}

func (a *app) usersAdd() *cobra.Command {
	var roles []string
	var ttl time.Duration
	var traits func(map[string][]string) map[string][]string
	var show func(any, func() error) error
	c := a.verb("add NAME", "Invite a person", "  tctl users add alice --roles=access,editor --logins=alice,root", cobra.ExactArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) error {
			u := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: args[0]}}}
			u.Spec.Roles, u.Spec.Traits = roles, traits(nil)
			if err := u.Validate(); err != nil {
				return err
			}
			doc, err := json.Marshal(u)
			if err != nil {
				return err
			}
			link, err := api.InviteUser(ctx, &accountv1.InviteUserRequest{User: doc, TtlSeconds: int64(ttl / time.Second)})
			if err != nil {
				return err
			}
			return show(linkJSON(args[0], link), func() error {
				_, err := fmt.Fprintf(a.Out, "User %q was created. The invite is valid until %s:\n\n%s\n\nPass it on over a channel that you trust: whoever opens it first sets the password.\n",
					args[0], until(link.ExpiresUnix), linkURL(link))
				return err
			})
		})
	c.Flags().StringSliceVar(&roles, "roles", nil, "roles of the user, comma separated")
	c.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the invite is valid (at most 48h)")
	traits = addTraitFlags(c.Flags(), "")
	show = a.formatFlag(c.Flags())
	if err := c.MarkFlagRequired("roles"); err != nil {
		return c // the flag was defined above
	}
	return c
}

func linkURL(l *accountv1.LinkResponse) string {
	if l.Url != "" {
		return l.Url
	}
	return "https://<proxy>" + l.Path
}

func linkJSON(user string, l *accountv1.LinkResponse) map[string]any {
	return map[string]any{"user": user, "url": linkURL(l), "expires": time.Unix(l.ExpiresUnix, 0).UTC()}
}

func until(unix int64) string { return time.Unix(unix, 0).Format("2006-01-02 15:04 MST") }

func (a *app) usersLs() *cobra.Command {
	var filter *authclient.ListOptions
	var show func(any, func() error) error
	c := a.verb("ls", "List users", "", cobra.NoArgs, func(ctx context.Context, api *authclient.Client, _ []string) error {
		users, err := authclient.List[types.User](ctx, api, types.KindUser, *filter)
		if err != nil {
			return err
		}
		return show(users, func() error {
			if len(users) == 0 && filter.Query == "" && len(filter.Search) == 0 {
				_, err := fmt.Fprintln(a.Out, "There are no users yet. Invite one: tctl users add NAME --roles=access")
				return err
			}
			t := output.NewTable("User", "Roles", "Logins", "Status").Whole()
			for _, u := range users {
				status := ""
				if u.Status.IsLocked {
					status = "locked: " + u.Status.LockedMessage
				}
				t.Row(u.Name(), strings.Join(u.Spec.Roles, ","), strings.Join(u.Spec.Traits["logins"], ","), status)
			}
			return a.table(t, "user")
		})
	})
	filter = filterFlags(c.Flags())
	show = a.formatFlag(c.Flags())
	return c
}

func (a *app) usersUpdate() *cobra.Command {
	var roles []string
	var traits func(map[string][]string) map[string][]string
	c := a.verb("update NAME", "Change a user's roles and traits", "  tctl users update alice --set-roles=access --set-logins=alice", cobra.ExactArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) error {
			u, err := authclient.Get[types.User](ctx, api, authclient.Ref{Kind: types.KindUser, Name: args[0]})
			if err != nil {
				return err
			}
			before := fmt.Sprint(u.Spec)
			if roles != nil {
				u.Spec.Roles = roles
			}
			u.Spec.Traits = traits(u.Spec.Traits)
			if fmt.Sprint(u.Spec) == before {
				return fault.New(fault.Invalid, "nothing would change").WithHint("Use --set-roles or one of the --set-… flags.")
			}
			if _, err = authclient.Put(ctx, api, authclient.Update, u); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "User %q was updated.\n", args[0])
			return err
		})
	c.Flags().StringSliceVar(&roles, "set-roles", nil, "replace the roles, comma separated")
	traits = addTraitFlags(c.Flags(), "set-")
	return c
}

func (a *app) usersReset() *cobra.Command {
	var ttl time.Duration
	var show func(any, func() error) error
	c := a.verb("reset NAME", "Drop a user's password and second factors and print a link to set new ones", "", cobra.ExactArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) error {
			link, err := api.ResetUser(ctx, &accountv1.ResetUserRequest{User: args[0], TtlSeconds: int64(ttl / time.Second)})
			if err != nil {
				return err
			}
			return show(linkJSON(args[0], link), func() error {
				_, err := fmt.Fprintf(a.Out, "The password of %q was reset. The link is valid until %s:\n\n%s\n", args[0], until(link.ExpiresUnix), linkURL(link))
				return err
			})
		})
	c.Flags().DurationVar(&ttl, "ttl", 8*time.Hour, "how long the link is valid (at most 24h)")
	show = a.formatFlag(c.Flags())
	return c
}

func (a *app) usersUnlock() *cobra.Command {
	return a.verb("unlock NAME", "Let a user sign in again after too many failures", "", cobra.ExactArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) error {
			u, err := authclient.Get[types.User](ctx, api, authclient.Ref{Kind: types.KindUser, Name: args[0]})
			if err != nil {
				return err
			}
			if !u.Status.IsLocked {
				_, err = fmt.Fprintf(a.Out, "User %q is not locked.\n", args[0])
				return err
			}
			u.Status = types.UserStatus{}
			if _, err = authclient.Put(ctx, api, authclient.Update, u); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "User %q may sign in again.\n", args[0])
			return err
		})
}

func (a *app) usersRm() *cobra.Command {
	return a.verb("rm NAME[,NAME]", "Delete users", "", cobra.ExactArgs(1), func(ctx context.Context, api *authclient.Client, args []string) error {
		names := strings.Split(args[0], ",")
		slices.Sort(names)
		for _, n := range slices.Compact(names) {
			if err := api.Delete(ctx, authclient.Ref{Kind: types.KindUser, Name: n}, ""); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(a.Out, "User %q was deleted.\n", n); err != nil {
				return err
			}
		}
		return nil
	})
}

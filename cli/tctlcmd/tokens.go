package tctlcmd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/api/authclient"
	"teleport/api/gen/accountv1"
	"teleport/cli/output"
	"teleport/fault"
	"teleport/types"
)

func (a *app) tokensCmd() *cobra.Command {
	c := &cobra.Command{Use: "tokens", Short: "Manage the tokens that admit hosts"}
	rm := a.verb("rm TOKEN", "Delete a token, named by its secret or by the prefix that tokens ls shows", "", cobra.ExactArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) error {
			if err := api.DeleteToken(ctx, args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintln(a.Out, "The token was deleted.")
			return err
		})
	c.AddCommand(a.tokenAdd("add", "node", "type"), a.tokensLs(), rm)
	return c
}

// systemRoles maps the command line's spelling to system roles.
var systemRoles = map[string]types.SystemRole{"node": types.RoleNode, "proxy": types.RoleProxy, "auth": types.RoleAuth, "app": types.RoleApp,
	"db": types.RoleDb, "kube": types.RoleKube, "windowsdesktop": types.RoleDesktop, "discovery": types.RoleDiscover}

// tokenAdd makes tokens add and nodes add, which differ in the roles' flag.
func (a *app) tokenAdd(use, defaultRoles, rolesFlag string) *cobra.Command {
	var roles, labels, names []string
	var ttl time.Duration
	var value string
	var show func(any, func() error) error
	c := a.verb(use, "Make a token and print how to join with it", "  tctl tokens "+use+" --type=node --ttl=1h", cobra.NoArgs,
		func(ctx context.Context, api *authclient.Client, _ []string) error {
			doc, err := tokenDocument(value, roles, labels, names)
			if err != nil {
				return err
			}
			made, err := api.CreateToken(ctx, &accountv1.CreateTokenRequest{Token: doc, TtlSeconds: int64(ttl / time.Second)})
			if err != nil {
				return err
			}
			expires := time.Now().Add(ttl).UTC().Truncate(time.Second)
			v := map[string]any{"token": made.Secret, "roles": roles, "ca_pins": made.CaPins, "expires": expires}
			return show(v, func() error { return a.printJoin(made, roles, expires) })
		})
	c.Flags().StringSliceVar(&roles, rolesFlag, strings.Split(defaultRoles, ","), "what hosts may join as: node, proxy, …")
	c.Flags().DurationVar(&ttl, "ttl", 30*time.Minute, "how long the token is valid")
	c.Flags().StringVar(&value, "value", "", "the token itself, at least 16 characters (default: random)")
	c.Flags().StringSliceVar(&labels, "labels", nil, "labels that every host must have: k=v")
	c.Flags().StringSliceVar(&names, "names", nil, "names that hosts may have, globs: web-*")
	show = a.formatFlag(c.Flags())
	return c
}

func tokenDocument(value string, roles, labels, names []string) ([]byte, error) {
	t := &types.Token{Header: types.Header{Kind: types.KindToken, Version: "v2", Metadata: types.Metadata{Name: value}}}
	t.Spec.JoinMethod = "token"
	for _, r := range roles {
		role, ok := systemRoles[strings.ToLower(strings.TrimSpace(r))]
		if !ok {
			return nil, fault.New(fault.Invalid, "unknown type %q", r).WithHint("Types: node, proxy, auth, app, db, kube, windowsdesktop, discovery.")
		}
		t.Spec.Roles = append(t.Spec.Roles, role)
	}
	if len(labels)+len(names) > 0 {
		t.Spec.Scope = &types.JoinScope{Names: names}
	}
	for _, kv := range labels {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, fault.New(fault.Invalid, "label %q is not written key=value", kv)
		}
		if t.Spec.Scope.Labels == nil {
			t.Spec.Scope.Labels = map[string][]string{}
		}
		t.Spec.Scope.Labels[k] = append(t.Spec.Scope.Labels[k], v)
	}
	return json.Marshal(t)
}

func (a *app) printJoin(made *accountv1.CreateTokenResponse, roles []string, expires time.Time) error {
	flags := "--roles=" + strings.Join(roles, ",") + " \\\n    --token=" + made.Secret
	for _, p := range made.CaPins {
		flags += " \\\n    --ca-pin=" + p
	}
	_, err := fmt.Fprintf(a.Out, "The token is valid until %s. It is shown only now:\n\n    %s\n\nRun this on the host that shall join:\n\n  teleport start \\\n    %s \\\n    --proxy=<proxy address>\n",
		expires.Format("2006-01-02 15:04 UTC"), made.Secret, flags)
	return err
}

func (a *app) tokensLs() *cobra.Command {
	var show func(any, func() error) error
	var filter *authclient.ListOptions
	c := a.verb("ls", "List tokens; secrets are never shown again", "", cobra.NoArgs, func(ctx context.Context, api *authclient.Client, _ []string) error {
		tokens, err := authclient.List[types.Token](ctx, api, types.KindToken, *filter)
		if err != nil {
			return err
		}
		return show(tokens, func() error {
			if len(tokens) == 0 && filter.Query == "" && len(filter.Search) == 0 {
				_, err := fmt.Fprintln(a.Out, "There are no tokens. Make one: tctl tokens add --type=node")
				return err
			}
			t := output.NewTable("Token", "Roles", "Method", "Uses", "Expires").Whole()
			for _, k := range tokens {
				t.Row(k.Spec.Prefix+"…", join(k.Spec.Roles), k.Spec.JoinMethod, uses(k), expiry(k))
			}
			return a.table(t, "token")
		})
	})
	filter = filterFlags(c.Flags())
	show = a.formatFlag(c.Flags())
	return c
}

func uses(t *types.Token) string {
	if t.Spec.MaxUses == 0 {
		return fmt.Sprint(t.Spec.Uses)
	}
	return fmt.Sprintf("%d of %d", t.Spec.Uses, t.Spec.MaxUses)
}

func expiry(t *types.Token) string {
	if t.Metadata.Expires == nil {
		return "never (configured)"
	}
	return t.Metadata.Expires.UTC().Format("2006-01-02 15:04 UTC")
}

func join(roles []types.SystemRole) string {
	s := make([]string, 0, len(roles))
	for _, r := range roles {
		s = append(s, string(r))
	}
	return strings.Join(s, ",")
}

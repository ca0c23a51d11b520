package tctlcmd

import (
	"context"
	"github.com/spf13/cobra"

	"teleport/api/authclient"
	"teleport/cli/output"
	"teleport/types"
)

func (a *app) appsCmd() *cobra.Command {
	parent := &cobra.Command{Use: "apps", Aliases: []string{"app"}, Short: "Apps that agents front"}
	parent.AddCommand(a.appsLsCmd())
	return parent
}

func (a *app) appsLsCmd() *cobra.Command {
	var filter *authclient.ListOptions
	var show func(any, func() error) error
	c := a.verb("ls [KEY=VALUE,…]", "List the apps that agents front", "  tctl apps ls env=prod", cobra.MaximumNArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) (err error) {
			o := *filter
			if o.Labels, err = labelArgs(args); err != nil {
				return err
			}
			list, err := authclient.List[types.AppServer](ctx, api, types.KindAppServer, o)
			if err != nil {
				return err
			}
			return show(list, func() error {
				t := output.NewTable("Host", "Name", "Public Address", "URI", "Health", "Labels").Whole()
				for _, s := range list {
					app := &s.Spec.App
					t.Row(s.Spec.Hostname, app.Metadata.Name, app.Spec.PublicAddr, app.Spec.URI, s.Status.TargetHealth.Status, output.Labels(app.AllLabels()))
				}
				return a.table(t, "app")
			})
		})
	filter = filterFlags(c.Flags())
	show = a.formatFlag(c.Flags())
	return c
}

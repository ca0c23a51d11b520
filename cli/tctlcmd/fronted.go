package tctlcmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"teleport/api/authclient"
	"teleport/cli/output"
	"teleport/fault"
	"teleport/types"
)

func (a *app) nodesCmd() *cobra.Command {
	c := &cobra.Command{Use: "nodes", Short: "Manage the hosts that people reach over SSH"}
	c.AddCommand(a.tokenAdd("add", "node", "roles"), listing[types.Node]{
		about: "List nodes", command: "nodes", kind: types.KindNode, noun: "node",
		head: []string{"Host", "UUID", "Address", "Version", "Labels"},
		row: func(n *types.Node) []string {
			return []string{n.Spec.Hostname, n.Name(), address(n), n.Spec.ServerVersion, output.Labels(n.AllLabels())}
		},
	}.cmd(a))
	return c
}

func address(n *types.Node) string {
	if n.Spec.UseTunnel || n.Spec.Addr == "" {
		return "⟵ Tunnel"
	}
	return n.Spec.Addr
}

func (a *app) appsCmd() *cobra.Command {
	c := &cobra.Command{Use: "apps", Aliases: []string{"app"}, Short: "Apps that agents front"}
	c.AddCommand(listing[types.AppServer]{
		about: "List the apps that agents front", command: "apps", kind: types.KindAppServer, noun: "app",
		head: []string{"Host", "Name", "Public Address", "URI", "Health", "Labels"},
		row: func(s *types.AppServer) []string {
			app := &s.Spec.App
			return []string{s.Spec.Hostname, app.Metadata.Name, app.Spec.PublicAddr, app.Spec.URI, string(s.Status.TargetHealth.Status), output.Labels(app.AllLabels())}
		},
	}.cmd(a))
	return c
}

func (a *app) dbCmd() *cobra.Command {
	c := &cobra.Command{Use: "db", Short: "Databases that agents front"}
	c.AddCommand(listing[types.DatabaseServer]{
		about: "List the databases that agents front", command: "db", kind: types.KindDatabaseServer, noun: "database",
		head: []string{"Host", "Name", "Protocol", "URI", "Health", "Version", "Labels"},
		row: func(s *types.DatabaseServer) []string {
			db := &s.Spec.Database
			return []string{s.Spec.Hostname, db.Metadata.Name, db.Spec.Protocol, db.Spec.URI, string(s.Status.TargetHealth.Status), s.Spec.Version, output.Labels(db.AllLabels())}
		},
	}.cmd(a))
	return c
}

// listing is a command that lists what agents announce.
type listing[T any] struct {
	about, command string
	kind, noun     string
	head           []string
	row            func(*T) []string
}

func (l listing[T]) cmd(a *app) *cobra.Command {
	var filter *authclient.ListOptions
	var show func(any, func() error) error
	c := a.verb("ls [KEY=VALUE,…]", l.about, fmt.Sprintf("  tctl %s ls env=prod", l.command), cobra.MaximumNArgs(1),
		func(ctx context.Context, api *authclient.Client, args []string) (err error) {
			o := *filter
			if o.Labels, err = labelArgs(args); err != nil {
				return err
			}
			list, err := authclient.List[T](ctx, api, l.kind, o)
			if err != nil {
				return err
			}
			return show(list, func() error {
				t := output.NewTable(l.head...).Whole()
				for _, one := range list {
					t.Row(l.row(one)...)
				}
				return a.table(t, l.noun)
			})
		})
	filter = filterFlags(c.Flags())
	show = a.formatFlag(c.Flags())
	return c
}

// labelArgs reads the labels of a listing: KEY=VALUE,….
func labelArgs(args []string) (map[string]string, error) {
	if len(args) == 0 {
		return nil, nil // no labels
	}
	labels := map[string]string{}
	for _, kv := range strings.Split(args[0], ",") {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			return nil, fault.New(fault.Invalid, "label %q is not written key=value", kv)
		}
		labels[k] = v
	}
	return labels, nil
}

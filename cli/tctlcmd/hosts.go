package tctlcmd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/api/authclient"
	"teleport/cli/output"
	"teleport/fault"
	"teleport/types"
)

func (a *app) inventoryCmd() *cobra.Command {
	c := &cobra.Command{Use: "inventory", Short: "See the processes of the cluster"}
	c.AddCommand(a.inventoryList(), a.inventoryStatus())
	return c
}

func (a *app) inventoryList() *cobra.Command {
	var services []string
	var older, exact, upgrader string
	var filter *authclient.ListOptions
	var show func(any, func() error) error
	c := a.verb("list", "List every process", "", cobra.NoArgs, func(ctx context.Context, api *authclient.Client, _ []string) error {
		all, err := authclient.List[types.Instance](ctx, api, types.KindInstance, *filter)
		if err != nil {
			return err
		}
		list := slices.DeleteFunc(all, func(i *types.Instance) bool {
			return older != "" && compareVersions(i.Spec.Version, older) >= 0 || exact != "" && i.Spec.Version != exact ||
				upgrader != "" && cmp.Or(i.Spec.Upgrader, "none") != upgrader || !runs(i, services)
		})
		return show(list, func() error {
			t := output.NewTable("Server ID", "Hostname", "Services", "Agent Version", "Upgrader", "Upgrader Version").Whole()
			for _, i := range list {
				t.Row(i.Name(), i.Spec.Hostname, join(i.Spec.Services), i.Spec.Version, cmp.Or(i.Spec.Upgrader, "none"), cmp.Or(i.Spec.UpgraderVersion, "none"))
			}
			return a.table(t, "process")
		})
	})
	c.Aliases = []string{"ls"}
	filter = filterFlags(c.Flags())
	c.Flags().StringVar(&older, "older-than", "", "only processes of an older version")
	c.Flags().StringVar(&exact, "exact-version", "", "only processes of this version")
	c.Flags().StringSliceVar(&services, "services", nil, "only processes that run all of these")
	c.Flags().StringVar(&upgrader, "upgrader", "", "only processes with this upgrader (none, kube, unit)")
	show = a.formatFlag(c.Flags())
	return c
}

func runs(i *types.Instance, services []string) bool {
	for _, s := range services {
		if !slices.ContainsFunc(i.Spec.Services, func(r types.SystemRole) bool { return strings.EqualFold(string(r), s) }) {
			return false
		}
	}
	return true
}

// compareVersions orders release numbers; a part that is no number counts as 0.
func compareVersions(x, y string) int {
	a, b := strings.Split(x, "."), strings.Split(y, ".")
	for i := range max(len(a), len(b)) {
		var m, n int
		if i < len(a) {
			_, _ = fmt.Sscanf(a[i], "%d", &m)
		}
		if i < len(b) {
			_, _ = fmt.Sscanf(b[i], "%d", &n)
		}
		if m != n {
			return cmp.Compare(m, n)
		}
	}
	return 0
}

func (a *app) inventoryStatus() *cobra.Command {
	var connected bool
	var show func(any, func() error) error
	c := a.verb("status", "Count processes by version, service and upgrader", "", cobra.NoArgs, func(ctx context.Context, api *authclient.Client, _ []string) error {
		all, err := authclient.List[types.Instance](ctx, api, types.KindInstance, authclient.ListOptions{})
		if err != nil {
			return err
		}
		if connected {
			st, err := api.Status(ctx)
			if err != nil {
				return err
			}
			all = slices.DeleteFunc(all, func(i *types.Instance) bool { return i.Spec.AuthServer != st.AuthId })
		}
		counts := map[string]map[string]int{"versions": {}, "services": {}, "upgraders": {}}
		for _, i := range all {
			counts["versions"][i.Spec.Version]++
			counts["upgraders"][cmp.Or(i.Spec.Upgrader, "none")]++
			for _, s := range i.Spec.Services {
				counts["services"][string(s)]++
			}
		}
		return show(map[string]any{"total": len(all), "by": counts}, func() error { return a.printCounts(len(all), counts) })
	})
	c.Flags().BoolVar(&connected, "connected", false, "only processes connected to this auth service")
	show = a.formatFlag(c.Flags())
	return c
}

func (a *app) printCounts(total int, counts map[string]map[string]int) error {
	t := output.NewTable("Group", "Name", "Processes")
	for _, group := range []string{"versions", "services", "upgraders"} {
		names := make([]string, 0, len(counts[group]))
		for n := range counts[group] {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			t.Row(group, n, fmt.Sprint(counts[group][n]))
		}
	}
	t.Row("total", "", fmt.Sprint(total))
	return t.Write(a.Out, a.width())
}

func (a *app) statusCmd() *cobra.Command {
	var show func(any, func() error) error
	c := a.verb("status", "Show the cluster, its CA pins and its authorities", "", cobra.NoArgs, func(ctx context.Context, api *authclient.Client, _ []string) error {
		st, err := api.Status(ctx)
		if err != nil {
			return err
		}
		var authorities []*types.CertAuthority
		for _, doc := range st.Authorities {
			ca := &types.CertAuthority{}
			if err := json.Unmarshal(doc, ca); err != nil {
				return fault.Wrap(err, fault.Invalid, "the auth service sent an authority that this version cannot read")
			}
			authorities = append(authorities, ca)
		}
		v := map[string]any{"cluster": st.Cluster, "version": st.Version, "ca_pins": st.CaPins, "storage": st.Storage, "authorities": authorities}
		return show(v, func() error {
			fmt.Fprintf(a.Out, "Cluster   %s\nVersion   %s\nStorage   %s\n", st.Cluster, st.Version, st.Storage)
			for _, p := range st.CaPins {
				fmt.Fprintf(a.Out, "CA pin    %s\n", p)
			}
			fmt.Fprintln(a.Out)
			t := output.NewTable("Authority", "Rotation", "Algorithm", "Since", "Keys kept in")
			for _, ca := range authorities {
				t.Row(string(ca.Spec.Type), cmp.Or(ca.Spec.Phase, "standby"), ca.Spec.Active.Algorithm, day(ca.Spec.Active.CreatedAt), "software")
			}
			return t.Write(a.Out, a.width())
		})
	})
	show = a.formatFlag(c.Flags())
	return c
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

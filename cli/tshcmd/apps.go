package tshcmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/profile"
	"teleport/fault"
	"teleport/types"
)

const appsLong = `Work with the apps that you may reach: web applications, TCP services and the
APIs of clouds.

In a browser an app needs no tsh. Other programs speak with it through "tsh proxy
app", which listens on this machine: what comes there travels to the app's agent
within your certificate, which names that one app.`

// appFlags choose an app, and as what it is used.
type appFlags struct {
	aws, azure, gcp string
	port            int // of a tcp app
	labels, query   string
}

func (a *app) appsCmd() *cobra.Command {
	apps := &cobra.Command{Use: "apps", Aliases: []string{"app"}, Short: "Use apps", Long: appsLong, Args: cobra.NoArgs,
		Example: "  tsh apps ls\n  tsh proxy app grafana --port=8080\n  tsh apps login aws --aws-role=reader",
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var ls lsFlags
	list := &cobra.Command{Use: "ls [label=value,...]", Short: "List apps", Args: cobra.ArbitraryArgs,
		Long: "List the apps that you may see and that an agent fronts at the moment.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.appsLs(cmd.Context(), ls, args) }}
	a.formatFlag(list, &ls.format, textFormat, jsonFormat, yamlFormat, namesFormat)
	list.Flags().StringVar(&ls.query, "query", "", "show only what this expression is true of")
	list.Flags().StringVar(&ls.search, "search", "", "show only what all these comma-separated words are found in")
	list.Flags().BoolVarP(&ls.verbose, "verbose", "v", false, "show agents, targets, health and whole labels")
	apps.AddCommand(list, a.appsLoginCmd(), a.appsLoginsCmd(), a.appsLogoutCmd(), a.appsConfigCmd())
	return apps
}

func appUseFlags(cmd *cobra.Command, f *appFlags) {
	cmd.Flags().StringVar(&f.aws, "aws-role", "", "role to use in AWS: its ARN or its name")
	cmd.Flags().StringVar(&f.azure, "azure-identity", "", "identity to use in Azure: its resource id or its name")
	cmd.Flags().StringVar(&f.gcp, "gcp-service-account", "", "service account to use in Google Cloud: its e-mail or its name")
	cmd.Flags().StringVar(&f.labels, "labels", "", "choose the app that has these labels: key=value,...")
	cmd.Flags().StringVar(&f.query, "query", "", "choose the app that this expression is true of")
}

func (a *app) appsLs(ctx context.Context, f lsFlags, args []string) error {
	if err := checkFormat(f.format, textFormat, jsonFormat, yamlFormat, namesFormat); err != nil {
		return err
	}
	filter := client.Filter{Query: f.query, Search: words(f.search)}
	var err error
	if filter.Labels, err = parseLabels(args); err != nil {
		return err
	}
	c, session, err := a.connect()
	if err != nil {
		return err
	}
	servers, err := c.Apps(ctx, filter)
	if err != nil {
		return err
	}
	a.learnAddr(ctx, session)
	switch f.format {
	case jsonFormat, yamlFormat:
		docs := make([]appDoc, 0, len(servers))
		for _, x := range servers {
			docs = append(docs, appDoc{&x.Spec.App, appURL(session.profile, &x.Spec.App)})
		}
		return a.writeDocs(f.format, docs)
	case namesFormat:
		for _, s := range servers {
			fmt.Fprintln(a.out, clean(s.Spec.App.Metadata.Name))
		}
		return nil
	}
	if len(servers) == 0 {
		fmt.Fprintln(a.errs, "There is no app that you may reach and that matches.")
		return nil
	}
	active, err := a.activeApps(session)
	if err != nil {
		return err
	}
	return a.appsTable(session, f, servers, active)
}

// appDoc is an app as it is registered, and where a browser opens it.
type appDoc struct {
	*types.App
	URL string `json:"url,omitempty"`
}

func (a *app) appsTable(s *session, f lsFlags, servers []*types.AppServer, active []*profile.App) error {
	head := []string{"Application", "Description", "Type", "Public Address", "Labels"}
	if f.verbose {
		head = append(head, "Target", "Agent", "Health")
	}
	rows := make([][]string, 0, len(servers))
	for _, x := range servers {
		app := &x.Spec.App
		name := app.Metadata.Name
		if slices.ContainsFunc(active, func(p *profile.App) bool { return p.Name == name }) {
			name = "> " + name
		}
		row := []string{name, app.Metadata.Description, app.Spec.Type(), appURL(s.profile, app), labelText(app.AllLabels(), f.verbose)}
		if f.verbose {
			row = append(row, app.Spec.URI, x.Spec.Hostname, x.Status.TargetHealth.String())
		}
		rows = append(rows, row)
	}
	return a.writeTable(head, rows)
}

// publicHost is the name under which browsers find an app: its own, or one below the
// proxies'.
func publicHost(p *profile.Profile, app *types.App) string {
	if app.Spec.PublicAddr != "" {
		return strings.ToLower(app.Spec.PublicAddr)
	}
	return app.Metadata.Name + "." + strings.ToLower(profile.HostOf(p.BrowserAddr()))
}

// browserURL is where a browser opens what has this name.
func browserURL(p *profile.Profile, host string) string {
	if _, port, err := net.SplitHostPort(p.BrowserAddr()); err == nil && port != "443" {
		host = net.JoinHostPort(host, port)
	}
	return "https://" + host
}

// appURL is where a browser opens an app; "" for one that no browser understands.
func appURL(p *profile.Profile, app *types.App) string {
	if app.Spec.TCP() {
		return ""
	}
	return browserURL(p, publicHost(p, app))
}

// learnAddr asks a proxy how browsers know it, where no log-in has: an identity file
// says nothing of that. Who cannot be verified is not believed: requests are sent to
// where it says. Without an answer apps are shown below the address in use.
func (a *app) learnAddr(ctx context.Context, s *session) {
	if s.profile.PublicAddr != "" {
		return
	}
	web, ping, err := client.FindProxy(ctx, s.profile.WebProxyAddr, client.WebOptions{Insecure: a.global.insecure})
	if err != nil {
		return
	}
	defer web.Close()
	if ping.ClusterName == s.profile.Cluster {
		s.profile.PublicAddr = ping.Proxy.BrowserAddr()
	}
}

// findApp finds one by name, or the only one with the labels of the flags.
func (a *app) findApp(ctx context.Context, c *client.Client, f appFlags, name string) (*types.App, error) {
	server, err := findFronted(ctx, c.Apps, sought{labels: f.labels, query: f.query, name: name}, "app", "tsh apps ls")
	if err != nil {
		return nil, err
	}
	return &server.Spec.App, nil
}

// appRoute is as what an app is used: as the flags say, and in a cloud where one's
// roles name only one, as that.
func (a *app) appRoute(ctx context.Context, c *client.Client, s *session, f appFlags, app *types.App) (types.AppRoute, error) {
	route := types.AppRoute{PublicAddr: publicHost(s.profile, app), TargetPort: f.port}
	if types.CheckDNSName(route.PublicAddr) != nil {
		route.PublicAddr = "" // the proxy is known by an address
	}
	asked := map[string]struct {
		value string
		to    *string
		flag  string
	}{types.CloudAWS: {f.aws, &route.AWSRoleARN, "--aws-role"}, types.CloudAzure: {f.azure, &route.AzureIdentity, "--azure-identity"},
		types.CloudGCP: {f.gcp, &route.GCPServiceAccount, "--gcp-service-account"}}
	for cloud, x := range asked {
		if x.value != "" && cloud != app.Spec.Cloud {
			return route, fault.New(fault.Invalid, "%s is not for the app %s", x.flag, app.Metadata.Name)
		}
	}
	x, ok := asked[app.Spec.Cloud]
	if !ok {
		return route, nil
	}
	list, err := c.AppPrincipals(ctx, app)
	if err != nil {
		return route, err
	}
	*x.to, err = pickPrincipal(list, x.value, x.flag)
	return route, err
}

// pickPrincipal finds the role or identity that is meant, by its whole name or the
// end of it. A whole one that no role lists goes on: a "*" may allow it.
func pickPrincipal(list []string, asked, flag string) (string, error) {
	var found []string
	for _, p := range list {
		if asked == "" || p == asked || strings.HasSuffix(p, "/"+asked) || strings.HasPrefix(p, asked+"@") {
			found = append(found, p)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fault.New(fault.Conflict, "your roles allow several:\n%s", strings.Join(found, "\n")).WithHint("choose one with %s", flag)
	case strings.ContainsAny(asked, ":/@"):
		return asked, nil
	case asked == "":
		return "", fault.New(fault.Denied, "your roles name nothing that you could be there").WithHint("%s says it, where they allow all", flag)
	}
	return "", fault.New(fault.NotFound, "your roles do not allow %q", asked).WithHint("tsh apps logins lists what they allow")
}

// activeApps are those whose certificates live.
func (a *app) activeApps(s *session) ([]*profile.App, error) {
	if s.dir == nil {
		return nil, nil
	}
	all, err := s.dir.Apps(s.profile)
	now := time.Now()
	return slices.DeleteFunc(all, func(x *profile.App) bool { return !now.Before(x.Expires) }), err
}

// oneActiveApp is the app that is meant among those that one is logged in to.
func (a *app) oneActiveApp(s *session, name string) (*profile.App, error) {
	list, err := a.activeApps(s)
	if err != nil {
		return nil, err
	}
	if name == "" && len(list) == 1 {
		return list[0], nil
	}
	i := slices.IndexFunc(list, func(x *profile.App) bool { return x.Name == name })
	switch {
	case i >= 0:
		return list[i], nil
	case name != "":
		return nil, fault.New(fault.NotFound, "you are not logged in to an app %q", name).WithHint("tsh apps login %s", name)
	case len(list) == 0:
		return nil, fault.New(fault.Invalid, "no app was named, and you are logged in to none").WithHint("tsh apps ls lists what you can reach")
	}
	return nil, fault.New(fault.Conflict, "you are logged in to several apps").WithHint("name the one that you mean")
}

func (a *app) completeApps(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, _, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	servers, err := c.Apps(cmd.Context(), client.Filter{})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, s := range servers {
		names = append(names, s.Spec.App.Metadata.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// forgetApps deletes what a profile has of one app, or of all.
func (a *app) forgetApps(dir *profile.Dir, p *profile.Profile, name string) (gone int, err error) {
	all, err := dir.Apps(p)
	for _, x := range all {
		if name != "" && name != x.Name {
			continue
		}
		if left := dir.RemoveApp(p, x.Name); left != nil {
			return gone, errors.Join(err, left)
		}
		gone++
		fmt.Fprintf(a.out, "Logged out of the app %s.\n", x.Name)
	}
	return gone, err
}

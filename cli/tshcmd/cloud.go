package tshcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/cloudproxy"
	"teleport/client/localproxy"
	"teleport/fault"
	"teleport/types"
)

// cloudTool is a cloud, and how its tools are started.
type cloudTool struct {
	cloud   string // of apps
	name    string // of commands
	as      string // flag
	what    string // that the flag names
	command string
	domains []string
}

var (
	awsTool    = cloudTool{types.CloudAWS, "aws", "aws-role", "role", "aws", cloudproxy.AWSDomains}
	azureTool  = cloudTool{types.CloudAzure, "azure", "azure-identity", "managed identity", "az", cloudproxy.AzureDomains}
	googleTool = cloudTool{types.CloudGCP, "gcloud", "gcp-service-account", "service account", "gcloud", cloudproxy.GoogleDomains}
)

// cloudFlags choose an app, and who one is in its cloud.
type cloudFlags struct{ app, as, port, format, exec string }

const cloudLong = `tsh listens on this machine as a proxy for HTTPS, which %s uses for requests
to its cloud. They travel to the app's agent within your certificate; the agent
proves them to the cloud as the %s that you name. This machine has no
credentials of the cloud: those that %s is given are made by tsh, and good for
this one proxy. Hosts that are not the cloud's pass through untouched.`

// cloudCmds are those that start a cloud's tools: tsh aws and so on.
func (a *app) cloudCmds() []*cobra.Command {
	aws := a.cloudCmd(awsTool, "aws", "tsh aws --app=aws-console --aws-role=reader s3 ls")
	return []*cobra.Command{aws,
		a.cloudCmd(azureTool, "az", "tsh az --app=azure --azure-identity=reader login --identity"),
		a.cloudCmd(googleTool, "gcloud", "tsh gcloud --app=gcp --gcp-service-account=reader@project-1.iam.gserviceaccount.com storage ls"),
		a.cloudCmd(googleTool, "gsutil", "tsh gsutil --app=gcp ls")}
}

func (a *app) cloudCmd(tool cloudTool, command, example string) *cobra.Command {
	var f cloudFlags
	tool.command = command
	cmd := &cobra.Command{Use: command + " [ARGS...]", Short: "Use the " + command + " command through an app", Args: cobra.ArbitraryArgs,
		Long:    fmt.Sprintf(cloudLong, "the "+command+" command", tool.what, "it") + "\n\nFlags of tsh come first; what follows is the command's own.",
		Example: "  " + example,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runCloud(cmd.Context(), tool, f, args) }}
	cmd.Flags().SetInterspersed(false)
	a.cloudFlags(cmd, tool, &f)
	if command == "aws" {
		cmd.Flags().StringVar(&f.exec, "exec", "", "another `program` to start in place of aws")
	}
	return cmd
}

func (a *app) cloudFlags(cmd *cobra.Command, tool cloudTool, f *cloudFlags) {
	cmd.Flags().StringVar(&f.app, "app", "", "the app; needed where there are several of this cloud")
	cmd.Flags().StringVar(&f.as, tool.as, "", tool.what+" to be, by its name or in full; as you logged in to the app, or the only one that you may be, when not given")
	_ = cmd.RegisterFlagCompletionFunc("app", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.completeCloud(cmd.Context(), tool)
	})
}

// proxyCloudCmds are those that let tools in which somebody else starts: tsh proxy aws
// and so on.
func (a *app) proxyCloudCmds() []*cobra.Command {
	var out []*cobra.Command
	for _, tool := range []cloudTool{awsTool, azureTool, googleTool} {
		var f cloudFlags
		cmd := &cobra.Command{Use: tool.name, Short: "Let programs reach the cloud of an app", Args: cobra.NoArgs,
			Long:    fmt.Sprintf(cloudLong, "a program", tool.what, "it"),
			Example: "  tsh proxy " + tool.name + " --app=NAME --" + tool.as + "=… --port=8443",
			RunE:    func(cmd *cobra.Command, _ []string) error { return a.proxyCloud(cmd.Context(), tool, f) }}
		a.cloudFlags(cmd, tool, &f)
		cmd.Flags().StringVarP(&f.port, "port", "p", "0", "port to listen on; 0 is any that is free")
		a.formatFlag(cmd, &f.format, tool.formats()...)
		out = append(out, cmd)
	}
	return out
}

// cloudLocal is how tools of this machine reach a cloud.
type cloudLocal struct {
	local
	app    *types.App
	as     string
	folder string // removed at the end
}

func (l *cloudLocal) remove() error { return errors.Join(l.ln.Close(), os.RemoveAll(l.folder)) }

// openCloud opens the listener.
func (a *app) openCloud(ctx context.Context, tool cloudTool, f cloudFlags) (*cloudLocal, error) {
	c, s, err := a.connect()
	if err != nil {
		return nil, err
	}
	found, err := a.cloudApp(ctx, c, tool, f.app)
	if err != nil {
		return nil, err
	}
	as, route, err := a.cloudAs(ctx, c, s, tool, found, f.as)
	if err != nil {
		return nil, err
	}
	authority, err := cloudproxy.NewAuthority(tool.domains)
	if err != nil {
		return nil, err
	}
	key, err := client.NewRouteKey()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "tsh-"+tool.name+"-")
	if err != nil {
		return nil, fault.Unwritable(err, os.TempDir())
	}
	ln, err := localproxy.Listen(ctx, cmp.Or(f.port, "0"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	l := &cloudLocal{local: local{ln: ln}, app: found, as: as, folder: folder}
	way := a.lastingWay(c, s, func(c *client.Client) localproxy.Way { return c.App(found.Metadata.Name, route).WithKey(key) })
	l.close = way.Close
	cloud, err := a.cloudEnv(s, tool, l, authority, key)
	if err != nil {
		return nil, errors.Join(err, l.remove())
	}
	l.proxy = cloudproxy.New(cloudproxy.Options{Cloud: cloud, Authority: authority, Dial: way.Dial, Failed: a.notLetThrough})
	return l, nil
}

// cloudApps lists the apps of a cloud.
func cloudApps(ctx context.Context, c *client.Client, cloud string) ([]*types.App, error) {
	servers, err := c.Apps(ctx, client.Filter{})
	if err != nil {
		return nil, err
	}
	var out []*types.App
	for _, s := range servers {
		if s.Spec.App.Spec.Cloud == cloud {
			out = append(out, &s.Spec.App)
		}
	}
	return out, nil
}

// cloudApp finds the app that is meant: the one of a name, or the only one.
func (a *app) cloudApp(ctx context.Context, c *client.Client, tool cloudTool, name string) (*types.App, error) {
	all, err := cloudApps(ctx, c, tool.cloud)
	if err != nil {
		return nil, err
	}
	if name != "" {
		all = slices.DeleteFunc(all, func(app *types.App) bool { return app.Metadata.Name != name })
	}
	switch {
	case len(all) == 1:
		return all[0], nil
	case len(all) > 1:
		var names strings.Builder
		for _, app := range all {
			names.WriteString("\n" + app.Metadata.Name)
		}
		return nil, fault.New(fault.Conflict, "there are several apps of %s:%s", tool.cloud, names.String()).WithHint("name the one that you mean: --app=NAME")
	case name == "":
		return nil, fault.New(fault.NotFound, "there is no app of %s that you may see", tool.cloud).WithHint("tsh apps ls lists what you can reach")
	}
	return nil, fault.New(fault.NotFound, "there is no app %q of %s, or you may not see it", name, tool.cloud).WithHint("tsh apps ls lists what you can reach")
}

func (a *app) completeCloud(ctx context.Context, tool cloudTool) ([]string, cobra.ShellCompDirective) {
	c, _, err := a.connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	all, err := cloudApps(ctx, c, tool.cloud)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, app := range all {
		names = append(names, app.Metadata.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// runCloud starts a cloud's tool and serves it as long as it runs.
func (a *app) runCloud(ctx context.Context, tool cloudTool, f cloudFlags, args []string) error {
	program := cmp.Or(f.exec, tool.command)
	path, err := exec.LookPath(program)
	if err != nil {
		return fault.New(fault.NotFound, "the program %s is not installed on this machine", program).WithHint("tsh proxy %s lets others in", tool.name)
	}
	l, err := a.openCloud(ctx, tool, f)
	if err != nil {
		return err
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.out, a.errs
	cmd.Env = forCloud(a.environ, l.env)
	err = l.during(context.WithoutCancel(ctx), cmd.Run) // Ctrl-C is the tool's
	_ = l.remove()                                      // it is in the folder for such things, and good for nothing any more
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitCode(exit.ExitCode()) // it has said why
	}
	return err
}

// forCloud is the environment of a tool: what tsh gives it, and nothing by which it
// would take other credentials, or another way.
func forCloud(environ, own []string) []string {
	out := slices.DeleteFunc(slices.Clone(environ), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN",
			"AWS_CREDENTIAL_EXPIRATION", "MSI_SECRET", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "GOOGLE_APPLICATION_CREDENTIALS",
			"CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"}, name)
	})
	return append(out, own...)
}

// proxyCloud serves tools that somebody else starts, until ctx ends.
func (a *app) proxyCloud(ctx context.Context, tool cloudTool, f cloudFlags) (err error) {
	if err := checkFormat(f.format, tool.formats()...); err != nil {
		return err
	}
	l, err := a.openCloud(ctx, tool, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(l.folder)) }()
	defer l.ln.Close()
	fmt.Fprintf(a.errs, "Started a proxy for %s as %s, through the app %q, on %s.\n", tool.cloud, l.as, l.app.Metadata.Name, l.ln.Addr())
	if f.port == "0" {
		fmt.Fprintf(a.errs, "To have the same port each time, use --port.\n")
	}
	if slices.Contains(athenaFormats, f.format) {
		a.tellAthena(f.format, l)
		return l.serve(ctx)
	}
	fmt.Fprintf(a.errs, "Give programs this environment, and leave this running:\n\n")
	for _, kv := range l.env {
		fmt.Fprintln(a.out, shellEnv(f.format, kv))
	}
	return l.serve(ctx)
}

// formats are those in which tsh proxy tells how programs get in.
func (t cloudTool) formats() []string {
	if t.cloud == types.CloudAWS {
		return slices.Concat(shellFormats, athenaFormats)
	}
	return shellFormats
}

// shellFormats are the forms in which environments are printed.
var shellFormats = []string{textFormat, "unix", "command-prompt", "powershell"}

// shellEnv sets one variable in a shell. text is that of this machine's kind, which
// is unix wherever the other two are not asked for.
func shellEnv(format, kv string) string {
	name, value, _ := strings.Cut(kv, "=")
	switch format {
	case "command-prompt":
		return "set " + name + "=" + value
	case "powershell":
		return "$Env:" + name + "=\"" + value + "\""
	}
	return "export " + name + "=" + shellQuote(value)
}

// cloudFolder is where a tool keeps what it knows of an app between its commands.
func cloudFolder(s *session, l *cloudLocal, tool string) string {
	if s.dir == nil {
		return filepath.Join(l.folder, tool)
	}
	return filepath.Join(s.dir.Path(), "keys", s.profile.Name(), s.profile.User+"-app", s.profile.Cluster, l.app.Metadata.Name+"-"+tool)
}

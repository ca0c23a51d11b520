package tshcmd

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/profile"
)

// versionTimeout bounds the question that tsh version asks the proxy.
const versionTimeout = 5 * time.Second

func (a *app) clustersCmd() *cobra.Command {
	var format string
	var quiet bool
	cmd := &cobra.Command{
		Use: "clusters", Short: "List the clusters that you can reach",
		Long:    `List the cluster that you are logged in to and the clusters that it vouches for; ">" marks the one in use.`,
		Example: "  tsh clusters\n  tsh clusters --quiet\n  tsh clusters --format=json",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.clusters(format, quiet) },
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "names only")
	a.formatFlag(cmd, &format, textFormat, jsonFormat, yamlFormat)
	return cmd
}

func (a *app) clusters(format string, quiet bool) error {
	if err := checkFormat(format, textFormat, jsonFormat, yamlFormat); err != nil {
		return err
	}
	s, err := a.valid()
	if err != nil {
		return err
	}
	type entry struct {
		Name     string `json:"cluster_name"`
		Status   string `json:"status"`
		Type     string `json:"cluster_type"`
		Selected bool   `json:"selected"`
	}
	list := []entry{{s.profile.Cluster, "online", "root", true}}
	switch {
	case format != textFormat:
		return a.writeDocs(format, list)
	case quiet:
		_, err := fmt.Fprintln(a.out, clean(list[0].Name))
		return err
	}
	return a.writeTable([]string{"Cluster Name", "Status", "Type", "Selected"},
		[][]string{{list[0].Name, list[0].Status, list[0].Type, ">"}})
}

func (a *app) envCmd() *cobra.Command {
	var unset bool
	cmd := &cobra.Command{
		Use: "env", Short: "Print shell commands that select the current cluster",
		Long: `Print what a POSIX shell evaluates to keep using the current cluster in this
shell, whatever "tsh login" selects elsewhere. --unset prints what undoes it.`,
		Example: "  eval \"$(tsh env)\"\n  eval \"$(tsh env --unset)\"",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.env(unset) },
	}
	cmd.Flags().BoolVar(&unset, "unset", false, "print the commands that undo it")
	return cmd
}

func (a *app) env(unset bool) error {
	if unset {
		_, err := fmt.Fprint(a.out, "unset TELEPORT_PROXY\nunset TELEPORT_CLUSTER\n")
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "export TELEPORT_PROXY=%s\nexport TELEPORT_CLUSTER=%s\n",
		shellQuote(s.profile.WebProxyAddr), shellQuote(s.profile.Cluster))
	return err
}

func (a *app) versionCmd() *cobra.Command {
	var format string
	var clientOnly bool
	cmd := &cobra.Command{
		Use: "version", Short: "Print the versions of tsh and of the proxy",
		Long:    "Print the version of tsh, and that of the proxy you are logged in to. --client asks no proxy.",
		Example: "  tsh version\n  tsh version --client\n  tsh version --format=json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.version(cmd.Context(), format, clientOnly)
		},
	}
	cmd.Flags().BoolVar(&clientOnly, "client", false, "the version of tsh only")
	a.formatFlag(cmd, &format, textFormat, jsonFormat, yamlFormat)
	return cmd
}

// version shows what can be known: a proxy that does not answer is not an error.
func (a *app) version(ctx context.Context, format string, clientOnly bool) error {
	if err := checkFormat(format, textFormat, jsonFormat, yamlFormat); err != nil {
		return err
	}
	doc := struct {
		Version string `json:"version"`
		Go      string `json:"runtime"`
		Proxy   string `json:"proxyPublicAddress,omitempty"`
		ProxyV  string `json:"proxyVersion,omitempty"`
	}{Version: client.Version, Go: runtime.Version()}
	if !clientOnly {
		doc.Proxy, doc.ProxyV = a.proxyVersion(ctx)
	}
	if format != textFormat {
		return a.writeDocs(format, doc)
	}
	fmt.Fprintf(a.out, "Teleport v%s %s\n", doc.Version, doc.Go)
	if doc.ProxyV != "" {
		fmt.Fprintf(a.out, "Proxy version: %s\nProxy: %s\n", clean(doc.ProxyV), doc.Proxy)
	}
	return nil
}

func (a *app) proxyVersion(ctx context.Context) (addr, version string) {
	addr = a.global.proxy
	known := false
	if dir, err := a.dir(); err == nil {
		if p, err := a.pick(dir); err == nil {
			addr, known = p.WebProxyAddr, true
		}
	}
	if addr == "" {
		return "", ""
	}
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	// A version number is no secret and decides nothing here, so that a proxy
	// that was logged in to is asked whatever its web certificate says.
	web, ping, err := client.FindProxy(ctx, addr, client.WebOptions{Insecure: a.global.insecure || known})
	if err != nil {
		return profile.HostOf(addr), ""
	}
	defer web.Close()
	return web.Addr(), ping.ServerVersion
}

func (a *app) completionCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print a shell completion script",
		Long: "Print a script that completes commands, flags and the names of servers.",
		Example: strings.Join([]string{"  source <(tsh completion bash)", "  tsh completion zsh > \"${fpath[1]}/_tsh\"",
			"  tsh completion fish > ~/.config/fish/completions/tsh.fish"}, "\n"),
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "zsh":
				return root.GenZshCompletion(a.out)
			case "fish":
				return root.GenFishCompletion(a.out, true)
			}
			return root.GenBashCompletionV2(a.out, true)
		},
	}
	return cmd
}

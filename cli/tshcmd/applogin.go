package tshcmd

import (
	"context"
	"crypto"
	"fmt"

	"github.com/spf13/cobra"

	"teleport/client/profile"
	"teleport/fault"
)

const appsLoginLong = `Get a certificate for one app into files of your profile, for programs that show
it themselves at the app's public address. It ends with your log-in. A program that
has the files has your access to this one app.

For the API of a cloud it says as which role or identity requests are made.`

func (a *app) appsLoginCmd() *cobra.Command {
	var f appFlags
	cmd := &cobra.Command{Use: "login [NAME]", Short: "Get a certificate for an app", Args: cobra.MaximumNArgs(1), Long: appsLoginLong,
		Example:           "  tsh apps login grafana\n  tsh apps login aws --aws-role=reader",
		ValidArgsFunction: a.completeApps,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.appsLogin(cmd.Context(), f, first(args)) }}
	appUseFlags(cmd, &f)
	cmd.Flags().IntVar(&f.port, "target-port", 0, "port of a tcp app that has several")
	return cmd
}

func (a *app) appsLogin(ctx context.Context, f appFlags, name string) error {
	c, s, err := a.connect()
	if err != nil {
		return err
	}
	if s.dir == nil {
		return fault.New(fault.Invalid, "beside an identity file there is no profile to keep certificates of apps in").WithHint("tsh proxy app needs none")
	}
	app, err := a.findApp(ctx, c, f, name)
	if err != nil {
		return err
	}
	a.learnAddr(ctx, s)
	route, err := a.appRoute(ctx, c, s, f, app)
	if err != nil {
		return err
	}
	made, err := c.AppCertificate(ctx, app.Metadata.Name, route)
	if err != nil {
		return err
	}
	key, ok := made.PrivateKey.(crypto.Signer)
	if !ok {
		return fault.New(fault.Internal, "the key of a certificate cannot be kept")
	}
	kept := &profile.App{Name: app.Metadata.Name, URI: app.Spec.URI, PublicAddr: publicHost(s.profile, app), AWSRoleARN: route.AWSRoleARN,
		AzureIdentity: route.AzureIdentity, GCPServiceAccount: route.GCPServiceAccount, TargetPort: route.TargetPort, Expires: made.Leaf.NotAfter}
	if err := s.dir.SaveApp(s.profile, kept, made.Leaf, key); err != nil {
		return err
	}
	as := ""
	for _, p := range []string{route.AWSRoleARN, route.AzureIdentity, route.GCPServiceAccount} {
		if p != "" {
			as = " as " + clean(p)
		}
	}
	fmt.Fprintf(a.out, "Logged in to the app %s%s, until %s.\n", kept.Name, as, kept.Expires.Local().Format(clock))
	if app.Spec.Cloud == "" && !app.Spec.TCP() {
		fmt.Fprintf(a.out, "\n  %s\n", shellLine(curlOf(s, kept)))
	} else if app.Spec.TCP() {
		fmt.Fprintf(a.out, "\n  tsh proxy app %s\n", kept.Name)
	}
	return nil
}

// curlOf is how curl asks an app at its public address.
func curlOf(s *session, app *profile.App) []string {
	files := s.dir.AppPaths(s.profile, app.Name)
	return []string{"curl", "--no-alpn", "--cert", files.Cert, "--key", files.Key, browserURL(s.profile, app.PublicAddr)}
}

func (a *app) appsLoginsCmd() *cobra.Command {
	var format string
	cmd := &cobra.Command{Use: "logins NAME", Short: "List what you may be in the cloud of an app", Args: cobra.ExactArgs(1),
		Long:              "List the roles or identities that your own roles name for the cloud of an app. Where they allow all of them, none is named.",
		ValidArgsFunction: a.completeApps,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.appsLogins(cmd.Context(), format, args[0]) }}
	a.formatFlag(cmd, &format, textFormat, jsonFormat, yamlFormat)
	return cmd
}

func (a *app) appsLogins(ctx context.Context, format, name string) error {
	if err := checkFormat(format, textFormat, jsonFormat, yamlFormat); err != nil {
		return err
	}
	c, _, err := a.connect()
	if err != nil {
		return err
	}
	app, err := a.findApp(ctx, c, appFlags{}, name)
	if err != nil {
		return err
	}
	if !app.Spec.CloudAPI() {
		return fault.New(fault.Invalid, "the app %s is of no cloud", app.Metadata.Name)
	}
	list, err := c.AppPrincipals(ctx, app)
	if err != nil {
		return err
	}
	if format != textFormat {
		return a.writeDocs(format, append([]string{}, list...))
	}
	for _, p := range list {
		fmt.Fprintln(a.out, clean(p))
	}
	return nil
}

func (a *app) appsLogoutCmd() *cobra.Command {
	return &cobra.Command{Use: "logout [NAME]", Short: "Forget the certificates of apps", Args: cobra.MaximumNArgs(1),
		Long:              "Delete the certificate and key of an app. Without a name, those of all apps.",
		ValidArgsFunction: a.completeActiveApps,
		RunE:              func(_ *cobra.Command, args []string) error { return a.appsLogout(first(args)) }}
}

func (a *app) appsLogout(name string) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	gone := 0
	if s.dir != nil {
		if gone, err = a.forgetApps(s.dir, s.profile, name); err != nil {
			return err
		}
	}
	switch {
	case gone > 0:
	case name != "":
		return fault.New(fault.NotFound, "you are not logged in to an app %q", name)
	default:
		fmt.Fprintln(a.out, "You are not logged in to an app.")
	}
	return nil
}

// completeActiveApps completes the names of apps that one is logged in to.
func (a *app) completeActiveApps(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	s, err := a.open()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	list, _ := a.activeApps(s)
	for _, x := range list {
		names = append(names, x.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// Formats of tsh apps config beside the common ones: one line for a script.
const (
	uriFormat  = "uri"
	caFormat   = "ca"
	certFormat = "cert"
	keyFormat  = "key"
	curlFormat = "curl"
)

func (a *app) appsConfigCmd() *cobra.Command {
	var format string
	formats := []string{textFormat, uriFormat, caFormat, certFormat, keyFormat, curlFormat, jsonFormat, yamlFormat}
	cmd := &cobra.Command{Use: "config [NAME]", Short: "Print where an app is, and the files to show there", Args: cobra.MaximumNArgs(1),
		Long:              "Print the public address of an app that you logged in to, and the files of its certificate.",
		Example:           "  curl $(tsh apps config --format=uri grafana) --cert $(tsh apps config --format=cert grafana) --key $(tsh apps config --format=key grafana)",
		ValidArgsFunction: a.completeActiveApps,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkFormat(format, formats...); err != nil {
				return err
			}
			return a.appsConfig(format, first(args))
		}}
	a.formatFlag(cmd, &format, formats...)
	return cmd
}

func (a *app) appsConfig(format, name string) error {
	s, err := a.valid()
	if err != nil {
		return err
	}
	app, err := a.oneActiveApp(s, name)
	if err != nil {
		return err
	}
	files := s.dir.AppPaths(s.profile, app.Name)
	doc := struct {
		Name string `json:"name"`
		URI  string `json:"uri"`
		CA   string `json:"ca"`
		Cert string `json:"cert"`
		Key  string `json:"key"`
		Curl string `json:"curl"`
	}{app.Name, browserURL(s.profile, app.PublicAddr), files.CA, files.Cert, files.Key, shellLine(curlOf(s, app))}
	switch format {
	case jsonFormat, yamlFormat:
		return a.writeDocs(format, doc)
	case textFormat:
		_, err = fmt.Fprintf(a.out, "Name: %s\nURI:  %s\nCA:   %s\nCert: %s\nKey:  %s\n", doc.Name, doc.URI, doc.CA, doc.Cert, doc.Key)
		return err
	}
	_, err = fmt.Fprintln(a.out, map[string]string{uriFormat: doc.URI, caFormat: doc.CA, certFormat: doc.Cert, keyFormat: doc.Key, curlFormat: doc.Curl}[format])
	return err
}

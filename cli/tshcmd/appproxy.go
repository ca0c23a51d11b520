package tshcmd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"teleport/client"
	"teleport/client/localproxy"
	"teleport/fault"
)

const proxyAppLong = `Listen on this machine for programs that use an app, until it is interrupted.

tsh carries your certificate for them: every program that can connect to the port
has your access to this one app. It stays on this machine's loopback address.

--port=LOCAL:TARGET chooses one of the ports of a tcp app that has several.`

func (a *app) proxyAppCmd() *cobra.Command {
	var f appFlags
	var port string
	cmd := &cobra.Command{Use: "app [NAME]", Short: "Let programs reach an app", Args: cobra.MaximumNArgs(1), Long: proxyAppLong,
		Example:           "  tsh proxy app grafana --port=8080\n  curl http://127.0.0.1:8080/\n  tsh proxy app shop-db --port=5433",
		ValidArgsFunction: a.completeApps,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if port, f.port, err = splitPort(port); err != nil {
				return err
			}
			return a.proxyApp(cmd.Context(), f, first(args), port)
		}}
	cmd.Flags().StringVarP(&port, "port", "p", "0", "port to listen on, 0 is any that is free; LOCAL:TARGET for a tcp app with several")
	cmd.Flags().StringVar(&f.labels, "labels", "", "choose the app that has these labels: key=value,...")
	cmd.Flags().StringVar(&f.query, "query", "", "choose the app that this expression is true of")
	return cmd
}

// splitPort reads LOCAL or LOCAL:TARGET.
func splitPort(s string) (local string, target int, err error) {
	local, rest, both := strings.Cut(s, ":")
	if both {
		n, err := strconv.ParseUint(rest, 10, 16)
		if err != nil || n == 0 {
			return "", 0, fault.New(fault.Invalid, "--port=%s does not name a port of the app", s).WithHint("--port=LOCAL:TARGET")
		}
		target = int(n)
	}
	if _, err := strconv.ParseUint(local, 10, 16); err != nil {
		return "", 0, fault.New(fault.Invalid, "--port=%s is not a port of this machine", s)
	}
	return local, target, nil
}

func (a *app) proxyApp(ctx context.Context, f appFlags, name, port string) error {
	c, s, err := a.connect()
	if err != nil {
		return err
	}
	if name == "" && f.labels == "" && f.query == "" {
		kept, err := a.oneActiveApp(s, "")
		if err != nil {
			return err
		}
		name = kept.Name
	}
	app, err := a.findApp(ctx, c, f, name)
	if err != nil {
		return err
	}
	if app.Spec.CloudAPI() {
		return fault.New(fault.Invalid, "the app %s is the API of a cloud, which wants more than a port", app.Metadata.Name).
			WithHint("tsh proxy %s", map[string]string{"AWS": "aws", "Azure": "azure", "GCP": "gcloud"}[app.Spec.Cloud])
	}
	if f.port != 0 && !app.Spec.HasPort(f.port) {
		return fault.New(fault.Invalid, "the app %s has no port %d", app.Metadata.Name, f.port)
	}
	route, err := a.appRoute(ctx, c, s, f, app)
	if err != nil {
		return err
	}
	ln, err := localproxy.Listen(ctx, port)
	if err != nil {
		return err
	}
	defer ln.Close()
	way := a.lastingWay(c, s, func(c *client.Client) localproxy.Way {
		if app.Spec.TCP() {
			return c.TCPApp(app.Metadata.Name, route)
		}
		return c.App(app.Metadata.Name, route)
	})
	defer way.Close()
	o := localproxy.Options{Dial: way.Dial, Failed: a.notLetThrough, Cut: a.cut}
	if !app.Spec.TCP() {
		way := a.lastingWay(c, s, func(c *client.Client) localproxy.Way { return c.HTTP2App(app.Metadata.Name, route) })
		defer way.Close()
		o.HTTP2 = way.Dial
	}
	fmt.Fprintf(a.out, "Started a proxy for the app %q on %s.\n", app.Metadata.Name, ln.Addr())
	if !app.Spec.TCP() {
		fmt.Fprintf(a.out, "\n  curl http://%s/\n", ln.Addr())
	}
	if port == "0" {
		fmt.Fprintf(a.errs, "To have the same port each time, use --port.\n")
	}
	return localproxy.New(o).Serve(ctx, ln)
}

// lastingWay is a way to an app that waits for the next log-in when one has ended.
func (a *app) lastingWay(c *client.Client, s *session, to func(*client.Client) localproxy.Way) *localproxy.Lasting {
	return localproxy.NewLasting(to(c), func() (localproxy.Way, error) {
		c, err := a.sameAgain(s)
		if err != nil {
			return nil, err
		}
		return to(c), nil
	}, func(why error) {
		fmt.Fprintf(a.errs, "tsh: %s; connections wait until you log in again: tsh login --proxy=%s --user=%s\n", fault.Message(why), s.profile.WebProxyAddr, s.profile.User)
	})
}

package webapi

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"

	"teleport/access"
	"teleport/api/gen/loginv1"
	"teleport/api/rpc"
	"teleport/fault"
	"teleport/proxy/appproxy"
	"teleport/types"
)

// launchRequest is what the launcher page asks: twice for each app, without a state
// and then with the one that the browser has got at the app's own address.
type launchRequest struct {
	Host  string `json:"host"` // of the app
	Path  string `json:"path"`
	Apps  string `json:"apps"`  // hosts that are opened afterwards
	As    string `json:"as"`    // role or identity of a cloud
	Chain bool   `json:"chain"` // the apps that this one needs are on the way already
	State string `json:"state"`
}

// launchAnswer is where the browser goes next.
type launchAnswer struct {
	URL string `json:"url"`
	App string `json:"app"`
	// Without are the apps that App needs and that do not open with it.
	Without []missing `json:"without,omitempty"`
}

// missing is an app that a visit does not open, and why.
type missing struct {
	App string `json:"app"`
	Why string `json:"why"`
}

// maxHost bounds what is kept of the name of a host that is none.
const maxHost = 253

// launch decides whether somebody may open an app, and says where the browser goes
// next: nowhere but to an app of this cluster.
func (h *Handler) launch(w http.ResponseWriter, r *http.Request, c rpc.Caller) error {
	var in launchRequest
	if err := rpc.DecodeJSON(r, &in); err != nil {
		return err
	}
	app, ok := h.hosts.ByHost(in.Host)
	astray := func(err error) error { // no decision refused it
		if fault.Refusal(err) {
			h.o.Refused(r.Context(), c, Refusal{Host: in.Host[:min(len(in.Host), maxHost)], App: app, Err: err})
		}
		return err
	}
	if !ok {
		return astray(fault.New(fault.NotFound, "there is no app at %.200q, or no agent that fronts it at the moment", in.Host))
	}
	route := app.Spec.RouteAs(in.As)
	req := h.request(c, app, access.ActionApp)
	req.App = route
	if d := access.Decide(req); !d.Allow {
		h.o.Refused(r.Context(), c, Refusal{App: app, Decision: d})
		return h.refusedApp(c, app, d)
	}
	if forPrograms(app) {
		return fault.New(fault.Unimplemented, "%s is the API of a cloud, which has no page for a browser", app.Metadata.Name).WithHint("in a terminal: tsh apps login %s", app.Metadata.Name)
	}
	trip := appproxy.Trip{Path: in.Path, Apps: in.Apps, As: in.As}
	if err := trip.Strays(); err != nil {
		_ = astray(err) // it goes on without what it must not have
	}
	trip = trip.Clean()
	if in.State == "" {
		first, without := app, []missing(nil)
		if !in.Chain {
			first, trip.Apps, without = h.chain(r.Context(), c, app)
		}
		return rpc.WriteJSON(w, launchAnswer{URL: h.hosts.Begin(first, trip), App: app.Metadata.Name, Without: without})
	}
	secret, ok := appproxy.StateSecret(in.State)
	cookie, err := r.Cookie(CookieName)
	if !ok || err != nil {
		return astray(fault.New(fault.Invalid, "the sign-in to %s is not complete", app.Metadata.Name).WithHint("open the app again"))
	}
	route.PublicAddr = h.hosts.HostOf(app)
	made, err := h.o.Auth.StartAppSession(r.Context(), &loginv1.StartAppSessionRequest{Bearer: cookie.Value, App: app.Metadata.Name,
		Params: route.Route(app.Metadata.Name).Params, State: secret.Reveal(), ClientAddr: c.Addr.String(), UserAgent: userAgent(r)})
	if err != nil {
		return astray(err)
	}
	return rpc.WriteJSON(w, launchAnswer{URL: h.hosts.Finish(app, in.State, made.Bearer, trip), App: app.Metadata.Name})
}

// forPrograms reports whether no browser has any use for an app: of the clouds only AWS
// has a console that one is led into.
func forPrograms(app *types.App) bool { return app.Spec.CloudAPI() && app.Spec.Cloud != types.CloudAWS }

// refusedApp says why somebody may not open an app: in full to those who may know
// of it.
func (h *Handler) refusedApp(c rpc.Caller, app *types.App, d access.Decision) error {
	if len(d.Reasons) == 0 || !access.Decide(h.request(c, app, access.ActionList)).Allow {
		return fault.New(fault.Denied, "there is no app at this address, or none of your roles allows it").
			WithHint("a role with app_labels that match it is needed; ask an administrator")
	}
	return fault.New(fault.Denied, "%s", d.Reasons[0].Text).WithHint("ask an administrator for a role that allows it")
}

// chain is the app that a visit opens first, and the hosts of those that follow it:
// an app's required_apps come before it, and it comes last. One that the person may
// not open, or that is nowhere, is no reason to keep the others from them: it is left
// out, and they are told. Each is asked what the launcher asks when its turn comes, so
// that none of them ends the visit.
func (h *Handler) chain(ctx context.Context, c rpc.Caller, app *types.App) (first *types.App, then string, without []missing) {
	seen := map[string]bool{app.Metadata.Name: true}
	var way []*types.App
	for _, name := range app.Spec.RequiredApps {
		if seen[name] || len(seen) > types.MaxRequiredApps {
			continue
		}
		seen[name] = true
		need, ok := h.hosts.ByName(name)
		if ok {
			need, ok = h.hosts.ByHost(h.hosts.HostOf(need))
		}
		if !ok || need.Metadata.Name != name {
			without = append(without, missing{name, "no agent fronts it at the moment, or browsers cannot open it"})
			continue
		}
		req := h.request(c, need, access.ActionApp)
		req.App = need.Spec.RouteAs("")
		if d := access.Decide(req); !d.Allow {
			h.o.Refused(ctx, c, Refusal{App: need, Decision: d})
			why := fault.Message(h.refusedApp(c, need, d))
			if need.Spec.CloudAPI() && access.Decide(h.request(c, need, access.ActionList)).Allow {
				why = "it is a cloud's, which is opened by itself and as one of your roles there"
			}
			without = append(without, missing{name, why})
			continue
		}
		way = append(way, need)
	}
	way = append(way, app)
	hosts := make([]string, 0, len(way))
	for _, a := range way[1:] {
		hosts = append(hosts, h.hosts.HostOf(a))
	}
	return way[0], strings.Join(hosts, ","), without
}

// appRows lists the apps that the caller may see, with the ways to open them.
func (h *Handler) appRows(c rpc.Caller) []resource {
	var items []resource
	fronted := map[string][]*types.AppServer{}
	for _, s := range h.o.Policy.AppServers() {
		app := &s.Spec.App
		fronted[app.Metadata.Name] = append(fronted[app.Metadata.Name], s)
		if len(fronted[app.Metadata.Name]) > 1 || !access.Decide(h.request(c, app, access.ActionList)).Allow {
			continue
		}
		x := resource{Kind: types.KindApp, ID: "app/" + app.Metadata.Name, Name: app.Metadata.Name, Tunnel: true, Version: s.Spec.Version, Type: app.Spec.Type(),
			Description: app.Metadata.Description, Labels: app.AllLabels(), Logins: []string{}, Cloud: app.Spec.Cloud}
		if _, ok := h.hosts.ByHost(h.hosts.HostOf(app)); ok && !forPrograms(app) {
			x.Address, x.Launch = h.hosts.URL(app), "/web/launch/"+h.hosts.HostOf(app)
		}
		if app.Spec.Cloud != "" {
			x.Logins = append(x.Logins, access.AppPrincipals(h.request(c, app, access.ActionApp))...)
		}
		for _, p := range app.Spec.TCPPorts {
			x.Ports = append(x.Ports, portsText(p))
		}
		items = append(items, x)
	}
	for i := range items {
		items[i].Ill = illness(fronted[items[i].Name])
	}
	return items
}

func portsText(p types.AppPort) string {
	if p.EndPort > p.Port {
		return strconv.Itoa(p.Port) + "-" + strconv.Itoa(p.EndPort)
	}
	return strconv.Itoa(p.Port)
}

// illness is why an app does not answer any of its agents; "" where one of them finds
// it well, or does not say.
func illness(servers []*types.AppServer) (why string) {
	for _, s := range servers {
		health := s.Health()
		if health.Status != types.HealthUnhealthy {
			return ""
		}
		why = cmp.Or(why, health.LastError, health.Message, health.Status)
	}
	return why
}

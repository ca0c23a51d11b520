package appproxy

import (
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"

	"teleport/types"
)

// Servers is the apps that agents front; *store.Replica is one.
type Servers interface {
	AppServers() []*types.AppServer
}

// Hosts knows apps by the address at which browsers see them: their own
// public_addr, or their name before that of the proxy. Safe for concurrent use.
type Hosts struct {
	servers Servers
	domain  string // host of the proxy's public address
	port    string // of the same
	taken   func(host string) bool
	current atomic.Pointer[hostIndex]
}

// hostIndex is made of one list of servers, and anew when there is another.
type hostIndex struct {
	of     []*types.AppServer
	byHost map[string]*types.App
	all    []*types.App // each once, by name
	ailing map[fronts]bool
}

// fronts is an app at one of its agents.
type fronts struct{ app, agent string }

// NewHosts makes an index of the apps behind a proxy with this public address
// (host:port). taken are the names that the proxy answers to itself: no app gets one.
func NewHosts(servers Servers, publicAddr string, taken func(host string) bool) *Hosts {
	host, port, err := net.SplitHostPort(publicAddr)
	if err != nil {
		host, port = publicAddr, ""
	}
	return &Hosts{servers: servers, domain: strings.ToLower(host), port: port, taken: taken}
}

// ByHost finds the app that a Host header or a server name means, with or without a
// port. A name that two apps claim is nobody's, unless it is made of the name of
// one of them.
func (h *Hosts) ByHost(host string) (*types.App, bool) {
	a, ok := h.index().byHost[bare(host)]
	return a, ok
}

// Apps are all apps that browsers may open, each once, in the order of their names.
// The slice is shared.
func (h *Hosts) Apps() []*types.App { return h.index().all }

// ByName finds an app that browsers may open.
func (h *Hosts) ByName(name string) (*types.App, bool) {
	all := h.index().all
	i, ok := slices.BinarySearchFunc(all, name, func(a *types.App, name string) int { return strings.Compare(a.Metadata.Name, name) })
	if !ok {
		return nil, false
	}
	return all[i], true
}

// ailing reports whether an agent finds the app behind it ill, and another does not:
// what is kept open to the first is not used any more.
func (h *Hosts) ailing(app, agent string) bool { return h.index().ailing[fronts{app, agent}] }

// ill are the agents that find an app ill which another does not.
func ill(servers []*types.AppServer) map[fronts]bool {
	all, well := map[fronts]bool{}, map[string]bool{}
	for _, s := range servers {
		if name := s.Spec.App.Metadata.Name; s.Health().Status != types.HealthUnhealthy {
			well[name] = true
		} else {
			all[fronts{name, s.Spec.HostID}] = true
		}
	}
	maps.DeleteFunc(all, func(f fronts, _ bool) bool { return !well[f.app] })
	return all
}

// HostOf is the address at which browsers see an app.
func (h *Hosts) HostOf(a *types.App) string {
	if a.Spec.PublicAddr != "" {
		return strings.ToLower(a.Spec.PublicAddr)
	}
	return a.Metadata.Name + "." + h.domain
}

// URL is where browsers open an app, without a path.
func (h *Hosts) URL(a *types.App) string {
	host := h.HostOf(a)
	if h.port == "" || h.port == "443" {
		return "https://" + host
	}
	return "https://" + net.JoinHostPort(host, h.port)
}

// bare is a host name as it is compared.
func bare(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func (h *Hosts) index() *hostIndex {
	servers := h.servers.AppServers()
	if x := h.current.Load(); x != nil && sameList(x.of, servers) {
		return x
	}
	x := &hostIndex{of: servers, byHost: map[string]*types.App{}, ailing: ill(servers)}
	disputed := map[string]bool{}
	for _, s := range servers {
		a := &s.Spec.App
		if a.Spec.TCP() {
			continue
		}
		x.all = append(x.all, a)
		host := h.HostOf(a)
		if h.taken(host) {
			continue
		}
		other := x.byHost[host]
		own, others := a.Metadata.Name+"."+h.domain == host, other != nil && other.Metadata.Name+"."+h.domain == host
		switch {
		case other == nil && !disputed[host], own:
			x.byHost[host] = a
		case other != nil && other.Metadata.Name != a.Metadata.Name && !others:
			delete(x.byHost, host)
			disputed[host] = true
		}
	}
	slices.SortStableFunc(x.all, func(a, b *types.App) int { return strings.Compare(a.Metadata.Name, b.Metadata.Name) })
	x.all = slices.CompactFunc(x.all, func(a, b *types.App) bool { return a.Metadata.Name == b.Metadata.Name })
	h.current.Store(x)
	return x
}

// sameList reports whether two lists are the same one: a replica gives out one list
// for as long as nothing in it changes.
func sameList(a, b []*types.AppServer) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// Package client is the part of tsh, tctl and the desktop app that talks to a
// cluster: it finds a proxy, logs in, and with the credential of a log-in asks
// the API and reaches resources by name through the proxy.
//
// After a log-in nothing depends on the proxy's web certificate: the proxy, the
// auth service and the agents are all verified against the cluster's host
// authority, which the log-in brought.
package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"teleport/access"
	"teleport/api/authclient"
	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/client/identityfile"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx"
	"teleport/netx/alpndial"
	"teleport/resume"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// Config says who connects to what.
type Config struct {
	ProxyAddr  string // host[:port]; without a port 3080 and 443 are tried
	Cluster    string
	Credential *identityfile.Credential
	Upgrade    alpndial.Upgrade // how to pass a layer-7 balancer before the proxy
	// NoResume opens connections to servers that end with their first carrier.
	NoResume bool
	// Paused is told when the carrier of a connection to a server is lost, when
	// the connection goes on, and when it cannot. It must not block. Optional.
	Paused func(resume.Change)
}

// Client reaches one cluster through one proxy. Methods may be called
// concurrently; nothing is dialled before the first call.
type Client struct {
	cfg   Config
	trust *cert.Trust
	proxy *alpndial.Dialer
	dials *dial.Client
}

// New makes a client. It refuses a credential without the cluster's authority.
func New(cfg Config) (*Client, error) {
	trust, err := cert.NewTrust(cfg.Credential.HostAuthorities())
	if err != nil {
		return nil, err
	}
	addrs, err := candidates(cfg.ProxyAddr)
	if err != nil {
		return nil, err
	}
	cfg.ProxyAddr = addrs[0]
	c := &Client{cfg: cfg, trust: trust}
	// Web certificates are not looked at: every connection made here carries
	// mutual TLS inside that is verified against the cluster's host authority.
	c.proxy = &alpndial.Dialer{ProxyAddr: addrs[0], Insecure: true, Upgrade: cfg.Upgrade, Net: anyOf(addrs)}
	c.dials = &dial.Client{Proxy: c.proxy, TLS: func(context.Context) (*tls.Config, error) {
		return c.tlsConfig(types.RoleProxy, tunframe.ALPNDial)
	}}
	return c, nil
}

// anyOf dials the first of several guesses at an address that answers.
func anyOf(addrs []string) netx.Dialer {
	var d net.Dialer
	if len(addrs) == 1 {
		return &d
	}
	return netx.DialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != addrs[0] {
			return d.DialContext(ctx, network, addr) // an HTTP proxy on the way
		}
		var failed error
		for _, a := range addrs {
			c, err := d.DialContext(ctx, network, a)
			if err == nil {
				return c, nil
			}
			failed = errors.Join(failed, err)
		}
		return nil, failed
	})
}

// NeedsUpgrade finds out whether a layer-7 balancer stands before a proxy, so
// that connections must be upgraded to reach more than its web pages.
func NeedsUpgrade(ctx context.Context, addr string) (bool, error) {
	way, err := (&alpndial.Dialer{ProxyAddr: addr}).Probe(ctx)
	return way == alpndial.UpgradeYes, err
}

// tlsConfig is mutual TLS with a process of the cluster, verified by its role.
func (c *Client) tlsConfig(role types.SystemRole, alpn string) (*tls.Config, error) {
	return tlscert.ClientConfig(tlscert.Source{
		Certificate: c.cfg.Credential.TLSCertificate,
		Trust:       func() *cert.Trust { return c.trust },
		Now:         time.Now,
	}, tlscert.Server{Cluster: c.cfg.Cluster, Role: role}, alpn)
}

// Cluster returns the name of the cluster that the client acts on.
func (c *Client) Cluster() string { return c.cfg.Cluster }

// API returns a client of the auth service. It passes through the proxy, which
// sees only the TLS that the auth service ends.
func (c *Client) API() (*authclient.Client, error) {
	conf, err := c.tlsConfig(types.RoleAuth, "h2")
	if err != nil {
		return nil, err
	}
	return authclient.New(authclient.Config{Dial: c.dialAuth, TLS: conf})
}

func (c *Client) dialAuth(ctx context.Context) (net.Conn, error) {
	conn, err := c.proxy.Dial(ctx, tunframe.ALPNAuth+c.cfg.Cluster, nil)
	if err != nil {
		return nil, explainTLS(err, c.cfg.ProxyAddr)
	}
	return conn, nil
}

// Dial returns a connection to a resource by kind and name. The reply says who
// answered, for the check of the other end's certificate.
func (c *Client) Dial(ctx context.Context, kind, name string) (net.Conn, dial.Reply, error) {
	conn, reply, err := c.dials.Dial(ctx, dial.Target{Cluster: c.cfg.Cluster, Kind: kind, Name: name})
	if err != nil {
		return nil, reply, explainTLS(err, c.cfg.ProxyAddr)
	}
	return conn, reply, nil
}

// Filter narrows a listing; the zero value is everything.
type Filter struct {
	Labels map[string]string
	Search []string
	Query  string
}

// RecordsAtProxy reports whether the cluster records sessions at its proxies, so
// that these are the SSH servers that its users speak with.
func (c *Client) RecordsAtProxy(ctx context.Context) (bool, error) {
	api, err := c.API()
	if err != nil {
		return false, err
	}
	defer api.Close()
	who, err := api.WhoAmI(ctx)
	if err != nil {
		return false, err
	}
	return who.SshEndsAtProxy, nil
}

// Nodes lists the servers that the user may see.
func (c *Client) Nodes(ctx context.Context, f Filter) ([]*types.Node, error) {
	api, err := c.API()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	return authclient.List[types.Node](ctx, api, types.KindNode, authclient.ListOptions{Labels: f.Labels, Search: f.Search, Query: f.Query})
}

// Databases lists the databases that the user may see and that a live agent
// fronts, each once: as the agent has it that finds it in the best health.
func (c *Client) Databases(ctx context.Context, f Filter) ([]*types.DatabaseServer, error) {
	api, err := c.API()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	all, err := authclient.List[types.DatabaseServer](ctx, api, types.KindDatabaseServer, authclient.ListOptions{Labels: f.Labels, Search: f.Search, Query: f.Query})
	if err != nil {
		return nil, err
	}
	return bestOf(all), nil
}

// AppPrincipals lists the roles or identities in the cloud of an app that the user's
// own roles name; none for an app of no cloud.
func (c *Client) AppPrincipals(ctx context.Context, app *types.App) ([]string, error) {
	api, err := c.API()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	cred := c.cfg.Credential
	user, err := authclient.Get[types.User](ctx, api, authclient.Ref{Kind: types.KindUser, Name: cred.User()})
	if err != nil {
		return nil, err
	}
	id := &types.Identity{Kind: types.IdentityUser, Name: cred.User(), Cluster: cred.Cluster(),
		Authority: types.Authority{Roles: cred.Roles(), Traits: user.Spec.Traits, Expires: cred.Expires()}}
	r := access.Request{Identity: id, Resource: app, Labels: app.AllLabels(), Now: time.Now()}
	for _, name := range cred.Roles() {
		role, err := authclient.Get[types.Role](ctx, api, authclient.Ref{Kind: types.KindRole, Name: name})
		if err != nil {
			return nil, err
		}
		r.Roles = append(r.Roles, role)
	}
	return access.AppPrincipals(r), nil
}

// bestOf leaves each resource once, as the agent has it that finds it in the best
// health.
func bestOf[S types.FrontedServer](all []S) []S {
	name := func(s S) string { return s.Of().Head().Metadata.Name }
	slices.SortStableFunc(all, func(a, b S) int {
		return cmp.Or(strings.Compare(name(a), name(b)), a.Health().Rank()-b.Health().Rank())
	})
	return slices.CompactFunc(all, func(a, b S) bool { return name(a) == name(b) })
}

// Apps lists the apps that the user may see and that a live agent fronts, each once,
// as Databases does.
func (c *Client) Apps(ctx context.Context, f Filter) ([]*types.AppServer, error) {
	api, err := c.API()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	all, err := authclient.List[types.AppServer](ctx, api, types.KindAppServer, authclient.ListOptions{Labels: f.Labels, Search: f.Search, Query: f.Query})
	if err != nil {
		return nil, err
	}
	return bestOf(all), nil
}

// Sessions lists the live sessions that the user may see: own ones, those that
// the user may join or was invited to, and all for whom a rule lets read them.
func (c *Client) Sessions(ctx context.Context, f Filter) ([]*types.SessionTracker, error) {
	api, err := c.API()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	return authclient.List[types.SessionTracker](ctx, api, types.KindSessionTracker, authclient.ListOptions{Labels: f.Labels, Search: f.Search, Query: f.Query})
}

// Session finds a live session by its id.
func (c *Client) Session(ctx context.Context, id string) (*types.SessionTracker, error) {
	api, err := c.API()
	if err != nil {
		return nil, err
	}
	defer api.Close()
	return authclient.Get[types.SessionTracker](ctx, api, authclient.Ref{Kind: types.KindSessionTracker, Name: id})
}

// CheckVersion refuses a cluster that says it does not support this client.
func CheckVersion(p *Ping) error {
	if p.MinClientVersion == "" || !older(Version, p.MinClientVersion) {
		return nil
	}
	return fault.New(fault.Invalid, "this is version %s, and cluster %s supports versions from %s on",
		Version, printable(p.ClusterName), printable(p.MinClientVersion)).WithHint("install a newer tsh")
}

package assembly

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/access"
	"teleport/cert/sshcert"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/lifecycle"
	"teleport/netx"
	"teleport/netx/proxyproto"
	"teleport/proxy/appproxy"
	"teleport/proxy/native"
	"teleport/proxy/proxyd"
	"teleport/proxy/router"
	"teleport/proxy/webapi"
	"teleport/sshaccess/sshproxy"
	"teleport/sshserver"
	"teleport/telemetry"
	"teleport/tlsroute"
	"teleport/tunnel"
	"teleport/tunnel/tunframe"
	"teleport/types"
	"teleport/types/event"
	"teleport/web"
)

// publicAddr is where clients reach the cluster's proxies, as this process
// knows: its own configuration, or what a registered proxy says.
func (p *Process) publicAddr() string {
	if p.cfg.Proxy != nil {
		if len(p.cfg.Proxy.PublicAddrs) > 0 {
			return p.cfg.Proxy.PublicAddrs[0]
		}
		_, port, err := net.SplitHostPort(p.cfg.Proxy.WebListenAddr)
		if err == nil {
			return net.JoinHostPort(p.cfg.Nodename, port)
		}
	}
	if p.replica != nil {
		for _, x := range p.replica.Proxies() {
			if len(x.Spec.PublicAddrs) > 0 {
				return x.Spec.PublicAddrs[0]
			}
		}
	}
	return ""
}

// proxyParts are what the proxy service consists of.
type proxyParts struct {
	p        *Process
	routes   *tlsroute.Router
	registry *tunnel.Registry
	proxy    *proxyd.Proxy
	web      *webapi.Handler
	jump     *sshproxy.Server
	ender    *sshproxy.Ender
	native   *native.Server
	apps     *appproxy.Server
	mysql    net.Listener // nil: none
	certs    *webCerts
	uuid     string
	cluster  string
}

func (p *Process) buildProxy(ctx context.Context) error {
	id := p.member.Identity()
	x := &proxyParts{p: p, uuid: id.Name, cluster: id.Cluster}
	ln, err := p.gen.Listen(ctx, p.cfg.Proxy.WebListenAddr)
	if err != nil {
		return err
	}
	if err := x.listenMySQL(ctx); err != nil {
		return err
	}
	for _, build := range []func() error{x.buildRoutes, x.buildTunnels, x.buildEnder, x.buildGate, x.buildJump, x.buildWeb, x.buildApps, x.buildNative} {
		if err := build(); err != nil {
			return err
		}
	}
	if err := p.announceProxy(ln.Addr()); err != nil {
		return err
	}
	return x.run(netx.LimitPerClient(ln, p.cfg.MaxPerIP, p.cfg.Proxy.TrustedBalancers))
}

func (x *proxyParts) buildRoutes() (err error) {
	x.routes, err = tlsroute.New(tlsroute.Options{ProxyProtocol: proxyproto.Mode(x.p.cfg.Proxy.ProxyProtocol),
		Balancers: x.p.cfg.Proxy.TrustedBalancers, Log: x.p.log, Metrics: x.p.metrics})
	return err
}

// verifyHost and verifyUser are how SSH certificates become identities here.
func (p *Process) verifyHost(c *ssh.Certificate) (*types.Identity, error) {
	return sshcert.Verify(c, p.member.Trust(), types.IdentityHost, p.clock.Now())
}

func (p *Process) verifyUser(c *ssh.Certificate, _ time.Time) (*types.Identity, error) {
	return sshcert.Verify(c, p.replica.Trust(), types.IdentityUser, p.clock.Now()) // which never goes back
}

// verifyBridge makes the identity of a certificate by which a proxy speaks for a
// user.
func (p *Process) verifyBridge(c *ssh.Certificate, now time.Time) (*types.Identity, error) {
	return sshcert.Verify(c, p.replica.Trust(), types.IdentityBridge, now)
}

// tunnelCredentials are how this process proves itself in tunnels.
func (p *Process) tunnelCredentials() tunnel.Credentials {
	return tunnel.Credentials{
		Signer: func() (ssh.Signer, error) {
			s := p.member.SSHSigner()
			if s == nil {
				return nil, fault.New(fault.Unavailable, "this process has no host certificate")
			}
			return s, nil
		},
		Verify: p.verifyHost,
		Peer: func(cs tls.ConnectionState) (*types.Identity, error) {
			return tlscert.Peer(cs, p.member.Trust(), p.clock.Now(), types.IdentityHost)
		},
	}
}

func (x *proxyParts) buildTunnels() (err error) {
	p := x.p
	x.registry, err = tunnel.NewRegistry(tunnel.RegistryOptions{UUID: x.uuid, Cluster: x.cluster, Release: types.Release,
		Credentials: p.tunnelCredentials(), Drain: maxDrain, Log: p.log, Metrics: p.metrics,
		Auth: func(ctx context.Context, agent *types.Identity, conn net.Conn) error {
			return x.proxy.ForwardAgent(ctx, agent, conn)
		},
		Refuse: func(agent *types.Identity) error { return lockedHost(p.replica.Locks(), agent.Name) }})
	return err
}

// lockedHost refuses a process that a lock names.
func lockedHost(locks []*types.Lock, uuid string) error {
	now := time.Now()
	for _, l := range locks {
		if access.LockInForce(l, access.LockSubject{ServerID: uuid}, now) {
			return fault.New(fault.Denied, "%s", access.LockText(l))
		}
	}
	return nil
}

func (x *proxyParts) buildGate() error {
	p := x.p
	forward, err := tlscert.ClientConfig(p.member.Source(), tlscert.Server{Cluster: x.cluster, Role: types.RoleAuth}, "teleport-forward")
	if err != nil {
		return err
	}
	x.proxy = proxyd.New(proxyd.Options{UUID: x.uuid, Cluster: x.cluster, Policy: p.replica, Proxies: p.proxyAddrs,
		Router: resources{nodeRouter{router.New(p.replica, x.registry, x.dialDirect), x.ender, x.cluster, p.replica.Settings},
			router.NewFronted(types.KindDatabase, "tsh db ls lists what you can reach", p.replica.DatabaseServers, x.registry),
			router.NewFronted(types.KindApp, "tsh apps ls lists what you can reach", p.replica.AppServers, x.registry)}, Sessions: p.sessions,
		Peer: func(cs tls.ConnectionState) (*types.Identity, error) {
			return tlscert.Peer(cs, p.replica.Trust(), p.clock.Now(), types.IdentityUser)
		},
		Auth: func(ctx context.Context) (net.Conn, error) {
			raw, err := p.via.Dial(ctx)
			if err != nil {
				return nil, err
			}
			conn := tls.Client(raw, forward.Clone())
			if err := conn.HandshakeContext(ctx); err != nil {
				return nil, errors.Join(fault.Wrap(err, fault.Unavailable, "the auth service does not take forwarded connections"), raw.Close())
			}
			return conn, nil
		},
		Cache: p.decisions, LiveSessions: p.sessionsOn, Refused: p.dialRefused, Log: p.log, Now: p.clock.Now})
	return nil
}

// resources is every router of the proxy, by kind.
type resources struct {
	nodes     nodeRouter
	databases *router.Fronted[*types.DatabaseServer]
	apps      *router.Fronted[*types.AppServer]
}

// frontedRouter is the router of one kind that several agents may front.
type frontedRouter interface {
	Resolve(name string, visible func(types.Resource) bool) (types.Fronted, error)
	ResolveServer(name string, visible func(types.Resource) bool) (types.FrontedServer, error)
	Dial(ctx context.Context, r types.Fronted, h tunframe.Header) (net.Conn, tunframe.Reply, error)
	DialServer(ctx context.Context, s types.FrontedServer, h tunframe.Header) (net.Conn, tunframe.Reply, error)
}

// fronted is the router of a kind; nil for nodes, which nobody fronts but themselves.
func (r resources) fronted(kind string) frontedRouter {
	switch kind {
	case types.KindDatabase, types.KindDatabaseServer:
		return r.databases
	case types.KindApp, types.KindAppServer:
		return r.apps
	}
	return nil
}

func (r resources) Resolve(kind, name string, visible func(types.Resource) bool) (types.Resource, error) {
	f := r.fronted(kind)
	if f == nil || types.ServerKind(kind) == "" {
		return r.nodes.Resolve(kind, name, visible)
	}
	if strings.Contains(name, ".") { // no resource is named so
		return f.ResolveServer(name, visible)
	}
	return f.Resolve(name, visible)
}

func (r resources) Dial(ctx context.Context, res types.Resource, h dial.Header) (net.Conn, dial.Reply, error) {
	f := r.fronted(res.Head().Kind)
	switch d := res.(type) {
	case types.Fronted:
		if f != nil {
			return f.Dial(ctx, d, h)
		}
	case types.FrontedServer:
		if f != nil {
			return f.DialServer(ctx, d, h)
		}
	}
	return r.nodes.Dial(ctx, res, h)
}

// nodeRouter is the router of nodes as the proxy asks for it.
type nodeRouter struct {
	*router.Router
	ender    *sshproxy.Ender
	cluster  string
	settings func() access.Settings
}

func (r nodeRouter) Resolve(kind, name string, visible func(types.Resource) bool) (types.Resource, error) {
	if kind != types.KindNode {
		return nil, fault.New(fault.NotFound, "there is no %s %q", kind, name)
	}
	s := r.settings().Networking
	return r.Router.Resolve(router.Query{Name: name, Visible: func(n *types.Node) bool { return visible(n) }, Cluster: r.cluster,
		Strategy: router.Strategy(s.RoutingStrategy), CaseInsensitive: s.CaseInsensitiveRouting})
}

func (r nodeRouter) Dial(ctx context.Context, res types.Resource, h dial.Header) (net.Conn, dial.Reply, error) {
	n, ok := res.(*types.Node)
	if !ok {
		return nil, dial.Reply{}, fault.New(fault.Internal, "%T is no node", res)
	}
	if n.SubKind == types.SubKindOpenSSH {
		return r.openSSH(n, h)
	}
	if h.Verb == tunframe.Open && r.settings().Recording.AtProxy() {
		return r.recordedHere(ctx, n, h)
	}
	return r.DialNode(ctx, n, h)
}

// jumpRouter dials for the jump host.
type jumpRouter struct{ proxy *proxyd.Proxy }

func (j jumpRouter) Dial(ctx context.Context, id *types.Identity, client netip.AddrPort, target string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		host = target
	}
	caller := proxyd.Caller{Identity: id, Addr: client}
	conn, _, err := j.proxy.Dial(ctx, caller, dial.Target{Kind: types.KindNode, Name: host})
	if errors.Is(err, fault.NotFound) && port != "" {
		if conn, _, again := j.proxy.Dial(ctx, caller, dial.Target{Kind: types.KindNode, Name: target}); again == nil {
			return conn, nil
		}
	}
	return conn, err
}

func (x *proxyParts) buildJump() (err error) {
	p := x.p
	x.jump, err = sshproxy.New(sshproxy.Config{
		HostSigners: func() []ssh.Signer { return []ssh.Signer{p.member.SSHSigner()} },
		Verify:      p.verifyUser, Router: jumpRouter{x.proxy}, Decide: x.proxy.Standing, Sessions: p.sessions, HostID: x.uuid, Log: p.log,
		AuthFailed: func(ctx context.Context, f sshserver.Failure) { p.authFailed(ctx, x.uuid, f) }, Strangers: p.strangers,
	})
	return err
}

// authFailed records who was refused at the gate.
func (p *Process) authFailed(ctx context.Context, uuid string, f sshserver.Failure) {
	e := &event.AuthFail{User: event.User{User: f.User}, Server: event.Server{ServerID: uuid, ServerHostname: p.cfg.Nodename},
		Connection: event.Connection{RemoteAddr: f.ClientAddr.String(), Protocol: "ssh"}, Status: event.Status{Error: f.Err.Error()}, Count: f.Count}
	if err := p.writer.Emit(ctx, e); err != nil {
		p.log.Warn("a refused login was not recorded", telemetry.KeyErr, err)
	}
}

func (x *proxyParts) buildWeb() (err error) {
	p := x.p
	names := append([]string{p.cfg.Nodename, x.cluster}, p.principals()...)
	if x.certs, err = newWebCerts(p.cfg.DataDir, p.cfg.Proxy, withWildcards(names), p.log); err != nil {
		return err
	}
	x.web, err = webapi.New(webapi.Options{Cluster: x.cluster, Version: types.Release, PublicAddr: p.publicAddr(), MySQLListenAddr: p.cfg.Proxy.MySQLListenAddr, MySQLPublicAddrs: p.cfg.Proxy.MySQLPublicAddrs, Hosts: names,
		Auth: p.client, Policy: p.replica, Refused: x.launchRefused, ForwardedFor: p.forwarders(), Assets: web.Assets(), Cache: p.decisions, Log: p.log, Now: p.clock.Now,
		Upgrade: func(w http.ResponseWriter, r *http.Request, client net.Addr) error {
			return x.routes.Upgrade(w, r, client, p.replica.Settings().Networking.ProxyPingInterval.Std())
		}})
	return err
}

// forwarders are those whose X-Forwarded-For is believed.
func (p *Process) forwarders() netx.Networks {
	if !p.cfg.Proxy.TrustForwardedFor {
		return nil
	}
	return p.cfg.Proxy.TrustedBalancers
}

// hostTLS shows this proxy's host certificate and asks for one of the kinds.
func (x *proxyParts) hostTLS(kinds ...types.IdentityKind) tlsroute.ConfigFunc {
	c := tlscert.ServerConfig(x.p.member.Source(), tlscert.ServerOptions{Kinds: kinds})
	return c.GetConfigForClient
}

// run adds the services of the proxy. Their listeners end with the port; who
// serves them then goes on with what was accepted.
func (x *proxyParts) run(ln net.Listener) error {
	p, r := x.p, x.routes
	dials := r.ALPN(x.hostTLS(types.IdentityUser), tunframe.ALPNDial)
	tunnels := r.ALPN(x.hostTLS(types.IdentityHost), tunframe.ALPNTunnel)
	data := r.ALPN(x.hostTLS(types.IdentityHost), tunframe.ALPNData)
	auth := r.ALPN(x.webTLS, authALPN+"@", authALPN)
	sshTLS := r.ALPN(x.webTLS, "teleport-proxy-ssh")
	sshPlain := r.Preamble(tlsroute.SSH)
	pages := r.Web(x.webTLS)

	add := func(name string, serve func(context.Context) error) {
		p.group.Add(lifecycle.Service{Name: name, Stage: lifecycle.Work, Serve: serve})
	}
	add("tunnels", func(ctx context.Context) error { return x.registry.Serve(ctx, tunnels, data) })
	add("servers without an agent", x.ender.Serve)
	add("discovery", x.followProxies)
	add("locks", x.followLocks)
	add("auth pass-through", func(ctx context.Context) error { return x.proxy.ServeAuth(ctx, auth) })
	add("dials", func(ctx context.Context) error { return x.proxy.ServeDials(ctx, dials) })
	for name, ln := range map[string]net.Listener{"jump host over TLS": sshTLS, "jump host": sshPlain} {
		add(name, func(ctx context.Context) error {
			return x.proxy.Serve(ctx, ln, name, func(ctx context.Context, conn net.Conn) error {
				return x.jump.ServeConn(ctx, conn, netx.AddrPort(conn.RemoteAddr()))
			})
		})
	}
	x.runNative(add)
	add("sessions with apps", x.apps.Serve)
	add("web", func(ctx context.Context) error { return x.serveWeb(ctx, pages) })
	if p.cfg.Proxy.ReloadInterval > 0 {
		add("web certificates", x.reloadCerts)
	}
	p.health.expect("proxy")
	p.group.Add(lifecycle.Service{Name: "proxy port", Stage: lifecycle.Door, Serve: func(ctx context.Context) error {
		p.health.report("proxy", true)
		return r.Serve(ctx, ln)
	}})
	return nil
}

// followProxies tells agents of every live proxy.
func (x *proxyParts) followProxies(ctx context.Context) error {
	changes, stop := x.p.replica.Subscribe()
	defer stop()
	for {
		var list []tunframe.Proxy
		for _, q := range x.p.replica.Proxies() {
			list = append(list, tunframe.Proxy{UUID: q.Name(), Addr: q.Spec.Addr})
		}
		if err := x.registry.SetProxies(list); err != nil {
			x.p.log.Warn("agents were not told of all proxies", telemetry.KeyErr, err)
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return nil
		}
	}
}

func (x *proxyParts) reloadCerts(ctx context.Context) error {
	t := time.NewTicker(x.p.cfg.Proxy.ReloadInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := x.certs.reload(); err != nil {
				x.p.log.Warn("the web certificates were not read again; the present ones stay", telemetry.KeyErr, err)
			}
		}
	}
}

// announceProxy registers this proxy. An address that only this host
// understands (all interfaces) is not announced, unless the operator said how
// agents reach it. A port that wants a PROXY header is reached through the
// balancer alone, which leads agents to each proxy in turn.
func (p *Process) announceProxy(a net.Addr) error {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return err
	}
	addr := ""
	switch ip := net.ParseIP(host); {
	case proxyproto.Mode(p.cfg.Proxy.ProxyProtocol) == proxyproto.On:
	case p.cfg.AdvertiseIP != "":
		addr = net.JoinHostPort(p.cfg.AdvertiseIP, port)
	case ip != nil && !ip.IsUnspecified():
		addr = a.String()
	}
	doc := &types.Proxy{Header: types.Header{Kind: types.KindProxy, Version: "v2", Metadata: types.Metadata{Name: p.member.Identity().Name}},
		Spec: types.ServerSpec{Hostname: p.cfg.Nodename, Addr: addr, PublicAddrs: []string{p.publicAddr()}, ServerVersion: types.Release, Generation: p.number}}
	return p.presence.set("proxy", doc)
}

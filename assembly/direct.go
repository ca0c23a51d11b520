package assembly

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"teleport/agent/agentd"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/lifecycle"
	"teleport/netx"
	"teleport/netx/proxyproto"
	"teleport/sshaccess"
	"teleport/telemetry"
	"teleport/tlsroute"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// silence is how long the listener of an agent waits for a client's first byte
// before it takes it for one that wants to be greeted in SSH. Proxies begin with
// a TLS hello and OpenSSH with its banner, both at once.
const silence = 2 * time.Second

// listener is an agent's own port: dials that proxies send over TLS, and SSH in
// plain text from whoever has a certificate of the cluster.
type listener struct {
	p       *Process
	agent   *agentd.Agent
	service *sshaccess.Service
}

// listenSSH opens the port of the SSH service, where it has one.
func (p *Process) listenSSH(ctx context.Context) (net.Listener, error) {
	if p.cfg.SSH.ListenAddr == "" {
		return nil, nil
	}
	return p.gen.Listen(ctx, p.cfg.SSH.ListenAddr)
}

// run adds the services of the port.
func (l *listener) run(ln net.Listener) error {
	p := l.p
	routes, err := tlsroute.New(tlsroute.Options{Silence: silence, ProxyProtocol: proxyproto.Off, Log: p.log})
	if err != nil {
		return err
	}
	config := tlscert.ServerConfig(p.member.Source(), tlscert.ServerOptions{Kinds: []types.IdentityKind{types.IdentityHost}})
	dials := routes.ALPN(config.GetConfigForClient, tunframe.ALPNDirect)
	// Proxies bring many clients from one address; who comes in plain text is one.
	plain := netx.LimitPerClient(routes.Preamble(tlsroute.SSH), p.cfg.MaxPerIP, nil)
	p.health.expect("ssh port")
	p.group.Add(lifecycle.Service{Name: "direct connections", Stage: lifecycle.Work, Serve: func(ctx context.Context) error {
		var all sync.WaitGroup
		all.Go(func() { l.serve(ctx, dials, l.serveDial) })
		all.Go(func() { l.serve(ctx, plain, l.serveSSH) })
		all.Wait()
		if p.cfg.SSH.Direct {
			p.farewell()
		}
		return nil
	}})
	p.group.Add(lifecycle.Service{Name: "ssh port", Stage: lifecycle.Door, Serve: func(ctx context.Context) error {
		p.health.report("ssh port", true)
		return routes.Serve(ctx, ln)
	}})
	return nil
}

// serve accepts until the port closes; connections that are open then go on, and
// serve returns with the last of them.
func (l *listener) serve(ctx context.Context, ln net.Listener, handle func(context.Context, net.Conn) error) {
	var open sync.WaitGroup
	defer open.Wait()
	life := context.WithoutCancel(ctx)
	// An error says that the port has closed, as a drain begins.
	_ = netx.Accept(ctx, ln, l.p.log, func(c net.Conn) {
		open.Go(func() {
			defer c.Close()
			if err := lifecycle.Guard(life, func(ctx context.Context) error { return handle(ctx, c) }); err != nil {
				l.p.log.DebugContext(life, "direct connection ended", telemetry.KeyAddr, c.RemoteAddr().String(), telemetry.KeyErr, err)
			}
		})
	})
}

// serveDial serves a connection whose TLS a host has opened; only a proxy may dial.
func (l *listener) serveDial(ctx context.Context, c net.Conn) error {
	t, ok := c.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return fault.New(fault.Internal, "a dial arrived without TLS")
	}
	proxy, err := tlscert.Peer(t.ConnectionState(), l.p.member.Trust(), l.p.clock.Now(), types.IdentityHost)
	if err != nil {
		return err
	}
	return l.agent.HandleDirect(ctx, c, proxy)
}

// serveSSH serves a client that came without a proxy. There is no gate in front
// of it: the service decides all, as it does for dials.
func (l *listener) serveSSH(ctx context.Context, c net.Conn) error {
	return l.service.ServeConn(ctx, c, sshaccess.Inbound{ClientAddr: netx.AddrPort(c.RemoteAddr())})
}

// advertised is where others reach the SSH service's own port, "" without one.
func (p *Process) advertised(ln net.Listener) string {
	if ln == nil {
		return ""
	}
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return ""
	}
	if p.cfg.AdvertiseIP == "" && len(p.cfg.SSH.PublicAddrs) > 0 {
		if _, _, err := net.SplitHostPort(p.cfg.SSH.PublicAddrs[0]); err == nil {
			return p.cfg.SSH.PublicAddrs[0]
		}
	}
	return net.JoinHostPort(p.sshHost(), port)
}

// sshHost is the name or address of the SSH service's own port: as the operator
// said, or where it listens, or the address that this host shows to the cluster.
func (p *Process) sshHost() string {
	if p.cfg.AdvertiseIP != "" {
		return p.cfg.AdvertiseIP
	}
	if len(p.cfg.SSH.PublicAddrs) > 0 {
		return hostPart(p.cfg.SSH.PublicAddrs[0])
	}
	host := hostPart(p.cfg.SSH.ListenAddr)
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return host
	}
	// The way to an address says which of ours leads there; nothing is sent.
	if c, err := net.Dial("udp", firstOf(p.cfg.AuthServer, p.cfg.ProxyServer, "192.0.2.1:9")); err == nil {
		defer c.Close()
		return hostPart(c.LocalAddr().String())
	}
	return p.cfg.Nodename
}

func hostPart(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// dialDirect opens a stream to an agent in direct mode at the address that it
// registered. Whoever listens there must be that very agent: its UUID stands in
// the certificate that it shows. It is a router.Direct.
func (x *proxyParts) dialDirect(ctx context.Context, n *types.Node, h tunframe.Header) (net.Conn, tunframe.Reply, error) {
	uuid := n.Name()
	if err := lockedHost(x.p.replica.Locks(), uuid); err != nil {
		return nil, tunframe.Reply{}, err
	}
	config, err := tlscert.ClientConfig(x.p.member.Source(), tlscert.Server{Cluster: x.cluster, UUID: uuid}, tunframe.ALPNDirect)
	if err != nil {
		return nil, tunframe.Reply{}, err
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", n.Spec.Addr)
	if err != nil {
		return nil, tunframe.Reply{}, fault.Wrap(err, fault.Unavailable, "node %s does not answer at %s", n.Spec.Hostname, n.Spec.Addr)
	}
	conn := tls.Client(netx.UnderTLS(raw), config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, tunframe.Reply{}, errors.Join(fault.Wrap(err, fault.Unavailable, "what answers at %s is not node %s (%s)", n.Spec.Addr, n.Spec.Hostname, uuid), raw.Close())
	}
	h.V, h.AgentUUID, h.ProxyUUID = tunframe.Version, uuid, x.uuid
	if err := dial.WriteHeader(conn, &h); err != nil {
		return nil, tunframe.Reply{}, errors.Join(fault.Wrap(err, fault.Unavailable, "node %s closed the connection", n.Spec.Hostname), conn.Close())
	}
	reply, err := dial.ReadReply(ctx, conn)
	if err != nil {
		return nil, reply, errors.Join(err, conn.Close())
	}
	reply.AgentUUID = uuid // as its certificate says
	return conn, reply, nil
}

package assembly

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/agent/agentd"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/lifecycle"
	"teleport/netx"
	"teleport/netx/alpndial"
	"teleport/resume"
	"teleport/sshaccess"
	"teleport/sshaccess/childbin"
	"teleport/sshaccess/spawn"
	"teleport/telemetry"
	"teleport/tunnel"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// sshService is the SSH service as agentd sees it: it fronts this one host.
type sshService struct {
	*sshaccess.Service
	uuid string
	kept time.Duration // how long a client may be away
}

func (s sshService) Kind() string            { return types.KindNode }
func (s sshService) Fronts(name string) bool { return name == s.uuid }

func (s sshService) Serve(ctx context.Context, in *dial.Inbound) error {
	g := in.Header.Gateway
	if g == nil {
		return fault.New(fault.Denied, "the dial does not say who came through the gate")
	}
	inbound := sshaccess.Inbound{ClientAddr: netx.AddrPort(in.RemoteAddr()), ProxyID: in.Proxy.Name,
		Gateway: &sshaccess.Gateway{User: g.User, Cluster: g.Cluster, CertSHA256: g.CertSHA256}, Stream: in.Header.Stream}
	if _, ok := in.Conn.(*resume.Stream); ok {
		inbound.Kept = s.kept
	}
	return s.ServeConn(ctx, in, inbound)
}

func (p *Process) buildSSH(ctx context.Context) error {
	id := p.member.Identity()
	child, err := childbin.Open()
	if err != nil {
		p.log.Warn("files and forwarding are off", telemetry.KeyErr, err)
	} else {
		p.closers = append(p.closers, child.Close)
	}
	ln, err := p.listenSSH(ctx)
	if err != nil {
		return err
	}
	node, err := newNodeDoc(p, id, p.advertised(ln))
	if err != nil {
		return err
	}
	record, err := p.recorder(false)
	if err != nil {
		return err
	}
	service, err := sshaccess.New(sshaccess.Config{HostID: id.Name, Hostname: p.cfg.Nodename, Cluster: id.Cluster, Node: node.document,
		HostSigners: func() []ssh.Signer { return []ssh.Signer{p.member.SSHSigner()} }, Verify: p.verifyUser, VerifyBridge: p.verifyBridge, Policy: p.replica,
		Audit: p.writer, Sessions: p.sessions, Slots: p.slots, Trackers: p.trackers, Recorder: record, Accounts: &spawn.Accounts{}, Log: p.log, Child: child, Cache: p.decisions, Now: p.clock.Now,
		PortForwarding: p.cfg.SSH.PortForwarding, FileCopy: p.cfg.SSH.FileCopy, PermitUserEnv: p.cfg.SSH.PermitUserEnv,
		Strangers: p.strangers, ProxyAddr: func() string { return firstOf(p.cfg.ProxyServer, p.publicAddr()) }})
	if err != nil {
		return err
	}
	p.services = append(p.services, sshService{service, id.Name, p.cfg.SSH.Detached})
	p.node = node
	node.labels.RunOnce(ctx)
	if err := node.announce(); err != nil {
		return err
	}
	p.group.Add(lifecycle.Service{Name: "command labels", Serve: node.labels.Serve})
	p.sshPort = func(agent *agentd.Agent) error {
		if ln == nil {
			return nil
		}
		return (&listener{p, agent, service}).run(ln)
	}
	return nil
}

// buildAgent makes what takes dials for the services that were built, and the
// ways by which dials come.
func (p *Process) buildAgent(context.Context) error {
	if len(p.services) == 0 {
		return nil
	}
	id := p.member.Identity()
	agent, err := agentd.New(agentd.Options{Cluster: id.Cluster, UUID: id.Name, Hostname: p.cfg.Nodename, Generation: p.number,
		Services: p.services, Locks: p.replica.Locks, Log: p.log, Streams: p.streams(id.Name)})
	if err != nil {
		return err
	}
	p.agent = agent
	p.group.Add(lifecycle.Service{Name: "resumable streams", Stage: lifecycle.Work, Serve: agent.Serve})
	if p.sshPort != nil {
		if err := p.sshPort(agent); err != nil {
			return err
		}
	}
	if p.cfg.SSH != nil && p.cfg.SSH.Direct {
		return nil
	}
	return p.holdTunnels(agent)
}

// farewellTime bounds what a stopping agent has yet to tell the auth service.
const farewellTime = 3 * time.Second

// farewell ships the ends of the last sessions and gives up this process's
// presence, while its tunnels still lead to the auth service. What does not
// arrive waits on disk, and in the lease.
func (p *Process) farewell() {
	ctx, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	if err := p.shipper.Flush(ctx); err != nil {
		p.log.Info("audit events wait on disk for the next start", telemetry.KeyErr, err)
	}
	if err := p.spool.Flush(ctx); err != nil {
		p.log.Info("recordings wait on disk for the next start", telemetry.KeyErr, err)
	}
	// A busy auth service takes its time, and a goodbye that is lost leaves the
	// host in the list until its lease ends.
	bye, end := context.WithTimeout(context.Background(), 2*farewellTime)
	defer end()
	p.announcer.Leave(bye)
}

// holdTunnels keeps this agent's tunnels to the proxies, and sends the process's
// own API traffic through them once they stand.
func (p *Process) holdTunnels(agent *agentd.Agent) error {
	id := p.member.Identity()
	config, err := tlscert.ClientConfig(p.member.Source(), tlscert.Server{Cluster: id.Cluster, Role: types.RoleProxy})
	if err != nil {
		return err
	}
	pool, err := tunnel.NewPool(tunnel.PoolOptions{UUID: id.Name, Cluster: id.Cluster, Credentials: p.tunnelCredentials(),
		Dial:   func(ctx context.Context, t tunnel.Target) (net.Conn, error) { return p.dialProxy(ctx, config, t) },
		Handle: agent.Handle, Hello: tunframe.Hello{Generation: p.number, Services: p.serviceNames(), Release: types.Release},
		Last: p.farewell, Drain: maxDrain, Backoff: lifecycle.Backoff{Min: 250 * time.Millisecond, Max: 8 * time.Second}, Log: p.log})
	if err != nil {
		return err
	}
	p.health.expect("tunnels")
	settled := make(chan struct{})
	p.group.Add(lifecycle.Service{Name: "tunnel health", Serve: func(ctx context.Context) error { return p.followTunnels(ctx, pool, settled) }})
	p.group.Add(lifecycle.Service{Name: "tunnels of this agent", Stage: lifecycle.Work, Ready: settled, Serve: pool.Serve})
	return nil
}

// serviceNames are the services of this agent, as its tunnels name them.
func (p *Process) serviceNames() []string {
	var names []string
	if p.cfg.SSH != nil {
		names = append(names, "ssh")
	}
	if p.cfg.DB != nil {
		names = append(names, "db")
	}
	if p.cfg.App != nil {
		names = append(names, "app")
	}
	return names
}

// dialProxy opens TLS to one proxy, or to whichever answers at the public address.
func (p *Process) dialProxy(ctx context.Context, config *tls.Config, t tunnel.Target) (net.Conn, error) {
	addr := firstOf(t.Addr, p.cfg.ProxyServer)
	if addr == "" {
		// This process runs a proxy, or joined at auth: the cluster's own proxies are known.
		addr = p.ownProxy()
	}
	if addr == "" {
		return nil, fault.New(fault.Unavailable, "no proxy of the cluster is known yet")
	}
	// Behind a balancer that ends TLS the outer connection shows the balancer's web
	// certificate. It need not be believed: what counts runs inside, where the proxy
	// proves itself by a certificate of the host authority.
	return (&alpndial.Dialer{ProxyAddr: addr, Insecure: true}).Dial(ctx, t.ALPN, config)
}

func (p *Process) ownProxy() string {
	if p.cfg.Proxy != nil {
		if a, err := net.ResolveTCPAddr("tcp", p.cfg.Proxy.WebListenAddr); err == nil {
			return localAddr(a)
		}
	}
	return p.publicAddr()
}

// throughTunnels dials auth through a tunnel, and as the process began where
// none stands or carries.
func throughTunnels(pool *tunnel.Pool, first dialFunc) dialFunc {
	return func(ctx context.Context) (net.Conn, error) {
		if len(pool.Proxies()) > 0 {
			if conn, err := pool.DialAuth(ctx); err == nil || ctx.Err() != nil {
				return conn, err
			}
		}
		return first(ctx)
	}
}

// settleTime is how long a process waits, after its first tunnel, for those to
// the other proxies before it calls itself ready.
const settleTime = 3 * time.Second

// followTunnels keeps the readiness of the process true to its tunnels, and
// moves its API traffic onto them. It closes settled when each proxy of the
// cluster has a tunnel, or one has for a while: a generation takes over only
// when dials find it wherever they come from.
func (p *Process) followTunnels(ctx context.Context, pool *tunnel.Pool, settled chan struct{}) error {
	changes, stop := p.member.Subscribe()
	defer stop()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	quick := time.NewTicker(100 * time.Millisecond)
	defer quick.Stop()
	var first time.Time
	for {
		n := len(pool.Proxies())
		if n > 0 && first.IsZero() {
			first = time.Now()
			if p.cfg.ProxyServer != "" {
				p.via.use(throughTunnels(pool, *p.via.dial.Load()))
			}
		}
		if settled != nil && n > 0 && (n >= len(p.replica.Proxies()) || time.Since(first) > settleTime) {
			close(settled)
			settled = nil
			quick.Stop()
		}
		p.health.report("tunnels", n > 0)
		select {
		case <-ctx.Done():
			return nil
		case <-changes: // a renewed certificate or a changed authority
			pool.Redial()
		case <-quick.C:
		case <-t.C:
		}
	}
}

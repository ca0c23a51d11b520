package assembly

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"teleport/api/authclient"
	"teleport/api/gen/auditv1"
	"teleport/audit"
	"teleport/audit/chain"
	"teleport/builtin/joins"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/keys"
	"teleport/lifecycle"
	"teleport/member"
	"teleport/netx/alpndial"
	"teleport/session"
	"teleport/sshserver"
	"teleport/store"
	"teleport/telemetry"
	"teleport/types"
)

func (p *Process) buildMember(context.Context) error {
	m, err := member.New(member.Config{DataDir: p.cfg.DataDir, Hostname: p.cfg.Nodename, Principals: p.principals(),
		SystemRoles: p.roles(), Suite: keys.DefaultSuite, Pins: p.cfg.CAPins, Log: p.log, Now: p.clock.Now,
		OnRenewal: func(err error) { p.health.report("identity", err == nil) }})
	p.member = m
	return err
}

// buildJoined makes a process that reaches auth elsewhere: with the identity on
// disk, or by joining.
func (p *Process) buildJoined(ctx context.Context) error {
	if p.cfg.AuthServer != "" {
		p.via = directRoute(p.cfg.AuthServer)
	} else {
		d := p.proxyDialer()
		p.via = newRoute(func(ctx context.Context) (net.Conn, error) { return p.dialAuthThroughProxy(ctx, d) })
	}
	if err := p.admit(ctx); err != nil {
		return err
	}
	return p.openWriter(p.member.Identity().Name, p.member.Identity().Cluster)
}

// admit gives this process an identity: the one on disk, or that of a join.
func (p *Process) admit(ctx context.Context) error {
	err := p.member.Load()
	switch {
	case errors.Is(err, fault.NotFound):
		return p.join(ctx)
	case !errors.Is(err, fault.Unauthenticated):
		return err
	case p.cfg.Token.Empty():
		return fault.Advise(err, "Make a token with: tctl tokens add --type=%s, and start with it (teleport.join_params, or --token): the host keeps its UUID.", p.tokenType())
	}
	// It slept, or auth was away, for longer than a certificate lives.
	p.log.Warn("this host joins again", telemetry.KeyErr, err)
	return p.join(ctx)
}

// tokenType is what tctl tokens add --type takes for a host like this one.
func (p *Process) tokenType() string {
	var list []string
	for _, r := range p.roles() {
		if r != types.RoleInstance {
			list = append(list, strings.ToLower(string(r)))
		}
	}
	return strings.Join(list, ",")
}

func (p *Process) proxyDialer() *alpndial.Dialer {
	return &alpndial.Dialer{ProxyAddr: p.cfg.ProxyServer, Insecure: p.cfg.Insecure}
}

// authALPN is the ALPN name that the proxy passes on to auth. A process that
// joins does not know the cluster's name yet; later "@" and the name follow.
const authALPN = "teleport-auth"

// dialAuthThroughProxy opens a connection of ALPN teleport-auth@<cluster>. The
// outer TLS shows the proxy's web certificate, but what counts runs inside: TLS
// with auth itself, whose certificate the host authority vouches for. So once
// this process knows the authority, or has a pin of it, the web certificate
// need not be believed.
func (p *Process) dialAuthThroughProxy(ctx context.Context, d *alpndial.Dialer) (net.Conn, error) {
	outer, name := *d, authALPN
	id := p.member.Identity()
	if id != nil {
		name += "@" + id.Cluster
	}
	if id != nil || len(p.cfg.CAPins) > 0 {
		outer.Insecure = true
	}
	return outer.Dial(ctx, name, nil)
}

// join admits this process. It tries again while the cluster does not answer:
// machines of one rack start in any order.
func (p *Process) join(ctx context.Context) error {
	if p.cfg.Token.Empty() {
		return fault.New(fault.Unauthenticated, "this host has not joined the cluster yet, and no join token is configured").
			WithHint("Make one with: tctl tokens add --type=%s", p.tokenType())
	}
	prover, err := joins.Prover(p.cfg.JoinMethod)
	if err != nil {
		return err
	}
	pause := lifecycle.Backoff{Min: time.Second, Max: 15 * time.Second}
	for failures := 1; ; failures++ {
		err := p.joinOnce(ctx, func(c *authclient.Client) error { return p.member.Join(ctx, c, prover, p.cfg.Token) })
		if err == nil || !slices.Contains([]fault.Kind{fault.Unavailable, fault.Timeout, fault.Limit}, fault.KindOf(err)) {
			return err
		}
		p.log.Warn("cannot join yet, trying again", telemetry.KeyErr, err)
		if err := lifecycle.Sleep(ctx, pause.Delay(failures)); err != nil {
			return fault.Wrap(err, fault.Canceled, "stopped before this host had joined")
		}
	}
}

func (p *Process) joinOnce(ctx context.Context, use func(*authclient.Client) error) error {
	config, err := p.firstContact(ctx)
	if err != nil {
		return err
	}
	c, err := authclient.New(authclient.Config{Dial: p.via.Dial, TLS: config})
	if err != nil {
		return err
	}
	defer c.Close()
	return use(c)
}

// firstContact is how a process without an identity knows the auth service: by
// a pin of the host authority, or by the authority that the proxy names over a
// web connection that the public PKI vouches for.
func (p *Process) firstContact(ctx context.Context) (*tls.Config, error) {
	src := p.member.Source()
	src.Certificate = func() *tls.Certificate { return nil }
	if len(p.cfg.CAPins) > 0 {
		return tlscert.PinnedConfig(src, p.cfg.CAPins, types.RoleAuth, "h2")
	}
	if p.cfg.ProxyServer == "" {
		return nil, fault.New(fault.Untrusted, "joining at %s directly needs a ca_pin", p.cfg.AuthServer).WithHint("tctl status prints it.")
	}
	pins, err := p.pinsFromProxy(ctx)
	if err != nil {
		return nil, err
	}
	return tlscert.PinnedConfig(src, pins, types.RoleAuth, "h2")
}

// openWriter makes the audit writer of this generation.
func (p *Process) openWriter(uuid, cluster string) error {
	w, err := audit.NewWriter(audit.WriterOptions{Dir: p.dir("log", "spool"), HostUUID: uuid, Cluster: cluster, Log: p.log})
	if err != nil {
		return err
	}
	p.writer = w
	p.closers = append(p.closers, w.Close)
	return nil
}

// replicaKinds is what a process decides from, by its services.
func (p *Process) replicaKinds() []string {
	kinds := append(types.PolicyKinds(), types.KindCheckpoint)
	if p.cfg.Proxy != nil {
		kinds = append(kinds, types.KindNode, types.KindDatabaseServer, types.KindAppServer, types.KindSessionTracker, types.KindAppSession)
	}
	if p.cfg.DB != nil {
		kinds = append(kinds, types.KindDatabase, types.KindHealthCheckConfig)
	}
	if p.cfg.App != nil {
		kinds = append(kinds, types.KindApp, types.KindHealthCheckConfig)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// buildShared makes what every process has: the API client, the replica, the
// shipper of events, renewal and the control stream.
func (p *Process) buildShared(context.Context) error {
	id := p.member.Identity()
	config, err := tlscert.ClientConfig(p.member.Source(), tlscert.Server{Cluster: id.Cluster, Role: types.RoleAuth}, "h2")
	if err != nil {
		return err
	}
	if p.client, err = authclient.New(authclient.Config{Dial: p.via.Dial, TLS: config}); err != nil {
		return err
	}
	p.closers = append(p.closers, p.client.Close)
	p.replica = store.NewReplica(p.client, p.replicaKinds(), store.ReplicaOptions{Log: p.log})
	p.shipper = audit.NewShipper(p.writer, p.ship, audit.ShipperOptions{Backoff: lifecycle.Backoff{Min: time.Second, Max: 10 * time.Second}, Log: p.log})
	p.announcer = member.NewAnnouncer(member.AnnouncerConfig{
		Via:     member.PresenceFunc(func(ctx context.Context) (member.ControlStream, error) { return p.client.Control(ctx) }),
		Version: types.Release, Hostname: p.cfg.Nodename, Services: p.roles(), Generation: p.number,
		Sessions: p.trackers, Log: p.log})
	p.presence.announce = p.announcer.Announce
	p.slots = session.NewSlots(connectionCounter{p.client}, p.log)
	p.strangers = sshserver.NewStrangers(func(ctx context.Context, f sshserver.Failure) { p.authFailed(ctx, id.Name, f) })

	p.health.expect("control stream")
	p.health.report("identity", true)
	again := &lifecycle.Backoff{Min: time.Second, Max: 15 * time.Second}
	p.group.Add(lifecycle.Service{Name: "audit shipper", Serve: p.shipper.Serve})
	p.group.Add(lifecycle.Service{Name: "refused strangers", Serve: p.strangers.Serve})
	p.group.Add(lifecycle.Service{Name: "replica", Serve: p.replica.Serve, Ready: p.replica.Ready(), Restart: again})
	p.group.Add(lifecycle.Service{Name: "trust", Serve: p.followTrust})
	p.group.Add(lifecycle.Service{Name: "renewal", Serve: func(ctx context.Context) error { return p.member.Serve(ctx, p.client) }})
	p.group.Add(lifecycle.Service{Name: "connections to auth", Serve: p.followIdentity})
	p.group.Add(lifecycle.Service{Name: "session policy", Serve: func(ctx context.Context) error { return p.sessions.Serve(ctx, p.replica) }})
	p.group.Add(lifecycle.Service{Name: "connections with a limit", Serve: p.slots.Serve})
	p.group.Add(lifecycle.Service{Name: "control stream", Serve: p.announcer.Serve, Restart: again})
	p.group.Add(lifecycle.Service{Name: "control health", Serve: p.followControl})
	return nil
}

// ship sends a batch of events; it is an audit.Ship.
func (p *Process) ship(ctx context.Context, b chain.Batch) (uint64, error) {
	req := &auditv1.ShipRequest{Generation: b.Generation, Previous: b.Previous[:], Records: make([]*auditv1.Record, len(b.Records))}
	all := make([]auditv1.Record, len(b.Records))
	for i := range b.Records {
		r, to := &b.Records[i], &all[i]
		to.Sequence, to.Event, to.Salt, to.Chain = r.Sequence, r.Event, r.Salt, r.Chain[:]
		req.Records[i] = to
	}
	return p.client.Ship(ctx, req)
}

// followTrust hands authorities that the replica brings to the identity, which
// renews when the one that signed it is on its way out.
func (p *Process) followTrust(ctx context.Context) error {
	changes, stop := p.replica.Subscribe()
	defer stop()
	for {
		select {
		case <-p.replica.Ready():
			if list := p.replica.Trust().Authorities(); len(list) > 0 {
				if err := p.member.UpdateTrust(ctx, list); err != nil {
					p.log.Warn("the cluster's authorities were not stored", telemetry.KeyErr, err)
				}
			}
		case <-ctx.Done():
			return nil
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return nil
		}
	}
}

// followIdentity moves the calls of this process to new connections when its
// certificate or the authorities change: auth serves a connection until the
// certificate that it was made with expires.
func (p *Process) followIdentity(ctx context.Context) error {
	changes, stop := p.member.Subscribe()
	defer stop()
	return p.client.Follow(ctx, changes)
}

// followControl keeps the readiness of the process true to its control stream.
func (p *Process) followControl(ctx context.Context) error {
	for {
		p.health.report("control stream", p.announcer.Connected())
		select {
		case <-p.announcer.Status():
		case <-ctx.Done():
			return nil
		}
	}
}

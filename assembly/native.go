package assembly

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"time"

	"teleport/api/gen/issuev1"
	"teleport/cert/tlscert"
	"teleport/lifecycle"
	"teleport/netx"
	"teleport/netx/proxyproto"
	"teleport/proxy/native"
	"teleport/tlsroute"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// buildNative makes what serves database clients that come without tsh.
func (x *proxyParts) buildNative() error {
	p := x.p
	x.native = native.New(native.Options{Certificate: p.member.TLSCertificate, Dial: x.proxy.Dial, Now: p.clock.Now, MySQLVersion: p.cfg.Proxy.MySQLVersion,
		Peer: func(cs tls.ConnectionState) (*types.Identity, error) {
			return tlscert.Peer(cs, p.replica.Trust(), p.clock.Now(), types.IdentityUser)
		},
		Bridge: p.bridgeTLS, Protocol: p.protocolOf,
		Agent: func(uuid string, own *tls.Certificate) (*tls.Config, error) {
			src := tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: p.replica.Trust, Now: p.clock.Now}
			return tlscert.ClientConfig(src, tlscert.Server{Cluster: x.cluster, UUID: uuid})
		}})
	return nil
}

// protocolOf is what a database speaks that an agent fronts; empty for none.
func (p *Process) protocolOf(database string) string {
	for _, s := range p.replica.DatabaseServers() {
		if d := &s.Spec.Database; d.Metadata.Name == database {
			return d.Spec.Protocol
		}
	}
	return ""
}

// listenMySQL opens the port of clients of MySQL, if there is one.
func (x *proxyParts) listenMySQL(ctx context.Context) error {
	p := x.p.cfg.Proxy
	if p.MySQLListenAddr == "" {
		return nil
	}
	ln, err := x.p.gen.Listen(ctx, p.MySQLListenAddr)
	if err != nil {
		return err
	}
	x.mysql = netx.LimitPerClient(ln, x.p.cfg.MaxPerIP, p.TrustedBalancers)
	if mode := proxyproto.Mode(p.ProxyProtocol); mode == proxyproto.On { // else nobody waits for a header: the client waits itself
		x.mysql = proxyproto.Listen(x.mysql, mode, p.TrustedBalancers, headerTimeout)
	}
	return nil
}

// headerTimeout bounds how long a balancer may take to say for whom it comes.
const headerTimeout = 10 * time.Second

// runNative adds the services of clients that come without tsh: at bare ports, and
// within tsh's own TLS, which shows who the proxy is and asks for nobody.
func (x *proxyParts) runNative(add func(name string, serve func(context.Context) error)) {
	tls := tlscert.ServerConfig(x.p.member.Source(), tlscert.ServerOptions{Anonymous: true}).GetConfigForClient
	serve := func(name string, ln net.Listener, what string, handle func(context.Context, net.Conn) error) {
		add(name, func(ctx context.Context) error { return x.proxy.Serve(ctx, ln, what, handle) })
	}
	serve("clients of PostgreSQL", x.routes.Preamble(tlsroute.Postgres), "postgres", x.native.ServePostgres)
	serve("clients of PostgreSQL over TLS", x.routes.ALPN(tls, tunframe.ALPNPostgres), "postgres", x.native.ServePostgres)
	serve("clients of MySQL over TLS", x.routes.ALPN(tls, tunframe.ALPNMySQL), "mysql", x.native.ServeMySQL)
	serve("clients of Redis over TLS", x.routes.ALPN(tls, tunframe.ALPNRedis), "redis", x.native.ServeRedis)
	if x.mysql == nil {
		return
	}
	serve("clients of MySQL", x.mysql, "mysql", x.native.ServeMySQL)
	x.p.group.Add(lifecycle.Service{Name: "MySQL port", Stage: lifecycle.Door, Serve: func(ctx context.Context) error {
		<-ctx.Done()
		x.mysql.Close() // those whom it let in go on
		return nil
	}})
}

// bridgeTLS asks auth for the certificate by which this proxy speaks for a user
// whose TLS it ends.
func (p *Process) bridgeTLS(ctx context.Context, user *x509.Certificate, client netip.AddrPort, key crypto.PublicKey) ([]byte, error) {
	public, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	certs, err := p.client.BridgeTLS(ctx, &issuev1.BridgeTLSRequest{UserCert: user.Raw, TlsPublic: public, ClientAddr: client.String()})
	if err != nil {
		return nil, err
	}
	return certs.TlsCert, nil
}

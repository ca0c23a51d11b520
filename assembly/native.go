package assembly

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net/netip"

	"teleport/api/gen/issuev1"
	"teleport/cert/tlscert"
	"teleport/proxy/native"
	"teleport/tlsroute"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// buildNative makes what serves database clients that come without tsh.
func (x *proxyParts) buildNative() error {
	p := x.p
	x.native = native.New(native.Options{Certificate: p.member.TLSCertificate, Dial: x.proxy.Dial, Now: p.clock.Now,
		Peer: func(cs tls.ConnectionState) (*types.Identity, error) {
			return tlscert.Peer(cs, p.replica.Trust(), p.clock.Now(), types.IdentityUser)
		},
		Bridge: p.bridgeTLS,
		Agent: func(uuid string, own *tls.Certificate) (*tls.Config, error) {
			src := tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: p.replica.Trust, Now: p.clock.Now}
			return tlscert.ClientConfig(src, tlscert.Server{Cluster: x.cluster, UUID: uuid})
		}})
	return nil
}

// runNative adds the services of clients that come without tsh, at the bare port
// and within tsh's own TLS, which shows who the proxy is and asks for nobody.
func (x *proxyParts) runNative(add func(name string, serve func(context.Context) error)) {
	tls := tlscert.ServerConfig(x.p.member.Source(), tlscert.ServerOptions{Anonymous: true}).GetConfigForClient
	bare, within, redis := x.routes.Preamble(tlsroute.Postgres), x.routes.ALPN(tls, tunframe.ALPNPostgres), x.routes.ALPN(tls, tunframe.ALPNRedis)
	add("clients of PostgreSQL", func(ctx context.Context) error {
		return x.proxy.Serve(ctx, bare, "postgres", x.native.ServePostgres)
	})
	add("clients of PostgreSQL over TLS", func(ctx context.Context) error {
		return x.proxy.Serve(ctx, within, "postgres", x.native.ServePostgres)
	})
	add("clients of Redis over TLS", func(ctx context.Context) error {
		return x.proxy.Serve(ctx, redis, "redis", x.native.ServeRedis)
	})
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

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
	"teleport/types"
)

// buildNative makes what serves database clients that come without tsh.
func (x *proxyParts) buildNative() error {
	p := x.p
	x.native = native.New(native.Options{Certificate: x.certs.get, Dial: x.proxy.Dial, Now: p.clock.Now,
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

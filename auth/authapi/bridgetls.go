package authapi

import (
	"context"
	"crypto/x509"
	"net/netip"

	"connectrpc.com/connect"

	"teleport/api/gen/issuev1"
	"teleport/api/rpc"
	"teleport/auth/ca"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/types"
)

// BridgeTLS issues a proxy the certificate with which it goes on to an agent for a
// user whose TLS it ends. The user's certificate must have a route of its own: what
// a proxy has merely seen, as it passed by in a handshake, leads nowhere else. Who
// may do what in the database or app, its agent decides, from the policy of then.
func (s issueService) BridgeTLS(ctx context.Context, req *connect.Request[issuev1.BridgeTLSRequest]) (*connect.Response[issuev1.IssuedCerts], error) {
	resp, err := s.bridgeTLS(ctx, req)
	if fault.Refusal(err) {
		return nil, s.a.refusedFor(ctx, "BridgeTLS", "", "", err)
	}
	return resp, err
}

func (s issueService) bridgeTLS(ctx context.Context, req *connect.Request[issuev1.BridgeTLSRequest]) (*connect.Response[issuev1.IssuedCerts], error) {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	chain, id, client, err := s.shown(m, types.IdentityUser)
	if err != nil {
		return nil, err
	}
	route := id.Authority.Route
	if route == nil || types.ServerKind(route.Kind) == "" {
		return nil, fault.New(fault.Denied, "the certificate of %s is not for one database or app", id.Name)
	}
	k, err := publicKeys("", m.TlsPublic)
	if err != nil {
		return nil, err
	}
	certs, err := s.a.d.Issuer.Issue(ctx, ca.Request{Profile: ca.ProfileBridge, Subject: ca.Certificate{Chain: chain}, Keys: k,
		Caller: []*x509.Certificate{c.Certificate}, Route: route, Addr: client})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&issuev1.IssuedCerts{User: certs.Identity.Name, Cluster: certs.Identity.Cluster, TlsCert: certs.TLS,
		ExpiresUnix: certs.Expires.Unix()}), nil
}

// shown reads what a process shows of a user whose TLS it ends: the certificate,
// and from where the user comes.
func (s issueService) shown(m interface {
	GetUserCert() []byte
	GetClientAddr() string
}, kinds ...types.IdentityKind) (chain []*x509.Certificate, id *types.Identity, client netip.AddrPort, err error) {
	user, err := x509.ParseCertificate(m.GetUserCert())
	if err != nil {
		return nil, nil, client, fault.New(fault.Invalid, "the user's certificate cannot be read")
	}
	if client, err = netip.ParseAddrPort(m.GetClientAddr()); err != nil {
		return nil, nil, client, fault.New(fault.Invalid, "%.60q is not the address of a client", m.GetClientAddr())
	}
	chain = []*x509.Certificate{user}
	id, err = tlscert.Verify(chain, s.a.d.Trust(), s.a.d.Now(), kinds...)
	return chain, id, client, err
}

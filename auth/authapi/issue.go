package authapi

import (
	"context"
	"crypto/x509"
	"encoding/json"

	"connectrpc.com/connect"

	"teleport/api/gen/issuev1"
	"teleport/api/rpc"
	"teleport/auth/ca"
	"teleport/fault"
	"teleport/types"
)

// issueService mints from the certificate that the caller shows.
type issueService struct{ a *API }

// Reissue narrows the caller's own user certificate.
func (s issueService) Reissue(ctx context.Context, req *connect.Request[issuev1.ReissueRequest]) (*connect.Response[issuev1.IssuedCerts], error) {
	m := req.Msg
	r := ca.Request{Profile: ca.ProfileReissue, Usage: m.Usage}
	if len(m.Route) > 0 {
		r.Route = &types.Route{}
		if err := json.Unmarshal(m.Route, r.Route); err != nil {
			return nil, fault.Wrap(err, fault.Invalid, "the route cannot be read")
		}
	}
	return s.issue(ctx, r, m.Keys, m.TtlSeconds)
}

// SignUser issues certificates for another user, for the local administrator.
func (s issueService) SignUser(ctx context.Context, req *connect.Request[issuev1.SignUserRequest]) (*connect.Response[issuev1.IssuedCerts], error) {
	return s.issue(ctx, ca.Request{Profile: ca.ProfileSignUser, User: req.Msg.User}, req.Msg.Keys, req.Msg.TtlSeconds)
}

// SignHost issues a host certificate for an OpenSSH server, for the local
// administrator.
func (s issueService) SignHost(ctx context.Context, req *connect.Request[issuev1.SignHostRequest]) (*connect.Response[issuev1.IssuedCerts], error) {
	m := req.Msg
	if len(m.Hosts) == 0 {
		return nil, fault.New(fault.Invalid, "name at least one host")
	}
	if err := checkHost(m.Hosts[0], m.Hosts[1:], nil); err != nil {
		return nil, err
	}
	return s.issue(ctx, ca.Request{Profile: ca.ProfileSignHost, Host: ca.Host{Hostname: m.Hosts[0], Principals: m.Hosts[1:]}},
		m.Keys, m.TtlSeconds)
}

func (s issueService) issue(ctx context.Context, r ca.Request, k *issuev1.PublicKeys, ttl int64) (*connect.Response[issuev1.IssuedCerts], error) {
	c := rpc.CallerFrom(ctx)
	var err error
	if r.Keys, err = publicKeys(k.GetSshPublic(), k.GetTlsPublic()); err != nil {
		return nil, err
	}
	if r.TTL, err = lifetime(ttl); err != nil {
		return nil, err
	}
	r.Subject, r.Addr = ca.Certificate{Chain: []*x509.Certificate{c.Certificate}}, c.Addr
	certs, err := s.a.d.Issuer.Issue(ctx, r)
	if err != nil {
		return nil, err
	}
	docs, err := authorities(s.a.d.Trust())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&issuev1.IssuedCerts{User: certs.Identity.Name, Cluster: certs.Identity.Cluster,
		SshCert: certs.SSH, TlsCert: certs.TLS, Authorities: docs, ExpiresUnix: certs.Expires.Unix()}), nil
}

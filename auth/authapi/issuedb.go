package authapi

import (
	"context"
	"crypto/x509"

	"connectrpc.com/connect"

	"teleport/access"
	"teleport/api/gen/issuev1"
	"teleport/api/rpc"
	"teleport/auth/ca"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// Database issues an agent the certificate with which it logs in to a database.
// Who may be whom in which database is decided here once more, and the agent must
// be one that fronts it: one that is stolen gets nobody in elsewhere.
func (s issueService) Database(ctx context.Context, req *connect.Request[issuev1.DatabaseRequest]) (*connect.Response[issuev1.IssuedCerts], error) {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	chain, id, client, err := s.shown(m, types.IdentityUser, types.IdentityBridge)
	if err != nil {
		return nil, err
	}
	server, err := store.Of[*types.DatabaseServer](s.a.d.Store).Get(ctx, types.ServerName(m.Database, c.Identity.Name))
	if err != nil {
		return nil, fault.Wrap(err, fault.Denied, "this agent does not front the database %.60q", m.Database)
	}
	ask := access.Ask(s.a.d.Policy, id, client.Addr(), s.a.d.Now())
	ask.Action, ask.Resource, ask.HostID = access.ActionDatabase, &server.Spec.Database, c.Identity.Name
	ask.Login, ask.DBName = m.DbUser, m.DbName
	if d := access.Decide(ask); !d.Allow {
		return nil, refusedBy(d)
	}
	k, err := publicKeys("", m.TlsPublic)
	if err != nil {
		return nil, err
	}
	certs, err := s.a.d.Issuer.Issue(ctx, ca.Request{Profile: ca.ProfileDatabase, Subject: ca.Certificate{Chain: chain}, Keys: k,
		Caller: []*x509.Certificate{c.Certificate}, Route: id.Authority.Route, Login: m.DbUser, Addr: client})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&issuev1.IssuedCerts{User: certs.Identity.Name, Cluster: certs.Identity.Cluster, TlsCert: certs.TLS,
		ExpiresUnix: certs.Expires.Unix()}), nil
}

// SignDatabase issues a certificate for a database server, for the local
// administrator.
func (s issueService) SignDatabase(ctx context.Context, req *connect.Request[issuev1.SignHostRequest]) (*connect.Response[issuev1.IssuedCerts], error) {
	m := req.Msg
	if len(m.Hosts) == 0 {
		return nil, fault.New(fault.Invalid, "name at least one host")
	}
	if err := checkHost(m.Hosts[0], m.Hosts[1:], nil); err != nil {
		return nil, err
	}
	return s.issue(ctx, ca.Request{Profile: ca.ProfileSignDB, Host: ca.Host{Hostname: m.Hosts[0], Principals: m.Hosts[1:]}}, m.Keys, m.TtlSeconds)
}

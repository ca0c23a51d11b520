package authapi

import (
	"context"
	"crypto/x509"
	"errors"

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
	d := access.Decide(ask)
	if !d.Allow {
		return nil, refusedBy(d)
	}
	admin := ""
	if m.AsAdmin {
		if admin, err = s.adminUser(ctx, &server.Spec.Database, id, d); err != nil {
			return nil, err
		}
	}
	k, err := publicKeys("", m.TlsPublic)
	if err != nil {
		return nil, err
	}
	certs, err := s.a.d.Issuer.Issue(ctx, ca.Request{Profile: ca.ProfileDatabase, Subject: ca.Certificate{Chain: chain}, Keys: k,
		Caller: []*x509.Certificate{c.Certificate}, Route: id.Authority.Route, Login: m.DbUser, AdminUser: admin, Addr: client})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&issuev1.IssuedCerts{User: certs.Identity.Name, Cluster: certs.Identity.Cluster, TlsCert: certs.TLS,
		ExpiresUnix: certs.Expires.Unix()}), nil
}

// adminUser is who makes the users of a database: for a person of this cluster
// whose user in it is made by a decision, and as the database's document says.
// An agent announces what it fronts; where the database is registered, the word of
// that document counts, so that an agent does not choose whom it is.
func (s issueService) adminUser(ctx context.Context, db *types.Database, id *types.Identity, d access.Decision) (string, error) {
	if l := d.Limits.Database; l == nil || l.Automatic == "" || db.Spec.AdminUser == nil || db.Spec.InCloud() || id.Cluster != s.a.d.Cluster {
		return "", fault.New(fault.Denied, "the users of %s are not made for %s", db.Metadata.Name, id.Name)
	}
	registered, err := store.Of[*types.Database](s.a.d.Store).Get(ctx, db.Metadata.Name)
	switch {
	case errors.Is(err, fault.NotFound):
	case err != nil:
		return "", err
	case registered.Spec.AdminUser == nil || registered.Spec.AdminUser.Name != db.Spec.AdminUser.Name:
		return "", fault.New(fault.Denied, "the database %s is registered with another admin_user than its agent has", db.Metadata.Name)
	}
	return db.Spec.AdminUser.Name, nil
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

package authapi

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/netip"

	"connectrpc.com/connect"

	"teleport/access"
	"teleport/api/gen/issuev1"
	"teleport/api/rpc"
	"teleport/auth/ca"
	"teleport/cert/sshcert"
	"teleport/fault"
	"teleport/keys"
	"teleport/store"
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
		if r.Route.Kind == types.KindApp {
			var err error
			if r.Route, err = appRoute(r.Route); err != nil {
				return nil, err
			}
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

// OpenSSH issues a proxy the certificate with which it enters a server without an
// agent. Who may enter which server is decided here once more: a proxy that is
// stolen gets nobody in who may not.
func (s issueService) OpenSSH(ctx context.Context, req *connect.Request[issuev1.OpenSSHRequest]) (*connect.Response[issuev1.IssuedCerts], error) {
	return s.forProxy(ctx, ca.ProfileOpenSSH, req.Msg, func(node *types.Node) error {
		if node.SubKind != types.SubKindOpenSSH {
			return fault.New(fault.Denied, "node %s has an agent, which takes the user's own certificate", node.Name())
		}
		return nil
	})
}

// Bridge issues a proxy the certificate with which it goes on to a node's agent for
// a user whose SSH it ends. It does so only where the cluster records at its
// proxies: elsewhere, users speak with agents themselves, and no proxy needs it.
func (s issueService) Bridge(ctx context.Context, req *connect.Request[issuev1.BridgeRequest]) (*connect.Response[issuev1.IssuedCerts], error) {
	return s.forProxy(ctx, ca.ProfileBridgeSSH, req.Msg, func(node *types.Node) error {
		switch {
		case !s.a.d.Policy.Settings().Recording.AtProxy():
			return fault.New(fault.Denied, "sessions of this cluster are recorded on their hosts, so proxies speak for nobody there").
				WithHint("the recording mode has just changed: try again")
		case node.SubKind == types.SubKindOpenSSH:
			return fault.New(fault.Denied, "node %s has no agent", node.Name())
		}
		return nil
	})
}

// asked is what a proxy says that ends a user's SSH.
type asked interface {
	GetUserCert() string
	GetSshPublic() string
	GetNode() string
	GetLogin() string
	GetClientAddr() string
}

// forProxy decides whether the user whose certificate a proxy shows may enter a
// node as a login, and issues the proxy what it needs for that.
func (s issueService) forProxy(ctx context.Context, profile ca.Profile, m asked, may func(*types.Node) error) (*connect.Response[issuev1.IssuedCerts], error) {
	c := rpc.CallerFrom(ctx)
	user, err := keys.ParseSSHCert(m.GetUserCert())
	if err != nil {
		return nil, err
	}
	client, err := netip.ParseAddrPort(m.GetClientAddr())
	if err != nil {
		return nil, fault.New(fault.Invalid, "%.60q is not the address of a client", m.GetClientAddr())
	}
	node, err := store.Of[*types.Node](s.a.d.Store).Get(ctx, m.GetNode())
	if err != nil {
		return nil, err
	}
	if err := may(node); err != nil {
		return nil, err
	}
	id, err := sshcert.Verify(user, s.a.d.Trust(), types.IdentityUser, s.a.d.Now())
	if err != nil {
		return nil, err
	}
	ask := access.Ask(s.a.d.Policy, id, client.Addr(), s.a.d.Now())
	ask.Action, ask.Resource, ask.HostID, ask.Login = access.ActionLogin, node, node.Name(), m.GetLogin()
	if profile == ca.ProfileBridgeSSH && m.GetLogin() == types.JoinLogin {
		ask.Action, ask.Resource = access.ActionJoin, nil // which session is the node's to ask
	}
	if d := access.Decide(ask); !d.Allow {
		return nil, refusedBy(d)
	}
	k, err := publicKeys(m.GetSshPublic(), nil)
	if err != nil {
		return nil, err
	}
	certs, err := s.a.d.Issuer.Issue(ctx, ca.Request{Profile: profile, Subject: ca.SSHCertificate{Cert: user}, Keys: k,
		Caller: []*x509.Certificate{c.Certificate}, Route: &types.Route{Kind: types.KindNode, Name: node.Name()}, Login: m.GetLogin(), Addr: client})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&issuev1.IssuedCerts{User: certs.Identity.Name, Cluster: certs.Identity.Cluster,
		SshCert: certs.SSH, ExpiresUnix: certs.Expires.Unix()}), nil
}

// refusedBy turns a decision into the error that a caller sees.
func refusedBy(d access.Decision) error {
	if len(d.Reasons) == 0 {
		return fault.New(fault.Denied, "access denied")
	}
	return fault.New(fault.Denied, "access denied: %s", d.Reasons[0].Text)
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

package authapi

import (
	"context"
	"crypto/x509"

	"connectrpc.com/connect"
	"github.com/google/uuid"

	"teleport/access"
	"teleport/api/gen/issuev1"
	"teleport/api/rpc"
	"teleport/auth/ca"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// maxRouteText bounds the names of a cloud in a route.
const maxRouteText = 512

// appRoute is a route to an app as a certificate may have it: what the client asks
// for, of which only names are taken that a decision looks at, and a session of its
// own.
func appRoute(r *types.Route) (*types.Route, error) {
	a := types.AppRouteOf(r)
	for _, text := range []string{a.AWSRoleARN, a.AzureIdentity, a.GCPServiceAccount} {
		if len(text) > maxRouteText {
			return nil, fault.New(fault.Invalid, "a role or identity in the route is longer than %d bytes", maxRouteText)
		}
	}
	if a.TargetPort < 0 {
		return nil, fault.New(fault.Invalid, "the route names no port that there can be")
	}
	if a.PublicAddr != "" {
		if err := types.CheckDNSName(a.PublicAddr); err != nil {
			return nil, err
		}
	}
	a.SessionID = uuid.NewString()
	out := a.Route(r.Name)
	out.Cluster = r.Cluster
	return out, nil
}

// AppToken issues an agent the token by which an app learns who a user is. Whether
// they may use the app is decided here once more, and the agent must be one that
// fronts it: one that is stolen speaks for nobody elsewhere. A refusal is recorded
// here too, as such an agent would not.
func (s issueService) AppToken(ctx context.Context, req *connect.Request[issuev1.AppTokenRequest]) (*connect.Response[issuev1.AppTokenResponse], error) {
	resp, err := s.appToken(ctx, req)
	if fault.Refusal(err) {
		return nil, s.a.refusedFor(ctx, "AppToken", types.KindApp, req.Msg.App, err)
	}
	return resp, err
}

// refusedFor records that a process was refused what it asked for, for a user.
func (a *API) refusedFor(ctx context.Context, procedure, kind, name string, why error) error {
	c := rpc.CallerFrom(ctx)
	e := &event.AccessDenied{User: who(c), Connection: from(c), ResourceKind: kind, Procedure: procedure}
	e.Name, e.Error, e.Message = name[:min(len(name), maxRouteText)], why.Error(), fault.Message(why)
	if err := a.emit(ctx, e); err != nil {
		return err
	}
	return why
}

func (s issueService) appToken(ctx context.Context, req *connect.Request[issuev1.AppTokenRequest]) (*connect.Response[issuev1.AppTokenResponse], error) {
	m, c := req.Msg, rpc.CallerFrom(ctx)
	chain, id, client, err := s.shown(m, types.IdentityUser, types.IdentityBridge)
	if err != nil {
		return nil, err
	}
	server, err := store.Of[*types.AppServer](s.a.d.Store).Get(ctx, types.ServerName(m.App, c.Identity.Name))
	if err != nil {
		return nil, fault.Wrap(err, fault.Denied, "this agent does not front the app %.60q", m.App)
	}
	app := &server.Spec.App
	if !app.Spec.JWT() {
		return nil, fault.New(fault.Denied, "the app %s is told nothing of its users", app.Metadata.Name)
	}
	ask := access.Ask(s.a.d.Policy, id, client.Addr(), s.a.d.Now())
	ask.Action, ask.Resource, ask.HostID, ask.App = access.ActionApp, app, c.Identity.Name, types.AppRouteOf(id.Authority.Route)
	if d := access.Decide(ask); !d.Allow {
		return nil, refusedBy(d)
	}
	claims := app.Spec.JWTClaims()
	certs, err := s.a.d.Issuer.Issue(ctx, ca.Request{Profile: ca.ProfileAppToken, Subject: ca.Certificate{Chain: chain},
		Keys:   ca.Keys{TLS: c.Certificate.PublicKey}, // who asks: the token is for no key
		Caller: []*x509.Certificate{c.Certificate}, Route: types.AppRoute{}.Route(m.App), Addr: client,
		App: ca.AppToken{Audience: app.Spec.URI, Roles: claims == types.JWTRolesAndTraits || claims == types.JWTRoles,
			Traits: claims == types.JWTRolesAndTraits || claims == types.JWTTraits}})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&issuev1.AppTokenResponse{Token: certs.Token.Reveal(), ExpiresUnix: certs.Expires.Unix()}), nil
}

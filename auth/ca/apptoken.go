package ca

import (
	"teleport/cert/jwtcert"
	"teleport/fault"
	"teleport/types"
)

// AppToken is what the token of an app says of the user beside the name.
type AppToken struct {
	Audience string // the app's URI
	Roles    bool
	Traits   bool
}

// appToken tells one app who a user is whose live certificate for it its agent
// shows. The token is no certificate of the cluster, and opens nothing in it.
func (d *deciding) appToken() (*types.Identity, error) {
	agent, err := d.processOf(types.RoleApp)
	if err != nil {
		return nil, err
	}
	d.caller = agent
	id, a, err := d.narrowed()
	if err != nil {
		return nil, err
	}
	r, has := d.r.Route, id.Authority.Route
	if r == nil || r.Kind != types.KindApp || d.r.App.Audience == "" {
		return nil, fault.New(fault.Invalid, "a token is for one app")
	}
	if has == nil || has.Kind != types.KindApp || has.Name != r.Name {
		return nil, fault.New(fault.Denied, "the user's certificate is not for the app %.60q", r.Name)
	}
	id.Authority.DisallowReissue, id.Authority.Renewable = true, false
	id.Authority.Expires = d.expiry(jwtcert.MaxTTL, jwtcert.MaxTTL, id.Authority.Expires, a.Expires)
	return id, nil
}

// signAppToken makes the token, which lives as long as what the user opened.
func signAppToken(d *deciding, id *types.Identity, s *signers) (Certs, error) {
	c := jwtcert.Claims{Issuer: d.i.c.Cluster, Subject: id.Name, Audience: d.r.App.Audience, IssuedAt: d.now,
		Expires: d.expiry(jwtcert.MaxTTL, jwtcert.MaxTTL, d.parent.Authority.Ends())}
	if d.r.App.Roles {
		c.Roles = id.Authority.Roles
	}
	if d.r.App.Traits {
		c.Traits = id.Authority.Traits
	}
	token, err := jwtcert.Sign(c, s.jwt)
	if err != nil {
		return Certs{}, err
	}
	return Certs{Identity: id, Expires: c.Expires, Token: types.NewSecret(token)}, nil
}

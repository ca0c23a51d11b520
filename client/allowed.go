package client

import (
	"context"
	"errors"
	"time"

	"teleport/access"
	"teleport/api/authclient"
	"teleport/fault"
	"teleport/types"
)

// DatabaseUsers returns as whom the user may enter each of the databases, by its
// name, as their roles say now; "*" is anybody. The agent decides for itself.
func (c *Client) DatabaseUsers(ctx context.Context, databases []*types.Database) (map[string][]string, error) {
	r, err := c.ownRequest(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]string, len(databases))
	for _, d := range databases {
		r.Resource, r.Labels = d, d.AllLabels()
		out[d.Metadata.Name] = access.DatabaseUsers(r)
	}
	return out, nil
}

// ownRequest begins a request as the user's own, which shows what their roles name.
// Roles that are gone are left out.
func (c *Client) ownRequest(ctx context.Context) (access.Request, error) {
	api, err := c.API()
	if err != nil {
		return access.Request{}, err
	}
	defer api.Close()
	cred := c.cfg.Credential
	user, err := authclient.Get[types.User](ctx, api, authclient.Ref{Kind: types.KindUser, Name: cred.User()})
	if err != nil {
		return access.Request{}, err
	}
	id := &types.Identity{Kind: types.IdentityUser, Name: cred.User(), Cluster: cred.Cluster(),
		Authority: types.Authority{Roles: cred.Roles(), Traits: user.Spec.Traits, Expires: cred.Expires()}}
	r := access.Request{Identity: id, Now: time.Now()}
	for _, name := range cred.Roles() {
		role, err := authclient.Get[types.Role](ctx, api, authclient.Ref{Kind: types.KindRole, Name: name})
		switch {
		case errors.Is(err, fault.NotFound):
		case err != nil:
			return access.Request{}, err
		default:
			r.Roles = append(r.Roles, role)
		}
	}
	return r, nil
}

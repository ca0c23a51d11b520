package access_test

import (
	"testing"
	"time"

	"teleport/access"
	"teleport/types"
)

// bridged makes of a request one that comes over a bridge to its host, for five
// minutes of a certificate of an hour.
func bridged(r access.Request) access.Request {
	id := *r.Identity
	id.Kind, id.Authority.ProxyUUID, id.Authority.DisallowReissue = types.IdentityBridge, "p1", true
	id.Authority.Route = &types.Route{Kind: types.KindNode, Name: r.HostID}
	id.Authority.Expires, id.Authority.UserExpires = r.Now.Add(5*time.Minute), r.Now.Add(time.Hour)
	r.Identity = &id
	return r
}

// TestABridgeIsAsGoodAsTheUsersCertificate: what a bridge has opened is decided as
// long as the certificate that it was made from is valid, and no longer.
func TestABridgeIsAsGoodAsTheUsersCertificate(t *testing.T) {
	r := bridged(request())
	end := r.Identity.Authority.UserExpires
	for _, role := range r.Roles {
		role.Spec.Options.DisconnectExpiredCert = yes()
	}
	for _, c := range []struct {
		after time.Duration
		code  string
	}{{0, access.CodeAllowed}, {10 * time.Minute, access.CodeAllowed}, {time.Hour, access.CodeExpired}} {
		r := r
		r.Now = r.Now.Add(c.after)
		if d := access.Decide(r); d.Code() != c.code || d.Allow && !d.Limits.Deadline.Equal(end) {
			t.Errorf("after %s: %s, deadline %s", c.after, d.Code(), d.Limits.Deadline)
		}
	}
	elsewhere := r
	elsewhere.Identity.Authority.Route = &types.Route{Kind: types.KindNode, Name: "another"}
	if d := access.Decide(elsewhere); d.Code() != access.CodeRouteMismatch {
		t.Errorf("at another host: %s", d.Code())
	}
}

// TestJoiningOverABridge: a bridge to the host of a session joins there, and
// nowhere else; a user's own route does not.
func TestJoiningOverABridge(t *testing.T) {
	all := []*types.Role{joinRole("all", types.JoinSessions{Name: "p", Roles: []string{"*"}, Kinds: []string{"*"}, Modes: []string{"*"}})}
	for name, c := range map[string]struct {
		edit func(*access.Request)
		code string
	}{
		"here":             {func(*access.Request) {}, access.CodeAllowed},
		"another host":     {func(r *access.Request) { r.Identity.Authority.Route.Name = "another" }, access.CodeRouteMismatch},
		"another kind":     {func(r *access.Request) { r.Identity.Authority.Route.Kind = "app" }, access.CodeRouteMismatch},
		"no host decides":  {func(r *access.Request) { r.HostID = "" }, access.CodeRouteMismatch},
		"a user's route":   {func(r *access.Request) { r.Identity.Kind = types.IdentityUser }, access.CodeRouteMismatch},
		"another cluster":  {func(r *access.Request) { r.Identity.Authority.Route.Cluster = "leaf" }, access.CodeRouteMismatch},
		"without the role": {func(r *access.Request) { r.Roles = nil }, access.CodeNoJoin},
	} {
		r := bridged(join(all, "bob", "observer"))
		if c.edit(&r); access.Decide(r).Code() != c.code {
			t.Errorf("%s: %s, want %s", name, access.Decide(r).Code(), c.code)
		}
	}
}

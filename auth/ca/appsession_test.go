package ca

import (
	"testing"
	"time"

	"teleport/types"
)

// What stands behind a browser's session with an app is for that app alone, lasts
// as long as the login, and gives bridges to proxies and nothing else.
func TestACertificateOfAnAppSession(t *testing.T) {
	w := newWorld(t)
	user, proxy, node := w.login("alice"), w.host(types.RoleProxy), w.host(types.RoleNode)
	wiki := &types.Route{Kind: types.KindApp, Name: "wiki"}
	c := w.issued(Request{Profile: ProfileAppSession, Subject: w.of(user), Caller: w.chain(proxy), Route: wiki, Usage: []string{"app"}})
	if a := c.Identity.Authority; a.Route.Name != "wiki" || !a.DisallowReissue || !a.Expires.Equal(user.Expires) {
		t.Errorf("%+v", a)
	}
	bridge := w.issued(Request{Profile: ProfileBridge, Subject: w.of(c), Caller: w.chain(proxy)})
	if a := bridge.Identity.Authority; a.Route.Name != "wiki" || a.ProxyUUID != proxy.Identity.Name || bridge.Expires.Sub(w.now) > BridgeTTL ||
		!a.UserExpires.Equal(user.Expires) {
		t.Errorf("%+v", a)
	}
	for name, r := range map[string]Request{
		"no app":                 {Profile: ProfileAppSession, Subject: w.of(user), Caller: w.chain(proxy)},
		"a node":                 {Profile: ProfileAppSession, Subject: w.of(user), Caller: w.chain(proxy), Route: &types.Route{Kind: types.KindNode, Name: "wiki"}},
		"asked by a node":        {Profile: ProfileAppSession, Subject: w.of(user), Caller: w.chain(node), Route: wiki},
		"asked by nobody":        {Profile: ProfileAppSession, Subject: w.of(user), Route: wiki},
		"of itself":              {Profile: ProfileAppSession, Subject: w.of(c), Caller: w.chain(proxy), Route: wiki},
		"a bridge to elsewhere":  {Profile: ProfileBridge, Subject: w.of(c), Caller: w.chain(proxy), Route: &types.Route{Kind: types.KindApp, Name: "vault"}},
		"another certificate":    {Profile: ProfileReissue, Subject: w.of(c)},
		"a session of a browser": {Profile: ProfileWebSession, Subject: w.of(c), Caller: w.chain(proxy)},
	} {
		if _, err := w.issue(r); err == nil {
			t.Errorf("%s: it is issued", name)
		}
	}
	w.now = user.Expires.Add(time.Second)
	if _, err := w.issue(Request{Profile: ProfileBridge, Subject: w.of(c), Caller: w.chain(proxy)}); err == nil {
		t.Error("it outlives the login")
	}
}

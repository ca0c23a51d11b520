package authapi_test

import (
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"teleport/api/gen/issuev1"
	"teleport/cert/tlscert"
	"teleport/types"
)

// TestBridgeTLS: a proxy gets what speaks for a user towards the one database that
// the certificate is for, which it shows, and nothing for any other certificate.
func TestBridgeTLS(t *testing.T) {
	w := newWorld(t)
	uuid, own := w.host("proxy1", types.RoleProxy)
	proxy := w.client(own)
	w.user("alice", "access")
	w.settle()
	_, public := w.key()
	shop := types.DatabaseRoute{User: "app", Name: "orders"}.Route("shop")
	of := func(edit func(*types.Identity)) *issuev1.BridgeTLSRequest {
		id := userIdentity("alice", func(id *types.Identity) {
			id.Authority.Route, id.Authority.Usage = shop, []string{"db"}
			edit(id)
		})
		return &issuev1.BridgeTLSRequest{UserCert: w.forge(id, types.CAUser, id.IssuedAt).Certificate[0], TlsPublic: public, ClientAddr: "192.0.2.9:4000"}
	}
	good := of(func(*types.Identity) {})
	resp, err := proxy.BridgeTLS(t.Context(), good)
	must(t, err)
	block, _ := pem.Decode(resp.TlsCert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	id, err := tlscert.Verify([]*x509.Certificate{leaf}, w.server.Trust(), time.Now(), types.IdentityBridge)
	must(t, err)
	if r := id.Authority.Route; id.Name != "alice" || id.Authority.ProxyUUID != uuid || r == nil || r.Name != "shop" || time.Until(id.Authority.Expires) > 6*time.Minute {
		t.Errorf("%+v", id)
	}
	for name, r := range map[string]*issuev1.BridgeTLSRequest{
		"for everything":      of(func(id *types.Identity) { id.Authority.Route, id.Authority.Usage = nil, nil }),
		"for a node":          of(func(id *types.Identity) { id.Authority.Route = &types.Route{Kind: types.KindNode, Name: "shop"} }),
		"of nobody":           of(func(id *types.Identity) { id.Name = "nobody" }),
		"of a bridge":         {UserCert: block.Bytes, TlsPublic: public, ClientAddr: good.ClientAddr},
		"of a host":           {UserCert: own.Certificate[0], TlsPublic: public, ClientAddr: good.ClientAddr},
		"no certificate":      {TlsPublic: public, ClientAddr: good.ClientAddr},
		"no key":              {UserCert: good.UserCert, ClientAddr: good.ClientAddr},
		"no address":          {UserCert: good.UserCert, TlsPublic: public, ClientAddr: "somewhere"},
		"pinned to elsewhere": of(func(id *types.Identity) { id.Authority.PinnedIP = mustAddr("192.0.2.10") }),
		"expired": of(func(id *types.Identity) {
			id.IssuedAt, id.Authority.Expires = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}),
	} {
		if _, err := proxy.BridgeTLS(t.Context(), r); err == nil {
			t.Errorf("%s: it is issued", name)
		}
	}
}

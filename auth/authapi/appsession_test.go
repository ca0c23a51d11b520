package authapi_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"teleport/api/authclient"
	"teleport/api/gen/loginv1"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// TestAppSession: what a browser's session with an app gives a proxy is a bridge
// for its user to that app, while the web session lives, and any proxy sees it end.
func TestAppSession(t *testing.T) {
	w := newWorld(t)
	uuid, own := w.host("proxy1", types.RoleProxy)
	proxy := w.client(own)
	secret := w.enroll(proxy, "alice", "access")
	const browser = "198.51.100.1:1"
	session, err := proxy.StartWebSession(t.Context(), &loginv1.StartWebSessionRequest{User: "alice", Password: password, Otp: code(t, secret, 0), ClientAddr: browser})
	must(t, err)
	state := strings.Repeat("0c", 32)
	made, err := proxy.StartAppSession(t.Context(), &loginv1.StartAppSessionRequest{Bearer: session.Bearer, App: "wiki", State: state, ClientAddr: browser})
	must(t, err)
	_, public := w.key()
	use := &loginv1.UseAppSessionRequest{Bearer: made.Bearer, TlsPublic: public, ClientAddr: browser}
	if _, err := proxy.UseAppSession(t.Context(), use); !errors.Is(err, fault.Unauthenticated) {
		t.Fatalf("a pending session is used: %v", err)
	}
	opened, err := proxy.OpenAppSession(t.Context(), &loginv1.OpenAppSessionRequest{Bearer: made.Bearer, App: "wiki", State: state, ClientAddr: browser})
	must(t, err)
	if _, err := proxy.UseAppSession(t.Context(), use); !errors.Is(err, fault.Unauthenticated) {
		t.Fatalf("what the hand-over brought is used: %v", err)
	}
	use.Bearer = opened.Bearer
	got, err := proxy.UseAppSession(t.Context(), use)
	must(t, err)
	block, _ := pem.Decode(got.TlsCert)
	leaf, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	id, err := tlscert.Verify([]*x509.Certificate{leaf}, w.server.Trust(), time.Now(), types.IdentityBridge)
	must(t, err)
	if r := id.Authority.Route; id.Name != "alice" || id.Authority.ProxyUUID != uuid || r == nil || r.Kind != types.KindApp || r.Name != "wiki" {
		t.Errorf("%+v", id)
	}
	// Proxies have a copy, and nobody else.
	replica := store.NewReplica(proxy, []string{types.KindAppSession}, store.ReplicaOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- replica.Serve(ctx) }()
	defer func() { cancel(); must(t, <-done) }()
	<-replica.Ready()
	name, _, _ := strings.Cut(made.Bearer, ".")
	if doc, ok := store.Find[*types.AppSession](replica, "", name); !ok || doc.Pending() || doc.Spec.User != "alice" {
		t.Errorf("the proxy's copy: %+v", doc)
	}
	_, nodeCert := w.host("node1", types.RoleNode)
	if _, err := w.client(nodeCert).Watch(t.Context(), []string{types.KindAppSession}, 0); err == nil {
		t.Error("a node watches sessions with apps")
	}
	if _, err := authclient.Get[types.AppSession](t.Context(), w.client(w.sign("alice")), authclient.Ref{Kind: types.KindAppSession, Name: name}); !errors.Is(err, fault.Denied) {
		t.Errorf("a user reads sessions with apps: %v", err)
	}
	changes, stop := replica.Subscribe()
	defer stop()
	must(t, proxy.EndWebSession(t.Context(), &loginv1.EndWebSessionRequest{Bearer: session.Bearer, ClientAddr: browser}))
	for {
		if _, ok := store.Find[*types.AppSession](replica, "", name); !ok {
			break
		}
		select {
		case <-changes:
		case <-t.Context().Done():
			t.Fatal("the proxy does not hear of the end")
		}
	}
	if _, err := proxy.UseAppSession(t.Context(), use); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("after sign-out: %v", err)
	}
}

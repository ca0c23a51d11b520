package authapi_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"teleport/api/authclient"
	"teleport/api/gen/accountv1"
	"teleport/api/gen/issuev1"
	"teleport/api/gen/joinv1"
	"teleport/api/gen/loginv1"
	"teleport/api/gen/presencev1"
	"teleport/auth/authserver"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

const password = "correct horse battery"

// enroll invites a user through the API and accepts the link as a proxy does.
func (w *world) enroll(proxy *authclient.Client, name string, roles ...string) (otpSecret string) {
	w.t.Helper()
	u := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: name}}}
	u.Spec.Roles, u.Spec.Traits = roles, map[string][]string{"logins": {name}}
	doc, err := json.Marshal(u)
	must(w.t, err)
	link, err := w.admin().InviteUser(w.t.Context(), &accountv1.InviteUserRequest{User: doc})
	must(w.t, err)
	invite, err := proxy.GetInvite(w.t.Context(), &loginv1.GetInviteRequest{Token: link.Token, ClientAddr: "198.51.100.1:1"})
	must(w.t, err)
	if invite.User != name || invite.Cluster != "example" {
		w.t.Fatalf("invite %v", invite)
	}
	_, err = proxy.AcceptInvite(w.t.Context(), &loginv1.AcceptInviteRequest{Token: link.Token, Password: password,
		Otp: code(w.t, invite.OtpSecret, -30*time.Second), ClientAddr: "198.51.100.1:1"})
	must(w.t, err)
	return invite.OtpSecret
}

func code(t *testing.T, secret string, skew time.Duration) string {
	t.Helper()
	c, err := totp.GenerateCode(secret, time.Now().Add(skew))
	must(t, err)
	return c
}

func TestSignInThroughAProxy(t *testing.T) {
	w := newWorld(t)
	_, proxyCert := w.host("proxy1", types.RoleProxy)
	proxy := w.client(proxyCert)
	secret := w.enroll(proxy, "alice", "access")
	signer, der := w.key()
	certs, err := proxy.Login(t.Context(), &loginv1.LoginRequest{User: "alice", Password: password, Otp: code(t, secret, 0),
		Keys: &loginv1.UserKeys{TlsPublic: der}, ClientAddr: "198.51.100.1:1"})
	must(t, err)
	who, err := w.client(pair(t, certs.TlsCert, signer)).WhoAmI(t.Context())
	must(t, err)
	var id types.Identity
	must(t, json.Unmarshal(who.Identity, &id))
	if id.Name != "alice" || id.Proofs.LoginIP.String() != "198.51.100.1" || id.Proofs.MFADevice != "" {
		t.Errorf("identity %+v", id)
	}
	session, err := proxy.StartWebSession(t.Context(), &loginv1.StartWebSessionRequest{User: "alice", Password: password,
		Otp: code(t, secret, 30*time.Second), ClientAddr: "198.51.100.1:1"})
	must(t, err)
	webKey, webDER := w.key()
	web, err := proxy.UseWebSession(t.Context(), &loginv1.UseWebSessionRequest{Bearer: session.Bearer,
		Keys: &loginv1.UserKeys{TlsPublic: webDER}, ClientAddr: "198.51.100.1:1"})
	must(t, err)
	if life := time.Until(time.Unix(web.ExpiresUnix, 0)); life > 11*time.Minute {
		t.Errorf("the proxy's certificate lives %s", life)
	}
	if _, err := w.client(pair(t, web.TlsCert, webKey)).WhoAmI(t.Context()); err != nil {
		t.Errorf("web certificate: %v", err)
	}
	must(t, proxy.EndWebSession(t.Context(), &loginv1.EndWebSessionRequest{Bearer: session.Bearer, ClientAddr: "198.51.100.1:1"}))
	if _, err := proxy.UseWebSession(t.Context(), &loginv1.UseWebSessionRequest{Bearer: session.Bearer,
		Keys: &loginv1.UserKeys{TlsPublic: webDER}, ClientAddr: "198.51.100.1:1"}); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("after sign-out: %v", err)
	}
}

func TestNodeReplicaAndItsScope(t *testing.T) {
	w := newWorld(t)
	_, own := w.host("node1", types.RoleNode)
	c := w.client(own)
	r := store.NewReplica(c, []string{types.KindRole, types.KindLock, types.KindCertAuthority, types.KindClusterName}, store.ReplicaOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx) }()
	<-r.Ready()
	if r.Role("access") == nil || r.ClusterName() != "example" || r.Trust().Fingerprint() != w.server.Trust().Fingerprint() {
		t.Error("the replica is not complete")
	}
	cancel()
	must(t, <-done)
	for _, kind := range []string{types.KindUser, types.KindToken, types.KindNode, types.KindUserCredentials} {
		if _, err := c.Watch(t.Context(), []string{types.KindRole, kind}, 0); err == nil {
			t.Errorf("a node watches %s", kind)
		}
	}
}

// A watch ends when the right to see what it shows is taken away.
func TestAWatchEndsWithItsRight(t *testing.T) {
	w := newWorld(t)
	watcher := &types.Role{Header: types.Header{Kind: types.KindRole, Version: "v8", Metadata: types.Metadata{Name: "watcher"}}}
	watcher.Spec.Allow.Rules = []types.Rule{{Resources: []string{"token"}, Verbs: []string{"list", "read"}}}
	stored, err := authclient.Put(t.Context(), w.admin(), authclient.Create, watcher)
	must(t, err)
	own := w.user("wanda", "watcher")
	w.settle()
	stream, err := w.client(own).Watch(t.Context(), []string{types.KindToken}, 0)
	must(t, err)
	_, err = stream.Next(t.Context())
	must(t, err)
	stored.Spec.Allow.Rules = nil
	_, err = authclient.Put(t.Context(), w.admin(), authclient.Upsert, stored)
	must(t, err)
	w.settle()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for err == nil {
		_, err = stream.Next(ctx)
	}
	if !errors.Is(err, fault.Denied) {
		t.Errorf("the watch ended with %v", err)
	}
}

// Strangers that a proxy passes on and that then say nothing keep nobody out.
func TestSilentStrangersKeepNobodyOut(t *testing.T) {
	w := newWorld(t)
	proxyID, proxyCert := w.host("proxy1", types.RoleProxy)
	outer, err := tlscert.ClientConfig(tlscert.Source{Certificate: func() *tls.Certificate { return proxyCert }, Trust: w.server.Trust, Now: time.Now},
		tlscert.Server{Cluster: "example", Role: types.RoleAuth}, authserver.ALPNForward)
	must(t, err)
	for i := range 160 { // from one address, and from many
		raw, err := w.dial(t.Context())
		must(t, err)
		conn := tls.Client(raw, outer)
		must(t, dial.WriteForward(conn, proxyID, &net.TCPAddr{IP: net.IPv4(203, 0, 113, byte(max(i, 20))), Port: 1}, ""))
		defer conn.Close()
	}
	_, err = w.client(proxyCert).WhoAmI(t.Context())
	if !errors.Is(err, fault.Denied) { // served: WhoAmI is for users
		t.Errorf("the proxy itself: %v", err)
	}
	_, err = w.admin().Status(t.Context())
	must(t, err)
}

// A lock ends the control stream of the host that it bans.
func TestLockCutsLiveStreams(t *testing.T) {
	w := newWorld(t)
	id, own := w.host("node1", types.RoleNode)
	stream, err := w.client(own).Control(t.Context())
	must(t, err)
	defer stream.Close()
	must(t, stream.Send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Hello{
		Hello: &presencev1.Hello{Version: "1.0.0", Services: []string{"Node"}}}}))
	if m, err := stream.Receive(); err != nil || m.GetWelcome() == nil {
		t.Fatalf("%v %v", m, err)
	}
	lock := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: "00000000-0000-4000-8000-000000000009"}}}
	lock.Spec.Target.ServerID = id
	_, err = authclient.Put(t.Context(), w.admin(), authclient.Create, lock)
	must(t, err)
	if _, err := stream.Receive(); !errors.Is(err, fault.Denied) {
		t.Errorf("the stream ended with %v", err)
	}
	again, err := w.client(own).Control(t.Context())
	if err == nil {
		_, err = again.Receive()
	}
	if !errors.Is(err, fault.Denied) {
		t.Errorf("a locked host came back: %v", err)
	}
}

// Nobody grants what he does not have, unless he may write roles anyway.
func TestGrantsStayWithinOwnRights(t *testing.T) {
	w := newWorld(t)
	helpdesk := &types.Role{Header: types.Header{Kind: types.KindRole, Version: "v8", Metadata: types.Metadata{Name: "helpdesk"}}}
	helpdesk.Spec.Allow.Rules = []types.Rule{{Resources: []string{"user", "token"}, Verbs: []string{"*"}}}
	_, err := authclient.Put(t.Context(), w.admin(), authclient.Create, helpdesk)
	must(t, err)
	c := w.client(w.user("hannah", "helpdesk"))
	w.settle()
	grant := func(name string, roles ...string) error {
		u := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: name}}}
		u.Spec.Roles = roles
		_, err := authclient.Put(t.Context(), c, authclient.Upsert, u)
		return err
	}
	if err := grant("hannah", "helpdesk", "editor"); !errors.Is(err, fault.Denied) {
		t.Errorf("made herself editor: %v", err)
	}
	if err := grant("bob", "access"); !errors.Is(err, fault.Denied) {
		t.Errorf("gave a role that she lacks: %v", err)
	}
	if err := grant("bob", "helpdesk"); err != nil {
		t.Errorf("gave her own role: %v", err)
	}
	if _, err := w.admin().InviteUser(t.Context(), &accountv1.InviteUserRequest{User: []byte(
		`{"kind":"user","version":"v2","metadata":{"name":"boss"},"spec":{"roles":["editor"]}}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.ResetUser(t.Context(), &accountv1.ResetUserRequest{User: "boss"}); !errors.Is(err, fault.Denied) {
		t.Errorf("reset the boss's password: %v", err)
	}
	token := func(role string) error {
		_, err := c.CreateToken(t.Context(), &accountv1.CreateTokenRequest{Token: []byte(`{"spec":{"roles":["` + role + `"]}}`)})
		return err
	}
	if err := token("Proxy"); !errors.Is(err, fault.Denied) {
		t.Errorf("made a token for proxies: %v", err)
	}
	if err := token("Node"); err != nil {
		t.Errorf("made a token for nodes: %v", err)
	}
}

func TestEpochFollowsTheUser(t *testing.T) {
	w := newWorld(t)
	own := w.user("alice", "access", "auditor")
	epochs := store.Of[*types.UserEpoch](w.store())
	first, err := epochs.Get(t.Context(), "alice")
	must(t, err)
	if len(first.Spec.Roles) != 2 || first.Spec.Traits["logins"][0] != "alice" {
		t.Fatalf("epoch %+v", first.Spec)
	}
	must(t, w.admin().Delete(t.Context(), authclient.Ref{Kind: types.KindUser, Name: "alice"}, ""))
	gone, err := epochs.Get(t.Context(), "alice")
	must(t, err)
	if !gone.Spec.Deleted {
		t.Error("the epoch does not tell that the user is gone")
	}
	w.settle()
	if _, err := w.client(own).WhoAmI(t.Context()); !errors.Is(err, fault.Denied) {
		t.Errorf("the certificate of a deleted user: %v", err)
	}
	if n := len(w.events.Events(event.TypeUserDelete)); n != 1 {
		t.Errorf("%d events", n)
	}
}

// A reset, and a deletion with the name given anew, end what was issued before:
// whoever holds an old certificate cannot trade it for a good one.
func TestAnOldCertificateCannotBeTradedForANewOne(t *testing.T) {
	w := newWorld(t)
	_, der := w.key()
	reissue := func(own *tls.Certificate) error {
		_, err := w.client(own).Reissue(t.Context(), &issuev1.ReissueRequest{Keys: &issuev1.PublicKeys{TlsPublic: der}})
		return err
	}
	old := w.user("alice", "access")
	must(t, reissue(old))
	_, err := w.admin().ResetUser(t.Context(), &accountv1.ResetUserRequest{User: "alice"})
	must(t, err)
	if err := reissue(old); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("after a reset: %v", err)
	}
	second := w.sign("alice")
	must(t, reissue(second))
	must(t, w.admin().Delete(t.Context(), authclient.Ref{Kind: types.KindUser, Name: "alice"}, ""))
	third := w.user("alice", "access")
	must(t, reissue(third))
	for _, stale := range []*tls.Certificate{old, second} {
		if err := reissue(stale); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("a certificate of the former alice: %v", err)
		}
	}
}

// What a proxy passes on, auth sees from the client's own address; nobody but a
// proxy may pass anything on.
func TestForwardedClientsKeepTheirAddress(t *testing.T) {
	w := newWorld(t)
	proxyID, proxyCert := w.host("proxy1", types.RoleProxy)
	nodeID, nodeCert := w.host("node1", types.RoleNode)
	alice := w.user("alice", "access")
	through := func(uuid string, carrier *tls.Certificate) *authclient.Client {
		source := func(own *tls.Certificate) tlscert.Source {
			return tlscert.Source{Certificate: func() *tls.Certificate { return own }, Trust: w.server.Trust, Now: time.Now}
		}
		target := tlscert.Server{Cluster: "example", Role: types.RoleAuth}
		outer, err := tlscert.ClientConfig(source(carrier), target, authserver.ALPNForward)
		must(t, err)
		inner, err := tlscert.ClientConfig(source(alice), target)
		must(t, err)
		c, err := authclient.New(authclient.Config{TLS: inner, Dial: func(ctx context.Context) (net.Conn, error) {
			raw, err := w.dial(ctx)
			if err != nil {
				return nil, err
			}
			conn := tls.Client(raw, outer)
			return conn, dial.WriteForward(conn, uuid, &net.TCPAddr{IP: net.IPv4(198, 51, 100, 9), Port: 4242}, "")
		}})
		must(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	who, err := through(proxyID, proxyCert).WhoAmI(t.Context())
	must(t, err)
	if who.ClientAddr != "198.51.100.9:4242" {
		t.Errorf("auth sees %s", who.ClientAddr)
	}
	if _, err := through(nodeID, nodeCert).WhoAmI(t.Context()); err == nil {
		t.Error("a node passed a client on")
	}
	defer func() {
		lock := &types.Lock{Header: types.Header{Kind: types.KindLock, Version: "v2", Metadata: types.Metadata{Name: "00000000-0000-4000-8000-00000000000a"}}}
		lock.Spec.Target.ServerID = proxyID
		_, err := w.store().Put(t.Context(), store.Create, lock)
		must(t, err)
		w.settle()
		if _, err := through(proxyID, proxyCert).WhoAmI(t.Context()); !errors.Is(err, fault.Denied) {
			t.Errorf("a locked proxy passed a client on: %v", err)
		}
	}()
	if _, err := through(nodeID, proxyCert).WhoAmI(t.Context()); err == nil {
		t.Error("a proxy spoke in another's name")
	}
}

// A host certificate renewed by two holders locks the host.
func TestClonedHostIsLocked(t *testing.T) {
	w := newWorld(t)
	id, own := w.host("node1", types.RoleNode)
	renew := func(own *tls.Certificate) (*tls.Certificate, error) {
		signer, der := w.key()
		resp, err := w.client(own).Renew(t.Context(), &joinv1.RenewRequest{Keys: &joinv1.HostKeys{TlsPublic: der}, Hostname: "node1"})
		if err != nil {
			return nil, err
		}
		return pair(t, resp.TlsCert, signer), nil
	}
	next, err := renew(own)
	must(t, err)
	if _, err := renew(own); !errors.Is(err, fault.Denied) {
		t.Fatalf("the old certificate renewed again: %v", err)
	}
	w.settle()
	if _, err := renew(next); !errors.Is(err, fault.Denied) {
		t.Errorf("the host is not locked: %v", err)
	}
	if e := w.events.Events(event.TypeInstanceClone); len(e) != 1 || e[0].(*event.InstanceClone).HostID != id {
		t.Errorf("events %v", e)
	}
}

func TestJoinRefusals(t *testing.T) {
	w := newWorld(t)
	_, der := w.key()
	made, err := w.admin().CreateToken(t.Context(), &accountv1.CreateTokenRequest{Token: []byte(`{"spec":{"roles":["Node"]}}`)})
	must(t, err)
	join := func(token string, roles ...string) error {
		_, err := w.client(nil).Join(t.Context(), &joinv1.JoinRequest{Method: "token", Token: token, Hostname: "node1",
			SystemRoles: roles, Keys: &joinv1.HostKeys{TlsPublic: der}})
		return err
	}
	must(t, join(made.Secret, "Node"))
	for name, err := range map[string]error{
		"wrong secret": join("ffffffffffffffffffffffffffffffff", "Node"), "short secret": join("abc", "Node"),
		"other role": join(made.Secret, "Proxy"), "admin": join(staticSecret, "Admin"), "no role": join(staticSecret),
	} {
		if k := fault.KindOf(err); k != fault.Denied && k != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, w.admin().DeleteToken(t.Context(), made.Secret))
	if err := join(made.Secret, "Node"); !errors.Is(err, fault.Denied) {
		t.Errorf("a deleted token: %v", err)
	}
}

// A user lists the nodes that the labels of the user's roles reach, no others.
func TestNodesAreListedByLabels(t *testing.T) {
	w := newWorld(t)
	for name, env := range map[string]string{"web": "prod", "lab": "test"} {
		id, _ := w.host(name, types.RoleNode)
		n := &types.Node{Header: types.Header{Kind: types.KindNode, Version: "v2",
			Metadata: types.Metadata{Name: id, Labels: map[string]string{"env": env}}}}
		n.Spec.Hostname, n.Spec.UseTunnel = name, true
		_, err := w.store().Put(t.Context(), store.Create, n)
		must(t, err)
	}
	role := &types.Role{Header: types.Header{Kind: types.KindRole, Version: "v8", Metadata: types.Metadata{Name: "tester"}}}
	role.Spec.Allow.NodeLabels = types.Labels{"env": {"test"}}
	role.Spec.Allow.Logins = []string{"root"}
	_, err := authclient.Put(t.Context(), w.admin(), authclient.Create, role)
	must(t, err)
	tester, access := w.client(w.user("tess", "tester")), w.client(w.user("alice", "access"))
	w.settle()
	names := func(c *authclient.Client, o authclient.ListOptions) (out []string) {
		nodes, err := authclient.List[types.Node](t.Context(), c, types.KindNode, o)
		must(t, err)
		for _, n := range nodes {
			out = append(out, n.Spec.Hostname)
		}
		return out
	}
	if got := names(tester, authclient.ListOptions{}); len(got) != 1 || got[0] != "lab" {
		t.Errorf("the tester sees %v", got)
	}
	for want, o := range map[string]authclient.ListOptions{
		"web": {Labels: map[string]string{"env": "prod"}}, "lab": {Search: []string{"la"}},
	} {
		if got := names(access, o); len(got) != 1 || got[0] != want {
			t.Errorf("%+v: %v", o, got)
		}
	}
	if got := names(access, authclient.ListOptions{Query: `name == "web" && labels["env"] == "prod"`}); len(got) != 1 {
		t.Errorf("query: %v", got)
	}
	if got := names(access, authclient.ListOptions{PageSize: 1}); len(got) != 2 {
		t.Errorf("paged: %v", got)
	}
	// A filter widens nothing.
	if got := names(tester, authclient.ListOptions{Query: `name == "web" || name != "web"`}); len(got) != 1 {
		t.Errorf("widened: %v", got)
	}
}

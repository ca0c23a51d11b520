package authapi_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/api/authclient"
	"teleport/api/gen/presencev1"
	"teleport/cert/sshcert"
	"teleport/fault"
	"teleport/keys"
	"teleport/store"
	"teleport/types"
)

// sshCert signs an identity with the cluster's own authority of a sort; nil is an
// authority that nobody trusts.
func (w *world) sshCert(id *types.Identity, ca types.CAType, issued time.Time) string {
	w.t.Helper()
	own, err := keys.Generate(keys.Ed25519)
	must(w.t, err)
	public, err := ssh.NewPublicKey(own.Public())
	must(w.t, err)
	signer, err := keys.Generate(keys.Ed25519)
	must(w.t, err)
	for _, doc := range w.server.Trust().Authorities() {
		if doc.Spec.Type == ca {
			signer, err = w.keys.Signer(w.t.Context(), doc.Spec.Active.SSHKeyID)
			must(w.t, err)
		}
	}
	by, err := ssh.NewSignerFromSigner(signer)
	must(w.t, err)
	crt, err := sshcert.Sign(id, public, by, issued)
	must(w.t, err)
	return keys.SSHLine(crt)
}

func (w *world) limited(role string, most int) {
	w.t.Helper()
	r := &types.Role{Header: types.Header{Kind: types.KindRole, Version: "v8", Metadata: types.Metadata{Name: role}}}
	r.Spec.Options.MaxConnections = most
	_, err := authclient.Put(w.t.Context(), w.admin(), authclient.Upsert, r)
	must(w.t, err)
}

func heldBy(t *testing.T, c *authclient.Client, cert string, ids ...string) []string {
	t.Helper()
	req := &presencev1.HoldConnectionsRequest{}
	for _, id := range ids {
		req.Connections = append(req.Connections, &presencev1.HeldConnection{Id: id, UserCert: cert})
	}
	resp, err := c.HoldConnections(t.Context(), req)
	must(t, err)
	if len(resp.Refusals) != len(ids) || resp.LeaseSeconds < 1 {
		t.Fatalf("answered %v", resp)
	}
	return resp.Refusals
}

// TestConnectionsAreCounted: over agents and proxies, by the lowest of the user's
// roles as they are now, and nobody else's.
func TestConnectionsAreCounted(t *testing.T) {
	w := newWorld(t)
	w.limited("few", 2)
	w.limited("more", 5)
	w.limited("any", 0)
	_, n := w.host("node1", types.RoleNode)
	_, p := w.host("proxy1", types.RoleProxy)
	node, proxy := w.client(n), w.client(p)
	w.settle()
	identity := func(name string, roles ...string) string {
		return w.sshCert(userIdentity(name, func(id *types.Identity) { id.Authority.Roles = roles }), types.CAUser, time.Now())
	}
	alice := identity("alice", "few", "more", "any")
	want := func(step string, got []string, refused ...bool) {
		t.Helper()
		for i := range refused {
			if (got[i] != "") != refused[i] {
				t.Errorf("%s: refusals are %q", step, got)
			}
		}
	}
	want("the first", heldBy(t, node, alice, "1"), false)
	want("one at a proxy, and one too many", heldBy(t, proxy, alice, "2", "3"), false, true)
	got := heldBy(t, node, alice, "3")
	if got[0] != "2 connections of yours are open, as many as your roles allow (max_connections)" {
		t.Errorf("the refusal is %q", got[0])
	}
	want("what is open is renewed", heldBy(t, node, alice, "1"), false)
	want("another user", heldBy(t, node, identity("bob", "few"), "b"), false)
	want("a user without a limit", heldBy(t, node, identity("carol", "any"), "c1", "c2", "c3"), false, false, false)
	for _, doc := range []string{"carol"} {
		if _, err := w.store().GetAny(t.Context(), types.KindConnectionSlots, "", doc); !errors.Is(err, fault.NotFound) {
			t.Errorf("a user without a limit is counted: %v", err)
		}
	}

	// A certificate that has ended still renews: sessions outlive theirs.
	old := w.sshCert(userIdentity("alice", func(id *types.Identity) {
		id.Authority.Roles, id.IssuedAt, id.Authority.Expires = []string{"few"}, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}), types.CAUser, time.Now().Add(-2*time.Hour))
	want("by an ended certificate", heldBy(t, node, old, "1"), false)

	// The limit is what the role says now, and the newest go first.
	w.limited("few", 1)
	w.settle()
	want("lowered", heldBy(t, proxy, alice, "2"), true)
	want("lowered", heldBy(t, node, alice, "1"), false)
	must(t, node.ReleaseConnections(t.Context(), &presencev1.ReleaseConnectionsRequest{Connections: []*presencev1.ReleasedConnection{{Id: "1", User: "alice"}}}))
	want("room again", heldBy(t, proxy, alice, "4"), false)
}

// TestWhoseConnectionsAreCounted: only who shows a user's certificate counts one
// of theirs, and nobody gives back another's.
func TestWhoseConnectionsAreCounted(t *testing.T) {
	w := newWorld(t)
	w.limited("one", 1)
	_, a := w.host("node1", types.RoleNode)
	hostID, b := w.host("node2", types.RoleNode)
	first, second := w.client(a), w.client(b)
	w.settle()
	good := userIdentity("alice", func(id *types.Identity) { id.Authority.Roles = []string{"one"} })
	host := &types.Identity{Kind: types.IdentityHost, Cluster: "example", Name: hostID, IssuedAt: time.Now()}
	host.Authority = types.Authority{Expires: time.Now().Add(time.Hour), SystemRoles: []types.SystemRole{types.RoleNode}, Hostname: "node2"}
	future := *good
	future.IssuedAt, future.Authority.Expires = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	for name, cert := range map[string]string{
		"nothing":                        "",
		"no certificate":                 "ssh-ed25519 AAAA",
		"of an authority that is none":   w.sshCert(good, "", time.Now()),
		"of the authority of hosts":      w.sshCert(good, types.CAHost, time.Now()),
		"of the openssh authority":       w.sshCert(good, types.CAOpenSSH, time.Now()),
		"a host's":                       w.sshCert(host, types.CAHost, time.Now()),
		"one that is not yet":            w.sshCert(&future, types.CAUser, future.IssuedAt),
		"cut short":                      w.sshCert(good, types.CAUser, time.Now())[:200],
		"a certificate with other words": strings.Repeat("x", 4000),
	} {
		if got := heldBy(t, second, cert, uuid.NewString()); got[0] == "" {
			t.Errorf("%s: a connection is counted", name)
		}
	}
	if _, err := w.store().GetAny(t.Context(), types.KindConnectionSlots, "", "alice"); !errors.Is(err, fault.NotFound) {
		t.Fatalf("refused certificates count: %v", err)
	}
	alice := w.sshCert(good, types.CAUser, time.Now())
	if got := heldBy(t, first, alice, "mine"); got[0] != "" {
		t.Fatal(got)
	}
	release := func(c *authclient.Client, user, id string) error {
		return c.ReleaseConnections(t.Context(), &presencev1.ReleaseConnectionsRequest{Connections: []*presencev1.ReleasedConnection{{Id: id, User: user}}})
	}
	must(t, release(second, "alice", "mine"))
	doc, err := store.Of[*types.ConnectionSlots](w.store()).Get(t.Context(), "alice")
	if err != nil || len(doc.Spec.Slots) != 1 {
		t.Errorf("another host gave the slot back: %v %v", doc, err)
	}
	for _, bad := range [][2]string{{"alice", ""}, {"", "mine"}, {"../role/x", "mine"}, {"alice", strings.Repeat("9", 65)}} {
		if err := release(first, bad[0], bad[1]); !errors.Is(err, fault.Invalid) {
			t.Errorf("release %q: %v", bad, err)
		}
	}
	many := make([]string, 65)
	for i := range many {
		many[i] = strconv.Itoa(i)
	}
	req := &presencev1.HoldConnectionsRequest{}
	for id := range slices.Values(many) {
		req.Connections = append(req.Connections, &presencev1.HeldConnection{Id: id, UserCert: alice})
	}
	if _, err := first.HoldConnections(t.Context(), req); !errors.Is(err, fault.Limit) {
		t.Errorf("65 at once: %v", err)
	}
}

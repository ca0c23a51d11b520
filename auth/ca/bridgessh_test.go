package ca

import (
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/sshcert"
	"teleport/fault"
	"teleport/types"
)

// bridgeSSH is the request of a proxy that records, for a node with an agent.
func (w *world) bridgeSSH(user, proxy Certs, login string) Request {
	r := w.openSSH(user, proxy, login)
	r.Profile = ProfileBridgeSSH
	return r
}

func TestABridgeCarriesThePersonForMinutes(t *testing.T) {
	w := newWorld(t)
	user, proxy := w.login("alice"), w.host(types.RoleProxy)
	login := user.Identity.Authority.Logins[0]
	r := w.bridgeSSH(user, proxy, login)
	r.TTL = 10 * time.Hour
	c, err := w.issue(r)
	w.must(err)
	got, err := sshcert.Verify(w.sshOf(c), w.c.Trust(), types.IdentityBridge, w.now)
	w.must(err)
	a := got.Authority
	if got.Name != "alice" || len(a.Logins) != 1 || a.Logins[0] != login || c.Expires.Sub(w.now) != BridgeTTL || c.TLS != nil {
		t.Errorf("%+v", got)
	}
	if a.ProxyUUID != proxy.Identity.Name || a.Route.Name != "n1" || !a.DisallowReissue || !a.UserExpires.Equal(user.Expires) {
		t.Errorf("%+v", a)
	}
	// Whoever asks for a user or a host takes it for neither.
	for _, kind := range []types.IdentityKind{types.IdentityUser, types.IdentityHost} {
		if _, err := sshcert.Verify(w.sshOf(c), w.c.Trust(), kind, w.now); !errors.Is(err, fault.Untrusted) {
			t.Errorf("it passes as a %s: %v", kind, err)
		}
	}
	joins, err := w.issue(w.bridgeSSH(user, proxy, types.JoinLogin))
	w.must(err)
	if l := joins.Identity.Authority.Logins; len(l) != 1 || l[0] != types.JoinLogin {
		t.Errorf("for joining: %v", l)
	}
	// Near its end, the user's certificate bounds both.
	w.now = user.Expires.Add(-2 * time.Minute)
	proxy = w.issued(Request{Profile: ProfileHostJoin, Subject: w.admit(types.RoleProxy), Host: Host{Hostname: "web-1"}})
	late, err := w.issue(w.bridgeSSH(user, proxy, login))
	w.must(err)
	if !late.Expires.Equal(user.Expires) || !late.Identity.Authority.UserExpires.Equal(user.Expires) {
		t.Errorf("it outlives the user's: %s, %s", late.Expires, late.Identity.Authority.UserExpires)
	}
}

func TestABridgeKeepsThePin(t *testing.T) {
	w := newWorld(t)
	user, proxy := w.login("pia"), w.host(types.RoleProxy)
	r := w.bridgeSSH(user, proxy, "pia")
	for _, addr := range []netip.AddrPort{{}, netip.MustParseAddrPort("192.0.2.10:1")} {
		r.Addr = addr
		if _, err := w.issue(r); !errors.Is(err, fault.Denied) {
			t.Errorf("from %s: %v", addr, err)
		}
	}
	r.Addr = netip.MustParseAddrPort("192.0.2.9:1")
	c, err := w.issue(r)
	w.must(err)
	if got := c.Identity.Authority.PinnedIP; got != user.Identity.Authority.PinnedIP {
		t.Errorf("pinned to %s", got)
	}
}

func TestWhoGetsNoBridge(t *testing.T) {
	w := newWorld(t)
	user, node, proxy := w.login("alice"), w.host(types.RoleNode), w.host(types.RoleProxy)
	login := user.Identity.Authority.Logins[0]
	given, err := w.issue(w.bridgeSSH(user, proxy, login))
	w.must(err)
	routed := w.issued(Request{Profile: ProfileReissue, Subject: w.of(user), Route: &types.Route{Kind: types.KindNode, Name: "n2"}})
	for name, change := range map[string]func(*Request){
		"nobody":                 func(r *Request) { r.Caller = nil },
		"a node":                 func(r *Request) { r.Caller = w.chain(node) },
		"the user":               func(r *Request) { r.Caller = w.chain(user) },
		"with an X.509 subject":  func(r *Request) { r.Subject = w.of(user) },
		"for a host":             func(r *Request) { r.Subject = SSHCertificate{w.sshOf(node)} },
		"for nobody":             func(r *Request) { r.Subject = SSHCertificate{} },
		"another login":          func(r *Request) { r.Login = "somebody-else" },
		"no login":               func(r *Request) { r.Login = "" },
		"no node":                func(r *Request) { r.Route = nil },
		"an app":                 func(r *Request) { r.Route = &types.Route{Kind: "app", Name: "wiki"} },
		"a route to another":     func(r *Request) { r.Subject = SSHCertificate{w.sshOf(routed)} },
		"a TLS key too":          func(r *Request) { r.Keys.TLS = certtest.Key(t).Public() },
		"from what it was given": func(r *Request) { r.Subject = SSHCertificate{w.sshOf(given)} },
		"reissue of it": func(r *Request) {
			r.Profile, r.Subject, r.Caller = ProfileReissue, SSHCertificate{w.sshOf(given)}, []*x509.Certificate(nil)
		},
	} {
		r := w.bridgeSSH(user, proxy, login)
		change(&r)
		if _, err := w.issue(r); err == nil {
			t.Errorf("%s: it is issued", name)
		}
	}
	for who, name := range map[string]string{"user": "alice", "proxy": proxy.Identity.Name} {
		w.policy.locked = map[string]bool{name: true}
		if _, err := w.issue(w.bridgeSSH(user, proxy, login)); !errors.Is(err, fault.Denied) {
			t.Errorf("a locked %s: %v", who, err)
		}
	}
}

// Whatever the parent and the account: a bridge never says more.
func TestABridgeNeverExceeds(t *testing.T) {
	w := newWorld(t)
	proxy := w.host(types.RoleProxy)
	r := rand.New(rand.NewPCG(5, 6))
	issued := 0
	for i := range 100 {
		parent := certtest.Random(uint64(i), types.IdentityUser, "example.com", w.now)
		parent.Name, parent.Authority.Route = "random", nil
		w.policy.accounts["random"] = randomAccount(r, parent)
		s, err := w.signersFor(t.Context(), types.IdentityUser, "")
		w.must(err)
		c, err := sign(cert.Canonical(parent), Keys{SSH: certtest.SSHKey(t)}, s, w.now)
		w.must(err)
		req := w.bridgeSSH(c, proxy, parent.Authority.Logins[0])
		req.TTL = time.Duration(r.IntN(100)) * time.Hour
		if pin := parent.Authority.PinnedIP; pin.IsValid() {
			req.Addr = netip.AddrPortFrom(pin, 1)
		}
		child, err := w.issue(req)
		if err != nil {
			continue
		}
		issued++
		if err := child.Identity.Narrows(cert.Canonical(parent)); err != nil {
			t.Fatalf("it exceeds its parent: %v\nparent %+v\nchild  %+v", err, parent, child.Identity)
		}
		if !withinAccount(child.Identity, w.policy.accounts["random"]) {
			t.Fatal("it exceeds the account")
		}
	}
	if issued < 20 {
		t.Errorf("only %d certificates were compared", issued)
	}
}

package ca

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert/certtest"
	"teleport/cert/sshcert"
	"teleport/fault"
	"teleport/join"
	"teleport/keys"
	"teleport/types"
)

func (w *world) sshOf(c Certs) *ssh.Certificate {
	w.t.Helper()
	got, err := keys.ParseSSHCert(c.SSH)
	w.must(err)
	return got
}

// openSSH is the request of a proxy for a node without an agent.
func (w *world) openSSH(user, proxy Certs, login string) Request {
	return Request{Profile: ProfileOpenSSH, Subject: SSHCertificate{w.sshOf(user)}, Caller: w.chain(proxy), Login: login,
		Route: &types.Route{Kind: types.KindNode, Name: "n1"}, Keys: Keys{SSH: certtest.SSHKey(w.t)}}
}

func TestOpenSSHIsOneLoginForMinutes(t *testing.T) {
	w := newWorld(t)
	user, proxy := w.login("alice"), w.host(types.RoleProxy)
	login := user.Identity.Authority.Logins[0]
	r := w.openSSH(user, proxy, login)
	r.TTL = 10 * time.Hour
	c, err := w.issue(r)
	w.must(err)
	got := w.sshOf(c)
	if len(got.ValidPrincipals) != 1 || got.ValidPrincipals[0] != login || c.Expires.Sub(w.now) != OpenSSHTTL || c.TLS != nil {
		t.Errorf("%+v", got)
	}
	a := c.Identity.Authority
	if !a.DisallowReissue || a.PermitAgent || a.PermitX11 || a.Route.Name != "n1" {
		t.Errorf("%+v", a)
	}
	// Its authority signs for OpenSSH servers: nobody of the cluster takes it for a user's.
	if _, err := sshcert.Verify(got, w.c.Trust(), types.IdentityUser, w.now); !errors.Is(err, fault.Untrusted) {
		t.Errorf("it passes as a user certificate: %v", err)
	}
	if _, ok := w.c.Trust().SSHCluster(types.CAOpenSSH, got.SignatureKey); !ok {
		t.Error("the openssh authority did not sign it")
	}
}

// The person's address is asked about at the gate; the server sees the proxy's.
func TestOpenSSHOfAPinnedUser(t *testing.T) {
	w := newWorld(t)
	user, proxy := w.login("pia"), w.host(types.RoleProxy)
	r := w.openSSH(user, proxy, "pia")
	r.Addr = netip.MustParseAddrPort("203.0.113.66:1")
	if _, err := w.issue(r); !errors.Is(err, fault.Denied) {
		t.Errorf("from elsewhere: %v", err)
	}
	r.Addr = netip.AddrPort{}
	if _, err := w.issue(r); !errors.Is(err, fault.Denied) {
		t.Errorf("from nowhere: %v", err)
	}
	r.Addr = netip.AddrPortFrom(user.Identity.Authority.PinnedIP, 1)
	c, err := w.issue(r)
	w.must(err)
	if options := w.sshOf(c).CriticalOptions; options["source-address"] != "" {
		t.Errorf("the server would refuse the proxy: %v", options)
	}
}

func TestWhoGetsNoOpenSSHCertificate(t *testing.T) {
	w := newWorld(t)
	user, node, proxy := w.login("alice"), w.host(types.RoleNode), w.host(types.RoleProxy)
	login := user.Identity.Authority.Logins[0]
	given, err := w.issue(w.openSSH(user, proxy, login))
	w.must(err)
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
		"a TLS key too":          func(r *Request) { r.Keys.TLS = certtest.Key(t).Public() },
		"from what it was given": func(r *Request) { r.Subject = SSHCertificate{w.sshOf(given)} },
		"reissue by SSH":         func(r *Request) { r.Profile, r.Caller = ProfileReissue, []*x509.Certificate(nil) },
		"a bridge by SSH":        func(r *Request) { r.Profile = ProfileBridge },
	} {
		r := w.openSSH(user, proxy, login)
		change(&r)
		if _, err := w.issue(r); err == nil {
			t.Errorf("%s: it is issued", name)
		}
	}
	w.policy.locked["alice"] = true
	if _, err := w.issue(w.openSSH(user, proxy, login)); !errors.Is(err, fault.Denied) {
		t.Errorf("a locked user: %v", err)
	}
}

// sshd is the request of a stock SSH server that joins with a host key.
func (w *world) sshd(key ssh.PublicKey) Request {
	return Request{Profile: ProfileHostSSHD, Subject: w.admit(types.RoleNode), Keys: Keys{SSH: key},
		Host: Host{UUID: join.SSHDUUID(key), Hostname: "web-1", Principals: []string{"web-1.lan"}}}
}

func TestAStockServersCertificateOpensNothing(t *testing.T) {
	w := newWorld(t)
	key := certtest.SSHKey(t)
	r := w.sshd(key)
	r.TTL = 100 * SignHostTTL
	c, err := w.issue(r)
	w.must(err)
	id := c.Identity
	if id.Name != join.SSHDUUID(key) || len(id.Authority.SystemRoles) > 0 || id.Authority.Renewable || c.TLS != nil || c.Expires.Sub(w.now) != SignHostTTL {
		t.Errorf("%+v until %s", id, c.Expires)
	}
	got := w.sshOf(c)
	for _, name := range []string{id.Name, "web-1", "web-1." + id.Cluster, "web-1.lan"} {
		if got.CertType != ssh.HostCert || !slices.Contains(got.ValidPrincipals, name) {
			t.Errorf("%q is not in %v", name, got.ValidPrincipals)
		}
	}
	// The same key joins again; a process does not join under its UUID.
	if again, err := w.issue(w.sshd(key)); err != nil || again.Identity.Name != id.Name {
		t.Errorf("%v, %v", again.Identity, err)
	}
	_, err = w.issue(Request{Profile: ProfileHostJoin, Subject: w.admit(types.RoleNode), Keys: w.keys(), Host: Host{UUID: id.Name, Hostname: "web-1"}})
	if !errors.Is(err, fault.Denied) {
		t.Errorf("a process joined in its place: %v", err)
	}
}

func TestWhatAStockServerIsNotCertifiedFor(t *testing.T) {
	w := newWorld(t)
	key, other := certtest.SSHKey(t), certtest.SSHKey(t)
	for name, change := range map[string]func(*Request){
		"the UUID of another key": func(r *Request) { r.Host.UUID = join.SSHDUUID(other) },
		"no UUID":                 func(r *Request) { r.Host.UUID = "" },
		"a TLS key":               func(r *Request) { r.Keys.TLS = certtest.Key(t).Public() },
		"a TLS key alone":         func(r *Request) { r.Keys = Keys{TLS: certtest.Key(t).Public()} },
		"a system role":           func(r *Request) { r.Host.SystemRoles = []types.SystemRole{types.RoleNode} },
	} {
		r := w.sshd(key)
		change(&r)
		if _, err := w.issue(r); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	late := w.sshd(key)
	w.now = w.now.Add(time.Hour)
	if _, err := w.issue(late); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("an old admission: %v", err)
	}
}

// The proxy knows a server without an agent by the UUID of its node, which a
// certificate that the administrator signs for it must bear.
func TestASignedHostCertificateBearsTheUUIDItNames(t *testing.T) {
	w := newWorld(t)
	admin := w.issued(Request{Profile: ProfileAdmin, Subject: Process{}, Host: Host{UUID: certtest.HostUUID}})
	const node = "4d5f3b8e-1f0a-4a51-9a0e-0f6f2a9c7b11"
	for _, h := range []Host{{Hostname: node, Principals: []string{"plain"}}, {Hostname: "plain", Principals: []string{node}}} {
		c, err := w.issue(Request{Profile: ProfileSignHost, Subject: w.of(admin), Host: h, Keys: Keys{SSH: certtest.SSHKey(t)}})
		w.must(err)
		if c.Identity.Name != node || !slices.Contains(w.sshOf(c).ValidPrincipals, node) || !slices.Contains(w.sshOf(c).ValidPrincipals, "plain") {
			t.Errorf("%+v: %v", h, w.sshOf(c).ValidPrincipals)
		}
	}
}

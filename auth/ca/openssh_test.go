package ca

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert/certtest"
	"teleport/cert/sshcert"
	"teleport/fault"
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

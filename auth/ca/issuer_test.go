package ca

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/sshcert"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/join"
	"teleport/join/tokenjoin"
	"teleport/keys"
	"teleport/types"
	"teleport/types/event"
)

// policy answers from fields.
type policy struct {
	accounts map[string]Account
	locked   map[string]bool
}

func (p *policy) Account(_ context.Context, user string) (Account, error) {
	a, ok := p.accounts[user]
	if !ok {
		return a, fault.New(fault.NotFound, "there is no user %q", user)
	}
	return a, nil
}

func (p *policy) CheckLocks(_ context.Context, id *types.Identity) error {
	if p.locked[id.Name] {
		return fault.New(fault.Denied, "%s is locked", id)
	}
	return nil
}

// world is an issuer with everything around it.
type world struct {
	*Issuer
	t      testing.TB
	now    time.Time
	policy *policy
	log    *events
	trust  *cert.Trust
	token  types.Secret
	gate   *join.Gate
}

type tokens map[string]*types.Token

func (m tokens) Get(_ context.Context, name string) (*types.Token, error) {
	if t := m[name]; t != nil {
		return t, nil
	}
	return nil, fault.New(fault.NotFound, "no such token")
}

func (m tokens) Modify(ctx context.Context, name string, change func(*types.Token) error) (*types.Token, error) {
	t, err := m.Get(ctx, name)
	if err == nil {
		err = change(t)
	}
	return t, err
}

func newWorld(t testing.TB) *world {
	t.Helper()
	k, b := newKeys(t)
	w := &world{t: t, now: start, log: &events{}, policy: &policy{locked: map[string]bool{}, accounts: map[string]Account{
		"alice": {Roles: []string{"access", "editor"}, Logins: []string{"root", "alice"}, Traits: map[string][]string{"team": {"red", "blue"}}, PermitPTY: true, PermitPortForward: true},
		"carol": {Roles: []string{"auditor"}},
		"pia":   {Roles: []string{"access"}, Logins: []string{"pia"}, PinIP: true, MaxTTL: time.Hour},
	}}}
	docs, err := Ensure(context.Background(), &documents{has: map[string]*types.CertAuthority{}}, k, w.log, "example.com", keys.DefaultSuite, start)
	w.must(err)
	w.trust, err = cert.NewTrust(docs)
	w.must(err)
	w.Issuer, err = NewIssuer(Config{
		Cluster: "example.com", Keys: k, Trust: func() *cert.Trust { return w.trust }, Policy: w.policy,
		Generations: NewBackendGenerations(b), Events: w.log, Now: func() time.Time { return w.now },
	})
	w.must(err)
	w.token = types.NewSecret("0123456789abcdef0123456789abcdef")
	doc, err := tokenjoin.NewToken(w.token, tokenjoin.Options{
		Roles: []types.SystemRole{types.RoleNode, types.RoleProxy, types.RoleDb, types.RoleApp}, Expires: start.Add(365 * 24 * time.Hour), Scope: &types.JoinScope{Names: []string{"web-*"}},
	})
	w.must(err)
	w.gate, err = join.NewGate(tokens{doc.Metadata.Name: doc}, w.log, func() time.Time { return w.now }, tokenjoin.Method{})
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v (%v)", err, errors.Unwrap(err))
	}
}

func (w *world) keys() Keys { return Keys{SSH: certtest.SSHKey(w.t), TLS: certtest.Key(w.t).Public()} }

func (w *world) issue(r Request) (Certs, error) {
	if r.Keys.SSH == nil && r.Keys.TLS == nil {
		r.Keys = w.keys()
	}
	return w.Issue(context.Background(), r)
}

func (w *world) issued(r Request) Certs {
	w.t.Helper()
	c, err := w.issue(r)
	w.must(err)
	w.check(c)
	return c
}

// check verifies both certificates as a peer would, and that they are twins.
func (w *world) check(c Certs) {
	w.t.Helper()
	id, err := tlscert.Verify(w.chain(c), w.trust, w.now, c.Identity.Kind)
	w.must(err)
	if !reflect.DeepEqual(id, c.Identity) {
		w.t.Errorf("X.509 says %+v, not %+v", id, c.Identity)
	}
	if c.SSH == "" {
		return
	}
	sc, err := keys.ParseSSHCert(c.SSH)
	w.must(err)
	twin, err := sshcert.Verify(sc, w.trust, c.Identity.Kind, w.now)
	w.must(err)
	if !reflect.DeepEqual(twin, c.Identity) {
		w.t.Errorf("SSH says %+v, not %+v", twin, c.Identity)
	}
}

func (w *world) chain(c Certs) []*x509.Certificate {
	w.t.Helper()
	block, _ := pem.Decode(c.TLS)
	if block == nil {
		w.t.Fatal("no X.509 certificate")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	w.must(err)
	return []*x509.Certificate{leaf}
}

func (w *world) login(user string) Certs {
	w.t.Helper()
	return w.issued(Request{Profile: ProfileLogin, Subject: Ceremony{User: user, At: w.now, LoginIP: netip.MustParseAddr("192.0.2.9"), MFADevice: "otp-1"}})
}

func (w *world) admit(roles ...types.SystemRole) Joined {
	w.t.Helper()
	a, err := w.gate.Admit(context.Background(), join.Request{Method: "token", Token: w.token, Hostname: "web-1", Roles: roles})
	w.must(err)
	return Joined{a}
}

func (w *world) host(roles ...types.SystemRole) Certs {
	w.t.Helper()
	return w.issued(Request{Profile: ProfileHostJoin, Subject: w.admit(roles...), Host: Host{Hostname: "web-1"}})
}

func (w *world) of(c Certs) Subject { return Certificate{w.chain(c)} }

func TestLogin(t *testing.T) {
	w := newWorld(t)
	c := w.login("alice")
	if life := c.Expires.Sub(start); life != 12*time.Hour {
		t.Errorf("a login is valid for %s", life)
	}
	if id := c.Identity; id.Proofs.MFADevice != "otp-1" || id.Proofs.LoginIP.String() != "192.0.2.9" || id.Authority.PinnedIP.IsValid() {
		t.Errorf("%+v", id)
	}
	if c := w.login("carol"); c.SSH != "" {
		t.Error("a user without logins got an SSH certificate")
	}
	pinned := w.login("pia")
	if pinned.Identity.Authority.PinnedIP.String() != "192.0.2.9" || pinned.Expires.Sub(start) != time.Hour {
		t.Errorf("pinned %+v", pinned.Identity.Authority)
	}
	long := w.issued(Request{Profile: ProfileLogin, TTL: 1000 * time.Hour, Subject: Ceremony{User: "alice", At: start}})
	if life := long.Expires.Sub(start); life != types.DefaultMaxSessionTTL {
		t.Errorf("asked for more, got %s", life)
	}
	sc, err := keys.ParseSSHCert(pinned.SSH)
	w.must(err)
	if sc.CriticalOptions["source-address"] != "192.0.2.9" || sc.CertType != ssh.UserCert {
		t.Errorf("%v", sc.CriticalOptions)
	}
}

// Each profile takes its own sort of credential and no other.
func TestSubjects(t *testing.T) {
	w := newWorld(t)
	user, proxy, node, agent := w.login("alice"), w.host(types.RoleProxy), w.host(types.RoleNode), w.host(types.RoleDb)
	fronts := w.host(types.RoleApp)
	self := w.issued(Request{Profile: ProfileHostSelf, Subject: Process{}, Host: Host{UUID: certtest.HostUUID, Hostname: "gate", SystemRoles: []types.SystemRole{types.RoleAuth}}})
	admin := w.issued(Request{Profile: ProfileAdmin, Subject: Process{}, Host: Host{UUID: certtest.HostUUID}})
	route := &types.Route{Kind: "node", Name: "n1"}
	routed := w.issued(Request{Profile: ProfileReissue, Subject: w.of(user), Route: route})
	bridge := w.issued(Request{Profile: ProfileBridge, Subject: w.of(user), Caller: w.chain(proxy), Route: route})
	shop := types.DatabaseRoute{User: "app"}.Route("shop")
	toShop := w.issued(Request{Profile: ProfileReissue, Subject: w.of(user), Route: shop})
	bridgeToShop := w.issued(Request{Profile: ProfileBridge, Subject: w.of(user), Caller: w.chain(proxy), Route: shop})
	wiki := types.AppRoute{}.Route("wiki")
	toWiki := w.issued(Request{Profile: ProfileReissue, Subject: w.of(user), Route: wiki})
	bridgeToWiki := w.issued(Request{Profile: ProfileBridge, Subject: w.of(user), Caller: w.chain(proxy), Route: wiki})
	subjects := map[string]Subject{
		"route to wiki": w.of(toWiki), "bridge to wiki": w.of(bridgeToWiki),
		"nil": nil, "user": w.of(user), "proxy": w.of(proxy), "node": w.of(node), "auth": w.of(self), "admin": w.of(admin), "route": w.of(routed), "bridge": w.of(bridge),
		"route to shop": w.of(toShop), "bridge to shop": w.of(bridgeToShop),
		"ceremony": Ceremony{User: "alice", At: w.now}, "old ceremony": Ceremony{User: "alice", At: w.now.Add(-time.Hour)}, "process": Process{},
		"admission": w.admit(types.RoleNode), "user by SSH": SSHCertificate{w.sshOf(user)}, "route by SSH": SSHCertificate{w.sshOf(routed)}, "node by SSH": SSHCertificate{w.sshOf(node)}, "made-up admission": Joined{&join.Admission{}}, "no admission": Joined{}, "no certificate": Certificate{},
	}
	allowed := map[Profile][]string{
		ProfileLogin: {"ceremony"}, ProfileReissue: {"user"}, ProfileWebSession: {"user"}, ProfileAppSession: {"user"}, ProfileBridge: {"user", "route"},
		ProfileSignUser: {"admin"}, ProfileSignHost: {"admin"}, ProfileHostJoin: {"admission"}, ProfileHostRenew: {"proxy", "node", "auth"},
		ProfileHostSelf: {"process"}, ProfileAdmin: {"process"}, ProfileOpenSSH: {"user by SSH"}, ProfileBridgeSSH: {"user by SSH", "route by SSH"},
		ProfileHostSSHD: {"admission"}, ProfileDatabase: {"route to shop", "bridge to shop"}, ProfileSignDB: {"admin"},
		ProfileAppToken: {"route to wiki", "bridge to wiki"},
	}
	if len(allowed) != len(profiles) {
		t.Fatalf("%d profiles are listed here, %d exist", len(allowed), len(profiles))
	}
	for p, names := range allowed {
		for name, s := range subjects {
			r := Request{Profile: p, Subject: s, User: "alice", Host: Host{Hostname: "web-1"}}
			switch p {
			case ProfileBridge:
				r.Caller, r.Route = w.chain(proxy), route
			case ProfileWebSession:
				r.Caller = w.chain(proxy)
			case ProfileAppSession:
				r.Caller, r.Route = w.chain(proxy), &types.Route{Kind: types.KindApp, Name: "wiki"}
			case ProfileDatabase:
				r = database(w.chain(agent))
				r.Subject = s
			case ProfileAppToken:
				r.Caller, r.Route, r.App = w.chain(fronts), wiki, AppToken{Audience: "http://localhost:1"}
				r.Keys = Keys{TLS: certtest.Key(t).Public()}
			case ProfileSignDB:
				r.Keys = Keys{TLS: certtest.Key(t).Public()}
			case ProfileOpenSSH, ProfileBridgeSSH:
				r = w.openSSH(user, proxy, user.Identity.Authority.Logins[0])
				r.Subject, r.Profile = s, p
			case ProfileHostSSHD:
				key := certtest.SSHKey(t)
				r.Keys, r.Host.UUID = Keys{SSH: key}, join.SSHDUUID(key)
			case ProfileHostSelf: // another one, as it would outdate the certificate among the subjects
				r.Host = Host{UUID: "00000000-9f0d-4f5e-8a57-0d6a3f1b2c4d", SystemRoles: []types.SystemRole{types.RoleAuth}}
			case ProfileAdmin:
				r.Host = Host{UUID: certtest.HostUUID}
			}
			want := false
			for _, n := range names {
				want = want || n == name
			}
			before := w.log.count(event.TypeCertCreate)
			c, err := w.issue(r)
			if (err == nil) != want {
				t.Errorf("%s from %s: %v", p, name, err)
			}
			if logged := w.log.count(event.TypeCertCreate) - before; (logged == 1) != want {
				t.Errorf("%s from %s: %d events", p, name, logged)
			}
			if err == nil && p != ProfileOpenSSH && p != ProfileBridgeSSH && p != ProfileHostSSHD && p != ProfileDatabase && p != ProfileSignDB && p != ProfileAppToken { // which have no X.509 half: see their own tests
				w.check(c)
			}
		}
	}
	if _, err := w.issue(Request{Profile: "root", Subject: Process{}}); err == nil {
		t.Error("an unknown profile issues")
	}
}

func TestProxyProfilesNeedAProxy(t *testing.T) {
	w := newWorld(t)
	user, node, proxy := w.login("alice"), w.host(types.RoleNode), w.host(types.RoleProxy)
	route := &types.Route{Kind: "app", Name: "wiki"}
	for name, caller := range map[string][]*x509.Certificate{"nobody": nil, "a node": w.chain(node), "the user": w.chain(user)} {
		for _, p := range []Profile{ProfileBridge, ProfileWebSession} {
			if _, err := w.issue(Request{Profile: p, Subject: w.of(user), Caller: caller, Route: route}); err == nil {
				t.Errorf("%s gets %s", name, p)
			}
		}
	}
	c := w.issued(Request{Profile: ProfileBridge, Subject: w.of(user), Caller: w.chain(proxy), Route: route, TTL: time.Hour})
	if c.Expires.Sub(w.now) != BridgeTTL || c.Identity.Authority.ProxyUUID != proxy.Identity.Name || c.SSH != "" {
		t.Errorf("%+v", c.Identity)
	}
	w.policy.locked[proxy.Identity.Name] = true
	if _, err := w.issue(Request{Profile: ProfileBridge, Subject: w.of(user), Caller: w.chain(proxy), Route: route}); !errors.Is(err, fault.Denied) {
		t.Errorf("a locked proxy gets a bridge: %v", err)
	}
}

// Whatever the parent and the account: a derived certificate never says more.
func TestDerivedNeverExceeds(t *testing.T) {
	w := newWorld(t)
	proxy := w.host(types.RoleProxy)
	r := rand.New(rand.NewPCG(1, 2))
	issued := 0
	for i := range 150 {
		parent := certtest.Random(uint64(i), types.IdentityUser, "example.com", w.now)
		parent.Name = "random"
		if i%2 == 0 {
			parent.Authority.Route, parent.Authority.DisallowReissue = nil, false
		}
		w.policy.accounts["random"] = randomAccount(r, parent)
		s, err := w.signersFor(context.Background(), types.IdentityUser, "")
		w.must(err)
		c, err := sign(cert.Canonical(parent), Keys{TLS: certtest.Key(t).Public()}, s, w.now)
		w.must(err)
		for _, p := range []Profile{ProfileReissue, ProfileWebSession, ProfileBridge} {
			req := Request{Profile: p, Subject: w.of(c), Caller: w.chain(proxy), TTL: time.Duration(r.IntN(100)) * time.Hour, Keys: Keys{TLS: certtest.Key(t).Public()}}
			if pin := parent.Authority.PinnedIP; pin.IsValid() {
				if _, err := w.issue(req); err == nil {
					t.Fatalf("%s issues to an address that is not the pinned one", p)
				}
				req.Addr = netip.AddrPortFrom(pin, 1)
			}
			if parent.Authority.Route == nil && (p == ProfileBridge || r.IntN(2) == 0) {
				req.Route = &types.Route{Kind: "node", Name: "n1"}
			}
			child, err := w.issue(req)
			if err != nil {
				continue
			}
			issued++
			w.check(child)
			if err := child.Identity.Narrows(cert.Canonical(parent)); err != nil {
				t.Fatalf("%s exceeds its parent: %v\nparent %+v\nchild  %+v", p, err, parent, child.Identity)
			}
			if !withinAccount(child.Identity, w.policy.accounts["random"]) {
				t.Fatalf("%s exceeds the account", p)
			}
		}
	}
	if issued < 100 {
		t.Errorf("only %d certificates were compared", issued)
	}
}

func randomAccount(r *rand.Rand, parent *types.Identity) Account {
	some := func(list []string) []string {
		var out []string
		for _, x := range append([]string{"more"}, list...) {
			if r.IntN(3) > 0 {
				out = append(out, x)
			}
		}
		return out
	}
	a := Account{Roles: some(parent.Authority.Roles), Logins: some(parent.Authority.Logins), Traits: map[string][]string{}, MaxTTL: time.Duration(1+r.IntN(20)) * time.Hour,
		PermitPTY: r.IntN(2) == 0, PermitAgent: r.IntN(2) == 0, PermitX11: r.IntN(2) == 0, PermitPortForward: r.IntN(2) == 0, PinIP: r.IntN(2) == 0}
	for k, v := range parent.Authority.Traits {
		a.Traits[k] = some(v)
	}
	return a
}

func withinAccount(id *types.Identity, a Account) bool {
	at := &id.Authority
	return len(intersect(at.Roles, a.Roles)) == len(at.Roles) && len(intersect(at.Logins, a.Logins)) == len(at.Logins) &&
		(!at.PermitPTY || a.PermitPTY) && (!at.PermitAgent || a.PermitAgent) && (!at.PermitX11 || a.PermitX11) && (!a.PinIP || at.PinnedIP.IsValid())
}

func TestHostLife(t *testing.T) {
	w := newWorld(t)
	c := w.issued(Request{Profile: ProfileHostJoin, Subject: w.admit(types.RoleNode), Host: Host{UUID: certtest.HostUUID, Hostname: "web-1"}})
	if c.Identity.Generation != 1 || c.Identity.Authority.Scope == nil || c.Expires.Sub(w.now) != HostTTL {
		t.Errorf("%+v", c.Identity)
	}
	for range 5 {
		w.now = w.now.Add(HostTTL / 2)
		next := w.issued(Request{Profile: ProfileHostRenew, Subject: w.of(c), Host: Host{Hostname: "web-2", SystemRoles: []types.SystemRole{types.RoleAuth}}})
		if next.Identity.Name != c.Identity.Name || next.Identity.HasSystemRole(types.RoleAuth) || next.Identity.Generation != c.Identity.Generation+1 {
			t.Fatalf("%+v", next.Identity)
		}
		old := c
		c = next
		_, err := w.issue(Request{Profile: ProfileHostRenew, Subject: w.of(old), Host: Host{Hostname: "web-1"}})
		var clone *Cloned
		if !errors.As(err, &clone) {
			t.Fatalf("an old generation renews: %v", err)
		}
	}
	if _, err := w.issue(Request{Profile: ProfileHostRenew, Subject: w.of(c), Host: Host{Hostname: "db-1"}}); !errors.Is(err, fault.Invalid) {
		t.Errorf("a name outside of the scope: %v", err)
	}
	w.now = w.now.Add(2 * HostTTL)
	if _, err := w.issue(Request{Profile: ProfileHostRenew, Subject: w.of(c), Host: Host{Hostname: "web-1"}}); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("an expired host renews: %v", err)
	}
	for _, uuid := range []string{"x", "../y", "5F3C8A1E-9F0D-4F5E-8A57-0D6A3F1B2C4D"} {
		if _, err := w.issue(Request{Profile: ProfileHostJoin, Subject: w.admit(types.RoleNode), Host: Host{UUID: uuid, Hostname: "web-1"}}); err == nil {
			t.Errorf("host UUID %q is accepted", uuid)
		}
	}
}

func TestReissueFollowsTheAccount(t *testing.T) {
	w := newWorld(t)
	c := w.login("alice")
	w.policy.accounts["alice"] = Account{Roles: []string{"access", "superuser"}, Logins: []string{"alice", "admin"}}
	w.now = w.now.Add(time.Hour)
	next := w.issued(Request{Profile: ProfileReissue, Subject: w.of(c), TTL: 100 * time.Hour})
	a := next.Identity.Authority
	if !reflect.DeepEqual(a.Roles, []string{"access"}) || !reflect.DeepEqual(a.Logins, []string{"alice"}) || a.Traits != nil || a.PermitPTY || !next.Expires.Equal(c.Expires) {
		t.Errorf("%+v", a)
	}
	w.policy.locked["alice"] = true
	if _, err := w.issue(Request{Profile: ProfileReissue, Subject: w.of(c)}); !errors.Is(err, fault.Denied) {
		t.Errorf("a locked user re-issues: %v", err)
	}
	w.policy.locked = map[string]bool{}
	delete(w.policy.accounts, "alice")
	if _, err := w.issue(Request{Profile: ProfileReissue, Subject: w.of(c)}); err == nil {
		t.Error("a deleted user re-issues")
	}
}

// A certificate from before its account was reset, or its name given to somebody
// new, gets no other, of no profile; one from after it does.
func TestNothingIsIssuedAcrossAReset(t *testing.T) {
	w := newWorld(t)
	old := w.login("alice")
	w.now = w.now.Add(time.Minute)
	a := w.policy.accounts["alice"]
	a.LoginAfter = w.now
	w.policy.accounts["alice"] = a
	proxy := w.issued(Request{Profile: ProfileHostJoin, Subject: w.admit(types.RoleProxy), Host: Host{Hostname: "web-1"}})
	requests := []Request{
		{Profile: ProfileReissue},
		{Profile: ProfileWebSession, Caller: w.chain(proxy)},
		{Profile: ProfileBridge, Caller: w.chain(proxy), Route: &types.Route{Kind: "db", Name: "pg"}},
	}
	for _, r := range requests {
		r.Subject = w.of(old)
		if c, err := w.issue(r); !errors.Is(err, fault.Unauthenticated) || c.TLS != nil {
			t.Errorf("%s from before the reset: %v", r.Profile, err)
		}
	}
	fresh := w.login("alice")
	for _, r := range requests {
		r.Subject = w.of(fresh)
		w.issued(r)
	}
}

// The auth service certifies its listener every few hours. That must not make
// the renewal of the process that it is part of look like a clone's.
func TestListenerCertificatesDoNotCount(t *testing.T) {
	w := newWorld(t)
	self := func(k Keys) Request {
		return Request{Profile: ProfileHostSelf, Subject: Process{}, Keys: k,
			Host: Host{UUID: certtest.HostUUID, Hostname: "auth1", SystemRoles: []types.SystemRole{types.RoleAuth}}}
	}
	listener := Keys{TLS: certtest.Key(t).Public()}
	w.issued(self(listener))
	process := w.issued(self(w.keys()))
	for range 4 {
		w.now = w.now.Add(HostTTL / 4)
		c := w.issued(self(listener))
		if c.Identity.Authority.Renewable {
			t.Error("the listener's certificate is renewable")
		}
	}
	w.now = w.now.Add(-HostTTL / 2)
	next := w.issued(Request{Profile: ProfileHostRenew, Subject: w.of(process), Host: Host{Hostname: "auth1"}})
	if next.Identity.Generation != process.Identity.Generation+1 {
		t.Errorf("generation %d after %d", next.Identity.Generation, process.Identity.Generation)
	}
}

// Nothing is signed that is not recorded first.
func TestNoRecordNoCertificate(t *testing.T) {
	w := newWorld(t)
	w.log.fail = errors.New("disk full")
	c, err := w.issue(Request{Profile: ProfileLogin, Subject: Ceremony{User: "alice", At: w.now}})
	if !errors.Is(err, fault.Unavailable) || c.SSH != "" || c.TLS != nil {
		t.Errorf("%v, %+v", err, c)
	}
	w.log.fail = nil
	w.login("alice")
	last := w.log.got[len(w.log.got)-1].(*event.CertCreate)
	if last.Code != "TC000I" || last.Identity.User != "alice" || last.Fingerprint == "" || last.Profile != "login" {
		t.Errorf("%+v", last)
	}
}

func TestBadKeys(t *testing.T) {
	w := newWorld(t)
	c := w.login("alice")
	certified, err := keys.ParseSSHCert(c.SSH)
	w.must(err)
	for name, k := range map[string]Keys{"none": {}, "a certificate": {SSH: certified}, "no key at all": {TLS: "x"}} {
		if _, err := w.Issue(context.Background(), Request{Profile: ProfileLogin, Subject: Ceremony{User: "alice", At: w.now}, Keys: k}); err == nil {
			t.Errorf("%s was certified", name)
		}
	}
}

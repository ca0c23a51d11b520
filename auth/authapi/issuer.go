package authapi

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"time"

	"teleport/access"
	"teleport/auth/ca"
	"teleport/auth/login"
	"teleport/cert"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

// LoginIssuer lets package login mint through the one Issuer.
type LoginIssuer struct {
	Issuer *ca.Issuer
	Locks  func() []*types.Lock
	Trust  func() *cert.Trust
	Now    func() time.Time
}

var _ login.Issuer = LoginIssuer{}

// IssueLogin implements login.Issuer. The authenticator of the login stays out of
// the certificate: there it would stand for a check made for one session. Locks on
// it are looked at here.
func (l LoginIssuer) IssueLogin(ctx context.Context, g login.Grant) (login.Certs, error) {
	k, err := publicKeys(g.Keys.SSH, g.Keys.TLS)
	if err != nil {
		return login.Certs{}, err
	}
	subject := access.LockSubject{User: g.User.Metadata.Name, Roles: g.User.Spec.Roles, MFADevice: g.DeviceID}
	for _, lock := range l.Locks() {
		if access.LockInForce(lock, subject, l.Now()) {
			return login.Certs{}, lockedBy(lock)
		}
	}
	certs, err := l.Issuer.Issue(ctx, ca.Request{
		Profile: ca.ProfileLogin, Keys: k, TTL: g.TTL, Addr: netip.AddrPortFrom(g.LoginIP, 0),
		Subject: ca.Ceremony{User: g.User.Metadata.Name, At: l.Now(), LoginIP: g.LoginIP},
	})
	if err != nil {
		return login.Certs{}, err
	}
	return l.certs(certs)
}

// IssueFromSession implements login.Issuer.
func (l LoginIssuer) IssueFromSession(ctx context.Context, g login.SessionGrant) (login.Certs, error) {
	return l.derive(ctx, ca.ProfileWebSession, g, nil)
}

// IssueForApp implements login.Issuer.
func (l LoginIssuer) IssueForApp(ctx context.Context, g login.SessionGrant, app *types.Route) (login.Certs, error) {
	return l.derive(ctx, ca.ProfileAppSession, g, app)
}

// IssueAppBridge implements login.Issuer.
func (l LoginIssuer) IssueAppBridge(ctx context.Context, g login.SessionGrant) (login.Certs, error) {
	return l.derive(ctx, ca.ProfileBridge, g, nil)
}

// derive issues what a browser's session gives a proxy.
func (l LoginIssuer) derive(ctx context.Context, profile ca.Profile, g login.SessionGrant, route *types.Route) (login.Certs, error) {
	k, err := publicKeys(g.Keys.SSH, g.Keys.TLS)
	if err != nil {
		return login.Certs{}, err
	}
	parent, err := x509.ParseCertificate(g.Session)
	if err != nil {
		return login.Certs{}, err
	}
	var usage []string
	if profile == ca.ProfileAppSession {
		usage = []string{types.KindApp}
	}
	certs, err := l.Issuer.Issue(ctx, ca.Request{
		Profile: profile, Usage: usage, Keys: k, TTL: g.TTL, Route: route, Addr: g.Addr,
		Subject: ca.Certificate{Chain: []*x509.Certificate{parent}}, Caller: []*x509.Certificate{g.Proxy},
	})
	if err != nil {
		return login.Certs{}, err
	}
	return l.certs(certs)
}

func (l LoginIssuer) certs(c ca.Certs) (login.Certs, error) {
	docs, err := authorities(l.Trust())
	return login.Certs{Identity: c.Identity, SSH: c.SSH, TLS: c.TLS, Authorities: docs}, err
}

// publicKeys parses the keys that a peer wants certified; either may be empty.
func publicKeys(sshLine string, tlsDER []byte) (ca.Keys, error) {
	var k ca.Keys
	var err error
	if sshLine != "" {
		if k.SSH, err = keys.ParseSSHPublic(sshLine); err != nil {
			return ca.Keys{}, err
		}
	}
	if len(tlsDER) > 0 {
		if k.TLS, err = x509.ParsePKIXPublicKey(tlsDER); err != nil {
			return ca.Keys{}, fault.Wrap(err, fault.Invalid, "the TLS public key is not in PKIX form")
		}
	}
	return k, nil
}

// authorities are the documents of all CAs, for those who get certificates.
func authorities(t *cert.Trust) ([][]byte, error) {
	var out [][]byte
	for _, doc := range t.Authorities() {
		b, err := json.Marshal(doc)
		if err != nil {
			return nil, fault.Wrap(err, fault.Internal, "an authority cannot be encoded")
		}
		out = append(out, b)
	}
	return out, nil
}

package login

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/netip"
	"regexp"
	"time"

	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

// handOver is how long a browser may take from the launcher to the app. What it
// has not taken over by then is nobody's.
const handOver = time.Minute

// stateForm is the shape of the state that a proxy makes for a browser which asks
// for an app.
var stateForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// AppAttempt is a browser that is signed in and asks for an app.
type AppAttempt struct {
	Bearer types.Secret      // of its web session
	App    string            // name of the app
	Params map[string]string // that narrow the route
	// State was made at the app's own address a moment ago, for this browser alone:
	// whoever shows it there takes the session over.
	State     types.Secret
	Proxy     *x509.Certificate // of the proxy that asks
	Addr      netip.AddrPort    // of the browser
	UserAgent string
}

// StartAppSession makes a session with one app of a live web session. It is
// pending until OpenAppSession. Whether the user may use the app is the proxy's and
// the agent's to decide, from the policy of then.
func (s *Service) StartAppSession(ctx context.Context, a AppAttempt) (Session, error) {
	if !stateForm.MatchString(a.State.Reveal()) {
		return Session{}, fault.New(fault.Invalid, "the state of the hand-over is not one")
	}
	now := s.d.Now()
	web, webSecret, err := s.live(ctx, a.Bearer, a.Addr, now)
	if err != nil {
		return Session{}, err
	}
	id, secret := newToken().Reveal(), newToken()
	cert, err := s.certFor(ctx, web, webSecret, a, id)
	if err != nil {
		return Session{}, err
	}
	sealed, err := seal(appSeal, id, secret, cert.Raw)
	if err != nil {
		return Session{}, err
	}
	expires := cert.NotAfter
	if web.Spec.Expires.Before(expires) {
		expires = web.Spec.Expires
	}
	until := now.Add(handOver)
	doc := &types.AppSession{Header: types.Header{Kind: types.KindAppSession, Version: "v1",
		Metadata: types.Metadata{Name: id, Expires: &until}}}
	doc.Spec = types.AppSessionSpec{User: web.Spec.User, App: a.App, WebSession: web.Metadata.Name, SecretHash: types.HashAppSecret(secret),
		StateHash: types.HashAppState(a.State), Sealed: sealed, Params: a.Params, Created: now, Expires: expires,
		LoginIP: web.Spec.LoginIP, PinnedIP: web.Spec.PinnedIP, UserAgent: clip(a.UserAgent, 512)}
	if _, err := s.apps.Create(ctx, doc); err != nil {
		return Session{}, err
	}
	// A sign-out in between has looked for such sessions before there was this one.
	if _, err := s.web.Get(ctx, web.Metadata.Name); err != nil {
		return Session{}, errors.Join(errEnded(), s.endApp(ctx, doc))
	}
	return Session{Bearer: types.NewSecret(id + "." + secret.Reveal()), User: web.Spec.User, Expires: expires}, nil
}

// certFor gets the certificate behind a session with an app, in whose route agents
// read which session it is. Its key is thrown
// away at once, as that of a web session is.
func (s *Service) certFor(ctx context.Context, web *types.WebSession, secret types.Secret, a AppAttempt, id string) (*x509.Certificate, error) {
	parent, err := unseal(webSeal, web.Metadata.Name, secret, web.Spec.Sealed)
	if err != nil {
		return nil, errEnded()
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	route := types.AppRouteOf(&types.Route{Params: a.Params})
	route.SessionID = id
	certs, err := s.d.Issuer.IssueForApp(ctx, SessionGrant{Session: parent, Proxy: a.Proxy, Keys: Keys{TLS: public}, Addr: a.Addr}, route.Route(a.App))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(certs.TLS)
	if block == nil {
		return nil, errors.New("the issuer made no X.509 certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// OpenAppSession gives a session to the browser that shows, at the app's own
// address, the state that it was made for: once, and within a minute. An attempt
// that fails ends the session. The bearer that it returns has another secret: scripts
// of the app, such as a service worker, may have seen the one on its way.
func (s *Service) OpenAppSession(ctx context.Context, bearer types.Secret, app string, state types.Secret, addr netip.AddrPort) (Session, error) {
	doc, secret, err := s.liveApp(ctx, bearer, addr)
	if err != nil {
		return Session{}, err
	}
	bad := ""
	switch {
	case !doc.Pending():
		bad = "it was used before"
	case doc.Spec.App != app:
		bad = "it is for another app"
	case subtle.ConstantTimeCompare(doc.Spec.StateHash, types.HashAppState(state)) != 1:
		bad = "it was made for another browser"
	}
	if bad != "" {
		err := fault.New(fault.Denied, "the sign-in to the app %s cannot be taken over: %s", app, bad).WithHint("open the app again")
		return Session{}, errors.Join(s.appFailed(ctx, doc, addr, err), s.endApp(ctx, doc), err)
	}
	id, next := doc.Metadata.Name, newToken()
	cert, err := unseal(appSeal, id, secret, doc.Spec.Sealed)
	if err != nil {
		return Session{}, errors.Join(errEnded(), s.endApp(ctx, doc))
	}
	if doc.Spec.Sealed, err = seal(appSeal, id, next, cert); err != nil {
		return Session{}, err
	}
	doc.Spec.SecretHash = types.HashAppSecret(next)
	doc.Spec.StateHash, doc.Metadata.Expires = nil, &doc.Spec.Expires
	if _, err := s.apps.Update(ctx, doc); err != nil { // somebody else took it over, or ended it
		return Session{}, errors.Join(errEnded(), s.appFailed(ctx, doc, addr, err), s.endApp(ctx, doc))
	}
	return Session{Bearer: types.NewSecret(id + "." + next.Reveal()), User: doc.Spec.User, Expires: doc.Spec.Expires}, nil
}

// appFailed records that somebody was refused a session with an app.
func (s *Service) appFailed(ctx context.Context, doc *types.AppSession, addr netip.AddrPort, cause error) error {
	e := &event.AuthFail{User: event.User{User: doc.Spec.User, UserKind: 1}, Connection: from(addr)}
	e.Protocol, e.Error, e.Message = "app", cause.Error(), fault.Message(cause)
	return s.emit(ctx, e)
}

// UseAppSession trades a bearer for the bridge certificate by which a proxy speaks
// for the browser's user to the app's agent. It is asked for because somebody uses
// the app, so it puts the idle limit off.
func (s *Service) UseAppSession(ctx context.Context, bearer types.Secret, proxy *x509.Certificate, keys Keys, addr netip.AddrPort) (Certs, error) {
	doc, secret, err := s.liveApp(ctx, bearer, addr)
	if err != nil {
		return Certs{}, err
	}
	if doc.Pending() {
		return Certs{}, errEnded()
	}
	cert, err := unseal(appSeal, doc.Metadata.Name, secret, doc.Spec.Sealed)
	if err != nil {
		return Certs{}, errEnded()
	}
	return s.d.Issuer.IssueAppBridge(ctx, SessionGrant{Session: cert, Proxy: proxy, Keys: keys, Addr: addr})
}

// EndAppSession ends a browser's session with one app, and no other. A bearer that
// is no live session's is no error.
func (s *Service) EndAppSession(ctx context.Context, bearer types.Secret) error {
	doc, _, err := s.appSession(ctx, bearer)
	if errors.Is(err, fault.Unauthenticated) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.endApp(ctx, doc)
}

// liveApp finds the session of a bearer, and ends one that is over: its own time,
// or that of the web session that it was made of.
func (s *Service) liveApp(ctx context.Context, bearer types.Secret, addr netip.AddrPort) (*types.AppSession, types.Secret, error) {
	now := s.d.Now()
	doc, secret, err := s.appSession(ctx, bearer)
	if err != nil {
		return nil, secret, err
	}
	if !now.Before(doc.Spec.Expires) || doc.Pending() && now.Sub(doc.Spec.Created) >= handOver {
		return nil, secret, errors.Join(errEnded(), s.endApp(ctx, doc))
	}
	web, err := s.web.Get(ctx, doc.Spec.WebSession)
	switch {
	case missing(err):
		return nil, secret, errors.Join(errEnded(), s.endApp(ctx, doc))
	case err != nil:
		return nil, secret, fault.Wrap(err, fault.Unavailable, "the session cannot be checked now")
	}
	if err := s.checkLive(ctx, web, addr, now); err != nil {
		return nil, secret, err
	}
	return doc, secret, s.touch(ctx, web, false, now)
}

// appSession finds the session of a bearer and checks the bearer's secret.
func (s *Service) appSession(ctx context.Context, bearer types.Secret) (*types.AppSession, types.Secret, error) {
	id, secret, err := split(bearer)
	if err != nil {
		return nil, secret, err
	}
	doc, err := s.apps.Get(ctx, id)
	if missing(err) {
		return nil, secret, errEnded()
	}
	if err != nil {
		return nil, secret, fault.Wrap(err, fault.Unavailable, "the session cannot be checked now")
	}
	if !doc.Matches(secret) {
		return nil, secret, errEnded()
	}
	return doc, secret, nil
}

func (s *Service) endApp(ctx context.Context, doc *types.AppSession) error {
	if err := s.apps.Delete(ctx, doc.Metadata.Name, ""); err != nil && !missing(err) {
		return fault.Wrap(err, fault.Unavailable, "the session could not be ended")
	}
	return nil
}

// endAppsOf ends the sessions with apps that are meant.
func (s *Service) endAppsOf(ctx context.Context, meant func(*types.AppSession) bool) error {
	all, err := s.apps.All(ctx)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the sessions with apps could not be ended")
	}
	for _, doc := range all {
		if meant(doc) {
			if err := s.endApp(ctx, doc); err != nil {
				return err
			}
		}
	}
	return nil
}

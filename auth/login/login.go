// Package login checks how people prove who they are: passwords and one-time
// codes, invite and reset links, and the sessions of browsers. What it tells
// the person is deliberately vague (an unknown user, a wrong password and a
// locked account look and cost the same); the audit log holds the real cause.
//
// It mints nothing itself: the Issuer, auth's only way to a certificate, decides
// again.
package login

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"teleport/audit"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// Failures within the window lock an account for as long.
const (
	maxFailures   = 5
	failureWindow = 30 * time.Minute
	lockFor       = 30 * time.Minute
)

// Keys are the public keys that a certificate is wanted for.
type Keys struct {
	SSH string // bare authorized_keys line; "" for no SSH certificate
	TLS []byte // PKIX DER; empty for no X.509 certificate
}

// Certs are what an Issuer made.
type Certs struct {
	Identity    *types.Identity
	SSH         string   // authorized_keys form of the certificate
	TLS         []byte   // PEM
	Authorities [][]byte // cert_authority documents, JSON
}

// Grant says whom to issue a first certificate to, after the proofs.
type Grant struct {
	User     *types.User
	Keys     Keys
	TTL      time.Duration // 0: the cluster's default
	LoginIP  netip.Addr
	DeviceID string // the authenticator used, for locks on it
}

// Issuer makes certificates. Its refusals (locks, a role that is gone) are
// faults that the person, who has proven to be the user, may read.
type Issuer interface {
	// IssueLogin makes the first certificates of a login.
	IssueLogin(ctx context.Context, g Grant) (Certs, error)
	// IssueFromSession narrows the certificate of a web session to a short one
	// for the keys of the proxy that holds the browser.
	IssueFromSession(ctx context.Context, g SessionGrant) (Certs, error)
	// IssueForApp narrows the certificate of a web session to one app, for as long
	// as the session may last.
	IssueForApp(ctx context.Context, g SessionGrant, app *types.Route) (Certs, error)
	// IssueAppBridge makes of such a certificate one by which the proxy that holds
	// the browser speaks for its user to the app's agent.
	IssueAppBridge(ctx context.Context, g SessionGrant) (Certs, error)
}

// SessionGrant says from which web session, and for which proxy, a short
// certificate is wanted.
type SessionGrant struct {
	Session []byte            // the session's own certificate, DER
	Proxy   *x509.Certificate // of the proxy that showed the bearer
	Keys    Keys
	TTL     time.Duration
	Addr    netip.AddrPort // of the browser
}

// Deps are what a Service works with. All fields but Now and RefuseAfter are
// required.
type Deps struct {
	Store   *store.Store
	Issuer  Issuer
	Events  audit.Emitter
	Log     *slog.Logger
	Cluster string
	Now     func() time.Time // nil: time.Now
	// RefuseAfter is the least time that a refusal takes, so that the work done
	// for a user who exists does not show. 0: 400 ms; negative: none.
	RefuseAfter time.Duration
}

// Service checks proofs. Safe for concurrent use; it starts nothing.
type Service struct {
	d      Deps
	users  store.Collection[*types.User]
	creds  store.Collection[*types.UserCredentials]
	tokens store.Collection[*types.UserToken]
	web    store.Collection[*types.WebSession]
	apps   store.Collection[*types.AppSession]
	prefs  store.Collection[*types.AuthPreference]
	net    store.Collection[*types.NetworkingConfig]
	hasher *hasher
	addrs  *addrBudget
}

// New returns a service over the store.
func New(d Deps) *Service {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.RefuseAfter == 0 {
		d.RefuseAfter = 400 * time.Millisecond
	}
	return &Service{
		d:      d,
		users:  store.Of[*types.User](d.Store),
		creds:  store.Of[*types.UserCredentials](d.Store),
		tokens: store.Of[*types.UserToken](d.Store),
		web:    store.Of[*types.WebSession](d.Store),
		apps:   store.Of[*types.AppSession](d.Store),
		prefs:  store.Of[*types.AuthPreference](d.Store),
		net:    store.Of[*types.NetworkingConfig](d.Store),
		hasher: newHasher(argonTime, argonMemory), addrs: newAddrBudget(),
	}
}

// Attempt is a person signing in.
type Attempt struct {
	User      string
	Password  types.Secret
	OTP       types.Secret
	Addr      netip.AddrPort // the person's address, as the proxy saw it
	UserAgent string
}

// Login checks the proofs and issues certificates for the keys.
func (s *Service) Login(ctx context.Context, a Attempt, keys Keys, ttl time.Duration) (Certs, error) {
	even := time.NewTimer(max(s.d.RefuseAfter, 0))
	defer even.Stop()
	user, device, err := s.prove(ctx, a)
	if err != nil {
		select {
		case <-even.C:
		case <-ctx.Done():
		}
		return Certs{}, err
	}
	return s.enter(ctx, a, user, device, keys, ttl)
}

// enter issues the certificates of somebody who has just proved to be the user,
// and records the login.
func (s *Service) enter(ctx context.Context, a Attempt, user *types.User, device types.OTPDevice, keys Keys, ttl time.Duration) (Certs, error) {
	certs, err := s.d.Issuer.IssueLogin(ctx, Grant{User: user, Keys: keys, TTL: ttl, LoginIP: a.Addr.Addr(), DeviceID: device.ID})
	if err != nil {
		return Certs{}, s.fail(ctx, a, err, err)
	}
	e := s.loginEvent(a, event.CodeUserLogin)
	e.Success, e.UserRoles, e.UserKind = true, user.Spec.Roles, 1
	if device.ID != "" {
		e.MFADeviceUUID, e.MFADeviceName, e.MFADeviceType = device.ID, device.Name, "TOTP"
	}
	if err := s.d.Events.Emit(ctx, e); err != nil {
		return Certs{}, fault.Wrap(err, fault.Unavailable, "the sign-in could not be recorded")
	}
	return certs, nil
}

// refused is what a person reads whatever was wrong with the proofs.
func refused() error {
	return fault.New(fault.Denied, "the user name, password or code is wrong").
		WithHint("after %d failures an account is locked for %d minutes; an administrator can unlock it", maxFailures, int(lockFor.Minutes()))
}

// prove returns the user and the authenticator used, or the vague refusal. All
// ways of failing do the same work.
func (s *Service) prove(ctx context.Context, a Attempt) (*types.User, types.OTPDevice, error) {
	none := types.OTPDevice{}
	now := s.d.Now()
	if ok, first := s.addrs.take(a.Addr.Addr(), now); !ok {
		err := fault.New(fault.Limit, "too many sign-in attempts from this address").WithHint("try again in a minute")
		if !first { // else whoever knocks fills the log
			return nil, none, err
		}
		return nil, none, s.fail(ctx, a, err, err)
	}
	if len(a.User) > maxUser || len(a.Password.Reveal()) > maxPassword || len(a.OTP.Reveal()) > maxOTP {
		return nil, none, s.fail(ctx, a, errors.New("user name, password or code too long"), refused())
	}
	policy, err := s.policy(ctx)
	if err != nil {
		return nil, none, err
	}
	if err := policy.offered(); err != nil {
		return nil, none, s.fail(ctx, a, err, err)
	}
	user, creds, cause, err := s.reserve(ctx, a, now)
	if err != nil {
		return nil, none, err
	}
	var stored *types.PasswordHash
	var devices []types.OTPDevice
	if creds != nil {
		stored, devices = creds.Spec.Password, creds.Spec.OTP
	}
	right, err := s.hasher.verify(ctx, a.Password, stored)
	if err != nil {
		return nil, none, err
	}
	id, step, codeRight := matchDevice(devices, a.OTP, now)
	switch {
	case cause != nil:
	case !right:
		cause = errors.New("wrong password")
	case !codeRight:
		cause = errors.New("wrong or used one-time code")
	}
	if cause != nil {
		return nil, none, s.fail(ctx, a, cause, refused())
	}
	device, err := s.accept(ctx, user, id, step, now)
	if errors.Is(err, errCodeUsed) {
		return nil, none, s.fail(ctx, a, err, refused())
	}
	return user, device, err
}

// reserve counts the attempt as a failure before it is looked at, so that
// guesses made at the same moment, here or at another auth process, are all
// counted. cause says why the attempt fails already; err is our own trouble.
func (s *Service) reserve(ctx context.Context, a Attempt, now time.Time) (user *types.User, creds *types.UserCredentials, cause, err error) {
	user, err = s.users.Get(ctx, a.User)
	if missing(err) {
		return nil, nil, errors.New("there is no such user"), nil
	}
	if err != nil {
		return nil, nil, nil, fault.Wrap(err, fault.Unavailable, "the sign-in cannot be checked now")
	}
	if locked(user, now) {
		return user, nil, errors.New("the account is locked"), nil
	}
	if user.Spec.Expires != nil && !now.Before(*user.Spec.Expires) {
		return user, nil, errors.New("the account has expired"), nil
	}
	full := false
	creds, err = s.creds.Modify(ctx, a.User, func(c *types.UserCredentials) error {
		c.Spec.Failures = slices.DeleteFunc(c.Spec.Failures, func(t time.Time) bool { return now.Sub(t) >= failureWindow })
		c.Spec.Failures = append(c.Spec.Failures, now)
		full = len(c.Spec.Failures) > maxFailures
		return nil
	})
	switch {
	case missing(err):
		return user, nil, errors.New("the user has no password yet"), nil
	case err != nil:
		return nil, nil, nil, fault.Wrap(err, fault.Unavailable, "the sign-in cannot be checked now")
	case full:
		return user, nil, errors.New("too many failures"), s.lockOut(ctx, a, now)
	}
	return user, creds, nil, nil
}

var errCodeUsed = errors.New("the one-time code was used by another sign-in at the same time")

// accept clears the failures and spends the code. Of two sign-ins with one
// code, the later finds it spent.
func (s *Service) accept(ctx context.Context, user *types.User, deviceID string, step int64, now time.Time) (types.OTPDevice, error) {
	var used types.OTPDevice
	_, err := s.creds.Modify(ctx, user.Metadata.Name, func(c *types.UserCredentials) error {
		c.Spec.Failures = nil
		for i := range c.Spec.OTP {
			d := &c.Spec.OTP[i]
			if d.ID != deviceID {
				continue
			}
			if d.LastStep >= step {
				return errCodeUsed
			}
			d.LastStep, d.LastUsed = step, now
			used = *d
		}
		if deviceID != "" && used.ID == "" {
			return errCodeUsed // the device was removed in between
		}
		return nil
	})
	if err != nil && !errors.Is(err, errCodeUsed) {
		return used, fault.Wrap(err, fault.Unavailable, "the sign-in cannot be recorded now")
	}
	return used, err
}

// lockOut locks the account and forgets the failures that led to it, so that
// an administrator who unlocks it gives a fresh start.
func (s *Service) lockOut(ctx context.Context, a Attempt, now time.Time) error {
	until := now.Add(lockFor)
	_, err := s.users.Modify(ctx, a.User, func(u *types.User) error {
		u.Status = types.UserStatus{IsLocked: true, LockedMessage: "locked after repeated failures to sign in",
			LockedTime: &now, LockExpires: &until}
		return nil
	})
	if err == nil {
		_, err = s.creds.Modify(ctx, a.User, func(c *types.UserCredentials) error {
			c.Spec.Failures = nil
			return nil
		})
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the sign-in cannot be checked now")
	}
	return s.emit(ctx, &event.UserLockout{User: event.User{User: a.User}, Connection: from(a.Addr), Failures: maxFailures, Until: until})
}

// locked reports whether the account is locked out at the moment.
func locked(u *types.User, now time.Time) bool {
	return u.Status.IsLocked && (u.Status.LockExpires == nil || now.Before(*u.Status.LockExpires))
}

// fail records the real cause and returns what the person may read.
func (s *Service) fail(ctx context.Context, a Attempt, cause, answer error) error {
	e := s.loginEvent(a, event.CodeUserLoginFail)
	e.Error, e.Message = cause.Error(), fault.Message(answer)
	if err := s.emit(ctx, e); err != nil {
		return err
	}
	return answer
}

func (s *Service) emit(ctx context.Context, e event.Event) error {
	if err := s.d.Events.Emit(ctx, e); err != nil {
		return fault.Wrap(err, fault.Unavailable, "the audit log does not take events")
	}
	return nil
}

func (s *Service) loginEvent(a Attempt, code string) *event.UserLogin {
	return &event.UserLogin{Meta: event.Meta{Type: event.TypeUserLogin, Code: code}, User: event.User{User: clip(a.User, maxUser)},
		Connection: from(a.Addr), Method: "local", UserAgent: clip(a.UserAgent, 512)}
}

func from(addr netip.AddrPort) event.Connection {
	if !addr.IsValid() {
		return event.Connection{}
	}
	return event.Connection{RemoteAddr: addr.String()}
}

func clip(s string, n int) string { return s[:min(len(s), n)] }

// missing reports that the named thing does not exist or that its name could
// not be one.
func missing(err error) bool {
	return errors.Is(err, fault.NotFound) || errors.Is(err, fault.Invalid)
}

// policy is what the cluster's settings ask of a sign-in. A second factor is
// always asked for; one-time codes are the one that this service knows.
type policy struct{ local, otp bool }

// offered says why nobody can sign in with a password here, if so.
func (p policy) offered() error {
	switch {
	case !p.local:
		return fault.New(fault.Denied, "signing in with a password is turned off in this cluster")
	case !p.otp:
		return fault.New(fault.Denied, "this cluster asks for a second factor that this version does not offer").
			WithHint("an administrator can add otp to second_factors of the cluster_auth_preference")
	}
	return nil
}

func (s *Service) policy(ctx context.Context) (policy, error) {
	p, err := s.prefs.Get(ctx, "")
	if missing(err) {
		return policy{local: true, otp: true}, nil
	}
	if err != nil {
		return policy{}, fault.Wrap(err, fault.Unavailable, "the sign-in cannot be checked now")
	}
	return policy{
		local: p.Spec.AllowLocalAuth == nil || *p.Spec.AllowLocalAuth,
		otp:   slices.Contains(p.Spec.SecondFactors, "otp"),
	}, nil
}

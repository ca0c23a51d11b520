package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"teleport/fault"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// Lives of links, and how many wrong codes a link survives.
const (
	inviteTTL       = time.Hour
	inviteMaxTTL    = 48 * time.Hour
	resetTTL        = 8 * time.Hour
	resetMaxTTL     = 24 * time.Hour
	maxLinkFailures = 5
)

// Link is an invite or reset link. Token is in this value and nowhere else.
type Link struct {
	Token   types.Secret
	Purpose string // types.PurposeInvite or types.PurposeReset
	Expires time.Time
}

// LinkView is what a link asks for.
type LinkView struct {
	User      string
	Purpose   string
	OTPURL    string // "" when no code is asked for
	OTPSecret types.Secret
	Expires   time.Time
}

// newToken makes 128 random bits in hexadecimal.
func newToken() types.Secret {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // crypto/rand.Read never fails
	return types.NewSecret(hex.EncodeToString(b))
}

// tokenName is the name under which a link's token is stored. The prefix keeps
// a hash made for one purpose from meaning anything for another.
func tokenName(token types.Secret) string {
	sum := sha256.Sum256([]byte("user-token\x00" + token.Reveal()))
	return hex.EncodeToString(sum[:])
}

// wellFormed reports whether s can be one of our tokens at all.
func wellFormed(token types.Secret) bool {
	b, err := hex.DecodeString(token.Reveal())
	return err == nil && len(b) == 16
}

// Invite makes the link that lets a new user set a password. An older link of
// the user stops working. ttl 0 is an hour; at most 48.
func (s *Service) Invite(ctx context.Context, user string, ttl time.Duration, by string) (Link, error) {
	return s.newLink(ctx, types.PurposeInvite, user, ttl, inviteTTL, inviteMaxTTL, by)
}

// Reset drops a user's password, second factors and web sessions, and makes the
// link that sets new ones. ttl 0 is eight hours; at most 24.
func (s *Service) Reset(ctx context.Context, user string, ttl time.Duration, by string) (Link, error) {
	link, err := s.newLink(ctx, types.PurposeReset, user, ttl, resetTTL, resetMaxTTL, by)
	if err != nil {
		return Link{}, err
	}
	if err := s.creds.Delete(ctx, user, ""); err != nil && !missing(err) {
		return Link{}, err
	}
	return link, s.endSessionsOf(ctx, user)
}

// Forget removes all that lets a user in: credentials, links, web sessions.
func (s *Service) Forget(ctx context.Context, user string) error {
	if err := s.creds.Delete(ctx, user, ""); err != nil && !missing(err) {
		return err
	}
	old, err := s.linksOf(ctx, user)
	if err != nil {
		return err
	}
	for _, t := range old {
		if err := s.tokens.Delete(ctx, t.Metadata.Name, ""); err != nil && !missing(err) {
			return err
		}
	}
	return s.endSessionsOf(ctx, user)
}

func (s *Service) newLink(ctx context.Context, purpose, user string, ttl, usual, most time.Duration, by string) (Link, error) {
	switch {
	case ttl == 0:
		ttl = usual
	case ttl < time.Minute || ttl > most:
		return Link{}, fault.New(fault.Invalid, "the life of this link must be between 1m and %s", most)
	}
	if _, err := s.users.Get(ctx, user); err != nil {
		return Link{}, err
	}
	old, err := s.linksOf(ctx, user)
	if err != nil {
		return Link{}, err
	}
	now := s.d.Now()
	link := Link{Token: newToken(), Purpose: purpose, Expires: now.Add(ttl)}
	doc := &types.UserToken{Header: types.Header{Kind: types.KindUserToken, Version: "v1",
		Metadata: types.Metadata{Name: tokenName(link.Token), Expires: &link.Expires}}}
	doc.Spec = types.UserTokenSpec{Purpose: purpose, User: user, OTPSecret: newOTPSecret(), Created: now,
		Expires: link.Expires, CreatedBy: by}
	writes := []store.Write{{Mode: store.Create, Doc: doc}}
	for _, t := range old {
		t.Metadata.Revision = ""
		writes = append(writes, store.Write{Doc: t})
	}
	if err := s.d.Store.Apply(ctx, writes...); err != nil {
		return Link{}, err
	}
	return link, nil
}

func (s *Service) linksOf(ctx context.Context, user string) ([]*types.UserToken, error) {
	all, err := s.tokens.All(ctx)
	if err != nil {
		return nil, err
	}
	var out []*types.UserToken
	for _, t := range all {
		if t.Spec.User == user {
			out = append(out, t)
		}
	}
	return out, nil
}

// errDeadLink is the answer for every link that does not work any more.
func errDeadLink() error {
	return fault.New(fault.NotFound, "this link is not valid any more").WithHint("ask an administrator for a new one")
}

// link finds a live link by its token.
func (s *Service) link(ctx context.Context, token types.Secret, addr netip.AddrPort) (*types.UserToken, error) {
	if ok, _ := s.addrs.take(addr.Addr(), s.d.Now()); !ok {
		return nil, fault.New(fault.Limit, "too many attempts from this address").WithHint("try again in a minute")
	}
	if !wellFormed(token) {
		return nil, errDeadLink()
	}
	t, err := s.tokens.Get(ctx, tokenName(token))
	if missing(err) || err == nil && !s.d.Now().Before(t.Spec.Expires) {
		return nil, errDeadLink()
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the link cannot be checked now")
	}
	return t, nil
}

// View tells what a link asks for. It spends nothing and says the same each time.
func (s *Service) View(ctx context.Context, token types.Secret, addr netip.AddrPort) (LinkView, error) {
	t, err := s.link(ctx, token, addr)
	if err != nil {
		return LinkView{}, err
	}
	p, err := s.policy(ctx)
	if err != nil {
		return LinkView{}, err
	}
	v := LinkView{User: t.Spec.User, Purpose: t.Spec.Purpose, Expires: t.Spec.Expires}
	if err := p.offered(); err != nil {
		return LinkView{}, err
	}
	v.OTPSecret, v.OTPURL = t.Spec.OTPSecret, otpURL(s.d.Cluster, t.Spec.User, t.Spec.OTPSecret)
	return v, nil
}

// Accept sets the password and registers the authenticator whose first code is
// given, and spends the link. It returns the user's name.
func (s *Service) Accept(ctx context.Context, token, password, code types.Secret, addr netip.AddrPort) (string, error) {
	t, err := s.link(ctx, token, addr)
	if err != nil {
		return "", err
	}
	p, err := s.policy(ctx)
	if err != nil {
		return "", err
	}
	if err := p.offered(); err != nil {
		return "", err
	}
	if err := checkNewPassword(password); err != nil {
		return "", err
	}
	now := s.d.Now()
	creds := &types.UserCredentials{Header: types.Header{Kind: types.KindUserCredentials, Version: "v1",
		Metadata: types.Metadata{Name: t.Spec.User}}}
	creds.Spec.ChangedAt = now
	step, ok := matchStep(t.Spec.OTPSecret, code, 0, now)
	if len(code.Reveal()) > maxOTP || !ok {
		return "", s.wrongCode(ctx, t, addr)
	}
	creds.Spec.OTP = []types.OTPDevice{{ID: uuid.NewString(), Name: "authenticator", Secret: t.Spec.OTPSecret,
		AddedAt: now, LastUsed: now, LastStep: step}}
	if creds.Spec.Password, err = s.hasher.hash(ctx, password); err != nil {
		return "", err
	}
	if _, err := s.users.Get(ctx, t.Spec.User); err != nil {
		return "", errDeadLink()
	}
	// The link goes with its revision in the same step: of two that accept it at
	// once, one finds it spent.
	err = s.d.Store.Apply(ctx, store.Write{Mode: store.Upsert, Doc: creds}, store.Write{Doc: t})
	if errors.Is(err, fault.Conflict) || errors.Is(err, fault.NotFound) {
		return "", errDeadLink()
	}
	if err != nil {
		return "", err
	}
	return t.Spec.User, s.accepted(ctx, t, creds, addr)
}

// AcceptAndSignIn accepts a link and keeps a browser's session for the user, who
// has just proved both factors. An account that may not sign in now (locked, for
// example) still has its link accepted: the session is then empty.
func (s *Service) AcceptAndSignIn(ctx context.Context, token, password, code types.Secret, addr netip.AddrPort, userAgent string) (string, Session, error) {
	name, err := s.Accept(ctx, token, password, code, addr)
	if err != nil {
		return name, Session{}, err
	}
	user, err := s.users.Get(ctx, name)
	if err != nil {
		return name, Session{}, err
	}
	policy, err := s.policy(ctx)
	if err != nil || !policy.local || locked(user, s.d.Now()) {
		return name, Session{}, err
	}
	creds, err := s.creds.Get(ctx, name)
	if err != nil {
		return name, Session{}, err
	}
	var device types.OTPDevice
	if len(creds.Spec.OTP) > 0 {
		device = creds.Spec.OTP[0]
	}
	a := Attempt{User: name, Addr: addr, UserAgent: userAgent}
	session, err := s.startSession(ctx, a, func(k Keys) (Certs, error) { return s.enter(ctx, a, user, device, k, 0) })
	if errors.Is(err, fault.Denied) {
		return name, Session{}, nil // recorded as a failed login; the link was accepted
	}
	return name, session, err
}

// wrongCode counts against the link; after a few the link is gone.
func (s *Service) wrongCode(ctx context.Context, t *types.UserToken, addr netip.AddrPort) error {
	t.Spec.Failures++
	var err error
	if t.Spec.Failures >= maxLinkFailures {
		err = s.tokens.Delete(ctx, t.Metadata.Name, "")
	} else {
		_, err = s.tokens.Update(ctx, t)
	}
	if err != nil && !missing(err) && !errors.Is(err, fault.Conflict) {
		return err
	}
	e := &event.UserTokenUse{Meta: event.Meta{Code: event.CodeUserTokenFail}, User: event.User{User: t.Spec.User},
		Connection: from(addr), Purpose: t.Spec.Purpose}
	e.Error = "wrong one-time code"
	if err := s.emit(ctx, e); err != nil {
		return err
	}
	if t.Spec.Failures >= maxLinkFailures {
		return errDeadLink()
	}
	return fault.New(fault.Denied, "the code is wrong").WithHint("enter the six digits that the authenticator shows now; check the device's clock")
}

func (s *Service) accepted(ctx context.Context, t *types.UserToken, creds *types.UserCredentials, addr netip.AddrPort) error {
	who, at := event.User{User: t.Spec.User, UserKind: 1}, from(addr)
	use := &event.UserTokenUse{Meta: event.Meta{Code: event.CodeUserTokenUse}, User: who, Connection: at, Purpose: t.Spec.Purpose}
	use.Success = true
	if err := s.emit(ctx, use); err != nil {
		return err
	}
	if err := s.emit(ctx, &event.PasswordChange{User: who, Connection: at}); err != nil {
		return err
	}
	for _, d := range creds.Spec.OTP {
		err := s.emit(ctx, &event.MFAAdd{User: who, Connection: at,
			MFADevice: event.MFADevice{MFADeviceName: d.Name, MFADeviceUUID: d.ID, MFADeviceType: "TOTP"}})
		if err != nil {
			return err
		}
	}
	return nil
}

package login

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/netip"
	"strings"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/types"
	"teleport/types/event"
)

// A proxy's certificate for a browser's session lives for minutes, and is
// renewed while the session lives.
const (
	webCertTTL    = 10 * time.Minute
	touchInterval = time.Minute // LastUsed is written no oftener
)

// Session is a browser's session, just made. Bearer is the cookie's value: the
// session's id and its secret, which is kept nowhere else.
type Session struct {
	Bearer  types.Secret
	User    string
	Expires time.Time
}

// StartWebSession checks the proofs and keeps a session. The certificate behind
// it is sealed under a key derived from the bearer's secret, so that the store
// alone logs nobody in; the private half of its key is thrown away at once, as
// nobody ever authenticates with that certificate but auth itself reads it.
func (s *Service) StartWebSession(ctx context.Context, a Attempt) (Session, error) {
	return s.startSession(ctx, a, func(k Keys) (Certs, error) { return s.Login(ctx, a, k, 0) })
}

// startSession keeps a session for whom admit lets in.
func (s *Service) startSession(ctx context.Context, a Attempt, admit func(Keys) (Certs, error)) (Session, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Session{}, err
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return Session{}, err
	}
	certs, err := admit(Keys{TLS: pub})
	if err != nil {
		return Session{}, err
	}
	block, _ := pem.Decode(certs.TLS)
	if block == nil || certs.Identity == nil {
		return Session{}, errors.New("the issuer made no X.509 certificate")
	}
	id, secret := newToken().Reveal(), newToken()
	sealed, err := seal(webSeal, id, secret, block.Bytes)
	if err != nil {
		return Session{}, err
	}
	now, expires := s.d.Now(), certs.Identity.Authority.Expires
	doc := &types.WebSession{Header: types.Header{Kind: types.KindWebSession, Version: "v1",
		Metadata: types.Metadata{Name: id, Expires: &expires}}}
	doc.Spec = types.WebSessionSpec{User: certs.Identity.Name, SecretHash: secretHash(secret), Sealed: sealed,
		Created: now, LastUsed: now, Expires: expires, LoginIP: a.Addr.Addr().String(), PinnedIP: certs.Identity.Authority.PinnedIP,
		UserAgent: clip(a.UserAgent, 512)}
	if _, err := s.web.Create(ctx, doc); err != nil {
		return Session{}, err
	}
	return Session{Bearer: types.NewSecret(id + "." + secret.Reveal()), User: certs.Identity.Name, Expires: expires}, nil
}

// errEnded is the answer for every bearer that is no live session's.
func errEnded() error {
	return fault.New(fault.Unauthenticated, "the session has ended").WithHint("sign in again")
}

// UseWebSession trades a bearer for a certificate of minutes for the keys of
// the proxy that holds the browser. background marks a renewal that nobody at
// the browser caused: it does not put off the idle limit.
func (s *Service) UseWebSession(ctx context.Context, bearer types.Secret, proxy *x509.Certificate, keys Keys, addr netip.AddrPort, background bool) (Certs, error) {
	now := s.d.Now()
	doc, secret, err := s.live(ctx, bearer, addr, now)
	if err != nil {
		return Certs{}, err
	}
	cert, err := unseal(webSeal, doc.Metadata.Name, secret, doc.Spec.Sealed)
	if err != nil {
		return Certs{}, errEnded()
	}
	certs, err := s.d.Issuer.IssueFromSession(ctx, SessionGrant{Session: cert, Proxy: proxy, Keys: keys,
		TTL: min(webCertTTL, doc.Spec.Expires.Sub(now)), Addr: addr})
	if err != nil {
		return Certs{}, err
	}
	if err := s.touch(ctx, doc, background, now); err != nil {
		return Certs{}, err
	}
	return certs, nil
}

// CheckWebSession tells when a bearer's session ends, or that it has ended. It
// costs a few reads, so that a proxy can ask every second and a sign-out at
// another proxy counts at once.
func (s *Service) CheckWebSession(ctx context.Context, bearer types.Secret, addr netip.AddrPort, background bool) (time.Time, error) {
	now := s.d.Now()
	doc, _, err := s.live(ctx, bearer, addr, now)
	if err != nil {
		return time.Time{}, err
	}
	return doc.Spec.Expires, s.touch(ctx, doc, background, now)
}

// live finds the session of a bearer, and ends one that is over.
func (s *Service) live(ctx context.Context, bearer types.Secret, addr netip.AddrPort, now time.Time) (*types.WebSession, types.Secret, error) {
	doc, secret, err := s.session(ctx, bearer)
	if err != nil {
		return nil, secret, err
	}
	if err := s.checkLive(ctx, doc, addr, now); err != nil {
		return nil, secret, err
	}
	return doc, secret, nil
}

// checkLive refuses the use of a session from elsewhere, and ends one that is over.
func (s *Service) checkLive(ctx context.Context, doc *types.WebSession, addr netip.AddrPort, now time.Time) error {
	if err := s.checkPin(ctx, doc, addr); err != nil {
		return err
	}
	idle, err := s.idleLimit(ctx)
	if err != nil {
		return err
	}
	expired := !now.Before(doc.Spec.Expires)
	if expired || idle > 0 && now.Sub(doc.Spec.LastUsed) >= idle {
		return s.endNow(ctx, doc, addr, "expired")
	}
	user, err := s.users.Get(ctx, doc.Spec.User)
	switch {
	case missing(err):
		return s.endNow(ctx, doc, addr, "forced")
	case err != nil:
		return fault.Wrap(err, fault.Unavailable, "the session cannot be checked now")
	case locked(user, now):
		return errEnded()
	}
	return nil
}

// checkPin refuses a bearer that comes from another address than its session is
// pinned to, as a stolen cookie does, and tells. The session goes on where it began.
func (s *Service) checkPin(ctx context.Context, doc *types.WebSession, addr netip.AddrPort) error {
	pin := doc.Spec.PinnedIP
	if !pin.IsValid() || pin == addr.Addr().Unmap().WithZone("") {
		return nil
	}
	err := fault.New(fault.Denied, "this session may be used only from the address of its login").WithHint("sign in again")
	e := &event.AccessDenied{User: event.User{User: doc.Spec.User, UserKind: 1}, Connection: from(addr), Reasons: []string{access.CodeIPMismatch}}
	e.Error, e.Message = err.Error(), fault.Message(err)
	if emitErr := s.emit(ctx, e); emitErr != nil {
		return emitErr
	}
	return err
}

// touch puts the idle limit off, where somebody at the browser caused the call.
func (s *Service) touch(ctx context.Context, doc *types.WebSession, background bool, now time.Time) error {
	if background || now.Sub(doc.Spec.LastUsed) < touchInterval {
		return nil
	}
	doc.Spec.LastUsed = now
	if _, err := s.web.Update(ctx, doc); err != nil && !errors.Is(err, fault.Conflict) {
		return errEnded() // logged out in between
	}
	return nil
}

// EndWebSession logs a browser out. A bearer that is no live session's is no
// error: the session is over either way.
func (s *Service) EndWebSession(ctx context.Context, bearer types.Secret, addr netip.AddrPort) error {
	doc, _, err := s.session(ctx, bearer)
	if errors.Is(err, fault.Unauthenticated) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.end(ctx, doc, addr, "user")
}

// session finds the session of a bearer and checks the bearer's secret.
func (s *Service) session(ctx context.Context, bearer types.Secret) (*types.WebSession, types.Secret, error) {
	id, secret, err := split(bearer)
	if err != nil {
		return nil, secret, err
	}
	doc, err := s.web.Get(ctx, id)
	if missing(err) {
		return nil, secret, errEnded()
	}
	if err != nil {
		return nil, secret, fault.Wrap(err, fault.Unavailable, "the session cannot be checked now")
	}
	if subtle.ConstantTimeCompare(doc.Spec.SecretHash, secretHash(secret)) != 1 {
		return nil, secret, errEnded()
	}
	return doc, secret, nil
}

// split reads a bearer: a session's id and its secret.
func split(bearer types.Secret) (id string, secret types.Secret, err error) {
	id, raw, ok := strings.Cut(bearer.Reveal(), ".")
	secret = types.NewSecret(raw)
	if !ok || !wellFormed(types.NewSecret(id)) || !wellFormed(secret) {
		return "", secret, errEnded()
	}
	return id, secret, nil
}

// end deletes a session and those with apps that were made of it.
func (s *Service) end(ctx context.Context, doc *types.WebSession, addr netip.AddrPort, reason string) error {
	err := s.web.Delete(ctx, doc.Metadata.Name, "")
	if missing(err) {
		return nil
	}
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the session could not be ended")
	}
	if err := s.endAppsOf(ctx, func(a *types.AppSession) bool { return a.Spec.WebSession == doc.Metadata.Name }); err != nil {
		return err
	}
	return s.emit(ctx, &event.UserLogout{User: event.User{User: doc.Spec.User, UserKind: 1}, Connection: from(addr), Reason: reason})
}

// endNow ends a session that is found to be over, and says so.
func (s *Service) endNow(ctx context.Context, doc *types.WebSession, addr netip.AddrPort, reason string) error {
	if err := s.end(ctx, doc, addr, reason); err != nil {
		return err
	}
	return errEnded()
}

// endSessionsOf ends every web session of a user.
func (s *Service) endSessionsOf(ctx context.Context, user string) error {
	all, err := s.web.All(ctx)
	if err != nil {
		return err
	}
	for _, doc := range all {
		if doc.Spec.User != user {
			continue
		}
		if err := s.end(ctx, doc, netip.AddrPort{}, "forced"); err != nil {
			return err
		}
	}
	return s.endAppsOf(ctx, func(a *types.AppSession) bool { return a.Spec.User == user }) // also one whose web session is gone
}

func (s *Service) idleLimit(ctx context.Context) (time.Duration, error) {
	n, err := s.net.Get(ctx, "")
	if missing(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fault.Wrap(err, fault.Unavailable, "the session cannot be checked now")
	}
	return n.Spec.WebIdleTimeout.Std(), nil
}

func secretHash(secret types.Secret) []byte {
	sum := sha256.Sum256([]byte("web-session\x00" + secret.Reveal()))
	return sum[:]
}

// purposes of a seal: what is sealed for one does not open as another.
const (
	webSeal = "web-session seal v1"
	appSeal = "app-session seal v1"
)

// sealer is AES-256-GCM under a key that only the bearer's secret gives
// (RFC 5869). The session's id is bound in, so that a sealed value moved to
// another session does not open.
func sealer(purpose, id string, secret types.Secret) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret.Reveal()), []byte(id), purpose, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func seal(purpose, id string, secret types.Secret, plain []byte) ([]byte, error) {
	a, err := sealer(purpose, id, secret)
	if err != nil {
		return nil, err
	}
	return a.Seal(nil, nil, plain, []byte(id)), nil
}

func unseal(purpose, id string, secret types.Secret, sealed []byte) ([]byte, error) {
	a, err := sealer(purpose, id, secret)
	if err != nil {
		return nil, err
	}
	return a.Open(nil, nil, sealed, []byte(id))
}

package login

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

func (w *world) invite(name string) types.Secret {
	w.t.Helper()
	u := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: name}}}
	_, err := store.Of[*types.User](w.store).Upsert(w.t.Context(), u)
	w.must(err)
	link, err := w.s.Invite(w.t.Context(), name, 0, "admin")
	w.must(err)
	return link.Token
}

func TestLinkWorksOnce(t *testing.T) {
	w := newWorld(t)
	token := w.invite("alice")
	v, err := w.s.View(t.Context(), token, home)
	w.must(err)
	again, err := w.s.View(t.Context(), token, home)
	w.must(err)
	if v.OTPURL != again.OTPURL || !strings.HasPrefix(v.OTPURL, "otpauth://totp/example:alice?") {
		t.Fatalf("otp url %q, then %q", v.OTPURL, again.OTPURL)
	}
	code := w.code(v.OTPSecret.Reveal())
	if _, err := w.s.Accept(t.Context(), token, types.NewSecret("short"), code, home); !errors.Is(err, fault.Invalid) {
		t.Fatalf("short password: %v", err)
	}
	_, err = w.s.Accept(t.Context(), token, types.NewSecret(password), code, home)
	w.must(err)
	if _, err := w.s.Accept(t.Context(), token, types.NewSecret(password), code, home); !errors.Is(err, fault.NotFound) {
		t.Fatalf("second use: %v", err)
	}
}

func TestNewLinkReplacesTheOld(t *testing.T) {
	w := newWorld(t)
	old := w.invite("alice")
	_ = w.invite("alice")
	if _, err := w.s.View(t.Context(), old, home); !errors.Is(err, fault.NotFound) {
		t.Fatalf("old link: %v", err)
	}
}

func TestLinkExpiresAndDiesOfWrongCodes(t *testing.T) {
	w := newWorld(t)
	token := w.invite("alice")
	w.advance(inviteTTL + time.Second)
	if _, err := w.s.View(t.Context(), token, home); !errors.Is(err, fault.NotFound) {
		t.Fatalf("expired link: %v", err)
	}
	token = w.invite("bob")
	for range maxLinkFailures {
		if _, err := w.s.Accept(t.Context(), token, types.NewSecret(password), types.NewSecret("000000"), home); err == nil {
			t.Fatal("a wrong code was accepted")
		}
	}
	if _, err := w.s.View(t.Context(), token, home); !errors.Is(err, fault.NotFound) {
		t.Fatalf("after wrong codes: %v", err)
	}
}

func TestLinkLife(t *testing.T) {
	w := newWorld(t)
	w.invite("alice")
	for _, ttl := range []time.Duration{time.Second, inviteMaxTTL + time.Second, -time.Hour} {
		if _, err := w.s.Invite(t.Context(), "alice", ttl, "admin"); !errors.Is(err, fault.Invalid) {
			t.Errorf("invite for %s: %v", ttl, err)
		}
	}
	if _, err := w.s.Reset(t.Context(), "alice", resetMaxTTL+time.Second, "admin"); !errors.Is(err, fault.Invalid) {
		t.Errorf("reset: %v", err)
	}
	if _, err := w.s.Invite(t.Context(), "nobody", 0, "admin"); !errors.Is(err, fault.NotFound) {
		t.Errorf("invite of nobody: %v", err)
	}
}

// The store holds no token and no password, only hashes.
func TestStoreHoldsNoSecrets(t *testing.T) {
	w := newWorld(t)
	token := w.invite("alice")
	w.enroll("bob")
	session, err := w.start("carol")
	w.must(err)
	_, cookie, _ := strings.Cut(session.Bearer.Reveal(), ".")
	for _, kind := range []string{types.KindUserToken, types.KindUserCredentials, types.KindWebSession} {
		page, err := w.store.ListAny(t.Context(), kind, store.ListOptions{})
		w.must(err)
		if len(page.Items) == 0 {
			t.Errorf("nothing of kind %s was stored", kind)
		}
		for _, doc := range page.Items {
			for _, secret := range []string{token.Reveal(), password, cookie} {
				if strings.Contains(string(doc.Raw), secret) {
					t.Errorf("%s holds a secret in clear", kind)
				}
			}
		}
	}
}

func TestResetEndsWhatWasThere(t *testing.T) {
	w := newWorld(t)
	session, err := w.start("alice")
	w.must(err)
	_, err = w.s.Reset(t.Context(), "alice", 0, "admin")
	w.must(err)
	if _, err := w.s.UseWebSession(t.Context(), session.Bearer, nil, Keys{}, home, false); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("web session after reset: %v", err)
	}
	if err := w.login("alice", password, types.NewSecret("000000")); !errors.Is(err, fault.Denied) {
		t.Errorf("login after reset: %v", err)
	}
	if w.lastCause() != "the user has no password yet" {
		t.Errorf("cause %q", w.lastCause())
	}
}

// start enrolls a user and logs a browser in.
func (w *world) start(name string) (Session, error) {
	w.t.Helper()
	secret := w.enroll(name)
	return w.s.StartWebSession(w.t.Context(), Attempt{User: name, Password: types.NewSecret(password), OTP: w.code(secret), Addr: home})
}

func TestWebSession(t *testing.T) {
	w := newWorld(t)
	session, err := w.start("alice")
	w.must(err)
	certs, err := w.s.UseWebSession(t.Context(), session.Bearer, nil, Keys{TLS: []byte{1}}, home, false)
	w.must(err)
	if life := certs.Identity.Authority.Expires.Sub(w.clock()); life > webCertTTL {
		t.Errorf("the proxy's certificate lives %s", life)
	}
	id, secret, _ := strings.Cut(session.Bearer.Reveal(), ".")
	for _, wrong := range []string{"", id, id + ".", id + "." + strings.Repeat("0", 32), strings.Repeat("0", 32) + "." + secret,
		strings.ToUpper(session.Bearer.Reveal()) + "x", "../" + session.Bearer.Reveal()} {
		if _, err := w.s.UseWebSession(t.Context(), types.NewSecret(wrong), nil, Keys{}, home, false); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("bearer %q: %v", wrong, err)
		}
	}
	if at, err := w.s.CheckWebSession(t.Context(), session.Bearer, home, false); err != nil || !at.Equal(session.Expires) {
		t.Errorf("a live session: %v, %v", at, err)
	}
	w.must(w.s.EndWebSession(t.Context(), session.Bearer, home))
	if _, err := w.s.UseWebSession(t.Context(), session.Bearer, nil, Keys{}, home, false); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("after sign-out: %v", err)
	}
	if _, err := w.s.CheckWebSession(t.Context(), session.Bearer, home, false); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("checked after sign-out: %v", err)
	}
	w.must(w.s.EndWebSession(t.Context(), session.Bearer, home)) // once more is no error
}

// The cookie of a pinned session is worth nothing elsewhere: it gets no
// certificate, learns nothing, and does not keep the session alive.
func TestPinnedWebSession(t *testing.T) {
	w := newWorld(t)
	w.issuer.pin = true
	session, err := w.start("alice")
	w.must(err)
	w.advance(5 * time.Minute)
	elsewhere := netip.MustParseAddrPort("203.0.113.66:1")
	for name, use := range map[string]func(netip.AddrPort) error{
		"use": func(a netip.AddrPort) error {
			_, err := w.s.UseWebSession(t.Context(), session.Bearer, nil, Keys{TLS: []byte{1}}, a, false)
			return err
		},
		"check": func(a netip.AddrPort) error {
			_, err := w.s.CheckWebSession(t.Context(), session.Bearer, a, false)
			return err
		},
	} {
		for _, from := range []netip.AddrPort{elsewhere, {}} {
			before := len(w.events.Events())
			if err := use(from); !errors.Is(err, fault.Denied) {
				t.Errorf("%s from %s: %v", name, from, err)
			}
			denied := w.events.Events()[before:]
			if len(denied) != 1 {
				t.Fatalf("%s from %s: %d events", name, from, len(denied))
			}
			if e, ok := denied[0].(*event.AccessDenied); !ok || e.User.User != "alice" || !slices.Equal(e.Reasons, []string{access.CodeIPMismatch}) {
				t.Errorf("%s: %+v", name, denied[0])
			}
		}
		id, _, _ := strings.Cut(session.Bearer.Reveal(), ".")
		doc, err := store.Of[*types.WebSession](w.store).Get(t.Context(), id)
		w.must(err)
		if !doc.Spec.LastUsed.Equal(doc.Spec.Created) {
			t.Errorf("%s from elsewhere counts as activity", name)
		}
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(home.Addr().As16()), 1)
	for _, from := range []netip.AddrPort{home, mapped} {
		if _, err := w.s.CheckWebSession(t.Context(), session.Bearer, from, false); err != nil {
			t.Errorf("from %s: %v", from, err)
		}
	}
}

// A sealed value opens only with its own bearer: moved to another session, it
// stays shut.
func TestSealIsBoundToTheSession(t *testing.T) {
	secret := newToken()
	sealed, err := seal(webSeal, "one", secret, []byte("certificate"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unseal(webSeal, "two", secret, sealed); err == nil {
		t.Error("opened under another id")
	}
	if _, err := unseal(webSeal, "one", newToken(), sealed); err == nil {
		t.Error("opened under another secret")
	}
	if b, err := unseal(webSeal, "one", secret, sealed); err != nil || string(b) != "certificate" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestWebSessionIdleAndExpiry(t *testing.T) {
	w := newWorld(t)
	n := &types.NetworkingConfig{Header: types.Header{Kind: types.KindNetworkingConfig, Version: "v2",
		Metadata: types.Metadata{Name: "cluster-networking-config"}}}
	n.Spec.WebIdleTimeout = types.Duration(10 * time.Minute)
	_, err := w.store.Put(t.Context(), store.Upsert, n)
	w.must(err)
	session, err := w.start("alice")
	w.must(err)
	use := func(background bool) error {
		_, err := w.s.UseWebSession(t.Context(), session.Bearer, nil, Keys{}, home, background)
		return err
	}
	check := func(background bool) error {
		_, err := w.s.CheckWebSession(t.Context(), session.Bearer, home, background)
		return err
	}
	for range 3 {
		w.advance(8 * time.Minute)
		w.must(use(false)) // activity puts the limit off
		w.advance(8 * time.Minute)
		w.must(check(false))
	}
	w.advance(8 * time.Minute)
	w.must(use(true)) // a renewal by the proxy alone does not
	w.must(check(true))
	w.advance(2*time.Minute + time.Second)
	if err := use(false); !errors.Is(err, fault.Unauthenticated) {
		t.Fatalf("idle session: %v", err)
	}
	session, err = w.start("bob")
	w.must(err)
	n.Spec.WebIdleTimeout = 0
	_, err = w.store.Put(t.Context(), store.Upsert, n)
	w.must(err)
	w.advance(12 * time.Hour)
	if err := use(false); !errors.Is(err, fault.Unauthenticated) {
		t.Fatalf("expired session: %v", err)
	}
}

func TestWhoeverAcceptsALinkIsSignedIn(t *testing.T) {
	w := newWorld(t)
	token := w.invite("alice")
	v, err := w.s.View(t.Context(), token, home)
	w.must(err)
	name, session, err := w.s.AcceptAndSignIn(t.Context(), token, types.NewSecret(password), w.code(v.OTPSecret.Reveal()), home, "browser")
	w.must(err)
	if name != "alice" || session.User != "alice" {
		t.Fatalf("signed in %q as %q", name, session.User)
	}
	_, err = w.s.UseWebSession(t.Context(), session.Bearer, nil, Keys{TLS: []byte{1}}, home, false)
	w.must(err)
}

// A link mends a forgotten password; it does not lift a lock.
func TestALockedAccountAcceptsItsLinkAndStaysOut(t *testing.T) {
	w := newWorld(t)
	token := w.invite("alice")
	v, err := w.s.View(t.Context(), token, home)
	w.must(err)
	u, err := w.s.users.Get(t.Context(), "alice")
	w.must(err)
	u.Status = types.UserStatus{IsLocked: true, LockedMessage: "by hand"}
	_, err = w.s.users.Update(t.Context(), u)
	w.must(err)
	_, session, err := w.s.AcceptAndSignIn(t.Context(), token, types.NewSecret(password), w.code(v.OTPSecret.Reveal()), home, "browser")
	w.must(err)
	if !session.Bearer.Empty() {
		t.Fatal("a locked account was signed in by its link")
	}
}

package login

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"teleport/audit/audittest"
	"teleport/backend/memkv"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

// fakeIssuer signs with a key of its own; session certificates are recognised.
type fakeIssuer struct {
	now     func() time.Time
	refuse  error
	pin     bool // the roles of all users pin
	session [][]byte
	route   *types.Route // of the last certificate for an app
}

func (f *fakeIssuer) IssueLogin(_ context.Context, g Grant) (Certs, error) {
	if f.refuse != nil {
		return Certs{}, f.refuse
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Certs{}, err
	}
	t := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: g.User.Metadata.Name},
		NotAfter: f.now().Add(12 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return Certs{}, err
	}
	id := &types.Identity{Kind: types.IdentityUser, Cluster: "example", Name: g.User.Metadata.Name, IssuedAt: f.now()}
	id.Authority.Expires = f.now().Add(12 * time.Hour)
	if f.pin {
		id.Authority.PinnedIP = g.LoginIP
	}
	return Certs{Identity: id, TLS: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}, nil
}

func (f *fakeIssuer) IssueFromSession(_ context.Context, g SessionGrant) (Certs, error) {
	f.session = append(f.session, g.Session)
	return Certs{Identity: &types.Identity{Authority: types.Authority{Expires: f.now().Add(g.TTL)}}}, f.refuse
}

func (f *fakeIssuer) IssueForApp(ctx context.Context, g SessionGrant, app *types.Route) (Certs, error) {
	f.session = append(f.session, g.Session)
	f.route = app
	return f.IssueLogin(ctx, Grant{User: &types.User{Header: types.Header{Metadata: types.Metadata{Name: "alice"}}}})
}

func (f *fakeIssuer) IssueAppBridge(ctx context.Context, g SessionGrant) (Certs, error) {
	return f.IssueFromSession(ctx, g)
}

type world struct {
	t      *testing.T
	s      *Service
	store  *store.Store
	events *audittest.Recorder
	issuer *fakeIssuer

	mu  sync.Mutex
	now time.Time
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

const password = "correct horse battery"

var home = netip.MustParseAddrPort("198.51.100.7:5555")

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, now: time.Now().Truncate(time.Second), events: audittest.NewRecorder()}
	w.issuer = &fakeIssuer{now: w.clock}
	w.store = store.New(memkv.New(memkv.Options{Now: w.clock}), store.Options{Now: w.clock})
	w.s = New(Deps{Store: w.store, Issuer: w.issuer, Events: w.events, Log: slog.New(slog.DiscardHandler),
		Cluster: "example", Now: w.clock, RefuseAfter: -1})
	w.s.hasher = newHasher(1, 64) // its cost is looked at by TestHashCost
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// enroll makes a user who accepted an invite, and returns the OTP secret.
func (w *world) enroll(name string) string {
	w.t.Helper()
	u := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: name}}}
	_, err := store.Of[*types.User](w.store).Create(w.t.Context(), u)
	w.must(err)
	link, err := w.s.Invite(w.t.Context(), name, 0, "admin")
	w.must(err)
	v, err := w.s.View(w.t.Context(), link.Token, home)
	w.must(err)
	got, err := w.s.Accept(w.t.Context(), link.Token, types.NewSecret(password), w.code(v.OTPSecret.Reveal()), home)
	w.must(err)
	if got != name {
		w.t.Fatalf("accepted for %q", got)
	}
	w.advance(time.Minute) // the code of the enrolment is spent
	return v.OTPSecret.Reveal()
}

func (w *world) code(secret string) types.Secret {
	w.t.Helper()
	c, err := totp.GenerateCode(secret, w.clock())
	w.must(err)
	return types.NewSecret(c)
}

func (w *world) login(user, pass string, code types.Secret) error {
	_, err := w.s.Login(w.t.Context(), Attempt{User: user, Password: types.NewSecret(pass), OTP: code, Addr: home}, Keys{TLS: []byte{1}}, 0)
	return err
}

// lastCause is what the audit log says of the last failed login.
func (w *world) lastCause() string {
	w.t.Helper()
	all := w.events.Events(event.TypeUserLogin)
	if len(all) == 0 {
		w.t.Fatal("no login event")
	}
	return all[len(all)-1].(*event.UserLogin).Error
}

func TestLoginWorksAndSpendsTheCode(t *testing.T) {
	w := newWorld(t)
	secret := w.enroll("alice")
	code := w.code(secret)
	w.must(w.login("alice", password, code))
	if err := w.login("alice", password, code); !errors.Is(err, fault.Denied) {
		t.Fatalf("a used code: %v", err)
	}
	if w.lastCause() != "wrong or used one-time code" {
		t.Fatalf("cause %q", w.lastCause())
	}
	w.advance(otpPeriod * time.Second)
	w.must(w.login("alice", password, w.code(secret)))
}

// The answer is the same for each way of being wrong; the log knows which.
func TestRefusalsLookAlike(t *testing.T) {
	w := newWorld(t)
	secret := w.enroll("alice")
	u := &types.User{Header: types.Header{Kind: types.KindUser, Version: "v2", Metadata: types.Metadata{Name: "fresh"}}}
	_, err := store.Of[*types.User](w.store).Create(t.Context(), u)
	w.must(err)
	for _, c := range []struct {
		user, pass string
		code       types.Secret
		cause      string
	}{
		{"alice", "wrong password here", w.code(secret), "wrong password"},
		{"alice", password, types.NewSecret("000000"), "wrong or used one-time code"},
		{"nobody", password, w.code(secret), "there is no such user"},
		{"../x", password, w.code(secret), "there is no such user"},
		{"fresh", password, w.code(secret), "the user has no password yet"},
		{"alice", strings.Repeat("x", 1000), w.code(secret), "user name, password or code too long"},
	} {
		err := w.login(c.user, c.pass, c.code)
		if !errors.Is(err, fault.Denied) || fault.Message(err) != fault.Message(refused()) || fault.Hint(err) != fault.Hint(refused()) {
			t.Errorf("%s: answer %v", c.cause, err)
		}
		if got := w.lastCause(); got != c.cause {
			t.Errorf("cause %q, want %q", got, c.cause)
		}
	}
}

// A cluster whose second factors this service does not know lets nobody in by a
// password alone.
func TestSecondFactorsAreFollowed(t *testing.T) {
	for _, c := range []struct {
		factors []string
		kind    fault.Kind
	}{{[]string{"otp"}, ""}, {[]string{"webauthn", "otp"}, ""}, {[]string{"webauthn"}, fault.Denied}, {[]string{"sso"}, fault.Denied}} {
		w := newWorld(t)
		secret := w.enroll("alice")
		w.advance(time.Minute)
		p := &types.AuthPreference{Header: types.Header{Kind: types.KindAuthPreference, Version: "v2",
			Metadata: types.Metadata{Name: "cluster-auth-preference"}}}
		p.Spec.SecondFactors = c.factors
		_, err := w.s.prefs.Upsert(t.Context(), p)
		w.must(err)
		if err := w.login("alice", password, w.code(secret)); (c.kind == "") != (err == nil) || c.kind != "" && !errors.Is(err, c.kind) {
			t.Errorf("%v: %v", c.factors, err)
		}
	}
}

func TestLockOutAfterFailures(t *testing.T) {
	w := newWorld(t)
	secret := w.enroll("alice")
	for range maxFailures {
		if err := w.login("alice", "wrong password here", w.code(secret)); !errors.Is(err, fault.Denied) {
			t.Fatal(err)
		}
	}
	// The right proofs no longer help, and the answer does not tell.
	if err := w.login("alice", password, w.code(secret)); fault.Message(err) != fault.Message(refused()) {
		t.Fatalf("locked: %v", err)
	}
	if n := len(w.events.Events(event.TypeUserLockout)); n != 1 {
		t.Fatalf("%d lock-out events", n)
	}
	w.advance(lockFor + time.Second)
	w.must(w.login("alice", password, w.code(secret)))
}

func TestAdministratorUnlocks(t *testing.T) {
	w := newWorld(t)
	secret := w.enroll("alice")
	for range maxFailures + 1 {
		_ = w.login("alice", "wrong password here", w.code(secret)) // refused, as the test above shows
	}
	_, err := store.Of[*types.User](w.store).Modify(t.Context(), "alice", func(u *types.User) error {
		u.Status = types.UserStatus{}
		return nil
	})
	w.must(err)
	w.must(w.login("alice", password, w.code(secret)))
}

// Guesses made at the same moment are all counted.
func TestParallelGuessesAreCounted(t *testing.T) {
	w := newWorld(t)
	secret := w.enroll("alice")
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() { _ = w.login("alice", "wrong password here", types.NewSecret("000000")) })
	}
	wg.Wait()
	if err := w.login("alice", password, w.code(secret)); !errors.Is(err, fault.Denied) {
		t.Fatalf("after 12 wrong guesses at once: %v", err)
	}
}

// Of two sign-ins with one code at the same moment one is refused.
func TestOneCodeOnce(t *testing.T) {
	w := newWorld(t)
	secret := w.enroll("alice")
	code := w.code(secret)
	results := make(chan error, 4)
	for range cap(results) {
		go func() { results <- w.login("alice", password, code) }()
	}
	good := 0
	for range cap(results) {
		if <-results == nil {
			good++
		}
	}
	if good != 1 {
		t.Fatalf("%d sign-ins with one code", good)
	}
}

func TestAddressBudget(t *testing.T) {
	b, now := newAddrBudget(), time.Unix(1000, 0)
	a := netip.MustParseAddr("2001:db8::1")
	for range addrBurst {
		if ok, _ := b.take(a, now); !ok {
			t.Fatal("refused within the burst")
		}
	}
	if ok, first := b.take(netip.MustParseAddr("2001:db8::2"), now); ok || !first {
		t.Fatal("the neighbour in one network has a budget of its own")
	}
	if ok, _ := b.take(netip.MustParseAddr("192.0.2.1"), now); !ok {
		t.Fatal("another address is refused")
	}
	if ok, _ := b.take(a, now.Add(addrRefill)); !ok {
		t.Fatal("no refill")
	}
	if ok, first := b.take(a, now.Add(addrRefill)); ok || first {
		t.Fatal("told again, though the budget was not full in between")
	}
	for i := range maxAddrs + 10 {
		b.take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if len(b.seen) > maxAddrs {
		t.Fatalf("%d addresses are remembered", len(b.seen))
	}
}

// What anybody can send must not fill the audit log: over the budget one event
// tells it all, and a name is kept only as far as names go.
func TestKnockingIsToldOnce(t *testing.T) {
	w := newWorld(t)
	before := len(w.events.Events())
	for range 3 * addrBurst {
		if err := w.login(strings.Repeat("x", 200_000), password, types.NewSecret("000000")); err == nil {
			t.Fatal("signed in")
		}
	}
	told := w.events.Events()[before:]
	if len(told) != addrBurst+1 {
		t.Errorf("%d events of %d attempts", len(told), 3*addrBurst)
	}
	for _, e := range told {
		if u := e.(*event.UserLogin); len(u.User.User) > maxUser {
			t.Fatalf("a name of %d bytes was kept", len(u.User.User))
		}
	}
}

func TestLoginWithoutAuditIsRefused(t *testing.T) {
	w := newWorld(t)
	secret := w.enroll("alice")
	w.events.Fail(errors.New("disk full"))
	if err := w.login("alice", password, w.code(secret)); !errors.Is(err, fault.Unavailable) {
		t.Fatalf("%v", err)
	}
}

// New hashes cost what the threat model says, and hashes made at another cost
// still verify.
func TestHashCost(t *testing.T) {
	w := newWorld(t)
	real := New(w.s.d).hasher
	h, err := real.hash(t.Context(), types.NewSecret(password))
	w.must(err)
	if h.Algorithm != "argon2id" || h.MemoryKiB != 19*1024 || h.Time != 2 || len(h.Salt) != 16 {
		t.Errorf("hash of %+v", h)
	}
	if real.dummy.MemoryKiB != h.MemoryKiB || real.dummy.Time != h.Time || cap(real.running) != 2 {
		t.Error("the dummy costs something else, or more than two run at once")
	}
	if ok, err := w.s.hasher.verify(t.Context(), types.NewSecret(password), h); err != nil || !ok {
		t.Errorf("verify: %v %v", ok, err)
	}
	if ok, err := real.verify(t.Context(), types.NewSecret(password), nil); err != nil || ok {
		t.Errorf("the dummy is right: %v %v", ok, err)
	}
}

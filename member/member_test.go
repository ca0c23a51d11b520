package member_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/api/gen/joinv1"
	"teleport/cert/certtest"
	"teleport/cert/sshcert"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/join/tokenjoin"
	"teleport/keys"
	"teleport/member"
	"teleport/types"
)

const ttl = 7 * 24 * time.Hour

var token = types.NewSecret("canary-secret-0123456789")

// auth is a small auth service: it signs for whoever knows the token and counts
// generations, so that a renewal with an old one shows.
type auth struct {
	t     testing.TB
	world *certtest.World

	mu         sync.Mutex
	generation uint64
	lastKeys   string
	renewals   int
	uuid       string
	fail       error                      // answers every call
	lost       bool                       // does the work and loses the answer, once
	change     func(*joinv1.JoinResponse) // of a hostile or broken one
	adjust     func(*types.Identity)
	caller     func() *types.Identity // who renews, as mTLS would tell
}

func newAuth(t testing.TB) *auth {
	return &auth{t: t, world: certtest.New(t, "example.com", time.Now())}
}

func (a *auth) Challenge(context.Context, string) ([]byte, error) {
	return nil, fault.New(fault.Unimplemented, "this method has no challenge")
}

func (a *auth) Join(_ context.Context, r *joinv1.JoinRequest) (*joinv1.JoinResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return nil, a.fail
	}
	if r.Token != token.Reveal() || r.Method != "token" {
		return nil, fault.New(fault.Denied, "the join token is not valid")
	}
	a.uuid = r.HostUuid
	if a.uuid == "" {
		a.uuid = certtest.HostUUID
	}
	if r.Keys.SshPublic != a.lastKeys {
		a.generation++
	}
	a.lastKeys = r.Keys.SshPublic
	var roles []types.SystemRole
	for _, s := range r.SystemRoles {
		roles = append(roles, types.SystemRole(s))
	}
	return a.answer(r.Keys, r.Hostname, roles)
}

func (a *auth) Renew(_ context.Context, r *joinv1.RenewRequest) (*joinv1.JoinResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fail != nil {
		return nil, a.fail
	}
	id := a.caller()
	switch {
	case id.Generation == a.generation:
		a.generation++
	case id.Generation+1 == a.generation && a.lastKeys == r.Keys.SshPublic:
	default:
		return nil, fault.New(fault.Denied, "the identity is used by two machines")
	}
	a.lastKeys = r.Keys.SshPublic
	a.renewals++
	return a.answer(r.Keys, r.Hostname, id.Authority.SystemRoles)
}

func (a *auth) answer(k *joinv1.HostKeys, hostname string, roles []types.SystemRole) (*joinv1.JoinResponse, error) {
	if a.lost {
		a.lost = false
		return nil, fault.New(fault.Unavailable, "the connection broke")
	}
	now := time.Now()
	id := certtest.Host("example.com", now, roles...)
	id.Name, id.Generation, id.Authority.Hostname, id.Authority.Expires = a.uuid, a.generation, hostname, now.Add(ttl)
	if a.adjust != nil {
		a.adjust(id)
	}
	sk, err := keys.ParseSSHPublic(k.SshPublic)
	if err != nil {
		return nil, err
	}
	tk, err := keys.ParsePublicDER(k.TlsPublic)
	if err != nil {
		return nil, err
	}
	ca, err := ssh.NewSignerFromSigner(a.world.SSH[types.CAHost])
	if err != nil {
		return nil, err
	}
	sc, err := sshcert.Sign(id, sk, ca, now)
	if err != nil {
		return nil, err
	}
	der, err := tlscert.Sign(id, tk, a.world.Certs[types.CAHost], a.world.TLS[types.CAHost], now)
	if err != nil {
		return nil, err
	}
	resp := &joinv1.JoinResponse{HostUuid: id.Name, Cluster: id.Cluster, SshCert: keys.SSHLine(sc), TlsCert: tlscert.PEM(der)}
	for _, doc := range a.world.Authorities {
		b, err := json.Marshal(doc)
		if err != nil {
			return nil, err
		}
		resp.Authorities = append(resp.Authorities, b)
	}
	if a.change != nil {
		a.change(resp)
	}
	return resp, nil
}

func (a *auth) do(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func open(t testing.TB, dir string, roles ...types.SystemRole) *member.Member {
	t.Helper()
	if roles == nil {
		roles = []types.SystemRole{types.RoleNode}
	}
	m, err := member.New(member.Config{DataDir: dir, Hostname: "web-1", SystemRoles: roles})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func joined(t testing.TB, a *auth, dir string) *member.Member {
	t.Helper()
	m := open(t, dir)
	if err := m.Join(context.Background(), a, tokenjoin.Method{}, token); err != nil {
		t.Fatalf("%v (%v)", err, errors.Unwrap(err))
	}
	a.caller = m.Identity
	return m
}

func TestJoinAndLoad(t *testing.T) {
	a, dir := newAuth(t), t.TempDir()
	if err := open(t, dir).Load(); !errors.Is(err, fault.NotFound) {
		t.Errorf("before the join: %v", err)
	}
	m := joined(t, a, dir)
	again := open(t, dir)
	if err := again.Load(); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*member.Member{m, again} {
		if m.Identity().String() != "host "+certtest.HostUUID+"@example.com" || m.TLSCertificate() == nil || m.SSHSigner() == nil || len(m.Trust().Pins("example.com")) != 1 {
			t.Errorf("%+v", m.Identity())
		}
		if c, ok := m.SSHSigner().PublicKey().(*ssh.Certificate); !ok || c.CertType != ssh.HostCert {
			t.Error("the SSH signer shows no host certificate")
		}
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("PRIVATE")) && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if bytes.Contains(b, []byte(token.Reveal())) {
			t.Errorf("%s holds the token", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "proc", "pending.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("pending keys stay behind")
	}
}

// A join whose answer was lost is made again as the same host with the same keys.
func TestLostAnswer(t *testing.T) {
	a, dir := newAuth(t), t.TempDir()
	a.lost = true
	if err := open(t, dir).Join(context.Background(), a, tokenjoin.Method{}, token); err == nil {
		t.Fatal("the lost answer arrived")
	}
	first := a.lastKeys
	m := joined(t, a, dir)
	if a.lastKeys != first || m.Identity().Generation != 1 {
		t.Errorf("generation %d, other keys: %v", m.Identity().Generation, a.lastKeys != first)
	}
}

func TestAnswersRefused(t *testing.T) {
	other := certtest.New(t, "example.com", time.Now())
	cases := map[string]func(*auth){
		"other host":     func(a *auth) { a.change = func(r *joinv1.JoinResponse) { r.HostUuid = "x" } },
		"other cluster":  func(a *auth) { a.change = func(r *joinv1.JoinResponse) { r.Cluster = "evil.com" } },
		"no authorities": func(a *auth) { a.change = func(r *joinv1.JoinResponse) { r.Authorities = nil } },
		"junk authority": func(a *auth) { a.change = func(r *joinv1.JoinResponse) { r.Authorities[0] = []byte("{") } },
		"other authorities": func(a *auth) {
			a.change = func(r *joinv1.JoinResponse) { r.Authorities = encode(t, other.Authorities) }
		},
		"no certificate":    func(a *auth) { a.change = func(r *joinv1.JoinResponse) { r.TlsCert = nil } },
		"no SSH":            func(a *auth) { a.change = func(r *joinv1.JoinResponse) { r.SshCert = "" } },
		"a role is missing": func(a *auth) { a.adjust = func(id *types.Identity) { id.Authority.SystemRoles = nil } },
		"refused":           func(a *auth) { a.fail = fault.New(fault.Denied, "no") },
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			a, dir := newAuth(t), t.TempDir()
			f(a)
			m := open(t, dir)
			if err := m.Join(context.Background(), a, tokenjoin.Method{}, token); err == nil {
				t.Fatal("accepted")
			}
			if m.Identity() != nil || !errors.Is(m.Load(), fault.NotFound) {
				t.Error("something was kept")
			}
		})
	}
}

func encode(t *testing.T, docs []*types.CertAuthority) [][]byte {
	var out [][]byte
	for _, d := range docs {
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

func TestPin(t *testing.T) {
	a := newAuth(t)
	pin := keys.Pin(a.world.Certs[types.CAHost])
	for _, c := range []struct {
		pins []string
		ok   bool
	}{{nil, true}, {[]string{pin}, true}, {[]string{"sha256:" + strings.Repeat("0", 64)}, false}} {
		m, err := member.New(member.Config{DataDir: t.TempDir(), Hostname: "web-1", SystemRoles: []types.SystemRole{types.RoleNode}, Pins: c.pins})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Join(context.Background(), a, tokenjoin.Method{}, token); (err == nil) != c.ok {
			t.Errorf("pins %v: %v", c.pins, err)
		}
	}
}

// Every sort of damage is one clear line with a hint, and quotes no key.
func TestDamage(t *testing.T) {
	a, dir := newAuth(t), t.TempDir()
	joined(t, a, dir)
	path := filepath.Join(dir, "proc", "identity.json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := joined(t, newAuth(t), t.TempDir())
	foreign, err := json.Marshal(string(tlscert.PEM(other.TLSCertificate().Certificate[0])))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(good, &doc); err != nil {
		t.Fatal(err)
	}
	edit := func(key, value string) []byte {
		c := map[string]json.RawMessage{}
		for k, v := range doc {
			c[k] = v
		}
		c[key] = json.RawMessage(value)
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, b := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)/2], "behind": append(bytes.Clone(good), good...), "binary": make([]byte, 4096), "huge": bytes.Repeat([]byte(" "), 5<<20),
		"version": edit("version", "99"), "unknown": edit("x", "1"), "no key": edit("tls_key", `""`), "foreign certificate": edit("tls_cert", string(foreign)), "no authorities": edit("authorities", "[]"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			err := open(t, dir).Load()
			if err == nil || fault.KindOf(err) == fault.Internal || fault.KindOf(err) == fault.NotFound || strings.Contains(fault.Message(err), "\n") {
				t.Fatalf("%v", err)
			}
			if name != "huge" && fault.Hint(err) == "" {
				t.Errorf("no hint: %v", err)
			}
			if strings.Contains(err.Error(), "-----BEGIN") {
				t.Error("the error quotes a key")
			}
		})
	}
	if err := os.WriteFile(filepath.Join(dir, "host_uuid"), []byte("two\nlines\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir).Join(context.Background(), a, tokenjoin.Method{}, token); !errors.Is(err, fault.Invalid) {
		t.Errorf("a damaged host_uuid: %v", err)
	}
}

func TestDirectoryThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := open(t, file).Join(context.Background(), newAuth(t), tokenjoin.Method{}, token)
	if !errors.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), "cannot write") {
		t.Errorf("%v", err)
	}
}

func TestExpiredIdentity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir := newAuth(t), t.TempDir()
		joined(t, a, dir)
		time.Sleep(2 * ttl)
		if err := open(t, dir).Load(); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("%v", err)
		}
	})
}

// serve runs renewal in the background and returns how to end it.
func serve(t *testing.T, m *member.Member, a *auth) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Serve(ctx, a) }()
	return func() error {
		cancel()
		return <-done
	}
}

// Three months of a host: auth is away for a while, the process restarts, the
// identity never expires and the generation never jumps.
func TestRenewsForMonths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir := newAuth(t), t.TempDir()
		m := joined(t, a, dir)
		stop := serve(t, m, a)
		for day := range 90 {
			switch day {
			case 20:
				a.do(func() { a.fail = fault.New(fault.Unavailable, "auth is away") })
				time.Sleep(8 * time.Hour)
				a.do(func() { a.fail = nil })
			case 40:
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				m = open(t, dir)
				if err := m.Load(); err != nil {
					t.Fatal(err)
				}
				a.do(func() { a.caller = m.Identity })
				stop = serve(t, m, a)
			case 60:
				a.do(func() { a.lost = true })
			}
			time.Sleep(24 * time.Hour)
			if left := time.Until(m.Identity().Authority.Expires); left < ttl/2 {
				t.Fatalf("day %d: %s left", day, left)
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		a.do(func() {
			if a.renewals < 100 || a.renewals > 140 || a.generation != m.Identity().Generation {
				t.Errorf("%d renewals, generation %d at auth, %d here", a.renewals, a.generation, m.Identity().Generation)
			}
		})
	})
}

// A second generation of the process on the same directory takes over what the
// first renewed, and is never taken for a clone.
func TestTwoGenerationsOfAProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir := newAuth(t), t.TempDir()
		one := joined(t, a, dir)
		two := open(t, dir)
		if err := two.Load(); err != nil {
			t.Fatal(err)
		}
		// Whoever renews last was current when it took the lock.
		a.do(func() {
			a.caller = func() *types.Identity {
				if x, y := one.Identity(), two.Identity(); x.Generation > y.Generation {
					return x
				}
				return two.Identity()
			}
		})
		stopOne, stopTwo := serve(t, one, a), serve(t, two, a)
		time.Sleep(10 * 24 * time.Hour)
		if err := errors.Join(stopOne(), stopTwo()); err != nil {
			t.Fatal(err)
		}
		if x, y := one.Identity().Generation, two.Identity().Generation; x < 11 || y < 11 {
			t.Errorf("generations %d and %d", x, y)
		}
	})
}

// A copy of the directory elsewhere shows at the next renewal, and ends there.
func TestClone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir, copied := newAuth(t), t.TempDir(), t.TempDir()
		m := joined(t, a, dir)
		if err := os.CopyFS(filepath.Join(copied, "d"), os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		clone := open(t, filepath.Join(copied, "d"))
		if err := clone.Load(); err != nil {
			t.Fatal(err)
		}
		stop := serve(t, m, a)
		time.Sleep(22 * time.Hour)
		a.do(func() { a.caller = clone.Identity })
		clone.RenewSoon()
		if err := clone.Serve(context.Background(), a); !errors.Is(err, fault.Denied) {
			t.Errorf("the clone: %v", err)
		}
		a.do(func() { a.caller = m.Identity })
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// A refusal that is not the end of a membership leaves the process at work.
func TestARefusedRenewalIsNoEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, kind := range []fault.Kind{fault.Invalid, fault.Unauthenticated} {
			a := newAuth(t)
			m := joined(t, a, t.TempDir())
			a.do(func() { a.fail = fault.New(kind, "the join token of this host does not allow the name x") })
			stop := serve(t, m, a)
			time.Sleep(ttl / 2)
			a.do(func() { a.fail = nil })
			time.Sleep(time.Hour)
			if left := time.Until(m.Identity().Authority.Expires); left < ttl*3/4 {
				t.Errorf("%s: %s left", kind, left)
			}
			if err := stop(); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		// Neither is an answer that this process does not take: with a role less.
		a := newAuth(t)
		told := make(chan error, 1)
		m, err := member.New(member.Config{DataDir: t.TempDir(), Hostname: "web-1", SystemRoles: []types.SystemRole{types.RoleNode},
			OnRenewal: func(err error) {
				select {
				case told <- err:
				default:
				}
			}})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Join(t.Context(), a, tokenjoin.Method{}, token); err != nil {
			t.Fatal(err)
		}
		a.caller = m.Identity
		a.do(func() {
			a.adjust = func(id *types.Identity) { id.Authority.SystemRoles = []types.SystemRole{types.RoleProxy} }
		})
		stop := serve(t, m, a)
		m.RenewSoon()
		if err := <-told; err == nil {
			t.Error("a renewal without the role was taken")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Authorities that come late do not undo what another generation renewed.
func TestAuthoritiesDoNotUndoARenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir := newAuth(t), t.TempDir()
		one := joined(t, a, dir)
		two := open(t, dir)
		if err := two.Load(); err != nil {
			t.Fatal(err)
		}
		stop := serve(t, one, a)
		one.RenewSoon()
		synctest.Wait()
		if one.Identity().Generation == two.Identity().Generation {
			t.Fatal("not renewed")
		}
		next := certtest.New(t, "example.com", time.Now())
		rotated := slices.Clone(a.world.Authorities)
		host := *rotated[1]
		host.Spec.Additional = []types.CAKeys{next.Authorities[1].Spec.Active}
		rotated[1] = &host
		if err := two.UpdateTrust(t.Context(), rotated); err != nil {
			t.Fatal(err)
		}
		third := open(t, dir)
		if err := third.Load(); err != nil {
			t.Fatal(err)
		}
		for name, m := range map[string]*member.Member{"memory": two, "disk": third} {
			if g := m.Identity().Generation; g != one.Identity().Generation || len(m.Trust().Pins("example.com")) != 2 {
				t.Errorf("%s: generation %d with %d pins", name, g, len(m.Trust().Pins("example.com")))
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestCAChangeRenewsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir := newAuth(t), t.TempDir()
		m := joined(t, a, dir)
		ticks, end := m.Subscribe()
		defer end()
		stop := serve(t, m, a)
		synctest.Wait()
		if err := m.UpdateTrust(t.Context(), a.world.Authorities); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.do(func() {
			if a.renewals != 0 {
				t.Error("renewed although nothing changed")
			}
		})
		next := certtest.New(t, "example.com", time.Now())
		rotated := slices.Clone(a.world.Authorities)
		host := *rotated[1]
		host.Spec.Additional = []types.CAKeys{next.Authorities[1].Spec.Active}
		rotated[1] = &host
		a.do(func() { a.world.Authorities = rotated })
		if err := m.UpdateTrust(t.Context(), rotated); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.do(func() {
			if a.renewals != 1 {
				t.Errorf("%d renewals after a change", a.renewals)
			}
		})
		select {
		case <-ticks:
		default:
			t.Error("nobody was told")
		}
		if n := len(m.Trust().Pins("example.com")); n != 2 {
			t.Errorf("%d pins", n)
		}
		if err := m.UpdateTrust(t.Context(), rotated[:1]); !errors.Is(err, fault.Untrusted) {
			t.Errorf("a set without the host authority: %v", err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// The auth process certifies itself with keys of its own.
func TestAdopt(t *testing.T) {
	a, dir := newAuth(t), t.TempDir()
	uuid, err := member.EnsureHostUUID(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := member.EnsureHostUUID(dir); err != nil || again != uuid {
		t.Fatalf("%s, %v", again, err)
	}
	m := open(t, dir, types.RoleAuth)
	k, err := m.GenerateKeys()
	if err != nil {
		t.Fatal(err)
	}
	sk, tk, err := k.Public()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(tk)
	if err != nil {
		t.Fatal(err)
	}
	a.uuid = uuid
	resp, err := a.answer(&joinv1.HostKeys{SshPublic: keys.SSHLine(sk), TlsPublic: der}, "gate", []types.SystemRole{types.RoleAuth})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Adopt(t.Context(), k, resp); err != nil {
		t.Fatal(err)
	}
	if m.Identity().Name != uuid {
		t.Errorf("%v", m.Identity())
	}
	if s := fmt.Sprintf("%v %+v %#v %v", k, *k, k, m); s != "host keys host keys host keys member host "+uuid+"@example.com" {
		t.Errorf("keys print: %s", s)
	}
}

package sshcert

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func signer(t *testing.T, w *certtest.World, ca types.CAType) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromSigner(w.SSH[ca])
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func caOf(kind types.IdentityKind) types.CAType {
	if kind == types.IdentityUser {
		return types.CAUser
	}
	return types.CAHost
}

// Every field of every identity survives, and signing does not depend on them.
func TestRoundTrip(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	key := certtest.SSHKey(t)
	seen := map[string]bool{}
	for i := range 400 {
		kind := []types.IdentityKind{types.IdentityUser, types.IdentityHost, types.IdentityBridge}[i%3]
		id := certtest.Random(uint64(i), kind, "example.com", now)
		c, err := Sign(id, key, signer(t, w, caOf(kind)), now)
		if err != nil {
			t.Fatalf("sign %d: %v (%v)", i, err, errors.Unwrap(err))
		}
		wire, err := keys.ParseSSHCert(keys.SSHLine(c))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Verify(wire, w.Trust, kind, now)
		if err != nil {
			t.Fatalf("verify %d: %v", i, err)
		}
		if want := cert.Canonical(id); !reflect.DeepEqual(got, want) {
			t.Fatalf("identity %d changed:\n got %+v\nwant %+v", i, got, want)
		}
		certtest.Note(seen, id)
	}
	certtest.AllSeen(t, seen)
}

// mutate signs an arbitrary certificate with a CA of the world, as an attacker who
// cannot do so would like to.
func mutate(t *testing.T, w *certtest.World, ca types.CAType, f func(*ssh.Certificate)) *ssh.Certificate {
	t.Helper()
	id := certtest.User("alice", "example.com", now)
	if ca == types.CAHost {
		id = certtest.Host("example.com", now, types.RoleNode)
	}
	c, err := Sign(id, certtest.SSHKey(t), signer(t, w, ca), now)
	if err != nil {
		t.Fatal(err)
	}
	f(c)
	if err := c.SignCert(rand.Reader, signer(t, w, ca)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVerifyRefuses(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	cases := map[string]func(*ssh.Certificate){
		"no principals":           func(c *ssh.Certificate) { c.ValidPrincipals = nil },
		"an empty principal":      func(c *ssh.Certificate) { c.ValidPrincipals = []string{""} },
		"host type":               func(c *ssh.Certificate) { c.CertType = ssh.HostCert },
		"unknown type":            func(c *ssh.Certificate) { c.CertType = 7 },
		"unknown critical option": func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "true"} },
		"unknown extension of ours": func(c *ssh.Certificate) {
			c.Extensions["teleport-only-on-sundays"] = ""
		},
		"no end":            func(c *ssh.Certificate) { c.ValidBefore = ssh.CertTimeInfinity },
		"a very far end":    func(c *ssh.Certificate) { c.ValidBefore = uint64(now.Add(20 * 366 * 24 * time.Hour).Unix()) },
		"start after end":   func(c *ssh.Certificate) { c.ValidAfter = math.MaxUint64 },
		"no identity":       func(c *ssh.Certificate) { delete(c.Extensions, extIdentity) },
		"identity of junk":  func(c *ssh.Certificate) { c.Extensions[extIdentity] = `{"kind":"user","x":1}` },
		"other kind inside": func(c *ssh.Certificate) { c.Extensions[extIdentity] = `{"kind":"bridge","cluster":"example.com"}` },
		"other cluster":     func(c *ssh.Certificate) { c.Extensions[extIdentity] = `{"kind":"user","cluster":"evil.com"}` },
		"roles twice": func(c *ssh.Certificate) {
			c.Extensions[extIdentity] = `{"kind":"user","cluster":"example.com","authority":{"roles":["editor"]}}`
		},
		"a net as address": func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"source-address": "10.0.0.0/8"} },
		"trailing roles":   func(c *ssh.Certificate) { c.Extensions[extRoles] = `["a"]["b"]` },
	}
	for name, f := range cases {
		t.Run(name, func(t *testing.T) {
			if id, err := Verify(mutate(t, w, types.CAUser, f), w.Trust, types.IdentityUser, now); err == nil {
				t.Fatalf("accepted as %v", id)
			}
		})
	}
	if _, err := Verify(mutate(t, w, types.CAUser, func(*ssh.Certificate) {}), w.Trust, types.IdentityUser, now); err != nil {
		t.Fatalf("the unchanged certificate: %v", err)
	}
}

// Hosts have no critical option at all, not even the one that users may have.
func TestHostWithCriticalOptionRefused(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	c := mutate(t, w, types.CAHost, func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{optSourceAddress: "10.0.0.1"} })
	if id, err := Verify(c, w.Trust, types.IdentityHost, now); !errors.Is(err, fault.Untrusted) {
		t.Errorf("accepted as %v: %v", id, err)
	}
}

func TestVerifyMatrix(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	other := certtest.New(t, "example.com", now)
	user := func(w *certtest.World, at time.Time) *ssh.Certificate {
		c, err := Sign(certtest.User("alice", "example.com", at), certtest.SSHKey(t), signer(t, w, types.CAUser), at)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	host := func() *ssh.Certificate {
		c, err := Sign(certtest.Host("example.com", now, types.RoleNode), certtest.SSHKey(t), signer(t, w, types.CAHost), now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	route := certtest.User("alice", "example.com", now)
	route.Authority.Route = &types.Route{Kind: "node", Name: "n1"}
	routed, err := Sign(route, certtest.SSHKey(t), signer(t, w, types.CAUser), now)
	if err != nil {
		t.Fatal(err)
	}
	bridged := certtest.Random(1, types.IdentityBridge, "example.com", now)
	bridge, err := Sign(bridged, certtest.SSHKey(t), signer(t, w, types.CAHost), now)
	if err != nil {
		t.Fatal(err)
	}
	byUsers, err := Sign(bridged, certtest.SSHKey(t), signer(t, w, types.CAUser), now)
	if err != nil {
		t.Fatal(err)
	}
	self := user(w, now)
	selfKey, err := ssh.NewSignerFromSigner(certtest.Key(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := self.SignCert(rand.Reader, selfKey); err != nil {
		t.Fatal(err)
	}
	swapped := mutate(t, w, types.CAUser, func(*ssh.Certificate) {})
	if err := swapped.SignCert(rand.Reader, signer(t, w, types.CAHost)); err != nil {
		t.Fatal(err)
	}
	tampered := user(w, now)
	tampered.ValidPrincipals = []string{"root"}
	stacked := user(w, now)
	stacked.SignatureKey = host()
	rows := []struct {
		name                string
		c                   *ssh.Certificate
		asUser, asHost, asB bool
	}{
		{"user", user(w, now), true, false, false},
		{"host", host(), false, true, false},
		{"route", routed, true, false, false},
		{"bridge", bridge, false, false, true},
		{"a bridge by the user authority", byUsers, false, false, false},
		{"another CA", user(other, now), false, false, false},
		{"expired", user(w, now.Add(-13*time.Hour)), false, false, false},
		{"not yet valid", user(w, now.Add(2*time.Hour)), false, false, false},
		{"self-signed", self, false, false, false},
		{"a user's signed by the host CA", swapped, false, false, false},
		{"tampered", tampered, false, false, false},
		{"a certificate as its CA", stacked, false, false, false},
		{"nil", nil, false, false, false},
	}
	for _, r := range rows {
		for kind, want := range map[types.IdentityKind]bool{types.IdentityUser: r.asUser, types.IdentityHost: r.asHost, types.IdentityBridge: r.asB} {
			id, err := Verify(r.c, w.Trust, kind, now)
			if (err == nil) != want {
				t.Errorf("%s as %s: %v, %v", r.name, kind, id, err)
			}
			if err != nil && id != nil {
				t.Errorf("%s as %s: an identity beside an error", r.name, kind)
			}
		}
	}
	if _, err := Verify(user(w, now.Add(-13*time.Hour)), w.Trust, types.IdentityUser, now); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("expired is %v", err)
	}
	if _, err := Verify(user(w, now), nil, types.IdentityUser, now); !errors.Is(err, fault.Untrusted) {
		t.Errorf("no trust at all: %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	ca := signer(t, w, types.CAUser)
	key := certtest.SSHKey(t)
	c, err := Sign(certtest.User("alice", "example.com", now), key, ca, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(certtest.User("alice", "example.com", now), c, ca, now); err == nil {
		t.Error("a certificate was certified as if it were a key")
	}
	noLogins := certtest.User("alice", "example.com", now)
	noLogins.Authority.Logins = nil
	if _, err := Sign(noLogins, key, ca, now); !errors.Is(err, fault.Invalid) {
		t.Errorf("no logins: %v", err)
	}
	bridge := certtest.Random(1, types.IdentityBridge, "example.com", now)
	bridge.Authority.UserExpires = now.Add(time.Second)
	if _, err := Sign(bridge, key, signer(t, w, types.CAHost), now); err == nil {
		t.Error("a bridge got an SSH certificate that outlives the user's")
	}
}

// What the documentation promises that people see, OpenSSH's own tool shows.
func TestSSHKeygenShowsHost(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	id := certtest.Host("example.com", now, types.RoleNode, types.RoleProxy)
	id.Generation = 7
	id.Authority.Scope = &types.JoinScope{Names: []string{"web-*"}}
	c, err := Sign(id, certtest.SSHKey(t), signer(t, w, types.CAHost), now)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "host-cert.pub")
	if err := os.WriteFile(path, []byte(keys.SSHLine(c)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ssh-keygen", "-L", "-f", path)
	cmd.Env = []string{"TZ=UTC", "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	for _, want := range []string{
		"host certificate", id.Name + ".example.com", "web-1", "web-1.example.com", "proxy.example.com",
		"teleport-system-roles", "teleport-host-uuid", "teleport-cluster", "teleport-generation", "teleport-scope", "2026-03-02T12:00:00",
	} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("ssh-keygen -L does not show %q:\n%s", want, out)
		}
	}
}

// Frozen certificates of the first version must be read for ever.
func TestFrozen(t *testing.T) {
	trust := certtest.FrozenTrust(t)
	for _, kind := range []types.IdentityKind{types.IdentityUser, types.IdentityHost} {
		path := filepath.Join("testdata", "v1", string(kind)+".pub")
		id := certtest.FrozenIdentity(kind)
		if certtest.Update() {
			w := certtest.FrozenWorld(t)
			c, err := Sign(id, certtest.FrozenSSHKey(t), signer(t, w, caOf(kind)), certtest.FrozenTime)
			if err != nil {
				t.Fatal(err)
			}
			certtest.WriteFile(t, path, []byte(keys.SSHLine(c)+"\n"))
		}
		line, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := keys.ParseSSHCert(strings.TrimSpace(string(line)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Verify(c, trust, kind, certtest.FrozenTime)
		if err != nil {
			t.Fatal(err)
		}
		if want := cert.Canonical(id); !reflect.DeepEqual(got, want) {
			t.Errorf("%s reads differently:\n got %+v\nwant %+v", path, got, want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	w := certtest.New(f, "example.com", now)
	ca, err := ssh.NewSignerFromSigner(w.SSH[types.CAUser])
	if err != nil {
		f.Fatal(err)
	}
	c, err := Sign(certtest.User("alice", "example.com", now), certtest.SSHKey(f), ca, now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.Marshal())
	f.Add([]byte("ssh-ed25519-cert-v01@openssh.com"))
	f.Fuzz(func(t *testing.T, b []byte) {
		key, err := ssh.ParsePublicKey(b)
		if err != nil {
			return
		}
		mutated, ok := key.(*ssh.Certificate)
		if !ok {
			return
		}
		id, err := Verify(mutated, w.Trust, types.IdentityUser, now)
		if err == nil && !reflect.DeepEqual(id.Authority.Logins, []string{"root", "alice"}) {
			t.Fatalf("a changed certificate verifies: %+v", id)
		}
	})
}

package cert_test

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/cert"
	"teleport/cert/certtest"
	"teleport/cert/sshcert"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/keys"
	"teleport/types"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestTrustRefuses(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	user := w.Authorities[0].Spec.Active
	ca, err := ssh.NewSignerFromSigner(w.SSH[types.CAUser])
	if err != nil {
		t.Fatal(err)
	}
	c, err := sshcert.Sign(certtest.User("alice", "example.com", now), certtest.SSHKey(t), ca, now)
	if err != nil {
		t.Fatal(err)
	}
	der, err := tlscert.Sign(certtest.Host("example.com", now, types.RoleAuth), certtest.Key(t).Public(), w.Certs[types.CAHost], w.TLS[types.CAHost], now)
	if err != nil {
		t.Fatal(err)
	}
	jwt, err := keys.MarshalPublic(w.TLS[types.CAUser].Public())
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string][]*types.CertAuthority{
		"an SSH certificate as CA":  {certtest.Authority(types.CAUser, "example.com", types.CAKeys{SSHPublic: keys.SSHLine(c)})},
		"a leaf as CA":              {certtest.Authority(types.CAHost, "example.com", types.CAKeys{TLSCert: string(tlscert.PEM(der))})},
		"an option beside the key":  {certtest.Authority(types.CAUser, "example.com", types.CAKeys{SSHPublic: "cert-authority " + user.SSHPublic})},
		"two keys in one place":     {certtest.Authority(types.CAUser, "example.com", types.CAKeys{SSHPublic: user.SSHPublic + "\n" + user.SSHPublic})},
		"one key, two purposes":     {w.Authorities[0], certtest.Authority(types.CAHost, "example.com", types.CAKeys{SSHPublic: user.SSHPublic})},
		"one TLS key, two purposes": {w.Authorities[0], certtest.Authority(types.CADB, "example.com", types.CAKeys{TLSCert: user.TLSCert})},
		"one key, two clusters":     {w.Authorities[0], certtest.Authority(types.CAUser, "leaf.com", types.CAKeys{SSHPublic: user.SSHPublic})},
		"TLS key as JWT key":        {w.Authorities[0], certtest.Authority(types.CAJWT, "example.com", types.CAKeys{JWTPublic: string(jwt)})},
		"no cluster":                {certtest.Authority(types.CAUser, "", user)},
		"nil":                       {nil},
	}
	for name, cas := range cases {
		if _, err := cert.NewTrust(cas); err == nil {
			t.Errorf("%s is trusted", name)
		} else if fault.KindOf(err) == fault.Internal {
			t.Errorf("%s: %v is no user's fault", name, err)
		}
	}
}

func TestTrust(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	key, err := keys.ParseSSHPublic(w.Authorities[0].Spec.Active.SSHPublic)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := w.Trust.SSHCluster(types.CAUser, key); !ok || c != "example.com" {
		t.Errorf("the user CA speaks for %q, %v", c, ok)
	}
	if _, ok := w.Trust.SSHCluster(types.CAHost, key); ok {
		t.Error("the user CA speaks for hosts")
	}
	if n := len(w.Trust.SSHKeys(types.CAUser)); n != 1 {
		t.Errorf("%d user CA keys", n)
	}
	if n := len(w.Trust.Pins("example.com")); n != 1 || w.Trust.Pins("other") != nil {
		t.Errorf("%d pins", n)
	}
	reordered, err := cert.NewTrust([]*types.CertAuthority{w.Authorities[2], w.Authorities[0], w.Authorities[3], w.Authorities[1]})
	if err != nil {
		t.Fatal(err)
	}
	if reordered.Fingerprint() != w.Trust.Fingerprint() {
		t.Error("the fingerprint depends on the order")
	}
	fewer, err := cert.NewTrust(w.Authorities[:2])
	if err != nil {
		t.Fatal(err)
	}
	if fewer.Fingerprint() == w.Trust.Fingerprint() {
		t.Error("the fingerprint does not change with the set")
	}
	var none *cert.Trust
	if none.SSHKeys(types.CAUser) != nil || none.Certificates(types.CAUser) != nil || none.Fingerprint() != "" || none.JWTKeys("x") != nil {
		t.Error("no trust trusts something")
	}
}

// While a CA rotates, old and new keys are both trusted, each for its own purpose.
func TestTrustWhileRotating(t *testing.T) {
	w, next := certtest.New(t, "example.com", now), certtest.New(t, "example.com", now)
	ca := *w.Authorities[0]
	ca.Spec.Additional = []types.CAKeys{next.Authorities[0].Spec.Active}
	trust, err := cert.NewTrust([]*types.CertAuthority{&ca})
	if err != nil {
		t.Fatal(err)
	}
	for _, world := range []*certtest.World{w, next} {
		s, err := ssh.NewSignerFromSigner(world.SSH[types.CAUser])
		if err != nil {
			t.Fatal(err)
		}
		c, err := sshcert.Sign(certtest.User("alice", "example.com", now), certtest.SSHKey(t), s, now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sshcert.Verify(c, trust, types.IdentityUser, now); err != nil {
			t.Error(err)
		}
	}
}

// A leaf cluster's authority vouches for its own users only.
func TestLeafCannotSpeakForRoot(t *testing.T) {
	root, leaf := certtest.New(t, "root.com", now), certtest.New(t, "leaf.com", now)
	trust, err := cert.NewTrust(append(root.Authorities, leaf.Authorities...))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromSigner(leaf.SSH[types.CAUser])
	if err != nil {
		t.Fatal(err)
	}
	c, err := sshcert.Sign(certtest.User("alice", "root.com", now), certtest.SSHKey(t), s, now)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := sshcert.Verify(c, trust, types.IdentityUser, now); !errors.Is(err, fault.Untrusted) {
		t.Errorf("the leaf's authority made %v: %v", id, err)
	}
}

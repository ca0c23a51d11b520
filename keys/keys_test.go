package keys

import (
	"crypto"
	//lint:ignore SA1019 a key that must be refused
	"crypto/dsa"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func gen(t testing.TB, a Algorithm) crypto.Signer {
	t.Helper()
	k, err := Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSuites(t *testing.T) {
	for p, r := range table {
		for i, s := range Suites() {
			if a, err := AlgorithmFor(s, p); err != nil || a != r[i] {
				t.Errorf("%s %s: %v %v", s, p, a, err)
			}
		}
	}
	if a, err := AlgorithmFor("", UserCASSH); err != nil || a != Ed25519 {
		t.Errorf("default suite: %v %v", a, err)
	}
	for _, bad := range [][2]string{{"balanced-v2", string(UserSSH)}, {"legacy", "lunch"}} {
		if _, err := AlgorithmFor(Suite(bad[0]), Purpose(bad[1])); err == nil {
			t.Errorf("%v has an algorithm", bad)
		}
	}
	if _, err := Generate("rot13"); err == nil {
		t.Error("an unknown algorithm makes keys")
	}
}

func TestRoundTrips(t *testing.T) {
	for _, a := range []Algorithm{RSA2048, ECDSAP256, Ed25519} {
		k := gen(t, a)
		b, err := MarshalPrivate(k)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParsePrivate(b)
		if err != nil || !Equal(back.Public(), k.Public()) {
			t.Errorf("%s private: %v", a, err)
		}
		p, err := MarshalPublic(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		if pub, err := ParsePublic(p); err != nil || !Equal(pub, k.Public()) {
			t.Errorf("%s public: %v", a, err)
		}
		line, err := MarshalSSHPublic(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		sp, err := ParseSSHPublic(line)
		if err != nil || SSHLine(sp) != line {
			t.Errorf("%s line: %v", a, err)
		}
		if _, err := ParseSSHPublic(line + " somebody@somewhere\n"); err != nil {
			t.Errorf("%s with a comment: %v", a, err)
		}
	}
}

func TestWeakKeysRefused(t *testing.T) {
	big4 := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8191), E: 65537}
	small := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
	exp3 := *gen(t, RSA2048).Public().(*rsa.PublicKey)
	exp3.E = 3
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 only the raw fields make a point that is not on the curve
	off := &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}
	for name, k := range map[string]crypto.PublicKey{
		"RSA 8192": big4, "RSA 1024": small, "RSA e=3": &exp3, "P-521": p521.Public(), "not on the curve": off, "DSA": &dsa.PublicKey{}, "nil": nil,
	} {
		if CheckPublic(k) == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	k := gen(t, ECDSAP256)
	pem, err := MarshalPrivate(k)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]string{
		"empty": "", "junk": "hello", "text before": "x\n" + string(pem), "text behind": string(pem) + "x", "two": string(pem) + string(pem),
		"wrong type": strings.ReplaceAll(string(pem), "PRIVATE KEY", "EC PRIVATE KEY"), "huge": strings.Repeat(" ", 1<<20),
	} {
		if _, err := ParsePrivate([]byte(b)); err == nil {
			t.Errorf("%s is a private key", name)
		} else if strings.Contains(err.Error(), "MIG") {
			t.Errorf("%s: the error quotes the key: %v", name, err)
		}
	}
	line, err := MarshalSSHPublic(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range map[string]string{
		"empty": "", "option": `command="x" ` + line, "two lines": line + "\n" + line, "private": string(pem), "huge": line + strings.Repeat("A", 1<<16),
	} {
		if _, err := ParseSSHPublic(l); err == nil {
			t.Errorf("%s is an SSH key", name)
		}
	}
}

// A certificate is no key, whatever key is in it: neither as a line nor as a value.
func TestCertificateIsNoKey(t *testing.T) {
	ca, err := ssh.NewSignerFromSigner(gen(t, Ed25519))
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewSSHPublic(gen(t, Ed25519).Public())
	if err != nil {
		t.Fatal(err)
	}
	c := &ssh.Certificate{Key: key, CertType: ssh.UserCert, ValidPrincipals: []string{"root"}, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	if err := CheckSSHPublic(c); err == nil {
		t.Error("a certificate passes as a key")
	}
	if _, err := ParseSSHPublic(SSHLine(c)); err == nil {
		t.Error("a certificate's line parses as a key")
	}
}

// Security keys sign without touch unless somebody looks; until we do, they are
// not keys for us.
func TestSecurityKeyRefused(t *testing.T) {
	pub := gen(t, Ed25519).Public()
	sp, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	var w struct{ Type, Key string }
	if err := ssh.Unmarshal(sp.Marshal(), &w); err != nil {
		t.Fatal(err)
	}
	sk, err := ssh.ParsePublicKey(ssh.Marshal(struct{ Type, Key, App string }{"sk-ssh-ed25519@openssh.com", w.Key, "ssh:"}))
	if err != nil {
		t.Fatal(err)
	}
	if CheckSSHPublic(sk) == nil {
		t.Error("accepted")
	}
}

func TestPin(t *testing.T) {
	c := &x509.Certificate{RawSubjectPublicKeyInfo: []byte("spki")}
	sum := sha256.Sum256([]byte("spki"))
	pin := "sha256:" + hex.EncodeToString(sum[:])
	if Pin(c) != pin || CheckPin(pin) != nil || !MatchPin(c, []string{"sha256:00", pin}) || MatchPin(c, nil) {
		t.Error("pins do not match as they should")
	}
}

func FuzzParseSSHPublic(f *testing.F) {
	line, err := MarshalSSHPublic(gen(f, Ed25519).Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add("ssh-rsa AAAA")
	f.Add(`from="1.2.3.4" ` + line)
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseSSHPublic(s)
		if err != nil {
			return
		}
		again, err := ParseSSHPublic(SSHLine(k))
		if err != nil || SSHLine(again) != SSHLine(k) {
			t.Fatalf("%q does not survive: %v", s, err)
		}
	})
}

func FuzzParsePrivate(f *testing.F) {
	b, err := MarshalPrivate(gen(f, Ed25519))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParsePrivate(b)
		if err == nil && CheckPublic(k.Public()) != nil {
			t.Fatal("a weak key passed")
		}
	})
}

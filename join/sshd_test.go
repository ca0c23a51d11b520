package join_test

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/join"
	"teleport/keys"
	"teleport/types"
)

func hostKey(t *testing.T, algorithm keys.Algorithm) ssh.Signer {
	t.Helper()
	k, err := keys.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromSigner(k)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAHostKeySignsItsJoin(t *testing.T) {
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := ssh.NewSignerFromSigner(old)
	if err != nil {
		t.Fatal(err)
	}
	said := join.SSHD{Method: "token", Token: types.NewSecret("0123456789abcdef"), Hostname: "web-1", Addr: "10.0.0.9:22", Labels: map[string]string{"env": "dev", "a": "b"}}
	other := hostKey(t, keys.Ed25519)
	for _, key := range []ssh.Signer{hostKey(t, keys.Ed25519), hostKey(t, keys.ECDSAP256), rsaKey} {
		sig, err := said.Sign(key)
		if err != nil || said.Verify(key.PublicKey(), sig) != nil {
			t.Errorf("%s: %v, %v", key.PublicKey().Type(), err, said.Verify(key.PublicKey(), sig))
		}
		if err := said.Verify(other.PublicKey(), sig); !errors.Is(err, fault.Denied) {
			t.Errorf("it passes for another key: %v", err)
		}
		id := join.SSHDUUID(key.PublicKey())
		if u, err := uuid.Parse(id); err != nil || u.String() != id || id == join.SSHDUUID(other.PublicKey()) || id != join.SSHDUUID(key.PublicKey()) {
			t.Errorf("%q, %v", id, err)
		}
		for name, change := range map[string]func(*join.SSHD){
			"method": func(s *join.SSHD) { s.Method = "iam" }, "token": func(s *join.SSHD) { s.Token = types.NewSecret("another") },
			"host name": func(s *join.SSHD) { s.Hostname = "web-2" }, "address": func(s *join.SSHD) { s.Addr = "10.0.0.8:22" },
			"labels": func(s *join.SSHD) { s.Labels = map[string]string{"env": "prod", "a": "b"} },
		} {
			changed := said
			change(&changed)
			if err := changed.Verify(key.PublicKey(), sig); !errors.Is(err, fault.Denied) {
				t.Errorf("another %s: %v", name, err)
			}
		}
	}
	for name, sig := range map[string][]byte{"none": nil, "rubbish": []byte("rubbish"), "half": {0, 0, 0, 4, 'a'}} {
		if err := said.Verify(other.PublicKey(), sig); !errors.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

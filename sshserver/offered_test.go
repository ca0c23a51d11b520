package sshserver

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"testing"

	"golang.org/x/crypto/ssh"

	"teleport/types"
)

type meta struct{ ssh.ConnMetadata }

func (meta) User() string { return "root" }

// certOf is a user certificate that only the fake verifier below believes.
func certOf(t *testing.T, name string) *ssh.Certificate {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return &ssh.Certificate{Key: key, CertType: ssh.UserCert, KeyId: name, ValidPrincipals: []string{"root"}}
}

// A peer may offer any number of keys that it does not own before it signs with
// its own: what counts is the key of the signature.
func TestTheKeyThatSignedCounts(t *testing.T) {
	s, err := New(Config{HostSigners: func() []ssh.Signer { return nil }, Surface: NewSurface(), Log: slog.New(slog.DiscardHandler),
		Verify: func(c *ssh.Certificate) (*types.Identity, error) {
			return &types.Identity{Kind: types.IdentityUser, Name: c.KeyId}, nil
		},
		Authorize: func(context.Context, *Conn, Use) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	admin, mallory := certOf(t, "admin"), certOf(t, "mallory")
	for _, offers := range [][]*ssh.Certificate{{admin}, {admin, mallory}, {mallory, admin}} {
		a := &attempt{s: s, ctx: t.Context()}
		for _, c := range offers {
			p, err := a.offered(meta{}, c)
			if err != nil || p == nil || len(p.ExtraData)+len(p.Extensions)+len(p.CriticalOptions) > 0 || a.admit != nil {
				t.Fatalf("an offer granted %+v, %v", p, err)
			}
		}
		p, err := a.verified(meta{}, mallory, &ssh.Permissions{Extensions: map[string]string{"teleport-roles": `["editor"]`}}, "")
		if err != nil {
			t.Fatal(err)
		}
		got, ok := p.ExtraData[identityKey{}].(proven)
		if !ok || got.identity.Name != "mallory" || got.cert != mallory || a.admit.Identity.Name != "mallory" || len(p.Extensions) != 0 {
			t.Errorf("mallory's signature made %+v", got.identity)
		}
	}
}

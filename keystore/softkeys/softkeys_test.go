package softkeys

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"teleport/backend"
	"teleport/backend/memkv"
	"teleport/fault"
	"teleport/keys"
)

func open(t *testing.T, b backend.Backend, kek []byte) *Keys {
	t.Helper()
	k, err := New(b, kek)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func stored(t *testing.T, b backend.Backend) []backend.Item {
	t.Helper()
	items, err := b.Range(context.Background(), prefix, backend.PrefixEnd(prefix), 0)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func TestGenerateAndFind(t *testing.T) {
	ctx := context.Background()
	for name, kek := range map[string][]byte{"plain": nil, "sealed": bytes.Repeat([]byte{7}, KEKSize)} {
		t.Run(name, func(t *testing.T) {
			b := memkv.New(memkv.Options{})
			defer b.Close()
			for _, a := range []keys.Algorithm{keys.Ed25519, keys.ECDSAP256} {
				id, key, err := open(t, b, kek).Generate(ctx, a)
				if err != nil {
					t.Fatal(err)
				}
				again, err := open(t, b, kek).Signer(ctx, id)
				if err != nil || !keys.Equal(again.Public(), key.Public()) {
					t.Fatalf("%s: %v", a, err)
				}
				if a == keys.ECDSAP256 {
					sum := sha256.Sum256([]byte("x"))
					if _, err := again.Sign(rand.Reader, sum[:], crypto.SHA256); err != nil {
						t.Error(err)
					}
				}
				for _, s := range []string{fmt.Sprintf("%v %+v %#v %s", key, key, key, key), fmt.Sprintf("%+v", open(t, b, kek))} {
					if strings.ContainsAny(s, "{[&") {
						t.Errorf("a key prints: %s", s)
					}
				}
			}
			for _, it := range stored(t, b) {
				if kek != nil && bytes.Contains(it.Value, []byte("PRIVATE")) {
					t.Error("a sealed key is stored in the clear")
				}
			}
		})
	}
}

func TestRefuses(t *testing.T) {
	ctx := context.Background()
	b := memkv.New(memkv.Options{})
	defer b.Close()
	kek := bytes.Repeat([]byte{7}, KEKSize)
	one, _, err := open(t, b, kek).Generate(ctx, keys.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, b, nil).Signer(ctx, one); !errors.Is(err, fault.Unavailable) {
		t.Errorf("without the sealing key: %v", err)
	}
	if _, err := open(t, b, bytes.Repeat([]byte{8}, KEKSize)).Signer(ctx, one); !errors.Is(err, fault.Untrusted) {
		t.Errorf("with another sealing key: %v", err)
	}
	// A sealed value moved under another id does not open: the id is bound in.
	two := strings.Repeat("ab", 16)
	op := backend.Op{Type: backend.OpPut, Item: backend.Item{Key: prefix + two, Value: stored(t, b)[0].Value}}
	if _, err := b.Apply(ctx, op); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, b, kek).Signer(ctx, two); !errors.Is(err, fault.Untrusted) {
		t.Errorf("a moved key: %v", err)
	}
	if _, err := open(t, b, kek).Signer(ctx, strings.Repeat("cd", 16)); !errors.Is(err, fault.NotFound) {
		t.Errorf("a missing key: %v", err)
	}
	for _, id := range []string{"", "../users/root", "AB", strings.Repeat("AB", 16)} {
		if _, err := open(t, b, kek).Signer(ctx, id); !errors.Is(err, fault.Invalid) {
			t.Errorf("id %q: %v", id, err)
		}
	}
	if _, err := New(b, []byte("short")); err == nil {
		t.Error("a short sealing key is accepted")
	}
}

// TestSeals: a sealed secret opens under its name and its key alone, and is no CA key.
func TestSeals(t *testing.T) {
	ctx := context.Background()
	b := memkv.New(memkv.Options{})
	defer b.Close()
	kek := bytes.Repeat([]byte{7}, KEKSize)
	k := open(t, b, kek)
	sealed, err := k.Seal(ctx, "name", []byte("a secret"))
	if err != nil || bytes.Contains(sealed, []byte("secret")) {
		t.Fatalf("%q, %v", sealed, err)
	}
	if got, err := k.Unseal(ctx, "name", sealed); err != nil || string(got) != "a secret" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := k.Unseal(ctx, "other", sealed); !errors.Is(err, fault.Untrusted) {
		t.Errorf("another name: %v", err)
	}
	if _, err := open(t, b, bytes.Repeat([]byte{8}, KEKSize)).Unseal(ctx, "name", sealed); !errors.Is(err, fault.Untrusted) {
		t.Errorf("another key: %v", err)
	}
	if _, err := open(t, b, nil).Unseal(ctx, "name", sealed); !errors.Is(err, fault.Unavailable) {
		t.Errorf("no key: %v", err)
	}
	id, _, err := k.Generate(ctx, keys.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unseal(ctx, id, stored(t, b)[0].Value); !errors.Is(err, fault.Untrusted) {
		t.Errorf("a CA key as a secret: %v", err)
	}
}

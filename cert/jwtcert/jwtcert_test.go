package jwtcert

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"teleport/cert/certtest"
	"teleport/types"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func claims() Claims {
	return Claims{
		Issuer: "example.com", Subject: "alice", Audience: "https://wiki.example.com", Roles: []string{"access"},
		Traits: map[string][]string{"team": {"red"}}, IssuedAt: now, Expires: now.Add(time.Hour),
	}
}

func TestRoundTrip(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	token, err := Sign(claims(), w.JWT)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(token, w.Trust, "example.com", "https://wiki.example.com", now)
	if err != nil || !reflect.DeepEqual(got, claims()) {
		t.Fatalf("%+v, %v", got, err)
	}
	other := certtest.New(t, "example.com", now)
	refused := map[string]func() (Claims, error){
		"expired": func() (Claims, error) {
			return Verify(token, w.Trust, "example.com", claims().Audience, now.Add(2*time.Hour))
		},
		"not yet valid": func() (Claims, error) {
			return Verify(token, w.Trust, "example.com", claims().Audience, now.Add(-time.Hour))
		},
		"other audience": func() (Claims, error) { return Verify(token, w.Trust, "example.com", "https://bank.example.com", now) },
		"no audience":    func() (Claims, error) { return Verify(token, w.Trust, "example.com", "", now) },
		"other cluster":  func() (Claims, error) { return Verify(token, w.Trust, "leaf.com", claims().Audience, now) },
		"other CA":       func() (Claims, error) { return Verify(token, other.Trust, "example.com", claims().Audience, now) },
		"no trust":       func() (Claims, error) { return Verify(token, nil, "example.com", claims().Audience, now) },
		"cut": func() (Claims, error) {
			return Verify(token[:len(token)-4], w.Trust, "example.com", claims().Audience, now)
		},
		"algorithm none":   func() (Claims, error) { return Verify(none(token), w.Trust, "example.com", claims().Audience, now) },
		"signed by TLS CA": func() (Claims, error) { return verifySignedBy(t, w) },
	}
	for name, f := range refused {
		if c, err := f(); err == nil {
			t.Errorf("%s: accepted as %+v", name, c)
		}
	}
}

func none(token string) string {
	parts := strings.Split(token, ".")
	return "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + parts[1] + "."
}

func verifySignedBy(t *testing.T, w *certtest.World) (Claims, error) {
	token, err := Sign(claims(), w.TLS[types.CAUser])
	if err != nil {
		t.Fatal(err)
	}
	return Verify(token, w.Trust, "example.com", claims().Audience, now)
}

func TestSignRefuses(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	for name, f := range map[string]func(*Claims){
		"no subject": func(c *Claims) { c.Subject = "" }, "no audience": func(c *Claims) { c.Audience = "" }, "no issuer": func(c *Claims) { c.Issuer = "" },
		"expired": func(c *Claims) { c.Expires = c.IssuedAt }, "for a month": func(c *Claims) { c.Expires = now.Add(720 * time.Hour) },
	} {
		c := claims()
		f(&c)
		if _, err := Sign(c, w.JWT); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

func TestKeySet(t *testing.T) {
	w := certtest.New(t, "example.com", now)
	b, err := KeySet(w.Trust, "example.com")
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(b, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%s, %v", b, err)
	}
	if k := set.Keys[0]; k["alg"] != "ES256" || k["kid"] == "" || k["d"] != "" {
		t.Errorf("%v", k)
	}
	if b, err := KeySet(w.Trust, "nobody"); err != nil || string(b) != `{"keys":[]}` {
		t.Errorf("%s, %v", b, err)
	}
}

func FuzzVerify(f *testing.F) {
	w := certtest.New(f, "example.com", now)
	token, err := Sign(claims(), w.JWT)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Verify(s, w.Trust, "example.com", claims().Audience, now)
		if err == nil && !reflect.DeepEqual(c, claims()) {
			t.Fatalf("%q verifies as %+v", s, c)
		}
	})
}

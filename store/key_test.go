package store

import (
	"testing"

	"teleport/backend"
)

func TestKey(t *testing.T) {
	for _, c := range [][4]string{
		{"role", "", "dev", "/role/dev"},
		{"cert_authority", "user", "example.com", "/cert_authority/user/example.com"},
		{"user", "", "a b/ä%", "/user/a%20b%2F%C3%A4%25"},
	} {
		if got := keyOf(c[0], c[1], c[2]); got != c[3] {
			t.Errorf("keyOf = %q, want %q", got, c[3])
		}
	}
	for _, k := range []string{"", "/", "/role", "/role/", "//x", "role/x", "/a/b/c/d", "/role/%2f", "/role/%61", "/role/%", "/role/a b", "/a//b"} {
		if _, _, _, ok := parseKey(k); ok {
			t.Errorf("parseKey(%q) was accepted", k)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("role", "", "dev", "/role/dev")
	f.Add("cert_authority", "user", "a b/%", "/user/%2F")
	f.Add("k", "s", "..", "/x/%zz/%")
	f.Fuzz(func(t *testing.T, kind, sub, name, key string) {
		if k, s, n, ok := parseKey(key); ok && (keyOf(k, s, n) != key || len(key) <= backend.MaxKey && backend.CheckKey(key) != nil) {
			t.Errorf("parseKey(%q) = %q, %q, %q", key, k, s, n)
		}
		if kind == "" || name == "" {
			return
		}
		if k, s, n, ok := parseKey(keyOf(kind, sub, name)); !ok || k != kind || s != sub || n != name {
			t.Errorf("%q, %q, %q came back as %q, %q, %q, %v", kind, sub, name, k, s, n, ok)
		}
	})
}

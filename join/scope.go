package join

import (
	"crypto/sha256"
	"encoding/hex"
	"path"

	"teleport/types"
)

// CoversName reports whether a scope admits a resource or host name. A nil scope,
// or one without names, admits every name.
func CoversName(s *types.JoinScope, name string) bool {
	if s == nil || len(s.Names) == 0 {
		return true
	}
	return matches(s.Names, name)
}

// Covers reports whether what a host wants to register lies in the scope of its
// identity: its name, and every label that the scope asks for. The registry runs
// it for each announcement.
func Covers(s *types.JoinScope, name string, labels map[string]string) bool {
	if !CoversName(s, name) {
		return false
	}
	if s == nil {
		return true
	}
	for key, globs := range s.Labels {
		v, ok := labels[key]
		if !ok || !matches(globs, v) {
			return false
		}
	}
	return true
}

// matches treats "/" like any other character, which path.Match does not.
func matches(globs []string, name string) bool {
	for _, g := range globs {
		if ok, err := path.Match(slashless(g), slashless(name)); err == nil && ok {
			return true
		}
	}
	return false
}

func slashless(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] == '/' {
			b[i] = 0
		}
	}
	return string(b)
}

// Mask names a secret token without telling it: the first characters of its hash,
// the same that a token resource shows as its prefix.
func Mask(secret types.Secret) string {
	sum := sha256.Sum256([]byte(secret.Reveal()))
	return hex.EncodeToString(sum[:])[:PrefixLen] + "…"
}

// PrefixLen is how many hex digits of a secret's hash people see.
const PrefixLen = 8

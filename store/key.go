package store

import (
	"strconv"
	"strings"

	"teleport/fault"
	"teleport/types"
)

// nameChars stand for themselves in keys; other bytes become %XX.
const nameChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@+=:-"

// keyOf is /<kind>/[sub_kind/]<name>.
func keyOf(kind, subKind, name string) string {
	if subKind == "" {
		return "/" + escape(kind) + "/" + escape(name)
	}
	return "/" + escape(kind) + "/" + escape(subKind) + "/" + escape(name)
}

// parseKey is the reverse of keyOf. It accepts the one form that keyOf writes.
func parseKey(key string) (kind, subKind, name string, ok bool) {
	parts := strings.Split(key, "/")
	if len(parts) < 3 || len(parts) > 4 || parts[0] != "" {
		return "", "", "", false
	}
	for i, p := range parts[1:] {
		s, ok := unescape(p)
		if !ok || s == "" {
			return "", "", "", false
		}
		parts[i+1] = s
	}
	kind, name = parts[1], parts[len(parts)-1]
	if len(parts) == 4 {
		subKind = parts[2]
	}
	return kind, subKind, name, keyOf(kind, subKind, name) == key
}

func escape(s string) string {
	if strings.Trim(s, nameChars) == "" {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(nameChars, s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[s[i]>>4])
			b.WriteByte(hex[s[i]&15])
		}
	}
	return b.String()
}

func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+3 > len(s) {
			return "", false
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), true
}

// keySubKind is the sub kind as it takes part in keys: an authority is named by
// its type and its cluster; elsewhere the sub kind is an attribute, and a name
// is unique among all of the kind.
func keySubKind(kind, subKind string) string {
	if kind == types.KindCertAuthority {
		return subKind
	}
	return ""
}

// FormatRevision is the text form of a revision, as metadata.revision has it.
func FormatRevision(rev uint64) string { return strconv.FormatUint(rev, 16) }

// parseRevision reads what FormatRevision wrote.
func parseRevision(s string) (uint64, error) {
	rev, err := strconv.ParseUint(s, 16, 64)
	if err != nil || FormatRevision(rev) != s || rev == 0 {
		return 0, fault.New(fault.Invalid, "metadata.revision is not one that this cluster gave out").
			WithHint("read the document again and repeat the change")
	}
	return rev, nil
}

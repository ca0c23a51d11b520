package types

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"teleport/fault"
)

// Limits of names at the edge, in bytes.
const (
	MaxName       = 128
	MaxHostname   = 255
	MaxLogin      = 104
	MaxLabelKey   = 256
	MaxLabelValue = 2048
	MaxLabels     = 256
	maxText       = 4096 // descriptions, messages
	maxListLen    = 4096 // entries of one list
)

const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// CheckName checks the name of a user, role, token or other resource: ASCII
// letters, digits and ._@+=:- , at most 128 bytes, not starting with "-" or ".".
func CheckName(what, s string) error {
	return checkChars(what, s, alnum+"._@+=:-", MaxName)
}

// CheckLogin checks an OS login. Besides the characters of names it may hold "\"
// and "$", as domain members have them.
func CheckLogin(s string) error { return checkChars("login", s, alnum+`._@+-\$`, MaxLogin) }

// CheckHostname checks a host name: ASCII letters, digits, "-", "_" and ".", at most 255 bytes.
func CheckHostname(s string) error { return checkChars("host name", s, alnum+"._-", MaxHostname) }

func checkChars(what, s, chars string, limit int) error {
	switch {
	case s == "":
		return fault.New(fault.Invalid, "%s is empty", what)
	case len(s) > limit:
		return fault.New(fault.Invalid, "%s is longer than %d characters", what, limit)
	case s[0] == '-' || s[0] == '.':
		return fault.New(fault.Invalid, "%s %q must not start with %q", what, s, s[:1])
	}
	for _, c := range s {
		if !strings.ContainsRune(chars, c) {
			return fault.New(fault.Invalid, "%s %q must not hold %q", what, s, c)
		}
	}
	return nil
}

// CheckLabel checks one label of a resource: a key of letters, digits, spaces
// and ._:/=+-@ that does not start with "-", and a printable value.
func CheckLabel(key, value string) error {
	switch {
	case key == "" || len(key) > MaxLabelKey:
		return fault.New(fault.Invalid, "label key is empty or longer than %d bytes", MaxLabelKey)
	case key[0] == '-' || strings.TrimSpace(key) != key:
		return fault.New(fault.Invalid, "label key %q must not start with \"-\", nor start or end with a space", key)
	case len(value) > MaxLabelValue:
		return fault.New(fault.Invalid, "value of label %q is longer than %d bytes", key, MaxLabelValue)
	}
	for _, c := range key {
		if c > unicode.MaxASCII && !unicode.IsLetter(c) && !unicode.IsDigit(c) || c <= unicode.MaxASCII && !strings.ContainsRune(alnum+" ._:/=+-@", c) {
			return fault.New(fault.Invalid, "label key %q must not hold %q", key, c)
		}
	}
	if !printable(value) {
		return fault.New(fault.Invalid, "value of label %q holds a control character", key)
	}
	return nil
}

// printable reports whether s is valid UTF-8 without control characters, and
// without the format characters that reorder or hide text.
func printable(s string) bool { return clean(s, "") }

// printableText is printable for texts that may hold line breaks and tabs.
func printableText(s string) bool { return clean(s, "\n\t") }

func clean(s, except string) bool {
	for i, c := range s {
		switch {
		case c >= ' ' && c < 0x7f:
		case c == utf8.RuneError:
			if !strings.HasPrefix(s[i:], "\uFFFD") {
				return false
			}
		case strings.ContainsRune(except, c):
		case unicode.IsControl(c), unicode.Is(unicode.Cf, c), c == '\u2028', c == '\u2029':
			return false
		}
	}
	return true
}

// checkText checks free text: it may hold line breaks and tabs.
func checkText(path, s string) error {
	if len(s) > maxText {
		return fieldFault(path, "is longer than %d bytes", maxText)
	}
	if !printableText(s) {
		return fieldFault(path, "holds a control character")
	}
	return nil
}

// at puts a field path before the message of an error.
func at(path string, err error) error {
	if err == nil {
		return nil
	}
	return fieldFault(path, "%s", fault.Message(err))
}

// oneOf checks a closed list; "" passes.
func oneOf(path, s string, allowed ...string) error {
	if s == "" {
		return nil
	}
	for _, a := range allowed {
		if s == a {
			return nil
		}
	}
	err := fieldFault(path, "%q is not one of: %s", s, strings.Join(allowed, ", "))
	if near := Nearest(s, allowed); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	return err
}

// firstErr returns the first error there is.
func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

package types

import (
	"encoding/json"
	"log/slog"
	"time"

	"teleport/fault"
)

// Duration is a time.Duration whose text form is Go's ("1h30m", "5m"). In JSON
// it is a string; a bare number is refused, as its unit would be a guess.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText accepts Go's duration syntax, and "never" or "" for zero.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "" || s == "never" {
		*d = 0
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fault.New(fault.Invalid, "%q is not a duration: write it like 30m or 12h", s)
	}
	*d = Duration(v)
	return nil
}

// Std returns the standard library's form.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// Secret is a string that does not print: fmt, slog and encoding/json show
// "***". Whoever needs the bytes calls Reveal, which is easy to grep for.
type Secret struct{ s string }

// NewSecret wraps s.
func NewSecret(s string) Secret { return Secret{s} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return s.s }

// Empty reports whether there is no secret.
func (s Secret) Empty() bool { return s.s == "" }

// String implements fmt.Stringer without the secret.
func (s Secret) String() string { return "***" }

// GoString implements fmt.GoStringer without the secret.
func (s Secret) GoString() string { return "types.Secret(***)" }

// LogValue implements slog.LogValuer without the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue("***") }

// MarshalJSON writes "***"; kinds that store secrets have a wire struct of their own.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal("***") }

// UnmarshalJSON reads a secret from input.
func (s *Secret) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &s.s) }

// Bool is a boolean option with a third state, "not said", so that merging
// roles can tell a default from a decision. JSON true/false; also yes/no.
type Bool = *bool

package dbaccess

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"teleport/types/event"
)

func TestStatementsAreCutAndNamed(t *testing.T) {
	named := func(text, whole string) event.Statement {
		sum := sha256.Sum256([]byte(whole))
		return event.Statement{Text: text, Bytes: len(whole), SHA256: hex.EncodeToString(sum[:])}
	}
	most := strings.Repeat("x", maxStatement)
	for name, c := range map[string]struct {
		parts []string
		want  event.Statement
	}{
		"nothing":                  {nil, event.Statement{}},
		"short":                    {[]string{"select 1"}, event.Statement{Text: "select 1"}},
		"in parts":                 {[]string{"sel", "ect", " 1"}, event.Statement{Text: "select 1"}},
		"the longest":              {[]string{most}, event.Statement{Text: most}},
		"longer":                   {[]string{most + "y"}, named(most, most+"y")},
		"longer in parts":          {[]string{most[1:], "yy", "z"}, named(most[1:]+"y", most[1:]+"yyz")},
		"cut between characters":   {[]string{most[1:] + "ü"}, named(most[1:], most[1:]+"ü")},
		"cut after a character":    {[]string{most[2:] + "üü"}, named(most[2:]+"ü", most[2:]+"üü")},
		"another encoding":         {[]string{"select '\xe4'"}, named(`select '\xe4'`, "select '\xe4'")},
		"a character in two parts": {[]string{"\xc3", "\xbc"}, event.Statement{Text: "ü"}},
		"the sign of a bad one":    {[]string{"\uFFFD"}, event.Statement{Text: "\uFFFD"}},
	} {
		var s Statement
		for _, p := range c.parts {
			s.Add([]byte(p))
		}
		if got := s.Event(); got != c.want {
			t.Errorf("%s: %.80q (%d of %d bytes, %s)", name, got.Text, len(got.Text), got.Bytes, got.SHA256)
		}
		if got := StatementOf([]byte(strings.Join(c.parts, ""))); got != c.want {
			t.Errorf("%s, at once: %.80q (%d of %d bytes, %s)", name, got.Text, len(got.Text), got.Bytes, got.SHA256)
		}
	}
}

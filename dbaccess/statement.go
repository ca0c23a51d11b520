package dbaccess

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"unicode/utf8"

	"teleport/types/event"
)

const (
	maxPayload   = 256      // bytes of a message that could not be read
	maxStatement = 32 << 10 // bytes of a statement that an event holds
)

// Statement takes the text of one statement in parts, and makes of it what an
// event holds. The zero value is empty. Use it from one goroutine.
type Statement struct {
	head []byte
	size int
	sum  hash.Hash
}

// Add adds a part. It does not keep b.
func (s *Statement) Add(b []byte) {
	s.size += len(b)
	if s.sum == nil {
		if s.size <= maxStatement {
			s.head = append(s.head, b...)
			return
		}
		s.sum = sha256.New()
		s.sum.Write(s.head)
	}
	s.sum.Write(b)
	if room := maxStatement - len(s.head); room > 0 {
		s.head = append(s.head, b[:min(room, len(b))]...)
	}
}

// Event returns what an event holds. A long statement is cut between two
// characters, and bytes that are not of UTF-8 are written as \xNN; it is then
// named by its length and hash too.
func (s *Statement) Event() event.Statement {
	text := s.head
	if s.sum != nil {
		text = wholeCharacters(text)
	}
	out := event.Statement{Text: string(text)}
	if !utf8.ValidString(out.Text) {
		out.Text = escaped(out.Text)
		if s.sum == nil {
			s.sum = sha256.New()
			s.sum.Write(s.head)
		}
	}
	if s.sum != nil {
		out.Bytes, out.SHA256 = s.size, hex.EncodeToString(s.sum.Sum(nil))
	}
	return out
}

// StatementOf makes an event's statement of a whole text.
func StatementOf(text []byte) event.Statement {
	if len(text) <= maxStatement && utf8.Valid(text) {
		return event.Statement{Text: string(text)}
	}
	var s Statement
	s.Add(text)
	return s.Event()
}

// wholeCharacters cuts the beginning of a character off the end.
func wholeCharacters(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

func escaped(s string) string {
	var b strings.Builder
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			fmt.Fprintf(&b, `\x%02x`, s[i])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Malformed is the event of a message that an engine refuses: its beginning, and
// why.
func Malformed(b []byte, why string) *event.DBMalformed {
	return &event.DBMalformed{Payload: hex.EncodeToString(b[:min(len(b), maxPayload)]), Reason: why}
}

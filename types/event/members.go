package event

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Fields calls each with the members of an event's JSON: keys without their quotes,
// values as they stand there. It reports false where the JSON is not as this
// package writes it, or each does so; then encoding/json has to say what it is.
func Fields(text []byte, each func(key, value []byte) bool) bool {
	m := members{rest: text}
	for m.next(); !m.ended; m.next() {
		if !each(m.key[1:len(m.key)-1], m.value()) {
			return false
		}
	}
	return !m.odd
}

// Text is the string that a value of Fields is; false for any other value.
func Text(value []byte) (s string, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(value, '\\') < 0 && utf8.Valid(value) {
		return string(value[1 : len(value)-1]), true
	}
	return s, json.Unmarshal(value, &s) == nil
}

// members walks an object without spaces, whose keys are in order, are in it once and
// have no escapes. All others are odd. What it has walked through is valid JSON.
type members struct {
	rest   []byte // behind the last member
	key    []byte // with its quotes
	member []byte // key, colon and value
	begun  bool
	ended  bool
	odd    bool // not as this package writes it
}

func (m *members) next() {
	before, opening := m.key, byte(',')
	if !m.begun {
		m.begun, opening = true, '{'
	}
	m.key, m.member = nil, nil
	if string(m.rest) == "}" && opening == ',' || string(m.rest) == "{}" && opening == '{' {
		m.ended = true
		return
	}
	m.odd, m.ended = true, true
	if len(m.rest) < 2 || m.rest[0] != opening {
		return
	}
	body := m.rest[1:]
	colon := stringEnd(body, 0)
	if colon < 0 || colon >= len(body) || body[colon] != ':' || bytes.IndexByte(body[:colon], '\\') >= 0 || bytes.Compare(before, body[:colon]) >= 0 {
		return
	}
	end := valueEnd(body, colon+1, deepest)
	if end < 0 {
		return
	}
	m.odd, m.ended = false, false
	m.key, m.member, m.rest = body[:colon], body[:end], body[end:]
}

func (m *members) value() []byte { return m.member[len(m.key)+1:] }

// isPlain reports whether b is an object as this package writes it.
func isPlain(b []byte) bool {
	m := members{rest: b}
	for m.next(); !m.ended; m.next() {
	}
	return !m.odd
}

// deepest is how deep values are walked into. No event of the catalogue is nested so.
const deepest = 16

// valueEnd is where the value ends that begins at i; -1 where there is none, or one
// with spaces or deeper than that.
func valueEnd(b []byte, i, depth int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		return listEnd(b, i, depth)
	case 't':
		return wordEnd(b, i, "true")
	case 'f':
		return wordEnd(b, i, "false")
	case 'n':
		return wordEnd(b, i, "null")
	}
	return numberEnd(b, i)
}

// listEnd is where the object or array ends that begins at i.
func listEnd(b []byte, i, depth int) int {
	object, closing := b[i] == '{', b[i]+2 // which is the other bracket, of both kinds
	if i++; depth == 0 {
		return -1
	}
	if i < len(b) && b[i] == closing {
		return i + 1
	}
	for i < len(b) {
		if object {
			if i = stringEnd(b, i); i < 0 || i >= len(b) || b[i] != ':' {
				return -1
			}
			i++
		}
		if i = valueEnd(b, i, depth-1); i < 0 || i >= len(b) {
			return -1
		}
		switch b[i] {
		case closing:
			return i + 1
		case ',':
			i++
		default:
			return -1
		}
	}
	return -1
}

func wordEnd(b []byte, i int, word string) int {
	if len(b)-i < len(word) || string(b[i:i+len(word)]) != word {
		return -1
	}
	return i + len(word)
}

// stringEnd is where the string ends that begins at i.
func stringEnd(b []byte, i int) int {
	if i >= len(b) || b[i] != '"' {
		return -1
	}
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return -1
		case c == '\\':
			if i = escapeEnd(b, i) - 1; i < 0 {
				return -1
			}
		}
	}
	return -1
}

// escapeEnd is where the escape ends that begins at i; -1 for none.
func escapeEnd(b []byte, i int) int {
	if i+1 >= len(b) {
		return -1
	}
	switch b[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		for n := range 4 {
			if i+2+n >= len(b) || !isHex(b[i+2+n]) {
				return -1
			}
		}
		return i + 6
	}
	return -1
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// numberEnd is where the number ends that begins at i.
func numberEnd(b []byte, i int) int {
	if i < len(b) && b[i] == '-' {
		i++
	}
	from := i
	if i = digitsEnd(b, i); i < 0 || b[from] == '0' && i > from+1 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		if i = digitsEnd(b, i+1); i < 0 {
			return -1
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		return digitsEnd(b, i)
	}
	return i
}

// digitsEnd is where at least one digit ends.
func digitsEnd(b []byte, i int) int {
	from := i
	for i < len(b) && '0' <= b[i] && b[i] <= '9' {
		i++
	}
	if i == from {
		return -1
	}
	return i
}

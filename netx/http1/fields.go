package http1

import (
	"net/textproto"
	"strings"
)

// set is a set of ASCII bytes.
type set [4]uint64

func setOf(bytes string) (s set) {
	for _, b := range []byte(bytes) {
		s[b/64] |= 1 << (b % 64)
	}
	return s
}

func (s *set) has(b byte) bool { return s[b/64]&(1<<(b%64)) != 0 }

const alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

var (
	tokenBytes = setOf(alphanumeric + "!#$%&'*+-.^_`|~")     // RFC 9110 §5.6.2
	hostBytes  = setOf(alphanumeric + "!$%&'()*+,-.:;=[]_~") // RFC 3986 §3.2.2, with a port
)

func all(text string, s *set) bool {
	for i := range len(text) {
		if !s.has(text[i]) {
			return false
		}
	}
	return true
}

func isToken(text string) bool { return text != "" && all(text, &tokenBytes) }

// isValue reports whether a text may be the value of a field: it has no control
// character but tabs (RFC 9110 §5.5). Each value is looked at when it comes and when it
// goes on, so eight bytes are looked at together.
func isValue(text string) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	for len(text) >= 8 {
		x := uint64(text[0]) | uint64(text[1])<<8 | uint64(text[2])<<16 | uint64(text[3])<<24 |
			uint64(text[4])<<32 | uint64(text[5])<<40 | uint64(text[6])<<48 | uint64(text[7])<<56
		del := x ^ 0x7f*ones
		if ((x-' '*ones)&^x|(del-ones)&^del)&high != 0 && !plain(text[:8]) { // below a space, or DEL
			return false
		}
		text = text[8:]
	}
	return plain(text)
}

func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// hasToken reports whether a list over some lines names a token.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(textproto.TrimString(t), token) {
				return true
			}
		}
	}
	return false
}

// framing are the fields that come before a body or not at all (RFC 9110 §6.5.1).
var framing = map[string]bool{"Authorization": true, "Cache-Control": true, "Connection": true, "Content-Encoding": true, "Content-Length": true,
	"Content-Range": true, "Content-Type": true, "Cookie": true, "Expect": true, "Host": true, "Keep-Alive": true, "Max-Forwards": true, "Pragma": true,
	"Proxy-Authenticate": true, "Proxy-Authorization": true, "Proxy-Connection": true, "Range": true, "Realm": true, "Set-Cookie": true, "Te": true,
	"Trailer": true, "Transfer-Encoding": true, "Www-Authenticate": true}

// trails reports whether a field may come after a body.
func trails(name string) bool {
	return !framing[name] && !strings.HasPrefix(name, "If-") && isToken(name)
}

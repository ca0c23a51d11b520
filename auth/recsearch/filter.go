package recsearch

import (
	"encoding/binary"
	"math/bits"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// filter is a set of the trigrams of a text, folded to lower case, that may say
// yes too often and never no: one bit for each, found by a hash.
type filter []byte

const filterBytes = 128 << 10

func newFilter() filter { return make(filter, filterBytes) }

// filters are used again: a short recording would else cost as much memory as a
// long one.
var filters = sync.Pool{New: func() any {
	f := newFilter()
	return &f
}}

func (f filter) add(text string) {
	trigrams(text, func(h uint32) bool {
		h %= uint32(len(f) * 8)
		f[h/8] |= 1 << (h % 8)
		return true
	})
}

// may tells whether a text that contains this one may have been added.
func (f filter) may(text string) bool {
	n := len(f)
	if n == 0 || n > filterBytes || n&(n-1) != 0 {
		return true
	}
	found := true
	trigrams(text, func(h uint32) bool {
		h %= uint32(n * 8)
		found = f[h/8]&(1<<(h%8)) != 0
		return found
	})
	return found
}

// fold makes a filter smaller as long as few of its bits are set. It works in f.
func (f filter) fold() filter {
	for len(f) > 64 {
		set := 0
		for at := 0; at < len(f); at += 8 {
			set += bits.OnesCount64(binary.LittleEndian.Uint64(f[at:]))
		}
		if set > len(f) { // an eighth of the bits
			break
		}
		half, rest := f[:len(f)/2], f[len(f)/2:]
		for at := 0; at < len(half); at += 8 {
			binary.LittleEndian.PutUint64(half[at:], binary.LittleEndian.Uint64(half[at:])|binary.LittleEndian.Uint64(rest[at:]))
		}
		f = half
	}
	return f
}

func trigrams(text string, each func(hash uint32) bool) {
	var a, b rune
	n := 0
	for _, c := range text {
		c = unicode.ToLower(c)
		if n++; n >= 3 {
			h := uint32(a)*0x9e3779b1 ^ uint32(b)*0x85ebca77 ^ uint32(c)*0xc2b2ae3d
			h ^= h >> 15
			if h *= 0x2c1b3c6d; !each(h ^ h>>13) {
				return
			}
		}
		a, b = b, c
	}
}

// matcher finds a text. Without capitals in it, it does not tell them apart.
type matcher struct {
	text  string
	exact bool
}

func newMatcher(text string) matcher {
	return matcher{text, strings.ContainsFunc(text, unicode.IsUpper)}
}

// find returns the byte where the text begins in a line, -1 where it is not.
func (m matcher) find(line string) int {
	if m.exact {
		return strings.Index(line, m.text)
	}
	for i := range line {
		if m.at(line[i:]) {
			return i
		}
	}
	return -1
}

func (m matcher) at(s string) bool {
	for _, want := range m.text {
		r, n := utf8.DecodeRuneInString(s)
		if n == 0 || unicode.ToLower(r) != unicode.ToLower(want) {
			return false
		}
		s = s[n:]
	}
	return true
}

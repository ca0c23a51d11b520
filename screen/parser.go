package screen

import "unicode/utf8"

type state byte

const (
	ground  state = iota
	escape        // after ESC
	inter         // ESC and an intermediate
	control       // CSI
	text          // OSC, DCS, APC, PM, SOS or a title: skipped until its end
)

// maxSequence bounds an escape sequence; the rest of a longer one is skipped.
const maxSequence = 256

// parser is what is left of bytes that end in the middle of something.
type parser struct {
	state state
	raw   []byte // of the sequence under way: what would bring a parser here
	held  []byte // of a character under way
}

// Write shows bytes. It never fails, and the same bytes give the same screen
// however they are split.
func (s *Screen) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if s.parser.state != ground {
			s.step(p[0])
			p = p[1:]
			continue
		}
		if len(s.parser.held) == 0 {
			if k := printable(p); k > 0 {
				s.printASCII(p[:k])
				p = p[k:]
				continue
			}
			if r, size := utf8.DecodeRune(p); size > 1 {
				s.print(r)
				p = p[size:]
				continue
			}
		}
		s.single(p[0])
		p = p[1:]
	}
	return n, nil
}

func printable(p []byte) int {
	for i, b := range p {
		if b < 0x20 || b > 0x7e {
			return i
		}
	}
	return len(p)
}

// single takes one byte of text: a control, or a part of a character.
func (s *Screen) single(b byte) {
	h := append(s.parser.held, b)
	s.parser.held = h[:0]
	switch {
	case len(h) == 1 && b < utf8.RuneSelf:
		s.command(b)
	case !utf8.FullRune(h):
		s.parser.held = h
	default:
		r, size := utf8.DecodeRune(h)
		s.print(r)
		if r == utf8.RuneError && size == 1 && len(h) > 1 {
			if b < 0x20 || b >= 0x7f {
				s.single(b)
			} else {
				s.printASCII([]byte{b})
			}
		}
	}
}

// command carries out a control character.
func (s *Screen) command(b byte) {
	switch b {
	case '\b':
		s.moveTo(s.cursor.x-1, s.cursor.y)
	case '\t':
		s.tab(1)
	case '\n', '\v', '\f':
		s.lineFeed()
	case '\r':
		s.moveTo(0, s.cursor.y)
	case 0x0e:
		s.cursor.shift = 1
	case 0x0f:
		s.cursor.shift = 0
	case 0x1b:
		s.begin()
	}
}

func (s *Screen) begin() {
	s.parser.state, s.parser.raw = escape, append(s.parser.raw[:0], 0x1b)
}

// step takes one byte of an escape sequence.
func (s *Screen) step(b byte) {
	p := &s.parser
	switch {
	case b == 0x18 || b == 0x1a: // CAN, SUB
		p.state = ground
		return
	case p.state == text:
		s.skip(b)
		return
	case b == 0x1b:
		s.begin()
		return
	case b < 0x20:
		s.command(b)
		return
	case b >= 0x7f:
		return
	}
	switch p.state {
	case escape:
		s.escaped(b)
	case inter:
		if p.raw = append(p.raw, b); b >= 0x30 || len(p.raw) > maxSequence {
			p.state = ground
			s.designate(p.raw[1], b)
		}
	case control:
		if b >= 0x40 {
			p.state = ground
			if len(p.raw) < maxSequence {
				s.control(parse(p.raw[2:], b))
			}
		} else if len(p.raw) < maxSequence {
			p.raw = append(p.raw, b)
		}
	}
}

// skip passes over the text of a string. It ends with BEL or ESC \; another
// escape cuts it off.
func (s *Screen) skip(b byte) {
	p := &s.parser
	switch ended := len(p.raw) > 2; {
	case b == 0x07:
		p.state = ground
	case ended && b == '\\':
		p.state = ground
	case b == 0x1b:
		p.raw = append(p.raw[:2], 0x1b)
	case ended:
		s.begin()
		s.step(b)
	}
}

func (s *Screen) escaped(b byte) {
	p := &s.parser
	p.state = ground
	switch {
	case b == '[':
		p.state, p.raw = control, append(p.raw, b)
	case b == ']' || b == 'P' || b == '_' || b == '^' || b == 'X' || b == 'k':
		p.state, p.raw = text, append(p.raw, b)
	case b < 0x30:
		p.state, p.raw = inter, append(p.raw, b)
	default:
		s.simple(b)
	}
}

// simple carries out a sequence of ESC and one byte.
func (s *Screen) simple(b byte) {
	switch b {
	case '7':
		s.cur.saved = s.cursor
	case '8':
		s.restore()
	case 'D':
		s.index()
	case 'E':
		s.moveTo(0, s.cursor.y)
		s.index()
	case 'H':
		s.tabs[s.cursor.x] = true
	case 'M':
		s.reverseIndex()
	case 'c':
		s.reset()
	}
}

// designate carries out ESC with an intermediate: the sets of letters, and the
// test picture.
func (s *Screen) designate(intermediate, b byte) {
	switch {
	case intermediate == '(':
		s.cursor.sets[0] = b == '0'
	case intermediate == ')':
		s.cursor.sets[1] = b == '0'
	case intermediate == '#' && b == '8':
		s.testPicture()
	}
}

func (s *Screen) testPicture() {
	s.top, s.bottom, s.cursor.origin = 0, s.rows-1, false
	s.moveTo(0, 0)
	for y, r := range s.cur.rows {
		s.erase(y, 0, s.cols)
		for x := range r.cells {
			r.cells[x] = cell{ch: 'E'}
		}
		r.used, r.dirty = s.cols, true
	}
}

// sequence is a control sequence (CSI), taken apart.
type sequence struct {
	private byte // '?', '>', '<', '=' or 0
	inter   byte // the last intermediate, or 0
	final   byte
	n       int
	values  [32]int
	sub     [32]bool // it belongs to the value before it, by a colon
}

const maxValue = 1 << 16

func parse(raw []byte, final byte) sequence {
	q := sequence{final: final}
	if len(raw) > 0 && raw[0] >= '<' {
		q.private, raw = raw[0], raw[1:]
	}
	for _, b := range raw {
		switch {
		case b >= '0' && b <= '9':
			q.n = max(q.n, 1)
			v := &q.values[q.n-1]
			*v = min(*v*10+int(b-'0'), maxValue)
		case b == ';' || b == ':':
			q.n = max(q.n, 1)
			if q.n == len(q.values) {
				return q
			}
			q.n++
			q.sub[q.n-1] = b == ':'
		case b < 0x30:
			q.inter = b
		}
	}
	return q
}

// arg returns a value, or another where it is absent or 0.
func (q *sequence) arg(i, absent int) int {
	if i < q.n && q.values[i] > 0 {
		return q.values[i]
	}
	return absent
}

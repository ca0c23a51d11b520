package screen

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"
)

// Line is a line of text that was on the screen, wrapped rows joined.
type Line struct {
	At      time.Duration // when all of it was on the screen
	Row     int           // where it begins, from 0 on; negative: that much above the top
	Columns int           // width of the screen, at which it wraps
	Alt     bool          // on the alternate screen
	Text    []byte
}

// watch is what is needed to tell which lines were shown.
//
// A row is dirty from its first letter on until somebody looked: at the end of
// each record (Settle), or before its text goes away in the middle of one. What
// was seen is held back while the line only grows, as it does when somebody types.
type watch struct {
	f       func(Line)
	at      time.Duration
	moves   uint32 // counts moves of the cursor that are not those of writing
	scratch []byte
}

// Bounds of the part of a line that scrolled off before its end came.
const (
	maxAbove  = 4096
	keepAbove = 256
)

func (g *grid) dropAbove() { g.above, g.aboveDirty, g.aboveRows = g.above[:0], false, 0 }

// Settle says that the screen is seen as it is now.
func (s *Screen) Settle() {
	if s.watch.f == nil {
		return
	}
	if s.cur.aboveDirty {
		s.cur.rows[0].dirty = true
	}
	for y, r := range s.cur.rows {
		if r.dirty {
			s.capture(s.cur, s.cur.start(y))
		}
	}
}

// Flush reports all lines that are still held back. The screen stays as it is.
func (s *Screen) Flush() {
	s.Settle()
	for _, g := range []*grid{s.main, s.alt} {
		for _, r := range g.rows {
			s.report(g, r)
		}
	}
}

// look notes what a row shows before a part of it goes away.
func (s *Screen) look(y int) {
	if s.watch.f != nil && s.cur.rows[y].dirty {
		s.capture(s.cur, s.cur.start(y))
	}
}

// leave reports what a row showed before all of it goes away.
func (s *Screen) leave(g *grid, y int) {
	if s.watch.f == nil {
		return
	}
	r := g.rows[y]
	if r.dirty {
		s.capture(g, g.start(y))
	}
	s.report(g, r)
}

func (s *Screen) leaveAll(g *grid) {
	for y := range g.rows {
		s.leave(g, y)
	}
	g.dropAbove()
}

// scrollOff reports a row before it leaves over the top, with those above it. A
// line that goes on below waits for its end, within bounds.
func (s *Screen) scrollOff(g *grid, y int) {
	r := g.rows[y]
	defer func() { r.wrapped = false }() // what follows belongs to above
	if s.watch.f == nil {
		return
	}
	if !r.wrapped && !r.dirty && !g.aboveDirty || !r.wrapped && r.seen != "" {
		s.leave(g, y)
		g.dropAbove()
		return
	}
	g.above = s.appendText(g.above, r, r.wrapped)
	g.aboveDirty = g.aboveDirty || r.dirty
	g.aboveRows++
	if !r.wrapped || len(g.above) > maxAbove {
		if g.aboveDirty {
			s.tell(g, Line{At: s.watch.at, Row: 1 - g.aboveRows, Text: g.above})
		}
		if !r.wrapped {
			g.dropAbove()
		} else {
			n := len(g.above) - keepAbove
			for n < len(g.above) && !utf8.RuneStart(g.above[n]) {
				n++
			}
			g.above, g.aboveDirty = append(g.above[:0], g.above[n:]...), false
			g.aboveRows = 1 + keepAbove/s.cols
		}
	}
	s.report(g, r)
}

// capture looks at the line that begins in row y.
func (s *Screen) capture(g *grid, y int) {
	r := g.rows[y]
	first := y
	text := s.watch.scratch[:0]
	if y == 0 && len(g.above) > 0 {
		text, first = append(text, g.above...), -g.aboveRows
		g.aboveDirty = false
	}
	for ; y < len(g.rows); y++ {
		g.rows[y].dirty = false
		text = s.appendText(text, g.rows[y], g.rows[y].wrapped)
		if !g.rows[y].wrapped || len(text) > maxAbove {
			break
		}
	}
	s.watch.scratch = text
	text = trimBlanks(text)
	switch {
	case strings.HasPrefix(r.seen, string(text)):
		return // nothing new is there
	case !bytes.HasPrefix(text, []byte(r.seen)):
		s.report(g, r)
	}
	r.seen, r.seenT, r.seenY = string(text), s.watch.at, first
}

// report tells what was held back of a row.
func (s *Screen) report(g *grid, r *row) {
	if r.seen == "" {
		return
	}
	s.tell(g, Line{At: r.seenT, Row: r.seenY, Text: []byte(r.seen)})
	r.seen = ""
}

func (s *Screen) tell(g *grid, l Line) {
	if l.Text = trimBlanks(l.Text); len(l.Text) == 0 {
		return
	}
	l.Columns, l.Alt = s.cols, g == s.alt
	s.watch.f(l)
}

// appendText appends the text of a row; whole keeps the blanks at its end.
func (s *Screen) appendText(dst []byte, r *row, whole bool) []byte {
	cells := r.cells[:r.used]
	if whole {
		cells = r.cells
	}
	for i := range cells {
		c := &cells[i]
		switch {
		case c.ch == tail || c.ch == pad:
		case c.ch == 0 || c.style.attr&concealed != 0:
			dst = append(dst, ' ')
		case c.ch < utf8.RuneSelf:
			dst = append(dst, byte(c.ch))
		case c.ch >= combined:
			dst = append(dst, s.marks.text(c.ch)...)
		default:
			dst = utf8.AppendRune(dst, c.ch)
		}
	}
	return dst
}

func trimBlanks(b []byte) []byte { return bytes.TrimRight(b, " ") }

// Place finds the row and column, both from 1 on, of the byte at offset i of the
// line. Rows above the top count as the first.
func (l Line) Place(i int) (row, column int) {
	row, x := l.Row, 0
	for j := 0; j < len(l.Text); {
		r, n := utf8.DecodeRune(l.Text[j:])
		w := Width(r)
		if x+w > l.Columns && l.Columns > 0 {
			row, x = row+1, 0
		}
		if j+n > i {
			break
		}
		x += w
		j += n
	}
	return max(row, 0) + 1, x + 1
}

// interner keeps the texts of letters with marks: few in any script, and no
// more than it may.
type interner struct {
	texts  []string
	number map[string]rune
}

const maxMarks = 4096

func (m *interner) text(ch rune) string { return m.texts[ch-combined] }

// add returns the cell's letter with one more mark, or the letter as it was when
// there is no room.
func (m *interner) add(ch, mark rune) rune {
	text := string(ch)
	if ch >= combined {
		text = m.text(ch)
	}
	if text += string(mark); len(text) > 32 {
		return ch
	}
	if n, ok := m.number[text]; ok {
		return n
	}
	if len(m.texts) >= maxMarks {
		return ch
	}
	if m.number == nil {
		m.number = make(map[string]rune)
	}
	n := combined + rune(len(m.texts))
	m.texts, m.number[text] = append(m.texts, text), n
	return n
}

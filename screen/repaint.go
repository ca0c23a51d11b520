package screen

import (
	"strconv"
	"unicode/utf8"
)

// AppendRepaint appends what makes a terminal of the same size look and go on
// like this one: it may be followed by the bytes that follow here. It begins with a
// full reset.
func (s *Screen) AppendRepaint(dst []byte) []byte {
	dst = append(dst, "\x1bc"...)
	dst = s.appendTabs(dst)
	dst = s.appendGrid(dst, s.main)
	dst = s.appendSaved(dst, s.main)
	if s.cur == s.alt {
		dst = append(dst, "\x1b[?47h"...)
		dst = s.appendGrid(dst, s.alt)
		dst = s.appendSaved(dst, s.alt)
	}
	if s.top != 0 || s.bottom != s.rows-1 {
		dst = append(append(dst, "\x1b["...), strconv.Itoa(s.top+1)+";"+strconv.Itoa(s.bottom+1)+"r"...)
	}
	dst = s.appendCursor(dst, &s.cursor, true)
	for _, m := range []struct {
		on   bool
		code string
	}{{s.insert, "\x1b[4h"}, {s.newline, "\x1b[20h"}, {s.nowrap, "\x1b[?7l"}, {s.hidden, "\x1b[?25l"}, {s.reverse, "\x1b[?5h"}} {
		if m.on {
			dst = append(dst, m.code...)
		}
	}
	if s.parser.state != ground {
		dst = append(dst, s.parser.raw...)
	}
	return append(dst, s.parser.held...)
}

func (s *Screen) appendTabs(dst []byte) []byte {
	usual := true
	for x, on := range s.tabs {
		usual = usual && on == (x > 0 && x%8 == 0)
	}
	if usual {
		return dst
	}
	dst = append(dst, "\x1b[3g"...)
	for x, on := range s.tabs {
		if on {
			dst = append(appendMove(dst, x, 0), "\x1bH"...)
		}
	}
	return dst
}

// appendGrid paints the rows that are not empty. A row that goes on in the next
// one is left through the margin, so that its line stays one.
func (s *Screen) appendGrid(dst []byte, g *grid) []byte {
	through := false
	for y, r := range g.rows {
		if r.used == 0 {
			through = false
			continue
		}
		if !through {
			dst = appendMove(dst, 0, y)
		}
		n := r.used
		through = r.wrapped && n == s.cols && y+1 < len(g.rows) && g.rows[y+1].used > 0
		if through && r.cells[n-1].ch == pad && g.rows[y+1].cells[1].ch == tail {
			n-- // the wide character makes it again
		}
		dst = s.appendCells(dst, r, n)
	}
	return dst
}

// appendSaved brings back what DECSC saved on a grid.
func (s *Screen) appendSaved(dst []byte, g *grid) []byte {
	if g.saved == (cursor{}) {
		return dst
	}
	c := g.saved
	c.pending = false // whoever restores it writes on, or moves
	dst = append(s.appendCursor(dst, &c, false), "\x1b7"...)
	return append(dst, "\x1b[?6l\x0f\x1b(B\x1b)B"...)
}

func (s *Screen) appendCursor(dst []byte, c *cursor, final bool) []byte {
	y := c.y
	if c.origin {
		dst = append(dst, "\x1b[?6h"...)
		if final {
			y -= s.top
		}
	}
	x := c.x
	var again []byte
	if c.pending {
		// Only writing the last column makes the wrap wait.
		r := s.cur.rows[c.y]
		if r.cells[x].ch == tail {
			x--
		}
		again = s.appendCells(nil, &row{cells: r.cells[x:]}, len(r.cells)-x)
	}
	dst = append(appendMove(dst, x, y), again...)
	if c.sets[0] {
		dst = append(dst, "\x1b(0"...)
	}
	if c.sets[1] {
		dst = append(dst, "\x1b)0"...)
	}
	if c.shift == 1 {
		dst = append(dst, 0x0e)
	}
	return c.pen.appendTo(dst)
}

func appendMove(dst []byte, x, y int) []byte {
	dst = strconv.AppendInt(append(dst, "\x1b["...), int64(y+1), 10)
	dst = strconv.AppendInt(append(dst, ';'), int64(x+1), 10)
	return append(dst, 'H')
}

// AppendRow appends a row, cut at a number of columns, as it is painted from its
// first column on with default style. It leaves the default style behind.
func (s *Screen) AppendRow(dst []byte, y, columns int) []byte {
	return s.AppendPart(dst, y, 0, columns)
}

// AppendPart is AppendRow of the columns from one on. Half of a wide character is
// a blank at the left, and nothing at the right.
func (s *Screen) AppendPart(dst []byte, y, from, columns int) []byte {
	if y < 0 || y >= s.rows {
		return dst
	}
	r := s.cur.rows[y]
	n := min(r.used, from+columns)
	if n > from && n < r.used && r.cells[n].ch == tail {
		n--
	}
	if n > from && r.cells[from].ch == tail {
		dst = append(dst, "\x1b[0m "...)
		from++
	}
	if n > from {
		dst = s.appendCells(dst, &row{cells: r.cells[from:n]}, n-from)
	}
	return append(dst, "\x1b[0m"...)
}

func (s *Screen) appendCells(dst []byte, r *row, n int) []byte {
	pen := style{}
	dst = append(dst, "\x1b[0m"...)
	for i := range r.cells[:n] {
		c := &r.cells[i]
		if c.ch == tail {
			continue
		}
		if c.style != pen {
			pen = c.style
			dst = pen.appendTo(dst)
		}
		switch {
		case c.ch <= 0:
			dst = append(dst, ' ')
		case c.ch >= combined:
			dst = append(dst, s.marks.text(c.ch)...)
		default:
			dst = utf8.AppendRune(dst, c.ch)
		}
	}
	return dst
}

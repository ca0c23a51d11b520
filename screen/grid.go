package screen

import "time"

// cell is one place of the grid. A wide character has its letter in the first
// of two cells, and tail in the second.
type cell struct {
	ch    rune // 0: blank; from combined on: an interned text; or one of the below
	style style
}

const (
	tail rune = -1 // second half of a wide character
	pad  rune = -2 // left over where a wide character did not fit before the margin
	// combined is the first number of interned texts: a letter with its marks.
	combined rune = 0x110000
)

// color is 0 for the default, else palette or truecolor with a number.
type color uint32

const (
	palette   color = 1 << 24
	truecolor color = 2 << 24
)

type attr uint16

const (
	bold attr = 1 << iota
	faint
	italic
	underline
	blink
	inverse
	concealed
	struck
)

type style struct {
	fg, bg color
	attr   attr
}

// row is one line of the grid, and what is known of who saw it.
type row struct {
	cells []cell
	used  int // cells from here on are blank, without a colour
	// wrapped: the line goes on in the next row, as it did not fit.
	wrapped bool

	dirty bool   // it has text that was not yet looked at
	move  uint32 // the watch's moves when it got dirty: writing goes on, or went back
	seen  string // the line that begins here, as it was looked at
	seenT time.Duration
	seenY int
}

func newRow(columns int) *row { return &row{cells: make([]cell, columns)} }

func (r *row) resize(columns int) {
	if len(r.cells) == columns {
		return
	}
	cells := make([]cell, columns)
	copy(cells, r.cells)
	if columns < len(r.cells) && r.cells[columns].ch == tail {
		cells[columns-1] = cell{}
	}
	r.cells, r.used, r.wrapped = cells, min(r.used, columns), false
}

// grid is one of the two screens, with what is kept for it while the other shows.
type grid struct {
	rows  []*row
	saved cursor // DECSC
	// above is the beginning of the topmost line, where that scrolled off already.
	above      []byte
	aboveDirty bool
	aboveRows  int
}

func newGrid(columns, rows int) *grid {
	g := &grid{rows: make([]*row, rows)}
	for y := range g.rows {
		g.rows[y] = newRow(columns)
	}
	return g
}

// start is the row in which the line of row y begins.
func (g *grid) start(y int) int {
	for y > 0 && g.rows[y-1].wrapped {
		y--
	}
	return y
}

// clean empties a row whose text was taken care of.
func (r *row) clean(bg color) {
	blank := cell{style: style{bg: bg}}
	n := r.used
	r.used = 0
	if bg != 0 {
		n, r.used = len(r.cells), len(r.cells)
	}
	for i := range r.cells[:n] {
		r.cells[i] = blank
	}
	*r = row{cells: r.cells, used: r.used}
}

// split blanks what is left of a wide character when one of its halves at x or
// x-1 is written over.
func (r *row) split(x int) {
	if x <= 0 || x >= len(r.cells) || r.cells[x].ch != tail {
		return
	}
	r.cells[x-1].ch, r.cells[x].ch = 0, 0
}

// letters tells whether there is something to read from a to before b.
func (r *row) letters(a, b int) bool {
	for _, c := range r.cells[a:b] {
		if c.ch != 0 && c.ch != ' ' {
			return true
		}
	}
	return false
}

// erase blanks the cells from a to before b.
func (s *Screen) erase(y, a, b int) {
	r := s.cur.rows[y]
	a, b = clamp(a, 0, s.cols), clamp(b, 0, s.cols)
	if a >= b {
		return
	}
	bg := s.cursor.pen.bg
	if a == 0 && b == s.cols {
		s.leave(s.cur, y)
		r.clean(bg)
		if y == 0 {
			s.cur.dropAbove()
		}
		return
	}
	if a < r.used {
		s.look(y)
	}
	r.split(a)
	r.split(b)
	blank := cell{style: style{bg: bg}}
	for i := a; i < b && (bg != 0 || i < r.used); i++ {
		r.cells[i] = blank
	}
	switch {
	case bg != 0:
		r.used = max(r.used, b)
	case b >= r.used:
		r.used = min(r.used, a)
	}
	if b == s.cols {
		r.wrapped = false
	}
}

// insertCells moves the rest of the cursor's row by n to the right, or to the
// left for a negative n, and blanks what is left.
func (s *Screen) insertCells(n int) {
	x, y := s.cursor.x, s.cursor.y
	r := s.cur.rows[y]
	s.look(y)
	r.split(x)
	r.wrapped = false
	room := s.cols - x
	if n = clamp(n, -room, room); n > 0 {
		r.split(s.cols - n)
		copy(r.cells[x+n:], r.cells[x:])
		r.used = s.cols
		s.blank(r, x, x+n)
		return
	}
	r.split(x - n)
	copy(r.cells[x:], r.cells[x-n:])
	r.used = s.cols
	s.blank(r, s.cols+n, s.cols)
	r.dirty = true
}

func (s *Screen) blank(r *row, a, b int) {
	for i := a; i < b; i++ {
		r.cells[i] = cell{style: style{bg: s.cursor.pen.bg}}
	}
	for r.used > 0 && r.cells[r.used-1] == (cell{}) {
		r.used--
	}
}

// scrollUp moves rows top to bottom up by n; what leaves the screen was shown.
func (s *Screen) scrollUp(top, bottom, n int) {
	g := s.cur
	n = clamp(n, 0, bottom-top+1)
	if n == 0 {
		return
	}
	if top > 0 {
		g.rows[top-1].wrapped = false
	}
	for y := top; y < top+n; y++ {
		if top == 0 {
			s.scrollOff(g, y)
		} else {
			s.leave(g, y)
		}
	}
	s.rotate(g.rows[top:bottom+1], n)
	for _, r := range g.rows[bottom+1-n : bottom+1] {
		r.clean(s.cursor.pen.bg)
	}
}

// scrollDown moves rows top to bottom down by n.
func (s *Screen) scrollDown(top, bottom, n int) {
	g := s.cur
	n = clamp(n, 0, bottom-top+1)
	if n == 0 {
		return
	}
	for y := bottom - n + 1; y <= bottom; y++ {
		s.leave(g, y)
	}
	s.rotate(g.rows[top:bottom+1], bottom-top+1-n)
	for _, r := range g.rows[top : top+n] {
		r.clean(s.cursor.pen.bg)
	}
	g.rows[bottom].wrapped = false
	if top > 0 {
		g.rows[top-1].wrapped = false
	} else {
		g.dropAbove()
	}
}

// rotate moves rows up by n; those above come back below.
func (s *Screen) rotate(rows []*row, n int) {
	s.spare = append(s.spare[:0], rows[:n]...)
	copy(rows, rows[n:])
	copy(rows[len(rows)-n:], s.spare)
}

// Package screen is a terminal that nobody sees: it takes what was shown and
// keeps the grid that a person saw of it. Playback paints from it, so that the
// bytes of a recorded session never reach the terminal of whoever watches;
// seeking begins at its keyframes; and searching reads the lines that it says were
// shown, wherever escape sequences put their letters.
//
// It follows xterm and tmux for what programs use: cursor moves, erasing,
// inserting, scroll regions, tabs, SGR, wide and combining characters, UTF-8 split
// anywhere, the DEC line-drawing set and the alternate screen. It is pure: questions
// to the terminal (DA, DSR, OSC queries) get no answer, titles and strings go
// nowhere, its memory is bounded by its size.
//
// Why it is our own stands in DESIGN.md.
package screen

import "time"

// Bounds of a screen: what is asked beyond is cut.
const (
	MaxColumns = 600
	MaxRows    = 400
)

// Screen is one terminal. It is used by one goroutine at a time.
type Screen struct {
	cols, rows int
	main, alt  *grid
	cur        *grid // main or alt

	cursor  cursor
	top     int // the scroll region, both inclusive
	bottom  int
	tabs    []bool
	insert  bool // IRM
	newline bool // LNM: a line feed returns the carriage too
	plain   bool // newline is what a reset gives
	nowrap  bool // DECAWM off
	hidden  bool // DECTCEM off
	reverse bool // DECSCNM
	last    rune // for REP

	parser parser
	marks  interner
	watch  watch
	spare  []*row // of scrolling
}

// cursor is what DECSC saves.
type cursor struct {
	x, y    int
	pending bool // the last column was written: the next character wraps
	pen     style
	origin  bool // DECOM
	shift   int  // G0 or G1 is in use
	sets    [2]bool
}

// New returns an empty screen. Sizes out of bounds are brought into them.
func New(columns, rows int) *Screen {
	s := &Screen{cols: clamp(columns, 1, MaxColumns), rows: clamp(rows, 1, MaxRows)}
	s.reset()
	return s
}

// NewPlain returns a screen for output of programs without a terminal: a line
// feed begins a line.
func NewPlain(columns, rows int) *Screen {
	s := New(columns, rows)
	s.plain, s.newline = true, true
	return s
}

func clamp(n, low, high int) int { return max(low, min(n, high)) }

// reset is RIS: all but the size and who watches.
func (s *Screen) reset() {
	if s.cur != nil {
		s.leaveAll(s.main)
		s.leaveAll(s.alt)
	}
	s.main, s.alt = newGrid(s.cols, s.rows), newGrid(s.cols, s.rows)
	s.cur, s.cursor, s.top, s.bottom = s.main, cursor{}, 0, s.rows-1
	s.insert, s.newline, s.nowrap, s.hidden, s.reverse, s.last = false, s.plain, false, false, false, 0
	s.tabs = nil
	s.resetTabs()
}

func (s *Screen) resetTabs() {
	for x := len(s.tabs); x < s.cols; x++ {
		s.tabs = append(s.tabs, x > 0 && x%8 == 0)
	}
	s.tabs = s.tabs[:s.cols]
}

// Size returns the columns and rows.
func (s *Screen) Size() (columns, rows int) { return s.cols, s.rows }

// Cursor returns the place of the cursor, from 0 on, and whether it shows.
func (s *Screen) Cursor() (x, y int, visible bool) { return s.cursor.x, s.cursor.y, !s.hidden }

// Alternate tells whether the alternate screen is shown: that of full-screen programs.
func (s *Screen) Alternate() bool { return s.cur == s.alt }

// Reversed tells whether the whole screen is shown in reverse.
func (s *Screen) Reversed() bool { return s.reverse }

// Row returns the text of a row, from 0 on, without blanks at its end.
func (s *Screen) Row(y int) string {
	if y < 0 || y >= s.rows {
		return ""
	}
	return string(trimBlanks(s.appendText(nil, s.cur.rows[y], false)))
}

// Resize changes the size. Lines are not wrapped anew: what a smaller screen
// cannot hold is lost at its right, below the cursor, and then at its top.
func (s *Screen) Resize(columns, rows int) {
	columns, rows = clamp(columns, 1, MaxColumns), clamp(rows, 1, MaxRows)
	if columns == s.cols && rows == s.rows {
		return
	}
	s.Settle()
	for _, g := range []*grid{s.main, s.alt} {
		c := &g.saved
		if g == s.cur {
			c = &s.cursor
		}
		moved := s.fit(g, c.y, rows)
		c.y -= moved
		if c != &g.saved {
			g.saved.y -= moved
		}
		for _, r := range g.rows {
			r.resize(columns)
		}
		g.saved.x, g.saved.y, g.saved.pending = clamp(g.saved.x, 0, columns-1), clamp(g.saved.y, 0, rows-1), false
	}
	s.cols, s.rows = columns, rows
	s.top, s.bottom = 0, rows-1
	s.cursor.x, s.cursor.y, s.cursor.pending = clamp(s.cursor.x, 0, columns-1), clamp(s.cursor.y, 0, rows-1), false
	s.resetTabs()
}

// fit gives a grid its new number of rows and returns by how many rows it moved up.
func (s *Screen) fit(g *grid, cursorY, rows int) int {
	up := 0
	for len(g.rows) > rows {
		if last := len(g.rows) - 1; last > cursorY-up {
			s.leave(g, last)
			g.rows = g.rows[:last]
			continue
		}
		s.scrollOff(g, 0)
		g.rows = append(g.rows[:0], g.rows[1:]...)
		up++
	}
	for len(g.rows) < rows {
		g.rows = append(g.rows, newRow(s.cols))
	}
	return up
}

// Watch calls f with each line that was shown, once it is complete or gone. The
// Text is valid during the call. Settle and Flush say when people looked.
func (s *Screen) Watch(f func(Line)) { s.watch.f = f }

// At sets the time that lines are shown at from now on.
func (s *Screen) At(t time.Duration) { s.watch.at = t }

package screen

// control carries out a control sequence.
func (s *Screen) control(q sequence) {
	switch {
	case q.private == '?' && q.inter == 0 && (q.final == 'h' || q.final == 'l'):
		for _, mode := range q.values[:q.n] {
			s.privateMode(mode, q.final == 'h')
		}
	case q.private == '?' && (q.final == 'J' || q.final == 'K'):
		s.eraseOrMove(&q)
	case q.inter == '!' && q.final == 'p':
		s.softReset()
	case q.private != 0 || q.inter != 0:
	case !s.move(&q) && !s.eraseOrMove(&q):
		s.set(&q)
	}
}

// move carries out the sequences that only move the cursor.
func (s *Screen) move(q *sequence) bool {
	c := &s.cursor
	n := q.arg(0, 1)
	switch q.final {
	case 'A':
		s.moveTo(c.x, s.within(c.y-n, s.top, true))
	case 'B', 'e':
		s.moveTo(c.x, s.within(c.y+n, s.bottom, false))
	case 'C', 'a':
		s.moveTo(c.x+n, c.y)
	case 'D':
		s.moveTo(c.x-n, c.y)
	case 'E':
		s.moveTo(0, s.within(c.y+n, s.bottom, false))
	case 'F':
		s.moveTo(0, s.within(c.y-n, s.top, true))
	case 'G', '`':
		s.moveTo(n-1, c.y)
	case 'd':
		s.place(c.x, n-1)
	case 'H', 'f':
		s.place(q.arg(1, 1)-1, n-1)
	case 'I':
		s.tab(n)
	case 'Z':
		s.tab(-n)
	case 's':
		s.cur.saved = s.cursor
	case 'u':
		s.restore()
	default:
		return false
	}
	return true
}

// within keeps a vertical move inside of the scroll region, when it begins there.
func (s *Screen) within(y, edge int, up bool) int {
	if up && s.cursor.y >= edge {
		return max(y, edge)
	}
	if !up && s.cursor.y <= edge {
		return min(y, edge)
	}
	return y
}

// place moves to a row and column that count from the origin.
func (s *Screen) place(x, y int) {
	if s.cursor.origin {
		y = clamp(y+s.top, s.top, s.bottom)
	}
	s.moveTo(x, y)
}

// eraseOrMove carries out what changes cells without writing.
func (s *Screen) eraseOrMove(q *sequence) bool {
	n, x, y := q.arg(0, 1), s.cursor.x, s.cursor.y
	inRegion := y >= s.top && y <= s.bottom
	s.watch.moves++
	switch q.final {
	case '@':
		s.insertCells(n)
	case 'P':
		s.insertCells(-n)
	case 'X':
		s.erase(y, x, x+n)
	case 'J':
		s.eraseScreen(q.arg(0, 0))
	case 'K':
		from, to := x, s.cols
		switch q.arg(0, 0) {
		case 1:
			from, to = 0, x+1
		case 2:
			from = 0
		}
		s.erase(y, from, to)
	case 'L':
		if inRegion {
			s.scrollDown(y, s.bottom, n)
		}
	case 'M':
		if inRegion {
			s.removeLines(y, n)
		}
	case 'S':
		s.scrollUp(s.top, s.bottom, n)
	case 'T':
		s.scrollDown(s.top, s.bottom, n)
	case 'b':
		for range min(n, s.cols) {
			if s.last != 0 {
				s.print(s.last)
			}
		}
	default:
		return false
	}
	if q.final != 'b' && q.final != 'S' && q.final != 'T' {
		s.cursor.pending = false
	}
	return true
}

// removeLines is a scroll that begins at the cursor: at the top of the screen
// the lines go, they do not scroll off.
func (s *Screen) removeLines(y, n int) {
	if y == 0 {
		for i := range min(n, s.bottom+1) {
			s.leave(s.cur, i)
		}
		s.cur.dropAbove()
	}
	s.scrollUp(y, s.bottom, n)
}

func (s *Screen) eraseScreen(what int) {
	x, y := s.cursor.x, s.cursor.y
	from, to := 0, s.rows
	switch what {
	case 0:
		s.erase(y, x, s.cols)
		from = y + 1
	case 1:
		to = y
	case 2:
	default:
		return // 3: what scrolled off is not kept
	}
	for y := from; y < to; y++ {
		s.erase(y, 0, s.cols)
	}
	if what == 1 {
		s.erase(y, 0, x+1)
	}
}

// set carries out the sequences that change how later ones work.
func (s *Screen) set(q *sequence) {
	switch q.final {
	case 'm':
		s.cursor.pen.apply(q)
	case 'r':
		top, bottom := q.arg(0, 1)-1, min(q.arg(1, s.rows), s.rows)-1
		if top < bottom {
			s.top, s.bottom = top, bottom
			s.place(0, 0)
		}
	case 'g':
		switch q.arg(0, 0) {
		case 0:
			s.tabs[s.cursor.x] = false
		case 3:
			clear(s.tabs)
		}
	case 'h', 'l':
		for _, mode := range q.values[:q.n] {
			switch mode {
			case 4:
				s.insert = q.final == 'h'
			case 20:
				s.newline = q.final == 'h'
			}
		}
	}
}

func (s *Screen) privateMode(mode int, on bool) {
	switch mode {
	case 5:
		s.reverse = on
	case 6:
		s.cursor.origin = on
		s.place(0, 0)
	case 7:
		s.nowrap = !on
	case 25:
		s.hidden = !on
	case 47, 1047:
		s.switchTo(on)
	case 1048:
		if on {
			s.cur.saved = s.cursor
		} else {
			s.restore()
		}
	case 1049:
		if on && s.cur == s.main {
			s.main.saved = s.cursor
		}
		s.switchTo(on)
		if !on {
			s.restore()
		}
	}
}

// switchTo shows the alternate screen, empty, or the main one again.
func (s *Screen) switchTo(alt bool) {
	if alt == (s.cur == s.alt) {
		return
	}
	s.Settle()
	s.watch.moves++
	s.cursor.pending = false
	if s.cur = s.main; alt {
		s.cur = s.alt
		return
	}
	s.leaveAll(s.alt)
	s.alt.saved = cursor{}
	for _, r := range s.alt.rows {
		r.clean(0)
	}
}

func (s *Screen) softReset() {
	s.top, s.bottom, s.insert, s.nowrap, s.hidden = 0, s.rows-1, false, false, false
	s.cursor.pen, s.cursor.origin, s.cursor.shift, s.cursor.sets = style{}, false, 0, [2]bool{}
	s.cur.saved = cursor{}
}

package screen

// printASCII shows letters from space to tilde.
func (s *Screen) printASCII(p []byte) {
	if s.cursor.sets[s.cursor.shift] || s.insert {
		for _, b := range p {
			s.print(rune(b))
		}
		return
	}
	s.last = rune(p[len(p)-1])
	for len(p) > 0 {
		s.wrapIfPending()
		x := s.cursor.x
		n := min(len(p), s.cols-x)
		r := s.touch(x, n)
		cells := r.cells[x : x+n]
		for i, b := range p[:n] {
			cells[i] = cell{rune(b), s.cursor.pen}
		}
		s.advance(n)
		p = p[n:]
	}
}

// print shows one character.
func (s *Screen) print(r rune) {
	if r >= 0x80 && r < 0xa0 {
		return // a C1 control
	}
	if s.cursor.sets[s.cursor.shift] && r >= 0x5f && r <= 0x7e {
		r = lineDrawing[r-0x5f]
	}
	w := Width(r)
	if w == 0 {
		s.join(r)
		return
	}
	if w > s.cols {
		return
	}
	s.wrapIfPending()
	s.last = r
	if x := s.cursor.x; x+w > s.cols {
		if s.nowrap {
			return
		}
		s.touch(x, 1).cells[x] = cell{pad, s.cursor.pen}
		s.advance(1)
		s.wrapIfPending()
	}
	if s.insert {
		s.insertCells(w)
	}
	x := s.cursor.x
	row := s.touch(x, w)
	row.cells[x] = cell{r, s.cursor.pen}
	if w == 2 {
		row.cells[x+1] = cell{tail, s.cursor.pen}
	}
	s.advance(w)
}

// join adds a mark to the character before the cursor.
func (s *Screen) join(mark rune) {
	x := s.cursor.x - 1
	if s.cursor.pending {
		x++
	}
	r := s.cur.rows[s.cursor.y]
	if x > 0 && r.cells[x].ch == tail {
		x--
	}
	if x < 0 || r.cells[x].ch <= 0 {
		return
	}
	r.cells[x].ch = s.marks.add(r.cells[x].ch, mark)
	r.dirty = true
}

// touch prepares the cells from x to x+n of the cursor's row for writing.
func (s *Screen) touch(x, n int) *row {
	r := s.cur.rows[s.cursor.y]
	if x < r.used {
		if r.dirty && r.move != s.watch.moves && r.letters(x, x+n) {
			s.look(s.cursor.y)
		}
		r.split(x)
		r.split(x + n)
	}
	r.dirty, r.move = true, s.watch.moves
	if r.used = max(r.used, x+n); x+n == s.cols {
		r.wrapped = false
	}
	return r
}

func (s *Screen) advance(n int) {
	if s.cursor.x += n; s.cursor.x >= s.cols {
		s.cursor.x, s.cursor.pending = s.cols-1, !s.nowrap
	}
}

func (s *Screen) wrapIfPending() {
	if !s.cursor.pending {
		return
	}
	s.cursor.pending = false
	if s.nowrap {
		return
	}
	s.cur.rows[s.cursor.y].wrapped = s.cursor.y < s.rows-1 || s.bottom == s.rows-1
	s.cursor.x = 0
	s.index()
}

// moveTo places the cursor within the screen.
func (s *Screen) moveTo(x, y int) {
	s.cursor.x, s.cursor.y, s.cursor.pending = clamp(x, 0, s.cols-1), clamp(y, 0, s.rows-1), false
	s.watch.moves++
}

func (s *Screen) lineFeed() {
	if s.newline {
		s.moveTo(0, s.cursor.y)
	}
	s.cursor.pending = false
	s.index()
}

func (s *Screen) index() {
	switch {
	case s.cursor.y == s.bottom:
		s.scrollUp(s.top, s.bottom, 1)
	case s.cursor.y < s.rows-1:
		s.cursor.y++
	}
}

func (s *Screen) reverseIndex() {
	s.watch.moves++
	s.cursor.pending = false
	switch {
	case s.cursor.y == s.top:
		s.scrollDown(s.top, s.bottom, 1)
	case s.cursor.y > 0:
		s.cursor.y--
	}
}

// tab moves by n tab stops; a negative n goes back.
func (s *Screen) tab(n int) {
	x, step := s.cursor.x, 1
	if n < 0 {
		n, step = -n, -1
	}
	for n = min(n, s.cols); n > 0; n-- {
		for x += step; x > 0 && x < s.cols-1 && !s.tabs[x]; x += step {
		}
		x = clamp(x, 0, s.cols-1)
	}
	// A tab in the last column does not lose the wrap that waits.
	if x != s.cursor.x {
		s.moveTo(x, s.cursor.y)
	}
}

func (s *Screen) restore() {
	s.cursor = s.cur.saved
	s.cursor.x, s.cursor.y = clamp(s.cursor.x, 0, s.cols-1), clamp(s.cursor.y, 0, s.rows-1)
	s.watch.moves++
}

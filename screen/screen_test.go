package screen

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// shows is the text of all rows.
func (s *Screen) shows() string {
	rows := make([]string, s.rows)
	for y := range rows {
		rows[y] = s.Row(y)
	}
	return strings.TrimRight(strings.Join(rows, "\n"), "\n")
}

func TestShows(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "one\r\ntwo", "one\ntwo"},
		{"carriage return", "abc\rX", "Xbc"},
		{"backspace", "abc\b\bX", "aXc"},
		{"wrap", "0123456789abc", "0123456789\nabc"},
		{"full line", "0123456789\r\nx", "0123456789\nx"},
		{"cursor address", "\x1b[2;3Hword\x1b[H.", ".\n  word"},
		{"cursor moves", "a\x1b[Bb\x1b[2Dc\x1b[Ad\x1b[3Ce", "ad   e\ncb"},
		{"erase line", "abcdef\x1b[3D\x1b[K", "abc"},
		{"erase to the left", "abcdef\x1b[3D\x1b[1K", "    ef"},
		{"erase screen", "a\r\nb\r\nc\x1b[2J\x1b[Hx", "x"},
		{"erase below", "a\r\nb\r\nc\x1b[2;1H\x1b[J", "a"},
		{"erase characters", "abcdef\x1b[1;2H\x1b[2X", "a  def"},
		{"insert characters", "abcdef\x1b[1;2H\x1b[2@", "a  bcdef"},
		{"delete characters", "abcdef\x1b[1;2H\x1b[2P", "adef"},
		{"insert mode", "abc\x1b[1;2H\x1b[4hXY\x1b[4l", "aXYbc"},
		{"insert lines", "a\r\nb\r\nc\x1b[2;1H\x1b[L", "a\n\nb\nc"},
		{"delete lines", "a\r\nb\r\nc\x1b[2;1H\x1b[M", "a\nc"},
		{"scroll", "1\r\n2\r\n3\r\n4\r\n5", "2\n3\n4\n5"},
		{"scroll region", "1\r\n2\r\n3\r\n4\x1b[2;3r\x1b[3;1H\nx", "1\n3\nx\n4"},
		{"reverse index", "1\r\n2\x1b[H\x1bMx", "x\n1\n2"},
		{"tabs", "a\tb", "a       b"},
		{"tab stops", "\x1b[3g\x1b[1;4H\x1bH\ra\tb", "a  b"},
		{"wide", "日本\r\n語", "日本\n語"},
		{"wide at the margin", "123456789日x", "123456789\n日x"},
		{"half of a wide one", "日本\x1b[1;2HX", " X本"},
		{"marks", "e\u0301x", "e\u0301x"},
		{"a mark at the margin", "012345678e\u0301", "012345678e\u0301"},
		{"line drawing", "\x1b(0lqk\x1b(B", "┌─┐"},
		{"shift out", "\x1b)0\x0eq\x0fq", "─q"},
		{"title", "\x1b]0;secret\x07a\x1b]2;s\x1b\\b", "ab"},
		{"device strings", "\x1bPq#0\x1b\\a\x1b_x\x1b\\b\x1bktitle\x1b\\c", "abc"},
		{"questions", "\x1b[c\x1b[6n\x1b[>c\x1b]11;?\x07x", "x"},
		{"colours", "\x1b[1;31mr\x1b[38;5;200mx\x1b[48;2;1;2;3my\x1b[38:2::1:2:3mz\x1b[0m", "rxyz"},
		{"foreign sequences", "\x1b[>4;2mx\x1b[?2004hy\x1b[=3uz", "xyz"},
		{"alternate", "main\x1b[?1049h\x1b[Halt", "alt"},
		{"back from alternate", "main\x1b[?1049h\x1b[Halt\x1b[?1049lX", "mainX"},
		{"save and restore", "ab\x1b7\x1b[3;3Hx\x1b8c", "abc\n\n  x"},
		{"origin mode", "\x1b[2;3r\x1b[?6h\x1b[Hx\x1b[9;1Hy", "\nx\ny"},
		{"no wrap", "\x1b[?7l0123456789abc", "012345678c"},
		{"repeat", "a\x1b[3b", "aaaa"},
		{"canceled", "\x1b[3\x18x", "x"},
		{"control inside of a sequence", "ab\x1b[\b1Cx", "abx"},
		{"invalid UTF-8", "a\xffb\xe2\x82c", "a\uFFFDb\uFFFDc"},
		{"reset", "abc\x1b[2;3r\x1bcx", "x"},
	} {
		s := New(10, 4)
		_, _ = s.Write([]byte(c.in))
		if got := s.shows(); got != c.want {
			t.Errorf("%s: %q shows\n%s\nwant\n%s", c.name, c.in, got, c.want)
		}
		one := New(10, 4)
		for i := range len(c.in) {
			_, _ = one.Write([]byte(c.in[i : i+1]))
		}
		if diff := compare(s, one); diff != "" {
			t.Errorf("%s, byte by byte: %s", c.name, diff)
		}
	}
}

// compare tells how two screens differ in what they show or would show next.
func compare(a, b *Screen) string {
	if a.cols != b.cols || a.rows != b.rows {
		return "the sizes differ"
	}
	if (a.cur == a.alt) != (b.cur == b.alt) {
		return "they show different screens"
	}
	grids := [][2]*grid{{a.cur, b.cur}}
	if a.cur == a.alt {
		grids = append(grids, [2]*grid{a.main, b.main})
	}
	for _, g := range grids {
		for y := range g[0].rows {
			for x := range a.cols {
				if p, q := a.cellText(g[0], x, y), b.cellText(g[1], x, y); p != q {
					return fmt.Sprintf("row %d, column %d: %q and %q", y, x, p, q)
				}
			}
		}
	}
	if x, y := fmt.Sprintf("%+v", a.cursor), fmt.Sprintf("%+v", b.cursor); x != y {
		return "the cursors differ: " + x + " and " + y
	}
	modes := func(s *Screen) string {
		return fmt.Sprint(s.top, s.bottom, s.insert, s.newline, s.nowrap, s.hidden, s.reverse, s.tabs, s.parser.state, s.parser.held)
	}
	if x, y := modes(a), modes(b); x != y {
		return "the modes differ: " + x + " and " + y
	}
	return ""
}

func (s *Screen) cellText(g *grid, x, y int) string {
	c := g.rows[y].cells[x]
	switch {
	case c.ch == 0 || c.ch == pad:
		c.ch = ' '
	case c.ch >= combined:
		return s.marks.text(c.ch) + fmt.Sprint(c.style)
	}
	return fmt.Sprint(c.ch, c.style)
}

// soup is random output of the kind that breaks terminals.
func soup(r *rand.Rand, n int) []byte {
	parts := []string{"word ", "日本", "e\u0301", "\r\n", "\r", "\n", "\b", "\t", "\x1b[m", "\x1b[1;31m", "\x1b[48;5;20m", "\x1b[7m", "\x1b7", "\x1b8", "\x1bM", "\x1bD",
		"\x1b[K", "\x1b[1K", "\x1b[J", "\x1b[2J", "\x1b[L", "\x1b[M", "\x1b[2P", "\x1b[2@", "\x1b[3X", "\x1b[S", "\x1b[T", "\x1b[r", "\x1b[2;4r", "\x1b[?6h", "\x1b[?6l",
		"\x1b[?7l", "\x1b[?7h", "\x1b[4h", "\x1b[4l", "\x1b[?1049h", "\x1b[?1049l", "\x1b[?47h", "\x1b[?47l", "\x1b(0", "\x1b(B", "\x0e", "\x0f", "\x1b)0", "\x1b]0;t\x07", "\x1b]0;t",
		"\x1b\\", "\x1b[3g", "\x1bH", "\x1b[20h", "\x1b[20l", "\x1b[?25l", "\x1b[5b", "\x1b#8", "\x1b[!p", "\xff", "\xe2\x82", "0123456789abcdefghij", "\x1b[A", "\x1b[3C"}
	var b []byte
	for range n {
		if r.IntN(6) == 0 {
			b = fmt.Appendf(b, "\x1b[%d;%dH", r.IntN(8), r.IntN(14))
		}
		b = append(b, parts[r.IntN(len(parts))]...)
	}
	return b
}

// A repaint gives a screen that shows the same and goes on the same, also from
// the middle of a sequence or of a character.
func TestRepaint(t *testing.T) {
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 1))
		in := soup(r, 1+r.IntN(40))
		rest := soup(r, 10)
		cut := r.IntN(len(in) + 1)
		a := New(12, 5)
		_, _ = a.Write(in[:cut])
		b := New(12, 5)
		_, _ = b.Write(a.AppendRepaint(nil))
		if diff := compare(a, b); diff != "" {
			t.Fatalf("seed %d: %q repainted by %q: %s", seed, in[:cut], a.AppendRepaint(nil), diff)
		}
		for _, s := range []*Screen{a, b} {
			_, _ = s.Write(in[cut:])
			_, _ = s.Write(rest)
		}
		b.last = a.last
		if diff := compare(a, b); diff != "" && !bytes.Contains(in, []byte("\x1b[5b")) && !bytes.Contains(rest, []byte("\x1b[5b")) {
			t.Fatalf("seed %d: %q, then %q after the repaint %q: %s", seed, in[:cut], string(in[cut:])+string(rest), a.AppendRepaint(nil), diff)
		}
	}
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte("one\r\n\x1b[2;3H日本\x1b[?1049hx"), uint8(10), uint8(4), uint16(3))
	f.Add([]byte("\x1b[5;1r\x1b[L\x1b[999999999999999P\x1b]0;"), uint8(1), uint8(1), uint16(2))
	f.Fuzz(func(t *testing.T, in []byte, wide, high uint8, split uint16) {
		columns, rows, cut := 1+int(wide)%40, 1+int(high)%20, int(split)%(len(in)+1)
		a, b := New(columns, rows), New(columns, rows)
		var seen int
		a.Watch(func(l Line) { seen += len(l.Text) })
		_, _ = a.Write(in[:cut])
		a.Settle()
		_, _ = a.Write(in[cut:])
		_, _ = b.Write(in)
		if diff := compare(a, b); diff != "" {
			t.Fatalf("split at %d: %s", cut, diff)
		}
		_, _ = b.Write(b.AppendRepaint(nil))
		a.Resize(rows, columns)
		_, _ = a.Write(in)
		a.Flush()
		for y := range columns {
			_ = a.AppendRow(nil, y, 7)
		}
	})
}

func TestResize(t *testing.T) {
	s := New(10, 4)
	_, _ = s.Write([]byte("1\r\n2\r\n3\r\n4日本語"))
	s.Resize(6, 2)
	if got := s.shows(); got != "3\n4日本" {
		t.Errorf("shrunk: %q", got)
	}
	s.Resize(12, 5)
	_, _ = s.Write([]byte("\r\nnext"))
	if got := s.shows(); got != "3\n4日本\nnext" {
		t.Errorf("grown: %q", got)
	}
	s.Resize(1<<30, -5)
	if c, r := s.Size(); c != MaxColumns || r != 1 {
		t.Errorf("out of bounds: %d×%d", c, r)
	}
}

func TestRow(t *testing.T) {
	s := New(10, 2)
	_, _ = s.Write([]byte("\x1b[1;31mab\x1b[0m日本"))
	if got := string(s.AppendRow(nil, 0, 5)); got != "\x1b[0m\x1b[0;1;31mab\x1b[0m日\x1b[0m" {
		t.Errorf("%q", got)
	}
}

func BenchmarkWrite(b *testing.B) {
	var text bytes.Buffer
	for i := 0; text.Len() < 1<<20; i++ {
		fmt.Fprintf(&text, "\x1b[1;32mline %d\x1b[0m some words of real text that go on for a while, until the end\r\n", i)
	}
	for _, watched := range []bool{false, true} {
		b.Run(fmt.Sprintf("watched=%v", watched), func(b *testing.B) {
			s := New(80, 24)
			if watched {
				s.Watch(func(Line) {})
			}
			b.SetBytes(int64(text.Len()))
			b.ReportAllocs()
			for b.Loop() {
				for p := text.Bytes(); len(p) > 0; {
					n := min(len(p), 4096)
					_, _ = s.Write(p[:n])
					s.Settle()
					p = p[n:]
				}
			}
		})
	}
}

func TestAppendPart(t *testing.T) {
	s := New(10, 1)
	_, _ = s.Write([]byte("a\x1b[1m日\x1b[mbc")) // a, two cells, b, c
	for _, c := range []struct {
		from, columns int
		want          string
	}{
		{0, 10, "a日bc"}, {0, 2, "a"}, {0, 3, "a日"}, {1, 2, "日"}, {2, 2, " b"}, {2, 1, " "}, {3, 10, "bc"}, {4, 1, "c"}, {5, 3, ""}, {9, 5, ""}, {1, 1, ""},
	} {
		show := New(10, 1)
		_, _ = show.Write(s.AppendPart(nil, 0, c.from, c.columns))
		if got, want := show.Row(0), strings.TrimRight(c.want, " "); got != want {
			t.Errorf("%d columns from %d: %q, want %q", c.columns, c.from, got, want)
		}
	}
	if got := s.AppendPart(nil, 1, 0, 10); len(got) != 0 {
		t.Errorf("of a row that is not there: %q", got)
	}
}

package playback

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"teleport/screen"
	"teleport/sshclient"
)

// painter puts a screen on a terminal, cut to its size, and only what changed.
// It uses the alternate screen, so that what the person had stays.
type painter struct {
	out     io.Writer
	size    sshclient.Size
	rows    [][]byte // as painted
	left    int      // the first column in view
	reverse bool
	barred  bool // the last row is the bar, or the tag stands in it
	last    time.Time
	entered bool
	buf     []byte
}

func (p *painter) enter() error {
	p.entered, p.rows, p.reverse = true, nil, false
	_, err := io.WriteString(p.out, "\x1b[?1049h\x1b[?25l\x1b[0m\x1b[2J")
	return err
}

// leave goes back to what the person had, and writes the last screen below it.
func (p *painter) leave(s *screen.Screen) error {
	if !p.entered {
		return nil
	}
	b := []byte("\x1b[0m\x1b[?5l\x1b[?25h\x1b[?1049l")
	if s != nil {
		_, rows := s.Size()
		last := rows - 1
		for last > 0 && s.Row(last) == "" {
			last--
		}
		for y := max(0, last+1-p.size.Rows); y <= last; y++ {
			b = append(s.AppendPart(b, y, p.left, p.size.Columns), "\x1b[K\r\n"...)
		}
	}
	_, err := p.out.Write(b)
	return err
}

func (p *painter) resize(size sshclient.Size) {
	if size.Columns > 0 && size.Rows > 0 {
		p.size = size
	}
	p.rows = nil
}

// fits tells whether the window shows all of the screen.
func (p *painter) fits(s *screen.Screen) bool {
	columns, rows := s.Size()
	return columns <= p.size.Columns && rows <= p.size.Rows
}

// barShown tells whether the bar has a row: always where the window has one to
// spare, or must say that it is too small; else while it may cover one.
func (p *painter) barShown(s *screen.Screen, covering bool) bool {
	_, rows := s.Size()
	return p.size.Rows > 1 && (covering || rows < p.size.Rows || !p.fits(s))
}

// paint shows the screen. With barred the last row is the bar; else a bar that is
// not empty stands at the right end of that row.
func (p *painter) paint(s *screen.Screen, bar string, barred bool) error {
	_, recorded := s.Size()
	x, y, visible := s.Cursor()
	room := p.size.Rows
	if barred && !p.fits(s) {
		room-- // what the bar covers is out of view anyway
	}
	top := 0 // a window that is too small follows the cursor
	if recorded > room {
		top = min(max(0, y-room+1), recorded-room)
	}
	p.follow(s)
	if len(p.rows) != p.size.Rows {
		p.rows = make([][]byte, p.size.Rows)
		p.buf = append(p.buf[:0], "\x1b[0m\x1b[2J"...)
	} else {
		p.buf = p.buf[:0]
	}
	p.buf = append(p.buf, "\x1b[?25l"...)
	if reverse := s.Reversed(); reverse != p.reverse {
		p.reverse = reverse
		p.buf = append(p.buf, map[bool]string{true: "\x1b[?5h", false: "\x1b[?5l"}[reverse]...)
	}
	var row []byte
	for i := range p.size.Rows {
		if barred && i == p.size.Rows-1 {
			row = append(row[:0], bar...)
		} else {
			row = s.AppendPart(row[:0], top+i, p.left, p.size.Columns)
			if i == p.size.Rows-1 && bar != "" {
				row = append(fmt.Appendf(row, "\x1b[%d;%dH\x1b[0;7m", i+1, max(1, p.size.Columns-cells(bar)+1)), cut(bar, p.size.Columns)+"\x1b[0m"...)
			}
		}
		p.row(i, row)
	}
	p.barred, p.last = barred || bar != "", time.Now()
	if covered := barred && y-top == p.size.Rows-1; visible && !covered && y-top < p.size.Rows && x >= p.left && x < p.left+p.size.Columns {
		p.buf = fmt.Appendf(p.buf, "\x1b[%d;%dH\x1b[?25h", y-top+1, x-p.left+1)
	}
	_, err := p.out.Write(p.buf)
	return err
}

// follow chooses the columns in view: the first ones, or those around a cursor
// that is beyond them. They stay until it leaves them, so that typing does not
// move the picture with each letter.
func (p *painter) follow(s *screen.Screen) {
	columns, _ := s.Size()
	x, _, visible := s.Cursor()
	width := p.size.Columns
	switch {
	case columns <= width:
		p.left = 0
	case visible && x < width && x < p.left:
		p.left = 0
	case visible && (x < p.left || x >= p.left+width):
		p.left = x - width*3/4
	}
	p.left = max(0, min(p.left, columns-width))
}

// row paints a row that is not yet as it is to be.
func (p *painter) row(i int, row []byte) {
	if p.rows[i] != nil && bytes.Equal(p.rows[i], row) {
		return
	}
	p.rows[i] = append(p.rows[i][:0], row...)
	if p.rows[i] == nil {
		p.rows[i] = []byte{}
	}
	p.buf = append(fmt.Appendf(p.buf, "\x1b[%d;1H\x1b[0m\x1b[2K", i+1), row...)
}

// mark says whether the playback goes on, and tag where it is.
func (p *Player) mark() string {
	if p.clock.paused {
		return "‖"
	}
	return "▶"
}

func (p *Player) tag() string { return " " + p.mark() + " " + Clock(p.place()) + " " }

// bar is the line about the playback: as much of it as there is room for.
func (p *Player) bar() string {
	at, width := p.place(), p.painter.size.Columns
	lefts := []string{fmt.Sprintf(" %s %s / %s  %sx ", p.mark(), Clock(at), Clock(p.duration), strconv.FormatFloat(p.clock.speed, 'f', -1, 64)), p.tag()}
	for _, left := range lefts {
		for _, right := range p.rights(width - cells(p.tag())) {
			room := width - cells(left) - cells(right)
			if room < 0 {
				continue
			}
			fill := strings.Repeat(" ", room)
			if room >= minTrack {
				fill = track(at, p.duration, room)
			}
			return "\x1b[0;7m" + cut(left+fill+right, width) + "\x1b[0m"
		}
	}
	return "\x1b[0;7m" + cut(p.tag()+strings.Repeat(" ", width), width) + "\x1b[0m"
}

// rights are what the bar may say at its right, the best first, the last within
// room.
func (p *Player) rights(room int) []string {
	keys, few := " space pause  ←→ 10 s  ↑↓ speed  q quit ", " space pause  q quit "
	if p.clock.paused {
		keys, few = " space go on  . next  ←→ 10 s  ↑↓ speed  q quit ", " space go on  q quit "
	}
	switch columns, rows := p.show.Size(); {
	case p.notice != "":
		return []string{" " + p.notice + " ", cut(" "+p.notice, max(room, 0))}
	case !p.painter.fits(p.show):
		size := fmt.Sprintf(" %d×%d ", columns, rows)
		part := " part of" + size
		return []string{part + keys, part + few, part, size}
	}
	return []string{keys, few, ""}
}

// minTrack is the shortest track that tells something.
const minTrack = 8

func track(at, of time.Duration, width int) string {
	n := width
	if of > 0 {
		n = int(float64(width) * float64(at) / float64(of))
	}
	n = min(max(n, 0), width)
	return strings.Repeat("━", n) + strings.Repeat("─", width-n)
}

func cells(s string) int {
	n := 0
	for _, r := range s {
		n += screen.Width(r)
	}
	return n
}

// cut leaves what fits, and nothing that a terminal would obey.
func cut(s string, width int) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
			r = '?'
		}
		if width -= screen.Width(r); width < 0 {
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}

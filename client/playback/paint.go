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
	reverse bool
	barred  bool // the last row is the bar
	last    time.Time
	entered bool
	buf     []byte
}

func (p *painter) enter() error {
	p.entered = true
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
			b = append(s.AppendRow(b, y, p.size.Columns), "\x1b[K\r\n"...)
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

// paint shows the screen, and the bar in the last row.
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
			row = s.AppendRow(row[:0], top+i, p.size.Columns)
		}
		p.row(i, row)
	}
	p.barred, p.last = barred, time.Now()
	if covered := barred && y-top == p.size.Rows-1; visible && !covered && y-top < p.size.Rows && x < p.size.Columns {
		p.buf = fmt.Appendf(p.buf, "\x1b[%d;%dH\x1b[?25h", y-top+1, x+1)
	}
	_, err := p.out.Write(p.buf)
	return err
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

// bar is the line about the playback.
func (p *Player) bar() string {
	at, width := p.place(), p.painter.size.Columns
	mark := "▶"
	if p.clock.paused {
		mark = "‖"
	}
	left := fmt.Sprintf(" %s %s / %s  %sx ", mark, Clock(at), Clock(p.duration), strconv.FormatFloat(p.clock.speed, 'f', -1, 64))
	right := " space pause  ←→ 10 s  ↑↓ speed  q quit "
	columns, rows := p.show.Size()
	switch {
	case p.notice != "":
		right = " " + p.notice + " "
	case !p.painter.fits(p.show):
		right = fmt.Sprintf(" %d×%d, enlarge the window ", columns, rows)
	}
	room := width - cells(left) - cells(right)
	if room < 8 {
		if right = ""; !p.painter.fits(p.show) {
			right = fmt.Sprintf(" %d×%d ", columns, rows)
		}
		if cells(left)+cells(right) > width {
			left = " " + mark + " " + Clock(at)
		}
		room = width - cells(left) - cells(right)
	}
	line := left + right
	if room >= 8 {
		line = left + track(at, p.duration, room) + right
	} else if room > 0 {
		line = left + strings.Repeat(" ", room) + right
	}
	return "\x1b[0;7m" + cut(line, width) + "\x1b[0m"
}

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

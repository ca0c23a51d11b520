// Package output prints what commands found, as aligned text, JSON or YAML, and
// reads documents that people write in YAML. Whatever comes from the cluster is
// cleaned of control characters before it reaches a terminal.
package output

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Minute is how lists write times.
const Minute = "2006-01-02 15:04"

// Table is aligned text: a header, a rule, rows. The zero value has no columns.
type Table struct {
	head  []string
	rows  [][]string
	whole bool // the first column is never shortened
}

// NewTable makes a table with the given column titles.
func NewTable(columns ...string) *Table { return &Table{head: columns} }

// Whole keeps the first column as it is on the narrowest screen, for what people
// copy into their next command. Where the other columns would be left with too
// little beside it, each row becomes a paragraph.
func (t *Table) Whole() *Table {
	t.whole = true
	return t
}

// Row adds a row; missing cells are empty, further ones are dropped.
func (t *Table) Row(cells ...string) *Table {
	row := make([]string, len(t.head))
	for i := range row {
		if i < len(cells) {
			row[i] = Clean(cells[i])
		}
	}
	t.rows = append(t.rows, row)
	return t
}

// Len returns the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Write prints the table. A width above 0, the terminal's, shortens the widest
// columns with "…" until the lines fit; pass 0 when the output is no terminal,
// so that scripts get everything. No line ends in spaces.
func (t *Table) Write(w io.Writer, width int) error {
	widths := t.widths()
	var b strings.Builder
	switch {
	case width <= 0:
	case !t.whole:
		fit(widths, width)
	case !fitBeside(widths, width):
		t.paragraphs(&b, width)
		_, err := io.WriteString(w, b.String())
		return err
	}
	rule := make([]string, len(widths))
	for i, n := range widths {
		rule[i] = strings.Repeat("-", n)
	}
	for _, row := range append([][]string{t.head, rule}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteByte(' ')
			}
			line.WriteString(Pad(cell, widths[i]))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *Table) widths() []int {
	widths := make([]int, len(t.head))
	for i, h := range t.head {
		widths[i] = Width(h)
		for _, row := range t.rows {
			widths[i] = max(widths[i], Width(row[i]))
		}
	}
	return widths
}

// paragraphs writes each row as its first cell and, indented below, the others
// with their titles, as many in a line as fit.
func (t *Table) paragraphs(b *strings.Builder, width int) {
	const indent = "  "
	for i, row := range t.rows {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(row[0])
		used := width // the first cell begins a line
		for j := 1; j < len(row); j++ {
			if row[j] == "" {
				continue
			}
			item := shorten(t.head[j]+": "+row[j], width-len(indent))
			if used+len(indent)+Width(item) > width {
				b.WriteString("\n")
				used = 0
			}
			b.WriteString(indent + item)
			used += len(indent) + Width(item)
		}
		b.WriteByte('\n')
	}
}

// fitBeside fits all columns but the first, and tells whether they keep what can
// be read: a time, at least.
func fitBeside(widths []int, width int) bool {
	rest := widths[1:]
	room := width - widths[0] - 1
	shrink(rest, room, len(Minute))
	return total(rest) <= room
}

// fit takes columns off the widest until the sum fits. Columns keep 8 where that
// is enough, and 4 on the narrowest screens.
func fit(widths []int, width int) {
	shrink(widths, width, 8)
	shrink(widths, width, 4)
}

func shrink(widths []int, width, least int) {
	for n := total(widths); n > width; n-- {
		i := slices.Index(widths, slices.Max(widths))
		if widths[i] <= least {
			return
		}
		widths[i]--
	}
}

// total is how wide columns are together, with the spaces between them.
func total(widths []int) int {
	n := len(widths) - 1
	for _, w := range widths {
		n += w
	}
	return n
}

// Pad makes s exactly n columns wide: shortened with "…", or filled with spaces.
func Pad(s string, n int) string {
	s = shorten(s, n)
	return s + strings.Repeat(" ", max(n-Width(s), 0))
}

// shorten cuts s to n columns, the last of them "…".
func shorten(s string, n int) string {
	if Width(s) <= n {
		return s
	}
	used := 0
	for i, c := range s {
		if used+runeWidth(c) > n-1 {
			return s[:i] + "…"
		}
		used += runeWidth(c)
	}
	return s
}

// Around cuts s to n columns around the first place where text stands in it,
// whatever its capitals: "…" stands for what is left out.
func Around(s, text string, n int) string {
	if Width(s) <= n || n < 2 {
		return shorten(s, max(n, 1))
	}
	// Where lower case has other lengths than s, the place is only about right.
	at := max(0, strings.Index(strings.ToLower(s), strings.ToLower(text)))
	room := n - 1 - Width(text)
	begin := min(at, len(s))
	for before := 0; begin > 0; {
		c, size := utf8.DecodeLastRuneInString(s[:begin])
		if before += runeWidth(c); before > max(room/2, 0) {
			break
		}
		begin -= size
	}
	if begin == 0 {
		return shorten(s, n)
	}
	if rest := Width(s[begin:]); rest < n-1 { // the end has more room than it needs
		return "…" + last(s, n-1)
	}
	return "…" + shorten(s[begin:], n-1)
}

// last is the end of s, at most n columns of it.
func last(s string, n int) string {
	i := len(s)
	for i > 0 {
		c, size := utf8.DecodeLastRuneInString(s[:i])
		if n -= runeWidth(c); n < 0 {
			break
		}
		i -= size
	}
	return s[i:]
}

// Width returns how many terminal columns s takes: two for the characters of
// East Asia and for emoji, none for marks that combine.
func Width(s string) int {
	n := 0
	for _, c := range s {
		n += runeWidth(c)
	}
	return n
}

func runeWidth(c rune) int {
	switch {
	case c < 0x300:
		return 1
	case unicode.In(c, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case c >= 0x1100 && c <= 0x115f, c >= 0x2e80 && c <= 0x303e, c >= 0x3041 && c <= 0xa4cf, c >= 0xa960 && c <= 0xa97f,
		c >= 0xac00 && c <= 0xd7a3, c >= 0xf900 && c <= 0xfaff, c >= 0xfe30 && c <= 0xfe6f, c >= 0xff00 && c <= 0xff60,
		c >= 0xffe0 && c <= 0xffe6, c >= 0x1f300 && c <= 0x1f64f, c >= 0x1f900 && c <= 0x1f9ff, c >= 0x20000 && c <= 0x3fffd:
		return 2
	}
	return 1
}

// Clean makes text from the cluster safe for a terminal and a single line:
// control, direction and invalid characters become visible escapes.
func Clean(s string) string {
	if strings.IndexFunc(s, unsafeRune) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, c := range s {
		switch {
		case c == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteByte(' ')
		case unsafeRune(c) && c < 0x100:
			fmt.Fprintf(&b, `\x%02x`, c)
		case unsafeRune(c):
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

func unsafeRune(c rune) bool {
	return unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || c == '\u2028' || c == '\u2029'
}

// Labels prints labels as sorted k=v pairs.
func Labels(m map[string]string) string {
	pairs := make([]string, 0, len(m))
	for k, v := range m {
		pairs = append(pairs, k+"="+v)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

package screen

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// lines shows records, one a second, and returns what was seen.
func lines(columns, rows int, records ...string) []string {
	s := New(columns, rows)
	var got []string
	s.Watch(func(l Line) { got = append(got, fmt.Sprintf("%d/%d %s", l.At/time.Second, l.Row, l.Text)) })
	for i, r := range records {
		s.At(time.Duration(i) * time.Second)
		_, _ = s.Write([]byte(r))
		s.Settle()
	}
	s.Flush()
	return got
}

// What is listed is "second/row text".
func TestLines(t *testing.T) {
	for _, c := range []struct {
		name    string
		records []string
		want    []string
	}{
		{"plain", []string{"one\r\ntwo"}, []string{"0/0 one", "0/1 two"}},
		{"split over writes", []string{"$ ", "pass", "word"}, []string{"2/0 $ password"}},
		{"split inside of a character", []string{"a\xe6\x97", "\xa5b"}, []string{"1/0 a日b"}},
		{"placed by cursor moves", []string{"\x1b[2;5Hword\x1b[2;1Hpass"}, []string{"0/1 password"}},
		{"letter by letter", []string{"\x1b[1;4Hd\x1b[1;3Hr\x1b[1;2Ho\x1b[1;1Hw"}, []string{"0/0 word"}},
		{"wrapped over the margin", []string{"0123456789ab"}, []string{"0/0 0123456789ab"}},
		{"wrapped over two records", []string{"0123456", "789abc"}, []string{"1/0 0123456789abc"}},
		{"wide, wrapped", []string{"123456789日本"}, []string{"0/0 123456789日本"}},
		{"erased later", []string{"secret", "\x1b[2J\x1b[Hx"}, []string{"0/0 secret", "1/0 x"}},
		{"erased at once", []string{"secret\x1b[2J\x1b[Hx"}, []string{"0/0 secret", "0/0 x"}},
		{"written over at once", []string{"secret\rpublic"}, []string{"0/0 secret", "0/0 public"}},
		{"half erased", []string{"secret word", "\r\x1b[6C\x1b[K"}, []string{"0/0 secret word"}},
		{"typed and taken back", []string{"lss", "\b\x1b[K -l"}, []string{"0/0 lss", "1/0 ls -l"}},
		{"scrolled off in one go", []string{"1\r\n2\r\n3\r\n4\r\n5\r\n"}, []string{"0/0 1", "0/0 2", "0/0 3", "0/1 4", "0/2 5"}},
		{"scrolled off later", []string{"1\r\n2\r\n3\r\n", "4\r\n5\r\n"}, []string{"0/0 1", "0/1 2", "0/2 3", "1/1 4", "1/2 5"}},
		{"wrapped and scrolled off", []string{"0123456789ab\r\n1\r\n2\r\n3\r\n4"}, []string{"0/-1 0123456789ab", "0/0 1", "0/1 2", "0/2 3", "0/3 4"}},
		{"a long line on its way up", []string{"0123456789", "0123456789", "0123456789", "0123456789", "0123456789end"},
			[]string{"3/0 0123456789012345678901234567890123456789", "4/-2 01234567890123456789012345678901234567890123456789end"}},
		{"alternate screen", []string{"shell", "\x1b[?1049h\x1b[Hin vim", "\x1b[?1049l"}, []string{"1/0 in vim", "0/0 shell"}},
		{"titles", []string{"\x1b]0;secret\x07x\x1bP secret\x1b\\y"}, []string{"0/0 xy"}},
		{"colours in the middle", []string{"se\x1b[31mcr\x1b[0met"}, []string{"0/0 secret"}},
		{"concealed", []string{"a\x1b[8mhidden\x1b[0mb"}, []string{"0/0 a      b"}},
		{"reset", []string{"before\x1bcafter"}, []string{"0/0 before", "0/0 after"}},
		{"lines taken out", []string{"one\r\ntwo\x1b[H\x1b[M"}, []string{"0/0 one", "0/0 two"}},
		{"nothing new", []string{"same", "\rsame", "\r"}, []string{"0/0 same"}},
	} {
		if got := lines(10, 4, c.records...); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

func TestResizeShows(t *testing.T) {
	s := New(10, 4)
	var got []string
	s.Watch(func(l Line) { got = append(got, string(l.Text)) })
	_, _ = s.Write([]byte("1\r\n2\r\n3\r\n4"))
	s.Resize(10, 2)
	s.Flush()
	if want := []string{"1", "2", "3", "4"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// A line without an end takes bounded memory and is told in parts that overlap.
func TestEndlessLine(t *testing.T) {
	s := New(80, 24)
	longest, all := 0, 0
	s.Watch(func(l Line) { longest = max(longest, len(l.Text)); all += len(l.Text) })
	_, _ = s.Write([]byte(strings.Repeat("x", 1<<20)))
	s.Flush()
	if longest > 2*maxAbove || all < 1<<20 || all > 1<<20+1<<18 {
		t.Errorf("longest %d, all %d", longest, all)
	}
}

func TestPlace(t *testing.T) {
	l := Line{Row: 2, Columns: 10, Text: []byte("123456789日本 word")}
	for _, c := range []struct {
		find        string
		row, column int
	}{{"1", 3, 1}, {"9", 3, 9}, {"日", 4, 1}, {"本", 4, 3}, {"word", 4, 6}} {
		if row, column := l.Place(strings.Index(string(l.Text), c.find)); row != c.row || column != c.column {
			t.Errorf("%s: %d, %d", c.find, row, column)
		}
	}
	above := Line{Row: -3, Columns: 10, Text: []byte("abc")}
	if row, column := above.Place(1); row != 1 || column != 2 {
		t.Errorf("above the top: %d, %d", row, column)
	}
}

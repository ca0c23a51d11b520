package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"teleport/screen"
	"teleport/test/cluster"
)

// The person's terminal, and the one that a playback is watched in: it has a row
// more, for the bar.
const (
	columns, rows = 100, 30
)

// moment is what a person saw, with colours, and when.
type moment struct {
	name, screen string
	at           time.Time
}

// picture is what a terminal shows in the rows that the person has, with colours.
// Blanks at the end of a row count only where they are coloured: which of the
// others were written nobody sees, but tmux tells.
func (m *tmux) picture(t *testing.T) string {
	t.Helper()
	s := screen.New(columns, rows)
	for y, line := range strings.Split(m.do("capture-pane", "-e", "-N", "-p", "-E", strconv.Itoa(rows-1)).OK(t), "\n") {
		fmt.Fprintf(s, "\x1b[%d;1H%s", y+1, line)
	}
	var b strings.Builder
	for y := range rows {
		b.WriteString(trimPlain(string(s.AppendRow(nil, y, columns))) + "\n")
	}
	return b.String()
}

// trimPlain takes away the blanks without style at the end of a painted row.
func trimPlain(row string) string {
	const plain = "\x1b[0m"
	for {
		left := strings.TrimSuffix(row, plain)
		if strings.HasPrefix(left[max(0, strings.LastIndex(left, "\x1b[")):], plain) {
			left = strings.TrimRight(left, " ")
		}
		if left == row {
			return row
		}
		row = left
	}
}

// mark looks at a terminal once it has been still for a while: what is shown then
// is what was recorded last.
func (m *tmux) mark(t *testing.T, name string) moment {
	t.Helper()
	const still = 3 * time.Second
	var seen moment
	cluster.Until(t, within, "a still picture of "+name, func() bool {
		now := m.picture(t)
		if now != seen.screen {
			seen = moment{name, now, time.Now()}
		}
		return time.Since(seen.at) > still
	})
	return seen
}

// same compares what a terminal comes to show with a moment.
func (m *tmux) same(t *testing.T, by string, want moment) {
	t.Helper()
	var got string
	if !cluster.Poll(within, func() bool {
		got = m.picture(t)
		return got == want.screen
	}) {
		t.Errorf("%s shows of %s\n%s\nthe person saw\n%s\n%s", by, want.name, got, want.screen, firstDifference(got, want.screen))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if g[i] != w[i] {
			return fmt.Sprintf("row %d: %q, not %q", i, g[i], w[i])
		}
	}
	return ""
}

const sourceText = `// Command poem has words of many widths: 日本語, Ελλάδα, naïve, e` + "\u0301" + `.
package main

import "fmt"

type verse struct {
	line  string // one of them
	times int    // 0x2a
}

func main() {
	for i, v := range []verse{{"in vim it is coloured", 3}, {"and wide: 漢字かな交じり文", 1}} {
		fmt.Printf("%d\t%s\n", i, strings.Repeat(v.line, v.times))
	}
}
`

// largeText is some megabytes of lines, each of them another one.
func largeText() string {
	var b strings.Builder
	for i := range 40000 {
		fmt.Fprintf(&b, "%06d %s %x\n", i, [...]string{"the quick brown fox", "zwölf Boxkämpfer", "いろはにほへと", "съешь ещё этих булок"}[i%4], i*i*7919)
	}
	return b.String()
}

// TestScreensPlayBack: at each moment that is marked in a session of vim, htop and
// cat, tsh play shows the very screen that the person saw, colours included, and
// so does asciinema, of what was exported up to there.
func TestScreensPlayBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cluster.Opts{})
	cluster.Need(t, "vim", "vim")
	cluster.Need(t, "htop", "htop")
	large := largeText()
	for name, text := range map[string]string{"poem.go": sourceText, "large.txt": large} {
		if err := os.WriteFile(filepath.Join(w.os.Home, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	moments := w.work(t)

	var id string
	cluster.Until(t, within, "the recording", func() bool {
		var list []struct {
			ID    string `json:"session_id"`
			State string `json:"state"`
		}
		if json.Unmarshal([]byte(w.alice.Tsh("recordings", "ls", "--format=json").OK(t)), &list) != nil || len(list) != 1 {
			return false
		}
		id = list[0].ID
		return list[0].State == "stored"
	})
	var head struct{ Session struct{ Start time.Time } }
	first, _, _ := strings.Cut(w.alice.Tsh("play", "--format=json", id).OK(t), "\n")
	if err := json.Unmarshal([]byte(first), &head); err != nil {
		t.Fatal(err)
	}
	cast := w.alice.Tsh("recordings", "export", id).OK(t)
	for i, m := range moments {
		at := m.at.Sub(head.Session.Start)
		w.watch(t, fmt.Sprintf("play-%d", i), "tsh play", m, "tsh", "play", "--paused", "--from="+at.String(), id)
		part := write(t, filepath.Join(w.alice.Home, fmt.Sprintf("%d.cast", i)), castUntil(t, cast, at))
		player := []string{cluster.Need(t, "asciinema", "asciinema"), "cat", part}
		if i == len(moments)-1 { // that of the large file, in no time
			player = []string{player[0], "play", "-s", "100", "-i", "0.01", part}
		}
		w.watch(t, fmt.Sprintf("foreign-%d", i), "asciinema", m, player...)
	}
	text := w.alice.Tsh("recordings", "export", "--format=text", id).OK(t)
	if !strings.Contains(text, large) {
		t.Errorf("the text of %d bytes does not have the large file", len(text))
	}
}

// work is what a person does in a terminal, with the moments that are marked.
func (w *world) work(t *testing.T) []moment {
	t.Helper()
	var moments []moment
	m := newTmux(t, w)
	m.start(t, [2]string{strconv.Itoa(columns), strconv.Itoa(rows)}, "ssh", w.to)
	mark := func(name string) { t.Helper(); moments = append(moments, m.mark(t, name)) }
	m.see(t, "$")
	m.keys(t, "PS1='ready> '; clear", "Enter")
	m.see(t, "ready>")
	m.keys(t, "vim -n -u NONE -c 'syntax on' -c 'set number cursorline laststatus=2 ruler' poem.go", "Enter")
	m.see(t, "package main")
	mark("vim")
	m.keys(t, ":vsplit", "Enter", ":set list hlsearch", "Enter", "/verse", "Enter")
	m.keys(t, "G", "o", "written 日本", "Escape", "V", "k")
	m.see(t, "written")
	mark("vim with two windows and a selection")
	m.do("resize-window", "-x", "80", "-y", "24").OK(t)
	m.keys(t, "Escape")
	m.ask(t, ":echo &columns 'by' &lines", "80 by 24")
	m.do("resize-window", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows)).OK(t)
	m.ask(t, ":echo &columns 'by' &lines", fmt.Sprintf("%d by %d", columns, rows)) // the new size is on its way for a while
	mark("vim in a window that was smaller for a while")
	m.keys(t, ":qa!", "Enter")
	m.see(t, "ready>")
	m.keys(t, "clear; htop -d 100", "Enter")
	m.see(t, "F10")
	m.keys(t, "Z") // what it shows stays
	mark("htop")
	m.keys(t, "F2")
	m.see(t, "Categories")
	mark("the set-up of htop")
	m.keys(t, "F10", "q")
	m.see(t, "ready>")
	m.keys(t, "cat large.txt", "Enter")
	m.see(t, "039999")
	mark("cat")
	m.keys(t, "exit", "Enter")
	m.see(t, "ended with 0")
	return moments
}

// watch has a player show a moment in a terminal of its own.
func (w *world) watch(t *testing.T, name, by string, want moment, command ...string) {
	t.Helper()
	m := &tmux{w: w, path: cluster.Need(t, "tmux", "tmux"), socket: filepath.Join(w.alice.Home, name)}
	defer m.do("kill-server")
	m.do("new-session", "-d", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows+1), strings.Join(command, " ")+"; exec cat").OK(t)
	m.same(t, by, want)
}

// castUntil is an asciicast up to a moment.
func castUntil(t *testing.T, cast string, at time.Duration) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(cast) {
		var e []any
		if b.Len() > 0 {
			if err := json.Unmarshal([]byte(line), &e); err != nil || len(e) != 3 {
				t.Fatalf("%v: %s", err, line)
			}
			if e[0].(float64) > at.Seconds() {
				break
			}
		}
		b.WriteString(line)
	}
	return b.String()
}

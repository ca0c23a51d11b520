package playback

import (
	"bufio"
	"fmt"
	"strings"
	"time"

	"teleport/recfmt"
	"teleport/screen"
	"teleport/sshclient"
	"teleport/transcript"
)

const (
	// reflowAfter is how long a window must keep its size before what is told is
	// wrapped anew.
	reflowAfter = 150 * time.Millisecond
	// leastText is the room for text beside the time, below which there is no time.
	leastText = 16
)

// teller makes what a screen shows of the events of a session that has none, with a
// database or an app: what happened is told in words, one below the other.
type teller struct {
	size sshclient.Size // of the screen
	any  bool           // something stands there
	last string         // the time that was told
}

// records returns what is shown in place of records. An event that tells nothing
// is none, so that each step shows something.
func (t *teller) records(list []recfmt.Record) []recfmt.Record {
	out := make([]recfmt.Record, 0, len(list))
	for _, r := range list {
		if r.Type == recfmt.RecordEvent {
			if r.Type, r.Data = recfmt.RecordOutput, t.paint(r.At, transcript.Of(r.Data)); len(r.Data) == 0 {
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// colours are how the sorts of lines are painted.
var colours = map[transcript.Sort]string{transcript.Note: "\x1b[2m", transcript.Done: "\x1b[32m", transcript.Failed: "\x1b[31m"}

// paint forms lines for the screen: the time once, and the text beside it. A
// statement that would take more than half of the screen is shown in part.
func (t *teller) paint(at time.Duration, lines []transcript.Line) []byte {
	var b strings.Builder
	for _, l := range lines {
		clock := fmt.Sprintf("%6s  ", Clock(at))
		room := t.size.Columns - len(clock)
		if room < leastText {
			clock, room = "", max(t.size.Columns, 1)
		}
		margin := strings.Repeat(" ", len(clock))
		rows, left := wrap(l.String(), room, max(t.size.Rows/2, 3))
		for i, row := range rows {
			switch {
			case t.any:
				b.WriteByte('\n')
			default:
				b.WriteString("\x1b[?25l")
			}
			t.any = true
			if i > 0 || clock == t.last {
				b.WriteString(margin)
			} else {
				b.WriteString("\x1b[2m" + clock + "\x1b[m")
				t.last = clock
			}
			b.WriteString(colours[l.Sort] + row + "\x1b[m")
		}
		if left > 0 {
			b.WriteString("\n" + margin + "\x1b[2m" + cut(fmt.Sprintf("… %d more lines", left), room) + "\x1b[m")
		}
	}
	return []byte(b.String())
}

// wrap breaks a text into rows that are so wide at most, between words where it
// can, and at most so many; it says how many more there would be.
func wrap(text string, width, most int) (rows []string, left int) {
	for line := range strings.SplitSeq(text, "\n") {
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		for first := true; first || line != ""; first = false {
			n := fitting(line, width)
			if len(rows) < most {
				rows = append(rows, strings.TrimRight(line[:n], " "))
			} else {
				left++
			}
			if line = line[n:]; line == "" {
				break
			}
			if line = strings.TrimLeft(line, " "); line != "" && len(indent) < width/2 {
				line = indent + line
			}
		}
	}
	return rows, left
}

// fitting is how many bytes of a line a row holds: all, or up to a blank in its
// second half, or what there is room for.
func fitting(line string, width int) int {
	used, blank := 0, 0
	for i, r := range line {
		if used += screen.Width(r); used > width && i > 0 {
			if blank > 0 {
				return blank
			}
			return i
		}
		if r == ' ' && used > width/2 {
			blank = i
		}
	}
	return len(line)
}

// tellingWriter writes a database session as text: each event in a line that
// begins with its time. What is not the first line of a statement is set in.
type tellingWriter struct{ out *bufio.Writer }

func (w *tellingWriter) begin(Batch) error { return nil }

func (w *tellingWriter) record(r recfmt.Record) error {
	var lines []transcript.Line
	switch r.Type {
	case recfmt.RecordEvent:
		lines = transcript.Of(r.Data)
	case recfmt.RecordGap:
		lines = []transcript.Line{{Text: "[" + gapText(r.Data) + "]"}}
	}
	for _, l := range lines {
		clock := fmt.Sprintf("%6s  ", Clock(r.At))
		margin := "\n" + strings.Repeat(" ", len(clock))
		if _, err := w.out.WriteString(clock + strings.ReplaceAll(l.String(), "\n", margin) + "\n"); err != nil {
			return err
		}
	}
	return nil
}

func (w *tellingWriter) end() error { return nil }

// paintingWriter gives what is told to a writer of what was shown.
type paintingWriter struct {
	exporter
	tell teller
}

func (w *paintingWriter) record(r recfmt.Record) error {
	for _, r := range w.tell.records([]recfmt.Record{r}) {
		if err := w.exporter.record(r); err != nil {
			return err
		}
	}
	return nil
}

// telling is the exporter for a database session.
func telling(format string, e exporter, out *bufio.Writer) exporter {
	switch format {
	case Text:
		return &tellingWriter{out}
	case Asciicast:
		return &paintingWriter{exporter: e, tell: teller{size: sshclient.Size{Columns: 80, Rows: 24}}}
	}
	return e
}

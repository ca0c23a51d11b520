package playback

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"

	"teleport/fault"
	"teleport/recfmt"
	"teleport/screen"
	"teleport/transcript"
)

// Formats that a recording can be written in.
const (
	Asciicast = "asciicast" // version 2, for asciinema and players like it
	Text      = "text"      // the lines that were shown
	JSON      = "json"      // a record in each line
	YAML      = "yaml"      // a record in each document
)

// Export writes a whole recording. progress, which may be nil, is told how far it
// is; a recording of a running session ends where it is now.
func Export(ctx context.Context, src Source, format string, w io.Writer, progress func(done, of time.Duration)) error {
	out := bufio.NewWriterSize(w, 64<<10)
	var e exporter
	switch format {
	case Asciicast:
		e = &castWriter{out: out}
	case Text:
		e = &textWriter{out: out}
	case JSON:
		e = &jsonWriter{out: out}
	case YAML:
		e = &jsonWriter{out: out, yaml: true}
	default:
		return fault.New(fault.Invalid, "recordings are not written as %q", format)
	}
	var of time.Duration
	err := src.Play(ctx, 0, func(b Batch) error {
		if b.Info != nil {
			of = b.Duration
			if transcript.Tells(b.Info.Kind) {
				e = telling(format, e, out)
			}
			if err := e.begin(b); err != nil {
				return err
			}
		}
		for _, r := range b.Records {
			if err := e.record(r); err != nil {
				return err
			}
		}
		if n := len(b.Records); n > 0 && progress != nil {
			progress(b.Records[n-1].At, of)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := e.end(); err != nil {
		return err
	}
	return out.Flush()
}

type exporter interface {
	begin(b Batch) error
	record(r recfmt.Record) error
	end() error
}

// castHeader is the first line of an asciicast.
type castHeader struct {
	Version   int               `json:"version"`
	Width     int               `json:"width"`
	Height    int               `json:"height"`
	Timestamp int64             `json:"timestamp,omitempty"`
	Duration  float64           `json:"duration,omitempty"`
	Command   string            `json:"command,omitempty"`
	Title     string            `json:"title,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
}

// castWriter writes asciicast version 2. Its strings are UTF-8, so a character
// that two records share goes whole into the second.
type castWriter struct {
	out   *bufio.Writer
	plain bool // no terminal: line feeds begin lines
	cr    bool // the byte before was a carriage return
	held  []byte
	last  time.Duration
}

func (c *castWriter) begin(b Batch) error {
	i := b.Info
	c.plain = i.Columns == 0
	h := castHeader{Version: 2, Width: i.Columns, Height: i.Rows, Timestamp: i.Start.Unix(), Duration: b.Duration.Seconds(), Command: i.Command}
	if c.plain {
		h.Width, h.Height = 80, 24
	}
	if i.User != "" {
		h.Title = fmt.Sprintf("%s@%s, by %s", i.Login, i.Hostname, i.User)
	}
	if i.Term != "" {
		h.Env = map[string]string{"TERM": i.Term}
	}
	return c.line(h)
}

func (c *castWriter) line(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (c *castWriter) event(at time.Duration, kind, data string) error {
	return c.line([]any{json.Number(fmt.Sprintf("%.6f", at.Seconds())), kind, data})
}

func (c *castWriter) record(r recfmt.Record) error {
	c.last = r.At
	switch r.Type {
	case recfmt.RecordOutput, recfmt.RecordErrors:
		data := append(c.held, r.Data...)
		n := len(data) - unfinished(data)
		c.held = append([]byte(nil), data[n:]...)
		if data = data[:n]; c.plain {
			data = c.returns(data)
		}
		if len(data) == 0 {
			return nil
		}
		return c.event(r.At, "o", string(data))
	case recfmt.RecordResize:
		columns, rows, err := recfmt.ParseResize(r.Data)
		if err != nil {
			return err
		}
		return c.event(r.At, "r", fmt.Sprintf("%dx%d", columns, rows))
	case recfmt.RecordGap:
		return c.event(r.At, "m", gapText(r.Data))
	}
	return nil
}

func (c *castWriter) end() error {
	if len(c.held) == 0 {
		return nil
	}
	return c.event(c.last, "o", string(c.held))
}

// returns puts a carriage return before each line feed.
func (c *castWriter) returns(data []byte) []byte {
	out := make([]byte, 0, len(data)+16)
	for _, b := range data {
		if b == '\n' && !c.cr {
			out = append(out, '\r')
		}
		c.cr = b == '\r'
		out = append(out, b)
	}
	return out
}

// unfinished is how many bytes at the end are the beginning of a character.
func unfinished(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if last := b[len(b)-n:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				return n
			}
			return 0
		}
	}
	return 0
}

// gapText says what is missing.
func gapText(data []byte) string {
	var g recfmt.Gap
	if json.Unmarshal(data, &g) != nil || g.Bytes == 0 {
		return "not recorded here"
	}
	return fmt.Sprintf("%d bytes were not recorded: %s", g.Bytes, g.Reason)
}

// textWriter writes the lines that were on the screen, in the order in which
// they were complete. No escape sequence is left in them.
type textWriter struct {
	out    *bufio.Writer
	show   *screen.Screen
	failed error
}

func (t *textWriter) begin(b Batch) error {
	if b.Info.Columns == 0 {
		t.show = screen.NewPlain(screen.MaxColumns, 24)
	} else {
		t.show = screen.New(b.Info.Columns, b.Info.Rows)
	}
	t.show.Watch(func(l screen.Line) { t.line(string(l.Text)) })
	return nil
}

func (t *textWriter) line(s string) {
	if _, err := t.out.WriteString(s + "\n"); err != nil {
		t.failed = err
	}
}

func (t *textWriter) record(r recfmt.Record) error {
	if r.Type == recfmt.RecordGap {
		t.show.Flush()
		t.line("[" + gapText(r.Data) + "]")
	}
	if err := apply(t.show, r); err != nil {
		return err
	}
	return t.failed
}

func (t *textWriter) end() error {
	if t.show != nil {
		t.show.Flush()
	}
	return t.failed
}

// apply shows a record on a screen.
func apply(s *screen.Screen, r recfmt.Record) error {
	s.At(r.At)
	switch r.Type {
	case recfmt.RecordOutput, recfmt.RecordErrors:
		_, _ = s.Write(r.Data) // it never fails
		s.Settle()
	case recfmt.RecordResize:
		columns, rows, err := recfmt.ParseResize(r.Data)
		if err != nil {
			return err
		}
		s.Resize(columns, rows)
	}
	return nil
}

// jsonWriter writes one JSON object a line: the session first, then its records.
type jsonWriter struct {
	out  *bufio.Writer
	yaml bool
}

func (j *jsonWriter) write(v any) error {
	b, err := json.Marshal(v)
	if err == nil && j.yaml {
		if b, err = yaml.JSONToYAML(b); err == nil {
			b = append([]byte("---\n"), bytes.TrimSuffix(b, []byte("\n"))...)
		}
	}
	if err == nil {
		_, err = j.out.Write(append(b, '\n'))
	}
	return err
}

// jsonRecord is a record as programs read it.
type jsonRecord struct {
	At      float64         `json:"at"` // seconds since the session's start
	Type    string          `json:"type"`
	Text    string          `json:"text,omitempty"`
	Data    string          `json:"data,omitempty"` // base64, of bytes that are no text
	Columns int             `json:"columns,omitempty"`
	Rows    int             `json:"rows,omitempty"`
	Event   json.RawMessage `json:"event,omitempty"`
}

func (j *jsonWriter) begin(b Batch) error {
	return j.write(struct {
		Type       string       `json:"type"`
		Session    *recfmt.Info `json:"session"`
		Duration   float64      `json:"duration"`
		Unfinished bool         `json:"unfinished,omitempty"`
	}{"session", b.Info, b.Duration.Seconds(), b.Unfinished})
}

func (j *jsonWriter) record(r recfmt.Record) error {
	out := jsonRecord{At: r.At.Seconds()}
	switch r.Type {
	case recfmt.RecordOutput, recfmt.RecordErrors:
		out.Type = "output"
		if r.Type == recfmt.RecordErrors {
			out.Type = "errors"
		}
		if utf8.Valid(r.Data) {
			out.Text = string(r.Data)
		} else {
			out.Data = base64.StdEncoding.EncodeToString(r.Data)
		}
	case recfmt.RecordResize:
		var err error
		out.Type = "resize"
		if out.Columns, out.Rows, err = recfmt.ParseResize(r.Data); err != nil {
			return err
		}
	case recfmt.RecordEvent, recfmt.RecordGap:
		out.Type = "event"
		if r.Type == recfmt.RecordGap {
			out.Type = "gap"
		}
		if !json.Valid(r.Data) {
			return fault.New(fault.Untrusted, "a record of the recording is malformed")
		}
		out.Event = r.Data
	default:
		return nil
	}
	return j.write(out)
}

func (j *jsonWriter) end() error { return nil }

package playback

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"teleport/fault"
	"teleport/recfmt"
	"teleport/sshclient"
)

// fake is a recording in memory that is read as the auth service gives it: from
// the last record before a moment on, after a picture of the screen.
type fake struct {
	info    recfmt.Info
	records []recfmt.Record
	err     error // at the end
	asked   []time.Duration
}

func (f *fake) duration() time.Duration {
	if len(f.records) == 0 {
		return 0
	}
	return f.records[len(f.records)-1].At
}

func (f *fake) size() sshclient.Size { return sshclient.Size{Columns: 80, Rows: 24} }

func (f *fake) Play(ctx context.Context, from time.Duration, each func(Batch) error) error {
	f.asked = append(f.asked, from)
	info := f.info
	if err := each(Batch{Info: &info, Duration: f.duration()}); err != nil {
		return err
	}
	show := newScreen(&f.info, f.size())
	n := 0
	for ; n < len(f.records) && f.records[n].At < from; n++ {
		if err := apply(show, f.records[n]); err != nil {
			return err
		}
	}
	if n > 0 {
		at := f.records[n-1].At
		columns, rows := show.Size()
		if err := each(Batch{Records: []recfmt.Record{{Type: recfmt.RecordResize, At: at, Data: recfmt.ResizeData(columns, rows)},
			{Type: recfmt.RecordOutput, At: at, Data: show.AppendRepaint(nil)}}}); err != nil {
			return err
		}
	}
	for _, r := range f.records[n:] {
		if err := each(Batch{Records: []recfmt.Record{r}}); err != nil {
			return err
		}
	}
	return f.err
}

func out(at time.Duration, text string) recfmt.Record {
	return recfmt.Record{Type: recfmt.RecordOutput, At: at, Data: []byte(text)}
}

func shell(records ...recfmt.Record) *fake {
	return &fake{info: recfmt.Info{SessionID: "s", Kind: "ssh", User: "alice", Login: "root", Hostname: "web-1", Start: time.Unix(1700000000, 0).UTC(), Columns: 20, Rows: 5, Term: "xterm"}, records: records}
}

func exported(t *testing.T, src Source, format string) string {
	t.Helper()
	var b bytes.Buffer
	if err := Export(t.Context(), src, format, &b, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestAsciicast(t *testing.T) {
	src := shell(out(time.Second, "a\xe6\x97"), out(2*time.Second, "\xa5\x1b[1mb\"\r\n<"),
		recfmt.Record{Type: recfmt.RecordResize, At: 3 * time.Second, Data: recfmt.ResizeData(30, 6)},
		recfmt.Record{Type: recfmt.RecordEvent, At: 3 * time.Second, Data: []byte(`{"event":"session.join"}`)},
		recfmt.Record{Type: recfmt.RecordGap, At: 4 * time.Second, Data: []byte(`{"bytes":7,"reason":"full disk"}`)},
		out(5*time.Second, "x\xff"))
	want := `{"version":2,"width":20,"height":5,"timestamp":1700000000,"duration":5,"title":"root@web-1, by alice","env":{"TERM":"xterm"}}
[1.000000,"o","a"]
[2.000000,"o","日\u001b[1mb\"\r\n<"]
[3.000000,"r","30x6"]
[4.000000,"m","7 bytes were not recorded: full disk"]
[5.000000,"o","x\ufffd"]
`
	got := exported(t, src, Asciicast)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for line := range strings.Lines(got) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
	// What was written is read again.
	path := filepath.Join(t.TempDir(), "x.cast")
	if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
		t.Fatal(err)
	}
	if text := exported(t, File{path}, Text); text != "a日b\"\n<x\uFFFD\n" {
		t.Errorf("%q", text)
	}
}

func TestPlainOutput(t *testing.T) {
	src := shell(out(0, "one\ntwo\r\n"), recfmt.Record{Type: recfmt.RecordErrors, At: 1, Data: []byte("three\n")})
	src.info.Columns, src.info.Rows = 0, 0
	if got := exported(t, src, Text); got != "one\ntwo\nthree\n" {
		t.Errorf("text %q", got)
	}
	if got := exported(t, src, Asciicast); !strings.Contains(got, `"width":80,"height":24`) || !strings.Contains(got, `"one\r\ntwo\r\n"`) || !strings.Contains(got, `"three\r\n"`) {
		t.Errorf("asciicast %s", got)
	}
}

func TestText(t *testing.T) {
	src := shell(out(0, "$ "), out(1, "l"), out(2, "s\r\n"), out(3, "\x1b]0;title\x07\x1b[32mfile\x1b[0m\r\n"),
		recfmt.Record{Type: recfmt.RecordGap, At: 4, Data: []byte(`{"bytes":7,"reason":"full disk"}`)}, out(5, "\x1b[2J\x1b[Hend"))
	if got, want := exported(t, src, Text), "$ ls\nfile\n[7 bytes were not recorded: full disk]\nend\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestJSON(t *testing.T) {
	src := shell(out(1500*time.Millisecond, "hi"), out(2*time.Second, "\xff"), recfmt.Record{Type: recfmt.RecordEvent, At: 2 * time.Second, Data: []byte(`{"event":"exec"}`)},
		recfmt.Record{Type: 'Z', At: 3 * time.Second, Data: []byte("a later version's")})
	got := strings.Split(strings.TrimSpace(exported(t, src, JSON)), "\n")
	for i, want := range []string{`"session_id":"s"`, `{"at":1.5,"type":"output","text":"hi"}`, `{"at":2,"type":"output","data":"/w=="}`, `{"at":2,"type":"event","event":{"event":"exec"}}`} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Errorf("line %d of %q is not %s", i, got, want)
		}
	}
	if len(got) != 4 {
		t.Errorf("%d lines", len(got))
	}
	if y := exported(t, src, YAML); strings.Count(y, "---\n") != 4 || !strings.Contains(y, "text: hi\n") {
		t.Errorf("yaml\n%s", y)
	}
}

func TestExportFails(t *testing.T) {
	src := shell(out(0, "x"))
	src.err = fault.New(fault.NotFound, "gone")
	if err := Export(t.Context(), src, Text, &bytes.Buffer{}, nil); fault.KindOf(err) != fault.NotFound {
		t.Error(err)
	}
	if err := Export(t.Context(), src, "gif", &bytes.Buffer{}, nil); fault.KindOf(err) != fault.Invalid {
		t.Error(err)
	}
}

// A recording in the stored form plays from a file when it is not encrypted.
func TestStoredFile(t *testing.T) {
	e, file, err := recfmt.NewEncoder(recfmt.EncoderOptions{Segment: recfmt.Segment{SessionID: "s", Kind: "ssh", Cluster: "example"}})
	if err != nil {
		t.Fatal(err)
	}
	info, err := json.Marshal(shell().info)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []recfmt.Record{{Type: recfmt.RecordInfo, Data: info}, out(time.Second, "hello")} {
		if err := e.Add(r); err != nil {
			t.Fatal(err)
		}
	}
	file = e.Finish(e.Chunk(file), recfmt.EndSession)
	path := filepath.Join(t.TempDir(), "x.rec")
	for _, c := range []struct {
		name string
		data []byte
		kind fault.Kind
	}{{"whole", file, ""}, {"cut", file[:len(file)-3], fault.Untrusted}, {"altered", append(bytes.Clone(file[:200]), file[201:]...), fault.Untrusted}, {"other", []byte("hello\n"), fault.Invalid},
		{"empty", nil, fault.Invalid}, {"bad cast", []byte("{\"version\":2,\"width\":80,\"height\":24}\n[1,2]\n"), fault.Invalid}, {"cast 1", []byte(`{"version":1}`), fault.Invalid}} {
		if err := os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		err := Export(t.Context(), File{path}, Text, &b, nil)
		if c.kind == "" && (err != nil || b.String() != "hello\n") || c.kind != "" && fault.KindOf(err) != c.kind {
			t.Errorf("%s: %q, %v", c.name, b.String(), err)
		}
	}
}

func FuzzCast(f *testing.F) {
	f.Add([]byte("{\"version\":2,\"width\":80,\"height\":24}\n[1,\"o\",\"x\"]\n[2,\"r\",\"3x4\"]\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_ = playCast(bytes.NewReader(in), func(b Batch) error {
			for _, r := range b.Records {
				if r.At < 0 || r.Type != recfmt.RecordOutput && r.Type != recfmt.RecordResize {
					t.Errorf("%+v", r)
				}
			}
			return nil
		})
	})
}

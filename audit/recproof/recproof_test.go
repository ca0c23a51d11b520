package recproof_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"teleport/audit/recproof"
	"teleport/fault"
	"teleport/recfmt"
)

const (
	one = "11111111-1111-4111-8111-111111111111"
	two = "22222222-2222-4222-8222-222222222222"
)

// record makes a finished recording, and where its frames begin.
func record(t *testing.T, id string, lines ...string) (data []byte, marks []int) {
	t.Helper()
	e, data, err := recfmt.NewEncoder(recfmt.EncoderOptions{Segment: recfmt.Segment{SessionID: id, Kind: "ssh", HostID: "h", Start: time.Now()}})
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range lines {
		marks = append(marks, len(data))
		if err := e.Add(recfmt.Record{Type: recfmt.RecordOutput, At: time.Duration(i) * time.Second, Data: []byte(l)}); err != nil {
			t.Fatal(err)
		}
		data = e.Chunk(data)
	}
	marks = append(marks, len(data))
	return e.Finish(data, recfmt.EndSession), marks
}

func uploaded(id string, data []byte) []byte {
	sum, _ := recfmt.Verify(id, bytes.NewReader(data))
	return fmt.Appendf(nil, `{"event":"session.upload","sid":%q,"size":%d,"sha256":"%x","head":%q,"url":"file:///x"}`, id, len(data), sha256.Sum256(data), sum.Chain)
}

func TestProve(t *testing.T) {
	a, marks := record(t, one, "one", "two", "three")
	b, _ := record(t, two, "four")
	rewritten, _ := record(t, one, "one", "tw0", "three")
	altered := bytes.Clone(a)
	altered[marks[1]+40] ^= 1
	end := bytes.Clone(a)
	end[len(end)-1] ^= 1
	moved := append(append(bytes.Clone(a[:marks[0]]), a[marks[1]:marks[2]]...), append(bytes.Clone(a[marks[0]:marks[1]]), a[marks[2]:]...)...)
	for _, c := range []struct {
		name   string
		stored []byte
		kind   string
		offset int
	}{
		{"good", a, "", 0},
		{"removed", nil, recproof.Missing, 0},
		{"cut between frames", a[:marks[2]], recproof.CutShort, marks[2]},
		{"cut in a frame", a[:marks[2]+3], recproof.CutShort, marks[2]},
		{"cut to nothing", []byte{}, recproof.CutShort, 0},
		{"altered", altered, recproof.Altered, marks[1]},
		{"altered at its end", end, recproof.Altered, len(a) - recfmt.EndFrameSize},
		{"a chunk taken out", append(bytes.Clone(a[:marks[1]]), a[marks[2]:]...), recproof.Altered, marks[1]},
		{"two chunks exchanged", moved, recproof.Altered, marks[0]},
		{"longer", append(bytes.Clone(a), 'S', 0, 0, 0, 0), recproof.Altered, len(a)},
		{"another session's", b, recproof.Altered, 0},
		{"made anew", rewritten, recproof.Swapped, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := recproof.NewLedger()
			l.Event(uploaded(one, rewritten[:len(rewritten)-recfmt.EndFrameSize])) // replaced later
			l.Event(uploaded(one, a))
			l.Event(uploaded(two, b))
			r, err := l.Prove(t.Context(), time.Now(), func(_ context.Context, id string) (io.ReadCloser, error) {
				if id == two {
					return io.NopCloser(bytes.NewReader(b)), nil
				}
				if c.stored == nil {
					return nil, fault.New(fault.NotFound, "no")
				}
				return io.NopCloser(bytes.NewReader(c.stored)), nil
			})
			if c.kind == "" {
				if err != nil || r.Recordings != 2 || r.Bytes != int64(len(a)+len(b)) {
					t.Errorf("%+v, %v", r, err)
				}
				return
			}
			if !errors.Is(err, fault.Untrusted) || r.Count != 1 || r.Problems[0].SessionID != one || r.Problems[0].Kind != c.kind || r.Problems[0].Offset != int64(c.offset) {
				t.Errorf("%+v, %v, want %s at %d", r, err, c.kind, c.offset)
			}
		})
	}
}

// TestNotStored: a session that was to be recorded, and of which the log knows no
// recording and no gap, is named when it had time enough.
func TestNotStored(t *testing.T) {
	now := time.Now()
	old, fresh := now.Add(-24*time.Hour).Format(time.RFC3339), now.Add(-time.Hour).Format(time.RFC3339)
	l := recproof.NewLedger()
	for _, e := range []string{
		`{"event":"session.start","sid":"lost","time":"` + old + `","session_recording":"node","server_id":"h"}`,
		`{"event":"session.start","sid":"off","time":"` + old + `","session_recording":"off"}`,
		`{"event":"session.start","sid":"fresh","time":"` + fresh + `","session_recording":"node"}`,
		`{"event":"session.start","sid":"long","time":"` + old + `","session_recording":"node"}`,
		`{"event":"session.end","sid":"long","time":"` + fresh + `"}`,
		`{"event":"session.start","sid":"gap","time":"` + old + `","session_recording":"node"}`,
		`{"event":"session.recording.gap","sid":"gap","time":"` + old + `"}`,
		`{"event":"exec","sid":"other","command":"\"session.start\""}`, `not json "session.start"`, `{"event":"session.start"}`,
	} {
		l.Event([]byte(e))
	}
	r, err := l.Prove(t.Context(), now, nil)
	if err != nil || r.Late != 1 || r.NotStored[0].SessionID != "lost" || r.NotStored[0].HostID != "h" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestDirectory(t *testing.T) {
	a, _ := record(t, one, "one")
	b, _ := record(t, two, "two")
	dir := t.TempDir()
	for path, data := range map[string][]byte{one + ".rec": a, filepath.Join("ab", two, "0123.rec"): b, two + ".txt": []byte("no"), "README": nil} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open, err := recproof.Directory(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := recproof.NewLedger()
	l.Event(uploaded(one, a))
	l.Event(uploaded(two, b))
	if r, err := l.Prove(t.Context(), time.Now(), open); err != nil || r.Recordings != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := os.Remove(filepath.Join(dir, one+".rec")); err != nil {
		t.Fatal(err)
	}
	if r, err := l.Prove(t.Context(), time.Now(), open); err == nil || r.Count != 1 || r.Problems[0].Kind != recproof.Missing {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := recproof.Directory(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there is taken")
	}
}

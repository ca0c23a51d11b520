package recsearch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"teleport/auth/authapi"
	"teleport/auth/recordings"
	"teleport/backend/memkv"
	"teleport/blob/diskblob"
	"teleport/keystore/softkeys"
	"teleport/recfmt"
	"teleport/screen"
)

type key struct{ id *age.HybridIdentity }

func (k key) Identities() []age.Identity  { return []age.Identity{k.id} }
func (k key) Recipients() []age.Recipient { return []age.Recipient{k.id.Recipient()} }

// given is a recording in memory, one record a chunk.
type given struct{ records []recfmt.Record }

func (g *given) Next() ([]recfmt.Record, error) {
	if len(g.records) == 0 {
		return nil, io.EOF
	}
	r := g.records[:1]
	g.records = g.records[1:]
	return r, nil
}

func newService(t testing.TB) *Service {
	t.Helper()
	blobs, err := diskblob.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Deps{Blobs: blobs, Keys: key{id}, Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// indexed stores the index of some records and returns its bytes.
func indexed(t testing.TB, s *Service, m *recordings.Meta, records []recfmt.Record) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.build(t.Context(), nameOf(m), &given{records}, &b); err != nil {
		t.Fatal(err)
	}
	if err := s.d.Blobs.Put(t.Context(), nameOf(m)+suffix, bytes.NewReader(b.Bytes()), int64(b.Len())); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestSearchesWaitForEachOther: whoever may search does not take the whole auth
// service for it.
func TestSearchesWaitForEachOther(t *testing.T) {
	s := newService(t)
	for range mostSearches {
		s.searches <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Search(ctx, authapi.RecordingQuery{Text: "x"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("one more: %v", err)
	}
}

// TestForgedIndex: whoever writes into the storage knows the published key. What is
// made to it paints no screen and is found by nobody.
func TestForgedIndex(t *testing.T) {
	kv := memkv.New(memkv.Options{})
	sealer, err := softkeys.New(kv, bytes.Repeat([]byte{7}, softkeys.KEKSize))
	if err != nil {
		t.Fatal(err)
	}
	published, err := recordings.EnsureKeys(t.Context(), kv, sealer)
	if err != nil {
		t.Fatal(err)
	}
	own := published.Own()
	s := newService(t)
	m := &recordings.Meta{SessionID: "s", Key: "s/0123.rec"}
	shown := []recfmt.Record{{Type: recfmt.RecordInfo, Data: []byte(`{"columns":20,"rows":5}`)}, record(time.Second, "password")}
	for name, c := range map[string]struct {
		made  Keys
		found int
	}{"by auth": {own, 1}, "by whoever knows the published key": {published, 0}} {
		s.d.Keys = c.made
		indexed(t, s, m, shown)
		s.d.Keys = own
		if hits, err := s.hits(t.Context(), m, newMatcher("password")); err != nil || len(hits) != c.found {
			t.Errorf("%s: %v, %v", name, hits, err)
		}
	}
	// After a rotation, what was made before opens still.
	s.d.Keys = own
	indexed(t, s, m, shown)
	if err := published.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if hits, err := s.hits(t.Context(), m, newMatcher("password")); err != nil || len(hits) != 1 {
		t.Errorf("after a rotation: %v, %v", hits, err)
	}
	if text := fmt.Sprintf("%v %+v", own, published); strings.Contains(text, "AGE") || len(text) > 60 {
		t.Errorf("keys print: %s", text)
	}
}

func record(at time.Duration, text string) recfmt.Record {
	return recfmt.Record{Type: recfmt.RecordOutput, At: at, Data: []byte(text)}
}

func TestSearch(t *testing.T) {
	s := newService(t)
	m := &recordings.Meta{SessionID: "s", Key: "s/0123.rec"}
	raw := indexed(t, s, m, []recfmt.Record{{Type: recfmt.RecordInfo, Data: []byte(`{"columns":20,"rows":5}`)},
		record(time.Second, "\x1b]0;hidden title\x07\x1b[3;5Hword\x1b[3;1Hpass"), record(2*time.Second, "\x1b[5;15Hwrapped over"),
		record(3*time.Second, "\x1b[2J\x1b[Hsplit in"), record(4*time.Second, " pieces 日本 Émile"), {Type: recfmt.RecordResize, At: 5 * time.Second, Data: []byte{1}}})
	for _, c := range []struct {
		text  string
		at    time.Duration
		row   int32
		colum int32
	}{{"password", time.Second, 3, 1}, {"word", time.Second, 3, 5}, {"wrapped over", 2 * time.Second, 4, 15}, {"split in pieces", 4 * time.Second, 1, 1},
		{"日本", 4 * time.Second, 1, 17}, {"émile", 4 * time.Second, 2, 2}, {"PASS", 0, 0, 0}, {"hidden", 0, 0, 0}, {"absent", 0, 0, 0}} {
		hits, err := s.hits(t.Context(), m, newMatcher(c.text))
		switch {
		case err != nil:
			t.Errorf("%s: %v", c.text, err)
		case c.row == 0 && len(hits) != 0, c.row != 0 && len(hits) != 1:
			t.Errorf("%s: %v", c.text, hits)
		case c.row != 0 && (time.Duration(hits[0].AtNano) != c.at || hits[0].Row != c.row || hits[0].Column != c.colum):
			t.Errorf("%s: %v", c.text, hits[0])
		}
	}
	if bytes.Contains(raw, []byte("pass")) || bytes.Contains(raw, []byte("word")) {
		t.Error("the index is not sealed")
	}
	// An index is bound to its recording, and garbage is no index.
	other := &recordings.Meta{SessionID: "t", Key: "t/4567.rec"}
	for _, b := range [][]byte{raw, raw[:len(raw)/2], []byte("garbage")} {
		if err := s.d.Blobs.Put(t.Context(), "t/4567.index", bytes.NewReader(b), int64(len(b))); err != nil {
			t.Fatal(err)
		}
		if hits, err := s.hits(t.Context(), other, newMatcher("password")); err != nil || len(hits) != 0 {
			t.Errorf("%v, %v", hits, err)
		}
		if records, from, err := s.Paint(t.Context(), other, time.Hour); err != nil || records != nil || from != 0 {
			t.Errorf("%v, %v, %v", records, from, err)
		}
	}
}

// TestSearchInDatabases: the words of statements and of errors are found, and none
// of an event's fields beside; of other sessions, no events at all.
func TestSearchInDatabases(t *testing.T) {
	s := newService(t)
	events := []recfmt.Record{
		{Type: recfmt.RecordEvent, At: time.Second, Data: []byte(`{"event":"db.session.query","uid":"hidden","db_query":"select *\n  from items"}`)},
		{Type: recfmt.RecordEvent, At: 2 * time.Second, Data: []byte(`{"event":"db.session.result","error_code":"42P01","error":"no items"}`)}}
	for kind, want := range map[string]map[string]int{
		"db":  {"from items": 1, "items": 2, "42P01": 1, "hidden": 0},
		"ssh": {"from items": 0},
	} {
		m := &recordings.Meta{SessionID: kind, Key: kind + "/0123.rec"}
		indexed(t, s, m, append([]recfmt.Record{{Type: recfmt.RecordInfo, Data: []byte(`{"kind":"` + kind + `"}`)}}, events...))
		for text, n := range want {
			if hits, err := s.hits(t.Context(), m, newMatcher(text)); err != nil || len(hits) != n || n == 1 && time.Duration(hits[0].AtNano)%time.Second != 0 {
				t.Errorf("%s in %s: %v, %v", text, kind, hits, err)
			}
		}
	}
}

func hour(size int) []recfmt.Record {
	var records []recfmt.Record
	records = append(records, recfmt.Record{Type: recfmt.RecordInfo, Data: []byte(`{"columns":80,"rows":24}`)})
	line := strings.Repeat("\x1b[32mtext\x1b[0m of a program ", 40) + "\r\n"
	n := size / len(line)
	for i := range n {
		records = append(records, record(time.Hour*time.Duration(i)/time.Duration(n), fmt.Sprint(i, " ", line)))
	}
	return records
}

// A playback from a keyframe on shows what one from the beginning shows.
func TestPaint(t *testing.T) {
	s := newService(t)
	m := &recordings.Meta{SessionID: "s", Key: "s/0123.rec"}
	records := hour(4 << 20)
	indexed(t, s, m, records)
	painted := 0
	for _, at := range []time.Duration{0, time.Second, 10 * time.Minute, 33*time.Minute + 7*time.Second, time.Hour} {
		paint, from, err := s.Paint(t.Context(), m, at)
		if err != nil || from > at+time.Microsecond {
			t.Fatalf("%s: from %s, %v", at, from, err)
		}
		if len(paint) > 0 {
			painted++
		}
		a, b := screen.New(80, 24), screen.New(80, 24)
		for _, r := range records[1:] {
			if r.At <= at {
				_, _ = a.Write(r.Data)
			}
		}
		for _, r := range paint {
			if r.Type == recfmt.RecordOutput {
				_, _ = b.Write(r.Data)
			}
		}
		for _, r := range records[1:] {
			if r.At >= from && r.At <= at {
				_, _ = b.Write(r.Data)
			}
		}
		if !bytes.Equal(a.AppendRepaint(nil), b.AppendRepaint(nil)) {
			t.Errorf("%s: the screens differ", at)
		}
	}
	if painted < 3 {
		t.Errorf("%d moments were painted", painted)
	}
}

func FuzzFilter(f *testing.F) {
	f.Add("a word of ÉMILE", 2, 8)
	f.Fuzz(func(t *testing.T, text string, a, b int) {
		if a < 0 || b < a || b > len(text) {
			return
		}
		g := newFilter()
		g.add(strings.ToValidUTF8(text[:a], "") + strings.ToValidUTF8(text[a:b], "") + strings.ToValidUTF8(text[b:], ""))
		if !g.fold().may(strings.ToValidUTF8(text[a:b], "")) {
			t.Errorf("%q of %q is not found", text[a:b], text)
		}
	})
}

// BenchmarkSeek finds the picture of a moment and the records up to it in a
// recording of an hour and 50 MB.
func BenchmarkSeek(b *testing.B) {
	s := newService(b)
	m := &recordings.Meta{SessionID: "s", Key: "s/0123.rec"}
	records := hour(50 << 20)
	begun := time.Now()
	indexed(b, s, m, records)
	b.Logf("the index took %s", time.Since(begun))
	at := 0
	for b.Loop() {
		at++
		t := time.Hour * time.Duration(at%97) / 97
		paint, from, err := s.Paint(b.Context(), m, t)
		if err != nil {
			b.Fatal(err)
		}
		show := screen.New(80, 24)
		for _, r := range append(paint, records[1:]...) {
			if r.At > t {
				break
			}
			if r.Type == recfmt.RecordOutput && (r.At >= from || len(paint) > 0 && r.At == paint[0].At) {
				_, _ = show.Write(r.Data)
			}
		}
	}
}

// TestDrafts: a long index leaves memory, is the same, and leaves no file behind.
func TestDrafts(t *testing.T) {
	for _, size := range []int{0, 100, shortDraft, shortDraft + 1, 3 * shortDraft} {
		d := &draft{dir: t.TempDir()}
		want := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		for rest := want; len(rest) > 0; {
			n, err := d.Write(rest[:min(len(rest), 60000)])
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		body, n, err := d.whole()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || n != int64(size) || !bytes.Equal(got, want) {
			t.Errorf("%d bytes come back as %d, said to be %d: %v", size, len(got), n, err)
		}
		if inFile := d.file != nil; inFile != (size > shortDraft) {
			t.Errorf("%d bytes are in a file: %t", size, inFile)
		}
		d.close()
		if left, err := os.ReadDir(d.dir); err != nil || len(left) > 0 {
			t.Errorf("%v is left, %v", left, err)
		}
	}
}

// TestFiltersAreUsedAgain: nothing of one recording is found in the next.
func TestFiltersAreUsedAgain(t *testing.T) {
	s := newService(t)
	for i := range 3 {
		m := &recordings.Meta{SessionID: fmt.Sprint(i), Key: fmt.Sprintf("%d/x.rec", i)}
		indexed(t, s, m, []recfmt.Record{{Type: recfmt.RecordOutput, Data: fmt.Appendf(nil, "only%dhere\n", i)}})
		for j := range 3 {
			hits, err := s.hits(t.Context(), m, newMatcher(fmt.Sprintf("only%dhere", j)))
			if err != nil || (len(hits) > 0) != (i == j) {
				t.Errorf("in recording %d, what is in %d: %v %v", i, j, hits, err)
			}
		}
		x, err := s.open(t.Context(), nameOf(m), nameOf(m)+suffix)
		if err != nil {
			t.Fatal(err)
		}
		if x.dir.Filter.may("only9here") {
			t.Errorf("the filter of recording %d has what was never shown", i)
		}
	}
}

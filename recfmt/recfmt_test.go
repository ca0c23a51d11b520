package recfmt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"teleport/fault"
)

const sid = "0f8e1a64-5b7c-4a57-9c3e-5b2f7c1d9e00"

func identity(t testing.TB) *age.HybridIdentity {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func segment() Segment {
	return Segment{SessionID: sid, Kind: "ssh", Cluster: "c", HostID: "h", Generation: 3, Start: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}
}

func begin(t testing.TB, to ...age.Recipient) (*Encoder, []byte) {
	t.Helper()
	e, b, err := NewEncoder(EncoderOptions{Segment: segment(), Recipients: to})
	if err != nil {
		t.Fatal(err)
	}
	return e, b
}

func add(t testing.TB, e *Encoder, at time.Duration, typ RecordType, data string) Record {
	t.Helper()
	r := Record{Type: typ, At: at, Data: []byte(data)}
	if err := e.Add(r); err != nil {
		t.Fatal(err)
	}
	return r
}

// readAll opens every chunk of a recording.
func readAll(t testing.TB, file []byte, ids ...age.Identity) ([]Record, *Scanner) {
	t.Helper()
	s := NewScanner(sid, bytes.NewReader(file))
	var o *Opener
	var out []Record
	for {
		f, err := s.Next()
		if err == io.EOF {
			return out, s
		}
		if err != nil {
			t.Fatal(err)
		}
		switch f.Type {
		case FrameSegment:
			if o, err = s.Segment().Open(ids...); err != nil {
				t.Fatal(err)
			}
		case FrameChunk:
			rs, err := o.Records(f)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, rs...)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	id := identity(t)
	for _, to := range [][]age.Recipient{nil, {id.Recipient()}} {
		e, file := begin(t, to...)
		var want []Record
		for i := range 300 {
			want = append(want, add(t, e, time.Duration(i)*37*time.Millisecond, RecordOutput, strings.Repeat(fmt.Sprint("line ", i, "\r\n"), i%40)))
			if i%50 == 49 {
				file = e.Chunk(file)
			}
		}
		want = append(want, add(t, e, 20*time.Second, RecordResize, string(ResizeData(120, 40))))
		file = e.Finish(file, EndSession)
		got, s := readAll(t, file, id)
		if !equal(got, want) {
			t.Errorf("%d recipients: got other records", len(to))
		}
		end := s.End()
		if end == nil || end.Reason != EndSession || end.Chunks != 7 || end.Records != 301 || end.Duration != 20*time.Second {
			t.Errorf("end %+v", end)
		}
		if len(to) > 0 && bytes.Contains(file, []byte("line 39")) {
			t.Error("the text shows in an encrypted file")
		}
		last, err := ReadFrame(file[len(file)-EndFrameSize:], 0)
		if err != nil {
			t.Fatal(err)
		}
		if tail, err := ParseEnd(last.Payload); err != nil || tail != *end {
			t.Errorf("the end from the file's tail: %+v, %v", tail, err)
		}
		x, err := ReadFrame(file[end.Index:], end.Index)
		if err != nil {
			t.Fatal(err)
		}
		if index, err := ParseIndex(x.Payload); err != nil || len(index) != 7 || index[0].First != 0 {
			t.Errorf("index %+v, %v", index, err)
		}
	}
}

func equal(a, b []Record) bool {
	return len(a) == len(b) && func() bool {
		for i := range a {
			if a[i].Type != b[i].Type || a[i].At != b[i].At || !bytes.Equal(a[i].Data, b[i].Data) {
				return false
			}
		}
		return true
	}()
}

// What a killed writer left: chunks, then journal frames. It is a good recording,
// and a second writer goes on behind it with a key of its own.
func TestJournalAfterACrash(t *testing.T) {
	id := identity(t)
	e, file := begin(t, id.Recipient())
	want := []Record{add(t, e, 1*time.Second, RecordOutput, "one")}
	stale := e.Journal(nil)
	want = append(want, add(t, e, 2*time.Second, RecordOutput, "two"))
	file = e.Chunk(file)
	want = append(want, add(t, e, 3*time.Second, RecordOutput, "three"))
	journal := e.Journal(nil)
	want = append(want, add(t, e, 4*time.Second, RecordErrors, "four"))
	journal = e.Journal(journal)
	if again := e.Journal(nil); again != nil {
		t.Errorf("a journal of nothing: %x", again)
	}
	if _, err := Verify(sid, bytes.NewReader(append(bytes.Clone(file), stale...))); err == nil {
		t.Error("a journal that a chunk has replaced still follows")
	}
	file = append(file, journal...)
	sum, err := Verify(sid, bytes.NewReader(file))
	if err != nil || sum.End != nil || sum.Records != 4 {
		t.Fatalf("%+v, %v", sum, err)
	}
	seg := segment()
	seg.Number = 1
	e2, frame, err := NewEncoder(EncoderOptions{Segment: seg, Recipients: []age.Recipient{id.Recipient()}, After: sum.Position})
	if err != nil {
		t.Fatal(err)
	}
	file = append(file, frame...)
	want = append(want, add(t, e2, 5*time.Second, RecordOutput, "five"))
	file = e2.Finish(file, EndSession)
	if got, s := readAll(t, file, id); !equal(got, want) || s.End() == nil {
		t.Errorf("got %v", got)
	}
}

func TestCloseWithoutTheKey(t *testing.T) {
	id := identity(t)
	e, file := begin(t, id.Recipient())
	want := []Record{add(t, e, time.Second, RecordOutput, "one")}
	file = e.Chunk(file)
	sum, err := Verify(sid, bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	file = append(file, Close(sum.Position, EndAbandoned)...)
	got, s := readAll(t, file, id)
	if !equal(got, want) || s.End().Reason != EndAbandoned || s.End().Duration != time.Second {
		t.Errorf("%v, %+v", got, s.End())
	}
}

// Any changed, removed, moved or added byte shows, and where.
func TestDamageShows(t *testing.T) {
	id := identity(t)
	e, seg := begin(t, id.Recipient())
	var parts [][]byte
	parts = append(parts, seg)
	for i := range 4 {
		add(t, e, time.Duration(i)*time.Second, RecordOutput, strings.Repeat("x", 500+i))
		parts = append(parts, e.Chunk(nil))
	}
	parts = append(parts, e.Finish(nil, EndSession))
	whole := bytes.Join(parts, nil)
	if _, err := Verify(sid, bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	join := func(order ...int) []byte {
		var out []byte
		for _, i := range order {
			out = append(out, parts[i]...)
		}
		return out
	}
	at := len(parts[0]) + len(parts[1])
	flipped := bytes.Clone(whole)
	flipped[at+40] ^= 1
	tests := map[string]struct {
		file []byte
		at   int
		torn bool
	}{
		"a bit":              {flipped, at, false},
		"a chunk removed":    {join(0, 1, 3, 4, 5), at, false},
		"two chunks swapped": {join(0, 1, 3, 2, 4, 5), at, false},
		"the end repeated":   {append(bytes.Clone(whole), parts[1]...), len(whole), false},
		"cut in a frame":     {whole[:at+10], at, true},
		"no segment":         {join(1, 2), 0, false},
	}
	for name, tt := range tests {
		_, err := Verify(sid, bytes.NewReader(tt.file))
		var b *BrokenError
		if !errors.As(err, &b) || b.Offset != int64(tt.at) || b.Torn != tt.torn || !errors.Is(err, fault.Untrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if sum, err := Verify(sid, bytes.NewReader(join(0, 1, 2))); err != nil || sum.End != nil {
		t.Errorf("cut between frames: %+v, %v; it is unfinished", sum, err)
	}
	if _, err := Verify("another", bytes.NewReader(whole)); err == nil {
		t.Error("a recording passes for another session's")
	}
	f, err := ReadFrame(parts[1], 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseSegment(parts[0][5 : len(parts[0])-32])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(identity(t)); !errors.Is(err, fault.Denied) {
		t.Errorf("a stranger's key: %v", err)
	}
	o, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	f.Payload[len(f.Payload)-1] ^= 1
	if _, err := o.Records(f); !errors.Is(err, fault.Untrusted) {
		t.Errorf("a changed chunk opens: %v", err)
	}
}

func TestTimesNeverGoBack(t *testing.T) {
	e, file := begin(t)
	add(t, e, 5*time.Second, RecordOutput, "a")
	add(t, e, 2*time.Second, RecordOutput, "b")
	file = e.Chunk(file)
	add(t, e, time.Second, RecordOutput, "c")
	file = e.Finish(file, EndSession)
	got, _ := readAll(t, file)
	for _, r := range got {
		if r.At != 5*time.Second {
			t.Errorf("%q at %v", r.Data, r.At)
		}
	}
}

func TestRandomSplits(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		e, file := begin(t)
		var want []Record
		var journal []byte
		for range rng.IntN(60) {
			data := make([]byte, rng.IntN(2000))
			for i := range data {
				data[i] = byte(rng.IntN(4))
			}
			want = append(want, add(t, e, time.Duration(rng.IntN(1000))*time.Second+e.last, RecordType("oerv"[rng.IntN(4)]), string(data)))
			switch rng.IntN(3) {
			case 0:
				journal = e.Journal(journal)
			case 1:
				file, journal = e.Chunk(file), nil
			}
		}
		journal = e.Journal(journal)
		if got, _ := readAll(t, append(bytes.Clone(file), journal...)); !equal(got, want) {
			t.Fatal("journal: other records")
		}
		if got, _ := readAll(t, e.Finish(file, EndSession)); !equal(got, want) {
			t.Fatal("chunks: other records")
		}
	}
}

func TestLimits(t *testing.T) {
	e, _ := begin(t)
	if err := e.Add(Record{Data: make([]byte, MaxBatch)}); !errors.Is(err, fault.Limit) {
		t.Errorf("a huge record: %v", err)
	}
	if _, _, err := ParseResize([]byte{1}); err == nil {
		t.Error("half a resize")
	}
	if c, r, err := ParseResize(ResizeData(80, 25)); c != 80 || r != 25 || err != nil {
		t.Errorf("%d %d %v", c, r, err)
	}
	for _, p := range []string{"", "{}", `{"v":1,"session_id":"x","cipher":"rot13"}`} {
		if _, err := ParseSegment([]byte(p)); err == nil {
			t.Errorf("segment %q", p)
		}
	}
	if _, err := ParseSegment([]byte(`{"v":2,"session_id":"x","cipher":"none"}`)); !errors.Is(err, fault.Unimplemented) {
		t.Errorf("a later version: %v", err)
	}
}

func FuzzRecording(f *testing.F) {
	e, file := begin(f)
	add(f, e, time.Second, RecordOutput, "hello")
	file = e.Chunk(file)
	add(f, e, time.Second, RecordResize, string(ResizeData(80, 25)))
	f.Add(e.Finish(file, EndSession))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewScanner(sid, bytes.NewReader(b))
		var o *Opener
		for {
			fr, err := s.Next()
			if err != nil {
				return
			}
			if fr.Type == FrameSegment {
				o, _ = s.Segment().Open()
			}
			if fr.Type == FrameChunk && o != nil {
				_, _ = o.Records(fr)
			}
		}
	})
}

func FuzzChunk(f *testing.F) {
	e, _ := begin(f)
	add(f, e, time.Second, RecordOutput, strings.Repeat("hello", 200))
	fr, _ := ReadFrame(e.Chunk(nil), 0)
	f.Add(fr.Payload)
	f.Add(appendIndex(nil, []IndexEntry{{1, 2000, 3000}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		o := &Opener{session: sid}
		rs, err := o.Records(&Frame{Type: FrameChunk, Payload: b})
		if err == nil && len(rs) == 0 {
			t.Error("a chunk without records opens")
		}
		if index, err := ParseIndex(b); err == nil && !reflect.DeepEqual(appendIndex(nil, index), b) {
			// Varints have longer forms; what was read must still read the same.
			if again, err := ParseIndex(appendIndex(nil, index)); err != nil || !reflect.DeepEqual(again, index) {
				t.Errorf("%v, %v", again, err)
			}
		}
	})
}

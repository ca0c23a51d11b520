package recorder

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"teleport/recfmt"
	"teleport/recorder/recordertest"
)

// files are the two files of a recording whose process was killed, with what it
// had shown.
func files(t testing.TB) (chunks, journal []byte, shown string, w *world) {
	t.Helper()
	w = &world{t: &testing.T{}, dir: t.TempDir(), auth: recordertest.NewAuth(), mode: "node"}
	s, err := NewSpool(SpoolOptions{Dir: w.dir, HostID: "host", Cluster: "c", Generation: 1, Upload: w.auth, Audit: auditNone{}})
	if err != nil {
		t.Fatal(err)
	}
	rec, err := NewSessions(SessionsOptions{Spool: s, Mode: func() string { return "node" }, Keys: func() ([]string, bool) { return nil, false }})
	if err != nil {
		t.Fatal(err)
	}
	r, err := rec.Start(t.Context(), Info{SessionID: sessionID(1), Kind: "ssh", Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		line := lines(80)
		if err := r.Show(Output, []byte(line)); err != nil {
			t.Fatal(err)
		}
		shown += line
	}
	base := filepath.Join(w.dir, "1", sessionID(1))
	if chunks, err = os.ReadFile(base + chunksSuffix); err == nil {
		journal, err = os.ReadFile(base + journalSuffix)
	}
	if err != nil {
		t.Fatal(err)
	}
	return chunks, journal, shown, w
}

func assemble(t testing.TB, s *source, chunks []byte) []byte {
	t.Helper()
	b := append(bytes.Clone(chunks[:s.good]), s.tail...)
	sum, err := recfmt.Verify(sessionID(1), bytes.NewReader(b))
	if err != nil || sum.End == nil {
		t.Fatalf("recovered %d + %d bytes: end %v, %v", s.good, len(s.tail), sum.End, err)
	}
	return b
}

// Wherever the process died while it wrote, what is recovered is a whole
// recording of all that was shown.
func TestRecoverTorn(t *testing.T) {
	chunks, journal, shown, _ := files(t)
	s, err := recoverFrom(sessionID(1), bytes.NewReader(chunks), bytes.NewReader(journal), recfmt.EndAbandoned)
	if err != nil || s.damaged != "" {
		t.Fatal(err, s)
	}
	rs, _, err := recordertest.Records(sessionID(1), assemble(t, s, chunks))
	if err != nil || string(recordertest.Output(rs)) != shown {
		t.Fatalf("%d bytes recovered, %d shown, %v", len(recordertest.Output(rs)), len(shown), err)
	}
	// A part of the next chunk, which would take the journal's place.
	next := append(bytes.Clone(chunks), []byte{'C', 0, 0, 0x20, 1, 2, 3}...)
	s, err = recoverFrom(sessionID(1), bytes.NewReader(next), bytes.NewReader(journal), recfmt.EndAbandoned)
	if err != nil || s.damaged != "" || s.good != int64(len(chunks)) {
		t.Errorf("a torn chunk: %+v, %v", s, err)
	}
	// A part of a chunk with nothing in the journal to stand for it.
	s, err = recoverFrom(sessionID(1), bytes.NewReader(next), nil, recfmt.EndAbandoned)
	if err != nil || s.damaged == "" {
		t.Errorf("a cut file passes for a sound one: %+v, %v", s, err)
	}
	// A part of the end.
	next = append(bytes.Clone(chunks), []byte{'X', 0, 0, 0x20, 1}...)
	s, err = recoverFrom(sessionID(1), bytes.NewReader(next), nil, recfmt.EndAbandoned)
	if err != nil || s.damaged != "" {
		t.Errorf("a torn end: %+v, %v", s, err)
	}
	// Nothing at all, as of a session that had not begun.
	if s, err = recoverFrom(sessionID(1), bytes.NewReader(nil), nil, recfmt.EndAbandoned); s != nil || err != nil {
		t.Errorf("of nothing: %+v, %v", s, err)
	}
}

// FuzzRecover: whatever is on the disk, what is recovered proves and ends, or is
// nothing.
func FuzzRecover(f *testing.F) {
	chunks, journal, _, _ := files(f)
	f.Add(chunks, journal)
	f.Add(chunks[:len(chunks)/2], journal)
	f.Add(chunks, journal[:len(journal)/2])
	f.Add([]byte("S"), []byte{})
	f.Fuzz(func(t *testing.T, chunks, journal []byte) {
		s, err := recoverFrom(sessionID(1), bytes.NewReader(chunks), bytes.NewReader(journal), recfmt.EndAbandoned)
		if err != nil {
			t.Fatal(err)
		}
		if s != nil && s.size() > 0 {
			assemble(t, s, chunks)
		}
	})
}

package audittest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"teleport/audit"
	"teleport/audit/chain"
	"teleport/fault"
	"teleport/types/event"
)

const host = "cccccccc-0000-4000-8000-000000000003"

// TestTheWholeWay goes as an auth process does: its own events through its own
// writer and shipper into its log, the log's alarms too.
func TestTheWholeWay(t *testing.T) {
	dir := t.TempDir()
	w, err := audit.NewWriter(audit.WriterOptions{Dir: filepath.Join(dir, "spool"), HostUUID: host, Cluster: "test"})
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.OpenLog(audit.LogOptions{Dir: filepath.Join(dir, "blocks"), Cluster: "test", Signer: key, Emitter: w})
	if err != nil {
		t.Fatal(err)
	}
	s := audit.NewShipper(w, func(ctx context.Context, b chain.Batch) (uint64, error) {
		return log.Ingest(ctx, audit.Caller{UUID: host, Auth: true}, b)
	}, audit.ShipperOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	for _, e := range []event.Event{
		&event.UserLogin{Meta: event.Meta{Code: event.CodeUserLogin}, User: event.User{User: "alice"}},
		&event.SessionStart{Session: event.Session{SessionID: "s1"}},
		&event.SessionEnd{Session: event.Session{SessionID: "s1"}},
	} {
		if err := w.Emit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := Complete(t, log); r.Events != 3 || r.Writers != 1 {
		t.Errorf("%+v", r)
	}
	// A foreign batch raises an alarm, which takes the same way.
	if _, err := log.Ingest(t.Context(), audit.Caller{UUID: "somebody"}, chain.Batch{Writer: w.ID()}); !errors.Is(err, fault.Denied) {
		t.Errorf("foreign batch: %v", err)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := log.Search(t.Context(), audit.Query{Types: []string{event.TypeAuditRefused}})
	if err != nil || len(r.Events) != 1 || r.Events[0].Writer != w.ID() {
		t.Errorf("alarm: %+v, %v", r, err)
	}
	cancel()
	if err := errors.Join(<-done, w.Close(), log.Close()); err != nil {
		t.Error(err)
	}
}

func TestSessionsFindsWhatIsMissing(t *testing.T) {
	lines := func(pairs ...string) []byte {
		var b strings.Builder
		for i := 0; i < len(pairs); i += 2 {
			b.WriteString(`{"event":{"public":{"event":"` + pairs[i] + `","sid":"` + pairs[i+1] + "\"}}}\n")
		}
		return []byte(b.String())
	}
	for _, c := range []struct {
		in   []byte
		want int
	}{
		{lines("session.start", "a", "session.end", "a"), 0},
		{lines("session.start", "a"), 1},
		{lines("session.end", "a"), 1},
		{lines("session.start", "a", "session.end", "a", "session.end", "a"), 1},
		{lines("audit.lost", ""), 1},
	} {
		if got := Sessions(c.in); len(got) != c.want {
			t.Errorf("%s: %v", c.in, got)
		}
	}
}

func TestRecorder(t *testing.T) {
	r := NewRecorder()
	if err := r.Emit(t.Context(), &event.Exec{}); !errors.Is(err, fault.Invalid) {
		t.Errorf("an event without a code: %v", err)
	}
	if err := r.Emit(t.Context(), &event.Resize{Size: "1:1"}); err != nil {
		t.Error(err)
	}
	if len(r.Events()) != 1 || len(r.Events(event.TypeExec)) != 0 {
		t.Errorf("%v", r.Events())
	}
	r.Fail(fault.New(fault.Unavailable, "full"))
	if err := r.Emit(t.Context(), &event.Resize{}); !errors.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}

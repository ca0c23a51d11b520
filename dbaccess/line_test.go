package dbaccess

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
	"teleport/recorder"
	"teleport/types/event"
)

// spool counts its writes.
type spool struct {
	mu     sync.Mutex
	writes [][]event.Event
	fail   error
}

func (s *spool) Emit(_ context.Context, events ...event.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.writes = append(s.writes, events)
	return nil
}

func (s *spool) sizes() (out []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.writes {
		out = append(out, len(w))
	}
	return out
}

func TestWhatIsToldIsWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &spool{}
		var cut error
		s := &Session{svc: &Service{cfg: Config{Audit: log, Log: slog.New(slog.DiscardHandler)}}, cancel: func(err error) { cut = err }}
		ask := func() { s.Tell(&event.DBQuery{}, event.TypeDBQuery, event.CodeDBQuery) }
		answer := func() { s.Tell(&event.DBResult{}, event.TypeDBResult, event.CodeDBResult) }
		wrote := func(what string, want ...int) {
			t.Helper()
			got := log.sizes()
			if len(got) != len(want) {
				t.Fatalf("%s: writes of %v, not %v", what, got, want)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("%s: writes of %v, not %v", what, got, want)
				}
			}
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		ask()
		ask()
		must(s.Commit(t.Context()))
		must(s.Commit(t.Context()))
		wrote("what came at once", 2)
		answer()
		must(s.CommitSoon(t.Context()))
		ask()
		must(s.Commit(t.Context()))
		wrote("an answer goes with the next statement", 2, 2)
		if r, ok := log.writes[1][0].(*event.DBResult); !ok || r.Type != event.TypeDBResult {
			t.Errorf("the order is another: %T", log.writes[1][0])
		}
		time.Sleep(time.Second)
		answer()
		must(s.CommitSoon(t.Context()))
		answer()
		must(s.CommitSoon(t.Context()))
		time.Sleep(soon / 2)
		wrote("not yet", 2, 2)
		time.Sleep(soon)
		wrote("soon, without a next one", 2, 2, 2)
		for range mostWaiting {
			answer()
		}
		must(s.CommitSoon(t.Context()))
		wrote("many at once", 2, 2, 2, mostWaiting)

		log.mu.Lock()
		log.fail = errors.New("the disk is full")
		log.mu.Unlock()
		ask()
		if err := s.Commit(t.Context()); !errors.Is(err, fault.Unavailable) {
			t.Errorf("a statement that cannot be told: %v", err)
		}
		answer()
		must(s.CommitSoon(t.Context()))
		time.Sleep(2 * soon)
		synctest.Wait()
		if !errors.Is(cut, fault.Unavailable) {
			t.Errorf("an answer that cannot be told does not end the session: %v", cut)
		}
		log.mu.Lock()
		log.fail = nil
		log.mu.Unlock()
		must(s.Emit(t.Context(), &event.DBEnd{}, event.TypeDBEnd, event.CodeDBEnd))
		wrote("the end is told", 2, 2, 2, mostWaiting, 1)
	})
}

// tape is a recording that keeps its events.
type tape struct {
	recorder.Recording
	mode   string
	mu     sync.Mutex
	events [][]byte
	fail   error
}

func (r *tape) Mode() string { return r.mode }

func (r *tape) Event(json ...[]byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range json {
		r.events = append(r.events, bytes.Clone(j))
	}
	return r.fail
}

func (r *tape) taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

func TestTheRecordingFollowsTheLog(t *testing.T) {
	for _, c := range []struct {
		mode        string
		soon, later int
	}{{"node", 0, 2}, {"node-sync", 2, 2}, {"off", 0, 0}} {
		synctest.Test(t, func(t *testing.T) {
			rec := &tape{mode: c.mode}
			var cut error
			s := &Session{svc: &Service{cfg: Config{Audit: &spool{}, Log: slog.New(slog.DiscardHandler)}, codec: event.NewCodec()}, rec: rec,
				cancel: func(err error) { cut = err }}
			s.common.user.User, s.common.database.DBUser = "alice", "reader"
			s.Tell(&event.DBStart{}, event.TypeDBStart, event.CodeDBStart)
			s.Tell(&event.DBQuery{Statement: event.Statement{Text: "select 1"}}, event.TypeDBQuery, event.CodeDBQuery)
			if err := s.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := rec.taken(); n != c.soon {
				t.Errorf("%s: %d events are recorded before the statement goes on", c.mode, n)
			}
			time.Sleep(behind)
			synctest.Wait()
			if n := rec.taken(); n != c.later {
				t.Fatalf("%s: %d events are recorded", c.mode, n)
			}
			if c.later == 0 {
				return
			}
			if first, second := string(rec.events[0]), string(rec.events[1]); !strings.Contains(first, `"user":"alice"`) || !strings.Contains(second, "select 1") ||
				strings.Contains(second, "alice") || strings.Contains(second, "reader") {
				t.Errorf("%s: recorded are %s and %s", c.mode, first, second)
			}
			rec.mu.Lock()
			rec.fail = errors.New("the disk is full")
			rec.mu.Unlock()
			s.Tell(&event.DBQuery{}, event.TypeDBQuery, event.CodeDBQuery)
			err := s.Commit(t.Context())
			time.Sleep(behind)
			synctest.Wait()
			if failed := errors.Join(err, cut); !errors.Is(failed, fault.Unavailable) {
				t.Errorf("%s: a session goes on that cannot be recorded: %v", c.mode, failed)
			}
		})
	}
}

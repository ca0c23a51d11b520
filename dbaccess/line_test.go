package dbaccess

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/fault"
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

package connslots_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"teleport/auth/connslots"
	"teleport/backend/memkv"
	"teleport/fault"
	"teleport/store"
	"teleport/types"
)

// clock is what both the store and the count go by.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	return c
}
func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// world is two auth services over one store.
func world(t *testing.T) (a, b *connslots.Slots, s *store.Store, c *clock) {
	t.Helper()
	c = newClock()
	s = store.New(memkv.New(memkv.Options{Now: c.now}), store.Options{Now: c.now})
	lease := func() time.Duration { return 0 }
	return connslots.New(s, lease, c.now), connslots.New(s, lease, c.now), s, c
}

func hold(t *testing.T, s *connslots.Slots, host string, most int, ids ...string) []string {
	t.Helper()
	refused, err := s.Hold(t.Context(), host, "alice", ids, most)
	if err != nil {
		t.Fatal(err)
	}
	return refused
}

func TestHold(t *testing.T) {
	a, b, s, c := world(t)
	docs := store.Of[*types.ConnectionSlots](s)
	want := func(step string, refused []string, wanted ...string) {
		t.Helper()
		if !slices.Equal(refused, wanted) {
			t.Errorf("%s: refused %v, want %v", step, refused, wanted)
		}
	}
	want("two on one host", hold(t, a, "h1", 3, "1", "2"))
	want("one on another, at another auth service", hold(t, b, "h2", 3, "3"))
	want("a fourth", hold(t, a, "h2", 3, "4"), "4")
	want("the same again", hold(t, a, "h1", 3, "1", "2"))
	want("an id of another host is another connection", hold(t, a, "h3", 3, "1"), "1")
	if err := b.Release(t.Context(), "h2", "alice", []string{"1", "2"}); err != nil {
		t.Error(err)
	}
	want("nobody gives back what others hold", hold(t, a, "h2", 3, "4"), "4")
	want("the limit was lowered: the oldest stays", hold(t, a, "h1", 1, "1", "2"), "2")
	want("and the other goes as its host renews", hold(t, b, "h2", 1, "3"), "3")
	if err := a.Release(t.Context(), "h1", "alice", []string{"1"}); err != nil {
		t.Error(err)
	}
	if _, err := docs.Get(t.Context(), "alice"); !errors.Is(err, fault.NotFound) {
		t.Errorf("without connections there is still a document: %v", err)
	}
	if err := a.Release(t.Context(), "h1", "alice", []string{"1"}); err != nil {
		t.Errorf("once more: %v", err)
	}

	want("one more", hold(t, a, "h1", 1, "5"))
	c.advance(connslots.DefaultLease - time.Second)
	want("a dead host's slot lives for its lease", hold(t, b, "h2", 1, "6"), "6")
	c.advance(time.Second)
	want("and no longer", hold(t, b, "h2", 1, "6"))
	want("the dead host comes back too late", hold(t, a, "h1", 1, "5"), "5")
	c.advance(connslots.DefaultLease / 2)
	want("renewed", hold(t, b, "h2", 1, "6"))
	c.advance(connslots.DefaultLease / 2)
	want("so it lives", hold(t, a, "h1", 1, "7"), "7")
	c.advance(-time.Hour)
	want("a clock that was set back frees nothing", hold(t, a, "h1", 1, "7"), "7")
}

// TestHoldAtOnce: whoever asks at the same moment, at whichever auth service, no
// more get in than may, and exactly as many.
func TestHoldAtOnce(t *testing.T) {
	a, b, _, _ := world(t)
	const most, hosts = 7, 40
	var in atomic.Int64
	var wg sync.WaitGroup
	for i := range hosts {
		wg.Go(func() {
			s := []*connslots.Slots{a, b}[i%2]
			refused, err := s.Hold(t.Context(), fmt.Sprintf("h%d", i), "alice", []string{strconv.Itoa(i)}, most)
			if err != nil {
				t.Error(err)
			}
			if len(refused) == 0 {
				in.Add(1)
			}
		})
	}
	wg.Wait()
	if in.Load() != most {
		t.Errorf("%d got in, want %d", in.Load(), most)
	}
}

// TestABoundWhateverRolesSay: a document does not grow without end.
func TestABoundWhateverRolesSay(t *testing.T) {
	a, _, _, _ := world(t)
	var ids []string
	for i := range types.MaxConnectionSlots + 1 {
		ids = append(ids, strconv.Itoa(i))
	}
	if refused := hold(t, a, "h1", 1_000_000, ids...); len(refused) != 1 {
		t.Errorf("%d are refused, want the one beyond the bound", len(refused))
	}
}

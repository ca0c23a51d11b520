package appaccess

import (
	"context"
	"errors"
	"fmt"
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

// tapes record in memory, what each recording took as one text.
type tapes struct {
	mode string

	mu   sync.Mutex
	list []*tape
	fail error
}

type tape struct {
	recorder.Recording
	of     *tapes
	took   []string
	closed bool

	introduced []string // those of took that say whose they are
}

func (r *tapes) Mode() string { return r.mode }

func (r *tapes) Start(context.Context, recorder.Info) (recorder.Recording, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &tape{of: r}
	r.list = append(r.list, t)
	return t, nil
}

func (t *tape) Mode() string { return t.of.mode }

func (t *tape) Event(json ...[]byte) error {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	for _, j := range json {
		_, rest, _ := strings.Cut(string(j), `"path":"`)
		path, _, _ := strings.Cut(rest, `"`)
		t.took = append(t.took, path)
		if strings.Contains(string(j), `"app_name"`) {
			t.introduced = append(t.introduced, path)
		}
	}
	return t.of.fail
}

func (t *tape) Close() error {
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.closed = true
	return nil
}

// took is what the recordings have.
func (r *tapes) took() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, t := range r.list {
		all = append(all, strings.Join(t.took, " "))
	}
	return strings.Join(all, "|")
}

func (r *tapes) breaks(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = why
}

type quietLog struct{}

func (quietLog) Emit(context.Context, ...event.Event) error { return nil }

func newChunk(t *testing.T, mode string) (*chunk, *tapes) {
	t.Helper()
	r := &tapes{mode: mode}
	x := &Session{svc: &Service{cfg: Config{Recorder: r, Audit: quietLog{}, Log: slog.New(slog.DiscardHandler)}, codec: event.NewCodec()}}
	x.chunk.x = x
	if err := x.chunk.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &x.chunk, r
}

func request(path string) *event.AppRequest {
	e := &event.AppRequest{Meta: event.Meta{Code: event.CodeAppRequest}, Path: path}
	_, _, _, app := e.OfApp()
	app.AppName = "wiki"
	return e
}

func add(t *testing.T, c *chunk, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := c.add(t.Context(), request(p)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheRecordingFollowsTheLog(t *testing.T) {
	for _, c := range []struct{ mode, soon, later string }{{"node", "", "a b"}, {"node-sync", "a b", "a b"}, {"off", "", ""}} {
		synctest.Test(t, func(t *testing.T) {
			chunk, r := newChunk(t, c.mode)
			add(t, chunk, "a", "b")
			if got := r.took(); got != c.soon {
				t.Errorf("%s: %q is recorded before the answer goes on", c.mode, got)
			}
			time.Sleep(behind)
			synctest.Wait()
			if got := r.took(); got != c.later {
				t.Errorf("%s: %q is recorded", c.mode, got)
			}
			if err := chunk.close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Whose session it is, a recording says once.
func TestEachRecordingIntroducesItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chunk, r := newChunk(t, "node")
		add(t, chunk, "a", "b")
		time.Sleep(behind)
		add(t, chunk, "c")
		time.Sleep(chunkLife)
		add(t, chunk, "d", "e")
		if err := chunk.close(); err != nil {
			t.Fatal(err)
		}
		if got := r.took(); got != "a b c|d e" {
			t.Errorf("the recordings have %q", got)
		}
		for i, want := range []string{"a", "d"} {
			if got := strings.Join(r.list[i].introduced, " "); got != want {
				t.Errorf("recording %d says whose it is with %q, not %q", i, got, want)
			}
		}
	})
}

// What waits belongs into the recording that was the session's then, and is in it when
// that is closed.
func TestWhatWaitsIsRecordedBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chunk, r := newChunk(t, "node")
		time.Sleep(chunkLife - behind/2)
		add(t, chunk, "a", "b")
		time.Sleep(behind / 2)
		add(t, chunk, "c")
		if got := r.took(); got != "a b|c" || !r.list[0].closed {
			t.Errorf("after the next recording has begun: %q", got)
		}
		add(t, chunk, "d")
		if err := chunk.close(); err != nil {
			t.Fatal(err)
		}
		if got := r.took(); got != "a b|c d" || !r.list[1].closed {
			t.Errorf("at the end: %q", got)
		}
		time.Sleep(time.Second) // no timer writes into what is closed
		synctest.Wait()
		if got := r.took(); got != "a b|c d" {
			t.Errorf("after the end: %q", got)
		}
	})
}

// A recording that cannot be written refuses what comes then, until it can.
func TestARecordingThatFailsRefusesTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chunk, r := newChunk(t, "node")
		r.breaks(errors.New("the disk is full"))
		add(t, chunk, "a")
		time.Sleep(behind)
		synctest.Wait()
		for _, path := range []string{"b", "c"} {
			if err := chunk.add(t.Context(), request(path)); !errors.Is(err, fault.Unavailable) {
				t.Errorf("a request passes that cannot be recorded: %v", err)
			}
		}
		r.breaks(nil)
		add(t, chunk, "d")
		if got := r.took(); got != "a b c d" {
			t.Errorf("%q is recorded", got)
		}
		add(t, chunk, "e")
		if got := r.took(); got != "a b c d" {
			t.Errorf("%q is recorded, at once", got)
		}
		if err := chunk.close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Requests that come together are in the recording once each, and those of one sender
// in their order.
func TestManyRequestsAtOnce(t *testing.T) {
	for _, mode := range []string{"node", "node-sync"} {
		chunk, r := newChunk(t, mode)
		const senders, each = 8, 200
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range each {
					if err := chunk.add(t.Context(), request(fmt.Sprintf("%d.%d", s, i))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if err := chunk.close(); err != nil {
			t.Fatal(err)
		}
		next := map[string]int{}
		for path := range strings.SplitSeq(r.took(), " ") {
			s, i, _ := strings.Cut(path, ".")
			if i != fmt.Sprint(next[s]) {
				t.Fatalf("%s: sender %s: %s follows %d", mode, s, i, next[s]-1)
			}
			next[s]++
		}
		for s := range senders {
			if n := next[fmt.Sprint(s)]; n != each {
				t.Errorf("%s: %d of %d requests of sender %d are recorded", mode, n, each, s)
			}
		}
	}
}

package appaccess_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"teleport/appaccess"
	"teleport/appaccess/apptest"
	"teleport/recorder"
	"teleport/types"
	"teleport/types/event"
)

// shelf holds recordings, and knows which are open.
type shelf struct {
	mu            sync.Mutex
	begun, closed int
}

type roll struct {
	recorder.Recording
	of *shelf
}

func (s *shelf) Start(context.Context, recorder.Info) (recorder.Recording, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun++
	return roll{of: s}, nil
}

func (s *shelf) open() (begun, open int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun, s.begun - s.closed
}

func (*shelf) Mode() string        { return "node" }
func (roll) Mode() string          { return "node" }
func (roll) Event(...[]byte) error { return nil }
func (r roll) Close() error {
	r.of.mu.Lock()
	defer r.of.mu.Unlock()
	r.of.closed++
	return nil
}

// TestNothingGoesOnAfterTheEnd cuts a session whose request has no answer yet: it is told
// before the end of the session, and in its recording.
func TestNothingGoesOnAfterTheEnd(t *testing.T) {
	for proto, client := range map[string]func(*apptest.World, *types.Identity) *http.Client{"HTTP/1.1": (*apptest.World).Client, "HTTP/2": (*apptest.World).Client2} {
		t.Run(proto, func(t *testing.T) {
			asked := make(chan struct{}, 1)
			app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				<-r.Context().Done()
			}))
			defer app.Close()
			recordings := &shelf{}
			w := apptest.New(t, types.AppSpec{URI: app.URL}, func(c *appaccess.Config) { c.Recorder = recordings })
			over := make(chan error, 1)
			c := client(w, apptest.User("alice", types.AppRoute{}))
			go func() { // ends with the session
				resp, err := c.Get("https://wiki/slow")
				if err == nil {
					resp.Body.Close()
				}
				over <- err
			}()
			<-asked
			lock := &types.Lock{Spec: types.LockSpec{Target: types.LockTarget{User: "alice"}}}
			lock.Metadata.Name = "one"
			w.Policy.Change(func() { w.Policy.LockList = append(w.Policy.LockList, lock) })
			<-over
			w.Await(func() bool {
				return len(w.Log.Events(event.TypeAppEnd)) == 1 && len(w.Log.Events(event.TypeAppRequest)) == 1
			})
			var order []string
			for _, e := range w.Log.Events(event.TypeAppChunk, event.TypeAppStart, event.TypeAppRequest, event.TypeAppEnd) {
				order = append(order, e.EventMeta().Type)
			}
			if want := []string{event.TypeAppChunk, event.TypeAppStart, event.TypeAppRequest, event.TypeAppEnd}; !slices.Equal(order, want) {
				t.Errorf("told %v", order)
			}
			w.Await(func() bool { _, open := recordings.open(); return open == 0 })
			if begun, _ := recordings.open(); begun != 1 {
				t.Errorf("%d recordings", begun)
			}
		})
	}
}

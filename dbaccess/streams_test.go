package dbaccess_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"teleport/cert/certtest"
	"teleport/dbaccess"
	"teleport/dbaccess/dbtest"
	"teleport/netx/mux"
	"teleport/types"
	"teleport/types/event"
)

// echo is an engine whose protocol is that of a parrot.
type echo struct{}

func (echo) Serve(ctx context.Context, s *dbaccess.Session) error {
	if err := s.Begin(ctx, "", "postgres"); err != nil {
		return err
	}
	_, err := io.Copy(s.Client(), s.Client())
	return err
}

type noLogin struct{ dbaccess.Credentials }

func newEcho(t *testing.T) (*dbtest.World, *mux.Opener) {
	w := dbtest.New(t, echo{}, types.DatabaseSpec{Protocol: "postgres", URI: "127.0.0.1:1"}, func(*certtest.World) dbaccess.Credentials { return noLogin{} })
	w.Role(func(*types.RoleSpec) {})
	return w, w.Streams("alice", types.DatabaseRoute{User: "alice", Name: "postgres"})
}

// say speaks over a stream and hears the answer.
func say(t *testing.T, s *mux.Stream, text string) error {
	t.Helper()
	if _, err := s.Write([]byte(text)); err != nil {
		return err
	}
	got := make([]byte, len(text))
	_, err := io.ReadFull(s, got)
	return err
}

func open(t *testing.T, o *mux.Opener) *mux.Stream {
	t.Helper()
	s, err := o.Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Each stream is a session: it has its own events, and a lock ends them all.
func TestStreamsAreSessions(t *testing.T) {
	w, o := newEcho(t)
	streams := make([]*mux.Stream, 5)
	for i := range streams {
		streams[i] = open(t, o)
		if err := say(t, streams[i], "hello"); err != nil {
			t.Fatal(err)
		}
	}
	ids := map[string]bool{}
	for _, e := range w.Log.Events(event.TypeDBStart) {
		ids[e.(*event.DBStart).SessionID] = true
	}
	if len(ids) != len(streams) {
		t.Errorf("%d streams are %d sessions", len(streams), len(ids))
	}
	streams[0].Close()
	w.Await(func() bool { return len(w.Log.Events(event.TypeDBEnd)) == 1 })
	if err := say(t, streams[1], "still here"); err != nil {
		t.Errorf("the end of one stream ends another: %v", err)
	}
	lock := &types.Lock{}
	lock.Metadata.Name, lock.Spec.Target.User = "stop", "alice"
	w.Policy.Change(func() { w.Policy.LockList = append(w.Policy.LockList, lock) })
	for _, s := range streams[1:] {
		if _, err := io.ReadAll(s); err != nil {
			t.Errorf("a session that was cut: %v", err)
		}
	}
	if err := say(t, open(t, o), "let me in"); err == nil {
		t.Error("a stream is served that comes after the lock")
	}
	w.Await(func() bool { return len(w.Log.Events(event.TypeDBEnd)) == len(streams) })
}

// A stream is identified by the day on which it is opened, not by that of its
// carrier.
func TestAStreamIsIdentifiedAnew(t *testing.T) {
	w, o := newEcho(t)
	if err := say(t, open(t, o), "hello"); err != nil {
		t.Fatal(err)
	}
	w.Later(13 * time.Hour) // the certificate is for twelve
	if err := say(t, open(t, o), "hello"); err == nil {
		t.Error("a stream is served whose certificate has ended")
	}
	if n := len(w.Log.Events(event.TypeDBStart)); n != 1 {
		t.Errorf("%d sessions began", n)
	}
}

// An agent that leaves sends new connections elsewhere, and serves the old ones.
func TestAnAgentThatLeavesTakesNoStreams(t *testing.T) {
	w, o := newEcho(t)
	old := open(t, o)
	if err := say(t, old, "hello"); err != nil {
		t.Fatal(err)
	}
	w.Drain()
	w.Await(func() bool {
		s, err := o.Open()
		if err == nil {
			s.Close()
		}
		return errors.Is(err, mux.ErrLeft)
	})
	if err := say(t, old, "still here"); err != nil {
		t.Errorf("a session ends because its agent leaves: %v", err)
	}
	old.Close()
	<-o.Done()
}

package inventory

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"teleport/api/gen/presencev1"
	"teleport/store"
	"teleport/types"
)

func tracked(host, id, user string) *types.SessionTracker {
	s := trackerNamed(id)
	s.Spec = types.SessionTrackerSpec{State: "running", Kind: "ssh", User: user, HostID: host}
	return s
}

func (a *agent) tell(last bool, ended []string, list ...types.Resource) {
	a.t.Helper()
	m := &presencev1.Sessions{Ended: ended, Last: last}
	for _, d := range list {
		b, err := json.Marshal(d)
		if err != nil {
			a.t.Fatal(err)
		}
		m.Trackers = append(m.Trackers, b)
	}
	a.send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Sessions{Sessions: m}})
	synctest.Wait()
}

func (w *world) sessions() string {
	w.t.Helper()
	page, err := w.store.ListAny(w.t.Context(), types.KindSessionTracker, store.ListOptions{PageSize: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, d := range page.Items {
		t := d.Resource.(*types.SessionTracker)
		names = append(names, t.Metadata.Name+"/"+t.Spec.AuthServer)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (w *world) wantSessions(when, want string) {
	w.t.Helper()
	if got := w.sessions(); got != want {
		w.t.Errorf("%s: sessions are %q, want %q", when, got, want)
	}
}

// Sessions are told change by change; what a process says again costs no write,
// and they go with its goodbye.
func TestSessionsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		id := host(idA, "web-1", types.RoleNode)
		a := w.connect(i, id, hello(1, "Node"))
		a.tell(true, nil, tracked(idA, "s1", "alice"), tracked(idA, "s2", "bob"))
		w.wantSessions("two began", "s1/auth-1 s2/auth-1")
		first := w.revision(types.KindSessionTracker, "s1")
		a.tell(false, []string{"s2", "s2", "unknown"}, tracked(idA, "s1", "alice"))
		w.wantSessions("one ended", "s1/auth-1")
		a.hangup()
		<-a.done
		pass(2 * time.Second)
		a = w.connect(i, id, hello(1, "Node"))
		a.tell(true, nil, tracked(idA, "s1", "alice"))
		if again := w.revision(types.KindSessionTracker, "s1"); again != first {
			t.Error("a session that did not change was written again")
		}
		a.send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Bye{Bye: &presencev1.Bye{}}})
		<-a.done
		w.wantSessions("after the goodbye", "")
	})
}

// A session survives a restart of auth and a break of the stream, and goes when
// its process no longer lists it or is away for longer than the lease.
func TestSessionsAreUnderTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		id := host(idA, "web-1", types.RoleNode)
		a := w.connect(i, id, hello(1, "Node"))
		a.tell(true, nil, tracked(idA, "s1", "alice"), tracked(idA, "s2", "alice"))
		a.hangup()
		<-a.done
		stop()
		i, stop = w.auth("auth-1")
		defer func() { stop() }()
		pass(DefaultLease / 2)
		w.wantSessions("auth came back before its processes", "s1/auth-1 s2/auth-1")
		a = w.connect(i, id, hello(1, "Node"))
		a.tell(true, nil, tracked(idA, "s1", "alice"))
		pass(DefaultLease / 2)
		a.ping()
		w.wantSessions("one ended meanwhile", "s1/auth-1")
		pass(DefaultLease / 2)
		a.ping()
		pass(DefaultLease / 2)
		w.wantSessions("the process is alive", "s1/auth-1")
		a.hangup()
		<-a.done
		pass(DefaultLease * 3 / 2)
		w.wantSessions("the process is gone", "")
	})
}

// A draining generation keeps its own sessions beside its successor.
func TestSessionsOfTwoGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		id := host(idA, "web-1", types.RoleNode)
		old, fresh := w.connect(i, id, hello(1, "Node")), w.connect(i, id, hello(2, "Node"))
		old.tell(true, nil, tracked(idA, "s1", "alice"))
		fresh.tell(true, nil, tracked(idA, "s2", "alice"))
		for range 8 {
			pass(DefaultLease / 4)
			old.ping()
			fresh.ping()
		}
		w.wantSessions("both live", "s1/auth-1 s2/auth-1")
		old.send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Bye{Bye: &presencev1.Bye{}}})
		<-old.done
		w.wantSessions("the old one left", "s2/auth-1")
	})
}

// Whoever takes a process over writes its sessions; a dead auth service's go.
func TestSessionsMoveToAnotherAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one, stopOne := w.auth("auth-1")
		two, stopTwo := w.auth("auth-2")
		defer stopTwo()
		a, b := w.connect(one, host(idA, "web-1", types.RoleNode), hello(1, "Node")), w.connect(one, host(idB, "web-2", types.RoleNode), hello(1, "Node"))
		a.tell(true, nil, tracked(idA, "s1", "alice"))
		b.tell(true, nil, tracked(idB, "s2", "bob"))
		a.hangup()
		b.hangup()
		<-a.done
		<-b.done
		stopOne()
		a = w.connect(two, host(idA, "web-1", types.RoleNode), hello(1, "Node"))
		a.tell(true, nil, tracked(idA, "s1", "alice"))
		w.wantSessions("one moved", "s1/auth-2 s2/auth-1")
		for range 6 {
			pass(DefaultLease / 2)
			a.ping()
		}
		w.wantSessions("the other is gone", "s1/auth-2")
	})
}

func TestSessionsThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i, stop := w.auth("auth-1")
		defer stop()
		a := w.connect(i, host(idA, "web-1", types.RoleNode), hello(1, "Node"))
		b := w.connect(i, host(idB, "web-2", types.RoleNode), hello(1, "Node"))
		p := w.connect(i, host("00000000-0000-4000-8000-00000000000c", "gate", types.RoleProxy), hello(1, "Proxy"))
		b.tell(true, nil, tracked(idB, "theirs", "bob"))
		a.tell(true, []string{"theirs"}, tracked(idB, "s1", "alice"), tracked(idA, "theirs", "alice"), node(idA, "web", nil), tracked(idA, "fine", "alice"))
		p.tell(true, nil, tracked("00000000-0000-4000-8000-00000000000c", "s3", "alice"))
		w.wantSessions("all told", "fine/auth-1 theirs/auth-1")
		if got := a.refusals(); len(got) != 3 {
			t.Errorf("refused: %q", got)
		}
		if got := p.refusals(); len(got) != 1 {
			t.Errorf("refused to a proxy: %q", got)
		}
		many := make([]types.Resource, maxTold+1)
		for n := range many {
			many[n] = tracked(idA, "x", "alice")
		}
		a.tell(false, nil, many...)
		select {
		case <-a.done:
		default:
			t.Error("a message beyond all bounds is taken")
		}
	})
}

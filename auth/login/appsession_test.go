package login

import (
	"errors"
	"strings"
	"testing"
	"time"

	"teleport/fault"
	"teleport/store"
	"teleport/types"
	"teleport/types/event"
)

var (
	state      = types.NewSecret(strings.Repeat("5a", 32))
	otherState = types.NewSecret(strings.Repeat("5b", 32))
)

// open makes a session with an app for a web session, up to the hand-over.
func (w *world) open(web Session) Session {
	w.t.Helper()
	made, err := w.s.StartAppSession(w.t.Context(), AppAttempt{Bearer: web.Bearer, App: "wiki", State: state, Addr: home})
	w.must(err)
	return made
}

func (w *world) use(s Session) error {
	_, err := w.s.UseAppSession(w.t.Context(), s.Bearer, nil, Keys{}, home)
	return err
}

func (w *world) opened(web Session) Session {
	w.t.Helper()
	opened, err := w.s.OpenAppSession(w.t.Context(), w.open(web).Bearer, "wiki", state, home)
	w.must(err)
	w.must(w.use(opened))
	return opened
}

func (w *world) appSessions() int {
	w.t.Helper()
	all, err := store.Of[*types.AppSession](w.store).All(w.t.Context())
	w.must(err)
	return len(all)
}

// A session with an app begins pending, is taken over once, and gives bridges then.
func TestAppSession(t *testing.T) {
	w := newWorld(t)
	web, err := w.start("alice")
	w.must(err)
	made := w.open(web)
	if err := w.use(made); !errors.Is(err, fault.Unauthenticated) {
		t.Fatalf("a pending session is used: %v", err)
	}
	if r := w.issuer.route; r == nil || r.Kind != types.KindApp || r.Name != "wiki" || types.AppRouteOf(r).SessionID != made.Bearer.Reveal()[:32] {
		t.Fatalf("its certificate is for %+v", r)
	}
	opened, err := w.s.OpenAppSession(t.Context(), made.Bearer, "wiki", state, home)
	w.must(err)
	if !opened.Expires.Equal(made.Expires) || opened.Expires.After(web.Expires) {
		t.Errorf("it lasts until %s, the web session until %s", opened.Expires, web.Expires)
	}
	// What the hand-over brought, which scripts of the app may have seen, is spent.
	if err := w.use(made); !errors.Is(err, fault.Unauthenticated) || opened.Bearer.Reveal()[:32] != made.Bearer.Reveal()[:32] {
		t.Errorf("what the hand-over brought is used: %v", err)
	}
	w.must(w.s.EndAppSession(t.Context(), made.Bearer)) // ends nothing
	w.must(w.use(opened))
	if err := w.s.EndAppSession(t.Context(), opened.Bearer); err != nil || w.use(opened) == nil {
		t.Errorf("after its end: %v", err)
	}
	w.must(w.s.EndAppSession(t.Context(), made.Bearer)) // twice is no error
}

// What is not the browser's own attempt, of the last minute and for the first time,
// takes nothing over. It ends the session and is told, where the session is not
// somebody's by then.
func TestWhoTakesNoAppSessionOver(t *testing.T) {
	for name, c := range map[string]struct {
		app   string
		state types.Secret
		wait  time.Duration
		first bool // it was taken over before
	}{
		"another browser's state": {app: "wiki", state: otherState},
		"no state":                {app: "wiki"},
		"another app":             {app: "vault", state: state},
		"too late":                {app: "wiki", state: state, wait: handOver},
		"a second time":           {app: "wiki", state: state, first: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			web, err := w.start("alice")
			w.must(err)
			made, left := w.open(web), 0
			if c.first {
				_, err := w.s.OpenAppSession(t.Context(), made.Bearer, "wiki", state, home)
				w.must(err)
				left = 1
			}
			w.advance(c.wait)
			if _, err := w.s.OpenAppSession(t.Context(), made.Bearer, c.app, c.state, home); err == nil {
				t.Fatal("it was taken over")
			}
			if err := w.use(made); !errors.Is(err, fault.Unauthenticated) {
				t.Errorf("it is used: %v", err)
			}
			if n := w.appSessions(); n != left {
				t.Errorf("%d sessions are left", n)
			}
			if told := w.events.Events(event.TypeAuth); c.wait == 0 && len(told) != 1-left {
				t.Errorf("the log has %v", told)
			}
		})
	}
}

// A session with an app ends with the web session that it was made of, however that
// ends, and with the account.
func TestAppSessionsEndWithTheWebSession(t *testing.T) {
	for name, end := range map[string]func(w *world, web Session) error{
		"signed out":     func(w *world, web Session) error { return w.s.EndWebSession(w.t.Context(), web.Bearer, home) },
		"account reset":  func(w *world, _ Session) error { return w.s.endSessionsOf(w.t.Context(), "alice") },
		"lost by itself": func(w *world, web Session) error { return w.forgetWeb(web) },
		"expired":        func(w *world, web Session) error { w.advance(13 * time.Hour); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			web, err := w.start("alice")
			w.must(err)
			made := w.opened(web)
			w.must(end(w, web))
			if err := w.use(made); !errors.Is(err, fault.Unauthenticated) {
				t.Errorf("it is used: %v", err)
			}
			if n := w.appSessions(); n != 0 {
				t.Errorf("%d sessions are left", n)
			}
		})
	}
}

// forgetWeb removes a web session as the store's own expiry does.
func (w *world) forgetWeb(web Session) error {
	id, _, _ := strings.Cut(web.Bearer.Reveal(), ".")
	return w.s.web.Delete(w.t.Context(), id, "")
}

// Nobody makes a session with an app without a live web session, and half of a
// bearer, or one that is put together of two, is worth nothing.
func TestWhoGetsNoAppSession(t *testing.T) {
	w := newWorld(t)
	web, err := w.start("alice")
	w.must(err)
	other, err := w.start("bob")
	w.must(err)
	made, bobs := w.opened(web), w.opened(other)
	id, secret, _ := strings.Cut(made.Bearer.Reveal(), ".")
	bobID, bobSecret, _ := strings.Cut(bobs.Bearer.Reveal(), ".")
	for _, bearer := range []string{"", id, "." + secret, id + ".", id + "." + bobSecret, bobID + "." + secret, web.Bearer.Reveal(), strings.ToUpper(made.Bearer.Reveal())} {
		if err := w.use(Session{Bearer: types.NewSecret(bearer)}); !errors.Is(err, fault.Unauthenticated) {
			t.Errorf("the bearer %q: %v", bearer, err)
		}
	}
	for name, a := range map[string]AppAttempt{
		"no bearer":          {App: "wiki", State: state},
		"an app's bearer":    {Bearer: made.Bearer, App: "wiki", State: state},
		"no state":           {Bearer: web.Bearer, App: "wiki"},
		"a state that is no": {Bearer: web.Bearer, App: "wiki", State: types.NewSecret("abc")},
		"no app":             {Bearer: web.Bearer, State: state},
		"no name of an app":  {Bearer: web.Bearer, App: "../wiki", State: state},
	} {
		a.Addr = home
		if _, err := w.s.StartAppSession(t.Context(), a); err == nil {
			t.Errorf("%s: there is a session", name)
		}
	}
	if _, err := w.s.CheckWebSession(t.Context(), made.Bearer, home, false); !errors.Is(err, fault.Unauthenticated) {
		t.Errorf("an app's bearer is a web session's: %v", err)
	}
}

// Using an app is using the session: it puts the idle limit off.
func TestAnAppInUseIsNotIdle(t *testing.T) {
	w := newWorld(t)
	n := &types.NetworkingConfig{Header: types.Header{Kind: types.KindNetworkingConfig, Version: "v2", Metadata: types.Metadata{Name: "cluster-networking-config"}}}
	n.Spec.WebIdleTimeout = types.Duration(20 * time.Minute)
	_, err := w.store.Put(t.Context(), store.Create, n)
	w.must(err)
	web, err := w.start("alice")
	w.must(err)
	made := w.opened(web)
	for range 3 {
		w.advance(15 * time.Minute)
		w.must(w.use(made))
	}
	w.advance(21 * time.Minute)
	if err := w.use(made); !errors.Is(err, fault.Unauthenticated) || w.appSessions() != 0 {
		t.Errorf("after the idle limit: %v", err)
	}
}

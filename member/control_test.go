package member_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"teleport/api/gen/presencev1"
	"teleport/fault"
	"teleport/member"
	"teleport/types"
)

// presence is the auth service's end of control streams.
type presence struct {
	mu      sync.Mutex
	streams []*stream
	refuse  error
	mute    bool          // welcomes and then says nothing
	opening chan struct{} // not nil: a stream opens when it closes, or ctx ends
}

func (p *presence) Control(ctx context.Context) (member.ControlStream, error) {
	p.mu.Lock()
	opening := p.opening
	p.mu.Unlock()
	if opening != nil {
		select {
		case <-opening:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		return nil, p.refuse
	}
	s := &stream{p: p, out: make(chan *presencev1.ControlResponse, 16), closed: make(chan struct{}), opened: time.Now()}
	p.streams = append(p.streams, s)
	return s, nil
}

// slow makes the next streams wait before they open.
func (p *presence) slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	opening := make(chan struct{})
	p.opening = opening
	time.AfterFunc(d, func() { close(opening) })
}

func (p *presence) isMute() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mute
}

func (p *presence) last() *stream {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.streams) == 0 {
		return nil
	}
	return p.streams[len(p.streams)-1]
}

func (p *presence) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.streams)
}

type stream struct {
	p      *presence
	out    chan *presencev1.ControlResponse
	opened time.Time

	mu     sync.Mutex
	got    []*presencev1.ControlRequest
	done   bool
	closed chan struct{}
}

func (s *stream) Send(m *presencev1.ControlRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return io.ErrClosedPipe
	}
	s.got = append(s.got, m)
	switch {
	case m.GetHello() != nil:
		s.out <- &presencev1.ControlResponse{Message: &presencev1.ControlResponse_Welcome{Welcome: &presencev1.Welcome{PingSeconds: 10, LeaseSeconds: 30}}}
	case m.GetPing() != nil && !s.p.isMute():
		s.out <- &presencev1.ControlResponse{Message: &presencev1.ControlResponse_Pong{Pong: &presencev1.Pong{Sequence: m.GetPing().Sequence}}}
	}
	return nil
}

func (s *stream) Receive() (*presencev1.ControlResponse, error) {
	select {
	case m := <-s.out:
		return m, nil
	case <-s.closed:
		return nil, io.EOF
	}
}

func (s *stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done {
		s.done = true
		close(s.closed)
	}
	return nil
}

// said counts the messages of a sort.
func (s *stream) said(is func(*presencev1.ControlRequest) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, m := range s.got {
		if is(m) {
			n++
		}
	}
	return n
}

func announces(m *presencev1.ControlRequest) bool { return m.GetAnnounce() != nil }
func pings(m *presencev1.ControlRequest) bool     { return m.GetPing() != nil }
func byes(m *presencev1.ControlRequest) bool      { return m.GetBye() != nil }

func node(name string) types.Resource {
	return &types.Node{Header: types.Header{Kind: types.KindNode, SubKind: "teleport", Version: "v2", Metadata: types.Metadata{Name: name}}, Spec: types.NodeSpec{Hostname: name}}
}

func announcer(t *testing.T, p *presence, onRefusal func(kind, name, reason string)) (a *member.Announcer, stop func()) {
	t.Helper()
	a = member.NewAnnouncer(member.AnnouncerConfig{Via: p, Version: "1", Hostname: "web-1", Services: []types.SystemRole{types.RoleNode}, Generation: 4, OnRefusal: onRefusal})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx) }()
	return a, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestControlStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &presence{}
		refusals := make(chan string, 1)
		a, stop := announcer(t, p, func(_, name, _ string) { refusals <- name })
		if err := a.Announce(node("n1")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s := p.last()
		if h := s.got[0].GetHello(); h == nil || h.Generation != 4 || h.Services[0] != "Node" || h.Draining {
			t.Errorf("%v", s.got[0])
		}
		if !a.Connected() {
			t.Error("welcomed, and not connected")
		}
		before := s.said(announces)
		if err := errors.Join(a.Announce(node("n1")), a.Announce(node("n1"), node("n2"))); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := s.said(announces) - before; n != 1 {
			t.Errorf("%d announcements after one change", n)
		}
		time.Sleep(time.Hour)
		if n := s.said(pings); n < 350 || n > 361 || p.count() != 1 {
			t.Errorf("%d pings in an hour, %d streams", n, p.count())
		}
		s.out <- &presencev1.ControlResponse{Message: &presencev1.ControlResponse_Ping{Ping: &presencev1.Ping{Sequence: 9}}}
		s.out <- &presencev1.ControlResponse{Message: &presencev1.ControlResponse_Refused{Refused: &presencev1.Refused{Kind: "node", Name: "n2", Reason: "out of scope"}}}
		if name := <-refusals; name != "n2" {
			t.Errorf("refused %s", name)
		}
		if n := s.said(func(m *presencev1.ControlRequest) bool { return m.GetPong().GetSequence() == 9 }); n != 1 {
			t.Errorf("%d answers to a ping", n)
		}
		leaving := time.Now()
		stop()
		if s.said(byes) != 1 || a.Connected() {
			t.Error("left without a bye")
		}
		// This peer never ends the stream; cancelled at once, it might not hear.
		if d := time.Since(leaving); d != 5*time.Second {
			t.Errorf("the peer was given %s to hear the bye", d)
		}
	})
}

// A stream that breaks, or goes silent, is opened again with growing pauses, and
// everything is announced anew.
func TestControlReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &presence{}
		a, stop := announcer(t, p, nil)
		defer stop()
		if err := a.Announce(node("n1")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p.last().Close()
		time.Sleep(3 * time.Second)
		if p.count() != 2 || p.last().said(announces) == 0 {
			t.Fatalf("%d streams", p.count())
		}
		p.mu.Lock()
		p.mute = true
		p.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if p.count() < 3 {
			t.Error("a silent stream is kept")
		}
		p.mu.Lock()
		p.mute, p.refuse = false, fault.New(fault.Unavailable, "auth is away")
		p.mu.Unlock()
		time.Sleep(time.Hour)
		p.mu.Lock()
		p.refuse = nil
		p.mu.Unlock()
		time.Sleep(2 * time.Minute)
		if !a.Connected() {
			t.Error("not back after auth returned")
		}
	})
}

// Draining is said at once, in the hello of a new stream.
func TestControlDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &presence{}
		a, stop := announcer(t, p, nil)
		defer stop()
		synctest.Wait()
		a.Drain()
		synctest.Wait()
		if h := p.last().got[0].GetHello(); p.count() != 2 || !h.Draining {
			t.Errorf("%d streams, hello %v", p.count(), h)
		}
	})
}

// Who leaves while no stream stands still says goodbye, on a stream for that:
// TERM drains, which opens a new stream, and leaves in the same breath.
func TestControlLeavesBetweenStreams(t *testing.T) {
	for name, away := range map[string]func(*member.Announcer, *presence){
		"draining":               func(a *member.Announcer, _ *presence) { a.Drain() },
		"after a broken stream":  func(_ *member.Announcer, p *presence) { p.last().Close() },
		"and the stream is slow": func(a *member.Announcer, p *presence) { p.slow(time.Second); a.Drain() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &presence{}
				a, stop := announcer(t, p, nil)
				synctest.Wait()
				away(a, p)
				synctest.Wait()
				stop()
				if p.last().said(byes) != 1 {
					t.Errorf("left without a goodbye, after %d streams", p.count())
				}
			})
		})
	}
	t.Run("and nobody answers any more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &presence{}
			a, stop := announcer(t, p, nil)
			synctest.Wait()
			p.slow(time.Hour)
			a.Drain()
			synctest.Wait()
			leaving := time.Now()
			stop()
			if d := time.Since(leaving); d != 5*time.Second {
				t.Errorf("leaving took %s", d)
			}
		})
	})
}

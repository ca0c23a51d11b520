package member

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"teleport/api/authclient"
	"teleport/api/gen/presencev1"
	"teleport/fault"
	"teleport/lifecycle"
	"teleport/types"
)

// ControlStream is one control stream. Send and Receive may run concurrently with
// each other, but not with themselves; Close ends both.
type ControlStream interface {
	Send(*presencev1.ControlRequest) error
	Receive() (*presencev1.ControlResponse, error)
	Close() error
}

// Presence opens control streams; authclient's differs only in the name of the
// result, so it is passed as PresenceFunc.
type Presence interface {
	Control(ctx context.Context) (ControlStream, error)
}

// PresenceFunc makes a function a Presence.
type PresenceFunc func(ctx context.Context) (ControlStream, error)

// Control implements Presence.
func (f PresenceFunc) Control(ctx context.Context) (ControlStream, error) { return f(ctx) }

// Bounds of what the auth service may ask for in its welcome.
const (
	defaultPing = 15 * time.Second
	minPing     = time.Second
	maxPing     = 5 * time.Minute
	// silentPings is how many pings may stay unanswered before the stream counts
	// as dead.
	silentPings = 3
	// maxReopen is the longest pause between attempts to connect: hosts are back in
	// the list within seconds, however long the auth service was away.
	maxReopen = 10 * time.Second
	// byeTimeout is how long leaving may take: a stream may have to be opened for
	// the goodbye, and the auth service may be busy.
	byeTimeout = 5 * time.Second
)

// Announcer is the control stream of this process: it greets, pings, and keeps
// the auth service informed of what the process fronts. Safe for concurrent use.
type Announcer struct {
	via        Presence
	hello      *presencev1.Hello
	onRefusal  func(kind, name, reason string)
	log        *slog.Logger
	sessions   SessionFeed   // may be nil
	changed    chan struct{} // capacity 1
	statusChan chan struct{} // capacity 1

	mu        sync.Mutex
	resources [][]byte
	draining  bool
	connected bool
	owing     bool          // the auth service knows this process, and got no goodbye
	leave     func()        // ends Serve, while it runs
	left      chan struct{} // closed when Serve has ended
}

// AnnouncerConfig describes the process to the auth service.
type AnnouncerConfig struct {
	Via        Presence
	Version    string
	Hostname   string
	Services   []types.SystemRole
	Generation uint64 // of the process (restarts), not of the certificate
	// OnRefusal is called for each resource that the auth service does not take,
	// for example because it lies outside of the host's scope. Nil: only logged.
	OnRefusal func(kind, name, reason string)
	// Sessions are the live sessions that the auth service is told of. Optional.
	Sessions SessionFeed
	Log      *slog.Logger // nil: none
}

// SessionFeed is where the announcer learns of live sessions, as session_tracker
// documents. *session.Trackers is one.
type SessionFeed interface {
	// Changed ticks when there is something to take.
	Changed() <-chan struct{}
	// All returns every document; Take what changed and what ended since.
	All() [][]byte
	Take() (docs [][]byte, ended []string)
}

// NewAnnouncer returns an announcer. It connects in Serve.
func NewAnnouncer(c AnnouncerConfig) *Announcer {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	h := &presencev1.Hello{Version: c.Version, Hostname: c.Hostname, Generation: c.Generation}
	for _, s := range c.Services {
		h.Services = append(h.Services, string(s))
	}
	return &Announcer{
		via: c.Via, hello: h, onRefusal: c.OnRefusal, sessions: c.Sessions, log: c.Log,
		changed: make(chan struct{}, 1), statusChan: make(chan struct{}, 1),
	}
}

// Announce replaces the set of resources that this process fronts. It is sent at
// once when connected, and again after each reconnect.
func (a *Announcer) Announce(resources ...types.Resource) error {
	docs := make([][]byte, 0, len(resources))
	for _, r := range resources {
		b, err := types.Encode(r)
		if err != nil {
			return err
		}
		docs = append(docs, b)
	}
	a.mu.Lock()
	same := slices.EqualFunc(a.resources, docs, func(x, y []byte) bool { return string(x) == string(y) })
	a.resources = docs
	a.mu.Unlock()
	if !same {
		signal(a.changed)
	}
	return nil
}

// Drain tells the auth service that this generation of the process is leaving.
func (a *Announcer) Drain() {
	a.mu.Lock()
	a.draining = true
	a.mu.Unlock()
	signal(a.changed)
}

// Leave says goodbye and ends Serve. It waits until the auth service has heard,
// or ctx ends: for processes whose way to the auth service ends before they do.
func (a *Announcer) Leave(ctx context.Context) {
	a.mu.Lock()
	leave, left := a.leave, a.left
	a.mu.Unlock()
	if leave == nil {
		return // it never served
	}
	leave()
	select {
	case <-left:
	case <-ctx.Done():
	}
}

// Connected reports whether the auth service has welcomed this process on the
// stream that is open now.
func (a *Announcer) Connected() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.connected
}

// Status returns a channel that ticks when Connected may have changed. There is
// one, for one reader.
func (a *Announcer) Status() <-chan struct{} { return a.statusChan }

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (a *Announcer) setConnected(on bool) {
	a.mu.Lock()
	a.connected = on
	a.mu.Unlock()
	signal(a.statusChan)
}

func (a *Announcer) helloNow() *presencev1.ControlRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := &presencev1.Hello{
		Version: a.hello.Version, Hostname: a.hello.Hostname, Services: a.hello.Services,
		Generation: a.hello.Generation, Draining: a.draining,
	}
	return &presencev1.ControlRequest{Message: &presencev1.ControlRequest_Hello{Hello: h}}
}

func (a *Announcer) announceNow() *presencev1.ControlRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return &presencev1.ControlRequest{Message: &presencev1.ControlRequest_Announce{Announce: &presencev1.Announce{Resources: a.resources}}}
}

// Serve holds the stream until ctx ends, which is no error, and opens it again
// after each break with growing pauses. It says goodbye before it returns, on a
// stream of its own when none stands.
func (a *Announcer) Serve(ctx context.Context) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	left := make(chan struct{})
	defer close(left)
	a.mu.Lock()
	a.leave, a.left = leave, left
	a.mu.Unlock()
	grace, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	context.AfterFunc(ctx, func() { time.AfterFunc(byeTimeout, end) })
	pause := time.Duration(0)
	for ctx.Err() == nil {
		welcomed, err := a.once(ctx, grace)
		a.setConnected(false)
		if errors.Is(err, errReopen) || welcomed && errors.Is(err, authclient.ErrReopen) || ctx.Err() != nil {
			continue
		}
		if welcomed {
			pause = 0
		}
		pause = min(max(2*pause, time.Second), maxReopen)
		a.log.Warn("the control stream to the auth service ended; opening it again", "error", err, "pause", pause)
		_ = lifecycle.Sleep(ctx, jittered(pause)) // ctx is looked at above
	}
	if a.owes() && grace.Err() == nil {
		if _, err := a.once(ctx, grace); err != nil {
			a.log.Info("the auth service got no goodbye; this host is in its lists until the lease ends", "error", err)
		}
	}
	return nil
}

// once runs one stream to its end, which is a goodbye when ctx ends. The stream
// outlives ctx for as long as grace. The receiving goroutine ends before it
// returns: Close makes its Receive fail.
func (a *Announcer) once(ctx, grace context.Context) (welcomed bool, err error) {
	streamCtx, cancel := context.WithCancel(grace)
	defer cancel()
	stopped := func() bool { return true }
	if !a.owes() {
		stopped = context.AfterFunc(ctx, cancel)
	}
	stream, err := a.via.Control(streamCtx)
	stopped()
	if err != nil {
		return false, err
	}
	in := make(chan *presencev1.ControlResponse)
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { receive(streamCtx, stream, in, failed) })
	defer wg.Wait()
	defer stream.Close()
	defer cancel()
	hello := a.helloNow()
	a.owe(true) // it may be heard even when Send fails
	if err := stream.Send(hello); err != nil {
		return false, err
	}
	s := &controlSession{a: a, stream: stream, in: in, failed: failed, draining: hello.GetHello().Draining}
	if err = s.run(ctx); err == nil {
		err = s.goodbye(streamCtx)
		a.owe(err != nil)
	}
	return s.welcomed, err
}

func (a *Announcer) owes() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.owing
}

func (a *Announcer) owe(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.owing = on
}

func receive(ctx context.Context, stream ControlStream, in chan<- *presencev1.ControlResponse, failed chan<- error) {
	for {
		m, err := stream.Receive()
		if err != nil {
			failed <- err
			return
		}
		select {
		case in <- m:
		case <-ctx.Done():
			return
		}
	}
}

// controlSession is the sending half of one stream.
type controlSession struct {
	a        *Announcer
	stream   ControlStream
	in       <-chan *presencev1.ControlResponse
	failed   <-chan error
	draining bool // as said in this stream's hello
	welcomed bool
	unheard  int // pings since the last message of the other end
	sequence uint64

	gathering bool // changes of sessions, until telling fires
	telling   *time.Timer
}

var (
	errSilent  = errors.New("the auth service does not answer")
	errReopen  = errors.New("the hello is no longer true")
	errUnheard = errors.New("the auth service did not end the stream after the goodbye")
)

// run returns nil when ctx ended, and otherwise why the stream is of no more use.
func (s *controlSession) run(ctx context.Context) error {
	tick := time.NewTicker(defaultPing)
	defer tick.Stop()
	s.telling = time.NewTimer(time.Hour)
	defer s.telling.Stop()
	s.telling.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case err = <-s.failed:
			return err
		case m := <-s.in:
			s.unheard = 0
			err = s.handle(m, tick)
		case <-tick.C:
			err = s.ping()
		case <-s.a.changed:
			err = s.update()
		case <-s.sessionsChanged():
			s.gatherSessions()
		case <-s.telling.C:
			err = s.tellSessions()
		}
		if err != nil {
			return err
		}
	}
}

// goodbye ends the lease at once. It is a courtesy, so it does not wait for longer
// than ctx: without it the lease ends by itself. The peer ends the stream when it
// has heard; a stream that this side cancelled first could take the message with it.
func (s *controlSession) goodbye(ctx context.Context) error {
	if err := s.stream.Send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Bye{Bye: &presencev1.Bye{}}}); err != nil {
		return err
	}
	for {
		select {
		case <-s.in:
		case err := <-s.failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err // it broke, and with it perhaps the goodbye
		case <-ctx.Done():
			return errUnheard
		}
	}
}

func (s *controlSession) ping() error {
	if s.unheard >= silentPings {
		return fault.Wrap(errSilent, fault.Unavailable, "the auth service does not answer")
	}
	s.unheard++
	s.sequence++
	p := &presencev1.Ping{Sequence: s.sequence, TimeUnixNano: time.Now().UnixNano()}
	return s.stream.Send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Ping{Ping: p}})
}

// update tells what changed: new resources on this stream, draining by a new one,
// as a stream has one hello.
func (s *controlSession) update() error {
	s.a.mu.Lock()
	draining := s.a.draining
	s.a.mu.Unlock()
	switch {
	case draining != s.draining:
		return errReopen
	case s.welcomed:
		return s.stream.Send(s.a.announceNow())
	}
	return nil
}

func (s *controlSession) handle(m *presencev1.ControlResponse, tick *time.Ticker) error {
	switch x := m.GetMessage().(type) {
	case *presencev1.ControlResponse_Welcome:
		if every := time.Duration(x.Welcome.PingSeconds) * time.Second; every > 0 {
			tick.Reset(min(max(every, minPing), maxPing))
		}
		first := !s.welcomed
		s.welcomed = true
		s.a.setConnected(true)
		if first {
			if err := s.stream.Send(s.a.announceNow()); err != nil {
				return err
			}
			return s.tellAllSessions()
		}
	case *presencev1.ControlResponse_Ping:
		pong := &presencev1.Pong{Sequence: x.Ping.Sequence, TimeUnixNano: time.Now().UnixNano()}
		return s.stream.Send(&presencev1.ControlRequest{Message: &presencev1.ControlRequest_Pong{Pong: pong}})
	case *presencev1.ControlResponse_Refused:
		s.a.log.Error("the auth service does not register a resource", "kind", x.Refused.Kind, "name", x.Refused.Name, "reason", x.Refused.Reason)
		if s.a.onRefusal != nil {
			s.a.onRefusal(x.Refused.Kind, x.Refused.Name, x.Refused.Reason)
		}
	}
	return nil
}

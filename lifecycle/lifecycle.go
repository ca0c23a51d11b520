// Package lifecycle runs the services of a process as one group: they start in
// order, each after the one before it is ready; the first that fails ends the
// others and is the reported cause; on the way down the doors close first, then
// all who carry streams are told at once and waited for, and what they stand on
// stops last, in reverse order; all under one deadline. A panic in a service is
// an error of that service.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Stage is when a service is told to stop. The order of starts follows what a
// service needs to begin, which may differ: an agent's tunnel needs the proxy's
// port of the same process, and must be told to drain when that port closes.
type Stage int

// The stages, in the order of the way down, last to first.
const (
	// Core services stop last, one after the other, the newest first: what streams
	// stand on while they live, such as policy and audit.
	Core Stage = iota
	// Work carries streams: all such services are told together, and may take
	// long to end.
	Work
	// Door takes connections from outside and ends at once.
	Door
)

// Service is one long-running part of a process.
type Service struct {
	// Name is what logs and errors call it.
	Name string
	// Serve blocks until ctx is cancelled and what it owns has drained, and then
	// returns nil. A nil return before that means that its work is done; an error
	// ends the group, unless Restart is set.
	Serve func(ctx context.Context) error
	// Ready, when not nil, is closed once the service can do its work; the next
	// service starts only then. Nil: ready as soon as it runs.
	Ready <-chan struct{}
	// Stage is when it stops; the zero value is Core.
	Stage Stage
	// Restart, when not nil, runs the service again after an error or a panic,
	// with these pauses. A run of ten times the longest pause starts the count anew.
	Restart *Backoff
}

// Group runs services. Make it with New, Add all services, then call Serve
// once. Not for concurrent use before Serve.
type Group struct {
	log      *slog.Logger
	drain    time.Duration
	services []Service
	ready    chan struct{}
}

// New makes an empty group. drain is how long all services together may take to
// stop after the group was told to; zero means 30 s.
func New(log *slog.Logger, drain time.Duration) *Group {
	if drain <= 0 {
		drain = 30 * time.Second
	}
	return &Group{log: log, drain: drain, ready: make(chan struct{})}
}

// Add appends a service; the order of the calls is the order of the starts.
func (g *Group) Add(s Service) { g.services = append(g.services, s) }

// Ready is closed when every service is ready.
func (g *Group) Ready() <-chan struct{} { return g.ready }

// running is a started service: cancel tells it to stop, done is closed when it has.
type running struct {
	name   string
	stage  Stage
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// run is the state of one Serve.
type run struct {
	g       *Group
	started []*running
	stop    chan struct{} // closed at the first failure
	once    sync.Once
	cause   error
	left    sync.WaitGroup
}

// Serve starts the services and blocks until all have ended: because ctx was
// cancelled (it returns nil), because one failed (it returns that first error)
// or because all finished. Services that outlast the drain deadline are named in
// the error and left behind: the process is expected to end.
func (g *Group) Serve(ctx context.Context) error {
	r := &run{g: g, stop: make(chan struct{})}
	base := context.WithoutCancel(ctx)
	for _, s := range g.services {
		if !r.start(ctx, base, s) {
			break
		}
	}
	finished := make(chan struct{})
	if len(r.started) == len(g.services) && ctx.Err() == nil && !r.failed() {
		close(g.ready)
		go func() { r.left.Wait(); close(finished) }()
		select {
		case <-ctx.Done():
		case <-r.stop:
		case <-finished:
			return r.result()
		}
	}
	return errors.Join(r.result(), r.drain())
}

// start runs s and waits until it is ready. It reports whether the next service
// may start.
func (r *run) start(ctx, base context.Context, s Service) bool {
	own, cancel := context.WithCancelCause(base)
	x := &running{name: s.Name, stage: s.Stage, cancel: cancel, done: make(chan struct{})}
	r.started = append(r.started, x)
	r.left.Go(func() {
		defer close(x.done)
		if err := r.g.supervise(own, s); err != nil {
			r.fail(fmt.Errorf("%s: %w", s.Name, err))
		}
	})
	if s.Ready == nil {
		return ctx.Err() == nil && !r.failed()
	}
	select {
	case <-s.Ready:
		return true
	case <-x.done:
		// Serve returned nil without ever being ready: nobody can build on it.
		r.fail(fmt.Errorf("%s: ended before it was ready", s.Name))
	case <-r.stop:
	case <-ctx.Done():
	}
	return false
}

func (r *run) fail(err error) {
	r.once.Do(func() { r.cause = err; close(r.stop) })
}

func (r *run) failed() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

func (r *run) result() error {
	if r.failed() {
		return r.cause
	}
	return nil
}

// drain stops what was started, stage by stage. After the deadline it cancels
// all that is left and reports who did not stop.
func (r *run) drain() error {
	drain, cause := r.g.drain, r.result()
	if cause == nil {
		cause = context.Canceled
	} else {
		drain = min(drain, failedDrain) // a new process shall take over soon
	}
	deadline := time.NewTimer(drain)
	defer deadline.Stop()
	var late []string
	for _, batch := range r.batches() {
		for _, x := range batch {
			x.cancel(cause)
		}
		for _, x := range batch {
			if len(late) == 0 {
				select {
				case <-x.done:
					continue
				case <-deadline.C:
					for _, y := range r.started {
						y.cancel(cause)
					}
				}
			}
			select {
			case <-x.done:
			default:
				late = append(late, x.name)
			}
		}
	}
	if len(late) > 0 {
		return fmt.Errorf("did not stop within %v: %s", drain, strings.Join(late, ", "))
	}
	return nil
}

// failedDrain is the drain time of a group that ends because a service failed.
const failedDrain = 10 * time.Second

// batches lists what was started in the order of the way down: those of one
// batch are told together.
func (r *run) batches() [][]*running {
	var doors, work []*running
	var core [][]*running
	for _, x := range slices.Backward(r.started) {
		switch x.stage {
		case Door:
			doors = append(doors, x)
		case Work:
			work = append(work, x)
		default:
			core = append(core, []*running{x})
		}
	}
	return append([][]*running{doors, work}, core...)
}

// supervise runs s until it ends for good.
func (g *Group) supervise(ctx context.Context, s Service) error {
	for failures := 1; ; failures++ {
		begun := time.Now()
		err := Guard(ctx, s.Serve)
		if ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				g.log.Warn("service ended with an error while stopping", "service", s.Name, "err", err)
			}
			return nil
		}
		if err == nil || s.Restart == nil {
			return err
		}
		if time.Since(begun) > 10*max(s.Restart.Max, time.Minute) {
			failures = 1
		}
		pause := s.Restart.Delay(failures)
		g.log.Error("service failed and will start again", "service", s.Name, "err", err, "pause", pause)
		if Sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// PanicError is a panic turned into an error, with the stack for the log.
type PanicError struct {
	Value any
	Stack []byte
}

// Error tells the panic's value, without the stack.
func (p *PanicError) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

// Guard calls f and turns a panic into a *PanicError, so that one connection or
// service cannot take the process down.
func Guard(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f(ctx)
}

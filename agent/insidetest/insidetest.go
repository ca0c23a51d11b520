// Package insidetest is what tests of the services of agents have in common: the
// policy that they decide from, which a test changes, and an audit log in memory.
package insidetest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"teleport/access"
	"teleport/types"
	"teleport/types/event"
)

// Pair is a TCP connection to ourselves.
func Pair() (near, far net.Conn, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	if near, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		return nil, nil, err
	}
	far, err = ln.Accept()
	return near, far, err
}

// Await waits until something is true.
func Await(t testing.TB, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came")
		}
	}
}

// Policy is a replica that tests change.
type Policy struct {
	mu       sync.Mutex
	roles    map[string]*types.Role
	LockList []*types.Lock
	revision uint64
	tick     chan struct{}
}

// NewPolicy returns a policy without roles.
func NewPolicy() *Policy {
	return &Policy{roles: map[string]*types.Role{}, tick: make(chan struct{}, 1)}
}

// SetRole gives the policy a role.
func (p *Policy) SetRole(r *types.Role) {
	p.Change(func() { p.roles[r.Metadata.Name] = r })
}

// Change edits the policy and tells who watches it.
func (p *Policy) Change(f func()) {
	p.mu.Lock()
	f()
	p.revision++
	p.mu.Unlock()
	select {
	case p.tick <- struct{}{}:
	default:
	}
}

// Roles implements access.View.
func (p *Policy) Roles(names []string) (out []*types.Role) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range names {
		if r := p.roles[n]; r != nil {
			out = append(out, r)
		}
	}
	return out
}

// Locks implements access.View.
func (p *Policy) Locks() []*types.Lock {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.LockList
}

// Settings implements access.View.
func (p *Policy) Settings() access.Settings { return access.Settings{} }

// Epoch implements access.View.
func (p *Policy) Epoch(string) *types.UserEpochSpec { return nil }

// Fresh implements access.View.
func (p *Policy) Fresh(time.Time) bool { return true }

// Revision implements access.View.
func (p *Policy) Revision() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revision
}

// Subscribe implements session.Policy.
func (p *Policy) Subscribe() (<-chan struct{}, func()) { return p.tick, func() {} }

// Log is an audit log in memory.
type Log struct {
	mu     sync.Mutex
	events []event.Event
	errs   []error
	Fail   error // of Emit
}

// Emit implements audit.Emitter.
func (l *Log) Emit(_ context.Context, events ...event.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Fail != nil {
		return l.Fail
	}
	l.events = append(l.events, events...)
	return nil
}

// Break lets Emit fail from now on.
func (l *Log) Break(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Fail = err
}

// Note keeps what a service returned.
func (l *Log) Note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

// Events returns the events of the given types so far, all without any.
func (l *Log) Events(types ...string) []event.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []event.Event
	for _, e := range l.events {
		for _, t := range types {
			if e.EventMeta().Type == t {
				out = append(out, e)
			}
		}
		if len(types) == 0 {
			out = append(out, e)
		}
	}
	return out
}

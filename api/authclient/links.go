package authclient

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"teleport/api/rpc"
	"teleport/fault"
	"teleport/store"
)

// links are the connections of a client in generations. New calls use the
// current one; an older one carries the calls that it began, and closes when it
// has been idle for a while. It is an http.RoundTripper.
type links struct {
	pattern *http.Transport // never used itself

	mu      sync.Mutex
	current *link
}

// link is one generation of connections.
type link struct {
	*http.Transport
	over   context.Context // ends when a newer generation took its place
	retire context.CancelFunc
}

func newLinks(pattern *http.Transport) *links {
	return &links{pattern: pattern, current: newLink(pattern)}
}

func newLink(pattern *http.Transport) *link {
	l := &link{Transport: pattern.Clone()}
	l.over, l.retire = context.WithCancel(context.Background())
	return l
}

// RoundTrip implements http.RoundTripper.
func (l *links) RoundTrip(r *http.Request) (*http.Response, error) { return l.now().RoundTrip(r) }

func (l *links) now() *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.current
}

// renew begins a generation.
func (l *links) renew() {
	next := newLink(l.pattern)
	l.mu.Lock()
	old := l.current
	l.current = next
	l.mu.Unlock()
	old.retire()
	old.CloseIdleConnections()
}

func (l *links) closeIdle() { l.now().CloseIdleConnections() }

// ErrReopen ends watches and control streams whose connection Redial retired.
var ErrReopen = store.ErrReopen

// stream returns a context for a call without an end of its own: it ends, with
// store.ErrReopen as its cause, when its connection is retired.
func (l *links) stream(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(l.now().over, func() { cancel(store.ErrReopen) })
	return ctx, func() { stop(); cancel(nil) }
}

// streamError is why a stream ended.
func streamError(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), store.ErrReopen) {
		return fault.Wrap(store.ErrReopen, fault.Unavailable, "the connection of this stream was retired")
	}
	return rpc.FromWire(err)
}

// Redial makes every later call use a new connection, made with the certificate
// and the authorities of then. Calls under way finish on theirs; watches and
// control streams end with ErrReopen, so that their holders open them anew.
func (c *Client) Redial() { c.links.renew() }

// Follow calls Redial after each tick of changes, such as those of
// member.Member.Subscribe, until ctx ends.
func (c *Client) Follow(ctx context.Context, changes <-chan struct{}) error {
	for {
		select {
		case <-changes:
			c.Redial()
		case <-ctx.Done():
			return nil
		}
	}
}

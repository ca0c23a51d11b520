package http1

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"teleport/netx"
)

// Client sends requests to one place. It is an http.RoundTripper that adds no header,
// follows nothing and takes no proxy of the environment. Its fields are set before
// its first use; then it is safe for concurrent use.
type Client struct {
	// Dial opens a connection.
	Dial func(ctx context.Context) (net.Conn, error)
	// AnswerTimeout bounds the wait for the head of an answer, once a request is sent.
	AnswerTimeout time.Duration
	MaxHead       int // bytes of an answer's
	// MaxIdle connections are kept for IdleTimeout.
	MaxIdle     int
	IdleTimeout time.Duration

	mu     sync.Mutex
	idle   []*link // the last one used is the last
	age    int     // counts renewals
	sweep  *time.Timer
	closed bool
}

// RoundTrip implements http.RoundTripper, as Send does without ears for early answers.
func (c *Client) RoundTrip(r *http.Request) (*http.Response, error) { return c.Send(r, nil) }

// Send sends a request and returns its answer, once its head has come. A request that
// may be repeated, and whose connection ended before anything of an answer came, is
// sent over another one: the other side had closed what waited here, or has gone, and
// there may be one more.
func (c *Client) Send(r *http.Request, early Early) (*http.Response, error) {
	for fresh := 0; ; {
		l, err := c.take(r)
		if err != nil {
			return nil, errors.Join(err, closeBody(r))
		}
		resp, begun, err := l.exchange(r, early)
		if err == nil {
			return resp, nil
		}
		l.drop()
		if r.Context().Err() != nil {
			return nil, errors.Join(context.Cause(r.Context()), closeBody(r))
		}
		if !l.again {
			fresh++
		}
		if begun || fresh > 1 || isTimeout(err) || !repeatable(r) {
			return nil, errors.Join(err, closeBody(r))
		}
	}
}

func closeBody(r *http.Request) error {
	if r.Body == nil {
		return nil
	}
	return r.Body.Close()
}

func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }

// repeatable reports whether a request may be sent twice (RFC 9110 §9.2.2).
func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return !hasBody(r)
	}
	return false
}

// take finds an idle connection, or opens one. What the other side says on one that
// waits, after a body that should not be or has more than its length, would be taken for
// the next answer: such a connection serves nobody any more.
func (c *Client) take(r *http.Request) (*link, error) {
	for {
		l, age := c.pop()
		if l == nil {
			nc, err := c.Dial(r.Context())
			if err != nil {
				return nil, err
			}
			return newLink(c, nc, age), nil
		}
		idle := time.Since(l.used)
		if idle < c.IdleTimeout && netx.Quiet(l.nc) {
			return l, nil
		}
		l.close()
	}
}

func (c *Client) pop() (l *link, age int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle); n > 0 {
		l, c.idle[n-1] = c.idle[n-1], nil
		c.idle = c.idle[:n-1]
	}
	return l, c.age
}

// keep puts a connection by for the next request.
func (c *Client) keep(l *link) {
	l.used, l.again = time.Now(), true
	if !c.put(l) {
		l.close()
	}
}

func (c *Client) put(l *link) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || l.age != c.age || len(c.idle) >= c.MaxIdle {
		return false
	}
	c.idle = append(c.idle, l)
	if c.sweep == nil {
		c.sweep = time.AfterFunc(c.IdleTimeout, c.expire)
	}
	return true
}

// expire closes connections that nobody has used for IdleTimeout.
func (c *Client) expire() {
	closeAll(c.expired(time.Now()))
}

func (c *Client) expired(now time.Time) []*link {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for n < len(c.idle) && now.Sub(c.idle[n].used) >= c.IdleTimeout {
		n++
	}
	old := slices.Clone(c.idle[:n])
	c.idle = slices.Delete(c.idle, 0, n)
	c.sweep = nil
	if len(c.idle) > 0 {
		c.sweep = time.AfterFunc(max(c.IdleTimeout-now.Sub(c.idle[0].used), time.Millisecond), c.expire)
	}
	return old
}

// closeAll closes connections without the lock of the client: TLS says goodbye, for
// which a peer that reads nothing may take seconds.
func closeAll(list []*link) {
	for _, l := range list {
		l.close()
	}
}

// Renew has no connection that was dialled before serve a request that comes from now
// on: those that are idle are closed, the others when they are.
func (c *Client) Renew() {
	c.mu.Lock()
	c.age++
	old := c.drop()
	c.mu.Unlock()
	closeAll(old)
}

// drop takes out what is idle. c.mu is held.
func (c *Client) drop() []*link {
	old := c.idle
	c.idle = nil
	if c.sweep != nil {
		c.sweep.Stop()
		c.sweep = nil
	}
	return old
}

// Close closes the connections that are idle, and those in use once they are: none is
// kept any more.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	old := c.drop()
	c.mu.Unlock()
	closeAll(old)
}

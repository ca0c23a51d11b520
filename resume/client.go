package resume

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"teleport/fault"
	"teleport/lifecycle"
)

// ClientOptions say whose stream it is and how to find its agent again. Fields
// without a remark are required.
type ClientOptions struct {
	Subject    Subject
	Generation uint64 // of the agent's process that holds the stream
	// Limit is how long without a carrier the agent keeps the stream.
	Limit time.Duration
	// Certificate is the bearer's own, by which they came through the gate.
	Certificate *tls.Certificate
	// Redial opens the next carrier: a dial that attaches to the stream and was
	// accepted. An error made by Final is not tried again.
	Redial func(ctx context.Context) (net.Conn, error)
	// Observe is told when the carrier is lost, when the stream goes on again, and
	// when it cannot. It must not block. Optional.
	Observe func(Change)
	// Wall is the clock on the wall, by which sleep shows. Optional.
	Wall func() time.Time
}

// Change tells what happened to a client's stream.
type Change struct {
	Lost bool          // the carrier was lost
	Over bool          // and the stream will not go on; neither: it goes on
	Gap  time.Duration // how long there was no carrier
	Err  error         // why the carrier was lost, or the stream is over
}

// client is the client's half of a stream.
type client struct {
	*Conn
	o     ClientOptions
	key   ed25519.PrivateKey
	gone  chan struct{} // a carrier was lost
	since time.Time     // when; of keep alone
}

// Final marks an error of Redial that no further attempt can mend.
func Final(err error) error { return &finalError{err} }

// IsFinal reports whether an error was made by Final.
func IsFinal(err error) bool {
	var final *finalError
	return errors.As(err, &final)
}

type finalError struct{ error }

// Unwrap returns the error itself.
func (e *finalError) Unwrap() error { return e.error }

// NewClient opens a stream over its first carrier, whose dial was answered with
// an offer to resume. The stream owns the carrier and a few goroutines until it
// is closed. It does not wait for the agent: a refusal comes with the first
// read.
func NewClient(carrier net.Conn, o ClientOptions) (*Conn, error) {
	if o.Wall == nil {
		o.Wall = func() time.Time { return time.Now().Round(0) }
	}
	key, m, err := bind(o.Certificate, o.Subject)
	if err != nil {
		return nil, err
	}
	k := newCarrier(carrier)
	if err := k.SetWriteDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
		return nil, err
	}
	if err := k.say(m); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the connection ended before the stream began")
	}
	if err := k.SetWriteDeadline(time.Time{}); err != nil {
		return nil, err
	}
	c := &client{Conn: newConn(o.Subject.Stream, carrier, clientDead, nil, new(sync.WaitGroup)), o: o, key: key, gone: make(chan struct{}, 1)}
	c.client = true
	c.lost = c.onLost
	c.finished = func(why error) {
		if !errors.Is(why, net.ErrClosed) {
			c.tell(Change{Over: true, Err: why})
		}
	}
	if err := c.install(k, 0); err != nil {
		return nil, err
	}
	c.work.Go(c.serve)
	c.work.Go(c.keep)
	return c.Conn, nil
}

func (c *client) onLost(_ *carrier, why error) {
	c.mu.Lock()
	over := c.peerClosed || c.err != nil
	c.mu.Unlock()
	if over {
		go c.fail(net.ErrClosed) // our caller may hold what fail needs
		return
	}
	select {
	case c.gone <- struct{}{}:
	default:
	}
	c.tell(Change{Lost: true, Err: why})
}

// tell tells whoever observes, who hears nothing more of what they have closed.
func (c *client) tell(x Change) {
	c.mu.Lock()
	left := c.closed
	c.mu.Unlock()
	if c.o.Observe != nil && !left {
		c.o.Observe(x)
	}
}

// tick is how often a client looks at its clocks.
const tick = time.Second

// asleep is by how much the clock on the wall may run ahead of a tick before
// this machine has been asleep.
const asleep = 3 * time.Second

// keep keeps the carrier alive, notices its death, and finds the next.
func (c *client) keep() {
	t := time.NewTicker(tick)
	defer t.Stop()
	wall, at := c.o.Wall(), time.Now()
	for {
		select {
		case <-c.life.Done():
			return
		case <-c.gone:
			if !c.Attached() { // what was lost may be one that came too late
				c.recover()
			}
			wall, at = c.o.Wall(), time.Now()
		case <-t.C:
			w, now := c.o.Wall(), time.Now()
			jump := w.Sub(wall)-now.Sub(at) > asleep
			wall, at = w, now
			c.ask(jump)
		}
	}
}

// ask sends a ping when nothing has come for a while, and an acknowledgement
// that nothing else has carried. After a sleep the answer has to come quickly.
func (c *client) ask(woke bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.k
	if k == nil {
		return
	}
	if woke {
		heard := k.heard.Load()
		time.AfterFunc(probeFor, func() {
			if k.heard.Load() == heard {
				c.leave(k, fault.New(fault.Timeout, "this machine slept, and the connection did not"))
			}
		})
	}
	switch silent := k.silent(); {
	case woke, silent >= pingEvery && silent < pingEvery+tick, silent >= 2*pingEvery && silent < 2*pingEvery+tick:
		c.duePing = true
		c.stir()
	case c.recv != c.acked:
		c.dueAck = true
		c.stir()
	}
}

// attemptFor bounds one attempt to find the agent again.
const attemptFor = 10 * time.Second

// recover dials until the stream goes on, or cannot.
func (c *client) recover() {
	c.since = time.Now()
	quick := lifecycle.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	slow := lifecycle.Backoff{Min: time.Second, Max: 5 * time.Second}
	for failures := 1; ; failures++ {
		err := c.attempt()
		if err == nil {
			return
		}
		var refusal *Refusal
		var final *finalError
		switch gap := time.Since(c.since); {
		case c.life.Err() != nil:
			return
		case errors.As(err, &refusal):
			c.fail(refusal.why)
			return
		case errors.As(err, &final):
			c.fail(final.error)
			return
		case gap > c.o.Limit:
			c.fail(fault.Wrap(err, fault.Unavailable, "the connection was lost for %s, longer than the session is kept", gap.Round(time.Second)))
			return
		case gap < time.Minute:
			err = lifecycle.Sleep(c.life, quick.Delay(failures))
		default:
			err = lifecycle.Sleep(c.life, slow.Delay(failures))
		}
		if err != nil {
			return
		}
	}
}

// attempt dials once and attaches.
func (c *client) attempt() error {
	ctx, cancel := context.WithTimeout(c.life, attemptFor)
	defer cancel()
	nc, err := c.o.Redial(ctx)
	if err != nil {
		return err
	}
	k := newCarrier(nc)
	stop := context.AfterFunc(ctx, k.stop)
	err = c.attachTo(k)
	if !stop() && err == nil {
		c.leave(k, context.Cause(ctx)) // it took too long, and was stopped behind our back
		return context.Cause(ctx)
	}
	if err != nil {
		k.stop()
	}
	return err
}

// attachTo claims the stream on k. Positions are told once nobody moves them, and that
// it goes on before anybody can lose k.
func (c *client) attachTo(k *carrier) error {
	if err := k.SetDeadline(time.Now().Add(HandshakeTimeout)); err != nil {
		return err
	}
	var ask challenge
	if err := k.expect(&ask); err != nil {
		return err
	}
	c.token <- struct{}{} // the old reader has stopped
	c.sending.Lock()
	defer c.sending.Unlock()
	defer func() { <-c.token }()
	return c.claim(k, ask.nonce)
}

func (c *client) claim(k *carrier, nonce [32]byte) error {
	c.mu.Lock()
	m := &attachment{generation: c.o.Generation, received: c.recv, base: c.out.base, next: c.out.next}
	c.mu.Unlock()
	m.sign(c.key, c.o.Subject, nonce)
	if err := k.say(m); err != nil {
		return err
	}
	var answer attached
	if err := k.expect(&answer); err != nil {
		return err
	}
	if err := k.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if err := c.install(k, answer.received); err != nil {
		return Final(err)
	}
	c.tell(Change{Gap: time.Since(c.since)})
	return nil
}

package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/dial"
	"teleport/fault"
	"teleport/netx"
	"teleport/netx/mux"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

const (
	// carryFor is how long new connections go over a carrier. A later one is dialled
	// anew, so that the proxy and the choice of an agent have their say again.
	carryFor = 5 * time.Minute
	// idleFor is how long a carrier waits for a connection.
	idleFor = time.Minute
)

// carrier is what leads to an agent: TLS with one certificate, and the connections
// within it.
type carrier struct {
	d       *Way
	agent   string
	cert    *tls.Certificate
	born    time.Time
	way     net.Conn    // under the TLS
	streams *mux.Opener // nil where the agent takes one connection

	// Guarded by d.mu.
	open int
	idle *time.Timer
}

// attempt is a dial that others wait for.
type attempt struct {
	done chan struct{}
	err  error
}

// Dial opens a connection to the resource's agent: within it the client speaks
// the resource's own protocol, in plain text. The agent is verified by the UUID
// that answered. Where the agent offers it, the connection outlives the proxy and
// the network, and shares its way with others. As long as one to a database is open,
// further ones go to its agent: they may be about it, as a request to cancel its
// statement is.
func (d *Way) Dial(ctx context.Context) (net.Conn, error) {
	own, err := d.certificate(ctx)
	if err != nil {
		return nil, err
	}
	for {
		d.mu.Lock()
		if d.closed {
			d.mu.Unlock()
			return nil, net.ErrClosed
		}
		if c := d.join(own); c != nil {
			d.mu.Unlock()
			return c, nil
		}
		a := d.dialling
		if a == nil || d.alone {
			a = &attempt{done: make(chan struct{})}
			d.dialling = a
			d.mu.Unlock()
			return d.first(ctx, own, a)
		}
		d.mu.Unlock()
		select {
		case <-a.done:
			if a.err != nil {
				return nil, a.err
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// join opens a connection over a carrier that there is; nil where there is none.
// d.mu is held.
func (d *Way) join(own *tls.Certificate) net.Conn {
	for _, k := range slices.Backward(d.carriers) {
		if k.streams == nil || k.cert != own || time.Since(k.born) > carryFor {
			continue
		}
		if r, ok := k.way.(interface{ Attached() bool }); ok && !r.Attached() {
			continue // it looks for its agent, which may be gone
		}
		if s, err := k.streams.Open(); err == nil {
			return k.hold(s)
		}
	}
	return nil
}

// first dials a carrier, which others wait for, and opens a connection over it.
func (d *Way) first(ctx context.Context, own *tls.Certificate, a *attempt) (net.Conn, error) {
	k, c, err := d.dial(ctx, own)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dialling == a {
		d.dialling = nil
	}
	if err == nil {
		d.alone = k.streams == nil
	}
	if ctx.Err() == nil { // else it was this caller who gave up
		a.err = err
	}
	close(a.done)
	if err != nil {
		return nil, err
	}
	return d.take(k, c)
}

// take keeps a carrier that was just dialled, and opens a connection over it: c, where
// it takes no other. A carrier that serves nobody ends. d.mu is held.
func (d *Way) take(k *carrier, c net.Conn) (net.Conn, error) {
	if d.closed { // meanwhile
		go k.end() // TLS says goodbye, for which others do not wait
		return nil, net.ErrClosed
	}
	if k.streams != nil {
		s, err := k.streams.Open()
		if err != nil {
			go k.end()
			return nil, errors.Join(fault.New(fault.Unavailable, "the agent of the %s %s has left", d.to.what, d.route.Name), err)
		}
		c = s
	}
	d.carriers = append(d.carriers, k)
	return k.hold(c), nil
}

// dial opens TLS to an agent. Where that takes several connections, c is for them
// all.
func (d *Way) dial(ctx context.Context, own *tls.Certificate) (k *carrier, c net.Conn, err error) {
	way, reply, err := d.c.dialLasting(ctx, dial.Target{Kind: d.to.kind, Name: d.route.Name, Agent: d.held()},
		func(agent string) string { return types.ServerName(d.route.Name, agent) })
	if err != nil {
		return nil, nil, err
	}
	config, err := tlscert.ClientConfig(tlscert.Source{Certificate: func() *tls.Certificate { return own },
		Trust: func() *cert.Trust { return d.c.trust }, Now: time.Now}, tlscert.Server{Cluster: d.c.cfg.Cluster, UUID: reply.AgentUUID}, d.to.alpn...)
	if err != nil {
		return nil, nil, errors.Join(err, way.Close())
	}
	joint := netx.Join(way)
	inner := tls.Client(joint, config)
	ctx, cancel := context.WithTimeout(ctx, dial.Timeout)
	defer cancel()
	if err := inner.HandshakeContext(ctx); err != nil {
		way.Close()
		return nil, nil, fault.Wrap(err, fault.Untrusted, "the agent of the %s %s could not be verified, or did not take the certificate", d.to.what, d.route.Name)
	}
	k = &carrier{d: d, agent: reply.AgentUUID, cert: own, born: time.Now(), way: way}
	c = joint.Over(inner)
	if inner.ConnectionState().NegotiatedProtocol == tunframe.ALPNStreams {
		k.streams = mux.NewOpener(c, nil)
	}
	return k, c, nil
}

// held returns the agent that holds open connections, which further ones must go to;
// "" where there is none.
func (d *Way) held() string {
	if !d.to.together {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range slices.Backward(d.carriers) {
		if k.open > 0 {
			return k.agent
		}
	}
	return ""
}

// Close ends all connections. There are none afterwards.
func (d *Way) Close() {
	d.mu.Lock()
	d.closed = true
	all := d.carriers
	d.carriers = nil
	d.mu.Unlock()
	for _, k := range all {
		k.end()
	}
}

// hold counts c as open until it is closed. d.mu is held.
func (k *carrier) hold(c net.Conn) net.Conn {
	k.open++
	if k.idle != nil {
		k.idle.Stop()
		k.idle = nil
	}
	return &heldConn{Conn: c, done: sync.OnceFunc(k.release)}
}

// release lets a carrier go that has no connection, at once where no further one
// would come.
func (k *carrier) release() {
	k.d.mu.Lock()
	defer k.d.mu.Unlock()
	if k.open--; k.open > 0 {
		return
	}
	if k.streams == nil {
		k.drop()
		return
	}
	k.idle = time.AfterFunc(idleFor, func() {
		k.d.mu.Lock()
		none := k.open == 0
		if none {
			k.drop()
		}
		k.d.mu.Unlock()
		if none {
			k.end()
		}
	})
}

// drop takes a carrier off the list. d.mu is held.
func (k *carrier) drop() {
	k.d.carriers = slices.DeleteFunc(k.d.carriers, func(o *carrier) bool { return o == k })
}

// end closes a carrier and what is in it.
func (k *carrier) end() {
	if k.streams != nil {
		k.streams.Close()
		return
	}
	k.way.Close()
}

// heldConn counts as open until it is closed.
type heldConn struct {
	net.Conn
	done func()
}

// Close implements net.Conn.
func (h *heldConn) Close() error {
	err := h.Conn.Close()
	h.done()
	return err
}

// CloseWrite ends the writing direction.
func (h *heldConn) CloseWrite() error { return h.Conn.(netx.CloseWriter).CloseWrite() }

package appproxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"teleport/dial"
	"teleport/fault"
	"teleport/netx"
	"teleport/netx/mux"
	"teleport/proxy/proxyd"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// carryFor is how long new connections go over a carrier: a later one is dialled
// anew, so that the gate and the choice of an agent have their say again.
const carryFor = 5 * time.Minute

// Whether connections share a carrier depends on what they bring: small answers of
// many requests leave in one piece, and are cheaper by half; large ones only stand in
// each other's way, and cost a copy more.
const (
	weighOver = 16        // requests that an average goes over
	heavyFrom = 192 << 10 // bytes of a request
	heavyTo   = 24 << 10
)

// carrier is TLS to one of the app's agents, by one bridge certificate, in which the
// connections of a session are streams: what several say at a time leaves in one
// piece.
type carrier struct {
	streams *mux.Opener
	agent   string
	bridge  *bridge
	born    time.Time
}

// dial opens a connection to one of the app's agents, as the session's user.
func (v *visitor) dial(ctx context.Context) (net.Conn, error) {
	if !v.all.begin() {
		return nil, errStopping()
	}
	defer v.all.work.Done()
	client, _ := ctx.Value(clientKey{}).(netip.AddrPort)
	b, err := v.fresh(ctx, client)
	if err != nil {
		return nil, err
	}
	for {
		v.mu.Lock()
		if v.heavy {
			v.mu.Unlock()
			conn, _, err := v.dialAgent(ctx, b, client, "http/1.1")
			return conn, err
		}
		if st := v.stream(b); st != nil {
			v.mu.Unlock()
			return st, nil
		}
		others := v.dialling
		if others == nil {
			mine := make(chan struct{})
			v.dialling = mine
			v.mu.Unlock()
			return v.first(ctx, b, client, mine)
		}
		v.mu.Unlock()
		select {
		case <-others:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// stream opens one over the carrier that there is; nil: there is none that takes
// one. v.mu is held.
func (v *visitor) stream(b *bridge) net.Conn {
	c := v.carrier
	if c == nil {
		return nil
	}
	if c.bridge == b && v.o.Now().Sub(c.born) < carryFor && !v.o.Hosts.ailing(v.app, c.agent) {
		if st, err := c.streams.Open(); err == nil {
			return st
		}
	}
	v.carrier, v.retired = nil, append(v.retired, c)
	return nil
}

// finished takes out the retired carriers that have no streams any more. v.mu is held.
func (v *visitor) finished() (over []*carrier) {
	v.retired = slices.DeleteFunc(v.retired, func(c *carrier) bool {
		none := c.streams.Len() == 0
		if none {
			over = append(over, c)
		}
		return none
	})
	return over
}

// hangUp ends all carriers.
func (v *visitor) hangUp() {
	v.mu.Lock()
	all := v.retired
	if v.carrier != nil {
		all = append(all, v.carrier)
	}
	v.carrier, v.retired = nil, nil
	v.mu.Unlock()
	for _, c := range all {
		c.streams.Close()
	}
}

// first dials a carrier, for which others wait, and opens a stream over it.
func (v *visitor) first(ctx context.Context, b *bridge, client netip.AddrPort, mine chan struct{}) (net.Conn, error) {
	conn, c, err := v.dialAgent(ctx, b, client, tunframe.ALPNStreams, "http/1.1")
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dialling = nil
	defer close(mine)
	switch {
	case err != nil || c == nil: // or an agent that takes one connection in each dial
		return conn, err
	case v.ctx.Err() != nil:
		c.streams.Close()
		return nil, context.Cause(v.ctx)
	}
	v.carrier = c
	return c.streams.Open()
}

// dialAgent opens TLS to an agent, for one of the protocols: one connection, or a
// carrier.
func (v *visitor) dialAgent(ctx context.Context, b *bridge, client netip.AddrPort, alpn ...string) (net.Conn, *carrier, error) {
	raw, reply, err := v.o.Dial(ctx, proxyd.Caller{Identity: b.id, CertSHA256: b.hash, Addr: client}, dial.Target{Kind: types.KindApp, Name: v.app})
	if err != nil {
		return nil, nil, err
	}
	v.mu.Lock()
	v.agent = reply.AgentUUID
	v.mu.Unlock()
	config, err := v.o.Agent(reply.AgentUUID, b.cert, alpn...)
	if err != nil {
		return nil, nil, errors.Join(err, raw.Close())
	}
	joint := netx.Join(raw)
	inner := tls.Client(joint, config)
	ctx, cancel := context.WithTimeout(ctx, dial.Timeout)
	defer cancel()
	if err := inner.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, nil, fault.Wrap(err, fault.Unavailable, "the agent of %s could not be verified, or did not take the bridge certificate", v.app)
	}
	if inner.ConnectionState().NegotiatedProtocol == tunframe.ALPNStreams {
		streams := mux.NewOpener(joint.Over(inner), v.agents.Renew)
		return nil, &carrier{streams: streams, agent: reply.AgentUUID, bridge: b, born: v.o.Now()}, nil
	}
	return joint.Over(inner), nil, nil
}

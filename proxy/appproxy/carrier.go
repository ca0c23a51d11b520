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

const (
	// carrierTimeout bounds a dial for which several may wait, and mostCarriers how many
	// of them one connection waits for that found no room.
	carrierTimeout = 2 * dial.Timeout
	mostCarriers   = 8
)

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
	for range mostCarriers {
		st, alone := v.stream()
		switch {
		case alone:
			conn, _, err := v.dialAgent(ctx, b, client, "http/1.1")
			return conn, err
		case st != nil:
			return st, nil
		}
		if _, err := v.carriers.Do(ctx, "", carrierTimeout, func(ctx context.Context) (struct{}, error) { return struct{}{}, v.carry(ctx, client) }); err != nil {
			return nil, err
		}
	}
	return nil, fault.New(fault.Unavailable, "the agents of %s take no further connections now", v.app)
}

// stream opens one over the carrier that there is; nil: there is none that takes
// one. alone: the connection is to be one of its own.
func (v *visitor) stream() (st net.Conn, alone bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.heavy || v.alone != nil && v.alone == v.bridge {
		return nil, true
	}
	c := v.carrier
	if c == nil {
		return nil, false
	}
	if c.bridge == v.bridge && v.o.Now().Sub(c.born) < carryFor && !v.o.Hosts.ailing(v.app, c.agent) {
		if st, err := c.streams.Open(); err == nil {
			return st, false
		}
	}
	v.carrier, v.retired = nil, append(v.retired, c)
	return nil, false
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

// carry dials a carrier for all who need one at the time. It ends with the session.
func (v *visitor) carry(ctx context.Context, client netip.AddrPort) error {
	if !v.all.begin() {
		return errStopping()
	}
	defer v.all.work.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(v.ctx, func() { cancel(context.Cause(v.ctx)) })()
	v.mu.Lock()
	b, there := v.bridge, v.carrier != nil
	v.mu.Unlock()
	if there { // by a call that has just ended
		return nil
	}
	conn, c, err := v.dialAgent(ctx, b, client, tunframe.ALPNStreams, "http/1.1")
	if err != nil {
		return err
	}
	v.mu.Lock()
	ended := v.ctx.Err() != nil
	switch {
	case ended:
	case c == nil:
		v.alone = b
	default:
		v.carrier = c
	}
	v.mu.Unlock()
	switch {
	case c == nil:
		conn.Close() // nobody's in particular
	case ended:
		c.streams.Close()
	}
	return context.Cause(v.ctx)
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

// Package tundial holds what both ends of a dial need and a client can afford:
// the reply that is waited for, and the dial that has arrived at an agent. It is
// apart from tunnel so that a client does not carry the tunnels with it.
package tundial

import (
	"context"
	"net"
	"time"

	"teleport/fault"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// Incoming is a dial that has arrived at an agent: a header from a verified
// proxy, and the connection, on which the agent must first write a Reply frame.
type Incoming struct {
	net.Conn
	Header tunframe.Header
	// Proxy is the verified identity of the proxy, whose system role is Proxy.
	Proxy *types.Identity
	// Carrier is how the stream travels.
	Carrier tunframe.Carrier
}

// ReplyTimeout bounds the wait for a reply where ctx has no deadline.
const ReplyTimeout = 30 * time.Second

// ReadReply reads a reply before the deadline of ctx (30 s, if it has none) or
// until ctx is cancelled, and leaves c without a deadline. A refusal is returned
// as a fault together with the reply; so err == nil means that bytes may flow.
func ReadReply(ctx context.Context, c net.Conn) (tunframe.Reply, error) {
	var r tunframe.Reply
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(ReplyTimeout)
	}
	if err := c.SetDeadline(deadline); err != nil {
		return r, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	err := tunframe.Read(c, &r)
	if !stop() {
		return r, fault.Wrap(context.Cause(ctx), fault.KindOf(ctx.Err()), "the dial was given up before it was answered")
	}
	switch fault.KindOf(err) {
	case "":
		if err := r.Err(); err != nil {
			return r, err
		}
		return r, c.SetDeadline(time.Time{})
	case fault.Timeout:
		return r, fault.Wrap(err, fault.Timeout, "the dial was not answered in time")
	case fault.Internal:
		return r, fault.Wrap(err, fault.Unavailable, "the connection ended before the dial was answered")
	}
	return r, err
}

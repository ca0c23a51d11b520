package tunnel

import (
	"context"
	"net"
	"time"

	"teleport/fault"
	"teleport/tunnel/tunframe"
)

// replyTimeout bounds the wait for a reply where ctx has no deadline.
const replyTimeout = 30 * time.Second

// ReadReply reads a reply before the deadline of ctx (30 s, if it has none) or
// until ctx is cancelled, and leaves c without a deadline. A refusal is returned
// as a fault together with the reply; so err == nil means that bytes may flow.
func ReadReply(ctx context.Context, c net.Conn) (tunframe.Reply, error) {
	var r tunframe.Reply
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(replyTimeout)
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

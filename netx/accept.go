package netx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"teleport/lifecycle"
)

// Accept hands each connection of ln to handle until ctx ends, and then closes
// ln and returns nil. It returns an error only when ln was closed by somebody
// else. Everything else that fails passes, a lack of descriptors above all: it
// is logged and tried again after a pause of at most a second, for ever. handle
// runs in the loop, so it must not wait for the peer; it owns the connection.
func Accept(ctx context.Context, ln net.Listener, log *slog.Logger, handle func(net.Conn)) error {
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() }) // ends an Accept that knows no context
	defer stop()
	pause := lifecycle.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for failures := 0; ; {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close() // nobody serves it any more
			}
			return nil
		case err == nil:
			failures = 0
			handle(conn)
			continue
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("the listener at %s was closed: %w", ln.Addr(), err)
		}
		failures++
		log.WarnContext(ctx, "no connection can be accepted at the moment", "addr", ln.Addr().String(), "error", err)
		if lifecycle.Sleep(ctx, pause.Delay(failures)) != nil {
			return nil
		}
	}
}

package proxyd

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"teleport/access"
	"teleport/fault"
	"teleport/lifecycle"
)

// Serve accepts until ctx ends or the listener closes, and hands each connection
// to handle; what names the route in logs. Streams that are open then go on;
// Serve returns when the last of them has ended.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener, what string, handle func(context.Context, net.Conn) error) error {
	var streams sync.WaitGroup
	defer streams.Wait()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	life := context.WithoutCancel(ctx)
	for failures := 0; ; {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed): // the port has closed, as a drain begins
			return nil
		case err != nil: // out of descriptors, say: wait, do not spin
			failures++
			pause := lifecycle.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
			if err := lifecycle.Sleep(ctx, pause.Delay(failures)); err != nil {
				return nil
			}
			continue
		}
		failures = 0
		streams.Go(func() {
			defer conn.Close()
			p.log(life, what, conn, lifecycle.Guard(life, func(ctx context.Context) error { return handle(ctx, conn) }))
		})
	}
}

// refusal turns a decision into the error that the client sees.
func refusal(d access.Decision) error {
	if len(d.Reasons) == 0 {
		return fault.New(fault.Denied, "access denied")
	}
	return fault.New(fault.Denied, "access denied: %s", d.Reasons[0].Text)
}

func policyName(revision uint64) string { return strconv.FormatUint(revision, 10) }

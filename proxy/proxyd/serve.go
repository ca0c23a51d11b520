package proxyd

import (
	"context"
	"net"
	"sync"

	"teleport/access"
	"teleport/fault"
	"teleport/lifecycle"
	"teleport/netx"
)

// Serve accepts until ctx ends or the listener closes, and hands each connection
// to handle; what names the route in logs. Streams that are open then go on;
// Serve returns when the last of them has ended.
func (p *Proxy) Serve(ctx context.Context, ln net.Listener, what string, handle func(context.Context, net.Conn) error) error {
	var streams sync.WaitGroup
	defer streams.Wait()
	life := context.WithoutCancel(ctx)
	// An error says that the port has closed, as a drain begins.
	_ = netx.Accept(ctx, ln, p.o.Log, func(conn net.Conn) {
		streams.Go(func() {
			defer conn.Close()
			p.log(life, what, conn, lifecycle.Guard(life, func(ctx context.Context) error { return handle(ctx, conn) }))
		})
	})
	return nil
}

// refusal turns a decision into the error that the client sees.
func refusal(d access.Decision) error {
	if len(d.Reasons) == 0 {
		return fault.New(fault.Denied, "access denied")
	}
	return fault.New(fault.Denied, "access denied: %s", d.Reasons[0].Text)
}

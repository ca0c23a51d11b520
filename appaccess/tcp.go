package appaccess

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/google/uuid"

	"teleport/access"
	"teleport/agent/inside"
	"teleport/fault"
	"teleport/netx"
	"teleport/types/event"
)

// serveTCP passes the bytes of one connection of a tcp app, which is a session of
// its own.
func (s *Service) serveTCP(ctx context.Context, v *visit, conn net.Conn, c *carried) error {
	request, err := s.decide(ctx, v, c)
	if err != nil {
		return err
	}
	live := c.live.Load()
	defer live.Close()
	x := &Session{svc: s, id: uuid.NewString(), start: v.start}
	x.fill(v)
	if err := x.emit(ctx, &event.AppStart{Connection: x.common.wire, Status: event.Status{Success: true}, Decision: access.Record(request, v.decision),
		Gateway: inside.Gateway(v.in)}, event.TypeAppStart, event.CodeAppStart); err != nil {
		return err
	}
	var moved netx.Counters
	err = s.splice(ctx, v, conn, &moved)
	why := v.why.get()
	if why != nil {
		err = why
	}
	end := &event.AppEnd{Connection: x.common.wire, Start: v.start, Stop: time.Now(), Sent: moved.AToB.Load(), Received: moved.BToA.Load()}
	if why := (*fault.Error)(nil); errors.As(err, &why) {
		end.Reason = fault.Message(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), emitWithin)
	defer cancel()
	return errors.Join(err, x.emit(ctx, end, event.TypeAppEnd, event.CodeAppEnd))
}

// splice dials the port that the certificate names, or the app's first one.
func (s *Service) splice(ctx context.Context, v *visit, conn net.Conn, moved *netx.Counters) error {
	addr, err := v.app.Spec.Address(v.route.TargetPort)
	if err != nil {
		return err
	}
	dialling, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	up, err := s.cfg.Dialer.DialContext(dialling, "tcp", addr)
	if err != nil {
		v.unreached()
		return fault.Wrap(err, fault.Unavailable, "the app %s cannot be reached", v.app.Metadata.Name)
	}
	return netx.Splice(ctx, conn, up, netx.SpliceOptions{Counters: moved})
}

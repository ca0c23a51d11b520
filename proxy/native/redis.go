package native

import (
	"context"
	"errors"
	"net"
	"time"

	"teleport/dbaccess/redis/rediswire"
	"teleport/netx"
)

// ServeRedis serves one client of Redis, which begins with TLS, and is closed by
// the caller.
func (s *Server) ServeRedis(ctx context.Context, c net.Conn) error {
	if err := c.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		return err
	}
	conn, x, err := s.known(ctx, c)
	if conn == nil {
		return err
	}
	if err != nil {
		return errors.Join(err, refuseRedis(conn, err))
	}
	agent, _, err := s.open(ctx, x, "redis")
	if err != nil {
		return errors.Join(err, refuseRedis(conn, err))
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		agent.Close()
		return err
	}
	w := &spoken{Conn: agent, bounds: bounds{size: sizeOfRedis}, refusal: rediswire.Refusal,
		untaken: func(why error) error { return s.untaken(x, why) }}
	return netx.Splice(ctx, conn, w, netx.SpliceOptions{})
}

// sizeOfRedis is that of a part of a server's answer.
func sizeOfRedis(b []byte) int64 {
	p, err := rediswire.PartOf(b)
	if err != nil {
		return -1
	}
	return p.Size
}

// refuseRedis answers the first command of a client, which would not hear earlier.
func refuseRedis(c net.Conn, why error) error {
	if _, _, err := rediswire.ReadCommand(c); err != nil {
		return errors.Join(err, c.Close())
	}
	_, err := c.Write(rediswire.Refusal(why))
	return errors.Join(err, c.Close())
}

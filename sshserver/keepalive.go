package sshserver

import (
	"context"
	"sync"
	"time"
)

// keepAlive asks the peer for an answer at each interval, which also keeps what
// lies in between from forgetting the connection, and ends a connection whose
// peer has left several questions unanswered.
func (s *Server) keepAlive(ctx context.Context, c *Conn, work *sync.WaitGroup) {
	every, tries := s.cfg.KeepAlive()
	if every <= 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	answered := make(chan struct{}, 1)
	open, missed := false, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-answered:
			open, missed = false, 0
			continue
		case <-tick.C:
		}
		if open {
			if missed++; missed >= tries {
				s.cfg.Log.InfoContext(ctx, "the client does not answer any more", "client", c.ClientAddr.String(), "user", c.Identity.Name)
				c.SSH.Close()
				return
			}
			continue
		}
		open = true
		work.Go(func() { // ends with the connection at the latest
			if _, _, err := c.SSH.SendRequest("keepalive@openssh.com", true, nil); err == nil {
				answered <- struct{}{}
			}
		})
	}
}

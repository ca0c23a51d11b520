package sshserver

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
)

// ServeConn serves the channels and requests of an authenticated connection
// until it ends or ctx does, then closes it and waits for the handlers.
func (s *Server) ServeConn(ctx context.Context, c *Conn, chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { c.SSH.Close() })
	wg.Add(1)
	go func() {
		defer wg.Done()
		s.serveGlobals(ctx, c, reqs)
	}()
	if s.cfg.KeepAlive != nil {
		wg.Go(func() { s.keepAlive(ctx, c, &wg) })
	}
	slots := make(chan struct{}, s.cfg.Budget.Channels)
	for nc := range chans {
		select {
		case slots <- struct{}{}:
		default:
			s.reject(nc, ssh.ResourceShortage, "too many open channels on this connection")
			continue
		}
		wg.Add(1)
		go func() {
			defer func() { <-slots; wg.Done() }()
			s.serveChannel(ctx, c, nc)
		}()
	}
	err := c.SSH.Wait()
	cancel()
	stop()
	c.SSH.Close()
	wg.Wait()
	// However an authenticated peer left, it left.
	s.cfg.Log.DebugContext(ctx, "connection ended", "reason", err)
	return nil
}

func (s *Server) serveChannel(ctx context.Context, c *Conn, nc ssh.NewChannel) {
	defer s.recovered(ctx, c, "channel", nc.ChannelType())
	e, ok := s.cfg.Surface.channels[nc.ChannelType()]
	if !ok {
		s.reject(nc, ssh.UnknownChannelType, "this server does not offer "+printable(nc.ChannelType()))
		return
	}
	if err := s.authorize(ctx, c, Use{Kind: "channel", Name: nc.ChannelType(), Need: e.need}); err != nil {
		s.reject(nc, ssh.Prohibited, fault.Message(err))
		return
	}
	e.handle(ctx, c, nc)
}

func (s *Server) reject(nc ssh.NewChannel, why ssh.RejectionReason, msg string) {
	if err := nc.Reject(why, msg); err != nil {
		s.cfg.Log.Debug("channel reject not delivered", "error", err)
	}
}

// serveGlobals answers requests in order, at the budget's rate: a peer that
// floods waits, and its own connection with it.
func (s *Server) serveGlobals(ctx context.Context, c *Conn, reqs <-chan *ssh.Request) {
	per := time.Second / time.Duration(s.cfg.Budget.GlobalRequests)
	burst := time.Duration(2*s.cfg.Budget.GlobalRequests) * per
	var ahead time.Time // when the requests so far are paid for
	for r := range reqs {
		now := time.Now()
		if ahead.Before(now) {
			ahead = now
		}
		ahead = ahead.Add(per)
		if wait := ahead.Sub(now) - burst; wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
		s.serveGlobal(ctx, c, r)
	}
}

func (s *Server) serveGlobal(ctx context.Context, c *Conn, r *ssh.Request) {
	defer s.recovered(ctx, c, "global request", r.Type)
	payload, err := s.answerGlobal(ctx, c, r)
	if err != nil {
		s.cfg.Log.Debug("global request refused", "request", printable(r.Type), "error", err)
	}
	if r.WantReply {
		r.Reply(err == nil, payload) //nolint:errcheck // the connection is gone, which its owner sees
	}
}

func (s *Server) answerGlobal(ctx context.Context, c *Conn, r *ssh.Request) ([]byte, error) {
	e, ok := s.cfg.Surface.globals[r.Type]
	if !ok {
		return nil, fault.New(fault.Unimplemented, "unknown global request")
	}
	if err := s.authorize(ctx, c, Use{Kind: "global", Name: r.Type, Need: e.need}); err != nil {
		return nil, err
	}
	return e.handle(ctx, c, r)
}

// authorize is the one place where a use of the surface is decided.
func (s *Server) authorize(ctx context.Context, c *Conn, u Use) error {
	if !u.Need.Declared() {
		return fault.New(fault.Denied, "this server does not offer %s", printable(u.Name))
	}
	if _, ok := u.Need.Action(); !ok {
		return nil
	}
	return s.cfg.Authorize(ctx, c, u)
}

// recovered turns a panic of one handler into the end of its connection: a
// hostile message must not take the other sessions along.
func (s *Server) recovered(ctx context.Context, c *Conn, what, name string) {
	if r := recover(); r != nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelError, "handler panicked, connection closed",
			slog.String("what", what), slog.String("name", printable(name)), slog.Any("panic", r))
		c.SSH.Close()
	}
}

// printable bounds and cleans a name that a peer sent.
func printable(s string) string { return bounded(s, 64) }

func bounded(s string, most int) string {
	b := make([]byte, 0, most)
	for i := 0; i < len(s) && i < most; i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			b = append(b, '?')
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

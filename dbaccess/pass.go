package dbaccess

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"teleport/dbaccess/relay"
	"teleport/fault"
)

// Dialect is what Pass needs to know of a protocol.
type Dialect struct {
	Up   relay.Direction // sees what the client says
	Down relay.Direction // sees what the database answers
	// Last forms what a client is told that is cut. It is called after both
	// directions have stopped, and not when they left the client in the middle of a
	// message.
	Last func(why error) []byte
	// Abandon stops what the database does for a client that was cut, or is gone, which
	// it would go on with: it looks for its client only when it has something to say.
	Abandon func(ctx context.Context) error
	// Left tells whether the client took its leave. One that vanished did not; it may
	// have been cut on the way here. Nil: what it left behind ends by itself.
	Left func() bool
}

const abandonTimeout = 5 * time.Second

// Pass copies both ways between the client and a database that let the session
// in, until either ends or ctx does. A client that is cut is told why.
func (s *Session) Pass(ctx context.Context, database net.Conn, d Dialect) error {
	stop := context.AfterFunc(ctx, func() { _ = database.SetDeadline(time.Unix(1, 0)) }) // who waits for it wakes
	defer stop()
	answers := make(chan error, 1)
	go func() {
		err := relay.Copy(s.client, database, d.Down)
		_ = s.client.SetReadDeadline(time.Unix(1, 0)) // ends the other direction
		answers <- err
	}()
	asked := relay.Copy(database, s.client, d.Up)
	deaf := errors.Is(asked, relay.ErrDeaf)
	_ = database.SetReadDeadline(time.Now().Add(lastWords)) // one that takes nothing more may have said why
	if !deaf || ctx.Err() != nil {
		_ = database.SetReadDeadline(time.Unix(1, 0))
	}
	_ = s.client.SetWriteDeadline(time.Now().Add(lastWords)) // one that does not read holds nobody up
	answered := <-answers
	why := told(ctx, asked, answered)
	if why != nil && !errors.Is(answered, relay.ErrCut) {
		_, _ = s.client.Write(d.Last(why)) // it may be gone
	}
	vanished := d.Left != nil && !deaf && !errors.Is(asked, os.ErrDeadlineExceeded) && !d.Left()
	if why != nil || vanished {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
		defer cancel()
		if err := d.Abandon(ctx); err != nil {
			s.svc.cfg.Log.Warn("what a database does for a client that was cut may go on", "session", s.id, "error", err)
		}
	}
	database.Close()
	if err := ended(asked); err != nil {
		return err
	}
	return ended(answered)
}

// told is what the client is to hear of an end: a cut from outside, or a refusal.
func told(ctx context.Context, ends ...error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	for _, err := range ends {
		if f := (*fault.Error)(nil); errors.As(err, &f) {
			return f
		}
	}
	return nil
}

// ended drops the errors by which connections end in the usual way.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

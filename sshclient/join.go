package sshclient

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
	"teleport/types"
)

// Join says which live session of the host to join, and how.
type Join struct {
	Session        string
	Mode           string // observer, peer or moderator
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Resized is told of the size of the owner's terminal, at once and after each
	// change. Optional.
	Resized func(Size)
}

// Join joins a session and stays until it ends, ctx does, or the host says that
// it is over, which is no error.
func (c *Client) Join(ctx context.Context, j Join) error {
	ch, reqs, err := c.ssh.OpenChannel(types.JoinChannel, ssh.Marshal(struct{ Session, Mode string }{j.Session, j.Mode}))
	if err != nil {
		return joinRefused(err)
	}
	defer ch.Close()
	defer c.leaveWith(ctx, ch.Close)()
	if j.Stdin != nil {
		go func() {
			io.Copy(ch, j.Stdin) //nolint:errcheck // the session may end first
			ch.CloseWrite()      //nolint:errcheck // it is over then
		}()
	}
	code := uint32(1)
	ended := false
	var reading sync.WaitGroup
	reading.Go(func() { io.Copy(j.Stdout, ch) })          //nolint:errcheck // what cannot be shown is not
	reading.Go(func() { io.Copy(j.Stderr, ch.Stderr()) }) //nolint:errcheck // as above
	for r := range reqs {
		switch r.Type {
		case "window-change":
			var m struct{ Columns, Rows, Width, Height uint32 }
			if ssh.Unmarshal(r.Payload, &m) == nil && j.Resized != nil {
				j.Resized(Size{Columns: int(m.Columns), Rows: int(m.Rows)})
			}
		case "exit-status":
			var m struct{ Code uint32 }
			ended = ssh.Unmarshal(r.Payload, &m) == nil
			code = m.Code
		}
		if r.WantReply {
			r.Reply(false, nil) //nolint:errcheck // the host is gone then
		}
	}
	reading.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !ended:
		return fault.New(fault.Unavailable, "the connection was lost")
	case code != 0:
		return &ExitError{Code: int(code)}
	}
	return nil
}

// joinRefused keeps the host's words.
func joinRefused(err error) error {
	var open *ssh.OpenChannelError
	if !errors.As(err, &open) {
		return fault.Wrap(err, fault.Unavailable, "the connection was lost")
	}
	kind := fault.NotFound
	if open.Reason == ssh.Prohibited {
		kind = fault.Denied
	}
	if open.Reason == ssh.UnknownChannelType {
		return fault.Wrap(err, fault.Unimplemented, "the server does not know how to share sessions")
	}
	return fault.Wrap(err, kind, "%s", oneLine(strings.TrimSpace(open.Message)))
}

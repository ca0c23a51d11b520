package sshserver

import (
	"context"

	"golang.org/x/crypto/ssh"
)

// OpenChannel is conn.OpenChannel for as long as ctx lasts, which must end with conn:
// that of x/crypto waits for good where it is called in the moment in which the
// connection ends. A channel that comes too late is closed. The error is that of
// OpenChannel, or the context's cause.
func OpenChannel(ctx context.Context, conn ssh.Conn, kind string, extra []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	answer := make(chan opened)
	go func() {
		var o opened
		o.ch, o.reqs, o.err = conn.OpenChannel(kind, extra)
		select {
		case answer <- o:
		case <-ctx.Done():
			if o.err == nil {
				go ssh.DiscardRequests(o.reqs)
				o.ch.Close()
			}
		}
	}()
	select {
	case o := <-answer:
		return o.ch, o.reqs, o.err
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
}

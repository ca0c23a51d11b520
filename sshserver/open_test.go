package sshserver_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/ssh"

	"teleport/sshserver"
)

// hanging is a connection that answers only when it is told to.
type hanging struct {
	ssh.Conn
	answer chan ssh.Channel
}

func (h hanging) OpenChannel(string, []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	reqs := make(chan *ssh.Request)
	close(reqs)
	return <-h.answer, reqs, nil
}

type closing struct {
	ssh.Channel
	closed chan struct{}
}

func (c closing) Close() error { close(c.closed); return nil }

// Who opens a channel while the connection ends does not wait for an answer that nobody
// gives, and nothing is left of one that comes after all.
func TestOpenChannelEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, ch := hanging{answer: make(chan ssh.Channel)}, closing{closed: make(chan struct{})}
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		cancel(gone)
		if _, _, err := sshserver.OpenChannel(ctx, conn, "session", nil); !errors.Is(err, gone) {
			t.Errorf("it says %v", err)
		}
		conn.answer <- ch
		<-ch.closed
		go func() { conn.answer <- ch }()
		if got, _, err := sshserver.OpenChannel(t.Context(), conn, "session", nil); got != ch || err != nil {
			t.Errorf("it is %v, %v", got, err)
		}
	})
}

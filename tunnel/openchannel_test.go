package tunnel

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/ssh"

	"teleport/fault"
)

// ending is a connection in the moment of its end, which answers nobody any more.
type ending struct {
	ssh.Conn
	released chan struct{}
}

func (e ending) OpenChannel(string, []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	<-e.released
	return nil, nil, errors.New("it is over")
}

// A dial into a tunnel that ends does not wait until the dial's own time is over.
func TestOpenChannelEndsWithItsTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		life, end := context.WithCancel(t.Context())
		e := ending{released: make(chan struct{})}
		done := make(chan error, 1)
		go func() {
			_, err := openChannel(t.Context(), life, e, "dial", nil)
			done <- err
		}()
		synctest.Wait()
		end()
		if err := <-done; !errors.Is(err, fault.Unavailable) {
			t.Errorf("it says %v", err)
		}
		close(e.released)
	})
}

package sshclient_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/ssh"

	"teleport/netx/memnet"
	"teleport/sshclient"
	"teleport/types"
)

// falling is a connection of a host that hears nothing any more once it is asleep.
type falling struct {
	net.Conn
	asleep, over chan struct{}
}

func (f falling) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	select {
	case <-f.asleep:
		<-f.over
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

// silent serves one connection: it grants whatever a channel is opened for, and then
// falls asleep.
func silent(t *testing.T, nc falling, started chan<- struct{}) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Error(err)
	}
	host, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Error(err)
	}
	conf := &ssh.ServerConfig{NoClientAuth: true}
	conf.AddHostKey(host)
	conn, chans, reqs, err := ssh.NewServerConn(nc, conf)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(reqs)
	for c := range chans {
		_, asked, err := c.Accept()
		if err != nil {
			return
		}
		go func() {
			for r := range asked {
				r.Reply(true, nil)
			}
		}()
		started <- struct{}{}
	}
}

// Whoever leaves a host that does not answer any more is not held by it.
func TestLeavingAHostThatDoesNotAnswer(t *testing.T) {
	for name, use := range map[string]func(context.Context, *sshclient.Client) error{
		"a command": func(ctx context.Context, c *sshclient.Client) error {
			return c.Run(ctx, sshclient.Command{Line: "sleep", Stdout: io.Discard, Stderr: io.Discard})
		},
		"a session of others": func(ctx context.Context, c *sshclient.Client) error {
			return c.Join(ctx, sshclient.Join{Session: "s", Mode: "peer", Stdout: io.Discard, Stderr: io.Discard})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n memnet.Network
				l, err := n.Listen(t.Context(), "tcp", "localhost:22")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				asleep, over, started := make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
				go func() {
					if nc, err := l.Accept(); err == nil {
						silent(t, falling{nc, asleep, over}, started)
					}
				}()
				nc, err := n.DialContext(t.Context(), "tcp", "localhost:22")
				if err != nil {
					t.Fatal(err)
				}
				nobody := func(*ssh.Certificate) (*types.Identity, error) { return nil, errors.New("nobody vouches") }
				c, err := sshclient.New(t.Context(), nc, sshclient.Config{Login: "root", Host: sshclient.OrUnknown(sshclient.HostUUID(nobody, "host"))})
				if err != nil {
					t.Fatal(err)
				}
				ctx, leave := context.WithCancel(t.Context())
				left := make(chan error, 1)
				go func() { left <- use(ctx, c) }()
				<-started
				synctest.Wait()
				close(asleep)
				leave()
				if err := <-left; !errors.Is(err, context.Canceled) {
					t.Errorf("it ends with %v", err)
				}
				close(over)
				c.Close()
			})
		})
	}
}

// Nor does somebody hold up the end of a forward who has connected and says nothing.
func TestTheEndOfAForwardWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n memnet.Network
		l, err := n.Listen(t.Context(), "tcp", "localhost:1080")
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- new(sshclient.Client).ForwardDynamic(ctx, l) }()
		nc, err := n.DialContext(t.Context(), "tcp", "localhost:1080")
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		synctest.Wait()
		leave()
		synctest.Wait()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("it waits")
			<-ended
		}
	})
}

package dbaccess

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"teleport/dbaccess/relay"
	"teleport/fault"
	"teleport/netx/memnet"
)

// bytewise is a protocol whose messages are bytes.
type bytewise struct{}

func (bytewise) Split(b []byte) (int64, int, error) { return 1, 1, nil }
func (bytewise) See([]byte) (bool, error)           { return true, nil }
func (bytewise) Commit() error                      { return nil }

var _ relay.Direction = bytewise{}

// parting is a connection to a database that has gone, whose last words are read when
// nobody writes to it any more.
type parting struct {
	net.Conn
	words chan struct{}
	once  sync.Once
}

func (p *parting) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func (p *parting) SetReadDeadline(t time.Time) error {
	err := p.Conn.SetReadDeadline(t)
	p.once.Do(func() { close(p.words) })
	return err
}

// TestADatabaseThatHangsUpIsHeard: it says why, also to a client that is still speaking.
func TestADatabaseThatHangsUpIsHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, near := memnet.Pipe()
		far, database := memnet.Pipe()
		defer client.Close()
		words := make(chan struct{})
		s := &Session{client: near}
		var work sync.WaitGroup
		defer work.Wait()
		work.Go(func() {
			err := s.Pass(t.Context(), &parting{Conn: far, words: words}, Dialect{Up: bytewise{}, Down: bytewise{}})
			if !errors.Is(err, syscall.EPIPE) {
				t.Error(err)
			}
			near.Close()
		})
		work.Go(func() {
			<-words
			_, _ = io.WriteString(database, "no more")
			database.Close()
		})
		if _, err := io.WriteString(client, "and so on"); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(client); err != nil || string(got) != "no more" {
			t.Errorf("heard %q, %v", got, err)
		}
	})
}

// TestWhoIsCutWaitsForNoDatabase that has gone.
func TestWhoIsCutWaitsForNoDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, near := memnet.Pipe()
		far, database := memnet.Pipe()
		defer client.Close()
		defer database.Close()
		ctx, cut := context.WithCancelCause(t.Context())
		locked := fault.New(fault.Denied, "locked")
		s := &Session{client: near}
		began := time.Now()
		ended := make(chan error, 1)
		go func() {
			ended <- s.Pass(ctx, &parting{Conn: far, words: make(chan struct{})}, Dialect{Up: cutting{cut, locked}, Down: bytewise{},
				Last: func(why error) []byte { return []byte(fault.Message(why)) }, Abandon: func(context.Context) error { return nil }})
			near.Close()
		}()
		if _, err := io.WriteString(client, "x"); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(client); err != nil || string(got) != "locked" || time.Since(began) > 0 {
			t.Errorf("heard %q, %v after %s", got, err, time.Since(began))
		}
		<-ended
	})
}

// cutting is a direction that ends its session as soon as something comes.
type cutting struct {
	cut func(error)
	why error
}

func (cutting) Split([]byte) (int64, int, error) { return 1, 1, nil }
func (c cutting) See([]byte) (bool, error)       { c.cut(c.why); return true, nil }
func (cutting) Commit() error                    { return nil }

package tlsroute

import (
	"net"
	"sync"
)

// queue is the listener of a route. It holds a few connections whose handshake
// is complete until somebody accepts them.
type queue struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newQueue() *queue {
	return &queue{conns: make(chan net.Conn, 64), closed: make(chan struct{})}
}

// Accept returns the next connection of the route.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case <-q.closed:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the route; connections that nobody accepted are closed.
func (q *queue) Close() error {
	q.once.Do(func() {
		close(q.closed)
		for {
			select {
			case c := <-q.conns:
				c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr says that the listener has no address of its own.
func (q *queue) Addr() net.Addr { return routeAddr{} }

type routeAddr struct{}

func (routeAddr) Network() string { return "tcp" }
func (routeAddr) String() string  { return "tlsroute" }

package authserver

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"

	"teleport/fault"
	"teleport/netx"
)

// Bounds of connections whose client shows no certificate: a process that joins,
// a person who logs in. Each takes a share until it closes, and closes when no
// call is under way for a moment.
const (
	maxStrangers     = 1024
	maxStrangersEach = 128 // of one client network: a hall of machines behind one address that join at once
	strangerIdle     = 20 * time.Second
)

// client is what lies below a client's own TLS. It knows, once the handshake is
// over, whether the client is a stranger.
type client struct {
	net.Conn
	proxy string // that passed it on, or ""

	mu     sync.Mutex
	closed bool
	leave  func()      // gives a stranger's share back; nil for the known
	idle   *time.Timer // of a stranger
}

// ForwardedBy implements rpc.Forwarded.
func (c *client) ForwardedBy() string { return c.proxy }

// Close also gives the share back, once.
func (c *client) Close() error {
	c.mu.Lock()
	if !c.closed && c.leave != nil {
		c.idle.Stop()
		c.leave()
	}
	c.closed = true
	c.mu.Unlock()
	return c.Conn.Close()
}

// meet brings TLS up on c and admits whom it finds there.
func (l *Listener) meet(ctx context.Context, c *client, config *tls.Config) (*tls.Conn, error) {
	secure := tls.Server(c, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if len(secure.ConnectionState().PeerCertificates) > 0 {
		return secure, nil
	}
	return secure, l.welcome(c)
}

// welcome gives a stranger its share of the connections, until it closes.
func (l *Listener) welcome(c *client) error {
	from := netx.AddrPort(c.RemoteAddr()).Addr()
	if !l.strangers.take(from) {
		return fault.New(fault.Limit, "too many connections without a certificate from the network of %s", from)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		l.strangers.give(from)
		return net.ErrClosed
	}
	c.leave = func() { l.strangers.give(from) }
	c.idle = time.AfterFunc(strangerIdle, func() { _ = c.Close() })
	return nil
}

// state follows the calls of a connection, for http.Server.ConnState: a stranger
// that has none under way is sent off.
func state(conn net.Conn, s http.ConnState) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return
	}
	c, ok := secure.NetConn().(*client)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.leave == nil || c.closed:
	case s == http.StateActive:
		c.idle.Stop()
	case s == http.StateIdle:
		c.idle.Reset(strangerIdle)
	}
}

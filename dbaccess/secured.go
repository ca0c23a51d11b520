package dbaccess

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"teleport/netx"
)

// Secure begins TLS with the database, over a connection on which its protocol
// has agreed to that.
func (s *Session) Secure(ctx context.Context, raw net.Conn) (net.Conn, error) {
	config, err := s.ServerTLS(ctx)
	if err != nil {
		return nil, err
	}
	c := tls.Client(netx.UnderTLS(raw), config)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, s.LoginFault(err)
	}
	return &secured{Conn: c}, nil
}

// reasonWithin is how long a server may take to say why it takes nothing from us.
const reasonWithin = 5 * time.Second

// secured is TLS with a database, which may refuse our certificate behind its half of
// the handshake (RFC 8446, section 2), and be gone when we write. So where a first write
// fails, the reason is still to be read: the end is found there.
type secured struct {
	net.Conn
	spoke atomic.Bool // the database has said something
}

// Read implements net.Conn.
func (c *secured) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.spoke.Load() {
		c.spoke.Store(true)
	}
	return n, err
}

// Write implements net.Conn. A deadline that has passed is ours, and stays.
func (c *secured) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil || c.spoke.Load() || errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	return len(p), c.SetReadDeadline(time.Now().Add(reasonWithin))
}

// CloseWrite ends one direction.
func (c *secured) CloseWrite() error { return c.Conn.(netx.CloseWriter).CloseWrite() }

// NetConn is what it wraps: the splice asks for whole records there.
func (c *secured) NetConn() net.Conn { return c.Conn }

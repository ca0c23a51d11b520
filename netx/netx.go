// Package netx holds the seams through which everything reaches the network,
// and the copying of bytes between two connections: half-close, counters, idle
// and absolute deadlines, a cut from outside. Its sub-packages are the client
// half of TLS routing (alpndial), the PROXY protocol (proxyproto), an in-memory
// network (memnet) and a network with faults (shaper).
package netx

import (
	"context"
	"iter"
	"net"
	"net/netip"
)

// Dialer opens connections. *net.Dialer is one.
type Dialer interface {
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
}

// Binder opens listeners. *net.ListenConfig is one.
type Binder interface {
	Listen(ctx context.Context, network, addr string) (net.Listener, error)
}

// Network both dials and listens.
type Network interface {
	Dialer
	Binder
}

// System is the network of the operating system. The zero value is ready.
type System struct {
	net.Dialer
	net.ListenConfig
}

var _ Network = (*System)(nil)

// DialFunc makes a function a Dialer.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// DialContext calls f.
func (f DialFunc) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return f(ctx, network, addr)
}

// AddrPort returns the IP address and port of a, which is zero where a is no IP
// address. A v4 address mapped into v6 is returned as v4.
func AddrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch t := a.(type) {
	case nil:
		return ap
	case *net.TCPAddr:
		ap = t.AddrPort()
	case *net.UDPAddr:
		ap = t.AddrPort()
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	if !ap.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// CloseWriter is a connection that can end one direction alone.
type CloseWriter interface{ CloseWrite() error }

// WithRemoteAddr returns c with another remote address: that of the client on
// whose behalf a proxy opened it. Half-close is kept where c has it.
func WithRemoteAddr(c net.Conn, remote net.Addr) net.Conn {
	if remote == nil {
		return c
	}
	if cw, ok := c.(CloseWriter); ok {
		return &halfCloseAddrConn{addrConn{c, remote}, cw}
	}
	return &addrConn{c, remote}
}

type addrConn struct {
	net.Conn
	remote net.Addr
}

func (c *addrConn) RemoteAddr() net.Addr { return c.remote }

// NetConn returns the connection itself.
func (c *addrConn) NetConn() net.Conn { return c.Conn }

type halfCloseAddrConn struct {
	addrConn
	cw CloseWriter
}

func (c *halfCloseAddrConn) CloseWrite() error { return c.cw.CloseWrite() }

// mostLayers is more than there are; it ends a ring of them as well.
const mostLayers = 16

// Layers are a connection and those that it is around, from the outside in, as far as
// each tells by a method NetConn.
func Layers(c net.Conn) iter.Seq[net.Conn] {
	return func(yield func(net.Conn) bool) {
		for range mostLayers {
			if c == nil || !yield(c) {
				return
			}
			around, ok := c.(interface{ NetConn() net.Conn })
			if !ok {
				return
			}
			c = around.NetConn()
		}
	}
}

// WithPrefix returns c as if prefix came before what it still has to read.
// Half-close is kept where c has it.
func WithPrefix(c net.Conn, prefix []byte) net.Conn {
	if len(prefix) == 0 {
		return c
	}
	if cw, ok := c.(CloseWriter); ok {
		return &halfClosePrefixConn{prefixConn{c, prefix}, cw}
	}
	return &prefixConn{c, prefix}
}

type prefixConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixConn) Read(p []byte) (int, error) {
	if len(c.prefix) == 0 || len(p) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.prefix)
	if c.prefix = c.prefix[n:]; len(c.prefix) == 0 {
		c.prefix = nil
	}
	return n, nil
}

type halfClosePrefixConn struct {
	prefixConn
	cw CloseWriter
}

func (c *halfClosePrefixConn) CloseWrite() error { return c.cw.CloseWrite() }

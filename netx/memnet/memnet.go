// Package memnet is a network inside one process: listeners and dials by
// address, and connections with deadlines and half-close, made of memory alone,
// so that tests run under testing/synctest's virtual time. Addresses are
// *net.TCPAddr, as production code expects of a client's address.
package memnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"teleport/netx"
)

// Network is one such network. The zero value is ready. A host name is any
// string: it gets an address of 10.0.0.0/8 at its first use, and IP addresses
// stand for themselves.
type Network struct {
	mu        sync.Mutex
	hosts     map[string]netip.Addr
	listeners map[netip.AddrPort]*listener
	lastPort  uint16
}

var _ netx.Network = (*Network)(nil)

// From returns a dialer whose connections come from the given host.
func (n *Network) From(host string) netx.Dialer {
	return netx.DialFunc(func(ctx context.Context, network, addr string) (net.Conn, error) {
		return n.dial(ctx, host, network, addr)
	})
}

// DialContext dials from the host "localhost".
func (n *Network) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return n.dial(ctx, "localhost", network, addr)
}

// Addr returns the IP address of a host.
func (n *Network) Addr(host string) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.resolve(host)
}

// resolve needs n.mu.
func (n *Network) resolve(host string) netip.Addr {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip
	}
	if host == "" || host == "localhost" {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if ip, ok := n.hosts[host]; ok {
		return ip
	}
	if n.hosts == nil {
		n.hosts = map[string]netip.Addr{}
	}
	i := len(n.hosts) + 1
	ip := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	n.hosts[host] = ip
	return ip
}

func (n *Network) endpoint(addr string) (netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: %w", portText, err)
	}
	return netip.AddrPortFrom(n.resolve(host), uint16(port)), nil
}

// nextPort needs n.mu.
func (n *Network) nextPort() uint16 {
	if n.lastPort < 32768 || n.lastPort == 65535 {
		n.lastPort = 32767
	}
	n.lastPort++
	return n.lastPort
}

// Listen opens a listener; port 0 chooses a free one.
func (n *Network) Listen(_ context.Context, network, addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at, err := n.endpoint(addr)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	for at.Port() == 0 || n.listeners[at] != nil {
		if at.Port() != 0 {
			return nil, &net.OpError{Op: "listen", Net: network, Addr: net.TCPAddrFromAddrPort(at), Err: syscall.EADDRINUSE}
		}
		at = netip.AddrPortFrom(at.Addr(), n.nextPort())
	}
	l := &listener{net: n, at: at, conns: make(chan net.Conn, 128), done: make(chan struct{})}
	if n.listeners == nil {
		n.listeners = map[netip.AddrPort]*listener{}
	}
	n.listeners[at] = l
	return l, nil
}

func (n *Network) dial(ctx context.Context, from, network, addr string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	to, err := n.endpoint(addr)
	if err != nil {
		n.mu.Unlock()
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	l := n.listeners[to]
	local := net.TCPAddrFromAddrPort(netip.AddrPortFrom(n.resolve(from), n.nextPort()))
	n.mu.Unlock()
	remote := net.TCPAddrFromAddrPort(to)
	if l == nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: remote, Err: syscall.ECONNREFUSED}
	}
	a, b := PipeAddr(local, remote)
	select {
	case l.conns <- b:
		return a, nil
	case <-l.done:
		return nil, &net.OpError{Op: "dial", Net: network, Addr: remote, Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

type listener struct {
	net   *Network
	at    netip.AddrPort
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
}

// Close refuses further dials; connections that nobody accepted are reset.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.mu.Lock()
		delete(l.net.listeners, l.at)
		l.net.mu.Unlock()
		for {
			select {
			case c := <-l.conns:
				c.Close()
			default:
				return
			}
		}
	})
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.at) }

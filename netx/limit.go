package netx

import (
	"net"
	"net/netip"
	"sync"
)

// LimitPerClient bounds how many connections one client address may hold open:
// further ones are closed as soon as they are accepted. An IPv6 client is its
// /64. Balancers, from which many clients come, are not counted.
func LimitPerClient(ln net.Listener, limit int, balancers Networks) net.Listener {
	return &limited{Listener: ln, limit: limit, balancers: balancers, open: map[netip.Prefix]int{}}
}

type limited struct {
	net.Listener
	limit     int
	balancers Networks

	mu   sync.Mutex
	open map[netip.Prefix]int
}

func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := AddrPort(c.RemoteAddr()).Addr()
		if l.balancers.Contain(addr) {
			return c, nil
		}
		from := ClientNetwork(addr)
		if l.enter(from) {
			return &counted{Conn: c, leave: func() { l.leave(from) }}, nil
		}
		c.Close()
	}
}

func (l *limited) enter(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] >= l.limit {
		return false
	}
	l.open[from]++
	return true
}

func (l *limited) leave(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
}

// ClientNetwork is the network whose connections, or attempts, are counted as one
// client's: an IPv4 address, or the /64 that one customer usually has of IPv6.
// Whatever has no address shares the zero prefix.
func ClientNetwork(a netip.Addr) netip.Prefix {
	a = a.Unmap()
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits) // fails only for the zero address
	return p
}

// counted leaves its place when it is closed, once.
type counted struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (c *counted) Close() error {
	c.once.Do(c.leave)
	return c.Conn.Close()
}

// CloseWrite passes a half-close on, where the connection knows one.
func (c *counted) CloseWrite() error {
	if w, ok := c.Conn.(CloseWriter); ok {
		return w.CloseWrite()
	}
	return c.Close()
}

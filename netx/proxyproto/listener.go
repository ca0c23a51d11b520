package proxyproto

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"teleport/fault"
	"teleport/netx"
)

// Listen wraps a listener whose connections may begin with a PROXY header of
// the given senders. The header is read by the connection's first Read or
// RemoteAddr, within timeout, so Accept never waits for a client.
func Listen(ln net.Listener, mode Mode, senders netx.Networks, timeout time.Duration) net.Listener {
	return &listener{Listener: ln, mode: mode, senders: senders, timeout: timeout}
}

type listener struct {
	net.Listener
	mode    Mode
	senders netx.Networks
	timeout time.Duration
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, mode: l.mode, senders: l.senders, timeout: l.timeout}, nil
}

type conn struct {
	net.Conn
	mode    Mode
	senders netx.Networks
	timeout time.Duration

	once   sync.Once
	inner  net.Conn // with the bytes that were read too far
	err    error
	mu     sync.Mutex
	readBy time.Time // the deadline that the user asked for
}

// Open reads what the mode expects at the beginning of c, within timeout, and
// returns c with the client's address. Two headers are always refused, and so is
// one that comes from elsewhere than the senders: a client could write it, and
// choose its address. In mode On, nobody else gets as far as to be read.
func Open(c net.Conn, mode Mode, senders netx.Networks, timeout time.Duration) (net.Conn, error) {
	sender := netx.AddrPort(c.RemoteAddr()).Addr()
	if mode == On && !senders.Contain(sender) {
		return nil, notASender(sender)
	}
	if err := c.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	first, found, err := peek(c)
	if err != nil {
		return nil, err
	}
	var h Header
	switch {
	case found && mode == Unset && !senders.Contain(sender):
		err = notASender(sender)
	case found:
		h, first, err = take(c, first, mode)
	case mode == On:
		err = invalid("it is required and missing")
	}
	if err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return netx.WithPrefix(netx.WithRemoteAddr(c, h.Remote(mode, c.RemoteAddr())), first), nil
}

func notASender(a netip.Addr) error {
	return fault.New(fault.Denied, "%s is none of the balancers whose PROXY headers are believed", a).
		WithHint("add it to proxy_service.trusted_balancers, if it is one that you trust")
}

// take reads the header that begins with first, and looks for a second one.
func take(c net.Conn, first []byte, mode Mode) (Header, []byte, error) {
	if mode == Off {
		return Header{}, nil, fault.New(fault.Denied, "a PROXY header came and proxy_protocol is off").
			WithHint("set proxy_protocol: on, if a balancer that you trust sends it")
	}
	rest := &prefixReader{first, c}
	h, err := Read(rest)
	if err != nil {
		return h, nil, err
	}
	again, twice, err := peek(rest)
	if err == nil && twice {
		err = invalid("there are two")
	}
	return h, again, err
}

// peek reads until it is clear whether a header begins. A stream that ends
// early holds none.
func peek(r io.Reader) (b []byte, found bool, err error) {
	buf := make([]byte, 0, PrefixLen)
	for {
		found, undecided := Sniff(buf)
		if found || !undecided {
			return buf, found, nil
		}
		n, err := r.Read(buf[len(buf) : len(buf)+1])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, false, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

type prefixReader struct {
	first []byte
	r     io.Reader
}

func (p *prefixReader) Read(b []byte) (int, error) {
	if len(p.first) > 0 {
		n := copy(b, p.first)
		p.first = p.first[n:]
		return n, nil
	}
	return p.r.Read(b)
}

func (c *conn) open() error {
	c.once.Do(func() {
		c.inner, c.err = Open(c.Conn, c.mode, c.senders, c.timeout)
		if c.err != nil {
			c.Conn.Close()
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.readBy.IsZero() {
			c.err = c.Conn.SetReadDeadline(c.readBy)
		}
	})
	return c.err
}

func (c *conn) Read(b []byte) (int, error) {
	if err := c.open(); err != nil {
		return 0, err
	}
	return c.inner.Read(b)
}

// RemoteAddr returns the client's address, or the socket's where the header
// cannot be read.
func (c *conn) RemoteAddr() net.Addr {
	if c.open() != nil {
		return c.Conn.RemoteAddr()
	}
	return c.inner.RemoteAddr()
}

// CloseWrite ends the outgoing direction alone, where the socket can.
func (c *conn) CloseWrite() error {
	if cw, ok := c.Conn.(netx.CloseWriter); ok {
		return cw.CloseWrite()
	}
	return c.Close()
}

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}

// SetReadDeadline holds for what follows the header, which has its own limit.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy = t
	return c.Conn.SetReadDeadline(t)
}

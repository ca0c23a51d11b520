package sshclient

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"teleport/fault"
)

// Dial connects from the host to host:port (direct-tcpip).
func (c *Client) Dial(ctx context.Context, addr string) (net.Conn, error) {
	nc, err := c.ssh.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, opened(err)
	}
	return nc, nil
}

// Listen listens on the host (tcpip-forward, -R). Port 0 lets the host choose.
func (c *Client) Listen(addr string) (net.Listener, error) {
	l, err := c.ssh.Listen("tcp", addr)
	return l, fault.Wrap(err, fault.Denied, "the host refused to listen on %s", addr)
}

// ForwardLocal serves -L: each connection to l goes to target, seen from the
// host. It returns when ctx ends or l fails, with all connections closed.
func (c *Client) ForwardLocal(ctx context.Context, l net.Listener, target string) error {
	return serveForward(ctx, l, func(ctx context.Context, nc net.Conn) (net.Conn, error) { return c.Dial(ctx, target) })
}

// ForwardDynamic serves -D: a SOCKS5 server (RFC 1928, no authentication,
// CONNECT only) whose connections are made from the host.
func (c *Client) ForwardDynamic(ctx context.Context, l net.Listener) error {
	return serveForward(ctx, l, func(ctx context.Context, nc net.Conn) (net.Conn, error) {
		target, err := readSOCKS(nc)
		if err != nil {
			return nil, err
		}
		to, err := c.Dial(ctx, target)
		code := byte(0)
		if err != nil {
			code = 5 // refused
		}
		if _, werr := nc.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0}); werr != nil && err == nil {
			to.Close()
			err = werr
		}
		return to, err
	})
}

// ForwardRemote serves -R: l is the host's listener (from Listen), dial makes
// the local connection.
func (c *Client) ForwardRemote(ctx context.Context, l net.Listener, dial func(ctx context.Context) (net.Conn, error)) error {
	return serveForward(ctx, l, func(ctx context.Context, _ net.Conn) (net.Conn, error) { return dial(ctx) })
}

const forwardsMost = 256

func serveForward(ctx context.Context, l net.Listener, dial func(context.Context, net.Conn) (net.Conn, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var wg sync.WaitGroup
	slots := make(chan struct{}, forwardsMost)
	for {
		slots <- struct{}{}
		nc, err := l.Accept()
		if err != nil {
			stopped := ctx.Err() != nil
			cancel()
			wg.Wait()
			if stopped || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		wg.Add(1)
		go func() {
			defer func() { <-slots; wg.Done() }()
			defer nc.Close()
			defer context.AfterFunc(ctx, func() { nc.Close() })() // who has not said where to keeps nobody
			if to, err := dial(ctx, nc); err == nil {
				splice(ctx, nc, to)
			}
		}()
	}
}

func splice(ctx context.Context, a, b net.Conn) {
	stop := context.AfterFunc(ctx, func() { a.Close(); b.Close() })
	defer stop()
	var wg sync.WaitGroup
	half := func(to, from net.Conn) {
		defer wg.Done()
		io.Copy(to, from) //nolint:errcheck // an end is an end
		if h, ok := to.(interface{ CloseWrite() error }); ok {
			h.CloseWrite() //nolint:errcheck // the other direction shows it
			return
		}
		to.Close()
	}
	wg.Add(2)
	go half(a, b)
	half(b, a)
	wg.Wait()
	a.Close()
	b.Close()
}

const socksWithin = 10 * time.Second

// readSOCKS reads greeting and CONNECT request and returns host:port. The name
// is resolved by the host.
func readSOCKS(nc net.Conn) (string, error) {
	if err := nc.SetDeadline(time.Now().Add(socksWithin)); err != nil {
		return "", err
	}
	target, err := parseSOCKS(nc, func() error {
		_, err := nc.Write([]byte{5, 0})
		return err
	})
	if err != nil {
		return "", err
	}
	return target, nc.SetDeadline(time.Time{})
}

var errSOCKS = errors.New("not a SOCKS5 CONNECT request without authentication")

func parseSOCKS(r io.Reader, greet func() error) (string, error) {
	var b [256]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil || b[0] != 5 {
		return "", errSOCKS
	}
	if _, err := io.ReadFull(r, b[:b[1]]); err != nil {
		return "", errSOCKS
	}
	if err := greet(); err != nil {
		return "", err
	}
	if _, err := io.ReadFull(r, b[:4]); err != nil || b[0] != 5 || b[1] != 1 {
		return "", errSOCKS
	}
	n := 0
	switch b[3] {
	case 1:
		n = net.IPv4len
	case 4:
		n = net.IPv6len
	case 3:
		var l [1]byte
		if _, err := io.ReadFull(r, l[:]); err != nil || l[0] == 0 {
			return "", errSOCKS
		}
		n = int(l[0])
	default:
		return "", errSOCKS
	}
	kind := b[3]
	var p [2]byte
	if _, err := io.ReadFull(r, b[:n]); err != nil {
		return "", errSOCKS
	}
	if _, err := io.ReadFull(r, p[:]); err != nil {
		return "", errSOCKS
	}
	host := string(b[:n])
	if kind != 3 {
		host = net.IP(b[:n]).String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(p[:])))), nil
}

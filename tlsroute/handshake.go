package tlsroute

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"teleport/fault"
	"teleport/netx"
	"teleport/netx/proxyproto"
)

const (
	sshPrefix = "SSH-2.0-"
	// How clients of PostgreSQL begin: a wish for TLS or GSSAPI, or to cancel.
	sslRequest    = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	gssRequest    = "\x00\x00\x00\x08\x04\xd2\x16\x30"
	cancelRequest = "\x00\x00\x00\x10\x04\xd2\x16\x2e"
	tlsRecord     = 0x16 // first byte of a TLS hello's record
)

// serve looks at the first bytes of a connection and routes it.
func (r *Router) serve(ctx context.Context, c net.Conn) error {
	deadline, _ := ctx.Deadline()
	opened := c
	if r.o.Silence == 0 { // else no PROXY header is waited for
		var err error
		if opened, err = proxyproto.Open(c, r.o.ProxyProtocol, r.o.Balancers, time.Until(deadline)); err != nil {
			return err
		}
	}
	if err := opened.SetReadDeadline(deadline); err != nil {
		return err
	}
	first, kind, err := r.sniff(opened, deadline)
	if err != nil {
		return err
	}
	opened = netx.WithPrefix(opened, first)
	if kind == "" {
		return r.serveTLS(ctx, opened)
	}
	rt := r.preambles[kind]
	if rt == nil {
		return fault.New(fault.Unimplemented, "no service here speaks %s in plain text", kind)
	}
	if err := opened.SetDeadline(time.Time{}); err != nil {
		return err
	}
	return r.deliver(ctx, rt, opened)
}

// sniff looks at the first bytes; where a silent client counts as one of SSH, it
// waits only a moment for the first of them.
func (r *Router) sniff(c net.Conn, deadline time.Time) ([]byte, Preamble, error) {
	if r.o.Silence == 0 {
		return sniff(c)
	}
	if err := c.SetReadDeadline(time.Now().Add(r.o.Silence)); err != nil {
		return nil, "", err
	}
	var one [1]byte
	if _, err := io.ReadFull(c, one[:]); errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, SSH, nil
	} else if err != nil {
		return nil, "", err
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return nil, "", err
	}
	return sniff(netx.WithPrefix(c, one[:]))
}

// sniff reads as many bytes as it takes to know what begins: "" is TLS.
func sniff(c net.Conn) (first []byte, kind Preamble, err error) {
	buf := make([]byte, 0, len(sshPrefix))
	for {
		if _, err := io.ReadFull(c, buf[len(buf):len(buf)+1]); err != nil {
			return nil, "", err
		}
		buf = buf[:len(buf)+1]
		switch s := string(buf); {
		case buf[0] == tlsRecord:
			return buf, "", nil
		case s == sshPrefix:
			return buf, SSH, nil
		case s == sslRequest, s == gssRequest, s == cancelRequest:
			return buf, Postgres, nil
		case !slices.ContainsFunc([]string{sshPrefix, sslRequest, gssRequest, cancelRequest}, func(p string) bool { return strings.HasPrefix(p, s) }):
			return nil, "", fault.New(fault.Invalid, "the client speaks neither TLS nor SSH")
		}
	}
}

// serveTLS does the handshake with the configuration of the route that the
// hello chooses.
func (r *Router) serveTLS(ctx context.Context, c net.Conn) error {
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	var chosen *route
	t := tls.Server(netx.UnderTLS(c), &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			rt, names := r.choose(hello)
			if rt == nil {
				return nil, fault.New(fault.Unimplemented, "no service for protocols %q", hello.SupportedProtos)
			}
			chosen = rt
			config, err := rt.config(hello)
			if err != nil || slices.Equal(config.NextProtos, names) {
				return config, err
			}
			config = config.Clone()
			config.NextProtos = names
			return config, nil
		},
	})
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	if err := t.SetDeadline(time.Time{}); err != nil {
		return err
	}
	return r.deliver(ctx, chosen, t)
}

// choose finds the route of a hello, and the ALPN names to answer with: first a
// name of ours in the client's order, then the server name, then the web.
func (r *Router) choose(hello *tls.ClientHelloInfo) (*route, []string) {
	for _, p := range hello.SupportedProtos {
		if rt := r.exact[p]; rt != nil {
			return rt, []string{p}
		}
		for _, rt := range r.prefixes {
			if strings.HasPrefix(p, rt.name) && len(p) > len(rt.name) {
				return rt, []string{p}
			}
		}
	}
	for _, rt := range r.bySNI {
		if rt.match(hello.ServerName) {
			return rt, rt.names
		}
	}
	if r.fallback == nil {
		return nil, nil
	}
	return r.fallback, r.fallback.names
}

// deliver hands the connection to whoever accepts on the route; nobody may take
// longer than what is left of the connection's time.
func (r *Router) deliver(ctx context.Context, rt *route, c net.Conn) error {
	select {
	case rt.conns <- c:
		r.results.WithLabelValues(rt.name, "ok").Inc()
		return nil
	case <-rt.closed:
		return net.ErrClosed
	case <-ctx.Done():
		return fault.Wrap(context.Cause(ctx), fault.Unavailable, "the service %s takes no connections now", rt.name)
	}
}

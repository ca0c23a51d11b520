package alpndial

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"

	"teleport/fault"
	"teleport/netx"
)

// UpgradePath is where a proxy takes WebSockets that carry TLS routing.
const UpgradePath = "/webapi/connectionupgrade"

// Sub-protocols of the upgrade: raw bytes, and the same with pings from the
// server, which keep an idle stream alive through a balancer.
const (
	ProtocolPing  = "alpn-ping"
	ProtocolPlain = "alpn"
)

// upgraded runs the TLS of config inside a WebSocket that passes a balancer.
// With webOnly the certificate inside is the proxy's own web certificate, often
// self-signed behind a balancer, and is not verified: the outer TLS has verified
// the balancer's, and whoever holds that could read a web connection anyway.
func (d *Dialer) upgraded(ctx context.Context, alpn string, config *tls.Config, webOnly bool) (net.Conn, error) {
	ws, err := d.websocket(ctx)
	if err != nil {
		return nil, err
	}
	if webOnly {
		config.InsecureSkipVerify = true
	}
	return d.handshake(ctx, ws, alpn, config)
}

// websocket opens the stream through the balancer.
func (d *Dialer) websocket(ctx context.Context) (net.Conn, error) {
	config := d.web()
	config.NextProtos = []string{"http/1.1"}
	var outer net.Conn
	transport := &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			raw, err := d.raw(ctx)
			if err != nil {
				return nil, err
			}
			outer = tls.Client(raw, config)
			if err := outer.(*tls.Conn).HandshakeContext(ctx); err != nil {
				raw.Close()
				return nil, d.explain(err)
			}
			return outer, nil
		},
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      true,
	}
	c, answer, err := websocket.Dial(ctx, "wss://"+d.ProxyAddr+UpgradePath, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // redirects are never followed
		}},
		Subprotocols: []string{ProtocolPing, ProtocolPlain}, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		if outer != nil {
			outer.Close()
		}
		return nil, upgradeError(err, answer, d.ProxyAddr)
	}
	if c.Subprotocol() == "" {
		c.CloseNow()
		return nil, fault.New(fault.Unavailable, "%s answers %s and does not know the protocol inside", d.ProxyAddr, UpgradePath)
	}
	stream := websocket.NetConn(context.WithoutCancel(ctx), c, websocket.MessageBinary)
	return netx.WithRemoteAddr(stream, outer.RemoteAddr()), nil
}

func upgradeError(err error, answer *http.Response, addr string) error {
	switch {
	case answer == nil, answer.StatusCode == http.StatusSwitchingProtocols:
	case answer.StatusCode >= http.StatusBadGateway && answer.StatusCode <= http.StatusGatewayTimeout:
		return fault.Wrap(err, fault.Unavailable, "the load balancer at %s reaches no proxy now (%s)", addr, answer.Status)
	default:
		return fault.Wrap(err, fault.Unavailable, "%s answers %s with %s, not with a WebSocket", addr, UpgradePath, answer.Status).(*fault.Error).
			WithHint("the load balancer before the proxy must pass WebSockets on")
	}
	return fault.Wrap(err, fault.Unavailable, "no WebSocket to the proxy at %s", addr)
}

// connect asks an HTTP proxy for a tunnel (RFC 9110, 9.3.6).
func (d *Dialer) connect(ctx context.Context, via *url.URL) (net.Conn, error) {
	port := map[string]string{"http": "80", "https": "443"}[via.Scheme]
	if port == "" {
		return nil, fault.New(fault.Invalid, "the HTTP proxy's scheme %q is neither http nor https", via.Scheme)
	}
	if via.Port() != "" {
		port = via.Port()
	}
	c, err := d.tcp(ctx, net.JoinHostPort(via.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if via.Scheme == "https" {
		t := tls.Client(c, &tls.Config{ServerName: via.Hostname(), RootCAs: d.RootCAs, MinVersion: tls.VersionTLS12})
		if err := t.HandshakeContext(ctx); err != nil {
			c.Close()
			return nil, fault.Wrap(err, fault.Untrusted, "no TLS connection to the HTTP proxy %s", via.Host)
		}
		c = t
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	rest, err := d.ask(c, via)
	if err != nil {
		c.Close()
		return nil, err
	}
	return netx.WithPrefix(c, rest), nil
}

// maxAnswer bounds the header of a CONNECT answer.
const maxAnswer = 16 << 10

// ask sends CONNECT and reads the answer; it returns what was read beyond it.
func (d *Dialer) ask(c net.Conn, via *url.URL) ([]byte, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: d.ProxyAddr}, Host: d.ProxyAddr, Header: http.Header{}}
	if u := via.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(c); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the HTTP proxy %s closed the connection", via.Host)
	}
	r := bufio.NewReader(io.LimitReader(c, maxAnswer))
	answer, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the HTTP proxy %s does not answer CONNECT", via.Host)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fault.New(fault.Unavailable, "the HTTP proxy %s refuses a tunnel to %s: %s", via.Host, d.ProxyAddr, answer.Status)
	}
	rest, err := r.Peek(r.Buffered())
	return append([]byte(nil), rest...), err
}

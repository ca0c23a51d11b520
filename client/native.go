package client

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"teleport/cert"
	"teleport/cert/tlscert"
	"teleport/fault"
	"teleport/tunnel/tunframe"
	"teleport/types"
)

// nativeALPN are the protocols that the proxy speaks with clients who show their
// own certificate.
var nativeALPN = map[string]string{"postgres": tunframe.ALPNPostgres, "cockroachdb": tunframe.ALPNPostgres, "mysql": tunframe.ALPNMySQL,
	"redis": tunframe.ALPNRedis}

// Native reports whether a client of a database's protocol can show the proxy a
// certificate of its own; others need a tunnel.
func Native(protocol string) bool { return nativeALPN[protocol] != "" }

// DialNative opens a connection on which a client of a database's protocol speaks
// with the proxy, and shows its own certificate.
func (c *Client) DialNative(ctx context.Context, protocol string) (net.Conn, error) {
	name := nativeALPN[protocol]
	if name == "" {
		return nil, fault.New(fault.Unimplemented, "clients of %s cannot show the proxy a certificate", protocol)
	}
	conn, err := c.dialProxy(ctx, name, nil)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// dialProxy opens TLS with the proxy, verified by its role, and shows own.
func (c *Client) dialProxy(ctx context.Context, alpn string, own func() *tls.Certificate) (net.Conn, error) {
	config, err := tlscert.ClientConfig(tlscert.Source{Certificate: own, Trust: func() *cert.Trust { return c.trust }, Now: time.Now},
		tlscert.Server{Cluster: c.cfg.Cluster, Role: types.RoleProxy})
	if err != nil {
		return nil, err
	}
	conn, err := c.proxy.Dial(ctx, alpn, config)
	if err != nil {
		return nil, explainTLS(err, c.cfg.ProxyAddr)
	}
	return conn, nil
}

// NativeName asks the proxy for the name by which its certificate is verified by
// clients that reach it at an address without tsh: the host of that, where the
// certificate has it, or else that of all the cluster's proxies. named is false
// for the latter.
func (c *Client) NativeName(ctx context.Context, host string) (name string, named bool, err error) {
	conn, err := c.dialProxy(ctx, tunframe.ALPNPostgres, nil)
	if err != nil {
		return "", false, err
	}
	defer conn.Close()
	if t, ok := conn.(*tls.Conn); ok && t.ConnectionState().PeerCertificates[0].VerifyHostname(host) == nil {
		return host, true, nil
	}
	name, _ = cert.ServerName(types.RoleProxy, c.cfg.Cluster)
	return name, false, nil
}

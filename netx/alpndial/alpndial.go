// Package alpndial is the client half of TLS routing: it opens TLS to a proxy
// with an ALPN name that chooses the service behind the one port. Where a
// load balancer ends TLS in between (layer 7), it opens a WebSocket through the
// balancer first and runs the same TLS inside; where the way out leads through
// an HTTP proxy, it asks that for a tunnel with CONNECT.
package alpndial

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"teleport/fault"
	"teleport/netx"
)

// Upgrade says whether a connection goes through a WebSocket.
type Upgrade string

// The upgrade modes. Auto finds out when a plain connection fails; callers keep
// what Probe said per profile and pass it in.
const (
	UpgradeAuto Upgrade = ""
	UpgradeYes  Upgrade = "yes"
	UpgradeNo   Upgrade = "no"
)

// EnvUpgrade names the environment variable that overrides probing.
const EnvUpgrade = "TELEPORT_TLS_ROUTING_UPGRADE"

// ParseUpgrade reads the value of EnvUpgrade; empty is Auto.
func ParseUpgrade(s string) (Upgrade, error) {
	switch strings.ToLower(s) {
	case "":
		return UpgradeAuto, nil
	case "yes", "true", "on", "1":
		return UpgradeYes, nil
	case "no", "false", "off", "0":
		return UpgradeNo, nil
	}
	return "", fault.New(fault.Invalid, "%s=%q is neither yes nor no", EnvUpgrade, s)
}

// Dialer opens connections to one proxy address. Safe for concurrent use once
// its fields are set.
type Dialer struct {
	// ProxyAddr is host:port of the proxy or of the balancer before it.
	ProxyAddr string
	// RootCAs verify the web certificate of proxy or balancer; nil: the system's.
	RootCAs *x509.CertPool
	// Insecure accepts any web certificate: for trying things out. What is inside
	// (host certificates) is verified nevertheless.
	Insecure bool
	// Upgrade chooses the way; see EnvUpgrade.
	Upgrade Upgrade
	// Net is the network; nil: the system's.
	Net netx.Dialer
	// HTTPProxy finds the HTTP proxy for a request; nil: HTTPS_PROXY, HTTP_PROXY
	// and NO_PROXY of the environment.
	HTTPProxy func(*http.Request) (*url.URL, error)
}

// timeout bounds a dial whose context has no deadline.
const timeout = 30 * time.Second

// probeALPN is what Probe offers: a name that every proxy knows and no web
// server does.
const probeALPN = "teleport-reversetunnel"

// Dial opens TLS with the one ALPN name. inner is the TLS configuration that
// verifies the proxy's host certificate and shows ours; its NextProtos are
// replaced. Nil verifies the web certificate instead, for names where the proxy
// shows that one. The connection returned is a *tls.Conn whose handshake is
// complete and whose protocol is alpn.
func (d *Dialer) Dial(ctx context.Context, alpn string, inner *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	webOnly := inner == nil
	if webOnly {
		inner = d.web()
	}
	config := inner.Clone()
	config.NextProtos = []string{alpn}
	if config.ServerName == "" {
		config.ServerName = d.host()
	}
	upgrade := d.Upgrade
	if !strings.HasPrefix(alpn, "teleport-") {
		upgrade = UpgradeNo // the balancer speaks HTTP itself
	}
	if upgrade == UpgradeYes {
		return d.upgraded(ctx, alpn, config, webOnly)
	}
	conn, err := d.plain(ctx, alpn, config)
	var netErr *net.OpError
	if err == nil || upgrade == UpgradeNo || errors.As(err, &netErr) && netErr.Op == "dial" {
		return conn, err
	}
	if way, perr := d.Probe(ctx); perr != nil || way != UpgradeYes {
		return nil, err
	}
	return d.upgraded(ctx, alpn, config, webOnly)
}

// Probe finds out whether something between us and the proxy ends TLS: one
// handshake that offers only a name of ours. No certificate is verified, as
// nothing is sent or believed but the name that was chosen.
func (d *Dialer) Probe(ctx context.Context) (Upgrade, error) {
	raw, err := d.raw(ctx)
	if err != nil {
		return UpgradeAuto, err
	}
	defer raw.Close()
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{probeALPN},
		ServerName: d.host(), MinVersion: tls.VersionTLS12})
	err = c.HandshakeContext(ctx)
	switch {
	case err == nil && c.ConnectionState().NegotiatedProtocol == probeALPN:
		return UpgradeNo, nil
	case err == nil, strings.Contains(err.Error(), "no application protocol"):
		return UpgradeYes, nil
	case ctx.Err() != nil:
		return UpgradeAuto, context.Cause(ctx)
	}
	return UpgradeNo, nil
}

func (d *Dialer) host() string {
	host, _, err := net.SplitHostPort(d.ProxyAddr)
	if err != nil {
		return d.ProxyAddr
	}
	return host
}

// web is the TLS configuration for web certificates.
func (d *Dialer) web() *tls.Config {
	return &tls.Config{RootCAs: d.RootCAs, InsecureSkipVerify: d.Insecure, ServerName: d.host(), MinVersion: tls.VersionTLS12}
}

func (d *Dialer) plain(ctx context.Context, alpn string, config *tls.Config) (net.Conn, error) {
	raw, err := d.raw(ctx)
	if err != nil {
		return nil, err
	}
	return d.handshake(ctx, raw, alpn, config)
}

func (d *Dialer) handshake(ctx context.Context, raw net.Conn, alpn string, config *tls.Config) (net.Conn, error) {
	c := tls.Client(netx.UnderTLS(raw), config)
	err := c.HandshakeContext(ctx)
	if err == nil && c.ConnectionState().NegotiatedProtocol != alpn {
		err = fault.New(fault.Unavailable, "the proxy at %s does not speak %s", d.ProxyAddr, alpn).
			WithHint("an old proxy, or a load balancer that ends TLS: try %s=yes", EnvUpgrade)
	}
	if err != nil {
		raw.Close()
		return nil, d.explain(err)
	}
	return c, nil
}

// explain gives the common failures of a handshake a line that helps.
func (d *Dialer) explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var f *fault.Error
	switch {
	case errors.As(err, &f):
		return err
	case errors.As(err, &unknown):
		return hint(fault.Wrap(err, fault.Untrusted, "the certificate of %s is signed by an authority that is not trusted here", d.ProxyAddr),
			"log in again if the cluster's CA was rotated; for a self-signed proxy use --insecure or add its CA to the system")
	case errors.As(err, &name):
		return hint(fault.Wrap(err, fault.Untrusted, "the certificate of %s is for another name", d.ProxyAddr), "check the proxy's address")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return hint(fault.Wrap(err, fault.Untrusted, "the certificate of %s has expired or is not valid yet", d.ProxyAddr), "check the clocks on both sides")
	case ended(err):
		return fault.Wrap(err, fault.Unavailable, "cannot connect to %s: it ended the connection before TLS began", d.ProxyAddr)
	case fault.KindOf(err) == fault.Internal:
		return fault.Wrap(err, fault.Unavailable, "no TLS connection to the proxy at %s", d.ProxyAddr)
	}
	return err
}

// ended reports whether the other side went away, as a proxy does that is killed.
func ended(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func hint(err error, text string) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.WithHint("%s", text)
	}
	return err
}

// Raw opens a connection to ProxyAddr without TLS, through the environment's HTTP proxy
// where that is how it is reached.
func (d *Dialer) Raw(ctx context.Context) (net.Conn, error) { return d.raw(ctx) }

// raw opens the bytes below TLS: directly, or through an HTTP proxy.
func (d *Dialer) raw(ctx context.Context) (net.Conn, error) {
	find := d.HTTPProxy
	if find == nil {
		find = http.ProxyFromEnvironment
	}
	via, err := find(&http.Request{URL: &url.URL{Scheme: "https", Host: d.ProxyAddr}})
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the HTTP proxy of the environment is not a URL").(*fault.Error).
			WithHint("check HTTPS_PROXY and HTTP_PROXY")
	}
	if via != nil {
		return d.connect(ctx, via)
	}
	return d.tcp(ctx, d.ProxyAddr)
}

func (d *Dialer) tcp(ctx context.Context, addr string) (net.Conn, error) {
	dialer := d.Net
	if dialer == nil {
		dialer = &net.Dialer{}
	}
	c, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		kind := fault.Unavailable
		return nil, fault.Wrap(err, cmp.Or(kindOfContext(ctx), kind), "cannot connect to %s", addr)
	}
	return c, nil
}

func kindOfContext(ctx context.Context) fault.Kind {
	if ctx.Err() == nil {
		return ""
	}
	return fault.KindOf(ctx.Err())
}

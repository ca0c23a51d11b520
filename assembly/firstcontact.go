package assembly

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"time"

	"teleport/fault"
	"teleport/keys"
)

// maxExport bounds what a proxy may answer before it is known.
const maxExport = 64 << 10

// pinsFromProxy asks the proxy, over a web connection that the public PKI
// vouches for (or nobody, with --insecure), for the host authority, and pins it.
func (p *Process) pinsFromProxy(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second,
		// The operator asked for it by --insecure: then nothing vouches for the proxy.
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: p.cfg.Insecure}}
	defer t.CloseIdleConnections()
	c := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.cfg.ProxyServer+"/webapi/auth/export?type=tls-host", nil)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "proxy_server %q is not an address", p.cfg.ProxyServer)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, unreachable(p.cfg.ProxyServer, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxExport))
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, fault.Wrap(err, fault.Unavailable, "%s does not answer like a proxy of a cluster (%s)", p.cfg.ProxyServer, resp.Status)
	}
	var pins []string
	for block, rest := pem.Decode(body); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fault.Wrap(err, fault.Untrusted, "%s sent a host authority that cannot be read", p.cfg.ProxyServer)
		}
		pins = append(pins, keys.Pin(cert))
	}
	if len(pins) == 0 {
		return nil, fault.New(fault.Unavailable, "%s does not answer like a proxy of a cluster", p.cfg.ProxyServer)
	}
	return pins, nil
}

func unreachable(addr string, err error) error {
	var certErr *tls.CertificateVerificationError
	if errors.As(err, &certErr) {
		e := fault.Wrap(err, fault.Untrusted, "the web certificate of %s is not trusted: %v", addr, certErr.Err)
		if f, ok := e.(*fault.Error); ok {
			return f.WithHint("Set ca_pin (tctl status prints it), or give the proxy a certificate that this host trusts.")
		}
		return e
	}
	return fault.Wrap(err, fault.Unavailable, "the proxy %s does not answer: %v", addr, reason(err))
}

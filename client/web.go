package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"teleport/client/profile"
	"teleport/fault"
	"teleport/types"
)

const (
	webTimeout = 30 * time.Second // one request to the web API, body included
	tryTimeout = 5 * time.Second  // one guess of a port
	maxReply   = 4 << 20          // bytes of a web API reply
)

// Web is a client of a proxy's web API, which serves those who hold no
// certificate yet. It is safe for concurrent use.
type Web struct {
	addr string // host:port
	http *http.Client
}

// WebOptions say how the proxy's web certificate is checked.
type WebOptions struct {
	Insecure bool           // accept any certificate: for a self-signed proxy that the person knows
	RootCAs  *x509.CertPool // nil: the system's
}

// Ping is what a proxy tells anybody.
type Ping struct {
	ClusterName      string    `json:"cluster_name"`
	ServerVersion    string    `json:"server_version"`
	MinClientVersion string    `json:"min_client_version"`
	Auth             PingAuth  `json:"auth"`
	Proxy            PingProxy `json:"proxy"`
}

// PingAuth says how people log in.
type PingAuth struct {
	Type                    string         `json:"type"`
	SecondFactor            string         `json:"second_factor"`
	DefaultSessionTTL       types.Duration `json:"default_session_ttl"`
	SignatureAlgorithmSuite string         `json:"signature_algorithm_suite"`
	MessageOfTheDay         string         `json:"message_of_the_day"`
}

// PingProxy says where the proxy's services are.
type PingProxy struct {
	SSH        PingSSH `json:"ssh"`
	DB         PingDB  `json:"db"`
	TLSRouting bool    `json:"tls_routing_enabled"`
}

// PingDB is where clients of databases have ports of their own.
type PingDB struct {
	MySQLListenAddr string `json:"mysql_listen_addr,omitempty"`
	MySQLPublicAddr string `json:"mysql_public_addr,omitempty"`
}

// MySQLAddr is where clients of MySQL reach the proxy that is known at web, host:port;
// empty for nowhere.
func (p PingProxy) MySQLAddr(web string) string {
	_, port, err := net.SplitHostPort(p.DB.MySQLListenAddr)
	switch {
	case p.DB.MySQLPublicAddr != "":
		return p.DB.MySQLPublicAddr
	case err != nil:
		return ""
	}
	return net.JoinHostPort(profile.HostOf(web), port)
}

// BrowserAddr is where browsers reach the proxies, host:port; empty where the proxy
// does not say it, or in no form that an address has.
func (p PingProxy) BrowserAddr() string {
	host, port, err := net.SplitHostPort(p.SSH.PublicAddr)
	if err != nil || net.ParseIP(host) == nil && types.CheckDNSName(strings.ToLower(host)) != nil {
		return ""
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return ""
	}
	return p.SSH.PublicAddr
}

// PingSSH is the SSH part of a proxy's addresses.
type PingSSH struct {
	ListenAddr string `json:"listen_addr,omitempty"`
	PublicAddr string `json:"public_addr,omitempty"`
}

// NewWeb makes a client of the web API at host:port.
func NewWeb(addr string, opts WebOptions) *Web {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: opts.RootCAs, InsecureSkipVerify: opts.Insecure}
	return &Web{addr: addr, http: &http.Client{
		Timeout:       webTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf,
			ForceAttemptHTTP2: true, TLSHandshakeTimeout: webTimeout / 2, MaxResponseHeaderBytes: 64 << 10},
	}}
}

// Addr returns the proxy's host:port.
func (w *Web) Addr() string { return w.addr }

// Close drops idle connections.
func (w *Web) Close() { w.http.CloseIdleConnections() }

// FindProxy pings a proxy named as host or host:port; without a port it tries
// 3080, then 443.
func FindProxy(ctx context.Context, addr string, opts WebOptions) (*Web, *Ping, error) {
	candidates, err := candidates(addr)
	if err != nil {
		return nil, nil, err
	}
	var first error
	for i, c := range candidates {
		w := NewWeb(c, opts)
		ping, err := w.pingWithin(ctx, i < len(candidates)-1)
		if err == nil {
			return w, ping, nil
		}
		w.Close()
		if first == nil || fault.KindOf(first) == fault.Unavailable {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, nil, first
}

func candidates(addr string) ([]string, error) {
	addr = strings.TrimSuffix(strings.TrimPrefix(addr, "https://"), "/")
	host := profile.HostOf(addr)
	if host == "" || strings.HasPrefix(addr, ":") && !strings.HasPrefix(addr, "::") || strings.ContainsAny(addr, "/@ ") {
		return nil, fault.New(fault.Invalid, "%q is not the address of a proxy", addr).WithHint("give --proxy=HOST or --proxy=HOST:PORT")
	}
	if h, port, err := net.SplitHostPort(addr); err == nil && port != "" {
		return []string{net.JoinHostPort(h, port)}, nil
	}
	return []string{net.JoinHostPort(host, "3080"), net.JoinHostPort(host, "443")}, nil
}

func (w *Web) pingWithin(ctx context.Context, guess bool) (*Ping, error) {
	if guess {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, tryTimeout)
		defer cancel()
	}
	return w.Ping(ctx)
}

// Ping asks the proxy about itself.
func (w *Web) Ping(ctx context.Context) (*Ping, error) {
	p := new(Ping)
	if _, err := w.call(ctx, http.MethodGet, "/webapi/ping", nil, p); err != nil {
		return nil, err
	}
	if p.ClusterName == "" {
		return nil, fault.New(fault.Invalid, "%s does not answer like a proxy of this system", w.addr)
	}
	return p, nil
}

// call makes one request and reads its JSON. It returns how far the server's
// clock is ahead of ours, by its Date header; zero when it has none.
func (w *Web) call(ctx context.Context, method, path string, in, out any) (skew time.Duration, err error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+w.addr+path, body)
	if err != nil {
		return 0, fault.Wrap(err, fault.Invalid, "%q is not the address of a proxy", w.addr)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.http.Do(req)
	if err != nil {
		return 0, w.explain(ctx, err)
	}
	defer resp.Body.Close()
	if t, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		skew = time.Until(t)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return skew, w.explain(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		return skew, w.refusal(resp.StatusCode, data)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return skew, fault.Wrap(err, fault.Invalid, "%s does not answer like a proxy of this system", w.addr)
	}
	return skew, nil
}

// refusal turns the web API's error document into a fault.
func (w *Web) refusal(status int, body []byte) error {
	var doc struct {
		Error struct {
			Kind    fault.Kind `json:"kind"`
			Message string     `json:"message"`
			Hint    string     `json:"hint"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &doc); err != nil || doc.Error.Message == "" {
		kind := fault.Invalid
		if status >= 500 {
			kind = fault.Unavailable
		}
		return fault.New(kind, "%s answered with HTTP status %d", w.addr, status).
			WithHint("check that --proxy names a proxy of this system")
	}
	if !doc.Error.Kind.Valid() {
		doc.Error.Kind = fault.Internal
	}
	f := fault.New(doc.Error.Kind, "%s", printable(doc.Error.Message))
	if doc.Error.Hint != "" {
		f = f.WithHint("%s", printable(doc.Error.Hint))
	}
	return f
}

// explain says in one line why the proxy could not be reached or trusted.
func (w *Web) explain(ctx context.Context, err error) error {
	if ctx.Err() == context.Canceled {
		return fault.Wrap(err, fault.Canceled, "canceled")
	}
	return explainTLS(err, w.addr)
}

// explainTLS names the common reasons for which a connection fails.
func explainTLS(err error, addr string) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case errors.As(err, &unknown):
		return fault.Advise(fault.Wrap(err, fault.Untrusted, "the certificate of %s is signed by an authority that this machine does not trust", addr),
			"install that authority, or use --insecure if you know that the proxy's certificate is self-signed")
	case errors.As(err, &host):
		return fault.Wrap(err, fault.Untrusted, "the certificate of %s is for another name", addr)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fault.Advise(fault.Wrap(err, fault.Untrusted, "the certificate of %s has expired or is not valid yet", addr),
			"check this machine's clock, then the proxy's certificate")
	case errors.As(err, &record):
		return fault.Wrap(err, fault.Invalid, "%s does not speak TLS", addr)
	case errors.As(err, &dns):
		return fault.Wrap(err, fault.Unavailable, "the host name of %s is not known", addr)
	}
	if fault.KindOf(err) == fault.Timeout || isTimeout(err) {
		return fault.Wrap(err, fault.Timeout, "%s does not answer in time", addr)
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	return fault.Advise(fault.Wrap(err, fault.Unavailable, "%s cannot be reached", addr), "check the address and the network")
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// printable drops control characters from text that a server chose and a
// terminal will show; line breaks stay.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (r < 0x20 || (r >= 0x7f && r < 0xa0)) {
			return -1
		}
		return r
	}, s)
}

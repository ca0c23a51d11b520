package appaccess

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"teleport/netx"
	"teleport/netx/http1"
	"teleport/types"
)

// Bounds of the way to an app.
const (
	dialTimeout = 10 * time.Second
	// answerTimeout is how long an app may think before it begins to answer.
	answerTimeout = 5 * time.Minute
	// mostIdle connections of one session wait for the next request.
	mostIdle     = 64
	idleTimeout  = 90 * time.Second
	maxAnswerHdr = 256 << 10
)

// way is the connections of one session to its app. Sessions share none: an app may
// know a user by the connection.
type way struct {
	target *url.URL
	plain  *http1.Client   // without TLS; nil with it
	clear  *http.Transport // HTTP/2 without TLS, which gRPC speaks; nil with TLS
	secure *http.Transport // TLS, and what it agrees on; nil without
}

func newWay(d netx.Dialer, app *types.App) (*way, error) {
	addr, err := app.Spec.Address(0)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(app.Spec.URI)
	if err != nil {
		return nil, err
	}
	w := &way{target: u}
	if u.Scheme == "http" {
		w.plain = &http1.Client{AnswerTimeout: answerTimeout, MaxHead: maxAnswerHdr, MaxIdle: mostIdle, IdleTimeout: idleTimeout,
			Dial: func(ctx context.Context) (net.Conn, error) { return dialApp(ctx, d, addr) }}
		w.clear = transport(d, addr)
		w.clear.Protocols = &http.Protocols{}
		w.clear.Protocols.SetUnencryptedHTTP2(true)
		return w, nil
	}
	w.secure = transport(d, addr)
	w.secure.ForceAttemptHTTP2 = true
	w.secure.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname(), InsecureSkipVerify: app.Spec.InsecureSkipVerify}
	return w, nil
}

func dialApp(ctx context.Context, d netx.Dialer, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return d.DialContext(ctx, "tcp", addr)
}

// transport dials the app and nothing else, whatever a request says; it takes no
// proxy of the environment, and follows no redirect.
func transport(d netx.Dialer, addr string) *http.Transport {
	return &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dialApp(ctx, d, addr) },
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: answerTimeout, MaxIdleConnsPerHost: mostIdle, MaxIdleConns: mostIdle,
		IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxAnswerHdr, DisableCompression: true,
	}
}

// send gets the answer of a request.
func (w *way) send(r *http.Request, early http1.Early) (*http.Response, error) {
	switch {
	case w.secure != nil:
		return http1.Over(w.secure, r, early)
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc"):
		return http1.Over(w.clear, r, early)
	}
	return w.plain.Send(r, early)
}

func (w *way) close() {
	if w == nil {
		return
	}
	if w.secure != nil {
		w.secure.CloseIdleConnections()
		return
	}
	w.plain.Close()
	w.clear.CloseIdleConnections()
}

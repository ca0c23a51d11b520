// Package authclient is the typed client of the auth service's API: HTTP/2 over
// mutual TLS, on whatever connection its dial function yields (a socket, a
// channel through the proxy). Errors come back as faults. Consumers declare the
// few methods that they need; the interfaces of this package are the roles that
// more than one consumer plays.
//
// A client opens a connection when it is needed and replaces a broken one on
// the next call. A connection is known to the other end by the certificate that
// it was made with, for as long as it lives: a process that renews its certificate
// calls Redial, or runs Follow. Retrying calls and reopening streams is the
// caller's.
package authclient

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"teleport/api/gen/accessv1/accessv1connect"
	"teleport/api/gen/accountv1/accountv1connect"
	"teleport/api/gen/auditv1/auditv1connect"
	"teleport/api/gen/issuev1/issuev1connect"
	"teleport/api/gen/joinv1/joinv1connect"
	"teleport/api/gen/loginv1/loginv1connect"
	"teleport/api/gen/presencev1/presencev1connect"
	"teleport/api/gen/recordingv1/recordingv1connect"
	"teleport/api/gen/resourcev1/resourcev1connect"
	"teleport/api/gen/statusv1/statusv1connect"
	"teleport/api/rpc"
	"teleport/fault"
)

// Limits of what this side reads and waits for.
const (
	maxMessage   = 16 << 20 // a page of documents or events
	callTimeout  = 60 * time.Second
	pingAfter    = 15 * time.Second // silence on the connection before an HTTP/2 ping
	pingDeadline = 15 * time.Second
)

// DialFunc yields a connection to the auth service, without TLS.
type DialFunc func(ctx context.Context) (net.Conn, error)

// Config says how the auth service is reached.
type Config struct {
	// Dial opens a connection; required.
	Dial DialFunc
	// TLS authenticates both sides; required. Its ServerName names the auth
	// service ("auth.<cluster>"), unless it verifies by its own callback. It
	// should fetch the client certificate by callback, so that a renewed one is
	// used by the next connection.
	TLS *tls.Config
}

// Client talks to the auth service. All methods may be called concurrently.
type Client struct {
	links   *links
	access  accessv1connect.AccessServiceClient
	account accountv1connect.AccountServiceClient
	audit   auditv1connect.AuditServiceClient
	issue   issuev1connect.IssueServiceClient
	join    joinv1connect.JoinServiceClient
	// fresh makes a client with a connection of its own, and what closes it.
	fresh     func() (joinv1connect.JoinServiceClient, func())
	login     loginv1connect.LoginServiceClient
	presence  presencev1connect.PresenceServiceClient
	recording recordingv1connect.RecordingServiceClient
	resource  resourcev1connect.ResourceServiceClient
	status    statusv1connect.StatusServiceClient
}

// New returns a client; nothing is dialled before the first call.
func New(cfg Config) (*Client, error) {
	if cfg.Dial == nil || cfg.TLS == nil {
		return nil, fault.New(fault.Invalid, "the auth client needs a way to dial and a TLS configuration")
	}
	tlsConfig := cfg.TLS.Clone()
	tlsConfig.NextProtos = []string{"h2"}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	host := tlsConfig.ServerName
	if host == "" {
		host = "auth"
	}
	t := &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return cfg.Dial(ctx) },
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: 15 * time.Second,
		Protocols:           protocols,
		IdleConnTimeout:     90 * time.Second,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingDeadline},
	}
	l := newLinks(t)
	hc := &http.Client{
		Transport:     l,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	base := "https://" + host
	opts := []connect.ClientOption{
		connect.WithReadMaxBytes(maxMessage),
		connect.WithInterceptors(faults{}),
		connect.WithGRPC(),
	}
	return &Client{
		fresh: func() (joinv1connect.JoinServiceClient, func()) {
			own := t.Clone()
			c := &http.Client{Transport: own, CheckRedirect: hc.CheckRedirect}
			return joinv1connect.NewJoinServiceClient(c, base, opts...), own.CloseIdleConnections
		},
		links:     l,
		access:    accessv1connect.NewAccessServiceClient(hc, base, opts...),
		account:   accountv1connect.NewAccountServiceClient(hc, base, opts...),
		audit:     auditv1connect.NewAuditServiceClient(hc, base, opts...),
		issue:     issuev1connect.NewIssueServiceClient(hc, base, opts...),
		join:      joinv1connect.NewJoinServiceClient(hc, base, opts...),
		login:     loginv1connect.NewLoginServiceClient(hc, base, opts...),
		presence:  presencev1connect.NewPresenceServiceClient(hc, base, opts...),
		recording: recordingv1connect.NewRecordingServiceClient(hc, base, opts...),
		resource:  resourcev1connect.NewResourceServiceClient(hc, base, opts...),
		status:    statusv1connect.NewStatusServiceClient(hc, base, opts...),
	}, nil
}

// Close drops idle connections, for a client that is no longer used. Calls under
// way go on; what they used closes soon after them.
func (c *Client) Close() error {
	c.links.closeIdle()
	return nil
}

// faults gives unary calls a deadline where the caller set none, and turns
// errors into faults.
type faults struct{}

func (faults) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, callTimeout)
			defer cancel()
		}
		resp, err := next(ctx, req)
		return resp, rpc.FromWire(err)
	}
}

func (faults) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (faults) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// unary calls one procedure with plain messages.
func unary[Req, Resp any](ctx context.Context, call func(context.Context, *connect.Request[Req]) (*connect.Response[Resp], error), req *Req) (*Resp, error) {
	resp, err := call(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, rpc.FromWire(err)
	}
	return resp.Msg, nil
}

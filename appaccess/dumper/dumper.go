// Package dumper is an app that shows what apps hear of requests: who sets one up sees
// what it will be told of its users, and by which headers. It listens nowhere, and is
// reached through the agent alone, as any app is.
package dumper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"teleport/netx"
	"teleport/netx/http1"
	"teleport/netx/memnet"
	"teleport/types"
)

// timeout bounds a request: there is nothing to wait for.
const timeout = 30 * time.Second

// Dumper is the app, and the dialer by which the agent reaches it and all others. Safe
// for concurrent use.
type Dumper struct {
	others netx.Dialer
	feed   *netx.Feed
	server *http1.Server
}

var _ netx.Dialer = (*Dumper)(nil)

// New makes the app. It starts nothing. others dials all other places.
func New(others netx.Dialer, log *slog.Logger) *Dumper {
	return &Dumper{others: others, feed: netx.NewFeed(), server: &http1.Server{Handler: http.HandlerFunc(show), HeadTimeout: timeout, BodyTimeout: timeout,
		WriteTimeout: timeout, IdleTimeout: 5 * time.Minute, MaxHead: 512 << 10, Log: log}}
}

// Serve answers until ctx ends.
func (d *Dumper) Serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { d.feed.Close() })()
	var work sync.WaitGroup
	defer work.Wait()
	for {
		c, err := d.feed.Accept()
		if err != nil { // it is closed
			return nil
		}
		work.Go(func() {
			defer context.AfterFunc(ctx, func() { c.Close() })()
			d.server.ServeConn(ctx, c)
		})
	}
}

// DialContext implements netx.Dialer.
func (d *Dumper) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	if addr != types.DebugAppAddr {
		return d.others.DialContext(ctx, network, addr)
	}
	near, far := memnet.Pipe()
	if err := d.feed.Put(ctx, far); err != nil {
		return nil, errors.Join(err, near.Close(), far.Close())
	}
	return near, nil
}

// show answers with the head of the request. It is text, and no browser takes it for
// anything else, as it holds what somebody else may have said.
func show(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	_, _ = fmt.Fprintf(w, "%s %s %s\nHost: %s\n", r.Method, r.RequestURI, r.Proto, r.Host) // the client may be gone
	assertion := r.Header.Get(assertionHeader)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			_, _ = fmt.Fprintf(w, "%s: %s\n", name, unsigned(value, assertion))
		}
	}
}

// assertionHeader has the signed token (package appaccess).
const assertionHeader = "Teleport-Jwt-Assertion"

// unsigned takes the signature out of a token in a value: whoever sees the page, over a
// shoulder or in a report of a problem, has none that any app believes.
func unsigned(value, token string) string {
	end := strings.LastIndexByte(token, '.')
	if end < 0 {
		return value
	}
	return strings.ReplaceAll(value, token, token[:end+1]+"(the signature is not shown)")
}

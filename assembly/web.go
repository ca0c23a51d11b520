package assembly

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"teleport/netx"
	"teleport/netx/http1"
	"teleport/proxy/appproxy"
)

// Bounds of what browsers and programs may take.
const (
	webHeadTimeout = 10 * time.Second
	webBodyTimeout = time.Minute
	webIdleTimeout = 2 * time.Minute
	webStall       = time.Minute          // for a piece of an answer
	webMaxHead     = 4 * appproxy.MaxHead // that is read, where an app's address tells that it is too much
	webDrain       = 5 * time.Second
)

// serveWeb answers browsers and programs, at the proxy's own names and at those of
// apps. A connection of HTTP/1.1 is one goroutine; those of HTTP/2 are net/http's.
func (x *proxyParts) serveWeb(ctx context.Context, ln net.Listener) error {
	front := http.HandlerFunc(x.front)
	first := &http1.Server{Handler: front, HeadTimeout: webHeadTimeout, BodyTimeout: webBodyTimeout, IdleTimeout: webIdleTimeout, WriteTimeout: webStall,
		MaxHead: webMaxHead, Refused: x.webRefused, Log: x.p.log}
	second := &http.Server{Handler: patient(front), ReadHeaderTimeout: webHeadTimeout, ReadTimeout: webBodyTimeout, IdleTimeout: webIdleTimeout, MaxHeaderBytes: webMaxHead,
		ErrorLog: slog.NewLogLogger(x.p.log.Handler(), slog.LevelDebug)}
	feed := netx.NewFeed()
	life, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var work sync.WaitGroup
	work.Go(func() { _ = second.Serve(feed) }) // ends with the shutdown
	err := netx.Accept(ctx, ln, x.p.log, func(c net.Conn) {
		work.Go(func() {
			if t, ok := c.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol == "h2" {
				if feed.Put(ctx, c) != nil {
					c.Close()
				}
				return
			}
			defer context.AfterFunc(life, func() { c.Close() })()
			first.ServeConn(life, c)
		})
	})
	if err != nil { // the port has closed, as a drain begins
		<-ctx.Done()
	}
	first.Drain()
	over := make(chan struct{})
	defer close(over)
	go endLate(over, x.apps.Drained(), x.p.hasty.Done(), cut) // ends with this
	if second.Shutdown(life) != nil {
		second.Close()
	}
	work.Wait()
	return nil
}

// patient bounds how long a client of HTTP/2 may take over a piece of an answer: its
// server has a bound for whole answers alone.
func patient(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := http1.NewPatience(w, webStall)
		defer p.End()
		h.ServeHTTP(p.Writer(w), r)
	})
}

// endLate cuts what holds up a drain. Requests for apps are sessions: an event stream
// or a download lives on until its end, and cannot move to another proxy. Whoever is
// too slow for an answer of the proxy's own holds up nobody, nor does an app in haste.
func endLate(over, apps, hasty <-chan struct{}, cut func()) {
	select {
	case <-apps:
	case <-hasty:
	case <-over:
		return
	}
	last := time.NewTimer(webDrain)
	defer last.Stop()
	select {
	case <-last.C:
		cut()
	case <-over:
	}
}

// webRefused tells the audit log of a request that nobody can read, where it was for
// an app. Of HTTP/2 there is none: its frames leave no doubt where a request ends.
func (x *proxyParts) webRefused(_ context.Context, c net.Conn, err error) {
	sni := ""
	if t, ok := c.(*tls.Conn); ok {
		sni = t.ConnectionState().ServerName
	}
	x.apps.Unread(sni, netx.AddrPort(c.RemoteAddr()), err)
}

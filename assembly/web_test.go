package assembly

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"teleport/netx/memnet"
)

// What is open of an app goes on while the proxy drains, however long that takes; a
// client that is slow to read an answer of the proxy's own holds it up for seconds,
// and so does everybody in a hasty stop.
func TestADrainWaitsForApps(t *testing.T) {
	const hour = time.Hour
	for name, c := range map[string]struct {
		apps, hasty, over time.Duration // when the apps have drained, when haste comes, and when everything has ended
		cut               time.Duration // 0: never
	}{
		"an app's event stream": {apps: hour, hasty: 9 * hour, over: hour},
		"nothing of apps":       {apps: 0, hasty: 9 * hour, over: time.Second},
		"a slow reader":         {apps: 0, hasty: 9 * hour, over: 9 * hour, cut: webDrain},
		"and after apps":        {apps: hour, hasty: 9 * hour, over: 9 * hour, cut: hour + webDrain},
		"in haste":              {apps: 9 * hour, hasty: 0, over: 9 * hour, cut: webDrain},
		"haste in a drain":      {apps: 9 * hour, hasty: hour, over: 9 * hour, cut: hour + webDrain},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				after := func(d time.Duration) <-chan struct{} {
					done := make(chan struct{})
					time.AfterFunc(d, func() { close(done) })
					return done
				}
				began, cut := time.Now(), time.Duration(0)
				endLate(after(c.over), after(c.apps), after(c.hasty), func() { cut = time.Since(began) })
				if cut != c.cut {
					t.Errorf("cut after %s", cut)
				}
				time.Sleep(10 * hour) // to the end of the timers
			})
		})
	}
}

// A client of HTTP/2 may take as long as it likes over an answer that it reads, and not
// leave one unread for ever: nobody would see the end of its handler.
func TestAnAnswerOfHTTP2ThatNobodyReads(t *testing.T) {
	for name, reads := range map[string]bool{"read slowly": true, "left unread": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 8 << 20 // more than a client lets come unread
				wrote := make(chan error, 1)
				var ours http.Server
				ours.Protocols = &http.Protocols{}
				ours.Protocols.SetUnencryptedHTTP2(true)
				ours.Handler = patient(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, err := w.Write(make([]byte, size))
					wrote <- err
				}))
				var network memnet.Network
				ln, err := network.Listen(t.Context(), "tcp", "127.0.0.1:80")
				if err != nil {
					t.Fatal(err)
				}
				go ours.Serve(ln) //nolint:errcheck // it ends with the test
				defer ours.Close()
				theirs := &http.Transport{Protocols: ours.Protocols, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
					return network.DialContext(ctx, "tcp", addr)
				}}
				defer theirs.CloseIdleConnections()
				resp, err := (&http.Client{Transport: theirs}).Get("http://127.0.0.1:80/")
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				began, got := time.Now(), int64(0)
				for err = nil; reads && err == nil; time.Sleep(webStall / 2) {
					var n int64
					n, err = io.CopyN(io.Discard, resp.Body, 1<<18)
					got += n
				}
				if err := <-wrote; (err == nil) != reads || reads != (got == size) {
					t.Errorf("%v after %s and %d bytes", err, time.Since(began), got)
				}
				if took := time.Since(began); !reads && took > webStall {
					t.Errorf("after %s", took)
				}
			})
		})
	}
}

package client

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"teleport/netx/memnet"
	"teleport/netx/mux"
	"teleport/types"
)

// TestWhatIsDialledTooLate: a way that was closed during a dial keeps no connection, nor
// does one whose agent leaves at once.
func TestWhatIsDialledTooLate(t *testing.T) {
	for name, when := range map[string]struct {
		streams, closed, left bool
		want                  error
	}{
		"closed, of streams":   {streams: true, closed: true, want: net.ErrClosed},
		"closed, of one":       {closed: true, want: net.ErrClosed},
		"the agent has left":   {streams: true, left: true, want: mux.ErrLeft},
		"in time, of streams":  {streams: true},
		"in time, of one only": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := memnet.Pipe()
				ended := make(chan struct{})
				go func() { // until the carrier ends
					defer close(ended)
					_, _ = io.Copy(io.Discard, far)
				}()
				d := (&Client{}).Database("orders", types.DatabaseRoute{})
				k := &carrier{d: d, way: near}
				if when.streams {
					k.streams = mux.NewOpener(near, nil)
				}
				if when.left {
					near.Close()
					synctest.Wait()
				}
				if when.closed {
					d.Close()
				}
				d.mu.Lock()
				c, err := d.take(k, near)
				d.mu.Unlock()
				if !errors.Is(err, when.want) || (c == nil) != (when.want != nil) {
					t.Errorf("%v, %v", c, err)
				}
				if when.want == nil {
					d.Close()
				}
				<-ended // a carrier that is left would hold it for ever
				if len(d.carriers) > 0 {
					t.Errorf("%d carriers are kept", len(d.carriers))
				}
				if c != nil {
					c.Close()
				}
				near.Close()
			})
		})
	}
}

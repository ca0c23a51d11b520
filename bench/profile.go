package main

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// debugClient speaks to the debug socket of a server of ours.
func (c *cluster) debugClient(name string) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.data(name), "debug.sock"))
		}}}
}

// profile looks at where our servers spend the first seconds of a part, when that
// was asked for. What it returns waits for the profiles to be written.
func (b *bench) profile(ctx context.Context, part string) (wait func()) {
	var work sync.WaitGroup
	if b.profiles == "" {
		return work.Wait
	}
	for name := range b.cl.servers {
		work.Go(func() {
			b.writeProfile(ctx, name, "profile?seconds=10", part+"-"+name+".pprof")
		})
	}
	return work.Wait
}

// heap keeps what a server holds after a part, when profiles were asked for.
func (b *bench) heap(ctx context.Context, part string, names ...string) {
	for _, name := range names {
		if b.profiles != "" {
			b.writeProfile(ctx, name, "heap?gc=1", part+"-"+name+"-heap.pprof")
			b.writeProfile(ctx, name, "goroutine?debug=1", part+"-"+name+"-goroutines.txt")
			b.writeProfile(ctx, name, "heap?debug=1", part+"-"+name+"-heap.txt")
		}
	}
}

func (b *bench) writeProfile(ctx context.Context, name, what, file string) {
	f, err := os.Create(filepath.Join(b.profiles, file))
	if err == nil {
		err = get(ctx, b.cl.debugClient(name), "http://debug/debug/pprof/"+what, f)
		f.Close()
	}
	if err != nil {
		progress("no profile of %s: %v", name, err)
	}
}

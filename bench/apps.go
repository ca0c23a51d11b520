package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	appName = "web"
	appHost = "web.bench.test" // where browsers find it: at the proxy
)

// appBodies are what the app serves.
var appBodies = []struct {
	name string
	size int
}{{"small", 1 << 10}, {"big", 1e6}}

// appLoad is what wrk asks for, and over how many connections.
type appLoad struct {
	name        string
	body        int // of appBodies
	connections int
}

// appLoads are a machine that has all it can do, with a small body and a large one,
// and one on which a request waits for no other.
var appLoads = []appLoad{{"small", 0, 64}, {"big", 1, 64}, {"alone", 0, 1}}

// appWay is one way to the app: what wrk is told.
type appWay struct {
	name, url string
	headers   []string
	servers   []*server
}

// apps is an app, and every way to it.
type apps struct {
	ways   []appWay
	cookie string // of a browser that is signed in
	extra  []*server
	err    error // why it did not start
}

func (a *apps) stop() {
	if a == nil {
		return
	}
	for _, s := range a.extra {
		s.stop()
	}
}

// appWorld starts the app and every way to it, once.
func (b *bench) appWorld(ctx context.Context) error {
	if b.apps == nil {
		b.apps = &apps{}
		b.apps.err = b.startApps(ctx, b.apps)
	}
	return b.apps.err
}

func (b *bench) startApps(ctx context.Context, a *apps) error {
	dir := filepath.Join(b.dir, "apps")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	pair := filepath.Join(dir, "pair.pem")
	if err := writePair(pair, "null"); err != nil {
		return err
	}
	origin, app, err := startOrigin(ctx, dir)
	if err != nil {
		return fmt.Errorf("the app could not be started (Debian's packages nginx and wrk): %w", err)
	}
	a.extra = append(a.extra, app)
	peer, peers, err := startNginx(ctx, dir, pair, origin)
	a.extra = append(a.extra, peers...)
	if err != nil {
		return err
	}
	null, nulls, err := chain(ctx, origin, []string{"plain", "open"}, func(verb, addr, next string) (*server, error) {
		return serve(dir, "null-"+verb, []string{"GOMAXPROCS=1"}, filepath.Join(b.dir, "bin", "nullrelay"), verb, pair, addr, next) // what ours come to
	})
	a.extra = append(a.extra, nulls...)
	if err != nil {
		return err
	}
	local, err := b.frontApp(ctx, a, origin)
	if err != nil {
		return err
	}
	if err := b.signInToApp(ctx, a); err != nil {
		return err
	}
	on := func(names ...string) (list []*server) {
		for _, n := range names {
			list = append(list, b.cl.servers[n])
		}
		return list
	}
	a.ways = []appWay{
		{"browser", "https://" + b.cl.proxy, []string{"Host: " + b.appAt(), "Cookie: " + a.cookie}, on("proxy", "appagent", "auth")},
		{"nginx, two hops", "https://" + peer, nil, peers},
		{"tsh proxy app", "http://" + local.addr, nil, append([]*server{local.server}, on("proxy", "appagent", "auth")...)},
		{"null relay in Go, two hops", "https://" + null, nil, nulls},
		{"direct", "http://" + origin, nil, nil},
	}
	return nil
}

// appAt is the app's host and port, as browsers see it.
func (b *bench) appAt() string { return net.JoinHostPort(appHost, portOf(b.cl.proxy)) }

// localProxy is tsh before the app.
type localProxy struct {
	addr   string
	server *server
}

// frontApp starts an agent that fronts the app, and tsh before it.
func (b *bench) frontApp(ctx context.Context, a *apps, origin string) (l localProxy, err error) {
	token, err := b.cl.token("app", "10m")
	if err != nil {
		return l, err
	}
	p := process{name: "appagent", join: fmt.Sprintf("  proxy_server: %s\n  ca_pin: %q\n  join_params: {method: token, token_name: %s}", b.cl.proxy, b.cl.pin, token),
		more: fmt.Sprintf("app_service:\n  enabled: true\n  apps:\n  - {name: %s, uri: \"http://%s\", public_addr: %s}\n", appName, origin, appHost)}
	if err := b.cl.configure(p); err != nil {
		return l, err
	}
	if _, err := b.cl.start(ctx, p.name); err != nil {
		return l, err
	}
	if l.addr, err = freePort(); err != nil {
		return l, err
	}
	l.server, err = serve(b.dir, "tsh", []string{"TELEPORT_HOME=" + b.cl.home}, filepath.Join(b.bin, "tsh"), "proxy", "app", appName, "--port="+portOf(l.addr))
	if err != nil {
		return l, err
	}
	a.extra = append(a.extra, l.server)
	hc := &http.Client{Timeout: 5 * time.Second}
	defer hc.CloseIdleConnections()
	return l, l.server.await(ctx, time.Minute, func() bool {
		resp, err := hc.Get("http://" + l.addr + "/small")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK && n == int64(appBodies[0].size)
	})
}

// signInToApp gets what a browser has after a person signed in and opened the app.
func (b *bench) signInToApp(ctx context.Context, a *apps) error {
	user, err := b.cl.browser()
	if err != nil {
		return err
	}
	defer user.hc.CloseIdleConnections()
	if err := user.signIn(ctx); err != nil {
		return err
	}
	for end := time.Now().Add(20 * time.Second); ; { // until the proxy knows of the app
		if a.cookie, err = user.open(ctx, b.appAt()); err == nil || time.Now().After(end) || ctx.Err() != nil {
			return err
		}
	}
}

// measureApps has wrk ask the app for a small file and a large one.
func (b *bench) measureApps(ctx context.Context) error {
	t := b.table.section(fmt.Sprintf("Apps: wrk for %s, %d times in turns; every request in the audit log", b.seconds, b.rounds),
		"load", "path", "requests/s", "÷ nginx, median of pairs (quartiles)", "MB/s", "p50 ms", "p99 ms", "p50 over direct", "CPU µs a request", "of it")
	for _, l := range appLoads {
		if len(b.loads) > 0 && !slices.Contains(b.loads, l.name) {
			continue
		}
		if err := b.requests(ctx, t, l); err != nil {
			return err
		}
	}
	t.note("Small and big: 64 connections, bodies of 1 KiB and 1 MB; alone: one connection, 1 KiB. To reach by the browser's path: ≥ 0.70 of nginx's requests with the small body, ≥ 0.90 of its MB/s with the large one, p50 at most 0.5 ms over nginx's.")
	return nil
}

func (b *bench) requests(ctx context.Context, t *section, l appLoad) error {
	body := appBodies[l.body]
	ways := b.apps.ways
	runs, tallies := make([][]wrkRun, len(ways)), make([]tally, len(ways))
	for round := range b.rounds {
		for _, i := range turn(len(ways), round) {
			c := contender{servers: ways[i].servers}
			if err := tallies[i].begin(c); err != nil {
				return err
			}
			r, err := wrk(ctx, b.seconds, l.connections, ways[i].url+"/"+body.name, ways[i].headers)
			if err != nil {
				return fmt.Errorf("%s: %w", ways[i].name, err)
			}
			if err := calm(c.servers); err != nil {
				return err
			}
			if err := tallies[i].end(c); err != nil {
				return err
			}
			runs[i] = append(runs[i], r)
		}
	}
	of := func(i int, get func(wrkRun) float64) (list []float64) {
		for _, r := range runs[i] {
			list = append(list, get(r))
		}
		return list
	}
	rate := func(r wrkRun) float64 { return r.rate }
	p50 := func(r wrkRun) float64 { return r.p50 }
	for i, w := range ways {
		count := 0
		for _, r := range runs[i] {
			count += r.count
		}
		each := func(d time.Duration) string {
			return fmt.Sprintf("%.0f", float64(d)/float64(time.Microsecond)/float64(max(count, 1)))
		}
		own, _, by := tallies[i].sum(contender{servers: w.servers}, each)
		t.row(l.name, w.name, fmt.Sprintf("%.0f", median(of(i, rate))), spread(ratios(of(i, rate), of(1, rate))), fmt.Sprintf("%.0f", median(of(i, rate))*float64(body.size)/1e6),
			fmt.Sprintf("%.2f", median(of(i, p50))), fmt.Sprintf("%.2f", median(of(i, func(r wrkRun) float64 { return r.p99 }))),
			fmt.Sprintf("%+.2f", median(of(i, p50))-median(of(len(ways)-1, p50))), each(own), strings.Join(by, ", "))
	}
	return nil
}

// measureAppIdle holds more and more connections of browsers, each of which asked
// once, and looks at how the memory of the proxy grows.
func (b *bench) measureAppIdle(ctx context.Context) error {
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	names := []string{"proxy", "appagent"}
	var counts []float64
	series := map[string][]float64{}
	for _, n := range steps(10 * b.idle) {
		for len(held) < n {
			c, err := b.askOnce(ctx)
			if err != nil {
				return err
			}
			held = append(held, c)
		}
		counts = append(counts, float64(n))
		for _, name := range names {
			m, err := b.cl.memory(ctx, name)
			if err != nil {
				return err
			}
			series[name] = append(series[name], float64(m.resident))
		}
	}
	b.heap(ctx, "appidle", names...)
	t := b.table.section(fmt.Sprintf("Memory of a browser's idle connection to an app (slope over %s)", join(counts)), "process", "resident KiB", "to reach KiB")
	for i, goal := range []string{"≤ 64", ""} {
		t.row(names[i], fmt.Sprintf("%.0f", slope(counts, series[names[i]])/1024), goal)
	}
	return nil
}

// askOnce asks for the small file over a connection that stays.
func (b *bench) askOnce(ctx context.Context) (net.Conn, error) {
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}} // as a browser that was told to go on
	c, err := d.DialContext(ctx, "tcp", b.cl.proxy)
	if err != nil {
		return nil, err
	}
	err = func() error {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c, "GET /small HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", b.appAt(), b.apps.cookie); err != nil {
			return err
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		if resp.StatusCode != http.StatusOK || n != int64(appBodies[0].size) {
			err = errors.Join(err, fmt.Errorf("the app answers %s with %d bytes", resp.Status, n))
		}
		return errors.Join(err, c.SetDeadline(time.Time{}))
	}()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// appParts are the parts that need the app.
var appParts = []string{"apps", "appidle"}

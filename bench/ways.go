package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// dbContender is one way to the database: what a native client is told.
type dbContender struct {
	name    string
	conn    string // of libpq
	servers []*server
}

// database is a database server, and every way to it.
type database struct {
	server stopper
	ways   []dbContender
	local  *server // tsh proxy db
	extra  []*server
	err    error // why it did not start
}

type stopper interface{ stop() }

func (d *database) stop() {
	if d == nil {
		return
	}
	for _, s := range append([]*server{d.local}, d.extra...) {
		s.stop()
	}
	if d.server != nil {
		d.server.stop()
	}
}

// fronted is a database as the cluster's agent fronts it.
type fronted struct {
	name, protocol, addr string
	answers              func(port string) bool // a client gets through the port of tsh
}

// front starts an agent that fronts the database, and tsh before it, and returns
// where tsh listens.
func (b *bench) front(ctx context.Context, d *database, f fronted) (string, error) {
	token, err := b.cl.token("db", "10m")
	if err != nil {
		return "", err
	}
	p := process{name: f.name + "agent", join: fmt.Sprintf("  proxy_server: %s\n  ca_pin: %q\n  join_params: {method: token, token_name: %s}", b.cl.proxy, b.cl.pin, token),
		more: fmt.Sprintf("db_service:\n  enabled: true\n  databases:\n  - {name: %s, protocol: %s, uri: %q}\n", f.name, f.protocol, f.addr)}
	if err := b.cl.configure(p); err != nil {
		return "", err
	}
	if _, err = b.cl.start(ctx, p.name); err != nil {
		return "", err
	}
	addr, err := freePort()
	if err != nil {
		return "", err
	}
	_, port, _ := net.SplitHostPort(addr)
	d.local, err = serve(b.dir, "tsh", []string{"TELEPORT_HOME=" + b.cl.home}, filepath.Join(b.bin, "tsh"), "proxy", "db", f.name, "--tunnel",
		"--db-user="+dbUser, "--db-name="+dbName, "--port="+port)
	if err != nil {
		return "", err
	}
	return addr, d.local.await(ctx, time.Minute, func() bool { return f.answers(port) })
}

// ours are the processes on our way to a database, and auth, which stores what
// happened.
func (b *bench) ours(d *database, name string) []*server {
	return []*server{d.local, b.cl.servers["proxy"], b.cl.servers[name+"agent"], b.cl.servers["auth"]}
}

// startHops starts the null relay's three hops, each a process as ours are.
// The last one goes to the server as verb says.
func (b *bench) startHops(ctx context.Context, dir, pair, addr, verb string) (string, []*server, error) {
	program := filepath.Join(b.dir, "bin", "nullrelay")
	return chain(ctx, addr, []string{verb, "relay", "enter"}, func(verb, addr, next string) (*server, error) {
		return serve(dir, "null-"+verb, nil, program, verb, pair, addr, next)
	})
}

// chain starts hops from the server on, and returns where the first one listens.
func chain(ctx context.Context, next string, verbs []string, start func(verb, addr, next string) (*server, error)) (string, []*server, error) {
	var all []*server
	for _, verb := range verbs {
		addr, err := freePort()
		if err != nil {
			return "", all, err
		}
		s, err := start(verb, addr, next)
		if err != nil {
			return "", all, err
		}
		all = append(all, s)
		if err := s.await(ctx, 10*time.Second, func() bool { return answers(addr) }); err != nil {
			return "", all, err
		}
		next = addr
	}
	return next, all, nil
}

const haproxyConfig = `global
  maxconn 4096
  log stderr format raw local0 err
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
frontend in
  bind %s%s
  default_backend out
backend out
  server next %s%s
`

// startHAProxy starts three HAProxy processes, with mutual TLS between them.
func startHAProxy(ctx context.Context, dir, pair, addr string) (string, []*server, error) {
	bind := fmt.Sprintf(" ssl crt %s ca-file %s verify required ssl-min-ver TLSv1.3", pair, pair)
	out := fmt.Sprintf(" ssl crt %s ca-file %s verify required verifyhost null sni str(null) ssl-min-ver TLSv1.3", pair, pair)
	legs := map[string][2]string{"leave": {bind, ""}, "relay": {bind, out}, "enter": {"", out}}
	return chain(ctx, addr, []string{"leave", "relay", "enter"}, func(verb, addr, next string) (*server, error) {
		path := filepath.Join(dir, "haproxy-"+verb+".cfg")
		if err := os.WriteFile(path, fmt.Appendf(nil, haproxyConfig, addr, legs[verb][0], next, legs[verb][1]), 0o600); err != nil {
			return nil, err
		}
		return serve(dir, "haproxy-"+verb, nil, "/usr/sbin/haproxy", "-db", "-f", path)
	})
}

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// Names in the database server.
const (
	dbUser   = "bench"
	dbName   = "bench"
	dbOnTsh  = "pg" // the database's name in the cluster
	pgBin    = "/usr/lib/postgresql/15/bin"
	pgConfig = `
listen_addresses = '127.0.0.1'
port = %s
unix_socket_directories = '%s'
max_connections = 400
shared_buffers = 256MB
fsync = off
max_wal_size = 4GB
ssl = on
ssl_cert_file = '%s.crt'
ssl_key_file = '%s.key'
ssl_ca_file = '%s.cas'
`
	// HAProxy cannot ask a PostgreSQL server for TLS, so its last leg is plain.
	pgHBA = `local all all trust
hostssl all %s 127.0.0.1/32 cert
hostnossl all %s 127.0.0.1/32 trust
`
)

// postgres is the database server that is fronted.
type postgres struct {
	dir, addr, pair string
	server          *server
}

// startPostgres makes a server that takes certificates of the cluster and of pair.
func (b *bench) startPostgres(ctx context.Context, dir, pair string) (*postgres, error) {
	p := &postgres{dir: dir, pair: pair}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("there is no PostgreSQL server (Debian's package postgresql): %w", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	data, cert := filepath.Join(dir, "data"), filepath.Join(dir, "server")
	if _, err := b.cl.tctl("auth", "sign", "--format=db", "--host=127.0.0.1,localhost", "--out="+cert); err != nil {
		return nil, err
	}
	own, err := os.ReadFile(pair)
	if err != nil {
		return nil, err
	}
	cas, err := os.ReadFile(cert + ".cas")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(cert+".cas", append(cas, own...), 0o644); err != nil {
		return nil, err
	}
	for _, name := range []string{dir, cert + ".key", cert + ".crt", cert + ".cas"} {
		if err := os.Chown(name, uid, gid); err != nil {
			return nil, err
		}
	}
	if _, err := output(exec.CommandContext(ctx, "setpriv", p.as(filepath.Join(pgBin, "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "-N")...)); err != nil {
		return nil, err
	}
	if p.addr, err = freePort(); err != nil {
		return nil, err
	}
	conf, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer conf.Close()
	if _, err := fmt.Fprintf(conf, pgConfig, p.port(), dir, cert, cert, cert); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), fmt.Appendf(nil, pgHBA, dbUser, dbUser), 0o600); err != nil {
		return nil, err
	}
	if p.server, err = serve(dir, "postgres", nil, append([]string{"setpriv"}, p.as(filepath.Join(pgBin, "postgres"), "-D", data)...)...); err != nil {
		return nil, err
	}
	if err := p.server.await(ctx, time.Minute, func() bool { return answers(p.addr) }); err != nil {
		return p, err
	}
	for _, sql := range []string{"CREATE ROLE " + dbUser + " LOGIN", "CREATE DATABASE " + dbName + " OWNER " + dbUser} {
		if _, err := output(exec.CommandContext(ctx, "psql", "-h", dir, "-p", p.port(), "-U", "postgres", "-c", sql)); err != nil {
			return p, err
		}
	}
	_, err = output(exec.CommandContext(ctx, "pgbench", "-i", "-q", "-s", "10", "-h", dir, "-p", p.port(), "-U", dbUser, dbName))
	return p, err
}

func (p *postgres) port() string {
	_, port, _ := net.SplitHostPort(p.addr)
	return port
}

// as is what setpriv is told, so that a program runs as the server's own user.
func (p *postgres) as(argv ...string) []string {
	return append([]string{"--reuid=postgres", "--regid=postgres", "--init-groups"}, argv...)
}

func (p *postgres) stop() {
	if p == nil {
		return
	}
	p.server.stop()
}

// dbContender is one way to the database: what a native client is told.
type dbContender struct {
	name    string
	conn    string // of libpq
	servers []*server
}

// database starts a database, and every way to it.
type database struct {
	pg    *postgres
	ways  []dbContender
	local *server // tsh proxy db
	extra []*server
	err   error // why it did not start
}

func (d *database) stop() {
	if d == nil {
		return
	}
	for _, s := range append([]*server{d.local}, d.extra...) {
		s.stop()
	}
	d.pg.stop()
}

// databaseWorld starts them once.
func (b *bench) databaseWorld(ctx context.Context) error {
	if b.db == nil {
		b.db = &database{}
		b.db.err = b.startDatabase(ctx, b.db)
	}
	return b.db.err
}

func (b *bench) startDatabase(ctx context.Context, d *database) (err error) {
	dir := filepath.Join(b.dir, "db")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	pair := filepath.Join(dir, "pair.pem")
	if err := writePair(pair, dbUser); err != nil {
		return err
	}
	if d.pg, err = b.startPostgres(ctx, dir, pair); err != nil {
		return err
	}
	if err := b.startDatabaseAgent(ctx, d.pg.addr); err != nil {
		return err
	}
	ours, err := b.startLocalProxy(ctx, d)
	if err != nil {
		return err
	}
	null, nullServers, err := b.startHops(ctx, dir, pair, d.pg.addr)
	if err != nil {
		return err
	}
	ha, haServers, err := startHAProxy(ctx, dir, pair, d.pg.addr)
	if err != nil {
		return err
	}
	d.extra = slices.Concat(nullServers, haServers)
	plain := func(addr string) string {
		host, port, _ := net.SplitHostPort(addr)
		return fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable", host, port, dbUser, dbName)
	}
	direct := fmt.Sprintf("host=127.0.0.1 port=%s user=%s dbname=%s sslmode=require sslcert=%s sslkey=%s", d.pg.port(), dbUser, dbName, pair, pair)
	d.ways = []dbContender{
		{"tsh proxy db", plain(ours), []*server{d.local, b.cl.servers["proxy"], b.cl.servers["dbagent"], b.cl.servers["auth"]}},
		{"HAProxy, three hops", plain(ha), haServers},
		{"null relay, three hops", plain(null), nullServers},
		{"direct", direct, nil},
	}
	return nil
}

// startDatabaseAgent starts an agent that fronts the database.
func (b *bench) startDatabaseAgent(ctx context.Context, addr string) error {
	token, err := b.cl.token("db", "10m")
	if err != nil {
		return err
	}
	p := process{name: "dbagent", join: fmt.Sprintf("  proxy_server: %s\n  ca_pin: %q\n  join_params: {method: token, token_name: %s}", b.cl.proxy, b.cl.pin, token),
		more: fmt.Sprintf("db_service:\n  enabled: true\n  databases:\n  - {name: %s, protocol: postgres, uri: %q}\n", dbOnTsh, addr)}
	if err := b.cl.configure(p); err != nil {
		return err
	}
	_, err = b.cl.start(ctx, p.name)
	return err
}

// startLocalProxy starts tsh, and waits until a client gets through.
func (b *bench) startLocalProxy(ctx context.Context, d *database) (string, error) {
	addr, err := freePort()
	if err != nil {
		return "", err
	}
	_, port, _ := net.SplitHostPort(addr)
	d.local, err = serve(b.dir, "tsh", []string{"TELEPORT_HOME=" + b.cl.home}, filepath.Join(b.bin, "tsh"), "proxy", "db", dbOnTsh, "--tunnel",
		"--db-user="+dbUser, "--db-name="+dbName, "--port="+port)
	if err != nil {
		return "", err
	}
	return addr, d.local.await(ctx, time.Minute, func() bool {
		cmd := exec.CommandContext(ctx, "psql", "-h", "127.0.0.1", "-p", port, "-U", dbUser, "-c", "select 1", dbName)
		cmd.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=5", "PGSSLMODE=disable")
		return cmd.Run() == nil
	})
}

// startHops starts the null relay's three hops, each a process as ours are.
func (b *bench) startHops(ctx context.Context, dir, pair, pg string) (string, []*server, error) {
	program := filepath.Join(b.dir, "bin", "nullrelay")
	return chain(ctx, pg, []string{"leave", "relay", "enter"}, func(verb, addr, next string) (*server, error) {
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
func startHAProxy(ctx context.Context, dir, pair, pg string) (string, []*server, error) {
	bind := fmt.Sprintf(" ssl crt %s ca-file %s verify required ssl-min-ver TLSv1.3", pair, pair)
	out := fmt.Sprintf(" ssl crt %s ca-file %s verify required verifyhost null sni str(null) ssl-min-ver TLSv1.3", pair, pair)
	legs := map[string][2]string{"leave": {bind, ""}, "relay": {bind, out}, "enter": {"", out}}
	return chain(ctx, pg, []string{"leave", "relay", "enter"}, func(verb, addr, next string) (*server, error) {
		path := filepath.Join(dir, "haproxy-"+verb+".cfg")
		if err := os.WriteFile(path, fmt.Appendf(nil, haproxyConfig, addr, legs[verb][0], next, legs[verb][1]), 0o600); err != nil {
			return nil, err
		}
		return serve(dir, "haproxy-"+verb, nil, "/usr/sbin/haproxy", "-db", "-f", path)
	})
}

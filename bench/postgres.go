package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	cert, err := b.enroll(dir, "postgres", "postgresql", pair)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
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
	pg, err := b.startPostgres(ctx, dir, pair)
	d.server = pg
	if err != nil {
		return err
	}
	ours, err := b.front(ctx, d, fronted{name: dbOnTsh, protocol: "postgres", addr: pg.addr, answers: func(port string) bool {
		cmd := exec.CommandContext(ctx, "psql", "-h", "127.0.0.1", "-p", port, "-U", dbUser, "-c", "select 1", dbName)
		cmd.Env = append(os.Environ(), "PGCONNECT_TIMEOUT=5", "PGSSLMODE=disable")
		return cmd.Run() == nil
	}})
	if err != nil {
		return err
	}
	null, nullServers, err := b.startHops(ctx, dir, pair, pg.addr, "leave")
	if err != nil {
		return err
	}
	ha, haServers, err := startHAProxy(ctx, dir, pair, pg.addr)
	if err != nil {
		return err
	}
	d.extra = slices.Concat(nullServers, haServers)
	plain := func(addr string) string {
		host, port, _ := net.SplitHostPort(addr)
		return fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable", host, port, dbUser, dbName)
	}
	direct := fmt.Sprintf("host=127.0.0.1 port=%s user=%s dbname=%s sslmode=require sslcert=%s sslkey=%s", pg.port(), dbUser, dbName, pair, pair)
	d.ways = []dbContender{
		{"tsh proxy db", plain(ours), b.ours(d, dbOnTsh)},
		{"HAProxy, three hops", plain(ha), haServers},
		{"null relay, three hops", plain(null), nullServers},
		{"direct", direct, nil},
	}
	return nil
}

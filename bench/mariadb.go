package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	mariaOnTsh  = "maria" // the database's name in the cluster
	mariaPlain  = "plain" // the user of whoever does not go by a certificate
	mariaServer = "/usr/sbin/mariadbd"
)

// mariadb is the database server that is fronted.
type mariadb struct {
	dir, addr string
	server    *server
}

func (m *mariadb) stop() {
	if m != nil {
		m.server.stop()
	}
}

// startMariaDB makes a server that takes certificates of the cluster, and another
// user without any.
func (b *bench) startMariaDB(ctx context.Context, dir string) (*mariadb, error) {
	cert, err := b.enroll(dir, "mysql", "mariadb-server")
	if err != nil {
		return nil, err
	}
	m := &mariadb{dir: dir}
	if m.addr, err = freePort(); err != nil {
		return nil, err
	}
	as := func(program string, args ...string) []string {
		return append([]string{"--reuid=mysql", "--regid=mysql", "--init-groups", program, "--no-defaults", "--datadir=" + dir + "/data", "--tmpdir=" + dir,
			"--skip-name-resolve"}, args...)
	}
	if _, err := output(exec.CommandContext(ctx, "setpriv", as("mariadb-install-db", "--auth-root-authentication-method=normal", "--skip-test-db")...)); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(m.addr)
	if m.server, err = serve(dir, "mariadb", nil, append([]string{"setpriv"}, as(mariaServer, "--port="+port, "--bind-address=127.0.0.1", "--socket="+m.socket(),
		"--pid-file="+dir+"/pid", "--ssl-cert="+cert+".crt", "--ssl-key="+cert+".key", "--ssl-ca="+cert+".cas", "--innodb-flush-log-at-trx-commit=0")...)...); err != nil {
		return nil, err
	}
	if err := m.server.await(ctx, time.Minute, func() bool { return m.sql(ctx, "select 1") == nil }); err != nil {
		return m, err
	}
	if err := m.sql(ctx, fmt.Sprintf("CREATE DATABASE %[1]s; CREATE USER %[2]s REQUIRE SUBJECT '/CN=%[2]s'; GRANT ALL ON %[1]s.* TO %[2]s; CREATE USER %[3]s; GRANT ALL ON %[1]s.* TO %[3]s",
		dbName, dbUser, mariaPlain)); err != nil {
		return m, err
	}
	_, err = sysbench(ctx, m.plain(m.addr), "oltp_point_select", "prepare")
	return m, err
}

func (m *mariadb) socket() string { return filepath.Join(m.dir, "s") }

func (m *mariadb) sql(ctx context.Context, statements string) error {
	_, err := output(exec.CommandContext(ctx, "mariadb", "--no-defaults", "-uroot", "-S", m.socket(), "-e", statements))
	return err
}

// plain is what sysbench is told of an address, as the user without a certificate.
func (m *mariadb) plain(addr string) string { return mysqlOptions(addr, mariaPlain) }

func mysqlOptions(addr, user string) string {
	host, port, _ := net.SplitHostPort(addr)
	return fmt.Sprintf("--mysql-host=%s --mysql-port=%s --mysql-user=%s --mysql-db=%s --mysql-ssl=off --table-size=100000", host, port, user, dbName)
}

// mariaWorld starts MariaDB and every way to it, once.
func (b *bench) mariaWorld(ctx context.Context) error {
	if b.maria == nil {
		b.maria = &database{}
		b.maria.err = b.startMaria(ctx, b.maria)
	}
	return b.maria.err
}

func (b *bench) startMaria(ctx context.Context, d *database) error {
	dir := filepath.Join(b.dir, "maria")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	pair := filepath.Join(dir, "pair.pem")
	if err := writePair(pair, dbUser); err != nil {
		return err
	}
	m, err := b.startMariaDB(ctx, dir)
	d.server = m
	if err != nil {
		return err
	}
	ours, err := b.front(ctx, d, fronted{name: mariaOnTsh, protocol: "mysql", addr: m.addr, answers: func(port string) bool {
		return exec.CommandContext(ctx, "mariadb", "--no-defaults", "-h127.0.0.1", "-P"+port, "-u"+dbUser, "--connect-timeout=5", "-e", "select 1", dbName).Run() == nil
	}})
	if err != nil {
		return err
	}
	null, nullServers, err := b.startHops(ctx, dir, pair, m.addr, "plain")
	if err != nil {
		return err
	}
	ha, haServers, err := startHAProxy(ctx, dir, pair, m.addr)
	if err != nil {
		return err
	}
	d.extra = slices.Concat(nullServers, haServers)
	d.ways = []dbContender{
		{"tsh proxy db", mysqlOptions(ours, dbUser), b.ours(d, mariaOnTsh)},
		{"HAProxy, three hops", m.plain(ha), haServers},
		{"null relay, three hops", m.plain(null), nullServers},
		{"direct", m.plain(m.addr), nil},
	}
	return nil
}

// measureSysbench has sysbench select rows of MariaDB by key.
func (b *bench) measureSysbench(ctx context.Context) error {
	t := b.table.section(fmt.Sprintf("MariaDB: sysbench oltp_point_select for %s, %d times in turns; every statement in the audit log", b.seconds, b.rounds),
		"protocol", "clients", "path", "transactions/s", "÷ HAProxy, median of pairs (quartiles)", "p50 ms", "over direct", "CPU µs a transaction", "of it")
	for _, mode := range []struct{ name, option string }{{"text", "disable"}, {"prepared", "auto"}} {
		for _, clients := range b.clients {
			run := func(w dbContender) (queryRun, error) {
				return sysbench(ctx, w.conn, "oltp_point_select", "run", "--db-ps-mode="+mode.option, "--threads="+strconv.Itoa(clients),
					"--time="+strconv.Itoa(int(b.seconds.Seconds())), "--percentile=50")
			}
			if err := b.queries(t, b.maria.ways, mode.name, clients, run); err != nil {
				return err
			}
		}
	}
	t.note("To reach: ≥ 0.80 of HAProxy's transactions. The last leg of the peers is plain, ours is within TLS that shows a certificate; p50 has the resolution of sysbench's histogram.")
	return nil
}

var (
	sysbenchCount = regexp.MustCompile(`transactions:\s+(\d+)\s+\(([0-9.]+) per sec`)
	sysbenchP50   = regexp.MustCompile(`50th percentile:\s+([0-9.]+)`)
	sysbenchFails = regexp.MustCompile(`ignored errors:\s+(\d+)`)
)

// sysbench runs once; conn are its options.
func sysbench(ctx context.Context, conn, test, verb string, more ...string) (r queryRun, err error) {
	args := slices.Concat([]string{test, "--db-driver=mysql"}, strings.Fields(conn), more, []string{verb})
	out, err := output(exec.CommandContext(ctx, "sysbench", args...))
	switch {
	case err != nil:
		return r, fmt.Errorf("%w\n%s", err, out) // it tells its errors where it tells its counts
	case verb != "run":
		return r, nil
	}
	count, p50, fails := sysbenchCount.FindStringSubmatch(out), sysbenchP50.FindStringSubmatch(out), sysbenchFails.FindStringSubmatch(out)
	if count == nil || p50 == nil || fails == nil || fails[1] != "0" {
		return r, fmt.Errorf("sysbench says: %s", out)
	}
	r.count, _ = strconv.Atoi(count[1])
	r.tps, _ = strconv.ParseFloat(count[2], 64)
	r.p50, err = strconv.ParseFloat(p50[1], 64)
	return r, err
}

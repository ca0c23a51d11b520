package postgres_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"teleport/dbaccess/dbtest"
	"teleport/dbaccess/postgres"
	"teleport/types"
)

// refusedWith is what a program is told that logs in.
func refusedWith(t *testing.T, addr net.Addr, user, database string) *pgconn.PgError {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr.String())
	c, err := pgconn.Connect(t.Context(), "sslmode=disable host="+host+" port="+port+" user="+user+" dbname="+database)
	if err == nil {
		_ = c.Close(t.Context())
		t.Fatalf("%s is let into %s", user, database)
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		t.Fatal(err)
	}
	if strings.Contains(pg.Message, "127.0.0.1") || strings.Contains(pg.Message, "localhost") {
		t.Errorf("it tells where things are: %s", pg.Message)
	}
	return pg
}

// TestTheServersOwnCodesAreSaid: programs tell by the SQLSTATE what to do, as if they
// had asked the server themselves.
func TestTheServersOwnCodesAreSaid(t *testing.T) {
	p, spec := startServer(t)
	p.run.SQL(t, "postgres", `create database closed; revoke connect on database closed from public; create database still allow_connections false;
		create role out; create role full login connection limit 0; create role gone;`)
	p.run.Kill()
	p.run.Configure(t, "hostssl all alice,full,out 127.0.0.1/32 cert", "ssl = on\nssl_cert_file = '"+p.run.Dir+"/server.crt'\nssl_key_file = '"+p.run.Dir+"/server.key'\nssl_ca_file = '"+p.run.Dir+"/users.crt'")
	p.run.Run(t)
	w := dbtest.New(t, postgres.Engine{}, spec, p.Credentials)
	w.Role(func(r *types.RoleSpec) { r.Allow.DBUsers, r.Allow.DBNames = []string{"*"}, []string{"*"} })
	for name, c := range map[string]struct{ user, database, code, says string }{
		"a database that is not":      {"alice", "nowhere", "3D000", `the database shop says: database "nowhere" does not exist`},
		"one that takes nobody":       {"alice", "still", "55000", `database "still" is not currently accepting connections`},
		"one that is not for alice":   {"alice", "closed", "42501", `permission denied for database "closed"`},
		"too many connections":        {"full", "postgres", "53300", `too many connections for role "full"`},
		"a role that does not log in": {"out", "postgres", "28000", `role "out" is not permitted to log in`},
		"no line for the user":        {"mallory", "postgres", "28000", `no pg_hba.conf entry for host "(address)", user "mallory"`},
	} {
		addr := w.Listen("alice", types.DatabaseRoute{User: c.user, Name: c.database})
		if pg := refusedWith(t, addr, c.user, c.database); pg.Code != c.code || !strings.Contains(pg.Message, c.says) {
			t.Errorf("%s: %s %s", name, pg.Code, pg.Message)
		}
	}

	// A server that stops waits for who is there, and takes nobody else.
	stays := exec.Command("psql", "-X", "-q", "-h", p.run.Dir, "-p", p.run.Port, "-U", "postgres", "-c", "select pg_sleep(600)")
	if err := stays.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stays.Process.Kill(); _ = stays.Wait() }()
	w.Await(func() bool { return p.sleeping(t) == "1\n" })
	text, err := os.ReadFile(p.run.Dir + "/data/postmaster.pid")
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	addr := w.Listen("alice", types.DatabaseRoute{User: "alice", Name: "postgres"})
	var pg *pgconn.PgError
	w.Await(func() bool {
		host, port, _ := net.SplitHostPort(addr.String())
		c, err := pgconn.Connect(t.Context(), "sslmode=disable host="+host+" port="+port+" user=alice dbname=postgres")
		if err == nil {
			_ = c.Close(t.Context())
		}
		return errors.As(err, &pg)
	})
	if pg.Code != "57P03" || !strings.Contains(pg.Message, "the database system is shutting down") {
		t.Errorf("it stops: %s %s", pg.Code, pg.Message)
	}
}
